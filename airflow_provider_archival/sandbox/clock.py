"""The sandbox's clock: real time, plus what was advanced."""

from __future__ import annotations

import time


class Clock:
    """Tells the time in epoch seconds; ``advance`` moves it forward without waiting."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    def advance(self, seconds: float) -> None:
        self.offset += seconds
