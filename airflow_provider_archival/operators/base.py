"""The one place that submits jobs, remembers them, waits for them and finishes."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_archival.api.http import NotFound
from airflow_provider_archival.api.polling import Job, Wait
from airflow_provider_archival.exceptions import JobError, JobGone, JobTimeout, ServiceRefusal, WatchRefused
from airflow_provider_archival.triggers import base as outcomes

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_archival.hooks.base import ServiceHook
    from airflow_provider_archival.triggers.base import JobTrigger

J = TypeVar("J", bound=Job)

_BACKSTOP = 60.0


@dataclass
class Progress(Generic[J]):
    """
    How far a run has come: what is needed to go on after a deferral.

    :param started: when the run began, in epoch seconds
    :param end_time: when to give up waiting, in epoch seconds
    :param done: the jobs that have ended well, in order
    :param pending: the jobs that were submitted and have not been seen to end, in order
    :param notes: what else the operator wants to know later; plain data
    """

    started: float
    end_time: float
    done: list[J] = field(default_factory=list)
    pending: list[J] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def jobs(self) -> list[J]:
        return self.done + self.pending

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "started": self.started,
            "end_time": self.end_time,
            "done": [job.to_dict() for job in self.done],
            "pending": [job.to_dict() for job in self.pending],
            "notes": self.notes,
        }


class RemoteJobOperator(BaseOperator, Generic[J]):
    """
    Submit jobs to a service one step after the other, and wait for each in the worker or deferred.

    Subclasses say what to submit (:meth:`submit_next`), how to look at a job, and what the run comes to
    (:meth:`result`). The id of a job is in XCom as soon as the service has given it.

    :param wait_for_completion: wait until the jobs end; otherwise return as soon as they are submitted
    :param deferrable: wait in the triggerer instead of in the worker
    :param poll_interval: the longest pause between two looks at a job, in seconds; a wait begins with
        pauses of a second, and they get short again when the service's own progress says that the end is near
    :param timeout: seconds that the whole wait may take; then the task fails and the job goes on
    :param cancel_on_kill: cancel the running job when the task is killed
    :param cancel_on_timeout: cancel the running job when ``timeout`` has passed
    """

    job_id_key: ClassVar[str]
    """The XCom key of the latest job's id."""

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 30,
        timeout: float = 24 * 60 * 60,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = seconds_of(poll_interval, "poll_interval")
        self.timeout = seconds_of(timeout, "timeout")
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self._progress: Progress[J] | None = None

    # --- what a subclass says ---

    @abstractmethod
    def make_hook(self) -> ServiceHook:
        """Return the hook to work with."""

    @abstractmethod
    def submit_next(self, progress: Progress[J]) -> Iterator[J]:
        """Submit the jobs of the next step, yielding each at once; yield nothing when all is done."""

    @abstractmethod
    def look(self, job: J) -> J:
        """Look at a job once; see :meth:`ServiceHook.wait_for`."""

    @abstractmethod
    def job_from(self, values: dict[str, Any]) -> J:
        """Read a job back from its dict."""

    @abstractmethod
    def trigger_for(self, job: J, progress: Progress[J]) -> JobTrigger:
        """Return the trigger that watches a job and carries the progress."""

    @abstractmethod
    def failure(self, job: J) -> JobError:
        """Return the error for a job that ended badly."""

    @abstractmethod
    def result(self, progress: Progress[J]) -> Any:
        """Return what goes to XCom."""

    def must_wait_for(self, job: J) -> bool:
        """Say whether the run can't go on before a job has ended."""
        return self.wait_for_completion

    def cancel(self, job: J) -> None:
        """Cancel a job, where the service can."""
        self.log.warning("%s can't be cancelled; it goes on", self.hook.name_of(job.id))

    # --- the run ---

    @cached_property
    def hook(self) -> ServiceHook:
        return self.make_hook()

    def execute(self, context: Context) -> Any:
        now = time.time()
        return self._go_on(context, Progress(started=now, end_time=now + self.timeout))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after a deferral, with the trigger's event."""
        progress = event["carried"]
        known = Progress(
            started=progress["started"],
            end_time=progress["end_time"],
            done=[self.job_from(job) for job in progress["done"]],
            pending=[self.job_from(job) for job in progress["pending"]],
            notes=progress["notes"],
        )
        if event.get("job"):
            known.pending[0] = self.job_from(event["job"])
        job = known.pending[0]
        if event["outcome"] == outcomes.TIMEOUT:
            if self.cancel_on_timeout:
                self._cancel_quietly(job)
            raise self.hook.timed_out(job)
        if event["outcome"] == outcomes.GONE:
            raise self._gone(job)
        if event["outcome"] == outcomes.REFUSED:
            raise self._refused(job, event["message"])
        return self._go_on(context, known)

    def on_kill(self) -> None:
        """Cancel the running jobs when the worker's process is told to stop; with ``cancel_on_kill`` only."""
        for job in self._progress.pending if self._progress and self.cancel_on_kill else ():
            if not job.is_final:
                self._cancel_quietly(job)

    def _go_on(self, context: Context, progress: Progress[J]) -> Any:
        self._progress = progress
        try:
            while True:
                while progress.pending:
                    job = progress.pending[0]
                    if not job.is_final and not self.must_wait_for(job):
                        return self.result(progress)
                    self._settle(job if job.is_final else self._wait(job, progress), progress)
                for job in self.submit_next(progress):
                    progress.pending.append(job)
                    context["ti"].xcom_push(key=self.job_id_key, value=job.id)
                    self.log.info("%s was submitted", self.hook.name_of(job.id))
                if not progress.pending:
                    return self.result(progress)
        finally:
            self.hook.close()

    def _wait(self, job: J, progress: Progress[J]) -> J:
        if self.deferrable:
            self._defer(job, progress)
        wait = Wait(self.hook.name_of(job.id), self.poll_interval, progress.end_time)
        try:
            return self.hook.wait_for(lambda: self.look(job), job, wait)
        except ServiceRefusal as refusal:
            if isinstance(refusal.error, NotFound):
                raise self._gone(job) from None
            raise self._refused(job, str(refusal)) from None
        except JobTimeout:
            if self.cancel_on_timeout:
                self._cancel_quietly(job)
            raise

    def _defer(self, job: J, progress: Progress[J]) -> None:
        left = max(progress.end_time - time.time(), 0) + _BACKSTOP
        if self.execution_timeout is not None:
            left = min(left, max(progress.started + self.execution_timeout.total_seconds() - time.time(), 1))
        self.defer(
            trigger=self.trigger_for(job, progress),
            method_name="execute_complete",
            timeout=timedelta(seconds=left),
        )

    def _settle(self, job: J, progress: Progress[J]) -> None:
        if not job.succeeded:
            raise self.failure(job)
        self.log.info("%s ended well: %s", self.hook.name_of(job.id), job.status)
        progress.done.append(job)
        progress.pending.pop(0)

    def _gone(self, job: J) -> JobError:
        return JobGone(
            f"{self.hook.service} does not know {self.hook.job_word} {job.id} any more: what it did can't be"
            " told. A retry submits anew.",
            job.to_dict(),
        )

    def _refused(self, job: J, message: str) -> WatchRefused:
        name = self.hook.name_of(job.id)
        return WatchRefused(f"{name} goes on, but can't be watched. {message}", job.to_dict())

    def _cancel_quietly(self, job: J) -> None:
        try:
            self.cancel(job)
        except Exception as error:  # noqa: BLE001 (the task ends anyway, for another reason)
            self.log.warning("Could not cancel %s: %s", self.hook.name_of(job.id), error)


def seconds_of(value: float, parameter: str) -> float:
    """Return a parameter in seconds, or raise ``ValueError`` where it is not above 0."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{parameter} must be a number of seconds above 0; got {value!r}")
    return value
