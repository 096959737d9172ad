"""When to look at a job again, and what to tell of it: the same for a worker, a trigger and a sensor."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import pendulum

from airflow_provider_archival.api.flow import Flow, Pause
from airflow_provider_archival.api.http import (
    ApiError,
    Forbidden,
    NotAuthenticated,
    NotFound,
    TooManyRequests,
)

log = logging.getLogger(__name__)

ENDED, TIMEOUT, REFUSED, GONE, UNWATCHED = "ended", "timeout", "refused", "gone", "unwatched"
"""
How a wait can end: the job ended, time is up, the service refuses to tell, does not know the job, or there is
nothing to look with.
"""

FIRST_PAUSE, SHORTEST_PAUSE = 1.0, 0.1
TIMES_GONE, SECONDS_BEFORE_GONE = 2, 2.0
"""How often a service has to say in a row that it does not know a job that it has known, and the pause."""
TIMES_REFUSED, SECONDS_REFUSED = 5, 60.0
"""How often, and for how long, the service has to refuse to show a job that it has shown."""
NEVER_SEEN = "No look at it succeeded"
_GROWTH = 1.6
_JITTER = 0.1
_WHOLE = 100.0
_OF_CREDENTIALS = (NotAuthenticated, Forbidden)


class Job(Protocol):
    """What a Jira task and a Toloka operation have in common."""

    @property
    def id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def progress(self) -> float | None: ...
    @property
    def is_final(self) -> bool: ...
    @property
    def succeeded(self) -> bool: ...
    @property
    def is_documented(self) -> bool: ...
    @property
    def said(self) -> str: ...
    def to_dict(self) -> dict[str, Any]: ...


J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Outcome(Generic[J]):
    """
    How a wait ended.

    :param how: :data:`ENDED`, :data:`TIMEOUT`, :data:`REFUSED`, :data:`GONE` or :data:`UNWATCHED`
    :param job: the job as it was seen last, if it was
    :param message: why, for all but ``ended``
    :param error: what the service answered, where that ended the wait
    """

    how: str
    job: J | None = None
    message: str = ""
    error: ApiError | None = None


def watch(look: Callable[[], Flow[J]], job: J | None, wait: Wait) -> Flow[Outcome[J]]:
    """
    Look at a job again and again until it ends or the time is up, through any number of passing faults.

    :param look: looks once
    :param job: the job as far as it is known
    :param wait: the schedule and the deadline
    """
    while True:
        try:
            job = yield from look()
        except ApiError as error:
            if wait.ends_with(error):
                return Outcome(GONE if isinstance(error, NotFound) else REFUSED, job, str(error), error)
            line = wait.failed(error)
        else:
            line = wait.saw(job)
        if line:
            log.info("%s", line)
        if job is not None and job.is_final:
            return Outcome(ENDED, job)
        pause = wait.pause()
        if pause is None:
            return Outcome(TIMEOUT, job, wait.story)
        yield Pause(pause)


class NotLooked(ApiError):
    """There was nothing to look with; nothing was sent."""

    can_repeat = True

    def __str__(self) -> str:
        return self.said


class Schedule:
    """
    Says how long to pause between looks at one job.

    The pause grows from 1 s to ``poll_interval`` and is jittered. The job's own progress shortens it to half
    of the time that seems left, but no less than 1 s: the end is noticed soon, a long job is asked seldom.
    Where the end is overdue, it grows with the time that has passed since then.

    :param poll_interval: the longest pause, in seconds; when it is under a second, the shortest one too
    """

    def __init__(self, poll_interval: float) -> None:
        self._longest = max(poll_interval, SHORTEST_PAUSE)
        self._next = self._shortest = min(FIRST_PAUSE, self._longest)
        self._first: tuple[float, float] | None = None
        """When, and at which progress, the job was seen first: since then it has only gone forward."""
        self._progress = 0.0
        self._seen_at = 0.0
        self._end: float | None = None
        """When the job seems to end; None where nothing tells."""

    def saw(self, job: Job, now: float) -> None:
        """Learn from a look at ``now`` (any clock, in seconds) how long the job may still take."""
        self._seen_at = now
        if job.progress is None:
            self._end = None
            return
        if self._first is None or job.progress < self._progress:
            # It began again: what was learnt of its pace is worth nothing.
            self._first, self._end = (now, job.progress), None
        elif job.progress > self._progress:
            since, at_first = self._first
            pace = (now - since) / (job.progress - at_first)
            self._end = now + (_WHOLE - job.progress) * pace
        self._progress = job.progress
        if job.progress >= _WHOLE:
            # What is done and does not end tells nothing about its end.
            self._end = None

    def pause(self, retry_after: float | None = None) -> float:
        """Return the seconds to pause now, never less than what the service asked for."""
        pause = self._next * random.uniform(1 - _JITTER, 1.0)  # noqa: S311 (jitter is no secret)
        self._next = min(self._longest, self._next * _GROWTH)
        if self._end is not None:
            pause = min(pause, max(abs(self._end - self._seen_at) / 2, self._shortest))
        return max(pause, retry_after or 0.0)


class Wait:
    """
    One wait for one job: when to look again, when to give up, and what is worth a log line.

    Logged are changes of status, tenths of progress, and faults at growing distances.

    :param what: the job's name in the log, such as ``Jira task 10010``
    :param poll_interval: see :class:`Schedule`
    :param end_time: when to give up, in epoch seconds: it must hold in other processes too
    :param is_known: whether the service has known the job, since it was submitted by us: then one look that
        does not find it ends nothing
    """

    def __init__(self, what: str, poll_interval: float, end_time: float, *, is_known: bool = False) -> None:
        self._what = what
        self._end_time = end_time
        self._poll_interval = poll_interval
        self._schedule = Schedule(poll_interval)
        self._is_known = is_known
        self._status: str | None = None
        self._tenth = 0
        self._seen_at: float | None = None
        self._faults = 0
        self._refusals: list[ApiError] = []
        self._refused_since = 0.0
        self._last: Exception | None = None

    def saw(self, job: Job) -> str | None:
        """Take a look's answer in; returns the line to log, if any."""
        now = time.time()
        self._schedule.saw(job, now)
        self._is_known, self._seen_at = True, now
        recovered = f" (the service answers again after {self._faults} faults)" if self._faults else ""
        self._faults, self._last = 0, None
        self._refusals.clear()
        tenth = int((job.progress or 0) // 10)
        if job.status == self._status and tenth <= self._tenth and not recovered:
            return None
        unknown = (
            "" if job.is_documented or job.status == self._status else ", a status that is not documented"
        )
        self._status, self._tenth = job.status, max(tenth, self._tenth)
        progress = "" if job.progress is None else f", {job.progress:g} %"
        return f"{self._what}: {job.status}{unknown}{progress}{recovered}"

    def failed(self, error: Exception) -> str | None:
        """Take a failed look in; returns the line to log, at the 1st, 2nd, 4th, 8th … in a row."""
        self._last = error
        if not isinstance(error, (NotFound, *_OF_CREDENTIALS)):
            self._refusals.clear()
        if isinstance(error, TooManyRequests) and error.is_announced:
            return None
        self._faults += 1
        if self._faults & (self._faults - 1):
            return None
        times = "" if self._faults == 1 else f" ({self._faults} times in a row)"
        return f"{self._what}: could not look at it now{times}, going on: {error}"

    def ends_with(self, error: ApiError) -> bool:
        """
        Say whether a failed look ends the wait.

        A job that the service has known is gone when it says so twice. One that it has shown in this wait,
        and shows no more, is hidden when that has lasted for a minute.
        """
        if error.can_repeat:
            return False
        if not (
            (self._is_known and isinstance(error, NotFound))
            or (self._seen_at is not None and isinstance(error, _OF_CREDENTIALS))
        ):
            return True
        now = time.time()
        if self._refusals and type(self._refusals[-1]) is not type(error):
            self._refusals.clear()
        if not self._refusals:
            self._refused_since = now
        self._refusals.append(error)
        if isinstance(error, NotFound):
            return len(self._refusals) >= TIMES_GONE
        return len(self._refusals) >= TIMES_REFUSED and now - self._refused_since >= SECONDS_REFUSED

    def pause(self) -> float | None:
        """Return the seconds to pause before the next look; None when the time is up."""
        left = self._end_time - time.time()
        if left <= 0:
            return None
        pause = self._schedule.pause(getattr(self._last, "retry_after", None))
        if self._refusals:
            pause = max(pause, SECONDS_BEFORE_GONE)
        elif isinstance(self._last, TooManyRequests) and self._last.is_announced:
            # All who wait on this connection go on then: not all in the same moment.
            pause += random.uniform(0, min(self._poll_interval, pause))  # noqa: S311
        return min(pause, left)

    @property
    def story(self) -> str:
        """When the job was seen last, and what went wrong since then: for whoever reads of its end."""
        fault = "" if self._last is None else f" The last look failed: {self._last}"
        if self._seen_at is None:
            return f"{NEVER_SEEN}.{fault}"
        seen = pendulum.from_timestamp(int(self._seen_at)).format("YYYY-MM-DD HH:mm:ss")
        return f"It was {self._status} when last seen, at {seen} UTC.{fault}"
