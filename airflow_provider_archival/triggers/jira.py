"""The trigger that watches a Jira task."""

from __future__ import annotations

from typing import Any

from airflow_provider_archival.api.jobs import JIRA_TASK
from airflow_provider_archival.triggers.base import JobTrigger


class JiraTaskTrigger(JobTrigger):
    """
    Watch a Jira task until it ends; see :class:`~airflow_provider_archival.triggers.base.JobTrigger` for
    its event.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-tasks/

    :param jira_task_id: the task's id
    :param jira_conn_id: the Airflow connection
    :param poll_interval: the longest pause between two looks, in seconds
    :param end_time: when to give up, in epoch seconds
    :param cancel_on_kill: cancel the Jira task when a user ends the deferred Airflow task (Airflow 3.3 and
        later)
    :param carried: plain data that comes back with the event
    """

    kind = JIRA_TASK

    def __init__(
        self,
        jira_task_id: str,
        jira_conn_id: str,
        poll_interval: float,
        end_time: float,
        cancel_on_kill: bool = False,
        carried: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            jira_task_id=jira_task_id,
            jira_conn_id=jira_conn_id,
            poll_interval=poll_interval,
            end_time=end_time,
            cancel_on_kill=cancel_on_kill,
            carried=carried,
        )
