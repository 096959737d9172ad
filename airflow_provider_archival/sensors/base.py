"""What the sensors share: one look as a poke, or a deferral to the trigger."""

from __future__ import annotations

import time
from abc import abstractmethod
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_archival.api.http import NotFound
from airflow_provider_archival.api.polling import Wait
from airflow_provider_archival.exceptions import ServiceFault, ServiceRefusal, WatchedJobFailed, WatchRefused
from airflow_provider_archival.triggers import base as outcomes

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_archival.api.polling import Job
    from airflow_provider_archival.hooks.base import ServiceHook
    from airflow_provider_archival.triggers.base import JobTrigger

_BACKSTOP = 60.0


class JobSensor(BaseSensorOperator):
    """
    Wait for one job of a service to end well.

    :param deferrable: wait in the triggerer; otherwise as ``mode`` says
    """

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable

    @abstractmethod
    def make_hook(self) -> ServiceHook:
        """Return the hook to look with."""

    @abstractmethod
    def job_id(self) -> str:
        """Return the job's id, read from the parameter."""

    @abstractmethod
    def look(self) -> Job:
        """Look at the job once."""

    @abstractmethod
    def job_from(self, values: dict[str, Any]) -> Job:
        """Read a job back from its dict."""

    @abstractmethod
    def trigger(self, end_time: float) -> JobTrigger:
        """Return the trigger that watches the job."""

    @cached_property
    def hook(self) -> ServiceHook:
        return self.make_hook()

    @cached_property
    def _story(self) -> Wait:
        return Wait(self.hook.name_of(self.job_id()), self.poke_interval, time.time() + self.timeout)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once; a fault that may pass counts as: not yet."""
        try:
            job = self.look()
        except ServiceRefusal as refusal:
            raise self._refused(str(refusal), isinstance(refusal.error, NotFound)) from None
        except ServiceFault as fault:
            if line := self._story.failed(fault.error):
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
            self.defer(
                trigger=self.trigger(time.time() + self.timeout),
                method_name="execute_complete",
                timeout=timedelta(seconds=self.timeout + _BACKSTOP),
            )
        finally:
            self.hook.close()

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on after the deferral, with the trigger's event."""
        outcome = event["outcome"]
        if outcome == outcomes.ENDED:
            return self._value(self.job_from(event["job"]))
        if outcome == outcomes.TIMEOUT:
            status = event["job"]["status"] if event.get("job") else "not to be seen"
            raise AirflowSensorTimeout(
                f"{self.hook.name_of(self.job_id())} did not end within the sensor's timeout of"
                f" {self.timeout:g} s; it was {status} when last looked at, and goes on."
            )
        raise self._refused(event["message"], outcome == outcomes.GONE)

    def _first_poke(self, context: Context) -> bool | PokeReturnValue:
        """Poke before a deferral; ``soft_fail`` and ``never_fail`` hold as in Airflow's own loop."""
        try:
            return self.poke(context)
        except AirflowFailException as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped, as soft_fail or never_fail says: {error}") from error
            raise

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
