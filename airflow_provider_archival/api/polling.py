"""When to look at a job again, and what to tell of it: the same for a worker, a trigger and a sensor."""

from __future__ import annotations

import random
import time
from typing import Any, Protocol

FIRST_PAUSE, SHORTEST_PAUSE = 1.0, 0.1
_GROWTH = 1.6
_JITTER = 0.1


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


class Schedule:
    """
    Says how long to pause between looks at one job.

    The pause grows from 1 s to ``poll_interval`` and is jittered. The job's own progress shortens it to half
    of the time that seems left, but no less than 1 s: the end is noticed soon, a long job is asked seldom.

    :param poll_interval: the longest pause, in seconds; when it is under a second, the shortest one too
    """

    def __init__(self, poll_interval: float) -> None:
        self._longest = max(poll_interval, SHORTEST_PAUSE)
        self._next = self._shortest = min(FIRST_PAUSE, self._longest)
        self._first_look: tuple[float, float] | None = None
        self._left: float | None = None

    def saw(self, job: Job, now: float) -> None:
        """Learn from a look at ``now`` (any clock, in seconds) how long the job may still take."""
        if job.progress is None:
            return
        if self._first_look is None:
            self._first_look = (now, job.progress)
        since, progress = self._first_look
        if job.progress > progress:
            self._left = (100.0 - job.progress) / (job.progress - progress) * (now - since)

    def pause(self, retry_after: float | None = None) -> float:
        """Return the seconds to pause now, never less than what the service asked for."""
        pause = self._next * random.uniform(1 - _JITTER, 1.0)  # noqa: S311 (jitter is no secret)
        self._next = min(self._longest, self._next * _GROWTH)
        if self._left is not None:
            pause = min(pause, max(self._left / 2, self._shortest))
        return max(pause, retry_after or 0.0)


class Wait:
    """
    One wait for one job: when to look again, when to give up, and what is worth a log line.

    Logged are changes of status, tenths of progress, and faults at growing distances.

    :param what: the job's name in the log, such as ``Jira task 10010``
    :param poll_interval: see :class:`Schedule`
    :param end_time: when to give up, in epoch seconds: it must hold in other processes too
    """

    def __init__(self, what: str, poll_interval: float, end_time: float) -> None:
        self._what = what
        self._end_time = end_time
        self._schedule = Schedule(poll_interval)
        self._status: str | None = None
        self._tenth = 0
        self._faults = 0
        self._retry_after: float | None = None

    def saw(self, job: Job) -> str | None:
        """Take a look's answer in; returns the line to log, if any."""
        self._schedule.saw(job, time.time())
        recovered = f" (the service answers again after {self._faults} faults)" if self._faults else ""
        self._faults, self._retry_after = 0, None
        tenth = int((job.progress or 0) // 10)
        if job.status == self._status and tenth <= self._tenth and not recovered:
            return None
        unknown = (
            "" if job.is_documented or job.status == self._status else ", a status that is not documented"
        )
        self._status, self._tenth = job.status, max(tenth, self._tenth)
        progress = "" if job.progress is None else f", {job.progress:g} %"
        return f"{self._what}: {job.status}{unknown}{progress}{recovered}"

    def failed(self, error: Exception, retry_after: float | None = None) -> str | None:
        """Take a failed look in; returns the line to log, at the 1st, 2nd, 4th, 8th … in a row."""
        self._faults += 1
        self._retry_after = retry_after
        if self._faults & (self._faults - 1):
            return None
        times = "" if self._faults == 1 else f" ({self._faults} times in a row)"
        return f"{self._what}: could not look at it now{times}, going on: {error}"

    def pause(self) -> float | None:
        """Return the seconds to pause before the next look; None when the time is up."""
        left = self._end_time - time.time()
        return None if left <= 0 else min(self._schedule.pause(self._retry_after), left)
