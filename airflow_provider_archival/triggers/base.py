"""The one polling loop of the triggerer, and the events that it ends with."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_archival.api.http import NotFound
from airflow_provider_archival.api.polling import Wait
from airflow_provider_archival.exceptions import ServiceFault

if TYPE_CHECKING:
    from airflow_provider_archival.api.polling import Job
    from airflow_provider_archival.hooks.base import ServiceHook

ENDED, TIMEOUT, REFUSED, GONE = "ended", "timeout", "refused", "gone"
"""How a wait can end: the job ended, time is up, the service refuses to tell, or does not know the job."""


class JobTrigger(BaseTrigger):
    """
    Watch one job until it ends or the time is up, through any number of passing faults.

    Yields one event, a plain dict: ``outcome`` (``ended``, ``timeout``, ``refused`` or ``gone``), ``job``
    (as it was seen last, or None), ``message`` (for ``refused`` and ``gone``), ``carried``. A restart of the
    triggerer begins the watch again with the same deadline and cancels nothing.

    :param conn_id: the Airflow connection
    :param job_id: the job
    :param poll_interval: the longest pause between two looks, in seconds
    :param end_time: when to give up, in epoch seconds
    :param carried: plain data that comes back with the event. (Not in the deferral's ``kwargs``: ``dag.test``
        and ``airflow dags test`` drop those.)
    """

    def __init__(
        self,
        conn_id: str,
        job_id: str,
        poll_interval: float,
        end_time: float,
        carried: dict[str, Any] | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.carried = carried
        self._conn_id, self._job_id = conn_id, job_id
        self.poll_interval = poll_interval
        self.end_time = end_time

    @abstractmethod
    def make_hook(self) -> ServiceHook:
        """Return the hook to look with."""

    @abstractmethod
    async def look(self, hook: Any) -> Job:
        """Look at the job once, with one attempt."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        hook = self.make_hook()
        async with hook.connected():
            event = await self._watch(hook)
        yield TriggerEvent({**event, "carried": self.carried})  # type: ignore[no-untyped-call]

    async def _watch(self, hook: ServiceHook) -> dict[str, Any]:
        wait = Wait(hook.name_of(self._job_id), self.poll_interval, self.end_time)
        job: Job | None = None
        while True:
            try:
                seen = await self.look(hook)
                job, line = seen, wait.saw(seen)
            except ServiceFault as fault:
                if not fault.error.can_repeat:
                    outcome = GONE if isinstance(fault.error, NotFound) else REFUSED
                    return {"outcome": outcome, "job": job and job.to_dict(), "message": str(fault)}
                line = wait.failed(fault.error, fault.error.retry_after)
            except Exception as error:  # noqa: BLE001 (a look-up that fails now must not lose the job)
                line = wait.failed(error)
            if line:
                self.log.info("%s", line)
            if job is not None and job.is_final:
                return {"outcome": ENDED, "job": job.to_dict()}
            pause = wait.pause()
            if pause is None:
                return {"outcome": TIMEOUT, "job": job and job.to_dict()}
            await asyncio.sleep(pause)


class PauseTrigger(BaseTrigger):
    """
    Pause, where the service does not tell what to watch.

    Yields one event, ``{"outcome": "ended", "job": None, "carried": ...}``.

    :param until: when to go on, in epoch seconds
    :param carried: plain data that comes back with the event
    """

    def __init__(self, until: float, carried: dict[str, Any] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.until = until
        self.carried = carried

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all plain data."""
        path = "airflow_provider_archival.triggers.base.PauseTrigger"
        return path, {"until": self.until, "carried": self.carried}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(max(self.until - time.time(), 0))
        event = {"outcome": ENDED, "job": None, "carried": self.carried}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]
