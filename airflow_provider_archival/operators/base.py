"""What all operators share: parameters that Airflow gives, a plan made of them, an engine that runs it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, BaseOperator, conf

from airflow_provider_archival.api.http import ApiError
from airflow_provider_archival.api.polling import ENDED, GONE, REFUSED, TIMEOUT, UNWATCHED, Outcome
from airflow_provider_archival.engine.driver import BadEnd
from airflow_provider_archival.engine.run import Engine
from airflow_provider_archival.engine.state import Run, Unreadable, asked_of, checked, read
from airflow_provider_archival.hooks.lookup import hook_for
from airflow_provider_archival.operators import failures, older
from airflow_provider_archival.operators.deadlines import LONGEST, Deadline
from airflow_provider_archival.operators.drivers import Deferring, InWorker
from airflow_provider_archival.operators.memory import Memory, began_before
from airflow_provider_archival.plans.base import Plan, Stop
from airflow_provider_archival.triggers import base as triggers

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_archival.api.jobs import JobKind
    from airflow_provider_archival.exceptions import JobError
    from airflow_provider_archival.hooks.base import ServiceHook


class PlanOperator(BaseOperator):
    """
    Run a plan: a subclass says which (:meth:`plan`), and perhaps what is left to do with its result.

    :param durable: go on in a retry where an earlier try stopped; False always begins anew
    """

    kind: ClassVar[JobKind[Any]]
    """The kind of the service's jobs: it names the connection's parameter and the hook."""
    wait_for_completion, deferrable, cancel_on_timeout, cancel_on_kill = True, False, False, False
    poll_interval = 30.0
    timeout = 24 * 60 * 60.0
    has_chunks: ClassVar[bool] = False
    """Whether version 1 kept such a task's state in chunks."""

    def __init__(self, *, durable: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.durable = durable
        self._engine: Engine[Any, Any, Any] | None = None
        self._plan: Plan[Any, Any, Any] | None = None

    # --- what a subclass says ---

    def plan(self) -> Plan[Any, Any, Any]:
        """Read the parameters, and return what is to be done; raises ``BadInput`` before anything is sent."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Try what can be tried before anything is started."""

    def finish(self, result: dict[str, Any], run: Run[Any, Any], driver: InWorker) -> Any:
        """Do what is left to do with a result; nothing is forgotten before that."""
        return result

    # --- the run ---

    @property
    def conn_id(self) -> str:
        conn_id: str = getattr(self, self.kind.conn_key)
        return conn_id

    @cached_property
    def hook(self) -> ServiceHook:
        return hook_for(self.kind, self.conn_id)

    def execute(self, context: Context) -> Any:
        self._plan = None
        with self._in_airflows_terms():
            return self._made(context, time.time()).go_on()

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after a deferral, with the trigger's event."""
        carried = event.get("carried")
        with self._in_airflows_terms():
            if (began := older.began(carried)) is not None:
                return self._made(context, began).go_on()
            plan = self._planned()
            try:
                run = self.read(plan, carried, lambda: self._fresh(context, plan, time.time()))
                checked(plan, run)
            except Unreadable as why:
                self.log.warning("What the trigger carried can't be read (%s): looking again", why)
                run = self._fresh(context, plan, time.time())
                run = replace(run, tried_before=began_before(context, is_begun=True))
                return self._made(context, run.started, run).go_on()
            return self._made(context, run.started, run).go_on(self._outcome(plan, run, event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral; where Airflow gave up on the triggerer, say so and what to do."""
        failure = triggers.failure_of(next_method, next_kwargs)
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
        engine = self._engine
        if engine is not None and (self.cancel_on_timeout if is_late else self.cancel_on_kill):
            driver = engine.driver
            assert isinstance(driver, InWorker)
            self._cancel_quietly(engine.plan, engine.run.pending, driver.memory)

    def read(self, plan: Plan[Any, Any, Any], kept: Any, fresh: Callable[[], Run[Any, Any]]) -> Run[Any, Any]:
        """
        Read what was kept, in this version or an older one.

        :param fresh: the run as it would begin now

        :raises Unreadable: it is in neither
        """
        if older.is_older(kept):
            return older.read(self, plan, kept, fresh())
        return read(plan, kept)

    def _made(
        self, context: Context, started: float, run: Run[Any, Any] | None = None
    ) -> Engine[Any, Any, Any]:
        """Return the engine of this try."""
        plan = self._planned()
        run = run or self._fresh(context, plan, started)
        kind = Deferring if self.deferrable else InWorker
        self._engine = Engine(plan, kind(self, context, plan, run), run)
        return self._engine

    def _planned(self) -> Plan[Any, Any, Any]:
        # Read once: some lists can't be read again, and nobody wants a warning twice.
        self._plan = self._plan or self.plan()
        return self._plan

    def _fresh(self, context: Context, plan: Plan[Any, Any, Any], started: float) -> Run[Any, Any]:
        """Return a run of which nothing has come yet."""
        asked, wanted = asked_of(plan, self.conn_id, self.hook.base_url)
        return Run(asked, wanted, started, started + self.timeout, writer=context["ti"].try_number)

    @staticmethod
    def _outcome(plan: Plan[Any, Any, Any], run: Run[Any, Any], event: dict[str, Any]) -> Outcome[Any]:
        """Read a trigger's event."""
        is_ours = run.blocker is None and run.pending
        kind = plan.kind_of(run.pending[0]) if is_ours else plan.kinds[0]
        try:
            job = kind.read(event["job"]) if event.get("job") else None
        except Exception:  # noqa: BLE001 (a triggerer of another version may have written anything)
            return _unread()
        is_known = event.get("outcome") in (ENDED, TIMEOUT, REFUSED, GONE, UNWATCHED)
        if not is_known or (is_ours and job is None and event["outcome"] == ENDED):
            return _unread()
        return Outcome(event["outcome"], job, event.get("message") or "")

    def deadline_of(self, run: Run[Any, Any]) -> Deadline:
        """Return when a run has to be over."""
        # A task that waits in the worker is ended by Airflow itself.
        return Deadline.of(run.started, run.end_time, self.execution_timeout if self.deferrable else None)

    # --- how it ends ---

    @contextmanager
    def _in_airflows_terms(self) -> Iterator[None]:
        """Name the exception that Airflow knows what to do with, and say what to do."""
        try:
            yield
        except Stop as stop:
            raise failures.stopped(stop) from None
        except BadEnd as end:
            raise self._ended(end) from None
        except ApiError as error:
            raise self.hook.in_airflows_terms(error) from None
        except AirflowTaskTimeout as error:
            pending = self._engine.run.pending if self._engine else ()
            raise failures.execution_timeout(
                self.hook, self.execution_timeout, pending, self.cancel_on_timeout
            ) from error
        finally:
            if "hook" in vars(self):
                self.hook.close()

    def _ended(self, end: BadEnd) -> Exception:
        """Return the exception for a bad end; a job of ours that is late is cancelled where wanted."""
        engine = self._engine
        assert engine is not None
        if end.how == TIMEOUT and self.cancel_on_timeout:
            driver = engine.driver
            assert isinstance(driver, InWorker)
            self._cancel_quietly(engine.plan, (end.job,), driver.memory)
        return failures.ended(end, self.hook, engine.run, self.deadline_of(engine.run).limit)

    def _nobody_looked(self, context: Context, failure: triggers.DeferralFailure) -> JobError:
        """Return the error for a deferral that Airflow ended, and deal with the jobs as after any timeout."""
        plan, now = self._planned(), time.time()
        fresh: Run[Any, Any] = Run("", "", now, now + self.timeout)
        memory = Memory(context, self.durable, now, has_chunks=self.has_chunks)
        kept = memory.recall()
        try:
            run = fresh if kept is None else self.read(plan, kept, lambda: fresh)
        except Unreadable:
            run = fresh
        job = run.pending[0] if run.pending else None
        if not failure.is_timeout:
            return failures.unwatched(self.hook, job, failure.message)
        if self.cancel_on_timeout:
            self._cancel_quietly(plan, run.pending, memory)
        limit = self.deadline_of(run).limit if kept is not None else "timeout"
        return failures.nobody_looked(self.hook, job, limit)

    def _cancel_quietly(self, plan: Plan[Any, Any, Any], jobs: Sequence[Any], memory: Memory) -> None:
        """Cancel jobs of ours, where the service can; the task ends anyway, for another reason."""
        if memory.is_overtaken:
            self.log.warning("A later try of this task goes on with the job: it is not cancelled")
            return
        for job in jobs:
            kind = plan.kind_of(job)
            if job.is_final:
                continue
            if kind.cancel is None:
                self.log.warning("%s can't be cancelled; it goes on", kind.name_of(job.id))
                continue
            try:
                is_asked = self.hook.follow(kind.cancel(job))
            except Exception as error:  # noqa: BLE001 (see above)
                self.log.warning("Could not cancel %s: %s", kind.name_of(job.id), error)
            else:
                said = "Asked %s to cancel %s %s" if is_asked else "%s: %s %s had ended already"
                self.log.info(said, kind.service, kind.word, job.id)


class JobOperator(PlanOperator):
    """
    Submit jobs to a service one step after the other, and wait for each in the worker or deferred.

    The id of a job is in XCom as soon as the service has given it.

    :param wait_for_completion: wait until the jobs end; otherwise return as soon as they are submitted
    :param deferrable: wait in the triggerer instead of in the worker
    :param poll_interval: the longest pause between two looks at a job, in seconds; a wait begins with
        pauses of a second, and they get short again when the service's own progress says that the end is near
    :param timeout: seconds that the whole wait may take; then the task fails and the job goes on
    :param cancel_on_kill: cancel the running job when the task is killed
    :param cancel_on_timeout: cancel the running job when ``timeout`` has passed
    :param durable: go on in a retry where an earlier try stopped; False always submits anew
    """

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


def _unread() -> Outcome[Any]:
    return Outcome(UNWATCHED, message="its event can't be read, so perhaps it is of another version.")


def seconds_of(value: float, parameter: str) -> float:
    """Return a parameter in seconds, or raise ``ValueError`` where it is not above 0, or beyond ten years."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{parameter} must be a number of seconds above 0; got {value!r}")
    if value > LONGEST:
        raise ValueError(f"{parameter} must be at most {LONGEST:.0f} seconds (ten years); got {value!r}")
    return value
