"""Faults on purpose: which requests go wrong, how often, and how."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from airflow_provider_archival.sandbox import bodies
from airflow_provider_archival.sandbox.descriptions import (
    BadDescription,
    Rules,
    checked,
    is_count,
    one_of,
    seconds_up_to,
)


@dataclass
class Fault:
    """
    One fault: the requests that it meets, and what happens to them.

    :param path: an ``fnmatch`` pattern on the path without the gateway's prefix.
    :param method: the HTTP method; None means any.
    :param times: how many requests it meets; None means all.
    :param skip: how many requests are let through first.
    :param when: ``before`` the request is handled, or ``after`` it took effect; of use to ``status``,
        ``redirect`` and ``delay``.
    :param body: JSON, text, or one of :data:`~airflow_provider_archival.sandbox.bodies.NAMED`.
    :param drip: ``headers`` or ``body`` come byte by byte, without an end.
    :param continues: ``100 Continue`` is said without an end.
    :param every: the seconds from one such byte, or ``100 Continue``, to the next.
    :param encoding: ``gzip`` packs the body. A truncated one comes whole as far as HTTP goes: only its own
        end is missing.
    """

    id: str
    path: str
    method: str | None = None
    times: int | None = 1
    skip: int = 0
    when: str = "before"
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    reset: str | None = None
    delay: float = 0.0
    truncate: bool = False
    redirect: str | None = None
    drip: str | None = None
    continues: bool = False
    every: float = 0.1
    encoding: str | None = None
    met: int = 0

    @property
    def answers_itself(self) -> bool:
        """Whether the answer is the fault's own and not the service's."""
        return self.status is not None or self.redirect is not None

    @property
    def goes_wrong(self) -> bool:
        """Whether anything does."""
        spoilt = self.body is not None or self.truncate or self.encoding is not None
        endless = self.drip is not None or self.continues
        return self.answers_itself or self.reset is not None or self.delay > 0 or spoilt or endless

    def matches(self, method: str, path: str) -> bool:
        return self.method in (None, method) and fnmatchcase(path, self.path)

    def alter(self, status: int, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Turn the service's answer into the one that is sent; header names are lower-case."""
        if self.answers_itself:
            status, headers, body = self.status or 302, {}, b""
        if self.redirect is not None:
            headers["location"] = self.redirect
        if self.body is not None:
            headers["content-type"], body = bodies.rendered(self.body, status)
            # A 204 has no body; what has one is a 200.
            status = 200 if status == 204 and body else status
        if self.encoding is not None:
            headers["content-encoding"], body = self.encoding, gzip.compress(body)
            body = body[: len(body) // 2] if self.truncate else body
        headers.update({name.lower(): value for name, value in self.headers.items()})
        headers["content-length"] = str(len(body))
        return status, headers, body


class Held:
    """Holds requests until they are dropped together; a request stays with what held it first."""

    def __init__(self) -> None:
        self._dropped = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        """Wait; False if the requests were dropped by now."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._dropped.wait(), seconds)
        return not self._dropped.is_set()

    def drop(self) -> None:
        self._dropped.set()


class Faults:
    """The faults that are in force, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._ids = itertools.count(1)
        self.held = Held()
        """What holds requests now."""

    def add(self, description: object) -> Fault:
        """Read a fault's description and put it in force; raises :class:`BadDescription`."""
        fault = _read(description, str(next(self._ids)))
        self._faults[fault.id] = fault
        return fault

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, and count it."""
        for fault in self._faults.values():
            if not fault.matches(method, path) or fault.met == fault.times:
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.met += 1
            return fault
        return None

    def all(self) -> list[Fault]:
        return list(self._faults.values())

    def remove(self, id: str) -> bool:
        return self._faults.pop(id, None) is not None

    def clear(self) -> None:
        self._faults.clear()

    def drop_held(self) -> None:
        """Drop the requests that a delay or a drip holds, so that none takes effect after a reset."""
        self.held.drop()
        self.held = Held()


_RULES: Rules = {
    "path": (
        lambda value: isinstance(value, str) and value.startswith(("/", "*")),
        "want a pattern like /rest/api/3/task/*",
    ),
    "method": (
        lambda value: value is None or (isinstance(value, str) and value.isalpha()),
        "want an HTTP method or null",
    ),
    "times": (
        lambda value: value is None or (is_count(value) and value > 0),
        "want a whole number from 1, or null",
    ),
    "skip": (is_count, "want a whole number from 0"),
    "when": one_of("before", "after"),
    "status": (lambda value: is_count(value) and 200 <= value <= 599, "want a status from 200 to 599"),
    "headers": (
        lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()),
        "want an object of strings",
    ),
    "body": (lambda value: value is not None, "want JSON, a text, or one of " + ", ".join(bodies.NAMED)),
    "reset": one_of("before", "after"),
    "delay": seconds_up_to(86400),
    "truncate": (lambda value: value is True, "want true"),
    "redirect": (lambda value: isinstance(value, str) and bool(value), "want a URL"),
    "drip": one_of("headers", "body"),
    "continues": (lambda value: value is True, "want true"),
    "every": seconds_up_to(60),
    "encoding": one_of("gzip"),
}


_WRONGS = ("reset", "delay", "body", "truncate", "redirect", "drip", "continues", "encoding")


def _read(description: object, id: str) -> Fault:
    wanted = checked(description, _RULES)
    if "path" not in wanted:
        raise BadDescription("path", "is missing")
    fault = Fault(id, **{**wanted, "method": (wanted.get("method") or "").upper() or None})
    _check_together(fault)
    return fault


def _check_together(fault: Fault) -> None:
    """Refuse what can't be had at once."""
    ends = {
        "reset": fault.reset,
        "drip": fault.drip,
        "continues": fault.continues,
        "truncate": fault.truncate,
    }
    chosen = [name for name, value in ends.items() if value]
    if len(chosen) > 1:
        raise BadDescription(chosen[1], f"can't be had with {chosen[0]}")
    is_answered = fault.answers_itself or fault.body is not None or fault.headers or fault.encoding
    if fault.reset and is_answered:
        raise BadDescription("reset", "there is no answer after a reset, so nothing to say of one")
    if not fault.goes_wrong:
        raise BadDescription("status", "nothing goes wrong: want a status, " + ", ".join(_WRONGS))
    if fault.body is not None and fault.status is None and fault.body not in bodies.NAMED:
        raise BadDescription("body", "without a status, want one of " + ", ".join(bodies.NAMED))
