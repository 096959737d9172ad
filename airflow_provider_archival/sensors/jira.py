"""The sensor that waits for a Jira task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_archival.api.jobs import JIRA_TASK
from airflow_provider_archival.sensors.base import JobSensor


class JiraTaskSensor(JobSensor):
    """
    Wait until a Jira task, such as an archive or an export, is ``COMPLETE``.

    Passing faults (429, 5xx, timeouts, broken answers) count as: not yet. A retry just looks again.

    XCom: the finished task, ``{"task_id", "status", "progress", "result", "message", "submitted",
    "finished", …}``.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-tasks/

    :param jira_task_id: the task's id or URL (``task_id`` is Airflow's own)
    :param jira_conn_id: the Airflow connection
    :param deferrable: wait in the triggerer; otherwise as ``mode`` (``poke`` or ``reschedule``) says. The
        other parameters of Airflow's sensors hold: ``poke_interval`` and ``timeout`` in seconds,
        ``soft_fail``
    :raises BadInput: ``jira_task_id`` is empty, or no task's id or URL; not retried
    :raises WatchedJobFailed: the task ended ``FAILED``, ``CANCELLED`` or ``DEAD``, or is unknown; not retried
    :raises WatchRefused: the caller may not see the task; not retried
    :raises AirflowSensorTimeout: ``timeout`` passed; the Jira task goes on
    """

    template_fields: Sequence[str] = ("jira_task_id", "jira_conn_id")
    kind = JIRA_TASK

    def __init__(self, *, jira_task_id: str, jira_conn_id: str = "jira_cloud_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.jira_task_id = jira_task_id
        self.jira_conn_id = jira_conn_id
