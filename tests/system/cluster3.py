"""A whole Airflow 3: API server, scheduler, triggerer, DAG processor; driven by its REST API."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import requests
from cluster import DAG_PROCESSOR, DATABASE, SCHEDULER, TAIL, TRIGGERER, Cluster
from runs import ENDS, Run
from waiting import NotYet

API_SERVER = "api-server"

_SETTINGS = {
    "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "API__HOST": "127.0.0.1",
    "DAG_PROCESSOR__REFRESH_INTERVAL": "3600",
    "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "WORKERS__EXECUTION_API_TIMEOUT": "30",
}


class Cluster3(Cluster):
    """
    :param home: a new folder for everything that Airflow keeps
    """

    def __init__(self, home: Path) -> None:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = {
            **_SETTINGS,
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/{DATABASE}",
            "API__PORT": str(port),
            "API__BASE_URL": self.url,
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
        }
        # The scheduler starts tasks at once, and each asks the API server first.
        super().__init__(home, [[API_SERVER], [SCHEDULER, TRIGGERER, DAG_PROCESSOR]], settings)
        self._session = requests.Session()
        self._session.trust_env = False

    def make_database(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-TAIL:]

    def stop(self) -> None:
        super().stop()
        self._session.close()

    def _are_healthy(self, names: Iterable[str]) -> bool:
        health = self.call("GET", "/monitor/health")
        return all(
            name == API_SERVER or health[name.replace("-", "_")]["status"] == "healthy" for name in names
        )

    # --- its API ---

    def call(self, method: str, path: str, body: Any = None) -> Any:
        try:
            response = self._session.request(method, f"{self.url}/api/v2{path}", json=body, timeout=60)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise NotYet(str(error)) from None
        if response.status_code == 409:
            # All names are our own, so it is our own earlier call that was answered with an error.
            return response.json()
        if response.status_code == 404 or response.status_code >= 500:
            raise NotYet(f"{method} {path}: {response.status_code} {response.text[:500]}")
        assert response.ok, f"{method} {path}: {response.status_code} {response.text[:500]}"
        return response.json() if response.content else None

    def add_connection(self, conn_id: str, values: dict[str, Any]) -> None:
        extra = json.dumps(values.get("extra", {}))
        body = {**values, "connection_id": conn_id, "extra": extra}
        self.wait_until(lambda: self.call("POST", "/connections", body), f"connection {conn_id} is made")

    def _run(self, dag_id: str, run_id: str, conf: dict[str, Any], trace: Path) -> ApiRun:
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        self.wait_until(lambda: self.call("POST", f"/dags/{dag_id}/dagRuns", body), f"{dag_id} is started")
        return ApiRun(self, dag_id, run_id, trace)


class ApiRun(Run):
    """A DAG run of a :class:`Cluster3`."""

    def __init__(self, cluster: Cluster3, dag_id: str, run_id: str, trace: Path) -> None:
        super().__init__(dag_id, run_id, trace)
        self._cluster = cluster
        self._path = f"/dags/{dag_id}/dagRuns/{run_id}"

    def state(self) -> str:
        return str(self._cluster.call("GET", self._path)["state"])

    def tries(self) -> int:
        return int(self.task()["try_number"])

    def value(self) -> Any:
        return self.xcom("return_value")

    def task(self) -> dict[str, Any]:
        return dict(self._cluster.call("GET", f"{self._path}/taskInstances/job"))

    def tasks(self) -> list[dict[str, Any]]:
        """Return the mapped instances of the task."""
        found = self._cluster.call("GET", f"{self._path}/taskInstances/job/listMapped?limit=100")
        return list(found["task_instances"])

    def xcom(self, key: str, map_index: int = -1) -> Any:
        """Return an XCom of the task; None when there is none."""
        path = f"{self._path}/taskInstances/job/xcomEntries/{key}?deserialize=true&map_index={map_index}"
        try:
            return self._cluster.call("GET", path)["value"]
        except NotYet:
            return None

    def remembered(self) -> dict[str, Any]:
        """Return what is in the task's state store."""
        found = self._cluster.call("GET", f"{self._path}/taskInstances/job/state-store")
        return {entry["key"]: entry["value"] for entry in found["task_state_store"]}

    def mark_failed(self) -> None:
        """Mark the task as failed."""
        path, body = f"{self._path}/taskInstances/job", {"new_state": "failed"}
        self.wait_until(lambda: self._cluster.call("PATCH", path, body), "it is marked as failed")

    def clear(self) -> None:
        path = f"/dags/{self.dag_id}/clearTaskInstances"
        body = {"dry_run": False, "only_failed": False, "dag_run_id": self.run_id, "task_ids": ["job"]}
        self.wait_until(lambda: self._cluster.call("POST", path, body), "it is cleared")

    def give_up(self) -> None:
        def is_over() -> bool:
            if self.state() in ENDS:
                return True
            self._cluster.call("PATCH", self._path, {"state": "failed"})
            return False

        self.wait_until(is_over, "it is over")

    def log(self) -> str:
        return self._cluster.log_of(self.dag_id, self.run_id)

    def story(self) -> str:
        try:
            state = json.dumps(self.task(), indent=1)
        except NotYet as reason:
            state = str(reason)
        return f"{state}\n{self.log()[-8 * TAIL :]}\n{self._cluster.story()}"


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
