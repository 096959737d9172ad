"""The issues that a sandbox starts with, and what archiving does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_archival.sandbox import issues, jira
from airflow_provider_archival.sandbox.jira_catalog import (
    ADMIN,
    ARCHIVED,
    ARCHIVED_PROJECT_ISSUE,
    OLD_ISSUE,
    PARENT_ISSUE,
    RECENT_ISSUE,
    SUBTASK,
    SUBTASK_ISSUES,
    UNLICENSED,
    UNLICENSED_ISSUE,
)
from airflow_provider_archival.sandbox.jira_search import Reader, translate
from airflow_provider_archival.sandbox.jobs import CANCELLED, Outcome
from airflow_provider_archival.sandbox.settings import Settings
from airflow_provider_archival.sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

YEAR = 365 * 86400


def seeded(**settings: Any) -> World:
    world = World.of(Settings(**settings))
    jira.seed(world)
    return world


@pytest.fixture
def world() -> Iterator[World]:
    world = seeded(issues=500)
    yield world
    world.database.close()


def rows(world: World) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in world.database.rows("SELECT * FROM issues ORDER BY id")]


@pytest.mark.parametrize("number", [7, 500])
def test_as_many_issues_are_seeded_as_are_asked_for(number: int) -> None:
    world = seeded(issues=number)
    assert issues.matching(world, "", archived=None) == number
    world.database.close()


def test_the_well_known_issues_are_there_even_if_fewer_are_asked_for() -> None:
    world = seeded(issues=0)
    assert issues.matching(world, "", archived=None) == 7
    world.database.close()


def test_the_same_seed_at_the_same_time_gives_the_same_issues() -> None:
    worlds = [World.of(Settings(seed=seed)) for seed in (3, 3, 4)]
    for world in worlds:
        world.clock.now = lambda: 1_700_000_000.0  # type: ignore[method-assign]
        jira.seed(world)
    one, same, other = map(rows, worlds)
    assert one == same
    assert one != other
    for world in worlds:
        world.database.close()


def test_issues_spread_over_twelve_years_up_to_now(world: World) -> None:
    now = world.clock.now()
    for age in range(12):
        since, until = now - (age + 1) * YEAR, now - age * YEAR
        sql = "SELECT count(*) FROM issues WHERE created BETWEEN ? AND ?"
        assert 25 < world.database.value(sql, (since, until)) < 60
    wrong = "created > updated OR resolved < created OR resolved > updated OR updated > ?"
    assert world.database.value(f"SELECT count(*) FROM issues WHERE {wrong}", (now,)) == 0


def test_subtasks_have_a_parent_in_their_own_project_that_is_no_subtask(world: World) -> None:
    subtasks = world.database.rows("SELECT * FROM issues WHERE parent IS NOT NULL")
    assert 0.1 < len(subtasks) / 500 < 0.2
    for subtask in subtasks:
        parent = world.database.row("SELECT * FROM issues WHERE id = ?", (subtask["parent"],))
        assert parent is not None
        assert (parent["project"], parent["parent"]) == (subtask["project"], None)
        assert subtask["type"] == SUBTASK
    assert issues.matching(world, "type = Sub-task", archived=None) == len(subtasks)


def test_issues_are_told_apart_by_every_field(world: World) -> None:
    for column, least in {
        "project": 8,
        "type": 7,
        "status": 6,
        "labels": 20,
        "reporter": 8,
        "assignee": 8,
    }.items():
        assert world.database.value(f"SELECT count(DISTINCT {column}) FROM issues") >= least


def test_an_issue_is_described(world: World) -> None:
    parent = issues.describe_issue(world, PARENT_ISSUE)
    assert parent is not None
    assert (parent["key"], parent["project"], parent["subtasks"]) == ("DEMO-1", "DEMO", list(SUBTASK_ISSUES))
    assert (parent["archived"], parent["archivedBy"], parent["archivedDate"]) == (False, None, None)
    assert issues.describe_issue(world, parent["id"]) == parent
    subtask = issues.describe_issue(world, SUBTASK_ISSUES[0].lower())
    assert subtask is not None
    assert (subtask["parent"], subtask["subtasks"]) == ("DEMO-1", [])
    assert issues.describe_issue(world, "DEMO-404") is None


def test_archiving_takes_subtasks_along_and_unarchiving_brings_them_back(world: World) -> None:
    assert issues.archive(world, [PARENT_ISSUE, OLD_ISSUE], ADMIN) == issues.Report(4, {})
    assert issues.matching(world, "project = DEMO", archived=False) == 1
    assert issues.matching(world, "project = DEMO", archived=True) == 4
    assert issues.matching(world, "project = DEMO", archived=None) == 5
    subtask = issues.describe_issue(world, SUBTASK_ISSUES[1])
    assert subtask is not None
    assert subtask["archivedBy"] == ADMIN.account_id
    assert subtask["archivedDate"] == pytest.approx(world.clock.now(), abs=10)

    assert issues.unarchive(world, [PARENT_ISSUE]) == issues.Report(3, {})
    assert issues.matching(world, "project = DEMO", archived=False) == 4
    assert world.counters == {"issues_archived": 4, "issues_unarchived": 3}


def test_what_is_archived_already_is_neither_counted_nor_refused(world: World) -> None:
    issues.archive(world, [OLD_ISSUE], ADMIN)
    assert issues.archive(world, [OLD_ISSUE, RECENT_ISSUE], ADMIN) == issues.Report(1, {})
    assert issues.unarchive(world, [PARENT_ISSUE]) == issues.Report(0, {})


def test_what_cannot_be_archived_is_refused_as_it_was_given(world: World) -> None:
    wanted = [
        "nope-1",
        SUBTASK_ISSUES[0],
        "10003",
        UNLICENSED_ISSUE,
        ARCHIVED_PROJECT_ISSUE,
        "DEMO-404",
        "nope-1",
    ]
    assert issues.archive(world, wanted, ADMIN) == issues.Report(
        0,
        {
            "issuesNotFound": ["nope-1", "DEMO-404"],
            "issueIsSubtask": [SUBTASK_ISSUES[0], "10003"],
            "issuesInUnlicensedProjects": [UNLICENSED_ISSUE],
            "issuesInArchivedProjects": [ARCHIVED_PROJECT_ISSUE],
        },
    )


def test_a_query_archives_all_that_can_be_and_counts_what_cannot(world: World) -> None:
    condition = translate("updated < -3y", Reader(world.database, world.clock.now()))
    matched = issues.count(world.database, condition)
    updated, left = issues.archive_matching(world, condition, ADMIN, most=1000)
    assert issues.matching(world, "", archived=True) == updated
    assert issues.count(world.database, condition) == left > 0
    # Subtasks that the query does not match go with their parents.
    assert updated + left >= matched
    for row in world.database.rows("SELECT * FROM issues WHERE archived IS NOT NULL"):
        assert row["project"] not in (UNLICENSED.id, ARCHIVED.id)


def test_wiping_brings_back_what_was_seeded(world: World) -> None:
    before = rows(world)
    everything = translate("created < now()", Reader(world.database, world.clock.now()))
    issues.archive_matching(world, everything, ADMIN, most=1000)
    assert rows(world) != before
    jira.wipe(world)
    assert rows(world) == before


def test_a_state_file_keeps_what_was_archived(tmp_path: Path) -> None:
    state = str(tmp_path / "state.db")
    first = seeded(issues=20, state_file=state)
    issues.archive(first, [OLD_ISSUE], ADMIN)
    kept = rows(first)
    first.database.close()
    again = seeded(issues=999, state_file=state)
    assert rows(again) == kept
    again.database.close()


def test_a_state_file_from_before_jobs_could_be_shown_keeps_its_jobs(tmp_path: Path) -> None:
    state = str(tmp_path / "state.db")
    before = seeded(issues=0, state_file=state)
    before.jobs.submit("1", "jira", "archive", {"jql": "key = A-1"}, 60, ADMIN.account_id)
    before.jobs.end("1", Outcome(CANCELLED, message="The task was cancelled."))
    before.database.script(
        "UPDATE jobs SET message = 'The task was cancelled.'; ALTER TABLE jobs DROP COLUMN shown"
    )
    before.database.close()
    for _ in range(2):
        again = seeded(issues=0, state_file=state)
        job = again.jobs.get("1")
        assert job is not None
        assert (job.status, job.message, job.shown) == (CANCELLED, "The task was cancelled.", {})
        again.database.close()
