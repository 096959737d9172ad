"""What each plan decides, as tables: a state, what happened and what the service says in; a step out."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from talks import Talk

from airflow_provider_archival.api import jira
from airflow_provider_archival.api.http import BadRequest, Conflict, Forbidden
from airflow_provider_archival.api.jira import ArchiveError, ArchiveReport, ExportFilter, JiraTask
from airflow_provider_archival.api.toloka import Page, TolokaOperation, TolokaPool, TolokaProject
from airflow_provider_archival.engine.state import Run, Unreadable, checked, read, write
from airflow_provider_archival.plans.base import (
    Answered,
    Ended,
    Finish,
    Found,
    Lost,
    Send,
    Since,
    Started,
    Stop,
    Submit,
    Take,
    Waited,
)
from airflow_provider_archival.plans.date_ranges import DateRange
from airflow_provider_archival.plans.jira_export import Export, ExportState, Range
from airflow_provider_archival.plans.jira_issues import Chunk, IssuesByKey, IssuesState, Reason
from airflow_provider_archival.plans.jira_jql import ArchiveByJql
from airflow_provider_archival.plans.jira_spans import JqlState, Span, is_to_do
from airflow_provider_archival.plans.toloka_pool import ArchivePool, PoolState
from airflow_provider_archival.plans.toloka_project import ArchiveProject, Doing, ProjectState
from airflow_provider_archival.plans.windows import Part, Window

NOW = datetime(2026, 11, 25, 12, 0)
SINCE = Since(1000.0, 5.0)
COUNT, PROJECT, POOLS, TRAININGS = "approximate-count", "/projects/7", "/pools", "/trainings"


def jql(**more: Any) -> ArchiveByJql:
    return ArchiveByJql(jql="project = A", now=NOW, most=100, **more)


def one(**more: Any) -> JqlState:
    """A run with one window, of all."""
    return JqlState(50, (Span(None, None, 50, **more),), cuts=1)


class TestAnArchiveByJql:
    @pytest.mark.parametrize(
        ("span", "matched", "again", "wanted"),
        [
            # task_ids, left, asked | what is left now
            (Span(None, None, 50), 0, False, False),
            (Span(None, None, 50), 5, False, True),
            (Span(None, None, 50, (), left=50, asked=0), 5, False, True),
            (Span(None, None, 50, ("1",), left=50, asked=0), 5, False, False),
            (Span(None, None, 50, ("1",), left=50, asked=1), 5, False, True),
            (Span(None, None, 150, ("1",), left=150, asked=0), 50, True, True),
            (Span(None, None, 150, ("1",), left=150, asked=0), 150, True, False),
            (Span(None, None, 150, ("1",), left=150, asked=0), 0, True, False),
            (Span(None, None, 9, tuple(map(str, range(12))), left=9, asked=11), 8, True, False),
        ],
    )
    def test_which_window_is_to_do(self, span: Span, matched: int, again: bool, wanted: bool) -> None:
        assert is_to_do(span, matched, 100, again=again) is wanted

    @pytest.mark.parametrize(
        ("state", "count", "step"),
        [
            (JqlState(0, ()), 0, Finish()),
            (one(), 50, Submit(Part(Window(), 50))),
            (one(), 0, Finish()),
            (one(task_ids=("1",), left=50, asked=0), 3, Finish()),
            (one(task_ids=("1",), left=50, asked=1), 3, Submit(Part(Window(), 3))),
            (one(is_over=True), 50, Finish()),
        ],
    )
    def test_what_comes_next(self, state: JqlState, count: int, step: Any) -> None:
        _, found = Talk({COUNT: count, "myself": "me"}).hold(jql().next(state))
        assert found == step

    def test_a_dry_run_submits_nothing(self) -> None:
        assert Talk({}).hold(jql(is_dry_run=True).next(one()))[1] == Finish()

    def test_a_job_that_was_waited_for_and_did_the_work_is_taken_and_the_rest_asked_for_again(self) -> None:
        plan, state = jql(), one(left=50, asked=0)
        state = plan.after(state, Waited(JiraTask("7", "COMPLETE")))
        state, step = Talk({COUNT: 8}).hold(plan.next(state))
        assert isinstance(step, Take)
        assert step.job.id == "7"
        state = plan.after(state, Started(step.what, step.job))
        assert (state.spans[0].task_ids, state.archived) == (("7",), 42)
        assert Talk({COUNT: 8}).hold(plan.next(state))[1] == Submit(Part(Window(), 8))

    @pytest.mark.parametrize("job", [JiraTask("7", "CANCELLED"), JiraTask("7", "COMPLETE")])
    def test_a_job_that_was_waited_for_and_did_nothing_of_it_is_not_taken(self, job: JiraTask) -> None:
        plan = jql()
        state = plan.after(one(left=50, asked=0), Waited(job))
        assert Talk({COUNT: 50}).hold(plan.next(state))[1] == Submit(Part(Window(), 50))

    @pytest.mark.parametrize(
        ("archived", "now", "most", "stops"), [(0, 10, 10, False), (0, 11, 10, True), (9, 2, 10, True)]
    )
    def test_the_guard_counts_what_was_archived_and_what_matches_now(
        self, archived: int, now: int, most: int, stops: bool
    ) -> None:
        state = JqlState(now, (Span(None, None, now),), archived=archived, guard=most)
        if stops:
            with pytest.raises(Stop, match=f"max_issues is {most}"):
                Talk({COUNT: now}).hold(jql(max_issues=most).next(state))
        else:
            Talk({COUNT: now}).hold(jql(max_issues=most).next(state))

    def test_a_task_that_came_to_nothing_counts_no_more(self) -> None:
        state = jql().after(one(task_ids=("1", "2"), left=50, asked=1), Lost(frozenset({"1"})))
        assert state.spans[0].task_ids == ("1",)

    def test_when_nothing_is_left_it_was_done_before(self) -> None:
        talk = Talk({COUNT: 0, "myself": "me"})
        assert talk.hold(jql().find(one(), Part(Window(), 50), SINCE, 0)) == Found(None)

    def test_a_refusal_is_one_of_the_whole_run_unless_nothing_is_left(self) -> None:
        error = BadRequest("POST", ("Invalid JQL.",), 400)
        with pytest.raises(BadRequest):
            Talk({COUNT: 50}).hold(jql().refused(one(), Part(Window(), 50), error))
        state = Talk({COUNT: 0, "myself": "me"}).hold(jql().refused(one(), Part(Window(), 50), error))
        assert state.spans[0].is_over
        with pytest.raises(Forbidden):
            Talk({}).hold(jql().refused(one(), Part(Window(), 50), Forbidden("POST", (), 403)))

    @pytest.mark.parametrize(
        ("submitted", "served", "is_older"),
        [
            ("1970-01-01T00:16:00+00:00", 1000.0, True),
            ("1970-01-01T00:16:39+00:00", 1000.0, False),
            ("1970-01-01T00:17:00+00:00", 1000.0, False),
            ("1970-01-01T00:16:00+00:00", None, False),
            (None, 1000.0, False),
        ],
    )
    def test_a_task_is_older_by_the_services_clock_alone(
        self, submitted: str | None, served: float | None, is_older: bool
    ) -> None:
        task = JiraTask("7", "RUNNING", submitted=submitted)
        for plan in (jql(), export()):
            assert plan.is_older(task, Since(served, 1e9)) is is_older


def export(period: str = "none", **days: str) -> Export:
    wanted = ExportFilter(**days)  # type: ignore[arg-type]
    return Export(wanted, (None, None), period, DateRange(date(2002, 1, 1), date(2026, 1, 1)))


class TestAnExport:
    ALL, FIRST = Range(), Range("2024-01-01", "2024-02-02")
    YEAR = ("2024-01-01", "2024-03-01")

    @pytest.mark.parametrize(
        ("state", "step", "is_last"),
        [
            (ExportState(ALL), Submit(ALL), False),
            (ExportState(ALL, begun=1), Finish(), True),
            (ExportState(ALL, begun=1, first=(FIRST,)), Submit(FIRST), False),
            (ExportState(ALL, begun=1, running=ALL), Finish(), True),
        ],
    )
    def test_what_comes_next(self, state: ExportState, step: Any, is_last: bool) -> None:
        plan = export()
        assert (Talk({}).hold(plan.next(state))[1], plan.is_last(state)) == (step, is_last)

    def test_a_range_goes_from_next_to_running_to_done_and_back_where_its_task_came_to_nothing(self) -> None:
        plan = export("month", archived_after=self.YEAR[0], archived_before=self.YEAR[1])
        state = Talk({}).hold(plan.begin(SINCE))
        _, step = Talk({}).hold(plan.next(state))
        assert step == Submit(self.FIRST)
        running = plan.after(state, Started(self.FIRST, JiraTask("7", "ENQUEUED")))
        assert (running.begun, running.running) == (1, self.FIRST)
        assert plan.after(running, Ended(JiraTask("7", "COMPLETE"))).running is None
        assert Talk({}).hold(plan.next(plan.after(running, Lost(frozenset()))))[1] == Submit(self.FIRST)

    def test_too_many_are_halved_and_any_other_refusal_is_one_of_the_run(self) -> None:
        plan, state = export(), ExportState(self.ALL)
        error = BadRequest("PUT", ("Your filter matches too many issues.",), 400)
        halved = Talk({}).hold(plan.refused(state, self.ALL, error))
        assert (halved.begun, len(halved.first)) == (1, 2)
        assert (halved.first[0].after, halved.first[1].before) == ("2002-01-01", "2026-01-01")
        with pytest.raises(BadRequest):
            Talk({}).hold(plan.refused(state, self.ALL, BadRequest("PUT", ("Your filter is odd.",), 400)))

    def test_what_was_asked_does_not_move_with_the_days_nor_with_an_order(self) -> None:
        one = export(projects=("B", "A"), archived_after="2024-01-01", archived_before="2024-02-01")  # type: ignore[arg-type]
        other = export(projects=("A", "B"), archived_after="2024-01-01", archived_before="2024-02-02")  # type: ignore[arg-type]
        assert one.asked() == other.asked()


class TestAPool:
    @pytest.mark.parametrize(
        ("event", "is_started"),
        [
            (Started("1", TolokaOperation("7", "POOL.ARCHIVE", "RUNNING")), True),
            (Started("1", None), True),
            (Lost(frozenset()), False),
            (Lost(frozenset({"7"})), True),
        ],
    )
    def test_it_is_submitted_until_something_came_of_it(self, event: Any, is_started: bool) -> None:
        plan = ArchivePool("1", 2000.0)
        state = plan.after(PoolState(1.0, is_started=isinstance(event, Lost)), event)
        step = Talk({}).hold(plan.next(state))[1]
        assert step == (Finish() if is_started else Submit("1"))


def page(*statuses: str) -> Page[TolokaPool]:
    return Page(tuple(TolokaPool(str(n), "7", status) for n, status in enumerate(statuses)), has_more=False)


class TestAProject:
    @pytest.mark.parametrize(
        ("status", "pools", "trainings", "how", "left"),
        [
            ("ARCHIVED", [], [], (False, False), ()),
            ("ACTIVE", [], [], (False, False), ("archive the project",)),
            ("ACTIVE", ["ARCHIVED"], ["ARCHIVED"], (False, False), ("archive the project",)),
            ("ACTIVE", ["CLOSED"], [], (True, False), ("archive pools", "archive the project")),
            (
                "ACTIVE",
                ["OPEN"],
                ["CLOSED"],
                (True, True),
                ("close pools", "archive pools", "archive trainings", "archive the project"),
            ),
            ("ACTIVE", ["CLOSED"], [], (False, False), None),
            ("ACTIVE", ["OPEN"], [], (True, False), None),
            ("ACTIVE", ["LOCKED"], [], (True, True), None),
        ],
    )
    def test_which_steps_it_takes(
        self, status: str, pools: list[str], trainings: list[str], how: tuple[bool, bool], left: Any
    ) -> None:
        plan = ArchiveProject("7", *how, now=2000.0)
        answers = {PROJECT: (TolokaProject("7", status), 1500.0), POOLS: page(*pools)}
        talk = Talk({**answers, TRAININGS: page(*trainings)})
        if left is None:
            with pytest.raises(Stop, match="nothing was changed"):
                talk.hold(plan.begin(Since(None, 100.0)))
        else:
            assert talk.hold(plan.begin(Since(None, 100.0))) == ProjectState(1400.0, left)

    def test_a_step_that_is_done_is_left_out_and_what_was_refused_ends_it(self) -> None:
        plan = ArchiveProject("7", True, True, now=2000.0)
        state = ProjectState(1.0, ("archive pools", "archive the project"))
        _, step = Talk({}).hold(plan.next(state))
        refusal = Conflict("POST", ("CONFLICT: it has rejected tasks",), 409)
        talk = Talk({"/archive": refusal, POOLS: page("CLOSED"), "/operations": Page((), has_more=False)})
        sent = talk.hold(plan.send(step.what))
        assert sent.job is None
        state = plan.after(state, Started(step.what, sent.job, sent.told))
        assert state.left == ("archive the project",)
        with pytest.raises(Stop, match="rejected tasks"):
            Talk({}).hold(plan.next(state))

    @pytest.mark.parametrize(
        ("theirs", "is_refused"), [("RUNNING", False), ("SUCCESS", False), ("FAIL", True), (None, True)]
    )
    def test_what_is_refused_because_somebody_else_has_just_started_it_is_waited_for(
        self, theirs: str | None, is_refused: bool
    ) -> None:
        plan = ArchiveProject("7", True, True, now=2000.0)
        _, step = Talk({}).hold(plan.next(ProjectState(1.0, ("archive pools", "archive the project"))))
        none: Page[Any] = Page((), has_more=False)
        operation = TolokaOperation("9", "POOL.ARCHIVE", theirs or "", parameters={"pool_id": "0"})
        found = Page((operation,), has_more=False) if theirs else none
        # Nothing is under way at the first three looks, which come before the start.
        looks = [none, none, none, found]
        refusal = Conflict("POST", ("OPERATION_ALREADY_EXISTS: it is being archived",), 409)
        talk = Talk({"/archive": refusal, "/operations": looks, POOLS: page("CLOSED")})
        sent = talk.hold(plan.send(step.what))
        assert bool(sent.told.refused) is is_refused
        assert (sent.job is not None) is (theirs == "RUNNING")


class TestLateOperations:
    @pytest.mark.parametrize(("ago", "pauses"), [(0.0, [1.0, 2.0, 4.0, 8.0]), (15.0, []), (3600.0, [])])
    def test_a_retry_looks_until_what_a_lost_submit_started_would_be_there(
        self, ago: float, pauses: list[float]
    ) -> None:
        talk = Talk({"/operations": Page((), has_more=False)})
        for plan, state, what in (
            (ArchivePool("1", 2000.0), PoolState(1.0), "1"),
            (
                ArchiveProject("7", True, True, now=2000.0),
                ProjectState(1.0, ()),
                Doing("archive the project", None),
            ),
        ):
            talk.pauses.clear()
            assert talk.hold(plan.find(state, what, Since(None, ago), 0)) is None  # type: ignore[attr-defined]
            assert talk.pauses == pauses


class TestKeys:
    @staticmethod
    def plan(at_once: int = 1) -> IssuesByKey:
        import re

        names = tuple(f"A-{n}" for n in range(5))
        done_before = re.compile("already")
        return IssuesByKey(names, "archived", jira.archive_issues, done_before, frozenset(), 2, at_once)

    @pytest.mark.parametrize(
        ("at_once", "done", "whats"), [(1, [], (0, 1, 2)), (4, [], (0,)), (4, [0], (1, 2)), (1, [1], (0, 2))]
    )
    def test_which_chunks_are_asked_for(self, at_once: int, done: list[int], whats: tuple[int, ...]) -> None:
        plan, state = self.plan(at_once), IssuesState()
        for number in done:
            state = plan.after(state, Answered(number, ArchiveReport(2)))
        assert Talk({}).hold(plan.next(state))[1] == Send(whats, at_once)

    def test_the_report_tells_of_all_in_the_order_of_the_list(self) -> None:
        plan, state = self.plan(), IssuesState()
        error = {"issuesNotFound": ArchiveError(1, "Issue not found.", ("A-3", "X-1"))}
        for number in (2, 0, 1):
            state = plan.after(state, Answered(number, ArchiveReport(1, error if number == 1 else {})))
        assert plan.report(state) == ArchiveReport(3, error)
        assert Talk({}).hold(plan.next(state))[1] == Finish()


@pytest.mark.parametrize(
    ("plan", "state"),
    [
        (jql(), JqlState(1, (Span("yesterday", None, 1),))),
        (export(), ExportState(Range("2024-01-01", None))),
        (export(), ExportState(Range(), first=(Range("2024-13-01", "2024-14-01"),))),
        (export(), ExportState(Range(), begun=-1)),
        (ArchiveProject("7", True, True, now=1.0), ProjectState(1.0, ("archive the moon",))),
        (TestKeys.plan(), IssuesState((Chunk(3, 1),))),
        (TestKeys.plan(), IssuesState((Chunk(-1, 1),))),
        (TestKeys.plan(), IssuesState((Chunk(0, 1, (Reason("r", 1, "m", (2,)),)),))),
    ],
)
def test_a_state_that_can_not_be_the_plans_is_not_read(plan: Any, state: Any) -> None:
    run: Run[Any, Any] = Run("", "", 1.0, 2.0, state=state)
    with pytest.raises(Unreadable):
        checked(plan, read(plan, write(plan, run)))


def test_nothing_follows_the_projects_own_operation_that_was_taken_up() -> None:
    plan = ArchiveProject("7", True, True, now=1.0)
    state = Talk({}).hold(plan.take_up(ProjectState(1.0, ("archive the project",))))
    assert plan.is_last(state)
    assert not plan.is_last(ProjectState(1.0, ("archive the project",)))
