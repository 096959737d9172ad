"""Whatever is asked for and wherever a try is killed: everything is done, and nothing twice."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tries import Killed, Store, Tries

from airflow_provider_archival.api import jira
from airflow_provider_archival.exceptions import TooManyIssues
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import JiraArchiveIssuesByJqlOperator, JiraArchiveIssuesOperator

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Deferrals, TaskInstance

LIMIT = 5
PROJECT = "FIN"
ARCHIVE = "/rest/api/3/issue/archive"
# From 2001 to 2023, some at the same minute.
MINUTES = st.integers(16_666_667, 28_333_333).map(lambda minute: minute * 60.0)
TIMES = st.lists(MINUTES, min_size=1, max_size=14).flatmap(
    lambda some: st.lists(st.sampled_from(some), min_size=1, max_size=24)
)
# The sandbox and the time are set back for each example.
EXAMPLES = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

pytestmark = pytest.mark.usefixtures("connections", "pauses")


@pytest.fixture(scope="session", params=["refuse", "first"])
def _limited(request: pytest.FixtureRequest, archival_sandbox_factory: Any) -> Sandbox:
    started: Sandbox = archival_sandbox_factory(issues=5, issues_per_task=LIMIT, over_limit=request.param)
    return started


@pytest.fixture
def archival_sandbox(_limited: Sandbox) -> Sandbox:
    _limited.reset()
    return _limited


def dies_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process be killed when so many requests have been answered."""
    call = JiraCloudHook.call
    answered = 0

    def counted(self: JiraCloudHook, *request: Any, **how: Any) -> Any:
        nonlocal answered
        answer = call(self, *request, **how)
        answered += 1
        if answered == calls:
            raise Killed
        return answer

    monkeypatch.setattr(JiraCloudHook, "call", counted)


@EXAMPLES
@given(created=TIMES, killed_at=st.integers(1, 40))
def test_each_issue_is_archived_once_by_windows_that_hold_no_more_than_they_may(
    archival_sandbox: Sandbox, ti: TaskInstance, deferrals: Deferrals, created: list[float], killed_at: int
) -> None:
    fullest = max(collections.Counter(created).values())
    # What can't be cut and is refused is a test of its own.
    assume(fullest <= LIMIT or archival_sandbox.settings.over_limit == "first")
    archival_sandbox.reset()
    archival_sandbox.add_issues(PROJECT, created)
    tries = Tries(ti, Store(), deferrals, deferrable=False)
    task = {"jql": f"project = {PROJECT} ORDER BY key", "issues_per_task": LIMIT}
    with pytest.MonkeyPatch.context() as monkeypatch:
        dies_after(killed_at, monkeypatch)
        try:
            result = tries.run(JiraArchiveIssuesByJqlOperator, **task)
        except Killed:
            result = tries.run(JiraArchiveIssuesByJqlOperator, **task)

    counters = archival_sandbox.counters()
    assert archival_sandbox.count(f"project = {PROJECT}", archived=True) == len(created)
    assert result["left"] == 0
    assert counters["issues_archived"] == len(created)
    assert counters["jobs_overlapped"] == {"archive": 1}
    assert max(job["result"]["numberOfIssuesUpdated"] for job in archival_sandbox.jobs()) <= LIMIT
    if fullest <= LIMIT:
        # No window is archived twice, but for one whose task was not remembered when the try was killed.
        windows = [job["payload"]["jql"] for job in archival_sandbox.jobs()]
        assert len(windows) <= len(set(windows)) + 1


def test_more_in_one_minute_than_jira_takes_is_archived_or_named_with_what_to_do(
    archival_sandbox: Sandbox, ti: TaskInstance, deferrals: Deferrals
) -> None:
    archival_sandbox.add_issues(PROJECT, [1_000_000_020.0] * 12 + [1_100_000_040.0])
    tries = Tries(ti, Store(), deferrals, deferrable=False)
    task = {"jql": f"project = {PROJECT}", "issues_per_task": LIMIT}
    if archival_sandbox.settings.over_limit == "refuse":
        with pytest.raises(TooManyIssues, match=r"12 issues were created in one minute.*2001-09-09 01:47"):
            tries.run(JiraArchiveIssuesByJqlOperator, **task)
        return
    result = tries.run(JiraArchiveIssuesByJqlOperator, **task)
    assert (len(result["tasks"]), result["left"]) == (4, 0)


@EXAMPLES
@given(
    numbers=st.lists(st.integers(1, 16), min_size=1, max_size=40),
    killed_at=st.integers(1, 12),
    size=st.integers(1, 4),
)
def test_each_key_is_asked_for_once_and_the_report_tells_of_all(
    archival_sandbox: Sandbox, ti: TaskInstance, numbers: list[int], killed_at: int, size: int
) -> None:
    archival_sandbox.reset()
    there = archival_sandbox.add_issues(PROJECT, [1_600_000_000.0] * 12)
    wanted = list(dict.fromkeys(f"{PROJECT}-{number}" for number in numbers))
    task = JiraArchiveIssuesOperator(
        task_id="archive", issue_ids_or_keys=[f"{PROJECT}-{n}" for n in numbers], fail_on_partial_error=False
    )
    context: Any = {"ti": ti, "task_state_store": Store()}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(jira, "MAX_KEYS_PER_REQUEST", size)
        dies_after(killed_at, monkeypatch)
        try:
            result = task.execute(context)
        except Killed:
            result = task.execute(context)

    missing = {key for error in result["errors"].values() for key in error["issue_ids_or_keys"]}
    assert result["requested"] == len(wanted)
    # A chunk in which nothing can be archived is refused as a whole, which says the same of its keys.
    assert missing == set(wanted) - set(there)
    for key in wanted:
        assert key not in there or archival_sandbox.issue(key)["archived"]
    asked = [request["body"]["issueIdsOrKeys"] for request in archival_sandbox.requests(ARCHIVE)]
    assert all(len(chunk) <= size for chunk in asked)
    times = collections.Counter(key for chunk in asked for key in chunk)
    # The one chunk whose answer was not remembered is asked for again.
    assert {key for key, number in times.items() if number > 1} <= set(asked[min(killed_at, len(asked)) - 1])
    assert max(times.values()) <= 2
