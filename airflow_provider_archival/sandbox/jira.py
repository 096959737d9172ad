"""The sandbox's Jira: what it starts with, and its endpoints."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from airflow_provider_archival.sandbox import issues, jira_auth, jira_export, jira_seed, jira_tasks
from airflow_provider_archival.sandbox.issues import Report, describe_issue, matching
from airflow_provider_archival.sandbox.jira_answers import admin_of, object_in, refusal, route, user_of
from airflow_provider_archival.sandbox.jira_auth import Caller, expire_tokens
from airflow_provider_archival.sandbox.jira_catalog import USER_BY_ACCOUNT, User
from airflow_provider_archival.sandbox.jira_search import Reader, Sql, translate
from airflow_provider_archival.sandbox.jobs import Job, Outcome
from airflow_provider_archival.sandbox.jql import JqlError
from airflow_provider_archival.sandbox.world import World

__all__ = ["describe_issue", "expire_tokens", "matching", "routes", "seed", "wipe"]

_API = "/rest/api/3"
_MOST_KEYS = 1000
_MOST_FOUND = 5000
_ADMINS_ONLY = "Only admins can archive or unarchive issues. Access denied."
_REASONS = {
    "issueIsSubtask": "Issue is subtask.",
    "issuesInArchivedProjects": "Issue exists in archived project.",
    "issuesInUnlicensedProjects": "Issues with these IDs are in unlicensed projects.",
    "issuesNotFound": "Issue not found.",
    "issuesAlreadyArchived": "Issue is already archived.",
}
# name: (id, type, description, whether members have it)
_PERMISSIONS = {
    "ADMINISTER": ("0", "GLOBAL", "Administer Jira", False),
    "SYSTEM_ADMIN": ("44", "GLOBAL", "System administration", False),
    "BULK_CHANGE": ("33", "GLOBAL", "Make bulk changes", True),
    "BROWSE_PROJECTS": ("10", "PROJECT", "Browse projects and the issues in them", True),
    "EDIT_ISSUES": ("12", "PROJECT", "Edit issues", True),
}


def seed(world: World) -> None:
    """Make and fill Jira's tables if need be, and say what its tasks do."""
    jira_seed.seed(world)
    jira_auth.seed(world)
    world.jobs.register(jira_tasks.SERVICE, jira_tasks.ARCHIVE, partial(_archive_matching, world))
    world.jobs.register(jira_tasks.SERVICE, jira_tasks.EXPORT, partial(jira_export.write, world))


def wipe(world: World) -> None:
    """Go back to what :func:`seed` made; the jobs are not ours to drop."""
    jira_seed.wipe(world)
    jira_export.wipe(world)
    expire_tokens(world)


def routes(world: World) -> list[BaseRoute]:
    read, write = "read:jira-work", "write:jira-work"
    write_issue, read_issue = "write:issue:jira", "read:issue:jira"
    return [
        route(world, "PUT", f"{_API}/issue/archive", archive, write, write_issue),
        route(world, "POST", f"{_API}/issue/archive", archive_by_jql, write, write_issue),
        route(world, "PUT", f"{_API}/issue/unarchive", unarchive, write, write_issue),
        route(world, "PUT", f"{_API}/issues/archive/export", jira_export.export, read, read_issue),
        route(world, "GET", jira_export.FILE_PATH, jira_export.download, read, read_issue),
        route(world, "GET", f"{_API}/task/{{task_id}}", jira_tasks.look, read),
        route(
            world,
            "POST",
            f"{_API}/task/{{task_id}}/cancel",
            jira_tasks.cancel,
            write,
            "delete:async-task:jira",
        ),
        route(world, "POST", f"{_API}/search/approximate-count", approximate_count, read),
        route(world, "POST", f"{_API}/search/jql", search, read),
        route(world, "GET", f"{_API}/myself", myself, "read:jira-user"),
        route(world, "GET", f"{_API}/mypermissions", my_permissions, read),
        jira_auth.token_route(world),
        jira_auth.login_route(),
    ]


async def archive(world: World, request: Request, caller: Caller) -> Response:
    """``PUT /issue/archive``."""
    user = admin_of(caller, _ADMINS_ONLY)
    wanted = _ids_or_keys(await object_in(request))
    return _report(wanted, issues.archive(world, wanted[:_MOST_KEYS], user))


async def unarchive(world: World, request: Request, caller: Caller) -> Response:
    """``PUT /issue/unarchive``."""
    admin_of(caller, _ADMINS_ONLY)
    wanted = _ids_or_keys(await object_in(request))
    return _report(wanted, issues.unarchive(world, wanted[:_MOST_KEYS]))


async def archive_by_jql(world: World, request: Request, caller: Caller) -> Response:
    """``POST /issue/archive``."""
    user = admin_of(caller, _ADMINS_ONLY)
    wanted = await object_in(request)
    job = await run_in_threadpool(start_archive, world, user, wanted)
    return JSONResponse(f"{jira_tasks.site_of(world, request)}{_API}/task/{job.id}", 202)


def start_archive(world: World, user: User, wanted: dict[str, Any]) -> Job:
    """Start to archive what a query matches."""
    jql = _jql(wanted)
    condition = _condition(jql, Reader(world.database, world.clock.now(), user))
    jira_tasks.check_none_is_running(world, jira_tasks.ARCHIVE)
    _check_size(world, issues.count(world.database, condition))
    return jira_tasks.submit(world, jira_tasks.ARCHIVE, lambda _: {"jql": jql}, user)


async def approximate_count(world: World, request: Request, caller: Caller) -> Response:
    """``POST /search/approximate-count``."""
    jql = _jql(await object_in(request))
    condition = _condition(jql, Reader(world.database, world.clock.now(), caller.user))
    # Anonymous callers may ask, and see no issues.
    number = await run_in_threadpool(issues.count, world.database, condition) if caller.user else 0
    return JSONResponse({"count": number})


async def search(world: World, request: Request, caller: Caller) -> Response:
    """``POST /search/jql``: ids and keys only, in the order of the ids."""
    body = await object_in(request)
    condition = _condition(_jql(body), Reader(world.database, world.clock.now(), caller.user))
    most, token = body.get("maxResults", 50), str(body.get("nextPageToken") or "0")
    if not isinstance(most, int) or not 1 <= most <= _MOST_FOUND or not token.isdecimal():
        raise refusal(400, "Invalid maxResults or nextPageToken.")
    # Anonymous callers may ask, and see no issues.
    found = (
        await run_in_threadpool(issues.first, world.database, condition, int(token), most + 1)
        if caller.user
        else []
    )
    site = jira_tasks.site_of(world, request)
    answer: dict[str, Any] = {
        "issues": [
            {
                "expand": "",
                "id": str(row["id"]),
                "self": f"{site}{_API}/issue/{row['id']}",
                # Jira sends no more than the id unless it is asked for fields.
                **({"key": issues.key_of(row), "fields": {}} if body.get("fields") else {}),
            }
            for row in found[:most]
        ],
        "isLast": len(found) <= most,
    }
    if len(found) > most:
        answer["nextPageToken"] = str(found[most - 1]["id"])
    return JSONResponse(answer)


async def myself(world: World, request: Request, caller: Caller) -> Response:
    """``GET /myself``."""
    user = user_of(caller)
    site = jira_tasks.site_of(world, request)
    return JSONResponse(
        {
            "self": f"{site}{_API}/user?accountId={user.account_id}",
            "accountId": user.account_id,
            "accountType": user.kind,
            "active": True,
            "displayName": user.name,
            "emailAddress": user.email,
            "timeZone": "Etc/UTC",
        }
    )


async def my_permissions(world: World, request: Request, caller: Caller) -> Response:
    """``GET /mypermissions``."""
    names = [name.strip() for name in request.query_params.get("permissions", "").split(",") if name.strip()]
    if not names:
        raise refusal(400, "The 'permissions' query parameter is required.")
    for name in names:
        if name not in _PERMISSIONS:
            raise refusal(400, f"Unrecognized permission: {name}.")
    return JSONResponse({"permissions": {name: _permission(name, caller.user) for name in names}})


def _permission(name: str, user: User | None) -> dict[str, Any]:
    id, type, description, is_everyones = _PERMISSIONS[name]
    return {
        "id": id,
        "key": name,
        "name": description,
        "type": type,
        "description": description,
        "havePermission": user is not None and (user.is_admin or is_everyones),
    }


def _archive_matching(world: World, job: Job) -> Outcome:
    """Do an archive task's work; the query means what it meant when it was sent."""
    user = USER_BY_ACCOUNT[job.submitted_by]
    condition = translate(job.payload["jql"], Reader(world.database, job.submitted, user))
    updated, left = issues.archive_matching(
        world, condition, user, world.settings.issues_per_task, at=job.ended
    )
    return Outcome(result={"numberOfIssuesUpdated": updated, "numberOfIssuesNotUpdated": left})


def _condition(jql: str, reader: Reader) -> Sql:
    try:
        return translate(jql, reader)
    except JqlError as error:
        raise refusal(400, str(error)) from None


def _check_size(world: World, number: int) -> None:
    """
    Refuse a query that matches too much, or (as the settings have it) take it for its first issues.

    Jira's reference doesn't say what such a query gets, nor what one gets that matches nothing.
    """
    if not number and world.settings.no_match == "refuse":
        raise refusal(400, "No valid issue to archive or unarchive. Bad request.")
    most = world.settings.issues_per_task
    if number > most and world.settings.over_limit == "refuse":
        raise refusal(400, f"The JQL query matches {number} issues, more than the limit of {most}.")


def _jql(body: dict[str, Any]) -> str:
    jql = body.get("jql")
    if not isinstance(jql, str):
        raise refusal(400, "Invalid JQL. Bad request.")
    return jql


def _ids_or_keys(body: dict[str, Any]) -> list[str]:
    wanted = body.get("issueIdsOrKeys")
    if not isinstance(wanted, list) or not wanted or not all(isinstance(one, str) for one in wanted):
        raise refusal(400, "No valid issue to archive or unarchive. Bad request.")
    return wanted


def _report(wanted: list[str], report: Report) -> Response:
    if len(wanted) > _MOST_KEYS:
        raise refusal(
            412,
            f"The number of issues to archive or unarchive exceeds the hard limit of {_MOST_KEYS}."
            " Precondition failed.",
        )
    if sum(map(len, report.refused.values())) == len(set(wanted)):
        raise refusal(400, "No valid issue to archive or unarchive. Bad request.")
    errors = {
        reason: {"count": len(refused), "issueIdsOrKeys": refused, "message": _REASONS[reason]}
        for reason, refused in report.refused.items()
    }
    return JSONResponse({"numberOfIssuesUpdated": report.updated, "errors": errors})
