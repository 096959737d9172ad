"""How fast requests are sent to a service: what it takes in a second, and what it says of its limits."""

from __future__ import annotations

import functools
import math
import threading
import time
from typing import Any

import pendulum
from pyrate_limiter import Duration, Limiter, Rate, SingleBucketFactory, StateBucket

from airflow_provider_archival.api.http import Request, TooManyRequests
from airflow_provider_archival.api.limits import LOW, RateLimit, Reach

_FIRST_GAP, _LONGEST_GAP = 0.02, 5.0
"""Seconds between two requests of a kind after the first burst that the service refused, and at most."""
_FASTER = 0.9
_WARN_AGAIN_AFTER = 3600.0
_LAST_MOMENT = 253402300799.0


@functools.cache
def limiter(conn_id: str, per_second: int) -> Limiter:
    """
    Return this process's limiter for a connection.

    :param conn_id: the Airflow connection
    :param per_second: how many requests a second it lets through, evenly but for a tenth of them at once
    """
    rate = Rate(per_second, Duration.SECOND, burst=per_second // 10)
    # This kind of bucket keeps one number: there is nothing to be tidied up by a thread.
    return Limiter(SingleBucketFactory(StateBucket([rate]), schedule_leak=False), buffer_ms=0)


class Gate:
    """
    What a service has said of its limits, for all in this process who use a connection.

    A quota that is used up closes the gate for everything until it begins anew; a burst that was refused
    closes it for requests of that kind, and lets them through more slowly afterwards.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed: dict[str, tuple[float, str]] = {}
        """Until when, in epoch seconds, and why, by endpoint; the empty one stands for all."""
        self._gaps: dict[str, tuple[float, float]] = {}
        """Seconds between two requests, and when the next may go, by endpoint."""
        self._warned_at = -math.inf

    def check(self, request: Request[Any]) -> None:
        """Raise :class:`~airflow_provider_archival.api.http.TooManyRequests` where a request has to wait."""
        with self._lock:
            until, reason = max(self._closed.get(name, (0.0, "")) for name in ("", request.endpoint))
        left = until - time.time()
        if left > 0 and not request.is_urgent:
            error = TooManyRequests(
                str(request), (f"not sent: {reason} holds until {_clock(until)}",), None, left
            )
            error.is_announced = True
            raise error

    def turn(self, request: Request[Any]) -> float:
        """Take the next turn of requests of this kind, and return the seconds until then."""
        with self._lock:
            if request.is_urgent or request.endpoint not in self._gaps:
                return 0.0
            gap, turn = self._gaps[request.endpoint]
            now = time.time()
            turn = max(turn, now)
            self._gaps[request.endpoint] = gap, turn + gap
            return turn - now

    def refused(self, request: Request[Any], error: TooManyRequests) -> str | None:
        """Take a 429 in; returns the line to log, once for all whom it holds up."""
        limit = error.limit or RateLimit()
        if limit.reach is Reach.REQUEST or not limit.retry_after:
            if limit.reach is Reach.ENDPOINT:
                self._slow_down(request.endpoint)
            return None
        name = "" if limit.reach is Reach.CONNECTION else request.endpoint
        now = time.time()
        until, reason = now + limit.retry_after, limit.reason or "a limit"
        error.is_announced = True
        with self._lock:
            was_closed = self._closed.get(name, (0.0, ""))[0] > now
            self._closed[name] = max(self._closed.get(name, (0.0, "")), (until, reason))
        if limit.reach is Reach.ENDPOINT:
            self._slow_down(request.endpoint)
        if was_closed:
            return None
        what = "everything on this connection" if not name else f"'{name}'"
        return f"{reason}: {what} pauses until {_clock(until)}, as asked for ({limit.retry_after:.0f} s)"

    def answered(self, request: Request[Any], limit: RateLimit) -> str | None:
        """Take what an answer that is no 429 tells of limits in; returns the warning to log, if any."""
        with self._lock:
            if request.endpoint in self._gaps:
                gap, turn = self._gaps[request.endpoint]
                self._gaps[request.endpoint] = gap * _FASTER, turn
                if gap * _FASTER < _FIRST_GAP / 2:
                    del self._gaps[request.endpoint]
            now = time.time()
            if limit.left is None or limit.left > LOW or now - self._warned_at < _WARN_AGAIN_AFTER:
                return None
            self._warned_at = now
        return (
            f"{limit.left:.0%} or less of this connection's {limit.reason or 'limit'} is left: when nothing"
            " is, everything pauses until it begins anew"
        )

    def _slow_down(self, endpoint: str) -> None:
        with self._lock:
            gap, turn = self._gaps.get(endpoint, (_FIRST_GAP / 2, 0.0))
            self._gaps[endpoint] = min(gap * 2, _LONGEST_GAP), turn


@functools.cache
def gate(conn_id: str, base_url: str) -> Gate:
    """Return this process's gate for a connection, as it points to a service."""
    return Gate()


def _clock(moment: float) -> str:
    return (
        pendulum.from_timestamp(math.ceil(min(moment, _LAST_MOMENT))).format("YYYY-MM-DD HH:mm:ss") + " UTC"
    )
