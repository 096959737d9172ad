"""How Jira refuses, how the sandbox reads a body, and how a handler becomes a route."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from airflow_provider_archival.sandbox.jira_auth import (
    Caller,
    WrongCredentials,
    WrongScope,
    WrongSite,
    identify,
)
from airflow_provider_archival.sandbox.jira_catalog import User
from airflow_provider_archival.sandbox.world import World

NOT_AUTHENTICATED = "Client must be authenticated to access this resource."


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body


def refusal(status: int, *messages: str) -> Refusal:
    """Return the refusal in the shape that Jira has for most."""
    return Refusal(status, {"errorMessages": list(messages), "errors": {}})


def bare_refusal(status: int, *messages: str) -> Refusal:
    """Return the refusal as some endpoints have it: an array of strings."""
    return Refusal(status, list(messages))


Refuse = Callable[[int, str], Refusal]
Handler = Callable[[World, Request, Caller], Awaitable[Response]]


def route(world: World, method: str, path: str, handler: Handler, *scopes: str) -> Route:
    """
    Return a route whose handler is told who calls, and may raise a :class:`Refusal`.

    :param scopes: each of them is enough at the gateway.
    """
    enough = frozenset(scopes)

    async def endpoint(request: Request) -> Response:
        caller = None
        try:
            caller = identify(world, request, enough)
            response = await handler(world, request, caller)
        except WrongSite:
            response = JSONResponse({"code": 404, "message": "No site with this cloud id."}, 404)
        except WrongScope:
            response = JSONResponse({"code": 401, "message": "Unauthorized; scope does not match"}, 401)
        except WrongCredentials:
            response = _unauthenticated(world, request, {"code": 401, "message": "Unauthorized"})
        except Refusal as error:
            response = (
                _unauthenticated(world, request, error.body)
                if error.status == 401
                else JSONResponse(error.body, error.status)
            )
        if caller and caller.login_failed:
            response.headers["X-Seraph-LoginReason"] = "AUTHENTICATED_FAILED"
        return response

    return Route(path, endpoint, methods=[method])


def _unauthenticated(world: World, request: Request, usual: Any) -> Response:
    """Answer who is not known; sites do so in several ways, the gateway in one."""
    how = "errors" if "cloud_id" in request.scope else world.settings.unauthenticated
    if how == "message":
        return JSONResponse({"message": NOT_AUTHENTICATED, "status-code": 401}, 401)
    if how == "text":
        return PlainTextResponse(NOT_AUTHENTICATED, 401)
    return Response(status_code=401) if how == "empty" else JSONResponse(usual, 401)


def user_of(caller: Caller, message: str = NOT_AUTHENTICATED, refuse: Refuse = refusal) -> User:
    """Return the user who calls; refuses an anonymous one."""
    if caller.user is None:
        raise refuse(401, message)
    return caller.user


def admin_of(caller: Caller, message: str) -> User:
    """Return the admin who calls; refuses everybody else, members with this message."""
    user = user_of(caller, "User is not logged in.")
    if not user.is_admin:
        raise refusal(403, message)
    return user


async def object_in(request: Request, refuse: Refuse = refusal) -> dict[str, Any]:
    """Return the JSON object that was sent."""
    try:
        value = json.loads(await request.body())
        # Half of a surrogate pair is JSON, but can't be said back.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise refuse(400, "There was an error parsing JSON. Check that your request body is valid.") from None
    if not isinstance(value, dict):
        raise refuse(400, "Invalid request payload. Refer to the REST API documentation and try again.")
    return value
