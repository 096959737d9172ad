"""A whole Airflow, in a folder of its own: scheduler, triggerer, DAG processor, API server."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import requests
from processes import Part
from runs import ENDS, Run
from waiting import PATIENCE, NotYet, wait_until

DAGS = Path(__file__).parent / "dags"
API_SERVER, SCHEDULER, TRIGGERER, DAG_PROCESSOR = "api-server", "scheduler", "triggerer", "dag-processor"
_ARGUMENTS = {SCHEDULER: ["--skip-serve-logs"], TRIGGERER: ["--skip-serve-logs"]}
TAIL = 3000

# Short loops, and what is dead is missed after seconds; but not so few that a busy machine looks dead.
_SETTINGS = {
    "CORE__DAGS_FOLDER": str(DAGS),
    "CORE__LOAD_EXAMPLES": "False",
    "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "CORE__EXECUTOR": "LocalExecutor",
    "CORE__PARALLELISM": "8",
    "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "API__HOST": "127.0.0.1",
    "DAG_PROCESSOR__REFRESH_INTERVAL": "3600",
    "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
    "TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "WORKERS__EXECUTION_API_TIMEOUT": "30",
}


class Cluster:
    """
    :param home: a new folder for everything that Airflow keeps
    """

    def __init__(self, home: Path) -> None:
        self.home, self._database = home, home / "airflow.db"
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        self._environment = {
            **ours,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self._database}",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            **{f"AIRFLOW__{name}": value for name, value in _SETTINGS.items()},
        }
        self._parts = {
            name: Part(
                [sys.executable, "-m", "airflow", name, *_ARGUMENTS.get(name, [])],
                self._environment,
                home / f"{name}.log",
            )
            for name in (API_SERVER, SCHEDULER, TRIGGERER, DAG_PROCESSOR)
        }
        self._session = requests.Session()
        self._session.trust_env = False
        self._numbers = itertools.count(1)

    # --- its life ---

    def start(self, *names: str) -> None:
        """Start these parts, or all, and wait until they report for duty."""
        wanted = names or tuple(self._parts)
        if not self._database.exists():
            self._make_database()
        # The scheduler starts tasks at once, and each asks the API server first.
        for group in ([name for name in wanted if name == API_SERVER], wanted):
            for name in group:
                if not self._parts[name].is_alive:
                    self._parts[name].start()
            self.wait_until(lambda group=group: self._are_healthy(group), f"{', '.join(group)} are up")

    def _make_database(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-TAIL:]

    def kill(self, *names: str) -> None:
        """End these parts, or all, with all that they have started, at once."""
        for name in names or tuple(self._parts):
            self._parts[name].kill()

    def stop(self) -> None:
        """End all parts, as politely as time allows."""
        for part in self._parts.values():
            part.ask_to_end()
        for part in self._parts.values():
            part.stop()
        self._session.close()

    def _are_healthy(self, names: Iterable[str]) -> bool:
        for name in names:
            assert self._parts[name].is_alive, f"{name} ended:\n{tail(self._parts[name].log)}"
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

    def run(self, dag_id: str, conf: dict[str, Any]) -> ScheduledRun:
        """Start a DAG run."""
        run_id = f"run-{next(self._numbers)}"
        trace = self.home / f"{dag_id}.{run_id}.trace"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": {**conf, "trace": str(trace)}}
        self.wait_until(lambda: self.call("POST", f"/dags/{dag_id}/dagRuns", body), f"{dag_id} is started")
        return ScheduledRun(self, dag_id, run_id, trace)

    def wait_until(self, condition: Any, what: str, seconds: float = PATIENCE) -> Any:
        return wait_until(condition, what, seconds, story=self.story)

    def story(self) -> str:
        """Tell what the parts logged last."""
        return "\n".join(f"--- {name}\n{tail(part.log)}" for name, part in self._parts.items())


class ScheduledRun(Run):
    """A DAG run of a :class:`Cluster`."""

    def __init__(self, cluster: Cluster, dag_id: str, run_id: str, trace: Path) -> None:
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
        folder = self._cluster.home / "logs" / f"dag_id={self.dag_id}" / f"run_id={self.run_id}"
        files = sorted(folder.rglob("*.log*"), key=lambda file: file.stat().st_mtime)
        return "\n".join(f"--- {file.relative_to(folder)}\n{file.read_text()}" for file in files)

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


def tail(file: Path) -> str:
    return file.read_text(errors="replace")[-TAIL:] if file.exists() else "(no log)"
