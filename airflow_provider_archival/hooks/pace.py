"""How fast requests are sent to a service: what it takes in a second, and what it says of its limits."""

from __future__ import annotations

import functools
import math
import threading
import time
from dataclasses import dataclass
from typing import Any

import pendulum
from pyrate_limiter import Duration, Limiter, Rate, SingleBucketFactory, StateBucket

from airflow_provider_archival.api.http import Request, TooManyRequests
from airflow_provider_archival.api.limits import LOW, RateLimit, Reach

_FIRST_GAP, _LONGEST_GAP = 0.02, 0.2
"""Seconds between two requests of a kind after the first burst that the service refused, and at most."""
_FASTER, _BURST = 0.9, 1.0
_LONGEST_CLOSED = 24 * 60 * 60.0
"""How long, in seconds, one answer holds everybody up at most: no limit of the services' lasts longer."""
_LONGEST_QUEUE = 30.0
"""How long, in seconds, a request waits for its turn; those behind it come again later."""
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


@dataclass
class _Lane:
    """
    How requests go: those of one kind, or all.

    :param since: when it was closed, in epoch seconds
    :param until: until when it is closed
    :param reason: why
    :param gap: seconds between two requests
    :param turn: when the next one may go
    :param slowed: when the gap grew last
    """

    since: float = 0.0
    until: float = 0.0
    reason: str = ""
    gap: float = 0.0
    turn: float = 0.0
    slowed: float = -math.inf

    def closed_until(self, now: float) -> float:
        # A clock that was set back tells nothing about the time that is left.
        return self.until if self.since <= now < self.until else 0.0

    def slow_down(self, now: float) -> None:
        # One burst is refused many times, to all who were under way.
        if abs(now - self.slowed) >= _BURST:
            self.gap, self.slowed = min(max(self.gap * 2, _FIRST_GAP), _LONGEST_GAP), now

    def speed_up(self) -> None:
        self.gap = self.gap * _FASTER if self.gap * _FASTER > _FIRST_GAP / 2 else 0.0


class Gate:
    """
    What a service has said of its limits, for all in this process who use a connection.

    A quota that is used up closes the gate for everything until it begins anew; a burst that was refused
    closes it for requests of that kind, and lets them through more slowly afterwards.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all = _Lane()
        self._lanes: dict[str, _Lane] = {}
        self._warned_at = -math.inf

    def check(self, request: Request[Any]) -> float:
        """
        Return the seconds until a request's turn.

        :raises TooManyRequests: it has to wait until the service takes requests again
        """
        if request.is_urgent:
            return 0.0
        now = time.time()
        with self._lock:
            lane = self._lanes.get(request.endpoint, self._all)
            for one in (self._all, lane):
                if (until := one.closed_until(now)) > 0:
                    raise _held_up(request, until, until - now, one.reason)
            if not lane.gap:
                return 0.0
            turn = max(lane.turn if lane.turn - now < _LONGEST_QUEUE * 2 else now, now)
            if turn - now > _LONGEST_QUEUE:
                raise _held_up(request, turn, turn - now, "a queue after a burst")
            lane.turn = turn + lane.gap
            return turn - now

    def refused(self, request: Request[Any], error: TooManyRequests) -> str | None:
        """Take a 429 in; returns the line to log, once for all whom it holds up."""
        limit, now = error.limit or RateLimit(), time.time()
        if limit.reach is Reach.REQUEST:
            return None
        is_all = limit.reach is Reach.CONNECTION
        with self._lock:
            lane = self._all if is_all else self._lanes.setdefault(request.endpoint, _Lane())
            if not is_all:
                lane.slow_down(now)
            if not limit.retry_after:
                return None
            was_closed = lane.closed_until(now) > 0
            until = now + min(limit.retry_after, _LONGEST_CLOSED)
            lane.since = lane.since if was_closed else now
            lane.until = max(lane.until, until) if was_closed else until
            lane.reason = limit.reason or "a limit"
            error.is_announced = True
        if was_closed:
            return None
        what = "everything on this connection" if is_all else f"'{request.endpoint}'"
        return f"{lane.reason}: {what} pauses until {_clock(until)}, as asked for ({limit.retry_after:.0f} s)"

    def answered(self, request: Request[Any], limit: RateLimit) -> str | None:
        """Take what an answer that is no 429 tells of limits in; returns the warning to log, if any."""
        now = time.time()
        with self._lock:
            if request.endpoint in self._lanes:
                self._lanes[request.endpoint].speed_up()
            if limit.left is None or limit.left > LOW or abs(now - self._warned_at) < _WARN_AGAIN_AFTER:
                return None
            self._warned_at = now
        return (
            f"{limit.left:.0%} or less of this connection's {limit.reason or 'limit'} is left: when nothing"
            " is, everything pauses until it begins anew"
        )


def _held_up(request: Request[Any], until: float, seconds: float, reason: str) -> TooManyRequests:
    error = TooManyRequests(str(request), (f"not sent: {reason} holds until {_clock(until)}",), None, seconds)
    error.is_announced = True
    return error


@functools.cache
def gate(conn_id: str, base_url: str) -> Gate:
    """Return this process's gate for a connection, as it points to a service."""
    return Gate()


def _clock(moment: float) -> str:
    return (
        pendulum.from_timestamp(math.ceil(min(moment, _LAST_MOMENT))).format("YYYY-MM-DD HH:mm:ss") + " UTC"
    )
