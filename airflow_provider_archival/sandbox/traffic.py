"""What came in: the log of service requests, without credentials, and how many there were at once."""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from airflow_provider_archival.sandbox.clock import Clock
from airflow_provider_archival.sandbox.jobs import Job

_KEPT_REQUESTS = 50_000
_KEPT_BODY_CHARACTERS = 250_000
_SECRET_NAME = re.compile(r"secret|token|password|assertion|authorization|api_?key", re.IGNORECASE)
_REDACTED = "***"


class Traffic:
    """The service requests since the last clearing; the control's own requests are not among them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._log: deque[dict[str, Any]] = deque(maxlen=_KEPT_REQUESTS)
        self._count = 0
        self._in_flight = 0
        self.by_route: Counter[str] = Counter()
        self.overlapped = 0
        self.counted_since = 0.0

    def opened(self, method: str, path: str, query: str, body: bytes, cloud_id: str | None) -> dict[str, Any]:
        """Log a request that came in; its ``status`` stays None until an answer is sent."""
        self._count += 1
        entry = {
            "n": self._count,
            "method": method,
            "path": path,
            "query": _without_secrets(dict(parse_qsl(query, keep_blank_values=True))),
            "body": _readable(path, body),
            "time": self._clock.now(),
            "status": None,
            "cloud_id": cloud_id,
        }
        self._log.append(entry)
        self.overlapped += self._in_flight > 0
        self._in_flight += 1
        return entry

    def closed(self) -> None:
        self._in_flight -= 1

    def log(self) -> list[dict[str, Any]]:
        return list(self._log)

    def clear_log(self) -> None:
        self._log.clear()
        self._count = 0

    def clear_counters(self) -> None:
        self.by_route.clear()
        self.overlapped = 0
        self.counted_since = self._clock.now()


def most_at_once(jobs: Iterable[Job], since: float) -> dict[str, int]:
    """Return how many jobs of each kind were under way at the same moment, at most."""
    changes: dict[str, list[tuple[float, int]]] = {}
    for job in jobs:
        if job.ended is None or job.ended > since:
            changes.setdefault(job.kind, []).append((job.submitted, 1))
            changes[job.kind].append((float("inf") if job.ended is None else job.ended, -1))
    most = {}
    for kind, events in changes.items():
        now = highest = 0
        for _, change in sorted(events):
            now += change
            highest = max(highest, now)
        most[kind] = highest
    return most


def _readable(path: str, body: bytes) -> Any:
    """Return a body as JSON if it is, else as text, cut and without secrets."""
    if not body:
        return None
    text = body.decode("utf-8", "replace")
    try:
        return _without_secrets(json.loads(text)) if len(text) <= _KEPT_BODY_CHARACTERS else _cut(text)
    except (ValueError, RecursionError):
        if path.endswith("/oauth/token"):
            return _without_secrets(dict(parse_qsl(text)))
        return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= 2000 else f"{text[:2000]}… ({len(text)} characters)"


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _REDACTED if _SECRET_NAME.search(str(name)) else _without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value
