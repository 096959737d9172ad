"""The sensor that waits for a Toloka operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_archival.api.jobs import TOLOKA_OPERATION
from airflow_provider_archival.sensors.base import JobSensor


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
    kind = TOLOKA_OPERATION

    def __init__(self, *, operation_id: str, toloka_conn_id: str = "toloka_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.operation_id = operation_id
        self.toloka_conn_id = toloka_conn_id
