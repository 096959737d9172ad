"""The export of archived issues: its filter, the CSV file that its task writes, and its download."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from airflow_provider_archival.sandbox import jira_csv, jira_tasks, jobs
from airflow_provider_archival.sandbox.jira_answers import Refusal, admin_of, bare_refusal, object_in, refusal
from airflow_provider_archival.sandbox.jira_auth import Caller
from airflow_provider_archival.sandbox.jira_catalog import (
    ISSUE_TYPES,
    PROJECT_BY_KEY,
    USER_BY_ACCOUNT,
    User,
)
from airflow_provider_archival.sandbox.jira_search import Sql
from airflow_provider_archival.sandbox.jobs import Job, Outcome
from airflow_provider_archival.sandbox.world import World

FILE_PATH = "/rest/api/3/issues/archive/export/file/{task_id}.csv"
_PAGE = 5000
_LISTS = ("projects", "reporters", "issueTypes", "archivedBy")
_DAY = 86400
_RANGE, _RANGE_ENDS = "archivedDateRange", ("dateAfter", "dateBefore")
# The reference's prose and its example have this name for the range too; it does nothing.
_RANGE_IN_PROSE = "archivedDate"
# SQLite writes times several times faster than Python does.
_TIMES = ", ".join(
    f"strftime('%Y-%m-%dT%H:%M:%S.000+0000', {column}, 'unixepoch') AS {column}_time"
    for column in ("created", "updated", "resolved", "archived")
)
_PARENT_NUMBER = "(SELECT number FROM issues AS parents WHERE parents.id = issues.parent) AS parent_number"


async def export(world: World, request: Request, caller: Caller) -> Response:
    """``PUT /issues/archive/export``."""
    user = admin_of(caller, "User is not an admin.")
    wanted = await object_in(request, bare_refusal)
    site = jira_tasks.reachable_site_of(world, request)
    job = await run_in_threadpool(start, world, user, wanted, site)
    return JSONResponse(
        {
            "taskId": job.id,
            "status": jira_tasks.status_of(job),
            "progress": job.progress,
            "submittedTime": jira_tasks.milliseconds(job.submitted),
            "payload": _shown(wanted),
            **({"fileUrl": job.payload["fileUrl"]} if world.settings.file_url == "answer" else {}),
        },
        202,
    )


def start(world: World, user: User, wanted: dict[str, Any], site: str) -> Job:
    """
    Start to export what a filter chooses.

    :param site: the address below which the file will be.
    """
    condition = _condition(wanted, world.settings.range_ends)
    jira_tasks.check_none_is_running(world, jira_tasks.EXPORT)
    check_size(_count(world, condition), world.settings.issues_per_export)

    def payload(id: str) -> dict[str, Any]:
        return {"filter": wanted, "fileUrl": site + FILE_PATH.format(task_id=id)}

    return jira_tasks.submit(world, jira_tasks.EXPORT, payload, user)


async def download(world: World, request: Request, caller: Caller) -> Response:
    """Give out the file of a finished export."""
    admin_of(caller, "User is not an admin.")
    id = request.path_params["task_id"]
    job = world.jobs.get(id)
    path = _path(world, id)
    if job is None or job.kind != jira_tasks.EXPORT or job.status != jobs.DONE or not path.is_file():
        raise refusal(404, "The file of this export does not exist.")
    return FileResponse(path, media_type="text/csv", filename=path.name)


def check_size(number: int, most: int) -> None:
    """Refuse a filter that matches too much."""
    if number > most:
        raise bare_refusal(400, f"Your filter matches {number} issues, more than the limit of {most}.")


def write(world: World, job: Job) -> Outcome:
    """Do an export's work: write the file."""
    condition = _condition(job.payload["filter"], world.settings.range_ends)
    jira_csv.write(_path(world, job.id), world.settings.csv, lambda: _found(world, condition))
    url = job.payload["fileUrl"]
    told = {"none": None, "text": url}
    return Outcome(result=told.get(world.settings.file_url, {"fileUrl": url}))


def wipe(world: World) -> None:
    for path in world.scratch.glob(_path(world, "*").name):
        path.unlink()


def _path(world: World, id: str) -> Path:
    return world.scratch / f"archived-issues-{id}.csv"


def _condition(wanted: dict[str, Any], range_ends: str) -> Sql:
    """Translate a filter; raises a 400 for one that Jira would not take."""
    for name in wanted:
        if name not in (*_LISTS, _RANGE, _RANGE_IN_PROSE):
            raise _bad_filter(f"unknown field {name}")
    parts, parameters = ["archived IS NOT NULL"], list[int | str]()
    columns = zip(_LISTS, ("project", "reporter", "type", "archiver"), strict=True)
    for name, column in columns:
        values = _numbers(name, wanted.get(name))
        if values:
            parts.append(f"{column} IN (SELECT value FROM json_each(?))")  # noqa: S608 - our own names
            parameters.append(json.dumps(values))
    if wanted.get(_RANGE) is not None:
        after, before = _range(wanted[_RANGE], range_ends)
        parts.append("archived >= ? AND archived < ?")
        parameters += [after, before]
    return Sql(" AND ".join(parts), tuple(parameters))


def _numbers(name: str, values: Any) -> list[int]:
    """Return the database's numbers for a filter's keys, ids or accounts; an account that nobody has is 0."""
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _bad_filter(f"{name} wants an array of strings")
    if name in ("reporters", "archivedBy"):
        return [USER_BY_ACCOUNT[value].id if value in USER_BY_ACCOUNT else 0 for value in values]
    known = {key: project.id for key, project in PROJECT_BY_KEY.items()}
    if name == "issueTypes":
        known = {str(kind.id): kind.id for kind in ISSUE_TYPES}
    for value in values:
        if value not in known:
            raise _bad_filter(f"{name}: {value} does not exist")
    return [known[value] for value in values]


def _range(value: Any, ends: str) -> tuple[int, int]:
    """Return the range's first second and the first one after it, in UTC; ``ends`` belong to it, or don't."""
    if not isinstance(value, dict) or set(value) != set(_RANGE_ENDS):
        raise _bad_filter(f"{_RANGE} wants dateAfter and dateBefore")
    after, before = (_midnight(value[end]) for end in _RANGE_ENDS)
    if after > before:
        raise _bad_filter("dateAfter is later than dateBefore")
    return after + _DAY * (ends == "none"), before + _DAY * (ends == "both")


def _midnight(date: Any) -> int:
    try:
        return int(datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except (ValueError, TypeError):
        raise _bad_filter(f"{date} is no date of the form YYYY-MM-DD") from None


def _bad_filter(problem: str) -> Refusal:
    return bare_refusal(400, f"Your filter contains invalid values {{{problem}}}")


def _shown(wanted: dict[str, Any]) -> str:
    """Say the filter as Jira does in its answer."""
    parts = [f"{name}=[{', '.join(wanted[name])}]" for name in _LISTS if wanted.get(name)]
    if wanted.get(_RANGE) is not None:
        after, before = (wanted[_RANGE][end] for end in _RANGE_ENDS)
        parts.append(f"archivedDate={{dateAfterInstant={after}, dateBeforeInstant={before}}}")
    return f"{{{', '.join(parts)}}}"


def _count(world: World, condition: Sql) -> int:
    sql = f"SELECT count(*) FROM issues WHERE {condition.text}"  # noqa: S608 - values are bound
    return int(world.database.value(sql, condition.parameters))


def _found(world: World, condition: Sql) -> Iterator[sqlite3.Row]:
    where = f"{condition.text} AND id > ? ORDER BY id LIMIT {_PAGE}"
    # Without an index the rows come in the order of their ids: one pass over the table, however many pages.
    sql = f"SELECT *, {_TIMES}, {_PARENT_NUMBER} FROM issues NOT INDEXED WHERE {where}"  # noqa: S608 - bound values
    last = 0
    while page := world.database.rows(sql, (*condition.parameters, last)):
        yield from page
        last = page[-1]["id"]
