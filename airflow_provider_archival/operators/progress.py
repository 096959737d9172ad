"""How far a run has come, and what of it a task remembers from one try to the next."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_archival.api.polling import Job
from airflow_provider_archival.operators import variable_store

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

J = TypeVar("J", bound=Job)

STORE_KEY = "archival_progress"
BEGAN = "began"
"""What a deferral carries where nothing has come of the run yet: when it began, in epoch seconds."""


@dataclass(frozen=True)
class Found(Generic[J]):
    """What a look for a lost job found: the job, or None where the work is done without one to watch."""

    job: J | None


@dataclass(frozen=True)
class Submission(Generic[J]):
    """
    A job to be submitted.

    :param send: submits it; None when there is nothing to do (any more)
    :param find: looks for it when it may have been submitted before; takes the epoch seconds since when
    :param appears_late: the service may take a second one while the first is not to be found yet, so it is
        looked for longer
    """

    send: Callable[[], J | None]
    find: Callable[[float], Found[J] | None] = lambda since: None
    appears_late: bool = False


@dataclass
class Progress(Generic[J]):
    """
    How far a run has come: what is needed to go on after a deferral, or in another try.

    :param started: when the run began, in epoch seconds
    :param end_time: when to give up waiting, in epoch seconds
    :param asked: what was asked for: a try that is asked for something else does not go on with this
    :param done: the jobs that have ended well, in order
    :param pending: the jobs that were submitted and have not been seen to end, in order
    :param handled: how many submissions came to a job, or to nothing to do
    :param doubt: since when a submission may be under way whose answer is not known; None where there is none
    :param tried_before: when an earlier try may have begun of which nothing is remembered; None where there
        is none
    :param blocker: the id of another job that has to end first; empty where the service does not tell it
    :param blocked: how often another job was met
    :param last_blocker: the id of the job that was in the way last
    :param paused_for: why the run pauses, in words; None where it does not
    :param notes: what else the operator wants to know later; plain data
    """

    started: float
    end_time: float
    asked: dict[str, Any] = field(default_factory=dict)
    done: list[J] = field(default_factory=list)
    pending: list[J] = field(default_factory=list)
    handled: int = 0
    doubt: float | None = None
    tried_before: float | None = None
    blocker: str | None = None
    blocked: int = 0
    last_blocker: str | None = None
    paused_for: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def jobs(self) -> list[J]:
        return self.done + self.pending

    @property
    def unsure_since(self) -> float | None:
        """Since when the next submission may have been made already."""
        return self.tried_before if self.doubt is None else self.doubt

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **{name: value for name, value in vars(self).items() if name not in ("done", "pending")},
            "done": [job.to_dict() for job in self.done],
            "pending": [job.to_dict() for job in self.pending],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], job_from: Callable[[dict[str, Any]], J]) -> Progress[J]:
        """The inverse of :meth:`to_dict`."""
        jobs = {name: [job_from(job) for job in values[name]] for name in ("done", "pending")}
        return cls(**{**values, **jobs})

    def pack(self) -> dict[str, str]:
        """Return it small, for a trigger to carry: Airflow's column for that takes 64 KiB on MySQL."""
        text = json.dumps(self.to_dict(), separators=(",", ":"))
        return {"packed": base64.b64encode(zlib.compress(text.encode(), 9)).decode()}

    @classmethod
    def unpack(cls, carried: dict[str, str], job_from: Callable[[dict[str, Any]], J]) -> Progress[J]:
        """The inverse of :meth:`pack`."""
        return cls.from_dict(json.loads(zlib.decompress(base64.b64decode(carried["packed"]))), job_from)


class Memory:
    """
    What a task remembers from one try to the next, where there is a store for it.

    :param context: the task's context
    :param durable: whether to remember at all
    """

    def __init__(self, context: Context, durable: bool) -> None:
        self._store = store_of(context, durable)

    @property
    def exists(self) -> bool:
        return self._store is not None

    def recall(self) -> dict[str, Any] | None:
        """Return what the last try kept."""
        known: dict[str, Any] | None = self._store.get(STORE_KEY) if self._store is not None else None
        return known

    def keep(self, progress: Progress[Any]) -> None:
        """Keep it for the next try."""
        if self._store is not None:
            self._store.set(STORE_KEY, progress.to_dict())

    def forget(self) -> None:
        """Let the next run begin anew."""
        if self._store is not None:
            self._store.delete(STORE_KEY)


def store_of(context: Context, durable: bool) -> Any:
    """
    Return the task's state store, which outlives a try; None where there is none, or it is not wanted.

    Airflow's own (3.3 and later) goes before the one that ``[archival] state_store`` asks for.
    """
    if not durable:
        return None
    if (own := context.get("task_state_store")) is not None:
        return own
    return variable_store.VariableStore(context) if variable_store.is_wanted() else None


def began_before(context: Context) -> float | None:
    """Return since when an earlier try of this task may have submitted something; None in the first try."""
    if context["ti"].try_number <= 1:
        return None
    run = context.get("dag_run")
    start = getattr(run, "start_date", None) or getattr(context["ti"], "start_date", None)
    return start.timestamp() if start is not None else 0.0
