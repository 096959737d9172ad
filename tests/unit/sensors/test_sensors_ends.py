"""Sensors under limits, edges and Airflow's own timeouts, as the operators are."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    TaskDeferred,
)
from said import EDGES_PAGE

from airflow_provider_archival.exceptions import JobNotWatched, WatchedJobFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.sandbox.client import Sandbox
    from airflow_provider_archival.sensors.base import JobSensor
    from tests.unit.conftest import Connections, Deferrals, Pauses

LOOKS = {"jira": "/rest/api/3/task/*", "toloka": "/api/v1/operations/*"}
CONNECTIONS = {"jira": "jira_cloud_default", "toloka": "toloka_default"}
SENSOR_MODULE: Any = sys.modules[BaseSensorOperator.__module__]


# --- limits ---


@pytest.mark.parametrize("status", [429, 503])
def test_the_next_poke_is_when_the_service_wants_it(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    context: Any,
    pauses: Pauses,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    archival_sandbox.fault(LOOKS[service], status=status, headers={"Retry-After": "1800"})
    assert sensor(timeout=24 * 60 * 60).execute(context)["status"] in ("COMPLETE", "SUCCESS")
    assert pauses.asked[0] == 1800


def test_a_poke_that_is_rescheduled_comes_when_the_service_wants_it(
    archival_sandbox: Sandbox, sensor: Callable[..., JobSensor], service: str, context: Any, pauses: Pauses
) -> None:
    archival_sandbox.fault(LOOKS[service], status=429, headers={"Retry-After": "1800"})
    task = sensor(mode="reschedule", timeout=24 * 60 * 60)
    assert task.poke(context) is False
    assert task._get_next_poke_interval(0.0, lambda: 0.0, 1) == 1800
    assert task.poke(context) is False
    assert task._get_next_poke_interval(0.0, lambda: 0.0, 1) == 30


def test_no_pause_between_pokes_is_longer_than_the_timeout(
    archival_sandbox: Sandbox, sensor: Callable[..., JobSensor], service: str, context: Any, pauses: Pauses
) -> None:
    archival_sandbox.fault(LOOKS[service], status=429, headers={"Retry-After": "1000000000"})
    task = sensor(timeout=600)
    assert task.poke(context) is False
    assert task._get_next_poke_interval(0.0, lambda: 0.0, 1) == 600


def test_a_pause_that_the_first_poke_is_asked_for_is_made_deferred(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.fault(LOOKS[service], status=429, headers={"Retry-After": "1800"})
    value = deferrals.run(sensor(deferrable=True, timeout=24 * 60 * 60), context)
    assert value["status"] in ("COMPLETE", "SUCCESS")
    times = [entry["time"] for entry in archival_sandbox.requests(LOOKS[service])]
    assert times[1] - times[0] >= 1799


def test_a_pause_that_the_first_poke_is_asked_for_ends_with_the_timeout(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    job_id: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.job(job_id, "freeze")
    archival_sandbox.fault(LOOKS[service], status=429, headers={"Retry-After": "1800"})
    with pytest.raises(AirflowSensorTimeout):
        deferrals.run(sensor(deferrable=True, timeout=600), context)
    assert sum(pauses.asked) == pytest.approx(600, abs=1)


def test_a_pause_between_pokes_ends_with_the_timeout(sensor: Callable[..., JobSensor]) -> None:
    task = sensor(timeout=600)
    task._asked = 3600.0
    assert task._get_next_poke_interval(0.0, lambda: 500.0, 1) == 100


def test_soft_fail_skips_a_deferred_sensor_whose_execution_timeout_has_passed(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    job_id: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.job(job_id, "freeze")
    task = sensor(deferrable=True, soft_fail=True, execution_timeout=timedelta(seconds=90))
    with pytest.raises(AirflowSkipException):
        deferrals.run(task, context)


# --- whose answer ---


@pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
@pytest.mark.parametrize("status", [400, 403, 404])
def test_an_edges_page_is_not_yet(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    status: int,
    deferrable: bool,
) -> None:
    page = {"headers": {"Content-Type": "text/html"}, "body": EDGES_PAGE}
    archival_sandbox.fault(LOOKS[service], status=status, times=6, **page)
    value = deferrals.run(sensor(deferrable=deferrable, timeout=6000), context)
    assert value["status"] in ("COMPLETE", "SUCCESS")


@pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferrable"])
def test_a_job_that_was_seen_is_gone_only_when_the_service_says_so_twice(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    job_id: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    # The deferral's first look is the second one after the poke's.
    archival_sandbox.fault(LOOKS[service], status=404, skip=2 if deferrable else 1)
    assert deferrals.run(sensor(deferrable=deferrable, timeout=6000), context)
    archival_sandbox.fault(LOOKS[service], status=404, times=None)
    with pytest.raises(WatchedJobFailed):
        deferrals.run(sensor(deferrable=deferrable), context)


@pytest.mark.parametrize("status", [401, 403])
def test_a_job_that_was_seen_may_be_hidden_for_a_few_pokes(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    service: str,
    context: Any,
    pauses: Pauses,
    status: int,
) -> None:
    archival_sandbox.fault(LOOKS[service], status=status, skip=1, times=3)
    assert sensor(timeout=6000, poke_interval=5).execute(context)


# --- Airflow's own timeouts ---


def test_execution_timeout_holds_for_a_deferred_sensor_and_is_named(
    archival_sandbox: Sandbox,
    sensor: Callable[..., JobSensor],
    job_id: str,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.job(job_id, "freeze")
    task = sensor(deferrable=True, timeout=6000, execution_timeout=timedelta(seconds=90))
    # What Airflow raises in the worker: it is retried, where a sensor's own timeout is not.
    with pytest.raises(
        AirflowTaskTimeout, match=r"within the sensor's execution_timeout of 90 s; it was \w+"
    ):
        deferrals.run(task, context)
    assert sum(pauses.asked) == pytest.approx(90, abs=1)
    assert deferrals.seen[0].timeout <= timedelta(seconds=90)


@pytest.mark.parametrize(
    ("more", "kind", "limit"),
    [
        ({"timeout": 600}, AirflowSensorTimeout, "timeout of 600 s"),
        ({"execution_timeout": timedelta(seconds=90)}, AirflowTaskTimeout, "execution_timeout of 90 s"),
    ],
)
@pytest.mark.parametrize("reason", ["Trigger timeout", "Trigger/execution timeout"])
def test_a_deferral_that_nobody_ran_names_its_limit(
    sensor: Callable[..., JobSensor],
    context: Any,
    more: dict[str, Any],
    kind: type[BaseException],
    limit: str,
    reason: str,
) -> None:
    task = sensor(deferrable=True, **more)
    with pytest.raises(TaskDeferred):
        task.execute(context)
    with pytest.raises(kind, match=f"{limit}; no triggerer looked before the time was up"):
        task.resume_execution("__fail__", {"error": reason}, context)
    with pytest.raises(AirflowSkipException, match=limit):
        sensor(deferrable=True, soft_fail=True, **more).resume_execution(
            "__fail__", {"error": reason}, context
        )


def test_a_trigger_that_failed_is_no_timeout(sensor: Callable[..., JobSensor], context: Any) -> None:
    failed = {"error": "Trigger failure", "traceback": ["TimeoutError: timeout"]}
    with pytest.raises(JobNotWatched, match="Trigger failure: TimeoutError: timeout"):
        sensor(deferrable=True).resume_execution("__fail__", failed, context)
    with pytest.raises(AirflowSkipException):
        sensor(deferrable=True, soft_fail=True).resume_execution("__fail__", failed, context)


# --- the connection ---


def test_a_connection_that_only_the_triggerer_lacks_ends_the_wait_with_what_a_retry_may_mend(
    sensor: Callable[..., JobSensor],
    service: str,
    connections: Connections,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    task = sensor(deferrable=True, timeout=24 * 60 * 60)
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context)
    connections.remove(CONNECTIONS[service])
    event = deferrals.event_of(caught.value.trigger)
    assert 300 <= sum(pauses.asked) < 600
    with pytest.raises(JobNotWatched, match=f"'{CONNECTIONS[service]}'") as ended:
        task.execute_complete(context, event)
    assert not isinstance(ended.value, AirflowFailException)
