"""The operator that archives a Toloka pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from airflow_provider_archival.api import toloka
from airflow_provider_archival.operators.progress import Progress, Submission
from airflow_provider_archival.operators.toloka_operations import (
    DEFAULT_CONN_ID,
    TolokaJob,
    TolokaJobOperator,
    id_of,
)


class TolokaArchivePoolOperator(TolokaJobOperator):
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
        return {"pool_id": id_of(self.pool_id, "pool_id"), "toloka_conn_id": self.toloka_conn_id}

    def submit_next(self, progress: Progress[TolokaJob]) -> Iterator[Submission[TolokaJob]]:
        if progress.handled:
            return
        progress.notes["pool_id"] = pool_id = id_of(self.pool_id, "pool_id")
        yield Submission(
            lambda: self.sent(toloka.POOL_ARCHIVE, pool_id, lambda: self.hook.archive_pool(pool_id)),
            lambda since: self.find(toloka.POOL_ARCHIVE, pool_id, since),
            appears_late=True,
        )

    def result(self, progress: Progress[TolokaJob]) -> dict[str, Any]:
        operation = progress.jobs[-1] if progress.jobs else None
        return {
            "pool_id": progress.notes["pool_id"],
            "operation_id": operation.id if operation else None,
            "status": operation.status if operation else "ARCHIVED",
        }
