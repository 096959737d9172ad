"""How a trigger watches a job: its events, what it survives, what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.triggers.base import BaseTrigger
from said import refusal

from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY
from airflow_provider_archival.triggers.jira import JiraTaskTrigger
from airflow_provider_archival.triggers.toloka import TolokaOperationTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.sandbox.client import Sandbox
    from airflow_provider_archival.triggers.base import JobTrigger
    from tests.unit.conftest import Connections, Deferrals, Pauses

LOOKS = {"jira": "/rest/api/3/task/*", "toloka": "/api/v1/operations/*"}
JQL = "key = DEMO-4"


@pytest.fixture(params=["jira", "toloka"])
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def job_id(connections: Connections, service: str) -> str:
    """A job that runs."""
    if service == "jira":
        return JiraCloudHook().archive_issues_by_jql(JQL)
    operation = TolokaHook().archive_project(PROJECT_READY)
    assert operation
    return operation.id


@pytest.fixture
def trigger(service: str, job_id: str) -> Callable[..., JobTrigger]:
    """Make a trigger that watches the job."""

    def make(seconds: float = 3600, **more: Any) -> JobTrigger:
        common: dict[str, Any] = {"poll_interval": 30, "end_time": time.time() + seconds, **more}
        if service == "jira":
            return JiraTaskTrigger(**{"jira_task_id": job_id, "jira_conn_id": "jira_cloud_default", **common})
        return TolokaOperationTrigger(
            **{"operation_id": job_id, "toloka_conn_id": "toloka_default", **common}
        )

    return make


def id_of(job: dict[str, Any]) -> Any:
    return job.get("task_id") or job.get("operation_id")


# --- events ---


def test_a_job_that_ends_well_is_an_event_with_the_job(
    trigger: Callable[..., JobTrigger], job_id: str, pauses: Pauses, deferrals: Deferrals
) -> None:
    event = deferrals.event_of(trigger(carried={"a": [1]}))
    assert (event["outcome"], event["carried"]) == ("ended", {"a": [1]})
    assert id_of(event["job"]) == job_id
    assert event["job"]["status"] in ("COMPLETE", "SUCCESS")


@pytest.mark.parametrize("action", ["fail", "die", "cancel"])
def test_a_job_that_ends_badly_is_an_event_too_and_no_failure_of_the_trigger(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    job_id: str,
    pauses: Pauses,
    deferrals: Deferrals,
    action: str,
) -> None:
    archival_sandbox.job(job_id, action, message="It was not to be.")
    event = deferrals.event_of(trigger())
    assert event["outcome"] == "ended"
    assert event["job"]["status"] in ("FAILED", "DEAD", "CANCELLED", "FAIL")
    assert "It was not to be." in json.dumps(event["job"])


def test_a_job_that_is_over_is_told_at_the_first_look(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    job_id: str,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.job(job_id, "finish")
    assert deferrals.event_of(trigger())["outcome"] == "ended"
    assert pauses.asked == []


def test_time_that_is_up_is_an_event_with_the_job_as_it_was_seen_last(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    job_id: str,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.job(job_id, "freeze")
    event = deferrals.event_of(trigger(seconds=600))
    assert event["outcome"] == "timeout"
    assert id_of(event["job"]) == job_id
    assert sum(pauses.asked) == pytest.approx(600)
    assert not archival_sandbox.job(job_id)["ended"]


def test_time_that_was_up_before_the_trigger_began_still_allows_a_look(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    job_id: str,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.job(job_id, "finish")
    assert deferrals.event_of(trigger(seconds=-60))["outcome"] == "ended"


def test_time_that_is_up_without_a_look_that_succeeded_is_an_event_without_a_job(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    service: str,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.fault(LOOKS[service], status=503, times=None)
    event = deferrals.event_of(trigger(seconds=600))
    assert (event["outcome"], event["job"], event["carried"]) == ("timeout", None, None)
    assert event["message"].startswith("No look at it succeeded. The last look failed: ")
    assert "HTTP 503" in event["message"]


@pytest.mark.parametrize("status", [400, 401, 403, 405])
def test_a_refusal_is_an_event_with_what_to_do(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    service: str,
    pauses: Pauses,
    deferrals: Deferrals,
    status: int,
) -> None:
    archival_sandbox.fault(LOOKS[service], status=status, body=refusal(service), times=None)
    event = deferrals.event_of(trigger())
    assert (event["outcome"], event["carried"]) == ("refused", None)
    assert f"HTTP {status}: " in event["message"]
    assert "Because." in event["message"]
    assert len(archival_sandbox.requests(LOOKS[service])) == 1


@pytest.mark.parametrize("seen_before", [True, False])
def test_a_job_that_is_gone_is_an_event(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    job_id: str,
    pauses: Pauses,
    deferrals: Deferrals,
    seen_before: bool,
) -> None:
    archival_sandbox.job(job_id, "freeze")

    def forget() -> None:
        pauses.before = None
        archival_sandbox.job(job_id, "forget")

    if seen_before:
        pauses.before = forget
    else:
        forget()
    event = deferrals.event_of(trigger())
    assert event["outcome"] == "gone"
    assert "HTTP 404" in event["message"]
    assert (event["job"] is not None) is seen_before


# --- what a watch survives ---


@pytest.mark.parametrize(
    "what",
    [
        {"status": 429, "headers": {"Retry-After": "5"}},
        {"status": 500, "body": "html"},
        {"status": 503},
        {"reset": "before"},
        {"reset": "after"},
        {"body": "html"},
        {"body": "broken"},
        {"body": "empty"},
        {"truncate": True},
        {"status": 200, "body": {"what": "ever"}},
    ],
    ids=str,
)
def test_passing_faults_do_not_end_a_watch(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    service: str,
    pauses: Pauses,
    deferrals: Deferrals,
    what: dict[str, Any],
) -> None:
    archival_sandbox.fault(LOOKS[service], times=20, **what)
    assert deferrals.event_of(trigger())["outcome"] == "ended"
    assert len(archival_sandbox.requests(LOOKS[service])) == 21


def test_timeouts_do_not_end_a_watch(
    archival_sandbox: Sandbox,
    connections: Connections,
    trigger: Callable[..., JobTrigger],
    service: str,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    connections.change("jira_cloud_default", extra={"timeout": 0.15})
    connections.change("toloka_default", extra={"timeout": 0.15})
    archival_sandbox.fault(LOOKS[service], delay=60, times=3)
    assert deferrals.event_of(trigger())["outcome"] == "ended"


def test_a_refused_connection_does_not_end_a_watch(
    connections: Connections,
    archival_sandbox: Sandbox,
    refused_url: str,
    trigger: Callable[..., JobTrigger],
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    for conn_id in ("jira_cloud_default", "toloka_default"):
        connections.change(conn_id, host=refused_url)
    assert deferrals.event_of(trigger(seconds=100))["outcome"] == "timeout"
    assert len(pauses.asked) > 3


@pytest.mark.parametrize("how", ["missing", "incomplete"])
def test_a_connection_that_can_not_be_looked_up_for_a_while_does_not_end_a_watch(
    connections: Connections,
    trigger: Callable[..., JobTrigger],
    service: str,
    pauses: Pauses,
    deferrals: Deferrals,
    logged: list[str],
    how: str,
) -> None:
    conn_id = {"jira": "jira_cloud_default", "toloka": "toloka_default"}[service]
    good = connections.fields(conn_id)
    if how == "missing":
        connections.remove(conn_id)
    else:
        connections.change(conn_id, password=None)

    def mend() -> None:
        if len(pauses.asked) == 3:
            connections.change(conn_id, **good)

    pauses.before = mend
    assert deferrals.event_of(trigger())["outcome"] == "ended"
    assert any("could not look at it now, going on" in line for line in logged)


def test_the_services_wish_to_wait_is_honoured(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    service: str,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.fault(LOOKS[service], status=429, headers={"Retry-After": "77"})
    deferrals.event_of(trigger())
    assert pauses.asked[0] == 77


def test_the_poll_interval_is_kept(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    job_id: str,
    pauses: Pauses,
    deferrals: Deferrals,
) -> None:
    archival_sandbox.job(job_id, "freeze")
    deferrals.event_of(trigger(poll_interval=5, seconds=300))
    assert max(pauses.asked) <= 5


def test_a_status_that_is_not_documented_is_no_end(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    service: str,
    pauses: Pauses,
    deferrals: Deferrals,
    logged: list[str],
) -> None:
    body = {"id": "1", "type": "PROJECT.ARCHIVE", "status": "HIBERNATING"}
    archival_sandbox.fault(LOOKS[service], status=200, body=body, times=5)
    assert deferrals.event_of(trigger())["outcome"] == "ended"
    assert len([line for line in logged if "a status that is not documented" in line]) == 1


def test_a_watch_outlives_its_token(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, deferrals: Deferrals
) -> None:
    job_id = JiraCloudHook("jira_cloud_oauth").archive_issues_by_jql(JQL)
    archival_sandbox.job(job_id, "freeze")
    archival_sandbox.clear_counters()

    def before() -> None:
        if len(pauses.asked) == 2:
            archival_sandbox.expire_tokens()
        if len(pauses.asked) == 4:
            archival_sandbox.job(job_id, "finish")

    pauses.before = before
    watch = JiraTaskTrigger(job_id, "jira_cloud_oauth", 30, time.time() + 3600)
    assert deferrals.event_of(watch)["outcome"] == "ended"
    assert len(archival_sandbox.requests("/oauth/token")) == 3  # one of the hook's, two of the trigger's


# --- what is serialised ---


@pytest.mark.parametrize("carried", [None, {"done": [], "notes": {"jql": "x"}, "end_time": 1.5}])
def test_a_trigger_comes_back_from_plain_data(trigger: Callable[..., JobTrigger], carried: Any) -> None:
    made = trigger(carried=carried)
    path, kwargs = made.serialize()
    assert path == f"{type(made).__module__}.{type(made).__qualname__}"
    assert json.loads(json.dumps(kwargs)) == kwargs
    assert type(made)(**kwargs).serialize() == (path, kwargs)
    assert isinstance(made, BaseTrigger)


def test_cancel_on_kill_is_serialised() -> None:
    made = JiraTaskTrigger("1", "jira_cloud_default", 30, 1.0, cancel_on_kill=True)
    assert JiraTaskTrigger(**made.serialize()[1]).cancel_on_kill is True


# --- kills ---


def killable(job_id: str, **more: Any) -> JiraTaskTrigger:
    return JiraTaskTrigger(job_id, "jira_cloud_default", 30, time.time() + 60, **more)


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_a_kill_cancels_the_task_only_where_that_is_wished(
    archival_sandbox: Sandbox, connections: Connections, cancel_on_kill: bool
) -> None:
    job_id = JiraCloudHook().archive_issues_by_jql(JQL)
    asyncio.run(killable(job_id, cancel_on_kill=cancel_on_kill).on_kill())
    assert len(archival_sandbox.requests("*/cancel", "POST")) == int(cancel_on_kill)


def test_a_trigger_of_a_sensor_cancels_nothing_by_default(
    archival_sandbox: Sandbox, connections: Connections
) -> None:
    asyncio.run(killable("10101").on_kill())
    assert archival_sandbox.requests() == []


@pytest.mark.parametrize(
    "what",
    [{"status": 403}, {"status": 400}, {"status": 503}, {"reset": "after"}, {"body": "html", "status": 502}],
)
def test_a_cancellation_that_fails_is_told_and_raises_nothing(
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    logged: list[str],
    what: dict[str, Any],
) -> None:
    archival_sandbox.fault("*/cancel", times=None, **what)
    asyncio.run(killable("10101", cancel_on_kill=True).on_kill())
    assert any(line.startswith("Could not cancel Jira task 10101: ") for line in logged)
    assert len(archival_sandbox.requests("*/cancel")) <= 2


def test_a_cancellation_without_a_connection_raises_nothing(
    own_connections: Connections, logged: list[str]
) -> None:
    asyncio.run(killable("10101", cancel_on_kill=True).on_kill())
    assert any("Could not cancel Jira task 10101" in line for line in logged)


# --- what is left behind, and how many there may be ---


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every ``aiohttp`` session that is made."""
    import aiohttp

    made: list[Any] = []
    make = aiohttp.ClientSession.__init__

    def listen(self: Any, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        make(self, *args, **kwargs)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", listen)
    return made


async def event_of(trigger: BaseTrigger) -> Any:
    async for event in trigger.run():
        return event.payload
    return None


async def test_a_cancelled_trigger_leaves_no_session_and_cancels_nothing(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    service: str,
    job_id: str,
    sessions: list[Any],
) -> None:
    archival_sandbox.job(job_id, "freeze")
    watching = trigger(cancel_on_kill=True) if service == "jira" else trigger()
    task = asyncio.create_task(event_of(watching))
    await asyncio.to_thread(until_asked, archival_sandbox, LOOKS[service])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await watching.cleanup()
    assert [session.closed for session in sessions] == [True]
    assert archival_sandbox.requests("*/cancel") == []


def until_asked(sandbox: Sandbox, path: str) -> None:
    while not any(request["status"] for request in sandbox.requests(path)):
        time.sleep(0.01)


async def test_many_triggers_share_one_session_and_look_the_connection_up_once(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    service: str,
    pauses: Pauses,
    sessions: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = {"jira": JiraCloudHook, "toloka": TolokaHook}[service]
    looked_up: list[str] = []
    site_of = hook.site_of

    def listen(self: Any, *args: Any) -> Any:
        looked_up.append(self.conn_name_attr)
        return site_of(self, *args)

    monkeypatch.setattr(hook, "site_of", listen)
    events = await asyncio.gather(*(event_of(trigger()) for _ in range(100)))
    assert {event["outcome"] for event in events} == {"ended"}
    assert (len(sessions), len(looked_up)) == (1, 1)
    assert sessions[0].closed


async def test_a_trigger_that_ends_does_not_take_the_others_session(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, sessions: list[Any]
) -> None:
    archive = JiraCloudHook().archive_issues_by_jql(JQL)
    export = JiraCloudHook().export_archived_issues().id
    archival_sandbox.job(archive, "finish")
    first, second = await asyncio.gather(event_of(killable(archive)), event_of(killable(export)))
    assert (first["outcome"], second["outcome"]) == ("ended", "ended")
    assert len(sessions) == 1


def test_a_watch_tells_changes_and_not_each_look(
    archival_sandbox: Sandbox,
    trigger: Callable[..., JobTrigger],
    service: str,
    pauses: Pauses,
    deferrals: Deferrals,
    logged: list[str],
) -> None:
    deferrals.event_of(trigger(poll_interval=0.02))
    told = [line for line in logged if line.startswith(("Jira task", "Toloka operation"))]
    assert told[-1].endswith((": COMPLETE, 100 %", ": SUCCESS, 100 %"))
    assert 5 < len(told) <= 13 < len(archival_sandbox.requests(LOOKS[service]))


def test_the_sandboxes_credentials_are_not_in_a_trigger(trigger: Callable[..., JobTrigger]) -> None:
    serialised = json.dumps(trigger().serialize())
    for secret in (credentials.JIRA_ADMIN_API_TOKEN, credentials.TOLOKA_OAUTH_TOKEN):
        assert secret not in serialised
