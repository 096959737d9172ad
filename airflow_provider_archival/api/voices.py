"""
Whose answer is it? Tells the services' own errors from what something on the way says in their place.

Between us and a service stand proxies, an edge, a gateway, a login page: they answer with the same statuses,
and what they say of a job is not true. So an error counts as the service's only in a shape that it uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_archival.api.http import Response

Voice = Callable[["Response"], bool]
"""Says whether an error is the service's own word."""

_SILENT = frozenset({401, 403, 404})
"""Statuses that the services send without a body, too."""
_OF_CREDENTIALS = frozenset({401, 403})
_NOT_THERE = frozenset({404, 410})
_TOLOKAS_NOT_THERE = "DOES_NOT_EXIST"
_JIRAS_PLAIN_401 = "Client must be authenticated to access this resource."
_XML_ERROR = re.compile(rb"\s*(<\?xml[^>]{0,200}\?>\s*)?<Error[\s>]", re.IGNORECASE)


def nobodys(response: Response) -> bool:
    """Believe no error."""
    return False


def jiras(response: Response) -> bool:
    """
    Say whether an error is Jira's own, or, where credentials are refused, its gateway's.

    Jira has ``errorMessages`` or ``errors``, a bare array of strings, and for a login that failed an object
    with ``status-code``, or a bare sentence.
    """
    if _is_silent(response):
        return True
    said = _json_of(response)
    if isinstance(said, list):
        return bool(said) and all(isinstance(one, str) for one in said)
    if not isinstance(said, dict):
        return response.status == 401 and _text_of(response) == _JIRAS_PLAIN_401
    if isinstance(said.get("errorMessages"), list) or isinstance(said.get("errors"), dict):
        return True
    if "numberOfIssuesUpdated" in said:
        return True
    if isinstance(said.get("message"), str):
        named = (said.get("code"), said.get("status-code"))
        return response.status in _OF_CREDENTIALS and response.status in named
    return False


def tolokas(response: Response) -> bool:
    """
    Say whether an error is Toloka's own: ``{code, message, …}``.

    That a thing is not there has a code of its own, which no gateway knows.
    """
    if _is_silent(response):
        return True
    said = _json_of(response)
    if not isinstance(said, dict) or "message" not in said:
        return False
    if not isinstance(said.get("code"), str) or said["code"].isdecimal():
        return False
    return response.status not in _NOT_THERE or said["code"] == _TOLOKAS_NOT_THERE


def token_givers(response: Response) -> bool:
    """Say whether an error is that of an OAuth 2.0 token endpoint: ``{error, …}`` (RFC 6749, 5.2)."""
    if response.status in _OF_CREDENTIALS and _is_silent(response):
        return True
    said = _json_of(response)
    return isinstance(said, dict) and isinstance(said.get("error"), str)


def storages(response: Response) -> bool:
    """Say whether an error is an object store's (S3, Google's, Azure's): an XML ``Error``."""
    return _is_silent(response) or bool(_XML_ERROR.match(response.body.removeprefix(b"\xef\xbb\xbf")))


def jiras_or_storages(response: Response) -> bool:
    """Say whether an error is Jira's own, or that of the object store where Jira's files may lie."""
    return jiras(response) or storages(response)


def _is_silent(response: Response) -> bool:
    return response.status in _SILENT and not response.body.strip()


def _text_of(response: Response) -> str:
    return response.body[:1000].decode("utf-8", "replace").strip()


def _json_of(response: Response) -> Any:
    if response.is_html:
        return None
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None
