"""What crosses a process is small, and what was left out of it for that is found out again."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tries import Killed, Store, Tries

from airflow_provider_archival.api import jira
from airflow_provider_archival.api.batches import OperationBatch
from airflow_provider_archival.api.flow import Flow, nothing
from airflow_provider_archival.api.jira import ArchiveError, ArchiveReport, ExportFilter, JiraTask
from airflow_provider_archival.engine.state import Run, read, write
from airflow_provider_archival.hooks.lookup import class_at
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
)
from airflow_provider_archival.operators.memory import STORE_KEY
from airflow_provider_archival.plans.base import Answered, Ended, Started
from airflow_provider_archival.plans.date_ranges import DateRange
from airflow_provider_archival.plans.jira_export import Export, ExportState, Range
from airflow_provider_archival.plans.jira_issues import IssuesByKey, IssuesState
from airflow_provider_archival.plans.jira_jql import ArchiveByJql
from airflow_provider_archival.plans.jira_spans import JqlState, spans_of
from airflow_provider_archival.plans.toloka_project import ArchiveProject, ProjectState, Refused
from airflow_provider_archival.plans.windows import Part, Window, cut

if TYPE_CHECKING:
    from airflow_provider_archival.plans.base import Plan
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Pauses

MOST = 16 * 1024
NOW = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
ISSUES = 3_000_000
POINTS = [0.0, 0.5, 1.0]
WHERE = ["begin", "middle", "end"]


def size(value: Any) -> int:
    return len(json.dumps(value))


def a_run(plan: Plan[Any, Any, Any], **what: Any) -> Run[Any, Any]:
    now = NOW.timestamp() + 0.123456
    return Run("f" * 64, "w" * 200, now, now + 86_400, writer=2, **what)


def crossed(plan: Plan[Any, Any, Any], run: Run[Any, Any]) -> Run[Any, Any]:
    """Check all that is written of a run, and return what another process reads."""
    written = write(plan, run)
    assert size(written) <= MOST
    for job in run.pending[:1]:
        kind = plan.kind_of(job)
        trigger = class_at(kind.trigger).watching(
            job,
            conn_id="a_connection_of_some_length",
            poll_interval=30.0,
            end_time=run.end_time,
            cancel_on_kill=True,
            carried=written,
        )
        assert size(trigger.serialize()) <= MOST
    return read(plan, json.loads(json.dumps(written)))


def ids(rng: random.Random, number: int, most: int = 40_000) -> list[str]:
    """Return ids as a site gives them: they grow, up to nine digits, by what else goes on there."""
    found, last = [], 800_000_000
    for _ in range(number):
        last += rng.randint(1, most)
        found.append(str(last))
    return found


def a_task(id: str, rng: random.Random, **more: Any) -> JiraTask:
    begin = NOW + timedelta(seconds=rng.randrange(10**6))
    times = [(begin + timedelta(milliseconds=rng.randrange(900_000))).isoformat() for _ in range(3)]
    result = {"numberOfIssuesUpdated": rng.randrange(100_000), "errors": {}}
    return JiraTask(
        id,
        "COMPLETE",
        **{
            "progress": 100.0,
            "message": "The task is complete.",
            "result": result,
            "submitted": times[0],
            "started": times[1],
            "finished": times[2],
            "elapsed_runtime": rng.randrange(900_000),
            **more,
        },
    )


# --- windows ---


def windows(most: int) -> list[Part]:
    """Return the windows into which issues are cut that were created more and more often."""
    first = datetime(2012, 1, 1)
    whole = datetime(NOW.year, NOW.month, NOW.day) - first

    def number(time: str | None, default: float) -> float:
        if time is None:
            return default
        share = (datetime.strptime(time, "%Y-%m-%d %H:%M") - first) / whole
        return min(max(share, 0.0), 1.0) ** 1.7

    def count(window: Window) -> Flow[int]:
        return nothing(round(ISSUES * (number(window.before, 1.0) - number(window.after, 0.0))))

    flow = cut(Part(Window(), ISSUES), int(most * 0.9), count, NOW)
    try:
        while True:
            next(flow)
    except StopIteration as stop:
        return list(stop.value)


def archive(most: int, jql: str = "project = WEB") -> ArchiveByJql:
    return ArchiveByJql(jql, NOW, most=most)


def archiving(
    plan: ArchiveByJql, parts: list[Part], done: int, rng: random.Random, **more: Any
) -> Run[Any, Any]:
    """Return a run in which so many windows are archived, as the plan makes it, window by window."""
    ahead = 150
    shown = [*parts[:ahead]]
    if parts[ahead:]:
        rest = parts[ahead:]
        shown.append(Part(Window(rest[0].window.after, None), sum(one.matched for one in rest)))
    run: Run[Any, Any] = a_run(plan, state=JqlState(ISSUES, spans_of(shown), cuts=len(shown)))
    for number, id in enumerate(ids(rng, done + 1, 2_000)):
        state: JqlState = run.state
        span = state.current
        if span is None:
            break
        if number >= ahead and span.before is None and number < len(parts) - 1:
            later = parts[number : number + ahead]
            rest = parts[number + ahead :]
            again = [*later, *([Part(Window(rest[0].window.after, None), 1)] if rest else [])]
            state = state.with_spans(*spans_of(again))
            span = state.current
            assert span is not None
        state = state.with_spans(replace(span, left=span.matched, asked=0))
        task = JiraTask(id, "ENQUEUED")
        state = plan.after(state, Started(Part(span.window, span.matched), task))
        run = replace(run, state=state, pending=(task,))
        if number < done:
            whole = a_task(id, rng, **more)
            state = plan.after(state, Ended(whole))
            span = state.current
            assert span is not None
            state = state.with_spans(replace(span, is_over=True))
            run = replace(run, state=state, done=(*run.done, whole), pending=())
    return run


@pytest.mark.parametrize("share", POINTS, ids=WHERE)
@pytest.mark.parametrize("most", [100_000, 9_000, 1_000])
def test_an_archive_of_millions(most: int, share: float) -> None:
    parts = windows(most)
    assert len(parts) > ISSUES / most
    plan, done = archive(most), int((len(parts) - 1) * share)
    run = archiving(plan, parts, done, random.Random(most))
    again = crossed(plan, run)
    assert [job.id for job in again.jobs] == [job.id for job in run.jobs]
    assert again.state.current == run.state.current
    assert [id for span in again.state.spans for id in span.task_ids] == [job.id for job in run.jobs]
    assert_neighbours(again.state)


def assert_neighbours(state: JqlState) -> None:
    """Check that the windows are still all: none is lost, none overlaps another."""
    assert state.spans[0].after is state.spans[-1].before is None
    for one, other in zip(state.spans, state.spans[1:], strict=False):
        assert one.before == other.after


def test_windows_that_are_not_begun_are_one_where_there_are_thousands() -> None:
    # As version 1 has planned them.
    parts = windows(1_000)
    plan = archive(1_000)
    task = JiraTask("10101", "ENQUEUED")
    state = JqlState(ISSUES, spans_of(parts), cuts=len(parts))
    assert state.current is not None
    state = plan.after(state.with_spans(replace(state.current, left=900, asked=0)), Started(parts[0], task))
    again = crossed(plan, a_run(plan, state=state, pending=(task,)))
    assert again.state.current == state.current
    assert_neighbours(again.state)
    assert sum(span.matched for span in again.state.spans) == sum(part.matched for part in parts)


@pytest.mark.parametrize("share", POINTS, ids=WHERE)
def test_tasks_with_long_results(share: float) -> None:
    rng, parts, plan = random.Random(8), windows(100_000), archive(100_000)
    long = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ+/", k=8_000))
    run = archiving(plan, parts, int((len(parts) - 1) * share), rng, result={"said": long})
    again = crossed(plan, run)
    assert [job.id for job in again.jobs] == [job.id for job in run.jobs]
    assert all(plan.kind_of(job).is_bare(job) for job in again.done) or again.done == run.done


def test_a_long_jql() -> None:
    rng = random.Random(3)
    jql = f"key in ({','.join(f'WEB-{rng.randrange(10**8)}' for _ in range(8_000))})"
    assert len(jql) > 90_000
    plan = archive(100_000, jql)
    parts = windows(100_000)
    crossed(plan, archiving(plan, parts, 20, rng))


# --- Toloka ---


def test_a_project_with_thousands_of_pools() -> None:
    rng = random.Random(4)
    said = ["".join(rng.choices("абвгдежзийклмнопрстуфхцчшщэюя abcdefghij", k=199)) + "…" for _ in range(40)]
    plan = ArchiveProject("12345678", True, True, NOW.timestamp())
    state = ProjectState(NOW.timestamp() + 0.1, ("archive trainings", "archive the project"), (), 0, True)
    for number in range(20):
        state = state.refusing(Refused("pool_id", str(40_000_000 + number), said[number]))
    closed = OperationBatch(
        "POOL.CLOSE", "12345678", "2026-11-25T09:23:19.424", 5_000, {"SUCCESS": 5_000}, 100.0
    )
    failed = tuple(
        f"pool {50_000_000 + number} (operation {rng.randbytes(16).hex()}): {said[20 + number]}"
        for number in range(20)
    )
    batch = OperationBatch(
        "POOL.ARCHIVE",
        "12345678",
        "2026-11-25T09:29:19.424",
        5_000,
        {"SUCCESS": 4_000, "FAIL": 20},
        80.4,
        failed,
    )
    run = a_run(plan, state=state, done=(closed,), pending=(batch,))
    again = crossed(plan, run)
    assert again.state == state
    assert [job.id for job in again.jobs] == [closed.id, batch.id]


# --- exports ---


def export(first: date, last: date) -> Export:
    days = DateRange(first, last)
    wanted = ExportFilter(archived_after=first.isoformat(), archived_before=last.isoformat())
    return Export(wanted, (first.isoformat(), last.isoformat()), "day", days)


@pytest.mark.parametrize("share", POINTS, ids=WHERE)
def test_an_export_of_ten_years_by_day(share: float) -> None:
    plan = export(date(2016, 1, 1), date(2025, 12, 30))
    whole = Range("2016-01-01", "2025-12-30")
    pieces = plan.pieces(whole)
    assert len(pieces) > 3_600
    rng = random.Random(5)
    done = int((len(pieces) - 1) * share)
    *ended, running = ids(rng, done + 1)
    host = "https://api.media.atlassian.com/file"
    tasks = tuple(
        a_task(id, rng, result=None, file_url=f"{host}/{rng.randbytes(16).hex()}/binary") for id in ended
    )
    state = ExportState(whole, done + 1, (), pieces[done])
    task = JiraTask(running, "RUNNING", file_url=f"{host}/{rng.randbytes(16).hex()}/binary")
    run = a_run(plan, state=state, done=tasks, pending=(task,))
    again = crossed(plan, run)
    assert again.state == state
    assert [job.id for job in again.jobs] == [*ended, running]
    assert again.pending[0].file_url == task.file_url


# --- keys ---

REASONS = ["issuesNotFound", "issueIsSubtask", "userDoesNotHavePermission"]


def keys(number: int) -> IssuesByKey:
    operator = JiraArchiveIssuesOperator
    return IssuesByKey(
        tuple(f"WEB-{n}" for n in range(1, number + 1)),
        "archived",
        operator.request,
        operator.done_before,
        frozenset(REASONS),
        jira.MAX_KEYS_PER_REQUEST,
    )


def answered(plan: IssuesByKey, is_refused: Any, chunks: int) -> Run[Any, Any]:
    state = IssuesState()
    for number in range(chunks):
        errors: dict[str, list[str]] = {}
        for place, key in enumerate(plan.keys(number)):
            if is_refused(place):
                errors.setdefault(REASONS[place // 7 % len(REASONS)], []).append(key)
        report = ArchiveReport(
            len(plan.keys(number)) - sum(map(len, errors.values())),
            {name: ArchiveError(len(found), f"{name}: no.", tuple(found)) for name, found in errors.items()},
        )
        state = plan.after(state, Answered(number, report))
    return a_run(plan, state=state)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0], ids=WHERE)
def test_ten_thousand_errors_of_a_hundred_thousand_keys(share: float) -> None:
    plan = keys(100_000)
    run = answered(plan, lambda place: place % 10 == 0, int(100 * share))
    again = crossed(plan, run)
    assert plan.report(again.state) == plan.report(run.state)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0], ids=WHERE)
def test_sixty_thousand_errors_are_asked_for_again_where_they_are_too_many(share: float) -> None:
    plan, rng = keys(100_000), random.Random(6)
    run = answered(plan, lambda place: rng.random() < 0.6, int(100 * share))
    again = crossed(plan, run)
    whole = {chunk.number: chunk for chunk in run.state.done}
    for chunk in again.state.done:
        assert chunk.updated == whole[chunk.number].updated
        assert not chunk.is_whole or chunk == whole[chunk.number]
    assert {chunk.number for chunk in again.state.done} == set(whole)


def test_a_chunk_that_was_asked_for_again_counts_what_was_changed_once() -> None:
    plan, rng = keys(100_000), random.Random(7)
    run = answered(plan, lambda place: rng.random() < 0.6, 100)
    again = crossed(plan, run)
    cut = [chunk.number for chunk in again.state.done if not chunk.is_whole]
    assert cut
    flow = plan.next(again.state)
    with pytest.raises(StopIteration) as stop:
        next(flow)
    step = stop.value.value[1]
    assert list(step.whats) == cut
    state, whole = again.state, {chunk.number: chunk for chunk in run.state.done}
    for number in cut:
        state = plan.after(state, Answered(number, ArchiveReport(0, plan._report(whole[number]).errors)))
    assert plan.report(state) == plan.report(run.state)


# --- what was left out is found out again ---


@pytest.mark.usefixtures("connections")
def test_a_run_whose_tasks_said_too_much_goes_on_and_its_result_tells_of_each(
    tries: Tries, store: Store, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    rng = random.Random(9)
    job: dict[str, Any] = {
        "operator": JiraArchiveIssuesByJqlOperator,
        "jql": "project = WEB AND issuetype in standardIssueTypes()",
        "issues_per_task": 40,
    }
    ended: list[str] = []

    def end() -> None:
        running = [one for one in archival_sandbox.jobs() if one["id"] not in ended]
        if len(ended) == 4:
            raise Killed
        for one in running:
            archival_sandbox.job(one["id"], "finish", result={"said": rng.randbytes(3_900).hex()})
            ended.append(one["id"])

    pauses.before = end
    with pytest.raises(Killed):
        tries.run(**job)
    kept = store.get(STORE_KEY)
    assert size(kept) <= MOST
    pauses.before = None
    result = tries.run(**job)
    jobs = [one["id"] for one in archival_sandbox.jobs()]
    assert [one["task_id"] for one in result["tasks"]] == jobs
    assert all("said" in task["result"] for task in result["tasks"][:4])
    assert archival_sandbox.counters()["jobs_overlapped"] == {"archive": 1}
    assert all(size(value) <= MOST for value in store.history)
