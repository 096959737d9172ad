"""Downloads a file that a service points to, wherever that leads, under the rules for credentials."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from airflow_provider_archival.api import http
from airflow_provider_archival.api.http import ApiError, Request, Response
from airflow_provider_archival.api.urls import hidden, secrets_in
from airflow_provider_archival.hooks.hosts import is_loopback_url, is_url
from airflow_provider_archival.hooks.sending import mask_all, no_file

if TYPE_CHECKING:
    from airflow_provider_archival.hooks.base import ServiceHook

_REDIRECTS, _MAX_REDIRECTS = frozenset({301, 302, 303, 307, 308}), 5


def follow_file(hook: ServiceHook, url: str, sink: Callable[[bytes], object]) -> None:
    """
    Download a file, once; redirects are followed.

    :param hook: sends, and knows which addresses get credentials
    :param url: where it lies
    :param sink: takes the pieces
    :raises ApiError: it can't be had; what may be a signature is not shown
    """
    seen = [url]
    try:
        for _ in range(_MAX_REDIRECTS):
            request = Request("GET", url, lambda response: None, voice=hook.voice_of_files())
            mask_all(secrets_in([url]))
            response = _once(hook, url, sink)
            if response.status not in _REDIRECTS or not response.headers.get("location"):
                hook.read_file(response, request)
                if what := no_file(response):
                    raise http.UnreadableAnswer(f"GET {url}", (what,), response.status)
                return
            url = urljoin(url, response.headers["location"])
            seen.append(url)
        raise http.Redirected(f"GET {url}", ("too many redirects",), response.status)
    except ApiError as error:
        # The queries may be signatures, and services and clients repeat them in their words.
        error.messages = tuple(hidden(text, secrets_in(seen)) for text in error.messages)
        error.request_line = hidden(error.request_line, secrets_in(seen))
        raise


def _once(hook: ServiceHook, url: str, sink: Callable[[bytes], object]) -> Response:
    if not is_url(url):
        raise http.UnreadableAnswer(f"GET {url}", ("this is no URL",))
    is_own = hook.is_own(url)
    if not is_own and not url.lower().startswith("https://") and not is_loopback_url(url):
        raise http.NotFollowed(f"GET {url}", ("only https:// is taken from another host",))
    response = hook.send_for_file(url, sink, is_own=is_own)
    try:
        urljoin(url, response.headers.get("location"))
    except ValueError:
        raise http.UnreadableAnswer(f"GET {url}", ("redirected to what is no URL",)) from None
    return response
