"""The sandbox's Toloka: projects, pools, trainings and the operations that close and archive them."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from airflow_provider_archival.sandbox import credentials, toloka_store, toloka_views
from airflow_provider_archival.sandbox.any_json import AnyJson
from airflow_provider_archival.sandbox.jobs import FAILED, QUEUED, Job, Outcome
from airflow_provider_archival.sandbox.toloka_errors import Refusal, error
from airflow_provider_archival.sandbox.toloka_listing import Listing
from airflow_provider_archival.sandbox.toloka_store import add_project
from airflow_provider_archival.sandbox.world import World

__all__ = ["LISTS", "add_project", "routes", "seed", "wipe"]

SERVICE = "toloka"
_TABLES = {"project": "toloka_projects", "pool": "toloka_pools", "training": "toloka_trainings"}
_VIEWS = {"project": toloka_views.project, "pool": toloka_views.pool, "training": toloka_views.training}
_ACTIONS = ("project.archive", "pool.archive", "pool.close", "training.archive", "training.close")
_TARGETS = {"archive": "ARCHIVED", "close": "CLOSED"}
_POOL_STATUSES = frozenset({"OPEN", "CLOSED", "ARCHIVED", "LOCKED"})
_POOLS = Listing(
    usual=20,
    most=300,
    choices={"status": _POOL_STATUSES, "project_id": None},
    times=frozenset({"created", "last_started"}),
    sortable=frozenset({"id", "created", "last_started"}),
    id_type=int,
)
_LISTINGS = {
    "project": Listing(
        usual=20,
        most=300,
        choices={"status": frozenset({"ACTIVE", "ARCHIVED"})},
        times=frozenset({"created"}),
        sortable=frozenset({"id", "created", "public_name", "private_comment"}),
        id_type=int,
    ),
    "pool": _POOLS,
    "training": _POOLS,
}
LISTS = (*(f"{what}s" for what in _TABLES), "operations")
_OPERATIONS = Listing(
    usual=50,
    most=500,
    choices={"status": frozenset({"PENDING", "RUNNING", "SUCCESS", "FAIL"}), "type": None},
    times=frozenset({"submitted", "finished"}),
    sortable=frozenset({"id", "submitted", "finished"}),
    id_type=str,
)

Handler = Callable[[Request], Awaitable[Response]]


def seed(world: World) -> None:
    """Make and fill Toloka's tables if need be, and say what its operations do."""
    toloka_store.seed(world)
    toloka = Toloka(world)
    for action in _ACTIONS:
        world.jobs.register(SERVICE, action.upper(), toloka.work)


def wipe(world: World) -> None:
    toloka_store.wipe(world)


def routes(world: World) -> list[BaseRoute]:
    toloka = Toloka(world)
    found = [
        _route("GET", "/requester", toloka, toloka.requester),
        _route("GET", "/operations", toloka, toloka.operations),
        _route("GET", "/operations/{id}", toloka, toloka.operation),
    ]
    for what in _TABLES:
        found += [
            _route("GET", f"/{what}s", toloka, _bound(toloka.listed, what)),
            _route("GET", f"/{what}s/{{id}}", toloka, _bound(toloka.shown, what)),
        ]
    for action in _ACTIONS:
        what, verb = action.split(".")
        found.append(_route("POST", f"/{what}s/{{id}}/{verb}", toloka, _bound(toloka.start, action)))
    return list(found)


class Toloka:
    """Toloka's endpoints on a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def check_credentials(self, request: Request) -> None:
        """Let in who has a token, under its own scheme."""
        mode = self._world.settings.auth
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        known = {"OAuth": credentials.TOLOKA_OAUTH_TOKEN, "ApiKey": credentials.TOLOKA_API_KEY}
        if mode == "off" or (mode == "any" and scheme in known and token):
            return
        if mode == "any" or known.get(scheme) != token:
            raise Refusal(401, "AUTHENTICATION_ERROR", "Invalid or missing credentials")

    async def requester(self, request: Request) -> Response:
        return JSONResponse(toloka_views.requester())

    async def listed(self, what: str, request: Request) -> Response:
        ours = " WHERE is_ours" if what == "project" else ""
        rows = self._world.database.rows(f"SELECT * FROM {_TABLES[what]}{ours}")  # noqa: S608 - our own names
        return self._page(f"{what}s", _LISTINGS[what], [dict(row) for row in rows], request, _VIEWS[what])

    async def shown(self, what: str, request: Request) -> Response:
        return JSONResponse(_VIEWS[what](self._find(what, request.path_params["id"])))

    async def operations(self, request: Request) -> Response:
        rows = [_row_of(job) for job in self._world.jobs.all(SERVICE)]
        return self._page("operations", _OPERATIONS, rows, request, toloka_views.operation)

    async def operation(self, request: Request) -> Response:
        id = request.path_params["id"]
        job = self._world.jobs.get(id)
        if job is None or job.service != SERVICE:
            raise _unknown("Operation", id)
        self._world.polls[id] += 1
        return AnyJson(toloka_views.operation(_row_of(job)))

    async def start(self, action: str, request: Request) -> Response:
        """Start an operation, or say that there is nothing to do."""
        what, verb = action.split(".")
        row = self._find(what, request.path_params["id"])
        if row["status"] == _TARGETS[verb]:
            again = self._world.settings.project_again if what == "project" else "nothing"
            if again == "nothing":
                return Response(status_code=204)
            if again == "conflict":
                raise Refusal(409, "CONFLICT_STATE", f"Project {row['id']} is archived already")
        self._check_state(what, verb, row)
        kind = action.upper()
        self._world.counters[f"jobs_submitted.{kind}"] += 1
        job = self._world.jobs.submit(
            id=str(uuid.uuid4()),
            service=SERVICE,
            kind=kind,
            payload={f"{what}_id": str(row["id"])},
            seconds=self._world.settings.job_seconds,
            submitted_by=toloka_views.REQUESTER_ID,
        )
        return JSONResponse(toloka_views.operation(_row_of(job)), 202)

    def work(self, job: Job) -> Outcome:
        """Do what an operation is for, if it is still possible."""
        what, verb = job.kind.lower().split(".")
        try:
            row = self._find(what, job.payload[f"{what}_id"])
            if row["status"] == _TARGETS[verb]:
                return Outcome(result={})
            self._check_state(what, verb, row)
        except Refusal as refusal:
            return Outcome(FAILED, {"code": refusal.code, "message": refusal.message}, refusal.message)
        changes: dict[str, Any] = {"status": _TARGETS[verb]}
        if verb == "close":
            changes["last_stopped"] = self._world.clock.now()
        self._world.database.execute(
            f"UPDATE {_TABLES[what]} SET {', '.join(f'{name} = ?' for name in changes)} WHERE id = ?",  # noqa: S608
            [*changes.values(), row["id"]],
        )
        return Outcome(result={})

    def _page(
        self,
        name: str,
        listing: Listing,
        rows: Sequence[Mapping[str, Any]],
        request: Request,
        view: Callable[[Mapping[str, Any]], dict[str, Any]],
    ) -> Response:
        how = self._world.endless.get(name)
        if how is None:
            items, has_more = listing.page(rows, request.query_params)
        else:
            numbers = self._world.made_up if how == "new" else None
            items, has_more = listing.endless_page(rows, request.query_params, numbers), True
        return AnyJson({"items": [view(row) for row in items], "has_more": has_more})

    def _find(self, what: str, id: str) -> dict[str, Any]:
        number = int(id) if id.isdecimal() and len(id) < 18 else -1
        row = self._world.database.row(f"SELECT * FROM {_TABLES[what]} WHERE id = ?", (number,))  # noqa: S608
        if row is None:
            raise _unknown(what.capitalize(), id)
        project_id = row["id"] if what == "project" else row["project_id"]
        if not self._world.database.value("SELECT is_ours FROM toloka_projects WHERE id = ?", (project_id,)):
            raise Refusal(403, "ACCESS_DENIED", f"{what.capitalize()} {id} belongs to another requester")
        return dict(row)

    def _check_state(self, what: str, verb: str, row: Mapping[str, Any]) -> None:
        if what == "project":
            self._check_all_archived("project_id", row, ("pool", "training"), "project")
        elif verb == "close":
            self._check_status(what, row, "OPEN", "closed")
        else:
            self._check_status(what, row, "CLOSED", "archived")
            if what == "training":
                self._check_all_archived("training_id", row, ("pool",), "training")
            elif (
                row["rejected"] and self._world.clock.now() < row["rejected"] + toloka_store.REJECTION_SECONDS
            ):
                message = f"Pool {row['id']} has tasks that were rejected less than 9 days ago"
                raise Refusal(409, "CONFLICT_STATE", message)

    def _check_status(self, what: str, row: Mapping[str, Any], wanted: str, done: str) -> None:
        if row["status"] != wanted:
            message = (
                f"{what.capitalize()} {row['id']} is {row['status']}; only one that is {wanted} can be {done}"
            )
            raise Refusal(409, "INAPPROPRIATE_STATUS", message, {"status": row["status"]})

    def _check_all_archived(
        self, column: str, row: Mapping[str, Any], members: Sequence[str], of: str
    ) -> None:
        for member in members:
            left = self._world.database.rows(
                f"SELECT id FROM {_TABLES[member]} WHERE {column} = ? AND status != 'ARCHIVED' ORDER BY id",  # noqa: S608
                (row["id"],),
            )
            if left:
                ids = [str(found["id"]) for found in left]
                some = ", ".join(ids[:10]) + (", …" if len(ids) > 10 else "")
                message = f"The {of} {row['id']} has {member}s that are not archived: {some}"
                raise Refusal(409, "CONFLICT_STATE", message, {f"{member}_ids": ids[:100]})


def _row_of(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "type": job.kind,
        "status": toloka_views.status_of(job.status),
        "submitted": job.submitted,
        "started": job.started,
        "finished": job.ended,
        "progress": None if job.status == QUEUED else job.progress,
        "parameters": job.payload,
        "shown": job.shown,
        "details": job.result
        if job.result is not None
        else {"message": job.message}
        if job.message
        else None,
    }


def _unknown(what: str, id: str) -> Refusal:
    return Refusal(404, "DOES_NOT_EXIST", f"{what} {id} does not exist")


def _bound(handler: Callable[[str, Request], Awaitable[Response]], what: str) -> Handler:
    async def handle(request: Request) -> Response:
        return await handler(what, request)

    return handle


def _route(method: str, path: str, toloka: Toloka, handler: Handler) -> Route:
    async def handle(request: Request) -> Response:
        try:
            toloka.check_credentials(request)
            return await handler(request)
        except Refusal as refusal:
            return error(refusal.status, refusal.code, refusal.message, refusal.payload)

    return Route(f"/api/v1{path}", handle, methods=[method])
