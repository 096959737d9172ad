"""The triggers that watch Toloka operations: one, or many together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_archival.api import toloka
from airflow_provider_archival.api.batches import OperationBatch
from airflow_provider_archival.triggers.base import JobTrigger

if TYPE_CHECKING:
    from airflow_provider_archival.api.toloka import TolokaOperation
    from airflow_provider_archival.hooks.toloka import TolokaHook


class _TolokaTrigger(JobTrigger):
    """Looks at Toloka."""

    toloka_conn_id: str

    def make_hook(self) -> TolokaHook:
        from airflow_provider_archival.hooks.toloka import TolokaHook

        return TolokaHook(self.toloka_conn_id)


class TolokaOperationTrigger(_TolokaTrigger):
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

    def __init__(
        self,
        operation_id: str,
        toloka_conn_id: str,
        poll_interval: float,
        end_time: float,
        carried: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(toloka_conn_id, operation_id, poll_interval, end_time, carried)
        self.operation_id = operation_id
        self.toloka_conn_id = toloka_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all plain data."""
        return (
            "airflow_provider_archival.triggers.toloka.TolokaOperationTrigger",
            {
                "operation_id": self.operation_id,
                "toloka_conn_id": self.toloka_conn_id,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "carried": self.carried,
            },
        )

    async def on_kill(self) -> None:
        """Say that the operation goes on; Airflow 3.3 and later call this when a user acts on the task."""
        self.log.warning("Toloka operation %s can't be cancelled; it goes on", self.operation_id)

    async def look(self, hook: TolokaHook) -> TolokaOperation:
        return await hook.acall(toloka.get_operation(self.operation_id), attempts=1)


class TolokaBatchTrigger(_TolokaTrigger):
    """
    Watch many Toloka operations until all have ended, 500 a request.

    :param batch: what :meth:`~airflow_provider_archival.api.batches.OperationBatch.to_dict` returned
    :param toloka_conn_id: the Airflow connection
    :param poll_interval: the longest pause between two looks, in seconds
    :param end_time: when to give up, in epoch seconds
    :param carried: plain data that comes back with the event
    """

    def __init__(
        self,
        batch: dict[str, Any],
        toloka_conn_id: str,
        poll_interval: float,
        end_time: float,
        carried: dict[str, Any] | None = None,
    ) -> None:
        self._batch = OperationBatch.from_dict(batch)
        super().__init__(toloka_conn_id, self._batch.id, poll_interval, end_time, carried)
        self.batch = batch
        self.toloka_conn_id = toloka_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all plain data."""
        return (
            "airflow_provider_archival.triggers.toloka.TolokaBatchTrigger",
            {
                "batch": self.batch,
                "toloka_conn_id": self.toloka_conn_id,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "carried": self.carried,
            },
        )

    async def on_kill(self) -> None:
        """Say that the operations go on; Airflow 3.3 and later call this when a user acts on the task."""
        self.log.warning("Toloka operations can't be cancelled; they go on: %s", self._batch.id)

    async def look(self, hook: TolokaHook) -> OperationBatch:
        return await hook.aget_batch(self._batch)
