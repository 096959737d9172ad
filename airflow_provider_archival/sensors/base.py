"""What the sensors share: one look as a poke, or a deferral to the trigger."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_archival.api.http import ApiError, NotFound
from airflow_provider_archival.api.jobs import JobKind
from airflow_provider_archival.api.polling import Wait
from airflow_provider_archival.exceptions import BadInput, WatchedJobFailed, WatchRefused
from airflow_provider_archival.hooks.lookup import class_at, hook_for
from airflow_provider_archival.operators import failures
from airflow_provider_archival.operators.deadlines import Deadline
from airflow_provider_archival.operators.parsing import id_text_of
from airflow_provider_archival.triggers import base as outcomes
from airflow_provider_archival.triggers.base import PauseTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_archival.api.polling import Job
    from airflow_provider_archival.hooks.base import ServiceHook

_BEGAN = "began"
"""What a pause before the wait carries: when the sensor began, in epoch seconds."""


class JobSensor(BaseSensorOperator):
    """
    Wait for one job of a service to end well; a subclass says of which kind it is.

    :param deferrable: wait in the triggerer; otherwise as ``mode`` says
    """

    kind: ClassVar[JobKind[Any]]

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self._asked: float | None = None
        """The pause that the service asked for at the last poke, in seconds."""

    @cached_property
    def hook(self) -> ServiceHook:
        return hook_for(self.kind, getattr(self, self.kind.conn_key))

    def job_id(self) -> str:
        """Return the job's id, read from the parameter."""
        try:
            return self.kind.id_of(id_text_of(getattr(self, self.kind.id_key), self.kind.id_key))
        except ValueError as error:
            raise BadInput(f"{self.kind.id_key}: {error}") from None

    @cached_property
    def _story(self) -> Wait:
        return Wait(self.hook.name_of(self.job_id()), self.poke_interval, time.time() + self.timeout)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once; a fault that may pass counts as: not yet."""
        self._asked = None
        look = self.kind.looker(self.kind.unseen(self.job_id()))
        try:
            job = self.hook.follow(look(), attempts=1)
        except ApiError as error:
            if self._story.ends_with(error):
                said = str(self.hook.in_airflows_terms(error))
                raise self._refused(said, isinstance(error, NotFound)) from None
            self._asked = error.retry_after
            if line := self._story.failed(error):
                self.log.warning("%s", line)
            return False
        if line := self._story.saw(job):
            self.log.info("%s", line)
        return PokeReturnValue(True, self._value(job)) if job.is_final else False

    def execute(self, context: Context) -> Any:
        try:
            if not self.deferrable:
                return super().execute(context)
            first = self._first_poke(context)
            if isinstance(first, PokeReturnValue):
                return first.xcom_value
            self._defer(time.time())
        finally:
            self.hook.close()

    def _defer(self, began: float) -> None:
        """Wait in the triggerer; where the service has asked for a pause, that comes first."""
        deadline = self._deadline(began)
        trigger: BaseTrigger = class_at(self.kind.trigger).watching(
            self.kind.unseen(self.job_id()),
            conn_id=getattr(self, self.kind.conn_key),
            poll_interval=self.poke_interval,
            end_time=deadline.at,
        )
        if self._asked:
            trigger = PauseTrigger(min(time.time() + self._asked, deadline.at), {_BEGAN: began})
        self.defer(trigger=trigger, method_name="execute_complete", timeout=deadline.of_deferral)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after the deferral, with the trigger's event."""
        outcome, message = event["outcome"], event.get("message")
        if event.get("carried"):
            # A pause is over.
            self._asked = None
            self._defer(event["carried"][_BEGAN])
        if outcome == outcomes.ENDED:
            return self._value(self.kind.read(event["job"]))
        if outcome == outcomes.TIMEOUT:
            raise self._softened(self._timed_out(message or ""))
        if outcome == outcomes.UNWATCHED:
            job = self.kind.read(event["job"]) if event.get("job") else None
            raise failures.unwatched(self.hook, job, message)
        raise self._refused(str(message), outcome == outcomes.GONE)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the deferral; where Airflow gave up on the triggerer, say so and what to do."""
        failure = outcomes.failure_of(next_method, next_kwargs)
        if failure is None:
            return super().resume_execution(next_method, next_kwargs, context)
        for line in failure.traceback:
            self.log.error("%s", line)
        error: BaseException = (
            self._timed_out(
                "No triggerer looked before the time was up: check that one is running and keeps up."
            )
            if failure.is_timeout
            else failures.unwatched(self.hook, None, failure.message)
        )
        raise self._softened(error)

    def _softened(self, error: BaseException) -> BaseException:
        """Return what ``soft_fail`` and ``never_fail`` make of an error."""
        if self.soft_fail or self.never_fail:
            return AirflowSkipException(f"Skipped, as soft_fail or never_fail says: {error}")
        return error

    def _deadline(self, started: float) -> Deadline:
        return Deadline.of(started, started + self.timeout, self.execution_timeout)

    def _timed_out(self, story: str) -> BaseException:
        """Return the error for a wait that was too long; it is retried after ``execution_timeout`` only."""
        deadline = self._deadline(0.0)
        kind = AirflowTaskTimeout if deadline.is_airflows else AirflowSensorTimeout
        return kind(
            f"{self.hook.name_of(self.job_id())} did not end within the sensor's {deadline.limit};"
            f" {story[:1].lower()}{story[1:].rstrip('.')}. It goes on at {self.hook.service}."
        )

    def _get_next_poke_interval(
        self, started_at: Any, run_duration: Callable[[], float], *more: Any, **how: Any
    ) -> float:
        """Return the pause before the next poke: Airflow's, or what the service asked for."""
        usual = super()._get_next_poke_interval(started_at, run_duration, *more, **how)
        return max(usual, min(self._asked or 0.0, max(self.timeout - run_duration(), 0.0)))

    def _first_poke(self, context: Context) -> bool | PokeReturnValue:
        """Poke before a deferral; ``soft_fail`` and ``never_fail`` hold as in Airflow's own loop."""
        try:
            return self.poke(context)
        except AirflowFailException as error:
            raise self._softened(error) from None

    def _value(self, job: Job) -> dict[str, Any]:
        name = self.hook.name_of(job.id)
        if not job.succeeded:
            raise WatchedJobFailed(
                f"{name} ended {job.status}. {self.hook.service} says: {job.said}. Watching it again can't"
                " change that: clear the task that submitted it.",
                job.to_dict(),
            )
        self.log.info("%s ended well: %s", name, job.status)
        return job.to_dict()

    def _refused(self, message: str, is_gone: bool) -> Exception:
        job = {"id": self.job_id()}
        kind = WatchedJobFailed if is_gone else WatchRefused
        return kind(f"{self.hook.name_of(self.job_id())} can't be watched. {message}", job)
