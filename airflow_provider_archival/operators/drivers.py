"""The two ways to run a plan in Airflow: waiting in the worker, or deferred. All else they do alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_archival.api.flow import Flow
from airflow_provider_archival.api.http import ApiError
from airflow_provider_archival.api.jobs import JobKind
from airflow_provider_archival.api.polling import ENDED, Outcome, Wait, watch
from airflow_provider_archival.engine.driver import BLOCKED, PAUSED, BadEnd
from airflow_provider_archival.engine.state import Run, Unreadable, checked, write
from airflow_provider_archival.exceptions import ResultNotKept, ServiceFault, StateNotKept
from airflow_provider_archival.hooks.lookup import class_at
from airflow_provider_archival.operators.memory import Memory, began_before
from airflow_provider_archival.triggers.base import PauseTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_archival.operators.base import PlanOperator
    from airflow_provider_archival.plans.base import Plan

log = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0
# The longest pause that a task holds a worker for, in seconds, where it can be deferred.
_LONGEST_HELD = 30.0
# What comes after the last job, such as a count of what is left, has so many seconds, however late it is.
_TO_FINISH = 60.0


class InWorker:
    """
    Does what a run asks for, and waits in this process.

    :param task: the operator
    :param context: the task's context
    :param plan: what it runs
    :param run: the run as it stands
    """

    patience: float | None = None
    """The longest pause, in seconds, for which this process is held; None for any."""

    def __init__(
        self, task: PlanOperator, context: Context, plan: Plan[Any, Any, Any], run: Run[Any, Any]
    ) -> None:
        self.task, self.context, self.plan = task, context, plan
        self.hook = task.hook
        self.memory = Memory(context, task.durable, run.started, has_chunks=task.has_chunks)
        self.deadline = task.deadline_of(run)
        self.hook.deadline, self.hook.patience = self.deadline.at, self.patience
        self._unkept: Run[Any, Any] | None = None

    @property
    def waits(self) -> bool:
        return self.task.wait_for_completion

    def now(self) -> float:
        return time.time()

    def served_at(self) -> float | None:
        return self.hook.served_at

    def left(self, run: Run[Any, Any]) -> float:
        return self.deadline.left

    # --- talks ---

    def follow(self, flow: Flow[Any], *, may_start: bool = False) -> Any:
        return self.hook.follow(flow, may_start=may_start, sleep=self._sleep)

    def send_all(self, flows: Iterable[tuple[Any, Flow[Any]]], at_once: int) -> Iterator[tuple[Any, Any]]:
        if at_once == 1:
            for what, flow in flows:
                yield what, self.follow(flow)
            return
        waiting, failure = iter(flows), None
        with ThreadPoolExecutor(at_once) as threads:
            running: dict[Future[Any], Any] = {}
            while True:
                # After a failure nothing is begun any more; what is under way is awaited and kept.
                for what, flow in islice(waiting, 0 if failure else at_once - len(running)):
                    running[threads.submit(self.follow, flow)] = what
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    what, error = running.pop(future), future.exception()
                    failure = failure or error
                    if error is None:
                        yield what, future.result()
        if failure is not None:
            raise failure

    def _sleep(self, seconds: float) -> None:
        self._keep_again()
        time.sleep(max(min(seconds, self.deadline.left), 0.0))

    def words_of(self, error: ApiError) -> str:
        return str(self.hook.in_airflows_terms(error))

    def prepare(self) -> None:
        self.task.prepare()

    # --- what is remembered ---

    def recall(self, fresh: Run[Any, Any]) -> Run[Any, Any]:
        kept, known = self.memory.recall(), None
        if kept is None:
            self.counted("fresh_submit")
            if self.task.durable and (self.plan.lists_jobs or not self.memory.exists):
                since = fresh.tried_before
                return _tried(fresh, began_before(self.context) if since is None else since)
            return fresh
        try:
            known = self.task.read(self.plan, kept, lambda: fresh)
            known = checked(self.plan, known) if known.asked == fresh.asked else known
        except Unreadable as why:
            log.warning(
                "What an earlier try of this task has kept can't be read (%s): looking at %s instead",
                *(why, self.hook.service),
            )
            return self._claimed(_tried(fresh, began_before(self.context, is_begun=True)))
        if known.asked != fresh.asked:
            log.warning("An earlier try was asked for something else (%s): beginning anew", known.wanted)
            return self._claimed(fresh)
        self.counted("reconnect_attempt")
        return self._claimed(_taken_over(known, fresh))

    def _claimed(self, run: Run[Any, Any]) -> Run[Any, Any]:
        """Let an earlier try that is still alive see that it is over."""
        self.remember(run)
        return run

    def remember(self, run: Run[Any, Any], *, must: bool = False) -> None:
        try:
            self.memory.keep(write(self.plan, run))
        except StateNotKept as error:
            if must:
                raise StateNotKept(f"Nothing was submitted. {error}") from error
            if self._unkept is None:
                log.warning("%s It is tried again with each look.", error)
            self._unkept = run
        else:
            self._unkept = None

    def _keep_again(self) -> None:
        if self._unkept is not None:
            with suppress(StateNotKept):
                self.memory.keep(write(self.plan, self._unkept))
                self._unkept = None

    def forget(self) -> None:
        try:
            self.memory.forget()
        except StateNotKept as error:
            log.warning("%s", error)

    # --- what is told ---

    def started(self, kind: JobKind[Any], job: Any, *, is_new: bool) -> None:
        if is_new:
            log.info("%s is under way: %s", kind.name_of(job.id), job.status)

    def published(self, kind: JobKind[Any], job: Any) -> None:
        if not kind.has_id:
            return
        try:
            # Airflow clears a task's XComs when a new try begins.
            self.context["ti"].xcom_push(key=kind.id_key, value=job.id)
        except Exception as error:  # noqa: BLE001 (who looks there can do without; the job goes on)
            name = kind.name_of(job.id)
            log.warning("XCom does not take the id of %s (%s: %s)", name, type(error).__name__, error)

    def counted(self, what: str) -> None:
        """Emit the metrics that Airflow's own resumable operators emit; they came with the store."""
        if self.memory.exists:
            Stats.incr(f"resumable_job.{what}", tags={"operator": type(self.task).__name__})

    # --- waiting ---

    def wait(self, run: Run[Any, Any], job: Any) -> Outcome[Any]:
        kind = self.plan.kind_of(job)
        wait = Wait(kind.name_of(job.id), self.task.poll_interval, run.end_time, is_known=True)
        return self._watched(kind, job, wait)

    def wait_for_other(self, run: Run[Any, Any]) -> Outcome[Any]:
        if self.left(run) <= 0:
            raise BadEnd(BLOCKED)
        if not run.blocker:
            return self._wait_a_while(run)
        kind = self.plan.kinds[0]
        wait = Wait(kind.name_of(run.blocker), self.task.poll_interval, run.end_time)
        return self._watched(kind, kind.unseen(run.blocker), wait)

    def _watched(self, kind: JobKind[Any], job: Any, wait: Wait) -> Outcome[Any]:
        flow = watch(kind.looker(job), job, wait)
        outcome: Outcome[Any] = self.hook.follow(flow, attempts=1, sleep=self._sleep)
        return outcome

    def _wait_a_while(self, run: Run[Any, Any]) -> Outcome[Any]:
        time.sleep(self._pause_behind_other(run))
        return Outcome(ENDED)

    def _pause_behind_other(self, run: Run[Any, Any]) -> float:
        """Return the pause, in seconds, where nobody tells what has to end first."""
        growing = _FIRST_PAUSE * 2.0 ** min(run.blocked, 10)
        return min(growing, float(self.task.poll_interval), self.left(run))

    def pause(self, run: Run[Any, Any], error: ApiError) -> None:
        asked = error.retry_after
        if not error.can_repeat or not asked:
            raise error
        if self.left(run) <= 0:
            raise BadEnd(PAUSED, message=run.paused_for or "")
        pause = min(asked, self.left(run))
        log.info("%s asks for a pause of %.0f s: going on then. %s", self.hook.service, asked, run.paused_for)
        self._pause_for(pause, run)

    def _pause_for(self, seconds: float, run: Run[Any, Any]) -> None:
        time.sleep(seconds)

    # --- the end ---

    def finishing(self, run: Run[Any, Any]) -> None:
        self.hook.deadline = max(run.end_time, time.time() + _TO_FINISH)

    def finish(self, run: Run[Any, Any], result: dict[str, Any]) -> Any:
        try:
            result = self.task.finish(result, run, self)
        except ServiceFault as fault:
            if fault.error.can_repeat and fault.error.retry_after:
                # What it asks for is waited for.
                raise fault.error from None
            raise
        if self.memory.exists and self.task.do_xcom_push:
            self.push("return_value", result)
        return result

    def push(self, key: str, value: Any) -> None:
        """Hand something over to XCom, before what it was made of is forgotten."""
        try:
            self.context["ti"].xcom_push(key=key, value=value)
        except Exception as error:
            raise ResultNotKept(
                f"The work is done, but XCom does not take the result ({type(error).__name__}: {error})."
                " What to do: see what the XCom backend says. Nothing is forgotten: a retry hands over the"
                " same result, and does nothing twice."
            ) from error


class Deferring(InWorker):
    """The same, but waits by leaving the worker: Airflow goes on with ``execute_complete``."""

    patience = _LONGEST_HELD

    def wait(self, run: Run[Any, Any], job: Any) -> Outcome[Any]:
        self._defer_to(run, job, cancels=self.task.cancel_on_kill)

    def wait_for_other(self, run: Run[Any, Any]) -> Outcome[Any]:
        if run.blocker and self.left(run) > 0:
            self._defer_to(run, self.plan.kinds[0].unseen(run.blocker), cancels=False)
        return super().wait_for_other(run)

    def _wait_a_while(self, run: Run[Any, Any]) -> Outcome[Any]:
        self._defer(PauseTrigger(time.time() + self._pause_behind_other(run), write(self.plan, run)))

    def _pause_for(self, seconds: float, run: Run[Any, Any]) -> None:
        if seconds > _LONGEST_HELD:
            self._defer(PauseTrigger(time.time() + seconds, write(self.plan, run)))
        super()._pause_for(seconds, run)

    def _defer_to(self, run: Run[Any, Any], job: Any, *, cancels: bool) -> NoReturn:
        """Leave, and let the triggerer watch a job."""
        kind = self.plan.kind_of(job)
        trigger = class_at(kind.trigger).watching(
            job,
            conn_id=self.task.conn_id,
            poll_interval=self.task.poll_interval,
            end_time=self.deadline.at,
            cancel_on_kill=cancels,
            carried=write(self.plan, run),
        )
        self._defer(trigger)

    def _defer(self, trigger: BaseTrigger) -> NoReturn:
        self._keep_again()
        self.task.defer(trigger=trigger, method_name="execute_complete", timeout=self.deadline.of_deferral)
        raise AssertionError("unreachable")


def _tried(run: Run[Any, Any], since: float | None) -> Run[Any, Any]:
    return replace(run, tried_before=since)


def _taken_over(known: Run[Any, Any], fresh: Run[Any, Any]) -> Run[Any, Any]:
    """Return an earlier try's run as this one goes on with it."""
    return replace(
        known,
        started=fresh.started,
        end_time=fresh.end_time,
        writer=fresh.writer,
        blocker=None,
        blocked=0,
        last_blocker=None,
        is_suspect=False,
        paused_for=None,
    )
