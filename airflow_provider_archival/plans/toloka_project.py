"""What to do next for a Toloka project: close and archive what is in it, then archive itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from airflow_provider_archival.api import toloka
from airflow_provider_archival.api.batches import OperationBatch, target_of, time_before
from airflow_provider_archival.api.clean import shorten
from airflow_provider_archival.api.flow import Flow, ask, dated, nothing
from airflow_provider_archival.api.http import Conflict
from airflow_provider_archival.api.jobs import TOLOKA_BATCH, TOLOKA_OPERATION, JobKind
from airflow_provider_archival.api.toloka import (
    TolokaOperation,
    TolokaPool,
    TolokaProject,
    all_members,
    all_of,
)
from airflow_provider_archival.plans.base import (
    Cause,
    Event,
    Finish,
    Found,
    Json,
    Plan,
    Sent,
    Since,
    Started,
    Step,
    Stop,
    Submit,
    search,
)
from airflow_provider_archival.plans.toloka_operations import (
    CLOCK_DIFFERENCE,
    find,
    is_in_vain,
    latest,
    sent,
    started,
)

log = logging.getLogger(__name__)

TolokaJob = TolokaOperation | OperationBatch

_MOST_NAMED = 20
_MOST_SAID = 200


@dataclass(frozen=True)
class _Step:
    """
    Operations of one type on the project's pools or trainings.

    :param status: the status of those that it is for
    """

    type: str
    status: str

    @property
    def target(self) -> str:
        return target_of(self.type)


_STEPS = {
    "close pools": _Step(toloka.POOL_CLOSE, "OPEN"),
    "close trainings": _Step(toloka.TRAINING_CLOSE, "OPEN"),
    "archive pools": _Step(toloka.POOL_ARCHIVE, "CLOSED"),
    # A training has to wait for the pools that use it.
    "archive trainings": _Step(toloka.TRAINING_ARCHIVE, "CLOSED"),
}
_PROJECT = "archive the project"


@dataclass(frozen=True)
class Refused:
    """A pool or training that Toloka refuses: ``pool_id`` or ``training_id``, its id, and why."""

    target: str
    id: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return {self.target: self.id, "message": self.message}


@dataclass(frozen=True)
class ProjectState:
    """
    How far a project has come.

    :param begin: what was submitted since then, in epoch seconds of Toloka's clock, is this run's
    :param left: the steps that are left; None where that has to be looked up
    :param refused: the pools and trainings that Toloka refuses, the first of them
    :param more_refused: how many others
    :param archives_members: whether pools or trainings were archived
    """

    begin: float
    left: tuple[str, ...] | None = None
    refused: tuple[Refused, ...] = ()
    more_refused: int = 0
    archives_members: bool = False

    def refusing(self, pool: Refused) -> ProjectState:
        """Note a pool; a deferral carries this, so only the first are named."""
        if len(self.refused) < _MOST_NAMED:
            return replace(self, refused=(*self.refused, pool))
        return replace(self, more_refused=self.more_refused + 1)


@dataclass(frozen=True)
class Doing:
    """A step to be done, and the state in which it was begun."""

    step: str
    state: ProjectState


@dataclass(frozen=True)
class ArchiveProject(Plan[ProjectState, Doing, TolokaJob]):
    """
    Archive a project.

    :param project_id: the project
    :param archive_pools: archive its closed pools and trainings first
    :param close_open_pools: close open ones before that
    :param now: the time now, in epoch seconds
    """

    project_id: str
    archive_pools: bool
    close_open_pools: bool
    now: float

    name: ClassVar[str] = "toloka_project"
    kinds: ClassVar[tuple[JobKind[Any], ...]] = (TOLOKA_OPERATION, TOLOKA_BATCH)
    state: ClassVar[type[ProjectState]] = ProjectState
    lists_jobs: ClassVar[bool] = True

    def asked(self) -> Mapping[str, Json]:
        return {"project_id": self.project_id}

    # --- what is to be done ---

    def begin(self, since: Since) -> Flow[ProjectState]:
        project, served = yield from ask(dated(toloka.get_project(self.project_id)))
        return ProjectState(since.at(served, self.now), (yield from self._steps(project)))

    def take_up(self, state: ProjectState) -> Flow[ProjectState]:
        # The earlier try may have stopped in the middle of a step: what is to be done is looked up again.
        return nothing(replace(state, left=None, refused=(), more_refused=0))

    def keeps(self, job: TolokaJob) -> bool:
        return isinstance(job, TolokaOperation)

    def next(self, state: ProjectState) -> Flow[tuple[ProjectState, Step[Doing]]]:
        if state.left is None:
            project = yield from ask(toloka.get_project(self.project_id))
            state = replace(state, left=(yield from self._steps(project)))
        if state.refused:
            raise self._refused_ones(state)
        if not state.left:
            return state, Finish()
        return state, Submit(Doing(state.left[0], state))

    def _steps(self, project: TolokaProject) -> Flow[tuple[str, ...]]:
        """Return the steps that it takes, or raise what is in the way."""
        if project.is_archived:
            log.info("Toloka project %s is archived already: nothing to do", self.project_id)
            return ()
        found = {}
        for type in (toloka.POOL_ARCHIVE, toloka.TRAINING_ARCHIVE):
            members = yield from all_of(all_members(type, self.project_id))
            found[target_of(type)] = [one for one in members if not one.is_archived]
        in_the_way = [
            {kind: pool.id, "status": pool.status}
            for kind, pools in found.items()
            for pool in pools
            if pool.status not in self._statuses_to_archive
        ]
        if in_the_way:
            raise Stop(Cause.POOLS_IN_THE_WAY, self._in_the_way(in_the_way), in_the_way)
        if any(found.values()):
            log.info(
                "Toloka project %s: %d pools and %d trainings are archived first",
                *(self.project_id, len(found["pool_id"]), len(found["training_id"])),
            )
        steps = [name for name, step in _STEPS.items() if _needs(step, found[step.target])]
        return (*steps, _PROJECT)

    @property
    def _statuses_to_archive(self) -> set[str]:
        """The statuses of the pools and trainings that may be archived on the way."""
        if not self.archive_pools:
            return set()
        return {"CLOSED", "OPEN"} if self.close_open_pools else {"CLOSED"}

    def _in_the_way(self, pools: list[dict[str, str]]) -> str:
        shown = _named(pools, lambda pool: f"is {pool['status']}")
        advice = []
        statuses = {pool["status"] for pool in pools}
        if "LOCKED" in statuses:
            advice.append("a LOCKED pool can't be archived: unlock it in Toloka, or ask Toloka's support")
        if "CLOSED" not in self._statuses_to_archive:
            advice.append("set archive_pools=True to archive closed pools and trainings first")
        if "OPEN" in statuses - self._statuses_to_archive:
            advice.append("close the OPEN ones, or set close_open_pools=True, which stops the work in them")
        return (
            f"Toloka project {self.project_id} can't be archived before its pools and trainings are; nothing"
            f" was changed. {shown}. What to do: {'; '.join(advice)}."
        )

    # --- the steps ---

    def send(self, what: Doing) -> Flow[Sent[TolokaJob]]:
        if what.step == _PROJECT:
            return self._archive()
        return self._start_all(_STEPS[what.step], what.state)

    def find(
        self, state: ProjectState, what: Doing, since: Since, attempt: int
    ) -> Flow[Found[TolokaJob] | None]:
        if what.step != _PROJECT:
            # Each of a step's operations is looked for before it is started.
            return search(lambda: nothing(None), attempt)

        def look() -> Flow[Found[TolokaJob] | None]:
            found = yield from find(toloka.PROJECT_ARCHIVE, self.project_id, state.begin)
            return None if found is None else Found(found.job)

        return search(look, attempt, appears_late=since)

    def _archive(self) -> Flow[Sent[TolokaJob]]:
        try:
            return Sent((yield from sent(toloka.PROJECT_ARCHIVE, self.project_id)))
        except Conflict:
            # Somebody else may have archived it since we looked.
            if not (yield from ask(toloka.get_project(self.project_id))).is_archived:
                raise
            return Sent(None)

    def _start_all(self, step: _Step, state: ProjectState) -> Flow[Sent[TolokaJob]]:
        """Start an operation on each pool or training of a step, unless one runs; none if none has to end."""
        listed = yield from all_of(all_members(step.type, self.project_id, step.status))
        members = {one.id for one in listed}
        found = yield from latest(step.type, members, state.begin)
        running = {id: one for id, one in found.items() if not one.is_final}
        if running:
            log.info("%d operations are under way already: taking them up", len(running))
        refused: dict[str, Refused] = {}
        for id in sorted(members - set(running), key=lambda id: (len(id), id)):
            operation, refusal = yield from self._start(step, id, state.begin)
            if refusal is not None:
                refused[id] = refusal
            elif operation is not None and not operation.is_final:
                running[id] = operation
        # Somebody else may have started what Toloka refuses to us since we looked.
        theirs = (yield from latest(step.type, set(refused), state.begin)) if refused else {}
        running |= {id: one for id, one in theirs.items() if not one.is_final}
        for id, refusal in refused.items():
            if id not in theirs or is_in_vain(theirs[id]):
                log.warning("Toloka refuses %s", _named([refusal.to_dict()], _message))
                state = state.refusing(refusal)
        if step.status == "CLOSED" and members:
            state = replace(state, archives_members=True)
        if not running:
            return Sent(None, state)
        submitted = min(one.submitted or "" for one in running.values())
        begin = time_before(submitted, 1) if submitted else time_before(state.begin, CLOCK_DIFFERENCE)
        return Sent(OperationBatch(step.type, self.project_id, begin, len(running)), state)

    def _start(
        self, step: _Step, id: str, begin: float
    ) -> Flow[tuple[TolokaOperation | None, Refused | None]]:
        """Start one operation of a step: the operation, or why Toloka refuses it."""
        try:
            operation = yield from started(step.type, id, begin)
        except Conflict as error:
            message = " ".join(error.messages) or str(error)
            return None, Refused(step.target, id, shorten(message, _MOST_SAID))
        if operation is not None and is_in_vain(operation):
            return None, Refused(step.target, id, shorten(operation.said, _MOST_SAID))
        return operation, None

    def after(self, state: ProjectState, event: Event[Doing]) -> ProjectState:
        if not isinstance(event, Started):
            return state
        told: ProjectState = event.told or state
        return replace(told, left=(state.left or ())[1:])

    def check(self, state: ProjectState) -> None:
        if unknown := set(state.left or ()) - {*_STEPS, _PROJECT}:
            raise ValueError(f"there is no step {', '.join(unknown)}")

    def is_last(self, state: ProjectState) -> bool:
        # A run that was taken up looks up what is left when its own operation, the last, has ended.
        return not state.left

    # --- the end ---

    def failure(self, state: ProjectState, job: TolokaJob) -> Stop | None:
        if isinstance(job, OperationBatch) and state.refused:
            return self._refused_ones(state, f" Of the others {job.counts['FAIL']} failed: {job.said}.")
        return None

    def _refused_ones(self, state: ProjectState, others: str = "") -> Stop:
        refused = [one.to_dict() for one in state.refused]
        shown = _named(refused, _message, state.more_refused)
        return Stop(
            Cause.POOLS_IN_THE_WAY,
            f"Toloka project {self.project_id} can't be archived: Toloka refuses"
            f" {len(refused) + state.more_refused} of its pools and"
            f" trainings{'.' if others else '; the others went through.'} {shown}.{others}"
            " What to do: mend what Toloka names; one with rejected tasks can be archived nine days after the"
            " last rejection. Then clear this task: it does only what is left.",
            refused,
        )

    def result(self, state: ProjectState, jobs: tuple[TolokaJob, ...]) -> Flow[dict[str, Any]]:
        own = [one for one in jobs if isinstance(one, TolokaOperation)]
        return {
            "project_id": self.project_id,
            "operation_id": own[-1].id if own else None,
            "status": own[-1].status if own else "ARCHIVED",
            "pools": (yield from self._archived(state)) if state.archives_members else [],
        }

    def _archived(self, state: ProjectState) -> Flow[list[dict[str, Any]]]:
        """List the pools and trainings that this run archived, those of earlier tries among them."""
        found: list[dict[str, Any]] = []
        for type in (toloka.POOL_ARCHIVE, toloka.TRAINING_ARCHIVE):
            members = {one.id for one in (yield from all_of(all_members(type, self.project_id)))}
            if members:
                operations = yield from latest(type, members, state.begin)
                found += [
                    {target_of(type): id, "operation_id": one.id, "status": one.status}
                    for id, one in sorted(operations.items(), key=lambda item: (len(item[0]), item[0]))
                ]
        return found


def _needs(step: _Step, pools: list[TolokaPool]) -> bool:
    """Say whether pools need a step; those that get closed are archived as well."""
    return any(pool.status == step.status or step.status == "CLOSED" for pool in pools)


def _message(pool: Mapping[str, str]) -> str:
    return f"({pool['message']})"


def _named(pools: list[dict[str, str]], how: Callable[[dict[str, str]], str], unnamed: int = 0) -> str:
    shown = ", ".join(
        f"{'pool' if 'pool_id' in pool else 'training'} {pool.get('pool_id') or pool.get('training_id')}"
        f" {how(pool)}"
        for pool in pools[:_MOST_NAMED]
    )
    more = max(len(pools) - _MOST_NAMED, 0) + unnamed
    return f"{shown} and {more} more" if more > 0 else shown
