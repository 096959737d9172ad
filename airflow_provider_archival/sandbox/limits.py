"""Limits on requests as the services have them: Jira's quota, bursts and writes, Toloka's intervals."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from starlette.responses import JSONResponse, Response

from airflow_provider_archival.sandbox.clock import Clock
from airflow_provider_archival.sandbox.descriptions import (
    BadDescription,
    Rules,
    checked,
    is_count,
    is_number,
    one_of,
    seconds_up_to,
)
from airflow_provider_archival.sandbox.toloka_errors import error as toloka_error

_KINDS = ("quota", "burst", "per_issue", "toloka")
_WINDOWS = {"burst": 1.0, "per_issue": 2.0}
_INTERVALS = {"MIN": 60.0, "HOUR": 3600.0, "DAY": 86400.0}
_NEAR = 0.2
_AN_HOUR = 3600.0
_POLICIES = {"burst": "jira-burst-based", "per_issue": "jira-per-issue-on-write"}


@dataclass(frozen=True)
class Asked:
    """A request as the limits see it; ``route`` is its path with the names of its parameters."""

    method: str
    path: str
    route: str
    is_an_apps: bool
    body: bytes

    def issues(self) -> set[str]:
        """Return the ids and keys of the issues that it writes to."""
        try:
            value = json.loads(self.body) if self.method in ("PUT", "POST") else None
        except (ValueError, RecursionError):
            return set()
        named = value.get("issueIdsOrKeys") if isinstance(value, dict) else None
        return {str(one) for one in named} if isinstance(named, list) else set()


@dataclass
class Limit:
    """
    One limit, what it has counted, and how its refusal looks.

    :param most: how many requests it lets through.
    :param path: an ``fnmatch`` pattern of the paths that it holds for, without the gateway's prefix.
    :param policy: whose quota it is, ``tenant`` or ``global``.
    :param hour: how many seconds of the sandbox's clock a quota's hour has; a new one begins at each full
        multiple.
    :param window: for how many seconds a burst or the writes to an issue are remembered.
    :param interval: what Toloka's limit is counted by: ``MIN``, ``HOUR`` or ``DAY``.
    :param callers: ``apps``: requests with a bearer token only; API tokens are exempt.
    :param retry_after: False leaves the header out; a number or a text is sent in its place.
    :param reset: how ``X-RateLimit-Reset`` is written: in whole ``minutes`` (if it is at one), with
        ``seconds``, an hour in the ``past``, or not at all (``none``).
    :param header: ``RateLimit``, ``Beta-RateLimit`` or ``none``.
    :param entries: ``several``: that header names another limit, which is not used up, first.
    """

    kind: str
    most: int
    path: str = "*"
    policy: str = "tenant"
    hour: float = _AN_HOUR
    window: float | None = None
    interval: str = "MIN"
    callers: str = "all"
    retry_after: Any = None
    reset: str = "minutes"
    header: str = "RateLimit"
    entries: str = "one"
    _times: dict[str, deque[float]] = field(default_factory=dict, init=False)

    def holds_for(self, asked: Asked) -> bool:
        service = "/api/v1/" if self.kind == "toloka" else "/rest/"
        is_counted = asked.is_an_apps or self.callers == "all"
        return asked.path.startswith(service) and fnmatchcase(asked.path, self.path) and is_counted

    def keys(self, asked: Asked) -> Iterable[str]:
        """Return what this request counts for, each with a number of its own."""
        if self.kind == "per_issue":
            return asked.issues()
        return (f"{asked.method} {asked.route}",) if self.kind == "burst" else ("",)

    def left(self, key: str, now: float) -> int:
        """Return how many requests more are let through."""
        times = self._times.setdefault(key, deque())
        while times and self._ends(times[0]) <= now:
            times.popleft()
        return self.most - len(times)

    def wait(self, key: str, now: float) -> float | None:
        """Return for how many seconds a request is refused; None if it is not."""
        return None if self.left(key, now) > 0 else self.until_more(key, now)

    def count(self, key: str, now: float) -> None:
        times = self._times.setdefault(key, deque())
        # An interval of Toloka's begins with its first request, and all of it ends at once.
        times.append(times[0] if self.kind == "toloka" and times else now)

    def until_more(self, key: str, now: float) -> float:
        times = self._times.get(key)
        return self._ends(times[0] if times else now) - now

    def shown(self, now: float) -> dict[str, Any]:
        """Describe the limit; ``left`` is for the busiest of what it counts."""
        described = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return {**described, "left": min((self.left(key, now) for key in self._times), default=self.most)}

    def _ends(self, time: float) -> float:
        if self.kind == "quota":
            return (time // self.hour + 1) * self.hour
        if self.kind == "toloka":
            return time + _INTERVALS[self.interval]
        return time + (self.window or _WINDOWS[self.kind])

    def refuse(self, wait: float, now: float) -> Response:
        """Answer as the service does that has this limit."""
        headers = dict[str, str]()
        if self.kind == "toloka":
            if self.retry_after not in (None, False):
                headers["Retry-After"] = str(self.retry_after)
            payload = {"interval": self.interval}
            return toloka_error(429, "TOO_MANY_REQUESTS", "Too many requests", payload, headers)
        if self.retry_after is not False:
            headers["Retry-After"] = str(math.ceil(wait) if self.retry_after is None else self.retry_after)
        headers["RateLimit-Reason"] = self._policy
        headers |= self.told(0, wait, now)
        return JSONResponse({"errorMessages": ["Rate limit exceeded."], "errors": {}}, 429, headers)

    def told(self, left: int, wait: float, now: float) -> dict[str, str]:
        """Return the headers that say how much is left, and until when."""
        headers = {}
        if self.reset != "none":
            headers["X-RateLimit-Reset"] = self._written(now + wait)
        headers["X-RateLimit-Limit"] = str(self.most)
        headers["X-RateLimit-Remaining"] = str(left)
        headers["X-RateLimit-NearLimit"] = str(left < self.most * _NEAR or not left).lower()
        if self.header != "none":
            entry = f'"{self._policy}";r={left};t={math.ceil(wait)}'
            other = "jira-quota-global-based" if self.kind != "quota" else _POLICIES["burst"]
            headers[self.header] = entry if self.entries == "one" else f'"{other}";r=95;t=1, {entry}'
        return headers

    @property
    def _policy(self) -> str:
        return _POLICIES.get(self.kind, f"jira-quota-{self.policy}-based")

    def _written(self, reset: float) -> str:
        moment = datetime.fromtimestamp(reset - (_AN_HOUR if self.reset == "past" else 0), UTC)
        precise = self.reset == "seconds" or round(reset, 3) % 60
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if precise else "%Y-%m-%dT%H:%MZ")


class Limits:
    """The limits in force, one of a kind; a new one takes the old one's place and counts from nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limits: dict[str, Limit] = {}

    def set(self, description: object) -> None:
        """Read a description and put its limits in force; raises :class:`BadDescription`."""
        wanted = dict(checked(description, _RULES))
        kinds = {kind: wanted.pop(kind) for kind in _KINDS if kind in wanted}
        if not kinds:
            raise BadDescription("quota", "no limit: want one of " + ", ".join(_KINDS))
        for kind, most in kinds.items():
            self._limits[kind] = Limit(kind, most, **wanted)

    def all(self) -> list[dict[str, Any]]:
        """Describe the limits in force."""
        now = self._clock.now()
        return [limit.shown(now) for limit in self._limits.values()]

    def clear(self) -> None:
        self._limits.clear()

    def meet(self, asked: Asked) -> tuple[Response | None, Mapping[str, str]]:
        """Count a request; return its refusal if there is one, and the headers that its answer gets else."""
        now = self._clock.now()
        met = [(limit, set(limit.keys(asked))) for limit in self._limits.values() if limit.holds_for(asked)]
        for limit, keys in met:
            waits = [wait for key in keys if (wait := limit.wait(key, now)) is not None]
            if waits:
                return limit.refuse(max(waits), now), {}
        headers = dict[str, str]()
        for limit, keys in met:
            for key in keys:
                limit.count(key, now)
            if limit.kind == "quota":
                headers |= limit.told(limit.left("", now), limit.until_more("", now), now)
        return None, headers


_RULES: Rules = {
    **dict.fromkeys(_KINDS, (is_count, "want a whole number from 0")),
    "path": (
        lambda value: isinstance(value, str) and value.startswith(("/", "*")),
        "want a pattern like /rest/api/3/task/*",
    ),
    "policy": one_of("tenant", "global"),
    "hour": seconds_up_to(_AN_HOUR),
    "window": seconds_up_to(_AN_HOUR),
    "interval": one_of(*_INTERVALS),
    "callers": one_of("all", "apps"),
    "retry_after": (
        lambda value: value is False or isinstance(value, str) or (is_number(value) and value >= 0),
        "want seconds, a text, or false",
    ),
    "reset": one_of("minutes", "seconds", "past", "none"),
    "header": one_of("RateLimit", "Beta-RateLimit", "none"),
    "entries": one_of("one", "several"),
}
