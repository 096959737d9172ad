"""All that a run needs of the world: what the engine asks for, and how it says that a try ends badly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from airflow_provider_archival.api.flow import Flow
from airflow_provider_archival.api.http import ApiError
from airflow_provider_archival.api.jobs import JobKind
from airflow_provider_archival.api.polling import Outcome
from airflow_provider_archival.engine.state import Run

FAILED, BLOCKED, TOO_LATE, PAUSED = "failed", "blocked", "too late", "paused"
"""
How a run can end badly, beside what a wait can: a job of ours failed, another's was in the way all the time,
there was no time left for the next, or for a pause that the service asked for.
"""


class BadEnd(Exception):
    """
    A try ends badly.

    :param how: one of these, or of those of :mod:`~airflow_provider_archival.api.polling`
    :param job: the job that it is about, if any
    :param message: more of why
    :param error: what the service answered, where that ended it
    """

    def __init__(self, how: str, job: Any = None, message: str = "", error: ApiError | None = None) -> None:
        super().__init__(how)
        self.how, self.job, self.message, self.error = how, job, message, error


class Driver(Protocol):
    """All that a run does outside of itself."""

    @property
    def waits(self) -> bool:
        """Whether the run goes on until its last job has ended."""
        ...

    def now(self) -> float:
        """Return our own time, in epoch seconds."""
        ...

    def served_at(self) -> float | None:
        """Return the service's time as of its last answer; None where it has not told."""
        ...

    def left(self, run: Run[Any, Any]) -> float:
        """Return the seconds until the run has to be over."""
        ...

    def follow(self, flow: Flow[Any], *, may_start: bool = False) -> Any:
        """Hold a talk with the service; raises its ``ApiError``."""
        ...

    def send_all(self, flows: Iterable[tuple[Any, Flow[Any]]], at_once: int) -> Iterator[tuple[Any, Any]]:
        """Hold talks, some at a time, and yield what each came to, as they end."""
        ...

    def prepare(self) -> None:
        """Try what can be tried before anything is started."""
        ...

    def recall(self, fresh: Run[Any, Any]) -> Run[Any, Any]:
        """Return what an earlier try left behind, or the fresh run as it is to begin."""
        ...

    def remember(self, run: Run[Any, Any], *, must: bool = False) -> None:
        """Keep how far a run has come; ``must``: nothing may go on where that fails."""
        ...

    def forget(self) -> None:
        """Let the next run begin anew."""
        ...

    def started(self, kind: JobKind[Any], job: Any, *, is_new: bool) -> None:
        """Tell that a job is under way."""
        ...

    def published(self, kind: JobKind[Any], job: Any) -> None:
        """Tell the id of the job that the run goes on with, where others look for it."""
        ...

    def words_of(self, error: ApiError) -> str:
        """Say what an error means, and what a person can do about it."""
        ...

    def counted(self, what: str) -> None:
        """Count what became of an earlier try's job."""
        ...

    def wait(self, run: Run[Any, Any], job: Any) -> Outcome[Any]:
        """Wait until a job of ours has ended."""
        ...

    def wait_for_other(self, run: Run[Any, Any]) -> Outcome[Any]:
        """Wait until the job that is in the way has ended, or for a while where nobody tells which it is."""
        ...

    def pause(self, run: Run[Any, Any], error: ApiError) -> None:
        """Wait as long as the service asked for; raises the error where it asked for nothing."""
        ...

    def finishing(self, run: Run[Any, Any]) -> None:
        """Hear that nothing follows but looks, which may take some time after the last job's end."""
        ...

    def finish(self, run: Run[Any, Any], result: dict[str, Any]) -> Any:
        """Do what is left to do with a result, and hand it over."""
        ...
