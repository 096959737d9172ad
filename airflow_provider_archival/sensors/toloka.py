"""The sensor that waits for a Toloka operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_archival.api import toloka
from airflow_provider_archival.api.http import checked_id
from airflow_provider_archival.api.toloka import TolokaOperation
from airflow_provider_archival.exceptions import BadInput
from airflow_provider_archival.operators.parsing import id_text_of
from airflow_provider_archival.sensors.base import JobSensor
from airflow_provider_archival.triggers.toloka import TolokaOperationTrigger

if TYPE_CHECKING:
    from airflow_provider_archival.hooks.toloka import TolokaHook


class TolokaOperationSensor(JobSensor):
    """
    Wait until a Toloka operation is a ``SUCCESS``.

    Passing faults (429, 5xx, timeouts, broken answers) count as: not yet. A retry just looks again.

    XCom: the finished operation, ``{"operation_id", "type", "status", "progress", "parameters", "details",
    …}``.

    .. seealso:: https://toloka.ai/docs/api/operations/

    :param operation_id: the operation's id
    :param toloka_conn_id: the Airflow connection
    :param deferrable: wait in the triggerer; otherwise as ``mode`` (``poke`` or ``reschedule``) says. The
        other parameters of Airflow's sensors hold: ``poke_interval`` and ``timeout`` in seconds,
        ``soft_fail``
    :raises BadInput: ``operation_id`` is empty, or no id; not retried
    :raises WatchedJobFailed: the operation ended ``FAIL``, or is unknown; not retried
    :raises WatchRefused: the caller may not see the operation; not retried
    :raises AirflowSensorTimeout: ``timeout`` passed; the operation goes on
    """

    template_fields: Sequence[str] = ("operation_id", "toloka_conn_id")
    hook: TolokaHook

    def __init__(self, *, operation_id: str, toloka_conn_id: str = "toloka_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.operation_id = operation_id
        self.toloka_conn_id = toloka_conn_id

    def make_hook(self) -> TolokaHook:
        from airflow_provider_archival.hooks.toloka import TolokaHook

        return TolokaHook(self.toloka_conn_id)

    def job_id(self) -> str:
        try:
            return checked_id(id_text_of(self.operation_id, "operation_id"), "operation_id")
        except ValueError as error:
            raise BadInput(str(error)) from None

    def look(self) -> TolokaOperation:
        return self.hook.call(toloka.get_operation(self.job_id()), attempts=1)

    def job_from(self, values: dict[str, Any]) -> TolokaOperation:
        return TolokaOperation.from_dict(values)

    def trigger(self, end_time: float) -> TolokaOperationTrigger:
        return TolokaOperationTrigger(
            operation_id=self.job_id(),
            toloka_conn_id=self.toloka_conn_id,
            poll_interval=self.poke_interval,
            end_time=end_time,
        )
