"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 120.0
_PAUSE = 0.3


class NotYet(Exception):
    """What is looked at can't be told now, such as while a server starts."""


def wait_until(
    condition: Callable[[], T],
    what: str,
    seconds: float = PATIENCE,
    *,
    story: Callable[[], str] = lambda: "",
) -> T:
    """
    Return the first true value of ``condition``, or fail after ``seconds``.

    :param condition: may raise :class:`NotYet`
    :param what: what is awaited, for the message
    :param story: tells what happened instead
    """
    until = time.monotonic() + seconds
    while True:
        last: object = None
        try:
            if found := condition():
                return found
            last = found
        except NotYet as reason:
            last = reason
        if time.monotonic() > until:
            raise AssertionError(f"Waited {seconds:g} s in vain until {what} (last: {last!r}).\n{story()}")
        time.sleep(_PAUSE)
