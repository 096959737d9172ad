"""The sandbox's own endpoints under ``/_sandbox``: look inside, make faults, steer jobs, start over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from airflow_provider_archival.sandbox import (
    issues,
    jira,
    jira_auth,
    jira_export,
    jira_seed,
    jira_tasks,
    toloka,
)
from airflow_provider_archival.sandbox.any_json import AnyJson
from airflow_provider_archival.sandbox.descriptions import BadDescription
from airflow_provider_archival.sandbox.faults import Faults
from airflow_provider_archival.sandbox.jira_answers import Refusal
from airflow_provider_archival.sandbox.jira_catalog import COLLEAGUE
from airflow_provider_archival.sandbox.jobs import CANCELLED, DEAD, FAILED, Job, Outcome
from airflow_provider_archival.sandbox.limits import Limits
from airflow_provider_archival.sandbox.traffic import Traffic, most_at_once
from airflow_provider_archival.sandbox.world import World

_SUBMITTED_WITH = {jira_tasks.ARCHIVE: "jql", jira_tasks.EXPORT: "filter"}
_ENDS = {"fail": FAILED, "die": DEAD, "cancel": CANCELLED}
_ACTIONS = ("freeze", "show", "thaw", "finish", *_ENDS, "forget")
_OF_ANY_AGE = ("show", "thaw", "forget")
_DEFAULT_MESSAGES = {
    "fail": "The sandbox was told to fail this job.",
    "die": "The sandbox was told to let this job die.",
    "cancel": "The task was cancelled.",
}

Handler = Callable[[Request], Awaitable[Response]]


class BadRequest(BadDescription):
    """A request to the control that makes no sense, and the status that it gets."""

    def __init__(self, field: str, problem: str, status: int = 400) -> None:
        super().__init__(field, problem)
        self.status = status


class Control:
    """The endpoints; none wants credentials, none is logged, and no fault meets them."""

    def __init__(self, world: World, traffic: Traffic, faults: Faults, limits: Limits) -> None:
        self._world, self._traffic, self._faults, self._limits = world, traffic, faults, limits

    def routes(self) -> list[Mount]:
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/requests", self.requests),
            ("DELETE", "/requests", self.clear_requests),
            ("GET", "/counters", self.counters),
            ("DELETE", "/counters", self.clear_counters),
            ("GET", "/faults", self.faults),
            ("POST", "/faults", self.add_fault),
            ("DELETE", "/faults", self.clear_faults),
            ("DELETE", "/faults/{id}", self.remove_fault),
            ("GET", "/limits", self.limits),
            ("POST", "/limits", self.set_limits),
            ("DELETE", "/limits", self.clear_limits),
            ("GET", "/jobs", self.jobs),
            ("POST", "/jobs", self.submit_job),
            ("GET", "/jobs/{id}", self.job),
            ("POST", "/jobs/{id}", self.steer_job),
            ("GET", "/clock", self.clock),
            ("POST", "/clock", self.advance_clock),
            ("POST", "/tokens/expire", self.expire_tokens),
            ("GET", "/scopes", self.scopes),
            ("POST", "/scopes", self.set_scopes),
            ("GET", "/issues", self.count_issues),
            ("POST", "/issues", self.add_issues),
            ("GET", "/issues/{key}", self.issue),
            ("POST", "/toloka/projects", self.add_toloka_project),
            ("POST", "/toloka/lists", self.let_lists_have_no_end),
            ("POST", "/reset", self.reset),
        ]
        by_path: dict[str, dict[str, Handler]] = {}
        for method, path, handler in table:
            by_path.setdefault(path, {})[method] = _guarded(handler)
        return [Mount("/_sandbox", routes=[_route(path, handlers) for path, handlers in by_path.items()])]

    async def requests(self, request: Request) -> Response:
        return AnyJson({"requests": self._traffic.log()})

    async def clear_requests(self, request: Request) -> Response:
        self._traffic.clear_log()
        return Response(status_code=204)

    async def counters(self, request: Request) -> Response:
        self._world.jobs.settle()
        submitted = "jobs_submitted."
        counted = self._world.counters
        return AnyJson(
            {
                "issues_archived": counted["issues_archived"],
                "issues_unarchived": counted["issues_unarchived"],
                "jobs_submitted": {
                    name.removeprefix(submitted): number
                    for name, number in counted.items()
                    if name.startswith(submitted)
                },
                "polls": dict(self._world.polls),
                "requests": dict(self._traffic.by_route),
                "requests_overlapped": self._traffic.overlapped,
                "jobs_overlapped": most_at_once(self._world.jobs.all(), self._traffic.counted_since),
            }
        )

    async def clear_counters(self, request: Request) -> Response:
        self._world.counters.clear()
        self._world.polls.clear()
        self._traffic.clear_counters()
        return Response(status_code=204)

    async def faults(self, request: Request) -> Response:
        return AnyJson({"faults": [asdict(fault) for fault in self._faults.all()]})

    async def add_fault(self, request: Request) -> Response:
        fault = self._faults.add(await _json(request))
        return AnyJson({"id": fault.id}, 201)

    async def clear_faults(self, request: Request) -> Response:
        self._faults.clear()
        return Response(status_code=204)

    async def remove_fault(self, request: Request) -> Response:
        if not self._faults.remove(request.path_params["id"]):
            raise BadRequest("id", "there is no such fault", 404)
        return Response(status_code=204)

    async def limits(self, request: Request) -> Response:
        return AnyJson({"limits": self._limits.all()})

    async def set_limits(self, request: Request) -> Response:
        self._limits.set(await _json(request))
        return await self.limits(request)

    async def clear_limits(self, request: Request) -> Response:
        self._limits.clear()
        return Response(status_code=204)

    async def jobs(self, request: Request) -> Response:
        self._world.jobs.settle()
        return AnyJson({"jobs": [asdict(job) for job in self._world.jobs.all()]})

    async def submit_job(self, request: Request) -> Response:
        """Submit a job of Jira's as another admin would; what Jira refuses gets its own answer."""
        wanted = await _json(request)
        kind = wanted.pop("kind", None)
        if not isinstance(kind, str) or kind not in _SUBMITTED_WITH:
            raise BadRequest("kind", "want one of " + ", ".join(_SUBMITTED_WITH))
        for name in wanted:
            if name != _SUBMITTED_WITH[kind]:
                raise BadRequest(name, f"unknown; an {kind} has {_SUBMITTED_WITH[kind]}")
        self._world.jobs.settle()
        try:
            job = await run_in_threadpool(self._submitted, kind, wanted)
        except Refusal as refusal:
            return AnyJson(refusal.body, refusal.status)
        return AnyJson(asdict(job), 201)

    def _submitted(self, kind: str, wanted: dict[str, Any]) -> Job:
        if kind == jira_tasks.ARCHIVE:
            return jira.start_archive(self._world, COLLEAGUE, wanted)
        chosen = wanted.get("filter", {})
        if not isinstance(chosen, dict):
            raise BadRequest("filter", "want an object")
        return jira_export.start(self._world, COLLEAGUE, chosen, self._world.base_url)

    async def job(self, request: Request) -> Response:
        self._world.jobs.settle()
        return self._job(request.path_params["id"])

    async def steer_job(self, request: Request) -> Response:
        jobs, id = self._world.jobs, request.path_params["id"]
        wanted = await _json(request)
        action = wanted.get("action")
        if action not in _ACTIONS:
            raise BadRequest("action", "want one of " + ", ".join(_ACTIONS))
        jobs.settle()
        job = jobs.get(id)
        if job is None:
            raise BadRequest("id", f"there is no job {id}", 404)
        if job.is_over and action not in _OF_ANY_AGE:
            raise BadRequest("action", f"job {id} is over already: {job.status}", 409)
        if action in _ENDS:
            message = wanted.get("message", _DEFAULT_MESSAGES[action])
            jobs.end(id, Outcome(_ENDS[action], wanted.get("result"), message))
        elif action == "finish":
            jobs.finish(id, **{name: wanted[name] for name in ("result", "message") if name in wanted})
        elif action == "show":
            fields = {name: value for name, value in wanted.items() if name != "action"}
            if not fields:
                raise BadRequest("status", "nothing to show: want fields of the job as its service has them")
            jobs.show(id, fields)
        else:
            {"freeze": jobs.freeze, "thaw": jobs.thaw, "forget": jobs.forget}[action](id)
        return Response(status_code=204) if action == "forget" else self._job(id)

    async def clock(self, request: Request) -> Response:
        return AnyJson({"now": self._world.clock.now(), "offset": self._world.clock.offset})

    async def advance_clock(self, request: Request) -> Response:
        seconds = (await _json(request)).get("advance")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 1e10:
            raise BadRequest("advance", "want seconds, from 0")
        self._world.set_clock(self._world.clock.offset + seconds)
        self._world.jobs.settle()
        return await self.clock(request)

    async def expire_tokens(self, request: Request) -> Response:
        jira_auth.expire_tokens(self._world)
        return Response(status_code=204)

    async def scopes(self, request: Request) -> Response:
        return AnyJson({"scopes": self._world.scopes})

    async def set_scopes(self, request: Request) -> Response:
        scopes = (await _json(request)).get("scopes")
        if not isinstance(scopes, str):
            raise BadRequest("scopes", "want a text: scopes, separated by blanks")
        self._world.scopes = scopes
        return await self.scopes(request)

    async def issue(self, request: Request) -> Response:
        self._world.jobs.settle()
        found = issues.describe_issue(self._world, request.path_params["key"])
        if found is None:
            raise BadRequest("key", f"there is no issue {request.path_params['key']}", 404)
        return AnyJson(found)

    async def count_issues(self, request: Request) -> Response:
        self._world.jobs.settle()
        choices = {"true": True, "false": False, None: None}
        wanted = request.query_params.get("archived")
        if wanted not in choices:
            raise BadRequest("archived", "want true or false")
        try:
            number = await run_in_threadpool(
                issues.matching, self._world, request.query_params.get("jql", ""), archived=choices[wanted]
            )
        except ValueError as error:
            raise BadRequest("jql", str(error)) from error
        return AnyJson({"count": number})

    async def add_issues(self, request: Request) -> Response:
        wanted = await _json(request)
        created = wanted.get("created")
        if not isinstance(created, list) or not all(isinstance(at, int | float) for at in created):
            raise BadRequest("created", "want an array of epoch seconds")
        try:
            keys = jira_seed.add(self._world, str(wanted.get("project")), created)
        except ValueError as error:
            raise BadRequest("project", str(error)) from error
        return AnyJson({"keys": keys}, 201)

    async def add_toloka_project(self, request: Request) -> Response:
        try:
            return AnyJson(toloka.add_project(self._world, await _json(request)), 201)
        except ValueError as error:
            raise BadRequest("project", str(error)) from error

    async def let_lists_have_no_end(self, request: Request) -> Response:
        wanted = await _json(request)
        how, names = wanted.get("endless"), [wanted["of"]] if "of" in wanted else toloka.LISTS
        if how not in ("same", "new", None):
            raise BadRequest("endless", "want 'same', 'new' or null")
        if not all(name in toloka.LISTS for name in names):
            raise BadRequest("of", "want one of " + ", ".join(toloka.LISTS))
        for name in names:
            self._world.endless.pop(name, None)
        if how is not None:
            self._world.endless.update(dict.fromkeys(names, how))
        return AnyJson({"endless": self._world.endless})

    async def reset(self, request: Request) -> Response:
        """Go back to the freshly seeded state, with nothing logged, counted, limited, delayed or faulty."""
        self._faults.clear()
        self._limits.clear()
        self._faults.drop_held()
        self._world.set_clock(0.0)
        self._world.scopes = self._world.settings.scopes
        self._world.endless.clear()
        self._world.jobs.clear()
        for service in (jira, toloka):
            await run_in_threadpool(service.wipe, self._world)
        self._traffic.clear_log()
        await self.clear_counters(request)
        return Response(status_code=204)

    def _job(self, id: str) -> Response:
        job = self._world.jobs.get(id)
        if job is None:
            raise BadRequest("id", f"there is no job {id}", 404)
        return AnyJson(asdict(job))


def _route(path: str, handlers: dict[str, Handler]) -> Route:
    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, handle, methods=list(handlers))


def _guarded(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except BadDescription as error:
            status = error.status if isinstance(error, BadRequest) else 400
            return AnyJson({"error": str(error), "field": error.field}, status)

    return handle


async def _json(request: Request) -> dict[str, Any]:
    try:
        value = await request.json()
    except ValueError as error:
        raise BadRequest("body", f"want JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest("body", "want a JSON object")
    return value
