"""The one place that submits jobs, remembers them, waits for them and finishes."""

from __future__ import annotations

import math
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator, Stats, conf

from airflow_provider_archival.api.http import Busy, NotFound
from airflow_provider_archival.api.polling import SECONDS_BEFORE_GONE, Job, Wait
from airflow_provider_archival.exceptions import JobError, JobTimeout, ServiceFault, ServiceRefusal
from airflow_provider_archival.operators import failures
from airflow_provider_archival.operators.deadlines import Deadline
from airflow_provider_archival.operators.progress import (
    BEGAN,
    Found,
    Memory,
    Progress,
    Submission,
    began_before,
)
from airflow_provider_archival.triggers import base as outcomes
from airflow_provider_archival.triggers.base import PauseTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_archival.hooks.base import ServiceHook
    from airflow_provider_archival.triggers.base import JobTrigger

J = TypeVar("J", bound=Job)

_FIRST_PAUSE = 1.0
# The longest pause that a task holds a worker for, in seconds, where it can be deferred.
_LONGEST_HELD = 30.0
# What comes after the last job, such as a count of what is left, has so many seconds, however late it is.
_TO_FINISH = 60.0
# Before the second, third, … attempt at a submit whose answer was lost, in seconds.
_PAUSES = (1.0, 2.0, 4.0, 8.0)


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
    :param durable: go on in a retry where an earlier try stopped; False always submits anew
    """

    job_id_key: ClassVar[str]
    """The XCom key of the latest job's id."""
    finds_jobs: ClassVar[bool] = False
    """Whether the service lists its jobs: then a retry that remembers nothing looks, store or not."""

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 30,
        timeout: float = 24 * 60 * 60,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = False,
        durable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = seconds_of(poll_interval, "poll_interval")
        self.timeout = seconds_of(timeout, "timeout")
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.durable = durable
        self._progress: Progress[J] | None = None

    # --- what a subclass says ---

    @abstractmethod
    def make_hook(self) -> ServiceHook:
        """Return the hook to work with."""

    @abstractmethod
    def asked(self) -> dict[str, Any]:
        """Return what makes this run another one than with other parameters; plain data."""

    @abstractmethod
    def submit_next(self, progress: Progress[J]) -> Iterator[Submission[J]]:
        """
        Yield what is to be submitted in the next step; nothing when all is done.

        Called again from the start of the same step after another job was in the way.
        """

    @abstractmethod
    def look(self, job: J) -> J:
        """Look at a job once; see :meth:`ServiceHook.wait_for`."""

    @abstractmethod
    def job_from(self, values: dict[str, Any]) -> J:
        """Read a job back from its dict."""

    @abstractmethod
    def look_firmly(self, job: J) -> J:
        """Look at a job once, with repeats."""

    @abstractmethod
    def job_of(self, job_id: str) -> J:
        """Return a job of which nothing but the id is known."""

    @abstractmethod
    def trigger_for(self, job: J, progress: Progress[J], *, is_ours: bool = True) -> JobTrigger:
        """Return the trigger that watches a job and carries the progress."""

    @abstractmethod
    def failure(self, job: J) -> Exception:
        """Return the error for a job that ended badly."""

    @abstractmethod
    def result(self, progress: Progress[J]) -> Any:
        """Return what goes to XCom."""

    def take_up(self, progress: Progress[J], *, lost: bool) -> None:
        """Prepare to go on with an earlier try's progress; ``lost`` when a job of it came to nothing."""
        if lost:
            progress.handled = 0
            progress.notes.clear()

    def adopt(self, job_id: str, error: Busy, since: float) -> J | None:
        """Return the job that is in the way if it is our own, submitted since then; otherwise None."""
        return None

    def submitted_again(self, job: J) -> None:
        """Hear that a job was submitted although an earlier one may have been, which can't be found."""

    def publish(self, context: Context, job: J) -> None:
        """Tell the id of a job that was submitted."""
        context["ti"].xcom_push(key=self.job_id_key, value=job.id)

    def is_ending(self, job: J) -> bool:
        """Say whether a job that is not over yet will surely come to nothing."""
        return False

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
        with self._naming_a_timeout():
            return self._run(context, time.time())

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after a deferral, with the trigger's event."""
        with self._naming_a_timeout():
            carried = event["carried"]
            if BEGAN in carried:
                return self._run(context, carried[BEGAN])
            self._memory = Memory(context, self.durable)
            return self._resume(context, Progress.unpack(carried, self.job_from), event)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral; where Airflow gave up on the triggerer, say so and what to do."""
        failure = outcomes.failure_of(next_method, next_kwargs)
        if failure is None:
            return super().resume_execution(next_method, next_kwargs, context)
        for line in failure.traceback:
            self.log.error("%s", line)
        raise self._nobody_looked(context, failure)

    def on_kill(self) -> None:
        """
        Cancel the running jobs when the worker's process is told to stop; with ``cancel_on_kill`` only.

        Airflow calls this as well when ``execution_timeout`` has passed: then ``cancel_on_timeout`` decides.
        """
        is_late = isinstance(sys.exc_info()[1], AirflowTaskTimeout)
        wanted = self.cancel_on_timeout if is_late else self.cancel_on_kill
        for job in self._progress.pending if self._progress and wanted else ():
            if not job.is_final:
                self._cancel_quietly(job)

    def _run(self, context: Context, began: float) -> Any:
        self._memory = Memory(context, self.durable)
        deadline = self._deadline(began, began + self.timeout)
        self._hold_to(deadline)
        while True:
            try:
                progress = self._begin(context, began)
                break
            except ServiceFault as fault:
                self._pause(fault, deadline, {BEGAN: began})
        return self._go_on(context, progress)

    def _resume(self, context: Context, progress: Progress[J], event: dict[str, Any]) -> Any:
        outcome, seen, message = event["outcome"], event.get("job"), event.get("message")
        if outcome == outcomes.UNWATCHED:
            job = progress.pending[0] if progress.pending else None
            raise failures.unwatched(self.hook, job, message)
        if progress.blocker is not None:
            if outcome == outcomes.TIMEOUT:
                raise failures.blocked_too_long(self.hook, progress.blocker, message)
            progress.blocker = None if outcome == outcomes.ENDED else ""
            return self._go_on(context, progress)
        if progress.paused_for is not None:
            return self._go_on(context, progress)
        if seen:
            progress.pending[0] = self.job_from(seen)
        job = progress.pending[0]
        if outcome == outcomes.TIMEOUT:
            if self.cancel_on_timeout:
                self._cancel_quietly(job)
            raise self.hook.timed_out(job, message, self.deadline_of(progress).limit)
        if outcome == outcomes.GONE:
            raise failures.gone(self.hook, job)
        if outcome == outcomes.REFUSED:
            raise failures.refused(self.hook, job, message)
        return self._go_on(context, progress)

    # --- time ---

    def deadline_of(self, progress: Progress[J]) -> Deadline:
        """Return when the run has to be over."""
        return self._deadline(progress.started, progress.end_time)

    def _deadline(self, started: float, end_time: float) -> Deadline:
        # A task that waits in the worker is ended by Airflow itself.
        return Deadline.of(started, end_time, self.execution_timeout if self.deferrable else None)

    def _hold_to(self, deadline: Deadline) -> None:
        """Let no pause of the hook's last longer than the run may, or longer than a worker is to be held."""
        self.hook.deadline = deadline.at
        self.hook.patience = _LONGEST_HELD if self.deferrable else None

    def _pause(self, fault: ServiceFault, deadline: Deadline, carried: dict[str, Any]) -> None:
        """Wait as long as the service asked for, deferred if that is long, and no longer than the run may."""
        asked = fault.error.retry_after
        if not fault.error.can_repeat or not asked:
            raise fault
        if deadline.left <= 0:
            raise failures.paused_too_long(self.hook, str(fault), deadline.limit) from None
        pause = min(asked, deadline.left)
        self.log.info("%s asks for a pause of %.0f s: going on then. %s", self.hook.service, asked, fault)
        if self.deferrable and pause > _LONGEST_HELD:
            self._defer(PauseTrigger(time.time() + pause, carried), deadline)
        time.sleep(pause)

    @contextmanager
    def _naming_a_timeout(self) -> Iterator[None]:
        """Say what Airflow's own ``execution_timeout`` ended, and what becomes of the job."""
        try:
            yield
        except AirflowTaskTimeout as error:
            pending = self._progress.pending if self._progress else []
            raise failures.execution_timeout(
                self.hook, self.execution_timeout, pending, self.cancel_on_timeout
            ) from error

    # --- attach, take the result, or submit ---

    def _begin(self, context: Context, now: float) -> Progress[J]:
        """Return what an earlier try came to, or a fresh start."""
        fresh: Progress[J] = Progress(now, now + self.timeout, asked=self.asked())
        known = self._memory.recall()
        if known is None:
            self._count("fresh_submit")
            if self.durable and (self.finds_jobs or not self._memory.exists):
                fresh.tried_before = began_before(context)
            return fresh
        earlier: Progress[J] = Progress.from_dict(known, self.job_from)
        if earlier.asked != fresh.asked:
            self.log.warning(
                "An earlier try was asked for something else (%s): beginning anew", earlier.asked
            )
            return fresh
        self._count("reconnect_attempt")
        earlier.started, earlier.end_time = fresh.started, fresh.end_time
        earlier.blocker = earlier.paused_for = None
        earlier.pending = [job for job in map(self._still_good, earlier.pending) if job is not None]
        self.take_up(earlier, lost=len(earlier.pending) < len(known["pending"]))
        # Airflow clears a task's XComs when a new try begins.
        for job in earlier.jobs[-1:]:
            self.publish(context, job)
        return earlier

    def _still_good(self, job: J) -> J | None:
        """Look at a job of an earlier try: attach to it, take its result, or (None) submit anew."""
        name = self.hook.name_of(job.id)
        try:
            seen = self._look_twice(job)
        except ServiceRefusal as refusal:
            raise failures.refused(self.hook, job, str(refusal)) from None
        if seen is None:
            self.log.warning("%s of an earlier try is gone: submitting anew", name)
            self._count("terminal_resubmit")
            return None
        if seen.succeeded:
            self.log.info("%s of an earlier try has ended well: taking its result", name)
            self._count("already_succeeded")
        elif seen.is_final or self.is_ending(seen):
            self.log.warning("%s of an earlier try is %s: submitting anew", name, seen.status)
            self._count("terminal_resubmit")
            return None
        else:
            self.log.info("Reconnecting to %s of an earlier try: %s", name, seen.status)
            self._count("reconnect_success")
        return seen

    def _look_twice(self, job: J) -> J | None:
        """Look at a job that the service has known; it is gone when the service says so twice."""
        for pause in (SECONDS_BEFORE_GONE, None):
            try:
                return self.look_firmly(job)
            except ServiceRefusal as refusal:
                if not isinstance(refusal.error, NotFound):
                    raise
                if pause is not None:
                    self.log.warning("%s Looking once more before that is believed.", refusal)
                    time.sleep(pause)
        return None

    def _submit(self, submission: Submission[J], progress: Progress[J]) -> J | None:
        """Submit a job, unless it can be found; where another one is in the way, say so in the progress."""
        deadline = self.deadline_of(progress)
        if deadline.left <= 0:
            if progress.blocked:
                raise failures.blocked_too_long(self.hook, progress.last_blocker)
            raise failures.too_late(self.hook, deadline.limit, progress.jobs)
        for attempt in range(len(_PAUSES) + 1):
            since = progress.unsure_since
            found = None if since is None else self._find(submission, since, attempt)
            if found is not None:
                name = f": {self.hook.name_of(found.job.id)}" if found.job else ""
                self.log.info("It was submitted before%s", name or ", and nothing is left to do")
                progress.doubt = None
                return found.job
            progress.doubt = progress.doubt or time.time()
            self._memory.keep(progress)
            try:
                job = submission.send()
            except ServiceFault as fault:
                if isinstance(fault.error, Busy):
                    return self._busy(fault.error, since, progress)
                if fault.error.surely_undone:
                    if since is None or since == progress.tried_before:
                        progress.doubt = None
                        self._memory.keep(progress)
                    raise
                if attempt == len(_PAUSES) or fault.error.retry_after:
                    # What it asks for is waited for first; the doubt stays.
                    raise
                self.log.warning("Nobody knows whether that was done; looking again: %s", fault)
            else:
                if since is not None and job is not None:
                    self.submitted_again(job)
                progress.doubt = None
                return job
        raise AssertionError("unreachable")

    def _find(self, submission: Submission[J], since: float, attempt: int) -> Found[J] | None:
        """Look for a job that may have been submitted before, after the pauses that this attempt takes."""
        if not attempt:
            return submission.find(since)
        pauses = _PAUSES if submission.appears_late else _PAUSES[attempt - 1 : attempt]
        return found_in_time(lambda: submission.find(since), pauses, self.hook.deadline)

    def _busy(self, error: Busy, since: float | None, progress: Progress[J]) -> J | None:
        """Take the job that is in the way for ours, if it is; otherwise note that it has to end first."""
        running = error.running_task_id
        ours = self.adopt(running, error, since) if running and since is not None else None
        if ours is not None:
            self.log.info("%s was submitted by an earlier attempt: attaching", self.hook.name_of(ours.id))
            progress.doubt = None
            return ours
        if running or progress.unsure_since != since:
            # An older job runs, so an earlier attempt of ours was refused as this one is.
            progress.doubt = None
        if running:
            progress.tried_before = None
        other = self.hook.name_of(running) if running else f"a {self.hook.job_word} that it does not name"
        if running and running == progress.last_blocker:
            # It was waited for, and is over: there is nothing to watch.
            self.log.info("%s names %s again, though it was waited for", self.hook.service, other)
            progress.blocker = ""
        else:
            self.log.info("%s is busy with %s: waiting for its end", self.hook.service, other)
            progress.blocker = progress.last_blocker = running or ""
        progress.blocked += 1
        self._memory.keep(progress)
        return None

    # --- the run ---

    def _go_on(self, context: Context, progress: Progress[J]) -> Any:
        self._progress = progress
        deadline = self.deadline_of(progress)
        self._hold_to(deadline)
        if progress.paused_for is not None and deadline.left <= 0:
            raise failures.paused_too_long(self.hook, progress.paused_for, deadline.limit)
        progress.paused_for = None
        try:
            while True:
                try:
                    if self._advance(context, progress):
                        return self._finish(progress)
                except ServiceFault as fault:
                    progress.paused_for = str(fault)
                    self._pause(fault, deadline, progress.pack())
                    progress.paused_for = None
        finally:
            self.hook.close()

    def _advance(self, context: Context, progress: Progress[J]) -> bool:
        """Wait for what has to end, then submit the next step; True when there is nothing more to do."""
        if progress.blocker is not None:
            self._wait_for_blocker(progress)
        while progress.pending:
            job = progress.pending[0]
            if not job.is_final and not self.must_wait_for(job):
                return True
            self._settle(job if job.is_final else self._wait(job, progress), progress)
        return not self._submit_step(context, progress)

    def _submit_step(self, context: Context, progress: Progress[J]) -> bool:
        """Submit the jobs of the next step; False when there is no next step."""
        is_step = False
        for submission in self.submit_next(progress):
            is_step = True
            job = self._submit(submission, progress)
            if progress.blocker is not None:
                return True
            progress.handled += 1
            if job is not None:
                progress.pending.append(job)
                self._memory.keep(progress)
                self.publish(context, job)
                self.log.info("%s is under way: %s", self.hook.name_of(job.id), job.status)
        return is_step

    def _finish(self, progress: Progress[J]) -> Any:
        self.hook.deadline = max(progress.end_time, time.time() + _TO_FINISH)
        result = self.result(progress)
        self._memory.forget()
        return result

    def _wait_for_blocker(self, progress: Progress[J]) -> None:
        """Wait until another job has ended, however it ends."""
        running, deadline = progress.blocker, self.deadline_of(progress)
        if deadline.left <= 0:
            raise failures.blocked_too_long(self.hook, progress.blocker)
        if not running:
            pause = min(_FIRST_PAUSE * 2 ** min(progress.blocked, 10), self.poll_interval, deadline.left)
            if self.deferrable:
                self._defer(PauseTrigger(time.time() + pause, progress.pack()), deadline)
            time.sleep(pause)
        elif self.deferrable:
            trigger = self.trigger_for(self.job_of(running), progress, is_ours=False)
            self._defer(trigger, deadline)
        else:
            wait = Wait(self.hook.name_of(running), self.poll_interval, progress.end_time)
            other = self.job_of(running)
            try:
                self.hook.wait_for(lambda: self.look(other), other, wait)
            except JobTimeout:
                raise failures.blocked_too_long(self.hook, progress.blocker, wait.story) from None
            except ServiceRefusal as refusal:
                # It is another's, so perhaps not to be seen: ask again after a pause.
                self.log.info("%s can't be watched: %s", self.hook.name_of(running), refusal)
                progress.blocker = ""
                return self._wait_for_blocker(progress)
        progress.blocker = None
        return None

    def _wait(self, job: J, progress: Progress[J]) -> J:
        if self.deferrable:
            self._defer(self.trigger_for(job, progress), self.deadline_of(progress))
        wait = Wait(self.hook.name_of(job.id), self.poll_interval, progress.end_time, is_known=True)
        try:
            limit = self.deadline_of(progress).limit
            return self.hook.wait_for(lambda: self.look(job), job, wait, limit)
        except ServiceRefusal as refusal:
            if isinstance(refusal.error, NotFound):
                raise failures.gone(self.hook, job) from None
            raise failures.refused(self.hook, job, str(refusal)) from None
        except JobTimeout:
            if self.cancel_on_timeout:
                self._cancel_quietly(job)
            raise

    def _defer(self, trigger: BaseTrigger, deadline: Deadline) -> None:
        self.defer(trigger=trigger, method_name="execute_complete", timeout=deadline.of_deferral)

    def _settle(self, job: J, progress: Progress[J]) -> None:
        if not job.succeeded:
            raise self.failure(job)
        self.log.info("%s ended well: %s", self.hook.name_of(job.id), job.status)
        progress.done.append(job)
        progress.pending.pop(0)
        self._memory.keep(progress)

    def _nobody_looked(self, context: Context, failure: outcomes.DeferralFailure) -> JobError:
        """Return the error for a deferral that Airflow ended, and deal with the jobs as after any timeout."""
        known = Memory(context, self.durable).recall()
        progress = Progress.from_dict(known, self.job_from) if known else None
        job = progress.pending[0] if progress and progress.pending else None
        if not failure.is_timeout:
            return failures.unwatched(self.hook, job, failure.message)
        if self.cancel_on_timeout:
            for one in progress.pending if progress else ():
                self._cancel_quietly(one)
        limit = self.deadline_of(progress).limit if progress else "timeout"
        return failures.nobody_looked(self.hook, job, limit)

    def _count(self, what: str) -> None:
        """Emit the metrics that Airflow's own resumable operators emit; they came with the store."""
        if self._memory.exists:
            Stats.incr(f"resumable_job.{what}", tags={"operator": type(self).__name__})

    def _cancel_quietly(self, job: J) -> None:
        try:
            self.cancel(job)
        except Exception as error:  # noqa: BLE001 (the task ends anyway, for another reason)
            self.log.warning("Could not cancel %s: %s", self.hook.name_of(job.id), error)


def found_in_time(
    find: Callable[[], Found[J] | None], pauses: Sequence[float] = _PAUSES, deadline: float | None = None
) -> Found[J] | None:
    """
    Look for a job after each of these pauses (in seconds), until it is there; None if it is not.

    :param deadline: when pauses end, in epoch seconds; what is left to be looked for is looked for at once
    """
    for pause in pauses:
        time.sleep(pause if deadline is None else max(min(pause, deadline - time.time()), 0.0))
        if (found := find()) is not None:
            return found
    return None


def seconds_of(value: float, parameter: str) -> float:
    """Return a parameter in seconds, or raise ``ValueError`` where it is not above 0."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{parameter} must be a number of seconds above 0; got {value!r}")
    return value
