"""What a plan is: from a state and what happened to the next state and the next step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_archival.api.flow import Flow, Pause, nothing
from airflow_provider_archival.api.http import ApiError
from airflow_provider_archival.api.jobs import JobKind
from airflow_provider_archival.api.polling import Job

S = TypeVar("S")
W = TypeVar("W")
J = TypeVar("J", bound=Job)

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Before the second, third, … attempt at a submit whose answer was lost, in seconds."""


# --- steps: what a plan wants next ---


@dataclass(frozen=True)
class Submit(Generic[W]):
    """A job is to be started: what for."""

    what: W


@dataclass(frozen=True)
class Send(Generic[W]):
    """
    Requests that do no harm twice are to be sent.

    :param whats: what for, one of each
    :param at_once: how many may be under way at the same time
    :param is_kept: whether each answer is worth being remembered at once
    """

    whats: tuple[W, ...]
    at_once: int = 1
    is_kept: bool = True


@dataclass(frozen=True)
class Take(Generic[W]):
    """A job that has ended well did what a submit was to do."""

    what: W
    job: Any


@dataclass(frozen=True)
class Finish:
    """Nothing is left to be started."""


Step = Submit[W] | Send[W] | Take[W] | Finish


# --- events: what happened ---


@dataclass(frozen=True)
class Sent(Generic[J]):
    """
    What came of a submit.

    :param job: the job that was started or found; None where there is nothing (more) to do
    :param told: what else the plan wants to know afterwards
    """

    job: J | None
    told: Any = None


@dataclass(frozen=True)
class Started(Generic[W]):
    """A job was started, found or taken (``job`` None: there was nothing to do); see :class:`Sent`."""

    what: W
    job: Any
    told: Any = None


@dataclass(frozen=True)
class Answered(Generic[W]):
    """A request of a :class:`Send` was answered."""

    what: W
    value: Any


@dataclass(frozen=True)
class Ended:
    """A job of ours has ended well."""

    job: Any


@dataclass(frozen=True)
class Waited:
    """Another job was in the way, which may be ours after all, and has ended."""

    job: Any


@dataclass(frozen=True)
class Lost:
    """A job of ours came to nothing, or may have; those in ``kept`` count."""

    kept: frozenset[str]


Event = Started[W] | Answered[W] | Ended | Waited | Lost


@dataclass(frozen=True)
class Since:
    """
    When an attempt began of which nobody knows what came of it.

    :param served: in epoch seconds of the service's clock; None where that was not known
    :param ago: how many seconds ago, by our own clocks: for filters with a margin, never for a proof
    """

    served: float | None
    ago: float

    def at(self, served_now: float | None, now: float) -> float:
        """Return when it began by the service's clock, as well as that is known."""
        return self.served if self.served is not None else (served_now or now) - self.ago


@dataclass(frozen=True)
class Found(Generic[J]):
    """What a look for a lost job found: the job, or None where the work is done without one to watch."""

    job: J | None


class Cause(Enum):
    """Why a run stops."""

    TOO_MANY_ISSUES = "more issues than may be archived"
    COUNTS_DIFFER = "counts that contradict each other"
    POOLS_IN_THE_WAY = "pools that can't be archived"


class Stop(Exception):
    """
    The run must not go on; the operators name Airflow's exception for the cause.

    :param message: what happened, and what to do
    :param details: more, for the exception
    """

    def __init__(self, cause: Cause, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.cause, self.message, self.details = cause, message, details


class Plan(Generic[S, W, J]):
    """
    Decides what comes next; the engine does it.

    Subclasses are frozen dataclasses of parameters that were read. Their flows only look, but for
    :meth:`send`, which alone may start a job. No method reads a clock, and none keeps anything: what has to
    be known later is in the state, a frozen dataclass.
    """

    name: ClassVar[str]
    """What a kept state is called; it is written down, so it stays."""
    kinds: ClassVar[tuple[JobKind[Any], ...]]
    """The kinds of jobs that it starts; the first one's are those that can be in the way."""
    state: ClassVar[type[Any]]
    lists_jobs: ClassVar[bool] = False
    """Whether the service lists its jobs: then a retry that remembers nothing looks, store or not."""
    word_of_second: ClassVar[str | None] = None
    """What to tell where a job was started although an earlier one may have been; its name goes in."""

    def asked(self) -> Mapping[str, Json]:
        """Return what makes this run another one than with other parameters: parsed, sorted, plain data."""
        raise NotImplementedError

    def begin(self, since: Since) -> Flow[S]:
        """Take the first looks, and hold them against the guards."""
        raise NotImplementedError

    def take_up(self, state: S) -> Flow[S]:
        """Go on where an earlier try stopped, under this try's guards."""
        return nothing(state)

    def keeps(self, job: J) -> bool:
        """Say whether a job of an earlier try is gone on with; if not, what is to be done is looked up."""
        return True

    def next(self, state: S) -> Flow[tuple[S, Step[W]]]:
        """Return what comes next. Called again after what was in the way of it."""
        raise NotImplementedError

    def send(self, what: W) -> Flow[Any]:
        """Start a job (returns :class:`Sent`), or send what a :class:`Send` asked for (returns its value)."""
        raise NotImplementedError

    def find(self, state: S, what: W, since: Since, attempt: int) -> Flow[Found[J] | None]:
        """Look for a job that may have been started before, after the pauses that this attempt takes."""
        return search(lambda: nothing(None), attempt)

    def is_older(self, job: J, since: Since) -> bool:
        """Say whether a job that is in the way was there before an attempt, by the service's clock alone."""
        return False

    def refused(self, state: S, what: W, error: ApiError) -> Flow[S]:
        """Decide what a refusal means; raises it where it is one of the whole run."""
        yield from ()
        raise error

    def after(self, state: S, event: Event[W]) -> S:
        """Take in what happened."""
        raise NotImplementedError

    def is_last(self, state: S) -> bool:
        """Say whether nothing follows the job that runs."""
        return True

    def smaller(self, state: S) -> S | None:
        """Return a state that says less and is as true, for one too large to be kept; None for none."""
        return None

    def check(self, state: S) -> None:
        """Raise ``ValueError`` where a state of the right types can not be this plan's."""

    def failure(self, state: S, job: J) -> Stop | None:
        """Return what a job that ended badly means for the run; None: that it failed."""
        return None

    def result(self, state: S, jobs: tuple[J, ...]) -> Flow[dict[str, Any]]:
        """Return what goes to XCom."""
        raise NotImplementedError

    def kind_of(self, job: J) -> JobKind[J]:
        """Return the kind of a job."""
        return next(kind for kind in self.kinds if isinstance(job, kind.type))


def search(
    look: Callable[[], Flow[Found[J] | None]], attempt: int, *, appears_late: Since | None = None
) -> Flow[Found[J] | None]:
    """
    Look for a job, at once or after pauses, until it is there.

    :param attempt: 0 for a look at once; otherwise the look comes after a pause, longer from time to time
    :param appears_late: since when the service may have a job that is not to be found yet, and takes another
        one: so it is looked for until some time has passed since then
    """
    if not attempt:
        found = yield from look()
        if found is not None or appears_late is None or appears_late.ago >= sum(PAUSES):
            return found
    for seconds in PAUSES if appears_late else PAUSES[attempt - 1 : attempt]:
        yield Pause(seconds)
        if (found := (yield from look())) is not None:
            return found
    return None
