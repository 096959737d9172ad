"""Jira's long-running tasks: starting one, looking at it, cancelling it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from airflow_provider_archival.sandbox import jobs
from airflow_provider_archival.sandbox.any_json import AnyJson
from airflow_provider_archival.sandbox.credentials import JIRA_CLOUD_ID
from airflow_provider_archival.sandbox.jira_answers import (
    NOT_AUTHENTICATED,
    Refusal,
    bare_refusal,
    refusal,
    user_of,
)
from airflow_provider_archival.sandbox.jira_auth import Caller
from airflow_provider_archival.sandbox.jira_catalog import USER_BY_ACCOUNT, User
from airflow_provider_archival.sandbox.jobs import Job
from airflow_provider_archival.sandbox.world import World

SERVICE, ARCHIVE, EXPORT = "jira", "archive", "export"
# By the setting ``description``.
_DESCRIPTIONS: dict[str, dict[str, str]] = {
    "kind": {ARCHIVE: "Archive issues", EXPORT: "Export archived issues"},
    "same": dict.fromkeys((ARCHIVE, EXPORT), "Issue archival task"),
    "none": {},
}
_STATUSES = {
    jobs.QUEUED: "ENQUEUED",
    jobs.RUNNING: "RUNNING",
    jobs.CANCELLING: "CANCEL_REQUESTED",
    jobs.DONE: "COMPLETE",
    jobs.FAILED: "FAILED",
    jobs.CANCELLED: "CANCELLED",
    jobs.DEAD: "DEAD",
}
_KEPT_SECONDS = 14 * 86400
_FIRST_ID = 10101
_GATEWAY_SITE = "https://sandbox-site.example.com"
_submitting = threading.Lock()


def submit(world: World, kind: str, payload: Callable[[str], dict[str, Any]], user: User) -> Job:
    """
    Start a task, unless one that it must wait for is running; it may be over at once.

    :param payload: makes the task's payload from its id.
    """
    with _submitting:
        check_none_is_running(world, kind)
        last = world.database.value("SELECT max(CAST(id AS INTEGER)) FROM jobs WHERE service = ?", (SERVICE,))
        id = str(_FIRST_ID if last is None else last + 1)
        world.counters[f"jobs_submitted.{kind}"] += 1
        return world.jobs.submit(
            id, SERVICE, kind, payload(id), world.settings.job_seconds, submitted_by=user.account_id
        )


def check_none_is_running(world: World, kind: str) -> None:
    """Refuse if a task of this kind is running, or (as the settings have it) one of the other kind."""
    kinds = (ARCHIVE, EXPORT) if world.settings.locks == "one" else (kind,)
    running = world.jobs.running(SERVICE, *kinds)
    if running is not None:
        id = f" with ID {running.id}" if world.settings.busy_with == "id" else ""
        raise refusal(
            412,
            f"An issue archival task is already running{id}."
            " To start a new one, cancel the task or wait for it to finish.",
        )


def status_of(job: Job) -> str:
    return _STATUSES[job.status]


def site_of(world: World, request: Request) -> str:
    """Return the site's own address, which behind the gateway is not the one that was called."""
    return _GATEWAY_SITE if "cloud_id" in request.scope else world.base_url


def reachable_site_of(world: World, request: Request) -> str:
    """Return the address that the caller reaches the site by."""
    return world.base_url + (f"/ex/jira/{JIRA_CLOUD_ID}" if "cloud_id" in request.scope else "")


async def look(world: World, request: Request, caller: Caller) -> Response:
    """``GET /task/{id}``."""
    user = user_of(caller)
    job = _find(world, request, user, refusal)
    world.polls[job.id] += 1
    return AnyJson(_as_json(world, job, site_of(world, request)))


async def cancel(world: World, request: Request, caller: Caller) -> Response:
    """``POST /task/{id}/cancel``."""
    user = user_of(caller, NOT_AUTHENTICATED, bare_refusal)
    job = _find(world, request, user, bare_refusal)
    if job.is_over:
        raise bare_refusal(400, f"The task with ID {job.id} can't be cancelled: it is {status_of(job)}.")
    world.jobs.cancel(job.id)
    return JSONResponse(f"The task with ID {job.id} is asked to stop.", 202)


def _find(world: World, request: Request, user: User, refuse: Callable[[int, str], Refusal]) -> Job:
    id = request.path_params["task_id"]
    job = world.jobs.get(id)
    if job is None or job.service != SERVICE or not _is_kept(world, job) or not _may_see(user, job):
        raise refuse(404, f"The task with ID {id} is not found.")
    return job


def _is_kept(world: World, job: Job) -> bool:
    return job.ended is None or world.clock.now() < job.ended + _KEPT_SECONDS


def _may_see(user: User, job: Job) -> bool:
    return user.is_admin or user.account_id == job.submitted_by


def _as_json(world: World, job: Job, site: str) -> dict[str, Any]:
    ran_until = world.clock.now() if job.ended is None else job.ended
    known = {
        "self": f"{site}/rest/api/3/task/{job.id}",
        "id": job.id,
        "description": _DESCRIPTIONS[world.settings.description].get(job.kind),
        "status": status_of(job),
        "message": job.message,
        "result": job.result,
        "submittedBy": USER_BY_ACCOUNT[job.submitted_by].id,
        "progress": job.progress,
        "elapsedRuntime": 0 if job.started is None else milliseconds(max(0.0, ran_until - job.started)),
        "submitted": milliseconds(job.submitted),
        "started": None if job.started is None else milliseconds(job.started),
        "finished": None if job.ended is None else milliseconds(job.ended),
        "lastUpdate": milliseconds(job.changed),
    }
    return {name: value for name, value in known.items() if value is not None} | job.shown


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
