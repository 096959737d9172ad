"""The operator that archives a Toloka pool."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow_provider_archival.api.jobs import TOLOKA_OPERATION
from airflow_provider_archival.operators.base import JobOperator
from airflow_provider_archival.operators.parsing import DEFAULT_TOLOKA_CONN_ID, id_of
from airflow_provider_archival.plans.toloka_pool import ArchivePool


class TolokaArchivePoolOperator(JobOperator):
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
    :param wait_for_completion: see :class:`~airflow_provider_archival.operators.base.JobOperator`, as
        for ``deferrable``, ``poll_interval`` and ``timeout`` (seconds)
    :raises BadInput: ``pool_id`` is empty, or no id
    :raises ServiceRefusal: the pool is not closed, or no such pool; not retried
    :raises ServiceFault: Toloka is down; retried
    :raises TolokaOperationFailed: the operation ended ``FAIL``; retried
    :raises JobTimeout: ``timeout`` passed; the operation goes on
    """

    template_fields: Sequence[str] = ("pool_id", "toloka_conn_id")
    kind = TOLOKA_OPERATION

    def __init__(self, *, pool_id: str, toloka_conn_id: str = DEFAULT_TOLOKA_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_id = pool_id
        self.toloka_conn_id = toloka_conn_id

    def plan(self) -> ArchivePool:
        return ArchivePool(id_of(self.pool_id, "pool_id"), time.time())
