"""The one polling loop of the triggerer, and the events that it ends with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_archival.api.flow import Flow
from airflow_provider_archival.api.http import ApiError
from airflow_provider_archival.api.jobs import JobKind
from airflow_provider_archival.api.polling import (
    ENDED,
    GONE,
    REFUSED,
    TIMEOUT,
    UNWATCHED,
    Job,
    NotLooked,
    Wait,
    watch,
)
from airflow_provider_archival.exceptions import ConnectionNotFound, ConnectionNotUsable
from airflow_provider_archival.hooks.lookup import hook_for

if TYPE_CHECKING:
    from airflow_provider_archival.hooks.base import ServiceHook

__all__ = ["ENDED", "GONE", "REFUSED", "TIMEOUT", "UNWATCHED", "JobTrigger", "PauseTrigger", "failure_of"]

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


class Declared(BaseTrigger):
    """
    A trigger whose arguments are kept under their names.

    The class path and the names are rows in people's databases: they stay.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for name, value in arguments.items():
            setattr(self, name, value)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the arguments."""
        return tuple(signature(cls).parameters)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all plain data."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {name: getattr(self, name) for name in kind.names()}


class Unwatched(Exception):
    """There is nothing to look with, for so long that a person has to see to it."""


class JobTrigger(Declared):
    """
    Watch one job until it ends or the time is up, through any number of passing faults.

    Yields one event, a plain dict: ``outcome`` (``ended``, ``timeout``, ``refused``, ``gone`` or
    ``unwatched``), ``job`` (as it was seen last, or None), ``message`` (for all but ``ended``: why),
    ``carried``. A restart of the triggerer begins the watch again with the same deadline and cancels nothing.

    A subclass says of which kind the job is, and has an argument each for the job and the connection, named
    as the kind says, besides these:

    :param poll_interval: the longest pause between two looks, in seconds
    :param end_time: when to give up, in epoch seconds
    :param cancel_on_kill: cancel the job when a user ends the deferred Airflow task (where that is possible)
    :param carried: plain data that comes back with the event. (Not in the deferral's ``kwargs``: ``dag.test``
        and ``airflow dags test`` drop those.)
    """

    kind: ClassVar[JobKind[Any]]
    poll_interval: float
    end_time: float
    carried: dict[str, Any] | None
    cancel_on_kill = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        wanted = {cls.kind.id_key, cls.kind.conn_key, "poll_interval", "end_time", "carried"}
        path = f"{cls.__module__}.{cls.__qualname__}"
        if not wanted <= set(cls.names()) or path != cls.kind.trigger:
            raise TypeError(
                f"{path} is no trigger for a {cls.kind.name}: it needs {', '.join(sorted(wanted))}"
            )

    @classmethod
    def watching(cls, job: Any, *, conn_id: str, **how: Any) -> JobTrigger:
        """Return the trigger that watches a job."""
        known = {name: value for name, value in how.items() if name in cls.names()}
        return cls(**{cls.kind.id_key: cls.kind.watched(job), cls.kind.conn_key: conn_id, **known})

    @property
    def job(self) -> Any:
        """The job as far as it is known."""
        return self.kind.unseen(getattr(self, self.kind.id_key))

    def make_hook(self) -> ServiceHook:
        """Return the hook to look with."""
        return hook_for(self.kind, getattr(self, self.kind.conn_key))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        hook = self.make_hook()
        async with hook.connected():
            event = await self._watched(hook)
        yield TriggerEvent({**event, "carried": self.carried})  # type: ignore[no-untyped-call]

    async def _watched(self, hook: ServiceHook) -> dict[str, Any]:
        # What comes back with the event was submitted by us; a sensor's job has to be seen first.
        is_known = self.carried is not None
        name = self.kind.name_of(self.job.id)
        wait = Wait(name, self.poll_interval, self.end_time, is_known=is_known)
        look = _Patient(self.kind.looker(self.job))
        try:
            outcome = await hook.afollow(watch(look, None, wait), attempts=1)
        except Unwatched:
            return _event(UNWATCHED, look.seen, wait.story)
        message = str(hook.in_airflows_terms(outcome.error)) if outcome.error else outcome.message
        return _event(outcome.how, outcome.job, message)

    async def on_kill(self) -> None:
        """Cancel the job; Airflow 3.3 and later call this when a user acts on the deferred task."""
        name = self.kind.name_of(self.job.id)
        if self.kind.cancel is None:
            self.log.warning("%s can't be cancelled; it goes on", name)
            return
        if not self.cancel_on_kill:
            return
        try:
            await self.make_hook().afollow(self.kind.cancel(self.job), attempts=2)
        except Exception as error:  # noqa: BLE001 (nobody is left to raise it to)
            self.log.warning("Could not cancel %s: %s", name, error)
        else:
            self.log.info(
                "Asked %s to cancel %s %s, because the Airflow task was ended",
                *(self.kind.service, self.kind.word, self.job.id),
            )


class _Patient:
    """
    Looks at a job, and takes what keeps it from looking for a fault that passes, for some time.

    :param look: looks once
    """

    def __init__(self, look: Callable[[], Flow[Any]]) -> None:
        self._look = look
        self._since: float | None = None
        self.seen: Any = None

    def __call__(self) -> Flow[Any]:
        try:
            self.seen = yield from self._look()
        except (ConnectionNotFound, ConnectionNotUsable) as error:
            self._since = self._since or time.time()
            if time.time() - self._since >= SECONDS_WITHOUT_CONNECTION:
                raise Unwatched from error
            raise NotLooked("", (str(error),)) from error
        except ApiError:
            self._since = None
            raise
        except Exception as error:  # a look-up that fails now must not lose the job
            raise NotLooked("", (str(error) or type(error).__name__,)) from error
        self._since = None
        return self.seen


def _event(outcome: str, job: Job | None, message: str) -> dict[str, Any]:
    event: dict[str, Any] = {"outcome": outcome, "job": job and job.to_dict()}
    return event if outcome == ENDED else {**event, "message": message}


class PauseTrigger(Declared):
    """
    Pause, where the service does not tell what to watch.

    Yields one event, ``{"outcome": "ended", "job": None, "carried": ...}``.

    :param until: when to go on, in epoch seconds
    :param carried: plain data that comes back with the event
    """

    until: float
    carried: dict[str, Any] | None

    def __init__(self, until: float, carried: dict[str, Any] | None = None) -> None:
        super().__init__(until=until, carried=carried)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(max(self.until - time.time(), 0))
        event = {"outcome": ENDED, "job": None, "carried": self.carried}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]
