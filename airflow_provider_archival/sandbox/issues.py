"""The sandbox's Jira issues: the table that keeps them, and what is asked of it and done to it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from airflow_provider_archival.sandbox.database import Database
from airflow_provider_archival.sandbox.jira_catalog import (
    ADMIN,
    ARCHIVED,
    ISSUE_TYPES,
    LABELS,
    PROJECT_BY_ID,
    STATUSES,
    UNLICENSED,
    User,
    account_id,
)
from airflow_provider_archival.sandbox.jira_search import Reader, Sql, find_issue, translate
from airflow_provider_archival.sandbox.world import World

SCHEMA = """
CREATE TABLE IF NOT EXISTS issues (
    id INTEGER PRIMARY KEY, project INTEGER NOT NULL, number INTEGER NOT NULL, type INTEGER NOT NULL,
    status INTEGER NOT NULL, labels INTEGER, reporter INTEGER, assignee INTEGER, created INTEGER NOT NULL,
    updated INTEGER NOT NULL, resolved INTEGER, parent INTEGER, archived INTEGER, archiver INTEGER,
    summary TEXT NOT NULL
)
"""
# Counts read the whole table, which is narrow: no index serves every field better.
INDEXES = (
    "CREATE UNIQUE INDEX issues_by_key ON issues (project, number)",
    "CREATE INDEX issues_by_parent ON issues (parent) WHERE parent IS NOT NULL",
    "CREATE INDEX issues_archived ON issues (archived) WHERE archived IS NOT NULL",
)
_VISIBLE = f"archived IS NULL AND project <> {ARCHIVED.id}"
_ARCHIVABLE = f"{_VISIBLE} AND project <> {UNLICENSED.id} AND parent IS NULL"
_AND_SUBTASKS = ("id IN (SELECT value FROM json_each(?))", "parent IN (SELECT value FROM json_each(?))")
_TYPE_NAMES = {kind.id: kind.name for kind in ISSUE_TYPES}
_STATUS_NAMES = {status.id: status.name for status in STATUSES}


@dataclass(frozen=True)
class Report:
    """What came of (un)archiving by key: how many issues changed, and the refused ids or keys by reason."""

    updated: int
    refused: dict[str, list[str]]


def count(database: Database, condition: Sql) -> int:
    """Return how many issues match, of those that JQL can see."""
    return _count(database, condition, _VISIBLE)


def first(database: Database, condition: Sql, after: int, most: int) -> list[sqlite3.Row]:
    """Return the matching issues behind an id, in the order of their ids, of those that JQL can see."""
    sql = f"SELECT * FROM issues WHERE {_VISIBLE} AND {condition.text} AND id > ? ORDER BY id LIMIT ?"  # noqa: S608 - values are bound
    return database.rows(sql, [*condition.parameters, after, most])


def archive(world: World, ids_or_keys: Iterable[str], user: User) -> Report:
    """Archive issues with their subtasks; the settings say what becomes of those that are archived."""
    ids, refused = _sorted_out(world.database, ids_or_keys)
    again = world.settings.archived_again
    if again == "ignore":
        return Report(_archive(world, ids, user), refused)
    sql = "SELECT id FROM issues WHERE archived IS NOT NULL AND id IN (SELECT value FROM json_each(?))"
    already = [row["id"] for row in world.database.rows(sql, (json.dumps(ids),))]
    if again == "report" and already:
        refused["issuesAlreadyArchived"] = [str(key_by_id(world.database, id)) for id in already]
    return Report(_archive(world, ids, user) + (len(already) if again == "count" else 0), refused)


def archive_matching(
    world: World, condition: Sql, user: User, most: int, at: float | None = None
) -> tuple[int, int]:
    """
    Archive what matches, up to so many issues, now or ``at`` an earlier time.

    Return how many were archived, subtasks included, and how many were not.
    """
    with world.database.transaction():
        matched = count(world.database, condition)
        sql = f"SELECT id FROM issues WHERE {_ARCHIVABLE} AND {condition.text} LIMIT {most}"  # noqa: S608 - values are bound
        ids = [row[0] for row in world.database.rows(sql, condition.parameters)]
        updated = _archive(world, ids, user, at)
        left = count(world.database, condition) if updated < matched else 0
    return updated, left


def unarchive(world: World, ids_or_keys: Iterable[str]) -> Report:
    """Bring issues back with their subtasks."""
    ids, refused = _sorted_out(world.database, ids_or_keys, unlicensed_is_refused=False)
    sql = "UPDATE issues SET archived = NULL, archiver = NULL WHERE archived IS NOT NULL AND "
    updated = sum(world.database.execute(sql + which, (json.dumps(ids),)) for which in _AND_SUBTASKS)
    world.counters["issues_unarchived"] += updated
    return Report(updated, refused)


def matching(world: World, jql: str, *, archived: bool | None) -> int:
    """
    Count the issues that a query matches, for a look from outside; an empty query matches all.

    :param archived: True: of the archived issues; False: of those that JQL can see; None: of all there are.
    """
    reader = Reader(world.database, world.clock.now(), ADMIN)
    condition = translate(jql, reader, must_be_bounded=False)
    return _count(
        world.database, condition, {True: "archived IS NOT NULL", False: _VISIBLE, None: "1"}[archived]
    )


def describe_issue(world: World, id_or_key: str) -> dict[str, Any] | None:
    """Return what there is to know about one issue, archived or not; None if there is no such issue."""
    row = world.database.row("SELECT * FROM issues WHERE id = ?", (find_issue(world.database, id_or_key),))
    if row is None:
        return None
    subtasks = world.database.rows("SELECT id FROM issues WHERE parent = ? ORDER BY id", (row["id"],))
    return {
        "id": str(row["id"]),
        "key": key_of(row),
        "project": PROJECT_BY_ID[row["project"]].key,
        "issueType": _TYPE_NAMES[row["type"]],
        "status": _STATUS_NAMES[row["status"]],
        "labels": labels_of(row["labels"]),
        "summary": row["summary"],
        "reporter": account_id(row["reporter"]),
        "assignee": account_id(row["assignee"]),
        "created": row["created"],
        "updated": row["updated"],
        "resolved": row["resolved"],
        "parent": key_by_id(world.database, row["parent"]),
        "subtasks": [key_by_id(world.database, subtask["id"]) for subtask in subtasks],
        "archived": row["archived"] is not None,
        "archivedDate": row["archived"],
        "archivedBy": account_id(row["archiver"]),
    }


def key_of(row: sqlite3.Row) -> str:
    return f"{PROJECT_BY_ID[row['project']].key}-{row['number']}"


def key_by_id(database: Database, issue: int | None) -> str | None:
    row = database.row("SELECT project, number FROM issues WHERE id = ?", (issue,))
    return None if row is None else key_of(row)


@cache
def labels_of(bits: int | None) -> tuple[str, ...]:
    return tuple(label for bit, label in enumerate(LABELS) if (bits or 0) >> bit & 1)


def _count(database: Database, condition: Sql, among: str) -> int:
    sql = f"SELECT count(*) FROM issues WHERE {among} AND {condition.text}"  # noqa: S608 - values are bound
    return int(database.value(sql, condition.parameters))


def _archive(world: World, ids: list[int], user: User, at: float | None = None) -> int:
    sql = "UPDATE issues SET archived = ?, archiver = ? WHERE archived IS NULL AND "
    parameters = (int(world.clock.now() if at is None else at), user.id, json.dumps(ids))
    updated = sum(world.database.execute(sql + which, parameters) for which in _AND_SUBTASKS)
    world.counters["issues_archived"] += updated
    return updated


def _sorted_out(
    database: Database, ids_or_keys: Iterable[str], *, unlicensed_is_refused: bool = True
) -> tuple[list[int], dict[str, list[str]]]:
    """Tell the ids of the issues that may be (un)archived from the ids or keys that may not, by reason."""
    ids, refused = dict[int, None](), dict[str, list[str]]()
    for id_or_key in dict.fromkeys(ids_or_keys):
        row = database.row(
            "SELECT id, project, parent FROM issues WHERE id = ?", (find_issue(database, id_or_key),)
        )
        reason = _refusal(row, unlicensed_is_refused)
        if reason:
            refused.setdefault(reason, []).append(id_or_key)
        elif row is not None:
            ids[row["id"]] = None
    return list(ids), refused


def _refusal(row: sqlite3.Row | None, unlicensed_is_refused: bool) -> str | None:
    """
    Return why an issue can't be (un)archived, or None.

    One that is (un)archived already is not refused here.
    """
    if row is None:
        return "issuesNotFound"
    project = PROJECT_BY_ID[row["project"]]
    if project.is_archived:
        return "issuesInArchivedProjects"
    if not project.is_licensed and unlicensed_is_refused:
        return "issuesInUnlicensedProjects"
    return "issueIsSubtask" if row["parent"] is not None else None
