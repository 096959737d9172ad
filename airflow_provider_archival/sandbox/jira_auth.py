"""Who calls the sandbox's Jira: Basic and bearer credentials, and the tokens of service accounts."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.bodies import login_page
from airflow_provider_archival.sandbox.jira_catalog import ADMIN, MEMBER, SERVICE_ACCOUNT, User
from airflow_provider_archival.sandbox.world import World

_SCHEMA = "CREATE TABLE IF NOT EXISTS jira_tokens (token TEXT PRIMARY KEY, expires REAL NOT NULL)"
_BASIC = {
    (credentials.JIRA_ADMIN_EMAIL, credentials.JIRA_ADMIN_API_TOKEN): ADMIN,
    (credentials.JIRA_MEMBER_EMAIL, credentials.JIRA_MEMBER_API_TOKEN): MEMBER,
}


@dataclass(frozen=True)
class Caller:
    """
    Who sent a request.

    :param user: None is an anonymous caller.
    :param login_failed: whether there were credentials that Jira did not know.
    """

    user: User | None
    login_failed: bool = False


class WrongSite(Exception):
    """A request through the gateway for a site that is not this one."""


class WrongCredentials(Exception):
    """A request that is refused at the door, whatever it asks for."""


class WrongScope(Exception):
    """A request through the gateway for what its token may not do."""


def seed(world: World) -> None:
    world.database.execute(_SCHEMA)


def expire_tokens(world: World) -> None:
    """Make every token that ``/oauth/token`` gave out worthless."""
    world.database.execute("DELETE FROM jira_tokens")


def identify(world: World, request: Request, scopes: frozenset[str]) -> Caller:
    """
    Return who calls, as strictly as the sandbox is told to look.

    :param scopes: the scopes each of which is enough for the request, at the gateway; a site asks for none.
    """
    cloud_id = request.scope.get("cloud_id")
    if cloud_id is not None and cloud_id != credentials.JIRA_CLOUD_ID:
        raise WrongSite
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if world.settings.auth == "off" or (world.settings.auth == "any" and secret):
        return Caller(ADMIN)
    is_gateway = cloud_id is not None
    if scheme.lower() == "bearer":
        user = _bearer(world, secret.strip()) if is_gateway else None
    else:
        user = _basic(secret.strip()) if scheme.lower() == "basic" else None
    if user is None and (is_gateway or scheme.lower() == "bearer"):
        raise WrongCredentials
    if is_gateway and scopes.isdisjoint(world.scopes.split()):
        raise WrongScope
    # A site takes a wrong API token for no login at all, and says so in a header only.
    return Caller(user, login_failed=user is None and scheme != "")


def token_route(world: World) -> Route:
    """Return the route at which a service account gets its token."""

    async def endpoint(request: Request) -> Response:
        wanted = _parameters(request.headers.get("content-type", ""), await request.body())
        if wanted.get("grant_type") != "client_credentials":
            problem = {"error": "unsupported_grant_type", "error_description": "Want client_credentials."}
            return JSONResponse(problem, 403)
        is_known = (wanted.get("client_id"), wanted.get("client_secret")) == (
            credentials.JIRA_CLIENT_ID,
            credentials.JIRA_CLIENT_SECRET,
        )
        if world.settings.auth == "strict" and not is_known:
            return JSONResponse({"error": "access_denied", "error_description": "Unauthorized"}, 401)
        return JSONResponse(_issue_token(world), headers={"Cache-Control": "no-store"})

    return Route("/oauth/token", endpoint, methods=["POST"])


def login_route() -> Route:
    """Return the route of the page that asks a person to sign in, for redirects to lead to."""

    async def endpoint(request: Request) -> Response:
        media_type, page = login_page()
        return Response(page, media_type=media_type)

    return Route("/login", endpoint, methods=["GET"])


def _issue_token(world: World) -> dict[str, Any]:
    token, seconds = f"sandbox-{secrets.token_hex(12)}", credentials.JIRA_ACCESS_TOKEN_SECONDS
    world.database.execute("INSERT INTO jira_tokens VALUES (?, ?)", (token, world.clock.now() + seconds))
    return {"access_token": token, "expires_in": seconds, "token_type": "Bearer", "scope": world.scopes}


def _parameters(content_type: str, body: bytes) -> dict[str, Any]:
    try:
        if "json" in content_type:
            value = json.loads(body)
            return value if isinstance(value, dict) else {}
        return dict(parse_qsl(body.decode()))
    except (ValueError, RecursionError):
        return {}


def _basic(secret: str) -> User | None:
    try:
        email, _, token = base64.b64decode(secret, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return _BASIC.get((email, token))


def _bearer(world: World, token: str) -> User | None:
    if token == credentials.JIRA_ACCESS_TOKEN:
        return ADMIN
    expires = world.database.value("SELECT expires FROM jira_tokens WHERE token = ?", (token,))
    return SERVICE_ACCOUNT if expires is not None and world.clock.now() < expires else None
