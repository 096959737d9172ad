"""The sensors in DAG runs: poking, rescheduled and deferred."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
from conftest import PASSING_FAULTS, Airflow, Run, rows, until

from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.operators.jira import JiraArchiveIssuesByJqlOperator
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

RunIt = Callable[..., Run]
EndJobs = Callable[..., Future[list[Any]]]


@pytest.fixture(params=["poke", "reschedule", "deferrable"])
def how(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each way to wait, as a sensor's arguments."""
    way = str(request.param)
    return {"deferrable": True} if way == "deferrable" else {"deferrable": False, "mode": way}


class Service:
    """One of the two services: how to start a job there, and to watch it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ended_well = {"Jira": "COMPLETE", "Toloka": "SUCCESS"}[name]
        self.failed = {"Jira": "FAILED", "Toloka": "FAIL"}[name]
        self.id_key = {"Jira": "task_id", "Toloka": "operation_id"}[name]
        self.looks = {"Jira": "/rest/api/3/task/*", "Toloka": "/api/v1/operations/*"}[name]

    def start(self) -> str:
        """Start a job, as somebody else would, and return its id."""
        if self.name == "Jira":
            return JiraCloudHook().archive_issues_by_jql("project = DEMO")
        operation = TolokaHook().archive_project(PROJECT_READY)
        assert operation is not None
        return operation.id

    def sensor(self, id: str, **arguments: Any) -> object:
        arguments = {"task_id": "wait", "poke_interval": 0.1, "timeout": 60, **arguments}
        if self.name == "Jira":
            return JiraTaskSensor(jira_task_id=id, **arguments)
        return TolokaOperationSensor(operation_id=id, **arguments)

    def submit(self, **arguments: Any) -> Any:
        if self.name == "Jira":
            return JiraArchiveIssuesByJqlOperator(
                task_id="submit", jql="project = DEMO", wait_for_completion=False, **arguments
            )
        return TolokaArchiveProjectOperator(
            task_id="submit", project_id=PROJECT_READY, wait_for_completion=False, **arguments
        )


@pytest.fixture(params=["Jira", "Toloka"])
def service(request: pytest.FixtureRequest) -> Service:
    return Service(request.param)


def test_a_sensor_waits_for_a_running_job_and_returns_it(
    sandbox: Sandbox, run: RunIt, service: Service, how: dict[str, Any]
) -> None:
    id = service.start()
    done = run(lambda: service.sensor(id, **how))
    assert done.states() == {"wait": "success"}
    value = done.xcom("wait")
    assert (value[service.id_key], value["status"], value["progress"]) == (id, service.ended_well, 100)
    assert value["finished"]


def test_a_sensor_of_a_job_that_is_over_looks_once(
    sandbox: Sandbox, run: RunIt, service: Service, how: dict[str, Any]
) -> None:
    id = service.start()
    sandbox.advance(60)
    done = run(lambda: service.sensor(id, **how))
    assert done.states() == {"wait": "success"}
    assert done.xcom("wait")["status"] == service.ended_well
    assert sandbox.counters()["polls"] == {id: 1}


def test_submit_without_waiting_then_sense(
    sandbox: Sandbox, airflow: Airflow, service: Service, how: dict[str, Any]
) -> None:
    key = {"Jira": "jira_task_id", "Toloka": "operation_id"}[service.name]
    with airflow.dag() as dag:
        submit = service.submit()
        submit >> service.sensor(f"{{{{ ti.xcom_pull(task_ids='submit', key='{key}') }}}}", **how)
    done = airflow.run(dag)
    assert done.states() == {"submit": "success", "wait": "success"}
    (job,) = sandbox.jobs()
    assert done.xcom("wait")[service.id_key] == done.xcom("submit", key) == job["id"]
    assert sandbox.counters()["jobs_submitted"] == {job["kind"]: 1}


def test_a_sensor_in_reschedule_mode_frees_the_worker_between_its_looks(
    slow_sandbox: Sandbox, airflow: Airflow, service: Service, meanwhile: Any
) -> None:
    id = service.start()
    with airflow.dag() as dag:
        service.sensor(id, mode="reschedule", poke_interval=1)

    def watch() -> int:
        try:
            return until(
                lambda: sum(
                    1 for _ in rows("SELECT state FROM task_instance WHERE dag_id = ? AND state = ?", *asked)
                )
            )
        finally:
            slow_sandbox.job(id, "finish")

    asked = (dag.dag_id, "up_for_reschedule")
    seen = meanwhile(watch)
    done = airflow.run(dag)
    assert seen.result() == 1
    assert done.states() == {"wait": "success"}
    assert done.tries("wait") == 1
    assert slow_sandbox.counters()["polls"][id] >= 2


def test_a_jira_task_can_be_given_by_its_url(sandbox: Sandbox, run: RunIt, how: dict[str, Any]) -> None:
    id = JiraCloudHook().archive_issues_by_jql("project = DEMO")
    url = f"https://another-host.example.com/rest/api/3/task/{id}/?x=1"
    done = run(lambda: JiraTaskSensor(task_id="wait", jira_task_id=url, poke_interval=0.1, timeout=60, **how))
    assert done.states() == {"wait": "success"}
    assert done.xcom("wait")["task_id"] == id


def test_a_job_that_ended_badly_fails_the_sensor_for_good_and_says_why(
    slow_sandbox: Sandbox, run: RunIt, service: Service, how: dict[str, Any]
) -> None:
    id = service.start()
    slow_sandbox.job(id, "fail", message="The index is being rebuilt.")
    done = run(lambda: service.sensor(id, retries=2, **how))
    assert done.states() == {"wait": "failed"}
    assert done.tries("wait") == 1
    assert done.error.startswith("WatchedJobFailed: ")
    assert f"{id} ended {service.failed}" in done.error
    assert "The index is being rebuilt." in done.error
    assert "clear the task that submitted it" in done.error


def test_a_job_that_ends_badly_during_the_wait_fails_the_sensor_for_good(
    slow_sandbox: Sandbox, run: RunIt, service: Service, how: dict[str, Any], end_jobs: EndJobs
) -> None:
    id = service.start()
    end_jobs(
        "fail",
        look=lambda id: until(lambda: slow_sandbox.counters()["polls"].get(id)),
        message="The index is being rebuilt.",
    )
    done = run(lambda: service.sensor(id, retries=2, **how))
    assert done.states() == {"wait": "failed"}
    assert done.tries("wait") == 1
    assert done.error.startswith("WatchedJobFailed: ")
    assert "The index is being rebuilt." in done.error


def test_soft_fail_skips_where_the_job_ended_badly(
    slow_sandbox: Sandbox, run: RunIt, service: Service, how: dict[str, Any]
) -> None:
    id = service.start()
    slow_sandbox.job(id, "fail")
    done = run(lambda: service.sensor(id, soft_fail=True, retries=2, **how))
    assert done.states() == {"wait": "skipped"}
    assert done.tries("wait") == 1
    assert done.state == "success"


def test_soft_fail_skips_where_the_job_ends_badly_during_a_deferral(
    slow_sandbox: Sandbox, run: RunIt, service: Service, end_jobs: EndJobs
) -> None:
    id = service.start()
    end_jobs("fail", look=lambda id: until(lambda: slow_sandbox.counters()["polls"].get(id, 0) >= 2))
    done = run(lambda: service.sensor(id, soft_fail=True, deferrable=True, retries=2))
    assert done.states() == {"wait": "skipped"}


def test_the_timeout_fails_the_sensor_and_leaves_the_job_running(
    slow_sandbox: Sandbox, run: RunIt, service: Service, how: dict[str, Any]
) -> None:
    id = service.start()
    done = run(lambda: service.sensor(id, timeout=1, retries=2, **how))
    assert done.states() == {"wait": "failed"}
    assert done.tries("wait") == 1
    assert "AirflowSensorTimeout" in done.log
    assert slow_sandbox.job(id)["ended"] is None


def test_soft_fail_skips_at_the_timeout(
    slow_sandbox: Sandbox, run: RunIt, service: Service, how: dict[str, Any]
) -> None:
    id = service.start()
    done = run(lambda: service.sensor(id, timeout=1, soft_fail=True, **how))
    assert done.states() == {"wait": "skipped"}
    assert slow_sandbox.job(id)["ended"] is None


def test_an_unknown_id_fails_the_sensor_for_good_and_names_it(
    sandbox: Sandbox, run: RunIt, service: Service, how: dict[str, Any]
) -> None:
    done = run(lambda: service.sensor("99999", retries=2, **how))
    assert done.states() == {"wait": "failed"}
    assert done.tries("wait") == 1
    assert done.error.startswith("WatchedJobFailed: ")
    assert "99999" in done.error
    assert "HTTP 404" in done.error


def test_no_id_asks_the_service_nothing(
    sandbox: Sandbox, run: RunIt, service: Service, how: dict[str, Any]
) -> None:
    done = run(lambda: service.sensor("", retries=2, **how))
    assert done.states() == {"wait": "failed"}
    assert done.tries("wait") == 1
    assert done.error.startswith("BadInput: ")
    assert sandbox.requests() == []


def test_what_is_no_id_never_reaches_a_path(sandbox: Sandbox, run: RunIt, service: Service) -> None:
    done = run(lambda: service.sensor("../../myself"))
    assert done.states() == {"wait": "failed"}
    assert done.error.startswith("BadInput: ")
    assert sandbox.requests() == []


def test_passing_faults_count_as_not_yet(
    sandbox: Sandbox, run: RunIt, service: Service, how: dict[str, Any]
) -> None:
    id = service.start()
    # Each look of a rescheduled sensor takes Airflow a second or two.
    faults = PASSING_FAULTS[:2] if how.get("mode") == "reschedule" else PASSING_FAULTS
    for fault in faults:
        sandbox.fault(service.looks, **fault)
    done = run(lambda: service.sensor(id, **how))
    assert done.states() == {"wait": "success"}
    assert done.tries("wait") == 1
    assert done.xcom("wait")["status"] == service.ended_well
    assert len(sandbox.requests(service.looks, "GET")) > len(faults)
