"""When a request is sent once more: one policy, for both ways over the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, retry_if_exception, wait_exponential_jitter

from airflow_provider_archival.api.http import ApiError, Repeat, Request, TooManyRequests

LONGEST = 24 * 60 * 60.0
"""How long a call goes on at most, in seconds, where nobody gives a deadline."""

LONGEST_WHERE_URGENT = 10.0
"""The longest pause, in seconds, before what somebody waits for, such as a cancel."""

_backoff = wait_exponential_jitter(initial=1, max=30)


class Policy:
    """
    Says whether and when one request is sent again.

    Faults are repeated a number of times. A service that asks for a pause gets it in full, and, where there
    is a deadline, as often as it asks: then that costs none of the times.

    :param request: what is sent
    :param attempts: how often at most; with 1 nothing is ever repeated
    :param deadline: when to give up, in epoch seconds
    :param patience: the longest pause, in seconds, that the caller can wait here; None for any
    :param tell: logs a line
    """

    def __init__(
        self,
        request: Request[Any],
        attempts: int,
        deadline: float | None,
        patience: float | None,
        tell: Callable[[ApiError, float, int], None],
    ) -> None:
        if request.is_urgent:
            patience = min(LONGEST_WHERE_URGENT, LONGEST if patience is None else patience)
        self._request, self._attempts, self._patience, self._tell = request, attempts, patience, tell
        self._counts_pauses = deadline is None
        self._deadline = time.time() + LONGEST if deadline is None else deadline
        self._paused = 0
        self._raised: BaseException | None = None

    @property
    def for_tenacity(self) -> dict[str, Any]:
        """Return the arguments of both ``Retrying`` and ``AsyncRetrying``."""
        return {
            "retry": retry_if_exception(self._may_repeat),
            "stop": self._must_stop,
            "wait": self._pause,
            "before": self._check_deadline,
            "before_sleep": self._log,
            "reraise": True,
        }

    def _may_repeat(self, raised: BaseException) -> bool:
        error = _api_error(raised)
        if error is None or not error.can_repeat:
            return False
        return self._request.repeat is Repeat.FREELY or error.surely_undone

    def _must_stop(self, state: RetryCallState) -> bool:
        return self._is_enough(state) or self._is_too_long(state)

    def _is_enough(self, state: RetryCallState) -> bool:
        self._raised = state.outcome.exception() if state.outcome else None
        error = _api_error(self._raised)
        is_pause = isinstance(error, TooManyRequests) and bool(error.retry_after)
        if is_pause and self._attempts > 1 and not self._counts_pauses:
            self._paused += 1
            return False
        return state.attempt_number - self._paused >= self._attempts

    def _is_too_long(self, state: RetryCallState) -> bool:
        asked = getattr(_error_of(state), "retry_after", None) or 0.0
        return time.time() >= self._deadline or (self._patience is not None and asked > self._patience)

    def _pause(self, state: RetryCallState) -> float:
        asked = getattr(_error_of(state), "retry_after", None) or 0.0
        return min(max(_backoff(state), asked), max(self._deadline - time.time(), 0.0))

    def _check_deadline(self, state: RetryCallState) -> None:
        if self._raised is not None and time.time() >= self._deadline:
            raise self._raised

    def _log(self, state: RetryCallState) -> None:
        error = _error_of(state)
        if error is None or (isinstance(error, TooManyRequests) and error.is_announced):
            return
        pause = state.next_action.sleep if state.next_action else 0.0
        self._tell(error, pause, state.attempt_number - self._paused + 1)


def _error_of(state: RetryCallState) -> ApiError | None:
    return _api_error(state.outcome.exception()) if state.outcome else None


def _api_error(raised: BaseException | None) -> ApiError | None:
    """Return what a service answered, also out of one of this provider's exceptions that carries it."""
    error = getattr(raised, "error", raised)
    return error if isinstance(error, ApiError) else None
