"""Reads what version 1 has kept, in a store or in a deferral; it goes when nobody has any of it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_archival.api.jira import ArchiveError, ArchiveReport
from airflow_provider_archival.api.jobs import JIRA_TASK, TOLOKA_BATCH, TOLOKA_OPERATION
from airflow_provider_archival.plans.base import Plan
from airflow_provider_archival.plans.jira_export import Export, ExportState, Range
from airflow_provider_archival.plans.jira_issues import IssuesByKey, IssuesState
from airflow_provider_archival.plans.jira_jql import ArchiveByJql
from airflow_provider_archival.plans.jira_spans import JqlState, Span
from airflow_provider_archival.plans.toloka_pool import ArchivePool, PoolState
from airflow_provider_archival.plans.toloka_project import ArchiveProject, ProjectState, Refused

BEGAN = "began"
"""What a deferral carried where nothing had come of the run yet: when it began, in epoch seconds."""
CHUNKS = "archival_chunks"
"""The store's key for archiving by key; each chunk with errors had one more of its own."""

_MOST_SHOWN = 200

Notes = Mapping[str, Any]


def is_older(kept: Any) -> bool:
    """Say whether a value is of version 1, which did not say so."""
    return (
        isinstance(kept, dict) and "version" not in kept and bool({"packed", "pending", CHUNKS} & set(kept))
    )


def values_of(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, whether they were packed or not."""
    if "packed" not in kept:
        return dict(kept)
    return dict(json.loads(zlib.decompress(base64.b64decode(kept["packed"], validate=True))))


def listed(values: Any) -> list[Any]:
    """Return a list as it is: of a text, too, a tuple can be made."""
    if not isinstance(values, list):
        raise TypeError(f"{str(values)[:_MOST_SHOWN]!r} is no list")
    return values


def job_of(values: Mapping[str, Any]) -> Any:
    """Return a job; of which kind it is was told by its keys."""
    kind: Any = TOLOKA_OPERATION
    if "expected" in values:
        kind = TOLOKA_BATCH
    elif "task_id" in values:
        kind = JIRA_TASK
    return kind.read(values)


def state_of(plan: Plan[Any, Any, Any], values: Mapping[str, Any]) -> Any:
    """Return the plan's state; None where the run had not come so far."""
    return _READERS[type(plan)](plan, values)


def _jql(plan: ArchiveByJql, values: Notes) -> JqlState | None:
    notes = values["notes"]
    if "windows" not in notes:
        return None
    spans = [
        Span(
            one["after"],
            one["before"],
            one["matched"],
            tuple(listed(one["task_ids"])),
            one["is_over"],
            one.get("left"),
            one.get("asked"),
        )
        for one in listed(notes["windows"])
    ]
    # A task that no window had yet was that of the current one.
    known = {id for span in spans for id in span.task_ids}
    new = tuple(
        job["task_id"] for job in (*values["done"], *values["pending"]) if job["task_id"] not in known
    )
    state = JqlState(notes["matched"], tuple(spans), bool(notes.get("again")), cuts=len(spans))
    span = state.current
    return state.with_spans(replace(span, task_ids=(*span.task_ids, *new))) if new and span else state


def _export(plan: Export, values: Notes) -> ExportState | None:
    notes = values["notes"]
    if "ranges" not in notes:
        return None
    ranges = [Range(one["after"], one["before"]) for one in notes["ranges"]]
    # The days as they were when the run began: its end may be "until tomorrow", which has moved.
    whole = Range(ranges[0].after, ranges[-1].before)
    given = {one["task_id"] for one in notes["ranges"]}
    done = {job["task_id"] for job in values["done"]}
    pending = {job["task_id"] for job in values["pending"]}
    # A task that no range had yet was that of the first without one.
    new = [job["task_id"] for job in (*values["done"], *values["pending"]) if job["task_id"] not in given]
    first, running = [], None
    for one, days in zip(notes["ranges"], ranges, strict=True):
        task_id = one["task_id"] or (new.pop(0) if new else None)
        if task_id in pending:
            running = days
        elif task_id not in done:
            first.append(days)
    # What was not begun is as it was cut beforehand, from its end on: that need not be kept.
    pieces = plan.pieces(whole)
    begun = len(pieces)
    while first and begun and first[-1] == pieces[begun - 1]:
        first.pop()
        begun -= 1
    return ExportState(whole, begun, tuple(first), running)


def _pool(plan: ArchivePool, values: Notes) -> PoolState | None:
    return PoolState(values["started"], bool(values["handled"])) if "pool_id" in values["notes"] else None


def _project(plan: ArchiveProject, values: Notes) -> ProjectState | None:
    notes = values["notes"]
    if "begin" not in notes:
        return None
    refused = [
        Refused("pool_id" if "pool_id" in one else "training_id", _id_of(one), one["message"])
        for one in listed(notes.get("refused", []))
    ]
    return ProjectState(
        notes["begin"],
        tuple(listed(notes["left"])) if "left" in notes else None,
        tuple(refused),
        notes.get("more_refused", 0),
        notes.get("members_archived", False),
    )


def _id_of(refused: Mapping[str, str]) -> str:
    return refused.get("pool_id") or refused["training_id"]


def _issues(plan: IssuesByKey, values: Notes) -> IssuesState:
    chunks = []
    for number, updated in values["done"].items():
        errors = values["errors"].get(number, {})
        report = ArchiveReport(
            updated,
            {
                name: ArchiveError(one["count"], one["message"], tuple(listed(one["issue_ids_or_keys"])))
                for name, one in errors.items()
            },
        )
        chunks.append(plan.chunk(int(number), report))
    return IssuesState(tuple(chunks))


_READERS: dict[type, Callable[[Any, Notes], Any]] = {
    ArchiveByJql: _jql,
    Export: _export,
    ArchivePool: _pool,
    ArchiveProject: _project,
    IssuesByKey: _issues,
}
