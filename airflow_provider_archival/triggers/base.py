"""The one polling loop of the triggerer, and the events that it ends with."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_archival.api.http import NotFound
from airflow_provider_archival.api.polling import Wait
from airflow_provider_archival.exceptions import ConnectionNotFound, ConnectionNotUsable, ServiceFault

if TYPE_CHECKING:
    from airflow_provider_archival.api.polling import Job
    from airflow_provider_archival.hooks.base import ServiceHook

ENDED, TIMEOUT, REFUSED, GONE, UNWATCHED = "ended", "timeout", "refused", "gone", "unwatched"
"""
How a wait can end: the job ended, time is up, the service refuses to tell, does not know the job, or there is
nothing to look with.
"""

SECONDS_WITHOUT_CONNECTION = 300.0
"""How long a triggerer may lack the connection: a secrets backend may be away for a moment."""


_DEFERRAL_FAILED = "__fail__"
"""Airflow's own sign for a deferral that it ended, with the reason in ``error``."""
_TIMEOUTS = frozenset({"Trigger timeout", "Trigger/execution timeout"})
"""Airflow's words for one that ended because its time was up; the second are those of Airflow 2."""


@dataclass(frozen=True)
class DeferralFailure:
    """
    Why Airflow itself ended a deferral.

    :param is_timeout: its time was up; otherwise the trigger failed
    :param message: what Airflow says of it, in a line
    :param traceback: the lines of the trigger's traceback, if there is one
    """

    is_timeout: bool
    message: str
    traceback: tuple[str, ...] = ()


def failure_of(next_method: str, next_kwargs: dict[str, Any] | None) -> DeferralFailure | None:
    """Read what a task is resumed with; None where its trigger sent an event."""
    if next_method != _DEFERRAL_FAILED:
        return None
    error = str((next_kwargs or {}).get("error") or "unknown")
    lines = tuple(str(line).rstrip() for line in (next_kwargs or {}).get("traceback") or ())
    last = f": {lines[-1].splitlines()[-1]}" if lines and lines[-1] else ""
    return DeferralFailure(error in _TIMEOUTS, error + last, lines)


class JobTrigger(BaseTrigger):
    """
    Watch one job until it ends or the time is up, through any number of passing faults.

    Yields one event, a plain dict: ``outcome`` (``ended``, ``timeout``, ``refused``, ``gone`` or
    ``unwatched``), ``job`` (as it was seen last, or None), ``message`` (for all but ``ended``: why),
    ``carried``. A restart of the triggerer begins the watch again with the same deadline and cancels nothing.

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
        # What comes back with the event was submitted by us; a sensor's job has to be seen first.
        is_known = self.carried is not None
        wait = Wait(hook.name_of(self._job_id), self.poll_interval, self.end_time, is_known=is_known)
        job: Job | None = None
        unconnected_since: float | None = None
        while True:
            try:
                seen = await self.look(hook)
                job, line, unconnected_since = seen, wait.saw(seen), None
            except ServiceFault as fault:
                if wait.ends_with(fault.error):
                    outcome = GONE if isinstance(fault.error, NotFound) else REFUSED
                    return _event(outcome, job, str(fault))
                line, unconnected_since = wait.failed(fault.error), None
            except (ConnectionNotFound, ConnectionNotUsable) as error:
                line, now = wait.failed(error), time.time()
                unconnected_since = unconnected_since or now
                if now - unconnected_since >= SECONDS_WITHOUT_CONNECTION:
                    return _event(UNWATCHED, job, wait.story)
            except Exception as error:  # noqa: BLE001 (a look-up that fails now must not lose the job)
                line = wait.failed(error)
            if line:
                self.log.info("%s", line)
            if job is not None and job.is_final:
                return {"outcome": ENDED, "job": job.to_dict()}
            pause = wait.pause()
            if pause is None:
                return _event(TIMEOUT, job, wait.story)
            await asyncio.sleep(pause)


def _event(outcome: str, job: Job | None, message: str) -> dict[str, Any]:
    return {"outcome": outcome, "job": job and job.to_dict(), "message": message}


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
