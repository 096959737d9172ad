"""A Jira and Toloka of a test's own, with Airflow connections to it, and what its counters say."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import requests
from cluster import Cluster
from inline import InlineAirflow
from runs import Run

from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.client import Sandbox

ARCHIVE, EXPORT, TOLOKA = "archive", "export", "toloka"
KINDS = (ARCHIVE, EXPORT, TOLOKA)
SUBMIT_PATHS = {
    ARCHIVE: "/rest/api/3/issue/archive",
    EXPORT: "/rest/api/3/issues/archive/export",
    TOLOKA: "/api/v1/projects/*/archive",
}
LOOK_PATHS = {
    ARCHIVE: "/rest/api/3/task/*",
    EXPORT: "/rest/api/3/task/*",
    TOLOKA: "/api/v1/operations/*",
}
SECOND = "is perhaps a second one"
"""What the log says of an export that is made again, where nobody can tell whether it was made before."""
_SUBMIT_METHODS = {ARCHIVE: "POST", EXPORT: "PUT", TOLOKA: "POST"}
_COUNTED_AS = {ARCHIVE: "archive", EXPORT: "export", TOLOKA: "PROJECT.ARCHIVE"}
_numbers = itertools.count(1)


class Site:
    """
    :param sandbox: nobody else uses it
    """

    def __init__(self, airflow: Cluster | InlineAirflow, sandbox: Sandbox) -> None:
        self.airflow, self.sandbox = airflow, sandbox
        self._runs: list[Run] = []
        self.name = f"site_{next(_numbers)}"
        for variable, value in sandbox.airflow_connections().items():
            name = variable.removeprefix("AIRFLOW_CONN_").lower()
            airflow.add_connection(self._conn_id(name), json.loads(value))

    def _conn_id(self, name: str) -> str:
        return f"{self.name}_{name}"

    def run(
        self,
        kind: str,
        mode: str,
        *,
        retries: int = 2,
        jira: str = "jira_cloud_default",
        conf: dict[str, Any] | None = None,
        **operator: Any,
    ) -> Run:
        """
        Start a DAG run that archives issues, exports them or archives a Toloka project.

        :param kind: which of these
        :param mode: ``waiting`` or ``deferrable``
        :param retries: 0 or 2
        :param jira: the connection, as the sandbox names it
        :param conf: more of the run's conf, or other than usual
        :param operator: attributes of the operator
        """
        usual = {
            "operator": {"deferrable": mode == "deferrable", **operator},
            "jira_conn_id": self._conn_id(jira),
            "toloka_conn_id": self._conn_id("toloka_default"),
            "jql": "project = WEB",
            "projects": "WEB",
            "project_id": "10001",
        }
        return self._run(f"{kind}_{retries}_retries", {**usual, **(conf or {})})

    def run_mapped(self, project_ids: list[str]) -> Run:
        """Start a DAG run that archives Toloka projects, deferred, one mapped task for each."""
        conf = {
            "operator": {"deferrable": True},
            "toloka_conn_id": self._conn_id("toloka_default"),
            "project_ids": project_ids,
        }
        return self._run("toloka_mapped_2_retries", conf)

    def _run(self, dag_id: str, conf: dict[str, Any]) -> Run:
        run = self.airflow.run(dag_id, conf)
        self._runs.append(run)
        return run

    def close(self) -> None:
        """End what still runs."""
        for run in self._runs:
            run.give_up()

    def spoil_submit(self, kind: str, **what: Any) -> None:
        """Let the next submit of this kind meet a fault."""
        self.sandbox.fault(SUBMIT_PATHS[kind], method=_SUBMIT_METHODS[kind], **what)

    # --- the judge ---

    def submitted(self, kind: str) -> int:
        """Return how many jobs of this kind were submitted."""
        return int(self.sandbox.counters()["jobs_submitted"].get(_COUNTED_AS[kind], 0))

    def most_at_once(self, kind: str) -> int:
        """Return how many jobs of this kind were under way at the same moment."""
        return int(self.sandbox.counters()["jobs_overlapped"].get(_COUNTED_AS[kind], 0))

    def jobs(self, kind: str) -> list[dict[str, Any]]:
        return [job for job in self.sandbox.jobs() if job["kind"] == _COUNTED_AS[kind]]

    def polls(self, job: str) -> int:
        return int(self.sandbox.counters()["polls"].get(job, 0))

    @staticmethod
    def id_in(value: dict[str, Any]) -> str:
        """Return the id of the job in what an operator returned."""
        return str(value["operation_id"] if "operation_id" in value else value["tasks"][-1]["task_id"])

    def most_submits_a_second(self) -> int:
        """Return how many submits, refused ones included, came within one second at most."""
        times = [
            request["time"]
            for kind in (ARCHIVE, EXPORT)
            for request in self.sandbox.requests(SUBMIT_PATHS[kind], _SUBMIT_METHODS[kind])
        ]
        return max(sum(start <= time < start + 1 for time in times) for start in times)

    # --- waiting ---

    def wait_until(self, condition: Callable[[], Any], what: str, run: Run | None = None) -> Any:
        return run.wait_until(condition, what) if run else self.airflow.wait_until(condition, what)

    def wait_for_job(self, kind: str, run: Run, number: int = 1) -> str:
        """Wait until this many jobs were submitted, and return the id of the latest."""
        jobs = self.wait_until(
            lambda: len(jobs := self.jobs(kind)) >= number and jobs, f"job {number} is submitted", run
        )
        return str(jobs[-1]["id"])

    def wait_for_looks(self, job: str, run: Run, more: int = 1) -> None:
        """Wait until somebody has looked at the job so many times more."""
        before = self.polls(job)
        self.wait_until(lambda: self.polls(job) >= before + more, f"job {job} is looked at", run)

    # --- another client ---

    def archive_elsewhere(self, jql: str) -> str:
        """Archive as another program would, and return the task's id."""
        answer = requests.post(
            f"{self.sandbox.base_url}{SUBMIT_PATHS[ARCHIVE]}",
            json={"jql": jql},
            auth=(credentials.JIRA_ADMIN_EMAIL, credentials.JIRA_ADMIN_API_TOKEN),
            timeout=120,
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json().rsplit("/", 1)[-1])
