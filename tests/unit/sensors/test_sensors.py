"""The sensors: poke, reschedule and deferral over the same jobs, and how each ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    TaskDeferred,
)
from said import refusal

from airflow_provider_archival.exceptions import BadInput, ConnectionNotUsable, WatchedJobFailed, WatchRefused
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor
from airflow_provider_archival.triggers.jira import JiraTaskTrigger
from airflow_provider_archival.triggers.toloka import TolokaOperationTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.sandbox.client import Sandbox
    from airflow_provider_archival.sensors.base import JobSensor
    from tests.unit.conftest import Connections, Deferrals, Pauses

LOOKS = {"jira": "/rest/api/3/task/*", "toloka": "/api/v1/operations/*"}
SENSOR_MODULE: Any = sys.modules[BaseSensorOperator.__module__]


# --- poke ---


def test_a_poke_at_a_job_that_runs_is_false(sensor: Callable[..., JobSensor], context: Any) -> None:
    assert sensor().poke(context) is False


def test_a_poke_at_a_job_that_ended_well_is_true_with_the_job(
    archival_sandbox: Sandbox, sensor: Callable[..., JobSensor], job_id: str, context: Any
) -> None:
    archival_sandbox.job(job_id, "finish")
    value = sensor().poke(context)
    assert isinstance(value, PokeReturnValue)
    assert value.is_done
    job = value.xcom_value
    assert json.loads(json.dumps(job)) == job
    assert job_id in (job.get("task_id"), job.get("operation_id"))
    assert job["status"] in ("COMPLETE", "SUCCESS")


@pytest.mark.parametrize("action", ["fail", "die", "cancel"])
def test_a_job_that_ended_badly_fails_the_sensor_for_good(
    archival_sandbox: Sandbox, sensor: Callable[..., JobSensor], job_id: str, context: Any, action: str
) -> None:
    archival_sandbox.job(job_id, action, message="It was not to be.")
    with pytest.raises(
        WatchedJobFailed, match=r"It was not to be.*clear the task that submitted it"
    ) as caught:
        sensor().poke(context)
    assert isinstance(caught.value, AirflowFailException)
    assert caught.value.job["status"] in ("FAILED", "DEAD", "CANCELLED", "FAIL")


@pytest.mark.parametrize(
    "what",
    [
        {"status": 429},
        {"status": 503},
        {"status": 500, "body": "html"},
        {"reset": "before"},
        {"reset": "after"},
        {"body": "html"},
        {"body": "broken"},
        {"body": "empty"},
        {"truncate": True},
    ],
    ids=str,
)
def test_a_passing_fault_means_not_yet(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    context: Any,
    what: dict[str, Any],
) -> None:
    archival_sandbox.fault(LOOKS[service], **what)
    assert sensor().poke(context) is False
    assert len(archival_sandbox.requests(LOOKS[service])) == 1


def test_a_service_that_is_down_means_not_yet(
    connections: Connections,
    sensor: Callable[..., JobSensor],
    context: Any,
    refused_url: str,
    logged: list[str],
) -> None:
    for conn_id in ("jira_cloud_default", "toloka_default"):
        connections.change(conn_id, host=refused_url)
    assert sensor().poke(context) is False
    assert any("could not look at it now, going on" in line for line in logged)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_fails_the_sensor_for_good(
    archival_sandbox: Sandbox, sensor: Callable[..., JobSensor], service: str, context: Any, status: int
) -> None:
    archival_sandbox.fault(LOOKS[service], status=status, body=refusal(service), times=None)
    with pytest.raises(WatchRefused, match=f"can't be watched.*HTTP {status}: .*Because") as caught:
        sensor().poke(context)
    assert isinstance(caught.value, AirflowFailException)


def test_a_job_that_nobody_knows_fails_the_sensor_for_good(
    sensor: Callable[..., JobSensor], context: Any
) -> None:
    with pytest.raises(WatchedJobFailed, match=r"can't be watched.*HTTP 404") as caught:
        sensor("4711").poke(context)
    assert isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize(
    "value", ["", " ", None, "../x", "a b", "https://example.com/", True, "{{ nothing }}"]
)
@pytest.mark.parametrize("deferrable", [True, False])
def test_what_is_no_job_is_refused_before_anything_is_sent(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    context: Any,
    value: Any,
    deferrable: bool,
) -> None:
    with pytest.raises(BadInput, match={"jira": "jira_task_id", "toloka": "operation_id"}[service]):
        sensor(value, deferrable=deferrable).execute(context)
    assert archival_sandbox.requests(LOOKS[service]) == []


def test_a_bad_connection_fails_the_sensor_for_good(
    connections: Connections, sensor: Callable[..., JobSensor], context: Any
) -> None:
    for conn_id in ("jira_cloud_default", "toloka_default"):
        connections.change(conn_id, password=None)
    with pytest.raises(ConnectionNotUsable, match=r"password .* is missing"):
        sensor().execute(context)


@pytest.mark.parametrize(
    "form",
    ["https://elsewhere.example.com/ex/jira/1-2/rest/api/3/task/{}", "/rest/api/3/task/{}/?x=1", " {} "],
)
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_jira_task_may_be_given_by_its_url(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    form: str,
    deferrable: bool,
) -> None:
    job_id = JiraCloudHook().archive_issues_by_jql("key = DEMO-4")
    watch = JiraTaskSensor(task_id="watch", jira_task_id=form.format(job_id), deferrable=deferrable)
    assert deferrals.run(watch, context)["task_id"] == job_id
    assert {request["path"] for request in archival_sandbox.requests(LOOKS["jira"])} == {
        f"/rest/api/3/task/{job_id}"
    }


# --- execute: poke, reschedule, deferred ---


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_sensor_waits_and_returns_the_finished_job(
    sensor: Callable[..., JobSensor],
    job_id: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    value = deferrals.run(sensor(deferrable=deferrable), context)
    assert job_id in (value.get("task_id"), value.get("operation_id"))
    assert value["status"] in ("COMPLETE", "SUCCESS")
    assert value["progress"] == 100
    assert len(deferrals.seen) == int(deferrable)


def test_a_sensor_pokes_at_its_own_interval(
    sensor: Callable[..., JobSensor], context: Any, pauses: Pauses
) -> None:
    sensor(poke_interval=2).execute(context)
    assert set(pauses.asked) == {2}


def test_a_sensor_in_reschedule_mode_frees_its_slot(
    sensor: Callable[..., JobSensor], context: Any, reschedules: None
) -> None:
    # Each version has the exception in another place.
    with pytest.raises(SENSOR_MODULE.AirflowRescheduleException):
        sensor(mode="reschedule", poke_interval=60).execute(context)


def test_a_sensor_in_reschedule_mode_ends_with_the_job(
    archival_sandbox: Sandbox, sensor: Callable[..., JobSensor], job_id: str, context: Any, reschedules: None
) -> None:
    archival_sandbox.job(job_id, "finish")
    assert sensor(mode="reschedule").execute(context)["status"] in ("COMPLETE", "SUCCESS")


@pytest.fixture
def reschedules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow 2 looks the first poke's time up in its database, which is not there; Airflow 3 asks ``ti``."""
    if hasattr(SENSOR_MODULE, "_orig_start_date"):
        monkeypatch.setattr(SENSOR_MODULE, "_orig_start_date", lambda **kwargs: None)


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_the_timeout_is_airflows_own(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    job_id: str,
    context: Any,
    reschedules: None,
    mode: str,
) -> None:
    archival_sandbox.job(job_id, "freeze")
    with pytest.raises(AirflowSensorTimeout):
        sensor(mode=mode, timeout=0).execute(context)


def test_the_timeout_holds_through_a_deferral(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    job_id: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.job(job_id, "freeze")
    with pytest.raises(
        AirflowSensorTimeout, match=r"did not end within the sensor's timeout of 600 s; it was"
    ):
        deferrals.run(sensor(deferrable=True, timeout=600), context)
    assert sum(pauses.asked) == pytest.approx(600)
    assert not archival_sandbox.job(job_id)["ended"]


def test_a_timeout_without_a_look_that_succeeded_says_so(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.fault(LOOKS[service], times=None, status=503)
    with pytest.raises(
        AirflowSensorTimeout, match=r"600 s; no look at it succeeded\. The last look failed: .*503"
    ):
        deferrals.run(sensor(deferrable=True, timeout=600), context)


def test_a_job_that_is_over_needs_no_deferral(
    archival_sandbox: Sandbox, sensor: Callable[..., JobSensor], job_id: str, context: Any
) -> None:
    archival_sandbox.job(job_id, "finish")
    assert sensor(deferrable=True).execute(context)["status"] in ("COMPLETE", "SUCCESS")


def test_a_deferral_carries_the_trigger_for_the_job(
    sensor: Callable[..., JobSensor], job_id: str, service: str, context: Any
) -> None:
    began = time.time()
    with pytest.raises(TaskDeferred) as caught:
        sensor(deferrable=True, poke_interval=7, timeout=600).execute(context)
    trigger, deferral = caught.value.trigger, caught.value
    kind = {"jira": JiraTaskTrigger, "toloka": TolokaOperationTrigger}[service]
    assert type(trigger) is kind
    kwargs = trigger.serialize()[1]
    assert kwargs.get("jira_task_id", kwargs.get("operation_id")) == job_id
    assert kwargs.get("jira_conn_id", kwargs.get("toloka_conn_id")) in (
        "jira_cloud_default",
        "toloka_default",
    )
    assert kwargs["poll_interval"] == 7
    assert began + 600 <= kwargs["end_time"] <= time.time() + 600
    assert not kwargs.get("cancel_on_kill")
    assert deferral.method_name == "execute_complete"
    assert deferral.timeout.total_seconds() > 600
    assert not deferral.kwargs


@pytest.mark.parametrize("action", ["fail", "cancel"])
def test_a_job_that_ends_badly_meanwhile_fails_the_sensor_for_good(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    job_id: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    action: str,
) -> None:
    archival_sandbox.job(job_id, "freeze")

    def end() -> None:
        if len(pauses.asked) == 3:
            archival_sandbox.job(job_id, action, message="It was not to be.")

    pauses.before = end
    with pytest.raises(WatchedJobFailed, match="It was not to be"):
        deferrals.run(sensor(deferrable=True), context)


@pytest.mark.parametrize(("status", "kind"), [(403, WatchRefused), (404, WatchedJobFailed)])
def test_a_refusal_meanwhile_fails_the_sensor_for_good(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    status: int,
    kind: type[Exception],
) -> None:
    archival_sandbox.fault(LOOKS[service], status=status, skip=2, times=None)
    with pytest.raises(kind, match=f"can't be watched.*HTTP {status}"):
        deferrals.run(sensor(deferrable=True), context)


# --- soft_fail ---


@pytest.mark.parametrize("flag", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("deferrable", [True, False])
def test_soft_fail_skips_a_sensor_whose_job_ended_badly(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    job_id: str,
    context: Any,
    pauses: Pauses,
    deferrable: bool,
    flag: str,
) -> None:
    archival_sandbox.job(job_id, "fail")
    with pytest.raises(AirflowSkipException):
        sensor(deferrable=deferrable, **{flag: True}).execute(context)


def test_soft_fail_skips_a_sensor_whose_job_ends_badly_meanwhile(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.fault(LOOKS[service], status=403, skip=2, times=None)
    with pytest.raises(AirflowSkipException):
        deferrals.run(sensor(deferrable=True, soft_fail=True), context)


def test_soft_fail_skips_a_sensor_that_times_out_deferred(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    job_id: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.job(job_id, "freeze")
    with pytest.raises(AirflowSkipException):
        deferrals.run(sensor(deferrable=True, soft_fail=True, timeout=60), context)


def test_soft_fail_does_not_skip_for_a_passing_fault(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.fault(LOOKS[service], status=503, times=5)
    assert deferrals.run(sensor(soft_fail=True), context)["status"] in ("COMPLETE", "SUCCESS")


# --- parameters ---


def test_the_job_and_the_connection_are_template_fields() -> None:
    assert set(JiraTaskSensor.template_fields) == {"jira_task_id", "jira_conn_id"}
    assert set(TolokaOperationSensor.template_fields) == {"operation_id", "toloka_conn_id"}


def test_another_connection_is_used(
    archival_sandbox: Sandbox, connections: Connections, context: Any, deferrals: Deferrals, pauses: Pauses
) -> None:
    job_id = JiraCloudHook("jira_cloud_oauth").archive_issues_by_jql("key = DEMO-4")
    watch = JiraTaskSensor(
        task_id="watch", jira_task_id=job_id, jira_conn_id="jira_cloud_oauth", deferrable=True
    )
    assert deferrals.run(watch, context)["status"] == "COMPLETE"
    assert {request["cloud_id"] for request in archival_sandbox.requests(LOOKS["jira"])} == {
        "sandbox-cloud-id"
    }


def test_sensors_defer_by_default_where_the_configuration_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from airflow_provider_archival.sensors.jira import JiraTaskSensor\n"
        "from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator\n"
        "print(JiraTaskSensor(task_id='a', jira_task_id='1').deferrable,"
        " TolokaArchivePoolOperator(task_id='b', pool_id='1').deferrable)\n"
    )
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split()[-2:] == ["True", "True"]
