"""The sandbox's clock: real time, plus what it was moved ahead."""

from __future__ import annotations

import time


class Clock:
    """Tells the time in epoch seconds, ``offset`` ahead of real time."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return time.time() + self.offset
