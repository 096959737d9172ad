"""The trigger that watches a Jira task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_archival.api import jira
from airflow_provider_archival.triggers.base import JobTrigger

if TYPE_CHECKING:
    from airflow_provider_archival.api.jira import JiraTask
    from airflow_provider_archival.hooks.jira import JiraCloudHook


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

    def __init__(
        self,
        jira_task_id: str,
        jira_conn_id: str,
        poll_interval: float,
        end_time: float,
        cancel_on_kill: bool = False,
        carried: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(jira_conn_id, jira_task_id, poll_interval, end_time, carried)
        self.jira_task_id = jira_task_id
        self.jira_conn_id = jira_conn_id
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all plain data."""
        return (
            "airflow_provider_archival.triggers.jira.JiraTaskTrigger",
            {
                "jira_task_id": self.jira_task_id,
                "jira_conn_id": self.jira_conn_id,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "cancel_on_kill": self.cancel_on_kill,
                "carried": self.carried,
            },
        )

    def make_hook(self) -> JiraCloudHook:
        from airflow_provider_archival.hooks.jira import JiraCloudHook

        return JiraCloudHook(self.jira_conn_id)

    async def look(self, hook: JiraCloudHook) -> JiraTask:
        return await hook.acall(jira.get_task(self.jira_task_id), attempts=1)

    async def on_kill(self) -> None:
        """Cancel the Jira task; Airflow 3.3 and later call this when a user acts on the deferred task."""
        if not self.cancel_on_kill:
            return
        try:
            await self.make_hook().acall(jira.cancel_task(self.jira_task_id), attempts=2)
        except Exception as error:  # noqa: BLE001 (nobody is left to raise it to)
            self.log.warning("Could not cancel Jira task %s: %s", self.jira_task_id, error)
        else:
            self.log.info(
                "Asked Jira to cancel task %s, because the Airflow task was ended", self.jira_task_id
            )
