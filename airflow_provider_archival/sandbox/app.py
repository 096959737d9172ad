"""The sandbox's web application: the services and the control, behind a front door that logs and errs."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from email.utils import formatdate
from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_archival.sandbox import jira, toloka, wire
from airflow_provider_archival.sandbox.control import Control
from airflow_provider_archival.sandbox.faults import Fault, Faults
from airflow_provider_archival.sandbox.limits import Asked, Limits
from airflow_provider_archival.sandbox.toloka_errors import error as toloka_error
from airflow_provider_archival.sandbox.traffic import Traffic
from airflow_provider_archival.sandbox.world import World

_GATEWAY = re.compile(r"/ex/jira/([^/]+)(/rest/.*)")


def build_app(world: World) -> Starlette:
    """Return the application on a world that is seeded already; ``app.state.faults`` are its faults."""
    traffic, faults, limits = Traffic(world.clock), Faults(), Limits(world.clock)
    services = [*jira.routes(world), *toloka.routes(world)]
    app = Starlette(
        routes=[*Control(world, traffic, faults, limits).routes(), *services],
        middleware=[
            Middleware(
                FrontDoor, world=world, traffic=traffic, faults=faults, limits=limits, services=services
            )
        ],
        exception_handlers={HTTPException: _refuse, 500: _refuse},
    )
    # The services know no other spelling of their paths.
    app.router.redirect_slashes = False
    app.state.faults = faults
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer what no route answers, in the manner of the service that was meant."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    path, phrase = request.scope["path"], HTTPStatus(status).phrase
    if path.startswith("/api/v1"):
        code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(status, "INTERNAL_ERROR")
        return toloka_error(status, code, phrase, headers=headers)
    if path.startswith("/_sandbox"):
        return JSONResponse({"error": f"{phrase}: {request.method} {path}"}, status, headers)
    return JSONResponse(
        {"errorMessages": [f"{phrase}: {request.method} {path}"], "errors": {}}, status, headers
    )


class FrontDoor:
    """What every service request goes through, and no request of the control."""

    def __init__(
        self,
        app: ASGIApp,
        world: World,
        traffic: Traffic,
        faults: Faults,
        limits: Limits,
        services: list[BaseRoute],
    ) -> None:
        self._app, self._world, self._traffic, self._faults = app, world, traffic, faults
        self._limits, self._services = limits, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox"):
            await self._app(scope, receive, send)
            return
        scope = _without_gateway(scope)
        body = await _body(receive)
        if body is None:
            return
        method, path = scope["method"], scope["path"]
        entry = self._traffic.opened(
            method, path, scope["query_string"].decode(), body, scope.get("cloud_id")
        )
        scope["sandbox_route"] = self._route_of(scope)
        self._traffic.by_route[f"{method} {scope['sandbox_route']}"] += 1

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
                message = self._dated(message)
            await send(message)

        try:
            fault = self._faults.take(method, path)
            if fault is None:
                await self._handle(scope, body, receive, answer)
            else:
                await self._go_wrong(fault, scope, body, receive, answer)
        finally:
            self._traffic.closed()

    async def _handle(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Let the service answer, if its limits let the request through."""
        self._world.jobs.settle()
        refusal, limits = self._limits.meet(_asked(scope, body))
        headers = {**limits, **_request_id(scope)}
        await (refusal or self._app)(scope, _again(body, receive), _with_headers(send, headers))

    async def _go_wrong(self, fault: Fault, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        held = self._faults.held
        if fault.delay and fault.when == "before" and not await held.wait(fault.delay):
            return await wire.reset(scope, receive)
        if fault.reset == "before":
            return await wire.reset(scope, receive)
        caught = _Caught()
        if not fault.answers_itself or fault.when == "after":
            await self._handle(scope, body, receive, caught)
        if fault.delay and fault.when == "after" and not await held.wait(fault.delay):
            return await wire.reset(scope, receive)
        if fault.reset == "after":
            return await wire.reset(scope, receive)
        pause = partial(held.wait, fault.every)
        answer = fault.alter(caught.status, caught.headers, bytes(caught.body))
        if fault.continues:
            await wire.say_continue(scope, receive, pause)
        elif fault.drip == "headers":
            await wire.drip_headers(scope, receive, answer[0], pause)
        elif fault.drip == "body":
            await wire.drip_body(scope, receive, send, answer, pause)
        elif fault.truncate and fault.encoding is None:
            await wire.answer_half(scope, receive, send, answer)
        else:
            await wire.answer(send, answer)
        return None

    def _dated(self, message: Message) -> Message:
        """Return an answer's start with the time of the sandbox's clock, unless a fault has given it one."""
        if any(name == b"date" for name, _ in message["headers"]):
            return message
        date = formatdate(self._world.clock.now(), usegmt=True).encode()
        return {**message, "headers": [*message["headers"], (b"date", date)]}

    def _route_of(self, scope: Scope) -> str:
        for route in self._services:
            if route.matches(scope)[0] is Match.FULL:
                return str(getattr(route, "path", scope["path"]))
        return str(scope["path"])


class _Caught:
    """Takes an answer instead of the client."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, dict[str, str](), bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]
            }
        else:
            self.body += message.get("body", b"")


def _asked(scope: Scope, body: bytes) -> Asked:
    scheme = Headers(scope=scope).get("authorization", "").partition(" ")[0]
    return Asked(scope["method"], scope["path"], scope["sandbox_route"], scheme.lower() == "bearer", body)


def _request_id(scope: Scope) -> dict[str, str]:
    """Return what names a request to Jira for its support; Toloka has that in its errors."""
    return {"X-ARequestId": uuid.uuid4().hex} if scope["path"].startswith("/rest/") else {}


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Return a channel that adds these headers to the answer that goes through it."""
    added = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return send_with_headers


def _without_gateway(scope: Scope) -> Scope:
    found = _GATEWAY.fullmatch(scope["path"])
    return {**scope, "cloud_id": found[1], "path": found[2]} if found else dict(scope)


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body; None if the client left before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a channel that gives the body that was read already, then whatever comes after it."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message
