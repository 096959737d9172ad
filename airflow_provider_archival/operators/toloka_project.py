"""The operator that archives a Toloka project, with everything in it if need be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_provider_archival.api import toloka
from airflow_provider_archival.api.batches import OperationBatch, target_of, time_before
from airflow_provider_archival.api.clean import shorten
from airflow_provider_archival.api.http import Conflict
from airflow_provider_archival.api.toloka import TolokaOperation, TolokaPool
from airflow_provider_archival.exceptions import PoolsNotArchived, ServiceRefusal
from airflow_provider_archival.operators.parsing import flag_of
from airflow_provider_archival.operators.progress import Progress, Submission
from airflow_provider_archival.operators.toloka_operations import (
    CLOCK_DIFFERENCE,
    DEFAULT_CONN_ID,
    TolokaJob,
    TolokaJobOperator,
    id_of,
    is_in_vain,
)

_MOST_NAMED = 20


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


class TolokaArchiveProjectOperator(TolokaJobOperator):
    """
    Archive a Toloka project, and on request the pools and trainings in it first, however many.

    What is in the way is found and named before anything is changed. The operations of a step (close pools,
    close trainings, archive pools, archive trainings) are submitted one by one and awaited together. While
    the project's own operation runs its id is in XCom under ``operation_id``. Toloka's operations can't be
    cancelled.

    A retry looks what is archived already and which operations run, takes those up, and does the rest; a
    project that is archived is success.

    XCom: ``{"project_id": str, "operation_id": str | None, "status": str, "pools": [{"pool_id" or
    "training_id", "operation_id", "status"}]}``: the status is the operation's, or
    ``ARCHIVED`` where nothing had to be done.

    .. seealso:: https://toloka.ai/docs/api/api-reference/#post-/projects/-id-/archive

    :param project_id: the project
    :param archive_pools: archive its closed pools and trainings first
    :param close_open_pools: with ``archive_pools``: close open pools and trainings before; that stops the
        work in them
    :param toloka_conn_id: the Airflow connection
    :param wait_for_completion: see :class:`~airflow_provider_archival.operators.base.RemoteJobOperator`, as
        for ``deferrable``, ``poll_interval`` and ``timeout`` (seconds). Pools are always waited for.
    :raises BadInput: ``project_id`` is empty, or no id
    :raises PoolsNotArchived: pools or trainings are in the way, or Toloka refuses to archive some (those with
        rejected tasks, for nine days); the others are archived then. Not retried
    :raises ServiceRefusal: no such project, or not the caller's; not retried
    :raises ServiceFault: Toloka is down; retried
    :raises TolokaOperationFailed: operations ended ``FAIL``; retried
    :raises JobTimeout: ``timeout`` passed; the operations go on
    """

    template_fields: Sequence[str] = ("project_id", "archive_pools", "close_open_pools", "toloka_conn_id")

    def __init__(
        self,
        *,
        project_id: str,
        archive_pools: bool = False,
        close_open_pools: bool = False,
        toloka_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_id = project_id
        self.archive_pools = archive_pools
        self.close_open_pools = close_open_pools
        self.toloka_conn_id = toloka_conn_id

    def asked(self) -> dict[str, Any]:
        return {"project_id": id_of(self.project_id, "project_id"), "toloka_conn_id": self.toloka_conn_id}

    def submit_next(self, progress: Progress[TolokaJob]) -> Iterator[Submission[TolokaJob]]:
        notes = progress.notes
        if "left" not in notes:
            notes["project_id"] = id_of(self.project_id, "project_id")
            # From here on operations are looked for: those of earlier tries too.
            notes.setdefault("begin", min(progress.unsure_since or progress.started, progress.started))
            notes["left"] = self._steps(notes["project_id"])
        if notes.get("refused"):
            raise self._refused_ones(notes)
        if not notes["left"]:
            return
        step, project_id = notes["left"][0], notes["project_id"]
        if step == _PROJECT:
            yield Submission(
                lambda: self._archive_project(project_id),
                lambda since: self.find(toloka.PROJECT_ARCHIVE, project_id, since),
                appears_late=True,
            )
        else:
            yield Submission(lambda: self._start_all(_STEPS[step], notes))
        # Not reached where another job is in the way: then the step is asked for again.
        notes["left"].pop(0)

    def take_up(self, progress: Progress[TolokaJob], *, lost: bool) -> None:
        # What is to be done is looked up again: the earlier try may have stopped in the middle of a step.
        for name in ("left", "refused", "more_refused"):
            progress.notes.pop(name, None)

    def failure(self, job: TolokaJob) -> Exception:
        notes = self._progress.notes if self._progress else {}
        if isinstance(job, OperationBatch) and notes.get("refused"):
            return self._refused_ones(notes, f" Of the others {job.counts['FAIL']} failed: {job.said}.")
        return super().failure(job)

    def must_wait_for(self, job: TolokaJob) -> bool:
        return self.wait_for_completion or isinstance(job, OperationBatch)

    def result(self, progress: Progress[TolokaJob]) -> dict[str, Any]:
        notes = progress.notes
        own = [one for one in progress.jobs if isinstance(one, TolokaOperation)]
        return {
            "project_id": notes["project_id"],
            "operation_id": own[-1].id if own else None,
            "status": own[-1].status if own else "ARCHIVED",
            "pools": self._archived(notes) if notes.get("members_archived") else [],
        }

    # --- what is in the way ---

    def _steps(self, project_id: str) -> list[str]:
        """Look at the project and return the steps that it takes, or raise what is in the way."""
        if self.hook.get_project(project_id).is_archived:
            self.log.info("Toloka project %s is archived already: nothing to do", project_id)
            return []
        found = {
            "pool_id": [pool for pool in self.hook.list_pools(project_id) if not pool.is_archived],
            "training_id": [one for one in self.hook.list_trainings(project_id) if not one.is_archived],
        }
        allowed = self._statuses_to_archive()
        in_the_way = [
            {kind: pool.id, "status": pool.status}
            for kind, pools in found.items()
            for pool in pools
            if pool.status not in allowed
        ]
        if in_the_way:
            raise PoolsNotArchived(self._in_the_way(project_id, in_the_way), in_the_way)
        if any(found.values()):
            self.log.info(
                "Toloka project %s: %d pools and %d trainings are archived first",
                project_id,
                len(found["pool_id"]),
                len(found["training_id"]),
            )
        return [name for name, step in _STEPS.items() if _needs(step, found[step.target])] + [_PROJECT]

    def _statuses_to_archive(self) -> set[str]:
        """Return the statuses of the pools and trainings that may be archived on the way."""
        if not flag_of(self.archive_pools, "archive_pools"):
            return set()
        return {"CLOSED", "OPEN"} if flag_of(self.close_open_pools, "close_open_pools") else {"CLOSED"}

    def _in_the_way(self, project_id: str, pools: list[dict[str, Any]]) -> str:
        shown = _named(pools, lambda pool: f"is {pool['status']}")
        advice = []
        statuses = {pool["status"] for pool in pools}
        if "LOCKED" in statuses:
            advice.append("a LOCKED pool can't be archived: unlock it in Toloka, or ask Toloka's support")
        if "CLOSED" not in self._statuses_to_archive():
            advice.append("set archive_pools=True to archive closed pools and trainings first")
        if "OPEN" in statuses - self._statuses_to_archive():
            advice.append("close the OPEN ones, or set close_open_pools=True, which stops the work in them")
        return (
            f"Toloka project {project_id} can't be archived before its pools and trainings are; nothing was"
            f" changed. {shown}. What to do: {'; '.join(advice)}."
        )

    @staticmethod
    def _refused_ones(notes: dict[str, Any], others: str = "") -> PoolsNotArchived:
        refused, more = notes["refused"], notes.get("more_refused", 0)
        shown = _named(refused, lambda pool: f"({pool['message']})", more)
        return PoolsNotArchived(
            f"Toloka project {notes['project_id']} can't be archived: Toloka refuses {len(refused) + more}"
            f" of its pools and trainings{'.' if others else '; the others went through.'} {shown}.{others}"
            " What to do: mend what Toloka names; one with rejected tasks can be archived nine days after the"
            " last rejection. Then clear this task: it does only what is left.",
            refused,
        )

    def _note_refused(self, pool: dict[str, Any], notes: dict[str, Any]) -> None:
        self.log.warning("Toloka refuses %s", _named([pool], lambda pool: f"({pool['message']})"))
        # A deferral carries this, and Airflow's databases take only so much.
        if len(notes.setdefault("refused", [])) < _MOST_NAMED:
            notes["refused"].append(pool)
        else:
            notes["more_refused"] = notes.get("more_refused", 0) + 1

    # --- the steps ---

    def _start_all(self, step: _Step, notes: dict[str, Any]) -> OperationBatch | None:
        """Start an operation on each pool or training of a step, unless one runs; None if none has to end."""
        hook, project_id = self.hook, notes["project_id"]
        # This is done anew where the answer to one of the requests was lost.
        for name in ("refused", "more_refused"):
            notes.pop(name, None)
        members = {one.id for one in hook.list_members(step.type, project_id, status=step.status)}
        latest = self.latest(step.type, members, notes["begin"])
        running = {id: one for id, one in latest.items() if not one.is_final}
        if running:
            self.log.info("%d operations are under way already: taking them up", len(running))
        for id in sorted(members - set(running), key=lambda id: (len(id), id)):
            try:
                operation = self.started(step.type, id, partial(hook.start, step.type, id))
            except ServiceRefusal as refusal:
                if not isinstance(refusal.error, Conflict):
                    raise
                message = shorten(" ".join(refusal.error.messages) or str(refusal.error))
                self._note_refused({step.target: id, "message": message}, notes)
                continue
            if operation is not None and is_in_vain(operation):
                self._note_refused({step.target: id, "message": operation.said}, notes)
            elif operation is not None and not operation.is_final:
                running[id] = operation
        if step.status == "CLOSED" and members:
            notes["members_archived"] = True
        if not running:
            return None
        submitted = min(one.submitted or "" for one in running.values())
        begin = time_before(submitted, 1) if submitted else time_before(notes["begin"], CLOCK_DIFFERENCE)
        return OperationBatch(step.type, project_id, begin, len(running))

    def _archived(self, notes: dict[str, Any]) -> list[dict[str, Any]]:
        """List the pools and trainings that this run archived, those of earlier tries among them."""
        found = []
        for step in (_STEPS["archive pools"], _STEPS["archive trainings"]):
            members = {one.id for one in self.hook.list_members(step.type, notes["project_id"])}
            if members:
                latest = self.latest(step.type, members, notes["begin"])
                found += [
                    {step.target: id, "operation_id": one.id, "status": one.status}
                    for id, one in sorted(latest.items(), key=lambda item: (len(item[0]), item[0]))
                ]
        return found

    def _archive_project(self, project_id: str) -> TolokaOperation | None:
        try:
            return self.sent(
                toloka.PROJECT_ARCHIVE, project_id, lambda: self.hook.archive_project(project_id)
            )
        except ServiceRefusal as refusal:
            # Somebody else may have archived it since we looked.
            if isinstance(refusal.error, Conflict) and self.hook.get_project(project_id).is_archived:
                return None
            raise


def _needs(step: _Step, pools: list[TolokaPool]) -> bool:
    """Say whether pools need a step; those that get closed are archived as well."""
    return any(pool.status == step.status or step.status == "CLOSED" for pool in pools)


def _named(pools: list[dict[str, Any]], how: Callable[[dict[str, Any]], str], unnamed: int = 0) -> str:
    shown = ", ".join(
        f"{'pool' if 'pool_id' in pool else 'training'} {pool.get('pool_id') or pool.get('training_id')}"
        f" {how(pool)}"
        for pool in pools[:_MOST_NAMED]
    )
    more = max(len(pools) - _MOST_NAMED, 0) + unnamed
    return f"{shown} and {more} more" if more > 0 else shown
