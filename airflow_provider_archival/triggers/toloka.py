"""The triggers that watch Toloka operations: one, or many together."""

from __future__ import annotations

from typing import Any

from airflow_provider_archival.api.batches import OperationBatch
from airflow_provider_archival.api.jobs import TOLOKA_BATCH, TOLOKA_OPERATION
from airflow_provider_archival.triggers.base import JobTrigger


class TolokaOperationTrigger(JobTrigger):
    """
    Watch a Toloka operation until it ends; see :class:`~airflow_provider_archival.triggers.base.JobTrigger`.

    Toloka can't cancel operations, so nothing happens to it when a user ends the deferred Airflow task.

    .. seealso:: https://toloka.ai/docs/api/operations/

    :param operation_id: the operation's id
    :param toloka_conn_id: the Airflow connection
    :param poll_interval: the longest pause between two looks, in seconds
    :param end_time: when to give up, in epoch seconds
    :param carried: plain data that comes back with the event
    """

    kind = TOLOKA_OPERATION

    def __init__(
        self,
        operation_id: str,
        toloka_conn_id: str,
        poll_interval: float,
        end_time: float,
        carried: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            operation_id=operation_id,
            toloka_conn_id=toloka_conn_id,
            poll_interval=poll_interval,
            end_time=end_time,
            carried=carried,
        )


class TolokaBatchTrigger(JobTrigger):
    """
    Watch many Toloka operations until all have ended, 500 a request.

    :param batch: what :meth:`~airflow_provider_archival.api.batches.OperationBatch.to_dict` returned
    :param toloka_conn_id: the Airflow connection
    :param poll_interval: the longest pause between two looks, in seconds
    :param end_time: when to give up, in epoch seconds
    :param carried: plain data that comes back with the event
    """

    kind = TOLOKA_BATCH
    batch: dict[str, Any]

    def __init__(
        self,
        batch: dict[str, Any],
        toloka_conn_id: str,
        poll_interval: float,
        end_time: float,
        carried: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            batch=batch,
            toloka_conn_id=toloka_conn_id,
            poll_interval=poll_interval,
            end_time=end_time,
            carried=carried,
        )

    @property
    def job(self) -> OperationBatch:
        """The operations as they were seen last."""
        return OperationBatch.from_dict(self.batch)

    async def on_kill(self) -> None:
        """Say that the operations go on; Airflow 3.3 and later call this when a user acts on the task."""
        self.log.warning("Toloka operations can't be cancelled; they go on: %s", self.job.id)
