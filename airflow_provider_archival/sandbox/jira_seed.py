"""The issues that a sandbox starts with: a few well-known ones, and random ones spread over twelve years."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from airflow_provider_archival.sandbox import issues
from airflow_provider_archival.sandbox.jira_catalog import (
    ADMIN,
    ARCHIVED,
    BUG,
    CLOSED,
    DEMO,
    DONE,
    IN_PROGRESS,
    IN_REVIEW,
    LABELS,
    MEMBER,
    PROJECT_BY_KEY,
    PROJECTS,
    STORY,
    SUBTASK,
    TASK,
    TO_DO,
    UNLICENSED,
    USERS,
    WAITING,
)
from airflow_provider_archival.sandbox.world import World

_DAY = 86400
_SPAN = 12 * 365 * _DAY
_FIRST_ID = 10001
_SUBTASK_SHARE, _UNASSIGNED_SHARE, _NO_REPORTER_SHARE, _UNLABELLED_SHARE = 0.15, 0.3, 0.02, 0.4
_DONE_SHARE_OLD, _DONE_SHARE_YOUNG = 0.9, 0.35
_DONE, _NOT_DONE = (DONE, DONE, DONE, CLOSED), (TO_DO, TO_DO, IN_PROGRESS, IN_REVIEW, WAITING)
# How long an issue is worked on after its creation, at most, as a rule.
_BUSY_SECONDS = 300 * _DAY
_VERBS = ("Fix", "Add", "Remove", "Document", "Review", "Speed up", "Translate", "Test")
_THINGS = (
    "check-out",
    "login",
    "search",
    "invoice export",
    "newsletter",
    "dark mode",
    "nightly import",
    "product page",
)

_ADDED = "An issue that was added"

# (id, project, number, type, status, labels, reporter, assignee, created, updated, resolved, parent, summary)
Row = tuple[
    int, int, int, int, int, int | None, int | None, int | None, int, int, int | None, int | None, str
]
_INSERT = (
    "INSERT INTO issues (id, project, number, type, status, labels, reporter, assignee, created, updated,"
    " resolved, parent, summary) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def seed(world: World) -> None:
    """Make the table of issues and fill it, unless it is there."""
    database = world.database
    database.execute(issues.SCHEMA)
    if database.value("SELECT 1 FROM issues LIMIT 1"):
        return
    now = int(world.clock.now())
    with database.transaction():
        database.execute_many(_INSERT, _rows(Random(world.settings.seed), world.settings.issues, now))  # noqa: S311
        for index in issues.INDEXES:
            database.execute(index)


def wipe(world: World) -> None:
    """Bring every issue back as it was seeded."""
    world.database.execute("DELETE FROM issues WHERE summary = ?", (_ADDED,))
    world.database.execute("UPDATE issues SET archived = NULL, archiver = NULL WHERE archived IS NOT NULL")


def add(world: World, project: str, created: Sequence[float]) -> list[str]:
    """Add a task that is done for each time of creation, in epoch seconds, and return their keys."""
    found = PROJECT_BY_KEY.get(project)
    if found is None:
        raise ValueError(f"there is no project {project}")
    database = world.database
    with database.transaction():
        id = database.value("SELECT max(id) FROM issues")
        number = database.value("SELECT coalesce(max(number), 0) FROM issues WHERE project = ?", (found.id,))
        database.execute_many(
            _INSERT,
            (
                (id + n, found.id, number + n, TASK, DONE, None, None, None, *[int(at)] * 3, None, _ADDED)
                for n, at in enumerate(created, start=1)
            ),
        )
    return [f"{project}-{number + n}" for n in range(1, len(created) + 1)]


def _rows(random: Random, number_of_issues: int, now: int) -> Iterator[Row]:
    well_known = list(_well_known(now))
    yield from well_known
    projects = [project for project in PROJECTS if project.share]
    chosen = random.choices(
        projects, [project.share for project in projects], k=max(0, number_of_issues - len(well_known))
    )
    numbers = {project.id: 0 for project in PROJECTS}
    for row in well_known:
        numbers[row[1]] += 1
    parents: dict[int, int] = {}
    for ordinal, project in enumerate(chosen):
        id = _FIRST_ID + len(well_known) + ordinal
        # Ids and the numbers of keys grow with the time of creation, as they do in Jira.
        created = now - _SPAN + int(_SPAN * (ordinal + random.random()) / len(chosen))
        numbers[project.id] += 1
        parent = parents.get(project.id) if random.random() < _SUBTASK_SHARE else None
        if parent is None:
            parents[project.id] = id
        kind = (
            project.issue_types[int(random.random() * len(project.issue_types))]
            if parent is None
            else SUBTASK
        )
        yield (
            id,
            project.id,
            numbers[project.id],
            kind,
            *_random_rest(random, created, now),
            parent,
            _summary(random),
        )


def _random_rest(
    random: Random, created: int, now: int
) -> tuple[int, int | None, int | None, int | None, int, int, int | None]:
    """Return (status, labels, reporter, assignee, created, updated, resolved)."""
    draw = random.random
    updated = created + int(min(now - created, _BUSY_SECONDS) * draw() * draw())
    is_done = draw() < (_DONE_SHARE_OLD if now - updated > 180 * _DAY else _DONE_SHARE_YOUNG)
    choices = _DONE if is_done else _NOT_DONE
    return (
        choices[int(draw() * len(choices))],
        None
        if draw() < _UNLABELLED_SHARE
        else 1 << int(draw() * len(LABELS)) | 1 << int(draw() * len(LABELS)),
        None if draw() < _NO_REPORTER_SHARE else USERS[int(draw() * len(USERS))].id,
        None if draw() < _UNASSIGNED_SHARE else USERS[int(draw() * len(USERS))].id,
        created,
        updated,
        created + int((updated - created) * draw()) if is_done else None,
    )


def _summary(random: Random) -> str:
    return f"{_VERBS[int(random.random() * len(_VERBS))]} the {_THINGS[int(random.random() * len(_THINGS))]}"


def _well_known(now: int) -> Iterator[Row]:
    """Yield the issues that ``jira_catalog`` names."""
    long_ago, resolved, lately = now - 1200 * _DAY, now - 1100 * _DAY, now - 2 * _DAY
    old = (ADMIN.id, None, long_ago, resolved, resolved)
    legacy, parent = 1 << LABELS.index("legacy"), _FIRST_ID
    yield (_FIRST_ID, DEMO.id, 1, STORY, DONE, legacy, *old, None, "A story with two subtasks")
    yield (_FIRST_ID + 1, DEMO.id, 2, SUBTASK, DONE, None, *old, parent, "The first subtask of the story")
    yield (_FIRST_ID + 2, DEMO.id, 3, SUBTASK, DONE, None, *old, parent, "The second subtask of the story")
    yield (_FIRST_ID + 3, DEMO.id, 4, TASK, CLOSED, legacy, *old, None, "A task that was closed years ago")
    yield (
        _FIRST_ID + 4,
        DEMO.id,
        5,
        BUG,
        TO_DO,
        None,
        MEMBER.id,
        None,
        lately,
        lately,
        None,
        None,
        "A new bug",
    )
    yield (
        _FIRST_ID + 5,
        UNLICENSED.id,
        1,
        TASK,
        DONE,
        legacy,
        *old,
        None,
        "An idea in an unlicensed project",
    )
    yield (_FIRST_ID + 6, ARCHIVED.id, 1, STORY, DONE, legacy, *old, None, "A story in an archived project")
