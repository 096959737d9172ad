"""How a wait ends, in words that are true: what was seen last, what failed since, which limit it was."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, TaskDeferred
from tries import Killed

from airflow_provider_archival.exceptions import ArchivalException, JobNotWatched, JobTimeout
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import JiraArchiveIssuesByJqlOperator
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Connections, Deferrals, Pauses
    from tests.unit.tries import Store, Tries

pytestmark = pytest.mark.usefixtures("connections")

JOBS: dict[str, dict[str, Any]] = {
    "archive": {"operator": JiraArchiveIssuesByJqlOperator, "jql": "project = DEMO"},
    "project": {"operator": TolokaArchiveProjectOperator, "project_id": PROJECT_READY},
}
LOOKS = {"archive": "/rest/api/3/task/*", "project": "/api/v1/operations/*"}


@pytest.fixture(params=JOBS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def frozen(pauses: Pauses, archival_sandbox: Sandbox) -> None:
    """Let no job end."""
    pauses.before = lambda: archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "freeze") and None


# --- timeout ---


@pytest.mark.usefixtures("frozen")
def test_a_timeout_tells_when_the_job_was_seen_last(
    kind: str, tries: Tries, archival_sandbox: Sandbox
) -> None:
    with pytest.raises(JobTimeout) as caught:
        tries.run(**JOBS[kind], timeout=600)
    assert re.search(
        r"did not end in time\. It was \w+ when last seen, at 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\."
        r" It goes on at \w+; this wait had a timeout of 600 s\. What to do: give it a longer timeout",
        str(caught.value),
    )


@pytest.mark.usefixtures("frozen")
def test_a_timeout_tells_what_failed_last(kind: str, tries: Tries, archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault(LOOKS[kind], skip=3, times=None, status=503)
    with pytest.raises(JobTimeout, match=r"It was \w+ when last seen, at .* The last look failed: .*503"):
        tries.run(**JOBS[kind], timeout=600)


def test_a_wait_that_never_saw_the_job_says_so_and_asks_for_no_longer_timeout(
    kind: str, tries: Tries, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    archival_sandbox.fault(LOOKS[kind], times=None, status=503)
    with pytest.raises(JobTimeout) as caught:
        tries.run(**JOBS[kind], timeout=600)
    assert "No look at it succeeded. The last look failed: " in str(caught.value)
    assert "HTTP 503" in str(caught.value)
    assert "longer timeout" not in str(caught.value)
    assert "a retry goes on with it" in str(caught.value)


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "never seen"])
def test_a_timeout_behind_another_job_tells_what_was_seen_of_that(
    tries: Tries, archival_sandbox: Sandbox, pauses: Pauses, is_seen: bool
) -> None:
    other = JiraCloudHook().archive_issues_by_jql("project = WEB AND issuetype in standardIssueTypes()")
    archival_sandbox.job(other, "freeze")
    if not is_seen:
        archival_sandbox.fault(LOOKS["archive"], times=None, status=503)
    with pytest.raises(JobTimeout, match=f"{other} was in the way all the time") as caught:
        tries.run(**JOBS["archive"], timeout=600)
    assert ("No look at it succeeded. The last look failed: " in str(caught.value)) is not is_seen
    assert ("longer timeout" in str(caught.value)) is is_seen
    assert ("when last seen, at " in str(caught.value)) is is_seen


# --- the connection ---


def test_a_connection_that_only_the_triggerer_lacks_ends_the_wait_with_what_a_retry_may_mend(
    kind: str,
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    deferrals: Deferrals,
    context: Any,
) -> None:
    conn_id = "jira_cloud_default" if kind == "archive" else "toloka_default"
    parameters = {**JOBS[kind]}
    task = parameters.pop("operator")(task_id="task", deferrable=True, **parameters)
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context)
    connections.remove(conn_id)
    event = deferrals.event_of(caught.value.trigger)
    assert event["outcome"] == "unwatched"
    assert 300 <= sum(pauses.asked) < 600
    with pytest.raises(JobNotWatched, match=f"'{conn_id}'") as ended:
        task.execute_complete(context, event)
    assert isinstance(ended.value, ArchivalException)
    assert not isinstance(ended.value, AirflowFailException)
    assert "a retry takes it up" in str(ended.value)
    assert str(ended.value).count(f"no Airflow connection '{conn_id}'") == 1
    assert archival_sandbox.requests("*/cancel") == []


def test_a_connection_that_is_away_for_a_moment_ends_nothing(
    kind: str,
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    deferrals: Deferrals,
    context: Any,
) -> None:
    conn_id = "jira_cloud_default" if kind == "archive" else "toloka_default"
    good = connections.fields(conn_id)
    parameters = {**JOBS[kind]}
    task = parameters.pop("operator")(task_id="task", deferrable=True, **parameters)
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context)
    connections.remove(conn_id)

    def comes_back() -> None:
        if sum(pauses.asked) > 120:
            connections.add(conn_id, **good)

    pauses.before = comes_back
    assert deferrals.event_of(caught.value.trigger)["outcome"] == "ended"


# --- execution_timeout ---


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("cancels", [False, True], ids=["goes on", "cancelled"])
def test_execution_timeout_ends_a_deferred_wait_as_timeout_does(
    archival_sandbox: Sandbox, pauses: Pauses, deferrals: Deferrals, context: Any, cancels: bool
) -> None:
    task = JiraArchiveIssuesByJqlOperator(
        task_id="task",
        jql="project = DEMO",
        deferrable=True,
        execution_timeout=timedelta(seconds=90),
        cancel_on_timeout=cancels,
    )
    with pytest.raises(JobTimeout, match=r"execution_timeout of 90 s\. What to do: give it a longer exec"):
        deferrals.run(task, context)
    assert sum(pauses.asked) == pytest.approx(90, abs=1)
    assert len(archival_sandbox.requests("*/cancel", "POST")) == int(cancels)


@pytest.mark.parametrize("cancels", [False, True], ids=["goes on", "cancelled"])
def test_execution_timeout_in_the_worker_does_with_the_job_as_cancel_on_timeout_says(
    archival_sandbox: Sandbox, pauses: Pauses, context: Any, cancels: bool
) -> None:
    """Airflow raises in the midst of whatever the task does, and calls ``on_kill`` while it handles that."""

    def time_is_up() -> None:
        raise AirflowTaskTimeout("Timeout, PID: 1")

    pauses.before = time_is_up
    task = JiraArchiveIssuesByJqlOperator(
        task_id="task",
        jql="project = DEMO",
        execution_timeout=timedelta(seconds=90),
        cancel_on_timeout=cancels,
        cancel_on_kill=not cancels,
    )
    try:
        task.execute(context)
    except AirflowTaskTimeout as error:
        task.on_kill()
        said = str(error)
    assert "execution_timeout of 90 s has passed. Jira task" in said
    assert ("is cancelled" if cancels else "goes on at Jira") in said
    assert len(archival_sandbox.requests("*/cancel", "POST")) == int(cancels)


def test_a_kill_in_the_worker_still_cancels(archival_sandbox: Sandbox, pauses: Pauses, context: Any) -> None:
    task = JiraArchiveIssuesByJqlOperator(task_id="task", jql="project = DEMO")

    def kill() -> None:
        raise Killed

    pauses.before = kill
    with pytest.raises(Killed):
        task.execute(context)
    task.on_kill()
    assert len(archival_sandbox.requests("*/cancel", "POST")) == 1


# --- what Airflow itself ends ---


@pytest.fixture
def deferred(
    store: Store, archival_sandbox: Sandbox, pauses: Pauses, context: Any
) -> Callable[..., tuple[Any, Any]]:
    """Defer a task that watches its job; returns it, and the context."""

    def make(**more: Any) -> tuple[Any, Any]:
        task = JiraArchiveIssuesByJqlOperator(
            task_id="task", jql="project = DEMO", deferrable=True, cancel_on_timeout=True, **more
        )
        own = {**context, "task_state_store": store}
        with pytest.raises(TaskDeferred):
            task.execute(own)
        return task, own

    return make


@pytest.fixture
def store() -> Store:
    from tries import Store

    return Store()


@pytest.mark.parametrize(
    "failed",
    [
        {"error": "Trigger failure", "traceback": ["Traceback", "TimeoutError: the timeout of the loop"]},
        {"error": "Trigger failure"},
        {"error": "Trigger failure: timeout"},
        {},
        None,
    ],
    ids=repr,
)
def test_only_a_deferral_that_timed_out_is_taken_for_a_timeout(
    deferred: Callable[..., tuple[Any, Any]], archival_sandbox: Sandbox, failed: Any
) -> None:
    task, context = deferred()
    with pytest.raises(JobNotWatched, match="a retry takes it up") as caught:
        task.resume_execution("__fail__", failed, context)
    assert archival_sandbox.jobs()[0]["id"] in str(caught.value)
    assert archival_sandbox.requests("*/cancel") == []
    if failed and "traceback" in failed:
        assert "TimeoutError: the timeout of the loop" in str(caught.value)


@pytest.mark.parametrize("reason", ["Trigger timeout", "Trigger/execution timeout"])
@pytest.mark.parametrize(
    ("more", "limit"),
    [
        ({"timeout": 600}, "timeout of 600 s"),
        ({"execution_timeout": timedelta(seconds=9)}, "execution_timeout of 9 s"),
    ],
)
def test_a_deferral_that_timed_out_names_its_limit(
    deferred: Callable[..., tuple[Any, Any]],
    archival_sandbox: Sandbox,
    reason: str,
    more: dict[str, Any],
    limit: str,
) -> None:
    task, context = deferred(**more)
    with pytest.raises(JobTimeout, match=f"no triggerer looked before the {limit} was up"):
        task.resume_execution("__fail__", {"error": reason}, context)
    assert len(archival_sandbox.requests("*/cancel", "POST")) == 1
