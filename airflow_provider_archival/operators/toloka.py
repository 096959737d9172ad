"""Operators for Toloka: archive projects and pools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_archival.api import toloka
from airflow_provider_archival.api.http import Conflict, checked_id
from airflow_provider_archival.api.toloka import TolokaOperation
from airflow_provider_archival.exceptions import (
    BadInput,
    JobError,
    PoolsNotArchived,
    ServiceRefusal,
    TolokaOperationFailed,
)
from airflow_provider_archival.operators.base import RemoteJobOperator
from airflow_provider_archival.operators.parsing import flag_of
from airflow_provider_archival.operators.progress import Found, Progress, Submission
from airflow_provider_archival.triggers.toloka import TolokaOperationTrigger

if TYPE_CHECKING:
    from airflow_provider_archival.hooks.toloka import TolokaHook

DEFAULT_CONN_ID = "toloka_default"
# How far Toloka's clock and ours may be apart, in seconds, when an operation is looked for by time.
_CLOCK_DIFFERENCE = 300.0


class _TolokaOperationOperator(RemoteJobOperator[TolokaOperation]):
    """What the operators that start a Toloka operation have in common."""

    job_id_key = "operation_id"
    toloka_conn_id: str
    hook: TolokaHook

    def make_hook(self) -> TolokaHook:
        from airflow_provider_archival.hooks.toloka import TolokaHook

        return TolokaHook(self.toloka_conn_id)

    def look(self, job: TolokaOperation) -> TolokaOperation:
        return self.hook.call(toloka.get_operation(job.id), attempts=1)

    def job_from(self, values: dict[str, Any]) -> TolokaOperation:
        return TolokaOperation.from_dict(values)

    def look_firmly(self, job: TolokaOperation) -> TolokaOperation:
        return self.hook.get_operation(job.id)

    def job_of(self, job_id: str) -> TolokaOperation:
        return TolokaOperation(job_id, "unknown", "not seen yet")

    def _find(self, type: str, name: str, id: str, since: float) -> Found[TolokaOperation] | None:
        """Look for an operation that was submitted since then, and not in vain."""
        begin = pendulum.from_timestamp(since - _CLOCK_DIFFERENCE).format("YYYY-MM-DDTHH:mm:ss.SSS")
        matching = [
            operation
            for operation in self.hook.list_operations(type=type, submitted_gte=begin)
            if str(operation.parameters.get(name)) == id and (operation.succeeded or not operation.is_final)
        ]
        running = [operation for operation in matching if not operation.is_final]
        return Found((running or matching)[-1]) if matching else None

    def trigger_for(
        self, job: TolokaOperation, progress: Progress[TolokaOperation], *, is_ours: bool = True
    ) -> TolokaOperationTrigger:
        return TolokaOperationTrigger(
            operation_id=job.id,
            toloka_conn_id=self.toloka_conn_id,
            poll_interval=self.poll_interval,
            end_time=progress.end_time,
            carried=progress.to_dict(),
        )

    def failure(self, job: TolokaOperation) -> JobError:
        return TolokaOperationFailed(
            f"Toloka operation {job.id} ({job.type} of {dict(job.parameters)}) ended {job.status}. Toloka"
            f" says: {job.said}. A retry submits a new one.",
            job.to_dict(),
        )


class TolokaArchiveProjectOperator(_TolokaOperationOperator):
    """
    Archive a Toloka project, and on request the pools and trainings in it first.

    Everything that is in the way is found and named before anything is changed. While an operation runs its
    id is in XCom under ``operation_id``. Toloka's operations can't be cancelled.

    A retry goes on with the operations of an earlier try, running or done, looks what is archived already and
    does the rest; a project that is archived is success.

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
    :raises PoolsNotArchived: pools or trainings are in the way; not retried
    :raises ServiceRefusal: no such project, or not the caller's; not retried
    :raises ServiceFault: Toloka is down; retried
    :raises TolokaOperationFailed: an operation ended ``FAIL``; retried
    :raises JobTimeout: ``timeout`` passed; the operation goes on
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
        return {"project_id": str(self.project_id)}

    def submit_next(self, progress: Progress[TolokaOperation]) -> Iterator[Submission[TolokaOperation]]:
        notes = progress.notes
        if "left" not in notes:
            notes.update(project_id=_id_of(self.project_id, "project_id"), left=self._steps())
            notes.setdefault("pools", [])
        while notes["left"]:
            is_step = False
            for submission in self._step(notes["left"].pop(0), notes):
                is_step = True
                yield submission
            if is_step:
                return

    def take_up(self, progress: Progress[TolokaOperation], *, lost: bool) -> None:
        # What is to be done is looked up again: the earlier try may have stopped in the middle of a step.
        progress.notes.pop("left", None)
        known = {None, *(operation.id for operation in progress.jobs)}
        pools = progress.notes.get("pools", [])
        progress.notes["pools"] = [pool for pool in pools if pool["operation_id"] in known]

    def result(self, progress: Progress[TolokaOperation]) -> dict[str, Any]:
        own = [one for one in progress.jobs if one.type == toloka.PROJECT_ARCHIVE]
        by_id = {one.id: one for one in progress.jobs}
        pools = [
            {**pool, "status": by_id[pool["operation_id"]].status} if pool["operation_id"] in by_id else pool
            for pool in progress.notes["pools"]
        ]
        return {
            "project_id": progress.notes["project_id"],
            "operation_id": own[-1].id if own else None,
            "status": own[-1].status if own else "ARCHIVED",
            "pools": pools,
        }

    def must_wait_for(self, job: TolokaOperation) -> bool:
        return self.wait_for_completion or job.type != toloka.PROJECT_ARCHIVE

    def _steps(self) -> list[str]:
        """Look at the project and return the steps that it takes, or raise what is in the way."""
        project_id = _id_of(self.project_id, "project_id")
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
        if not any(found.values()):
            return ["project"]
        self.log.info(
            "Toloka project %s: %d pools and %d trainings are archived first",
            project_id,
            len(found["pool_id"]),
            len(found["training_id"]),
        )
        return ["close", "pools", "trainings", "project"]

    def _statuses_to_archive(self) -> set[str]:
        """Return the statuses of the pools and trainings that may be archived on the way."""
        if not flag_of(self.archive_pools, "archive_pools"):
            return set()
        return {"CLOSED", "OPEN"} if flag_of(self.close_open_pools, "close_open_pools") else {"CLOSED"}

    def _in_the_way(self, project_id: str, pools: list[dict[str, Any]]) -> str:
        shown = ", ".join(
            f"{'pool' if 'pool_id' in pool else 'training'} {pool.get('pool_id') or pool.get('training_id')}"
            f" is {pool['status']}"
            for pool in pools[:20]
        )
        more = f" and {len(pools) - 20} more" if len(pools) > 20 else ""
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
            f" changed. {shown}{more}. What to do: {'; '.join(advice)}."
        )

    def _step(self, step: str, notes: dict[str, Any]) -> Iterator[Submission[TolokaOperation]]:
        project_id, hook = notes["project_id"], self.hook
        if step == "project":
            yield Submission(
                lambda: self._archive_project(project_id),
                lambda since: self._find(toloka.PROJECT_ARCHIVE, "project_id", project_id, since),
            )
        elif step == "close":
            for pool in hook.list_pools(project_id, status="OPEN"):
                yield Submission(partial(hook.close_pool, pool.id))
            for training in hook.list_trainings(project_id, status="OPEN"):
                yield Submission(partial(hook.close_training, training.id))
        elif step == "pools":
            for pool in hook.list_pools(project_id, status="CLOSED"):
                find = partial(self._find, toloka.POOL_ARCHIVE, "pool_id", pool.id)
                yield self._noted(
                    pool.id, "pool_id", Submission(partial(hook.archive_pool, pool.id), find), notes
                )
        elif step == "trainings":
            for one in hook.list_trainings(project_id, status="CLOSED"):
                find = partial(self._find, toloka.TRAINING_ARCHIVE, "training_id", one.id)
                submission = Submission(partial(hook.archive_training, one.id), find)
                yield self._noted(one.id, "training_id", submission, notes)

    def _noted(
        self, pool_id: str, kind: str, submission: Submission[TolokaOperation], notes: dict[str, Any]
    ) -> Submission[TolokaOperation]:
        """Have what becomes of a pool or training noted for the result."""

        def note(operation: TolokaOperation | None) -> None:
            status = operation.status if operation else "ARCHIVED"
            notes["pools"].append(
                {kind: pool_id, "operation_id": operation.id if operation else None, "status": status}
            )

        def send() -> TolokaOperation | None:
            operation = submission.send()
            note(operation)
            return operation

        def find(since: float) -> Found[TolokaOperation] | None:
            found = submission.find(since)
            if found is not None:
                note(found.job)
            return found

        return Submission(send, find)

    def _archive_project(self, project_id: str) -> TolokaOperation | None:
        try:
            return self.hook.archive_project(project_id)
        except ServiceRefusal as refusal:
            # Somebody else may have archived it since we looked.
            if isinstance(refusal.error, Conflict) and self.hook.get_project(project_id).is_archived:
                return None
            raise


class TolokaArchivePoolOperator(_TolokaOperationOperator):
    """
    Archive a Toloka pool, which must be closed.

    A retry goes on with the operation of an earlier try, running or done, and submits anew only where that
    came to nothing; a pool that is archived already is success. While the operation runs its id is in
    XCom under ``operation_id``.

    XCom: ``{"pool_id": str, "operation_id": str | None, "status": str}``: the status is the operation's, or
    ``ARCHIVED`` where the pool was archived already.

    .. seealso:: https://toloka.ai/docs/api/api-reference/#post-/pools/-id-/archive

    :param pool_id: the pool
    :param toloka_conn_id: the Airflow connection
    :param wait_for_completion: see :class:`~airflow_provider_archival.operators.base.RemoteJobOperator`, as
        for ``deferrable``, ``poll_interval`` and ``timeout`` (seconds)
    :raises BadInput: ``pool_id`` is empty, or no id
    :raises ServiceRefusal: the pool is not closed, or no such pool; not retried
    :raises ServiceFault: Toloka is down; retried
    :raises TolokaOperationFailed: the operation ended ``FAIL``; retried
    :raises JobTimeout: ``timeout`` passed; the operation goes on
    """

    template_fields: Sequence[str] = ("pool_id", "toloka_conn_id")

    def __init__(self, *, pool_id: str, toloka_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_id = pool_id
        self.toloka_conn_id = toloka_conn_id

    def asked(self) -> dict[str, Any]:
        return {"pool_id": str(self.pool_id)}

    def submit_next(self, progress: Progress[TolokaOperation]) -> Iterator[Submission[TolokaOperation]]:
        if progress.handled:
            return
        progress.notes["pool_id"] = pool_id = _id_of(self.pool_id, "pool_id")
        yield Submission(
            lambda: self.hook.archive_pool(pool_id),
            lambda since: self._find(toloka.POOL_ARCHIVE, "pool_id", pool_id, since),
        )

    def result(self, progress: Progress[TolokaOperation]) -> dict[str, Any]:
        operation = progress.jobs[-1] if progress.jobs else None
        return {
            "pool_id": progress.notes["pool_id"],
            "operation_id": operation.id if operation else None,
            "status": operation.status if operation else "ARCHIVED",
        }


def _id_of(value: Any, parameter: str) -> str:
    try:
        return checked_id(value, parameter)
    except ValueError as error:
        raise BadInput(str(error)) from None
