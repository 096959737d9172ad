"""What a hook does with a request before it goes out, and with its answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from airflow.providers.common.compat.sdk import mask_secret

from airflow_provider_archival.api import http
from airflow_provider_archival.api.http import ApiError, Repeat, Request, Response
from airflow_provider_archival.exceptions import ServiceFault
from airflow_provider_archival.hooks.auth import Wire
from airflow_provider_archival.hooks.site import Site

T = TypeVar("T")


@contextmanager
def as_answered() -> Iterator[None]:
    """Raise what the service answered, for a talk to take it in."""
    try:
        yield
    except ServiceFault as fault:
        raise fault.error from None


def check(request: Request[Any], may_start: bool) -> None:
    """Refuse a request that may start a job, where none may be started."""
    if request.repeat is Repeat.AFTER_A_LOOK and not may_start:
        raise RuntimeError(f"{request} may start a job, where nothing is remembered before that")


def whole(connection: Any) -> Any:
    """Return a connection once its secrets were read: Airflow 2 decrypts them only then."""
    _ = connection.password, connection.extra
    return connection


def wire_of(site: Site, request: Request[Any]) -> Wire:
    """Return a request as it goes to a site, without credentials."""
    headers = {"Accept": "application/json"}
    body = None
    if request.json is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(request.json).encode()
    return Wire(request.method, site.base_url + request.target, headers, body)


def read(response: Response, request: Request[T], site: Site | None) -> T:
    """Read a response; where that is an error, its words show no secret that the service repeats."""
    try:
        return request.read(response)
    except ApiError as error:
        if site is None:
            raise
        body = site.scrub(response.body.decode("utf-8", "surrogateescape"))
        clean = replace(response, body=body.encode("utf-8", "surrogateescape"))
        try:
            request.read(clean)
        except ApiError as scrubbed:
            raise scrubbed from None
        error.messages = ()
        error.args = (error.request_line, (), error.status, error.retry_after)
        raise error from None


def no_file(response: Response) -> str:
    """Say what a good answer has in the place of a file; empty where the file has gone to the sink."""
    if response.is_html:
        return "a web page, perhaps to sign in, instead of the file"
    if response.status != 200:
        return f"only HTTP 200 brings a whole file, and this is {response.status}"
    said = " ".join(http.messages_of(response)) if response.body else ""
    return said and f"something else instead of the file: {said}"


def mask(site: Site) -> None:
    """Let no log show the secrets of a site."""
    mask_all(site.secrets)


def mask_all(secrets: Iterable[str]) -> None:
    """Let no log show these."""
    for secret in secrets:
        if secret:
            mask_secret(secret)
