"""A DAG run as the tests see it, whatever runs it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waiting import PATIENCE, wait_until

ENDS = ("success", "failed")


class Run(ABC):
    """
    One DAG run, and its task ``job``.

    :param trace: the file in which the task's processes tell of themselves
    """

    def __init__(self, dag_id: str, run_id: str, trace: Path) -> None:
        self.dag_id, self.run_id, self._trace = dag_id, run_id, trace

    def __str__(self) -> str:
        return f"{self.dag_id} {self.run_id}"

    @abstractmethod
    def state(self) -> str | None:
        """Return the run's state."""

    @abstractmethod
    def tries(self) -> int:
        """Return how many tries the task took."""

    @abstractmethod
    def value(self) -> Any:
        """Return what the task returned to XCom, None when there is nothing."""

    @abstractmethod
    def clear(self) -> None:
        """Let the task run again, as Clear does."""

    @abstractmethod
    def give_up(self) -> None:
        """See to it that nothing of the run goes on, when a test ended before it."""

    @abstractmethod
    def log(self) -> str:
        """Return what the task logged in all its tries, in the worker and in the triggerer."""

    @abstractmethod
    def story(self) -> str:
        """Tell what happened, for whoever has to understand a failure."""

    def traced(self, event: str, try_number: int | None = None) -> list[dict[str, Any]]:
        """Return what the task's processes told, the latest last."""
        lines = self._trace.read_text().splitlines() if self._trace.exists() else []
        told = [json.loads(line) for line in lines]
        return [one for one in told if one["event"] == event and try_number in (None, one.get("try_number"))]

    def wait_for_trace(self, event: str, try_number: int | None = None) -> dict[str, Any]:
        """Wait until a process of the task has told this, and return what it told first."""
        return dict(self.wait_until(lambda: self.traced(event, try_number), f"it has {event}")[0])

    def wait_for_end(self, seconds: float = PATIENCE) -> str:
        """Wait until it ends, and return how."""
        return str(
            self.wait_until(lambda: state if (state := self.state()) in ENDS else None, "it ends", seconds)
        )

    def wait_for_success(self, tries: int | None = None) -> Any:
        """Wait until it ends, well and with this number of tries, and return what the task returned."""
        state = self.wait_for_end()
        assert state == "success", f"{self} ended {state}\n{self.story()}"
        used = self.tries()
        assert tries in (None, used), f"{self} took {used} tries\n{self.story()}"
        return self.value()

    def wait_until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        return wait_until(condition, f"{self}: {what}", seconds, story=self.story)
