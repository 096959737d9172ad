"""Archiving by JQL more issues than one task takes: windows, one after the other."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from tries import Killed, Store, Tries, unpacked

from airflow_provider_archival.exceptions import BadInput, ServiceFault, TooManyIssues
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import JiraArchiveIssuesByJqlOperator

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Pauses

LIMIT = 100
JQL = "project = WEB AND issuetype in standardIssueTypes() ORDER BY created DESC"
WEB = "project = WEB AND issuetype in standardIssueTypes()"
ARCHIVE, COUNT = "/rest/api/3/issue/archive", "*/approximate-count"

pytestmark = pytest.mark.usefixtures("connections", "pauses")


@pytest.fixture(scope="session", params=["refuse", "first"])
def _limited(request: pytest.FixtureRequest, archival_sandbox_factory: Any) -> Sandbox:
    started: Sandbox = archival_sandbox_factory(
        issues=2500, job_seconds=3, issues_per_task=LIMIT, over_limit=request.param
    )
    return started


@pytest.fixture
def archival_sandbox(_limited: Sandbox) -> Sandbox:
    """A sandbox whose tasks take few issues, in both of the ways that Jira may treat more."""
    _limited.reset()
    return _limited


def archive(**more: Any) -> dict[str, Any]:
    return {
        "operator": JiraArchiveIssuesByJqlOperator,
        "jql": JQL,
        "issues_per_task": LIMIT,
        **more,
    }


def check(sandbox: Sandbox, result: dict[str, Any], matched: int) -> None:
    """Everything is archived, each task had no more than it may, and never two ran at once."""
    assert result["matched"] == matched
    assert result["left"] == 0
    assert sandbox.count(WEB, archived=False) == 0
    assert sandbox.counters()["jobs_overlapped"] == {"archive": 1}
    windows = result["windows"]
    assert (windows[0]["after"], windows[-1]["before"]) == (None, None)
    assert all(one["before"] == next["after"] for one, next in itertools.pairwise(windows))
    assert [id for window in windows for id in window["task_ids"]] == [
        task["task_id"] for task in result["tasks"]
    ]


def test_more_than_one_task_takes_is_archived_window_by_window(
    tries: Tries, archival_sandbox: Sandbox, logged: list[str]
) -> None:
    matched = archival_sandbox.count(WEB, archived=False)
    result = tries.run(**archive())
    check(archival_sandbox, result, matched)
    jobs = archival_sandbox.jobs()
    assert len(result["windows"]) == len(jobs) > matched / LIMIT
    assert all(0 < window["matched"] <= LIMIT * 0.9 for window in result["windows"])
    assert sum(window["matched"] for window in result["windows"]) == matched
    assert f"One task takes {LIMIT} issues: {len(jobs)} windows, one after the other" in logged
    assert not any("still match" in line for line in logged)


def test_up_to_the_limit_it_is_one_task_with_the_jql_as_it_was_given(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    jql = 'project = FIN AND created > "2024-01-01" AND issuetype in standardIssueTypes() ORDER BY key'
    matched = archival_sandbox.count(jql, archived=False)
    assert 0 < matched <= LIMIT
    result = tries.run(**archive(jql=jql))
    (request,) = archival_sandbox.requests(ARCHIVE, "POST")
    assert request["body"] == {"jql": jql}
    assert [(one["after"], one["before"]) for one in result["windows"]] == [(None, None)]


def test_a_dry_run_returns_the_plan_and_archives_nothing(tries: Tries, archival_sandbox: Sandbox) -> None:
    matched = archival_sandbox.count(WEB, archived=False)
    result = tries.run(**archive(dry_run=True))
    assert sum(window["matched"] for window in result["windows"]) == matched > LIMIT
    assert len(result["windows"]) > 1
    assert archival_sandbox.requests(ARCHIVE) == []
    assert archival_sandbox.count(WEB, archived=False) == matched


def test_the_guard_stops_before_any_window(tries: Tries, archival_sandbox: Sandbox) -> None:
    with pytest.raises(TooManyIssues):
        tries.run(**archive(max_issues=LIMIT + 1))
    assert archival_sandbox.requests(ARCHIVE) == []
    assert len(archival_sandbox.requests(COUNT)) == 1


def test_what_cannot_be_archived_is_told_and_makes_no_loop(
    tries: Tries, archival_sandbox: Sandbox, logged: list[str]
) -> None:
    """Subtasks whose parents do not match stay, and are the same number whenever they are counted."""
    jql = "project = WEB AND issuetype in subTaskIssueTypes()"
    matched = archival_sandbox.count(jql, archived=False)
    assert matched > LIMIT
    result = tries.run(**archive(jql=jql))
    assert result["left"] == matched == archival_sandbox.count(jql, archived=False)
    assert len(archival_sandbox.jobs()) == len(result["windows"])
    assert any(line.startswith(f"About {matched} of {matched} issues still match") for line in logged)
    assert any("did not archive everything" in line for line in logged)


def test_an_estimate_that_was_too_low_is_cut_when_jira_refuses(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    if archival_sandbox.settings.over_limit == "refuse":
        matched = archival_sandbox.count(WEB, archived=False)
        low = {"path": "/rest/api/3/search/approximate-count", "body": {"count": LIMIT}}
        # The first count and the one before the submit.
        archival_sandbox.fault(low["path"], status=200, body=low["body"], times=2)
        result = tries.run(**archive())
        assert sum(window["matched"] for window in result["windows"]) == matched
        assert result["left"] == 0
        assert archival_sandbox.count(WEB, archived=False) == 0


def test_without_waiting_only_the_last_task_goes_on(tries: Tries, archival_sandbox: Sandbox) -> None:
    result = tries.run(**archive(wait_for_completion=False))
    *others, last = archival_sandbox.jobs()
    assert len(others) > 2
    assert all(job["ended"] for job in others)
    assert last["ended"] is None
    assert result["left"] is None
    assert result["tasks"][-1]["task_id"] == last["id"]


@pytest.mark.parametrize("issues_per_task", [0, -1, "many", 1.5], ids=repr)
def test_an_impossible_number_for_a_task_fails_for_good(
    tries: Tries, archival_sandbox: Sandbox, issues_per_task: Any
) -> None:
    with pytest.raises(BadInput, match="issues_per_task must be a whole number"):
        tries.run(**archive(issues_per_task=issues_per_task))
    assert archival_sandbox.requests(ARCHIVE) == []


class KilledAt:
    """A store whose process is killed at one of the times that something is kept, before or after that."""

    def __init__(self, store: Store, number: int, *, before: bool) -> None:
        self._store, self._left, self._before = store, number, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def set(self, key: str, value: Any) -> None:
        self._left -= 1
        if self._left == 0 and self._before:
            raise Killed
        self._store.set(key, value)
        if self._left == 0:
            raise Killed


@pytest.mark.parametrize("before", [False, True], ids=["after keeping", "before keeping"])
@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize("_limited", ["refuse"], indirect=True)
def test_a_crash_at_any_point_and_a_retry_end_the_same_and_do_nothing_twice(
    tries: Tries, store: Store, archival_sandbox: Sandbox, number: int, before: bool
) -> None:
    matched = archival_sandbox.count(WEB, archived=False)
    tries.store = KilledAt(store, number, before=before)  # type: ignore[assignment]
    with pytest.raises(Killed):
        tries.run(**archive())
    tries.store = store

    result = tries.run(**archive())

    assert archival_sandbox.count(WEB, archived=False) == 0
    assert archival_sandbox.counters()["jobs_overlapped"] == {"archive": 1}
    assert result["left"] == 0
    # Each of the jobs had something to archive: none repeats another's window.
    updated = [job["result"]["numberOfIssuesUpdated"] for job in archival_sandbox.jobs()]
    assert all(updated)
    if store.history and unpacked(store.history[0])["state"] is not None:
        check(archival_sandbox, {**result, "matched": matched}, matched)
        ids = {task["task_id"] for task in result["tasks"]}
        assert ids == {job["id"] for job in archival_sandbox.jobs()}
    assert store.kept == {}


def test_a_job_that_failed_is_repeated_and_the_windows_before_it_are_not(
    tries: Tries, store: Store, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    matched = archival_sandbox.count(WEB, archived=False)

    def fail_the_third() -> None:
        jobs = archival_sandbox.jobs()
        if len(jobs) == 3:
            archival_sandbox.job(jobs[-1]["id"], "fail")
            pauses.before = None

    pauses.before = fail_the_third
    with pytest.raises(Exception, match="ended FAILED"):
        tries.run(**archive())
    result = tries.run(**archive())
    check(archival_sandbox, result, matched)
    jobs = [job["id"] for job in archival_sandbox.jobs()]
    assert [task["task_id"] for task in result["tasks"]] == [jobs[0], jobs[1], *jobs[3:]]


def test_a_service_that_is_down_between_two_windows_loses_nothing(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    matched = archival_sandbox.count(WEB, archived=False)
    archival_sandbox.fault(ARCHIVE, method="POST", status=503, skip=2, times=8)
    with pytest.raises(ServiceFault):
        tries.run(**archive())
    archival_sandbox.clear_faults()
    result = tries.run(**archive())
    check(archival_sandbox, result, matched)


def first_window_fails(tries: Tries, archival_sandbox: Sandbox) -> int:
    """Run a try that archives the first window and fails; returns how many issues it left."""
    archival_sandbox.fault(ARCHIVE, method="POST", skip=1, times=None, status=503)
    with pytest.raises(ServiceFault):
        tries.run(**archive())
    archival_sandbox.clear_faults()
    assert len(archival_sandbox.jobs()) == 1
    return archival_sandbox.count(WEB, archived=False)


def test_a_retry_with_dry_run_archives_no_more(tries: Tries, archival_sandbox: Sandbox) -> None:
    left = first_window_fails(tries, archival_sandbox)
    result = tries.run(**archive(dry_run=True))
    assert len(result["windows"]) > 1
    assert archival_sandbox.count(WEB, archived=False) == left
    assert len(archival_sandbox.jobs()) == 1


def test_a_retry_with_a_lower_guard_archives_no_more_and_goes_on_when_it_is_raised(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    left = first_window_fails(tries, archival_sandbox)
    with pytest.raises(TooManyIssues, match=f"About {left} match now, and max_issues is {left - 1}"):
        tries.run(**archive(max_issues=left - 1))
    assert len(archival_sandbox.jobs()) == 1
    result = tries.run(**archive(max_issues=left))
    assert result["left"] == 0
    assert [id for one in result["windows"] for id in one["task_ids"]] == [
        job["id"] for job in archival_sandbox.jobs()
    ]


def test_a_window_that_another_archive_was_taken_for_is_archived_although_a_third_is_in_the_way(
    tries: Tries, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    busy = {"errorMessages": ["An issue archival task is already running."], "errors": {}}

    def another_starts() -> None:
        pauses.before = None
        JiraCloudHook().archive_issues_by_jql("project = DEMO AND issuetype in standardIssueTypes()")
        archival_sandbox.fault(ARCHIVE, method="POST", skip=1, status=412, body=busy)

    archival_sandbox.fault(ARCHIVE, method="POST", status=503)
    pauses.before = another_starts
    jql = 'project = FIN AND created > "2024-01-01" AND issuetype in standardIssueTypes()'
    result = tries.run(**archive(jql=jql))
    assert result["left"] == 0
    assert archival_sandbox.count(jql, archived=False) == 0
    assert archival_sandbox.counters()["jobs_submitted"] == {"archive": 2}
