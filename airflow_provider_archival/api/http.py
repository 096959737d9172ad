"""Requests and responses as values, the errors that an answer can mean, what may be repeated and when."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from airflow_provider_archival.api.clean import json_words, read_json, shorten, words_of
from airflow_provider_archival.api.limits import RateLimit
from airflow_provider_archival.api.portable import Portable, encodable
from airflow_provider_archival.api.times import moment_in_header
from airflow_provider_archival.api.voices import Voice, nobodys

T = TypeVar("T")

_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
# Of all messages of one error, in number and in characters.
_MOST_MESSAGES, _MOST_SAID = 20, 2_000
_MOST_KEYS_SAID = 50
# A page tells its title near its begin.
_HEAD = 64 * 1024
_PAGE = (b"<!doctype", b"<html", b"<head", b"<title", b"<body")


class Repeat(Enum):
    """What sending a request once more would do, when nobody knows whether the first was acted upon."""

    FREELY = "nothing, or the same thing again"
    AFTER_A_LOOK = "perhaps start a second job"


@dataclass(frozen=True)
class Response:
    """An answer as it came over the wire; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON that is safe to keep anywhere; ``ValueError`` when it is none."""
        return read_json(self.body, self.headers.get("content-type", ""))

    @property
    def is_html(self) -> bool:
        start = self.body[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        return "html" in self.headers.get("content-type", "").lower() or start.startswith(_PAGE)


@dataclass(frozen=True)
class Request(Generic[T]):
    """
    A call to a service, not sent yet.

    :param method: the HTTP method
    :param path: the path below the service's base URL, each variable part quoted
    :param parse: turns a successful response into the call's value; raises ``ValueError``, ``KeyError`` or
        ``TypeError`` for one that it can't read
    :param json: the body, or None for none
    :param query: the query parameters
    :param repeat: what a repeat would do
    :param answers: statuses other than 2xx that ``parse`` reads too, because they answer the question
    :param voice: says whether an error is the service's own; what is not is a fault that may pass
    :param route: the path with names for its variable parts, by which limits count; else the path
    :param scopes: what an OAuth or scoped token has to allow for this, in words
    :param is_urgent: goes out although others have to pause
    """

    method: str
    path: str
    parse: Callable[[Response], T]
    json: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    repeat: Repeat = Repeat.FREELY
    answers: frozenset[int] = frozenset()
    voice: Voice = nobodys
    route: str = ""
    scopes: str = ""
    is_urgent: bool = False

    @property
    def endpoint(self) -> str:
        """What the services count requests by: the method and the path without ids."""
        return f"{self.method} {self.route or self.path}"

    @property
    def target(self) -> str:
        """The path with its query, as it stands in the request line."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    def __str__(self) -> str:
        return f"{self.method} {self.target}"

    def read(self, response: Response) -> T:
        """Return the value of a response, or raise the :class:`ApiError` that it means."""
        is_answer = response.status in self.answers and self.voice(response)
        if not (200 <= response.status < 300 or is_answer):
            raise error_of(self, response)
        try:
            return self.parse(response)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            what = "an HTML page" if response.is_html else words_of(response.body)
            why = shorten(str(error))
            raise UnreadableAnswer(
                str(self), (f"unreadable answer ({type(error).__name__}: {why}): {what}",), response.status
            ) from error


def path_of(*parts: str) -> str:
    """Join the parts of a path, each quoted so that it stays one part."""
    return "".join("/" + quote(part, safe="") for part in parts)


def checked_id(value: Any, what: str) -> str:
    """Return an id that is safe in a path (letters, digits, ``-`` and ``_``), or raise ``ValueError``."""
    text = str(value).strip() if value is not None and not isinstance(value, bool) else ""
    if not _SAFE_ID.fullmatch(text):
        raise ValueError(f"{what} may have letters, digits, '-' and '_' only; got {shorten(repr(value))}")
    return text


class ApiError(Portable):
    """
    A service did not do what it was asked.

    :param request_line: method and path of the request
    :param messages: what the service said, each a sentence
    :param status: the HTTP status; None when no answer came
    :param retry_after: seconds to wait before a repeat, where the service told
    """

    can_repeat = False
    """Whether the same request can succeed a little later."""
    surely_undone = True
    """Whether the service surely did not act on the request."""
    served_at: float | None = None
    """When the service answered, by its own clock, in epoch seconds; None where it did not tell."""
    limit: RateLimit | None = None
    """What the answer says of limits, where it says something."""
    scopes = ""
    """What an OAuth or scoped token has to allow for the request, in words."""

    def __init__(
        self,
        request_line: str,
        messages: tuple[str, ...] = (),
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(request_line, messages, status, retry_after)
        self.request_line = encodable(request_line)
        self.messages = encodable(messages)
        self.status = status
        self.retry_after = retry_after

    @property
    def said(self) -> str:
        """The service's words in one line."""
        return " ".join(self.messages) or "no message"

    def __str__(self) -> str:
        outcome = "no answer" if self.status is None else f"HTTP {self.status}"
        return f"{self.request_line}: {outcome}: {self.said}"


class BadRequest(ApiError):
    """400 and the other 4xx that say: this request is wrong."""


class NotAuthenticated(ApiError):
    """401: no credentials, or wrong ones."""


class Forbidden(ApiError):
    """403: the caller may not do this."""


class NotFound(ApiError):
    """404 and 410: there is no such thing, or the caller may not see it."""


class Conflict(ApiError):
    """409: the state of the thing does not allow this."""


class Busy(ApiError):
    """412: another job is running, or too much was asked for at once."""

    @property
    def running_task_id(self) -> str | None:
        """The id of the job that is in the way, where the message names it."""
        found = re.search(r"\bwith ID ([A-Za-z0-9_-]{1,255})(?![A-Za-z0-9_-])", self.said, re.IGNORECASE)
        return found[1] if found else None


class TooManyRequests(ApiError):
    """429: slow down; also what is not sent because the service has said so before."""

    can_repeat = True
    is_announced = False
    """Whether the log has it already, once for all whom it holds up."""


class ServiceUnavailable(ApiError):
    """5xx, 408, 423 and 425: the service, or something in front of it, has a problem that may pass."""

    can_repeat = True
    surely_undone = False


class UnreadableAnswer(ApiError):
    """An answer that is not what the reference promises: an HTML page, broken JSON, a missing field."""

    can_repeat = True
    surely_undone = False


class ForeignAnswer(UnreadableAnswer):
    """An error in no shape of the service's: something else answers in its place, so nobody knows."""


class Redirected(ForeignAnswer):
    """3xx: neither service does that; something in front of it points elsewhere. Credentials don't follow."""


class NotFollowed(ApiError):
    """The service points to where nobody should go: nothing was sent there."""


class NotConnected(ApiError):
    """No connection came about (refused, an unknown host, a failed TLS handshake): nothing was sent."""

    can_repeat = True


class AnswerLost(ApiError):
    """The request went out and no answer came: a timeout, or a connection that was cut."""

    can_repeat = True
    surely_undone = False


_BY_STATUS: dict[int, type[ApiError]] = {
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    412: Busy,
}
_PASSING = frozenset({408, 423, 425})


def error_of(request: Request[Any], response: Response) -> ApiError:
    """Return the error that an answer other than 2xx means."""
    messages = messages_of(response)
    if 300 <= response.status < 400:
        messages = (f"redirected to {_origin(response.headers.get('location', ''))}",)
    limit = RateLimit.of(response)
    error = _kind_of(request, response)(str(request), messages, response.status, limit.retry_after)
    served = moment_in_header(response.headers.get("date"))
    error.served_at = served.timestamp() if served else None
    error.limit, error.scopes = limit, request.scopes
    return error


def _kind_of(request: Request[Any], response: Response) -> type[ApiError]:
    status = response.status
    if status == 429:
        return TooManyRequests
    if status >= 500 or status in _PASSING:
        return ServiceUnavailable
    if status < 400:
        return Redirected
    return _BY_STATUS.get(status, BadRequest) if request.voice(response) else ForeignAnswer


def messages_of(response: Response) -> tuple[str, ...]:
    """Collect what a service says in an error's body, whichever of its shapes the body has."""
    if not response.body[:_HEAD].strip():
        return ()
    if response.is_html:
        title = _title(response.body[:_HEAD])
        return (f"an HTML page: {title}" if title else "an HTML page",)
    try:
        said = response.json()
    except ValueError:
        return (words_of(response.body, response.headers.get("content-type", "")),)
    found: tuple[str, ...] = ()
    for sentence in _sentences(said):
        if len(found) == _MOST_MESSAGES or sum(map(len, found)) > _MOST_SAID:
            return (*found, "… and more")
        found += (shorten(sentence),)
    return found or (json_words(said),)


def _title(head: bytes) -> str:
    """Return a page's title. No pattern: one that looks for the end again and again takes seconds."""
    low = head.lower()
    begin = low.find(b">", low.find(b"<title")) + 1 if b"<title" in low else 0
    end = low.find(b"</title", begin) if begin else -1
    return words_of(head[begin:end]) if end >= 0 else ""


def _sentences(said: Any) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, list):
        for item in said:
            yield from _sentences(item)
    elif isinstance(said, dict):
        yield from _sentences(said.get("errorMessages"))
        errors = said.get("errors")
        for name, what in errors.items() if isinstance(errors, dict) else ():
            yield f"{name}: {_reason(what) if isinstance(what, dict) else json_words(what)}"
        yield from _coded(said)
        for name in ("error", "error_description"):
            if isinstance(said.get(name), str):
                yield said[name]


def _reason(what: Mapping[str, Any]) -> str:
    """Return why some issues were refused, and the first of them."""
    names = what.get("issueIdsOrKeys")
    keys = ", ".join(map(json_words, names[:_MOST_KEYS_SAID])) if isinstance(names, list) else ""
    why = json_words(what.get("message") or what.get("count", ""))
    return why + (f" ({keys})" if keys else "")


def _coded(said: Mapping[str, Any]) -> Iterator[str]:
    """Yield what Toloka says: a code and a message."""
    if isinstance(said.get("code"), str):
        yield f"{said['code']}: {json_words(said.get('message') or 'no message')}"
        if said.get("payload"):
            yield f"payload {json_words(said['payload'])}"
        if said.get("request_id"):
            yield f"(request_id {json_words(said['request_id'])})"
    elif isinstance(said.get("message"), str):
        yield said["message"]


def percent_of(value: Any) -> float | None:
    """Return a progress from 0 to 100; None for anything else."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 100:
        return None
    return value


def _origin(url: str) -> str:
    found = re.match(r"https?://[^/?#@]+(?=[/?#]|$)", url)
    return found[0] if found else "another place"
