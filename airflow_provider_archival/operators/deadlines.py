"""When a run has to be over, and which limit says so."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

LONGEST = 10 * 365 * 24 * 60 * 60.0
"""The longest wait, in seconds: ten years. What is beyond that is no date that Airflow could keep."""

_BACKSTOP = 60.0
"""What is added to a deferral's time, in seconds, so that the trigger's own end comes first."""


@dataclass(frozen=True)
class Deadline:
    """
    When a run has to be over.

    :param at: epoch seconds
    :param limit: the limit that sets it, in words
    :param is_airflows: whether that is Airflow's own ``execution_timeout``
    """

    at: float
    limit: str
    is_airflows: bool = False

    @property
    def left(self) -> float:
        """The seconds until then; 0 or less when it has passed."""
        return self.at - time.time()

    @property
    def of_deferral(self) -> timedelta:
        """How long a deferral may last: the trigger ends by itself, unless nobody runs it."""
        left = self.left + (0.0 if self.is_airflows else _BACKSTOP)
        return timedelta(seconds=min(max(left, 1.0), LONGEST))

    @classmethod
    def of(cls, started: float, end_time: float, execution_timeout: timedelta | None) -> Deadline:
        """
        Return the earlier one of two limits.

        :param started: when the run began, in epoch seconds
        :param end_time: when its own ``timeout`` ends, in epoch seconds
        :param execution_timeout: Airflow's limit; None where there is none, or Airflow itself sees to it
        """
        if execution_timeout is not None:
            seconds = execution_timeout.total_seconds()
            if started + seconds < end_time:
                return cls(started + seconds, f"execution_timeout of {seconds:g} s", is_airflows=True)
        return cls(end_time, f"timeout of {end_time - started:g} s")
