"""``max_issues`` holds at the moment of doing: what this run has archived, plus what matches then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tries import Killed, Tries

from airflow_provider_archival.exceptions import TooManyIssues
from airflow_provider_archival.operators.jira import JiraArchiveIssuesByJqlOperator

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Pauses

LIMIT, MORE = 100, 500
ARCHIVE = "/rest/api/3/issue/archive"
WEB = "project = WEB AND issuetype in standardIssueTypes()"

pytestmark = pytest.mark.usefixtures("connections", "pauses")


@pytest.fixture(scope="session")
def _limited(archival_sandbox_factory: Any) -> Sandbox:
    started: Sandbox = archival_sandbox_factory(issues=2500, issues_per_task=100_000)
    return started


@pytest.fixture
def archival_sandbox(_limited: Sandbox) -> Sandbox:
    _limited.reset()
    return _limited


def archive(jql: str = WEB, **more: Any) -> dict[str, Any]:
    return {"operator": JiraArchiveIssuesByJqlOperator, "jql": jql, **more}


def windows(**more: Any) -> dict[str, Any]:
    return archive(issues_per_task=LIMIT, **more)


def in_next_pause(pauses: Pauses, do: Callable[[], object]) -> None:
    def once() -> None:
        pauses.before = None
        do()

    pauses.before = once


def die() -> None:
    raise Killed


def more_come_in(sandbox: Sandbox, project: str = "WEB", number: int = MORE) -> None:
    """Let issues be created, all at a time to come so that they are in the last window."""
    sandbox.add_issues(project, [time.time() - 60 - second for second in range(number)])


def archived(sandbox: Sandbox, jql: str = WEB) -> int:
    return sandbox.count(jql, archived=True)


def test_issues_that_come_in_while_another_archive_is_in_the_way_are_held_against_it(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    jql = "project = APP AND created >= -1d OR key in (DEMO-4, DEMO-5, FIN-1)"
    before = archival_sandbox.count(jql, archived=False)
    assert 0 < before <= 10
    archival_sandbox.colleague("archive", jql="project = HR")
    in_next_pause(pauses, lambda: more_come_in(archival_sandbox, "APP"))
    with pytest.raises(TooManyIssues, match=rf"{MORE + before} match now, and max_issues is 10"):
        tries.run(**archive(jql, max_issues=10))
    assert archival_sandbox.count(jql, archived=True) == 0
    assert archival_sandbox.counters()["jobs_submitted"] == {"archive": 1}, "the colleague's only"


def test_as_many_as_were_there_before_are_archived_after_another_archive(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    archival_sandbox.colleague("archive", jql="project = HR")
    result = tries.run(**archive("key in (DEMO-4, DEMO-5)", max_issues=2))
    assert (result["matched"], result["left"]) == (2, 0)


def test_issues_that_come_in_between_two_windows_are_held_against_it(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    matched = archival_sandbox.count(WEB, archived=False)
    assert matched > LIMIT
    in_next_pause(pauses, lambda: more_come_in(archival_sandbox))
    with pytest.raises(TooManyIssues, match=f"max_issues is {matched + 10}: no more are archived"):
        tries.run(**windows(max_issues=matched + 10))
    assert 0 < archived(archival_sandbox) <= LIMIT
    assert archival_sandbox.counters()["jobs_submitted"] == {"archive": 1}


def test_what_this_run_has_archived_counts(tries: Tries, pauses: Pauses, archival_sandbox: Sandbox) -> None:
    """A few come in with each window: all in all too many, though never too many at a time."""
    matched = archival_sandbox.count(WEB, archived=False)
    jobs: list[int] = []

    def some_come_in() -> None:
        if len(archival_sandbox.jobs()) > len(jobs):
            jobs.append(1)
            more_come_in(archival_sandbox, number=20)

    pauses.before = some_come_in
    with pytest.raises(TooManyIssues, match=r"About \d+ were archived, and about \d+ match now"):
        tries.run(**windows(max_issues=matched + 30))
    assert archived(archival_sandbox) < matched
    assert archival_sandbox.count(WEB, archived=False) < matched + 30


def test_all_windows_are_archived_where_nothing_comes_in(tries: Tries, archival_sandbox: Sandbox) -> None:
    matched = archival_sandbox.count(WEB, archived=False)
    result = tries.run(**windows(max_issues=matched))
    assert result["left"] == 0
    assert archived(archival_sandbox) >= matched


class TestARetry:
    @pytest.fixture
    def matched(self, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox) -> int:
        """A try was killed in its second window; how many matched before it."""
        matched = archival_sandbox.count(WEB, archived=False)
        pauses.before = lambda: die() if len(archival_sandbox.jobs()) == 2 else None
        with pytest.raises(Killed):
            tries.run(**windows(max_issues=matched))
        pauses.before = None
        return matched

    def test_with_the_same_guard_counts_what_the_earlier_try_has_archived(
        self, matched: int, tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        more_come_in(archival_sandbox, number=50)
        submitted = len(archival_sandbox.jobs())
        with pytest.raises(TooManyIssues, match="An earlier try began to archive these issues"):
            tries.run(**windows(max_issues=matched))
        assert len(archival_sandbox.jobs()) == submitted

    def test_with_the_same_guard_goes_on_where_nothing_has_come_in(
        self, matched: int, tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        assert tries.run(**windows(max_issues=matched))["left"] == 0
        assert archived(archival_sandbox) >= matched

    def test_with_another_guard_counts_from_there(
        self, matched: int, tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        # Whoever gives another number has read how many are left.
        left = archival_sandbox.count(WEB, archived=False)
        more_come_in(archival_sandbox, number=5)
        result = tries.run(**windows(max_issues=left + 5))
        assert result["left"] == 0

    def test_with_another_guard_that_is_too_low_archives_no_more(
        self, matched: int, tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        submitted = len(archival_sandbox.jobs())
        with pytest.raises(TooManyIssues, match="match now, and max_issues is 1: no more are archived"):
            tries.run(**windows(max_issues=1))
        assert len(archival_sandbox.jobs()) == submitted

    def test_without_a_guard_archives_all(
        self, matched: int, tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        more_come_in(archival_sandbox, number=50)
        assert tries.run(**windows())["left"] == 0


@pytest.mark.parametrize("reset", ["before", "after"])
def test_a_crash_at_the_submit_neither_loosens_nor_doubles_the_guard(
    reset: str, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    matched = archival_sandbox.count(WEB, archived=False)
    archival_sandbox.fault(ARCHIVE, method="POST", reset=reset)
    in_next_pause(pauses, die)
    with pytest.raises(Killed):
        tries.run(**archive(max_issues=matched))
    if reset == "before":
        more_come_in(archival_sandbox)
        with pytest.raises(TooManyIssues):
            tries.run(**archive(max_issues=matched))
        assert archived(archival_sandbox) == 0
    else:
        assert tries.run(**archive(max_issues=matched))["left"] == 0
    assert archival_sandbox.counters()["jobs_submitted"].get("archive", 0) == (reset == "after")
