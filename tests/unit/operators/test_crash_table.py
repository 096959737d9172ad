"""
Every effect of every plan, crashed before and after it, in both modes, with and without a store.

Whatever happens: never two jobs at once, nothing that succeeded done again, nothing lost, and (with a store)
the same result. What is excepted is named here, and in docs/retries.md.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from model import Machine, World, still

from airflow_provider_archival.api import jira
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator

JOBS = {"task_id": "task", "poll_interval": 5, "timeout": 86400}
KEYS = [f"A-{n}" for n in range(7)]


def archive(**how: Any) -> Any:
    return JiraArchiveIssuesByJqlOperator(jql="project = A", issues_per_task=12, **JOBS, **how)


def export(**how: Any) -> Any:
    days = {"archived_after": "2024-01-01", "archived_before": "2024-03-20", "split_by": "month"}
    return JiraExportArchivedIssuesOperator(**days, **JOBS, **how)


def pool(**how: Any) -> Any:
    return TolokaArchivePoolOperator(pool_id="2", **JOBS, **how)


def project(**how: Any) -> Any:
    return TolokaArchiveProjectOperator(
        project_id="7", archive_pools=True, close_open_pools=True, **JOBS, **how
    )


def keys(deferrable: bool) -> Any:
    return JiraArchiveIssuesOperator(task_id="task", issue_ids_or_keys=KEYS)


PLANS: dict[str, Callable[..., Any]] = {
    "archive": archive,
    "export": export,
    "pool": pool,
    "project": project,
    "keys": keys,
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, own_connections: Any) -> Iterator[Machine]:
    for conn_id in ("jira_cloud_default", "toloka_default"):
        fields = {"conn_type": "http", "login": "me@test", "password": "secret"}
        own_connections.add(conn_id, host="https://jira.test" if "jira" in conn_id else "", **fields)
    monkeypatch.setattr(jira, "MAX_KEYS_PER_REQUEST", 3)
    # Nobody reads the lines of thousands of tries.
    logging.disable(logging.CRITICAL)
    with still() as clock:
        yield Machine(monkeypatch, clock)
    logging.disable(logging.NOTSET)


def is_after_forgetting(trace: list[str], when: str) -> bool:
    """Say whether the run was over and forgotten: nothing knows of it any more."""
    return trace[-1] == "forget" and when == "after"


def is_between_start_and_keeping(trace: list[str], when: str) -> bool:
    """Say whether a job was started whose id nobody has kept."""
    before = trace if when == "after" else trace[:-1]
    starts = [number for number, name in enumerate(before) if name == "start"]
    return bool(starts) and "keep" not in before[starts[-1] :]


def check(plan: str, world: World) -> None:
    """Check that all is done, and that nothing was done twice or at the same time."""
    if plan == "archive":
        assert world.most_at_once == {"archive": 1}
        assert set(world.archived) == set(world.issues)
        assert max(world.archived.values()) == 1
    elif plan == "export":
        assert world.most_at_once == {"export": 1}
        assert len({job["what"] for job in world.jobs}) == 3
    elif plan in ("pool", "project"):
        started = Counter((job["kind"], job["what"]) for job in world.jobs)
        assert max(started.values()) == 1, started
        assert world.pools["2"][1] == "ARCHIVED"
        assert plan == "pool" or world.project == "ARCHIVED"
    else:
        asked = Counter(key for chunk in world.asked for key in chunk)
        assert set(asked) == set(KEYS)
        # The one chunk whose answer was not kept is asked for again, which changes nothing.
        assert sum(number - 1 for number in asked.values()) <= 3


def told(result: Any) -> Any:
    """Return what a result tells, without the times: those of a second try are others."""
    times = ("after", "before", "submitted", "started", "finished")
    if isinstance(result, dict):
        return {name: told(value) for name, value in result.items() if name not in times}
    return [told(one) for one in result] if isinstance(result, list) else result


def number_of_jobs(world: World) -> int:
    return len(world.jobs)


@pytest.mark.parametrize("with_store", [True, False], ids=["store", "no store"])
@pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferrable"])
@pytest.mark.parametrize("plan", PLANS)
def test_a_crash_anywhere_and_a_retry(
    machine: Machine, plan: str, deferrable: bool, with_store: bool
) -> None:
    how = {"deferrable": deferrable, "with_store": with_store}
    usual, trace, _ = machine.run(PLANS[plan], **how)
    check(plan, machine.world)
    jobs = number_of_jobs(machine.world)
    assert not with_store or {"keep", "forget"} <= set(trace)
    rows = 0
    for place in range(1, len(trace) + 1):
        for when in ("before", "after"):
            result, seen, was_killed = machine.run(PLANS[plan], crash=(place, when), **how)
            row = f"{plan}, {how}: killed {when} effect {place} ({' '.join(seen[-6:])})"
            rows += was_killed
            check_row(plan, machine.world, row, seen, when, with_store=with_store)
            if with_store and not is_excepted(plan, seen, when):
                assert told(result) == told(usual), row
                assert plan == "keys" or number_of_jobs(machine.world) == jobs, row
    # A triggerer that is killed takes no try: another one goes on.
    assert rows >= len(trace) > 2


def is_excepted(plan: str, trace: list[str], when: str) -> bool:
    """Say whether a row may end otherwise: these are the documented limits."""
    if is_after_forgetting(trace, when):
        return True
    # Whose an export is that runs nobody can tell, so it is made again after that.
    return plan == "export" and is_between_start_and_keeping(trace, when)


def check_row(plan: str, world: World, row: str, trace: list[str], when: str, *, with_store: bool) -> None:
    if plan == "keys" and (not with_store or is_after_forgetting(trace, when)):
        # Nothing is remembered: all are asked for again, which changes nothing.
        assert {key for chunk in world.asked for key in chunk} == set(KEYS), row
        return
    try:
        check(plan, world)
    except AssertionError as error:
        raise AssertionError(f"{row}: {error}") from error
    if plan == "export" and with_store and not is_after_forgetting(trace, when):
        again = is_between_start_and_keeping(trace, when)
        assert number_of_jobs(world) <= 3 + again, row


@pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferrable"])
@pytest.mark.parametrize("plan", ["archive", "export", "pool", "project"])
def test_a_crash_anywhere_and_the_job_ends_before_the_retry(
    machine: Machine, plan: str, deferrable: bool
) -> None:
    how = {"deferrable": deferrable, "with_store": True}
    usual, trace, _ = machine.run(PLANS[plan], **how)
    for place in range(1, len(trace) + 1):
        for when in ("before", "after"):
            result, seen, _ = machine.run(PLANS[plan], crash=(place, when), ends_between=True, **how)
            row = f"{plan}: killed {when} effect {place} ({' '.join(seen[-6:])})"
            check_row(plan, machine.world, row, seen, when, with_store=True)
            if not is_excepted(plan, seen, when) and not is_between_start_and_keeping(seen, when):
                assert told(result) == told(usual), row


@pytest.mark.parametrize("plan", ["archive", "export", "keys"])
def test_the_table_is_red_where_nothing_is_kept(machine: Machine, plan: str) -> None:
    how: dict[str, Any] = {"deferrable": False, "with_store": True, "is_broken": True}
    usual, trace, _ = machine.run(PLANS[plan], **how)
    red = 0
    for place in range(1, len(trace) + 1):
        for when in ("before", "after"):
            result, seen, _ = machine.run(PLANS[plan], crash=(place, when), **how)
            if is_excepted(plan, seen, when):
                continue
            try:
                check_row(plan, machine.world, "", seen, when, with_store=True)
                assert told(result) == told(usual)
            except AssertionError:
                red += 1
    assert red > 8, f"{red} rows of {2 * len(trace)} are red"
