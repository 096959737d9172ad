"""The operator that archives a Toloka project, with everything in it if need be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow_provider_archival.api.jobs import TOLOKA_OPERATION
from airflow_provider_archival.operators.base import JobOperator
from airflow_provider_archival.operators.parsing import DEFAULT_TOLOKA_CONN_ID, flag_of, id_of
from airflow_provider_archival.plans.toloka_project import ArchiveProject


class TolokaArchiveProjectOperator(JobOperator):
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
    :param wait_for_completion: see :class:`~airflow_provider_archival.operators.base.JobOperator`, as
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
    kind = TOLOKA_OPERATION

    def __init__(
        self,
        *,
        project_id: str,
        archive_pools: bool = False,
        close_open_pools: bool = False,
        toloka_conn_id: str = DEFAULT_TOLOKA_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_id = project_id
        self.archive_pools = archive_pools
        self.close_open_pools = close_open_pools
        self.toloka_conn_id = toloka_conn_id

    def plan(self) -> ArchiveProject:
        return ArchiveProject(
            id_of(self.project_id, "project_id"),
            archive_pools=flag_of(self.archive_pools, "archive_pools"),
            close_open_pools=flag_of(self.close_open_pools, "close_open_pools"),
            now=time.time(),
        )
