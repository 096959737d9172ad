"""What the operators that start a Jira task have in common."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_archival.api import jira
from airflow_provider_archival.api.http import Busy
from airflow_provider_archival.api.jira import JiraTask
from airflow_provider_archival.api.times import moment_of
from airflow_provider_archival.exceptions import (
    JiraTaskCancelled,
    JiraTaskDead,
    JiraTaskFailed,
    JobError,
    ServiceRefusal,
)
from airflow_provider_archival.operators.base import RemoteJobOperator
from airflow_provider_archival.operators.progress import Progress
from airflow_provider_archival.triggers.jira import JiraTaskTrigger

if TYPE_CHECKING:
    from airflow_provider_archival.hooks.jira import JiraCloudHook

DEFAULT_CONN_ID = "jira_cloud_default"
# A Date header counts whole seconds.
_CLOCK_STEP = 2.0
_FAILURES: dict[str, type[JobError]] = {
    "FAILED": JiraTaskFailed,
    "CANCELLED": JiraTaskCancelled,
    "DEAD": JiraTaskDead,
}


class JiraTaskOperator(RemoteJobOperator[JiraTask]):
    """What the operators that start a Jira task have in common."""

    job_id_key = "jira_task_id"
    jira_conn_id: str
    hook: JiraCloudHook

    def make_hook(self) -> JiraCloudHook:
        from airflow_provider_archival.hooks.jira import JiraCloudHook

        return JiraCloudHook(self.jira_conn_id)

    def look(self, job: JiraTask) -> JiraTask:
        return self.hook.call(jira.get_task(job.id), attempts=1)

    def job_from(self, values: dict[str, Any]) -> JiraTask:
        return JiraTask.from_dict(values)

    def look_firmly(self, job: JiraTask) -> JiraTask:
        return self.hook.get_task(job.id)

    def job_of(self, job_id: str) -> JiraTask:
        return JiraTask(job_id, "not seen yet")

    def is_ending(self, job: JiraTask) -> bool:
        return job.status == "CANCEL_REQUESTED"

    def adopt(self, job_id: str, error: Busy, since: float) -> JiraTask | None:
        """
        Return the task that is in the way if it was submitted after our own attempt began.

        Its age is measured by Jira's clock alone, our attempt's age by ours alone: the clocks need not agree.
        """
        try:
            task = self.hook.get_task(job_id)
        except ServiceRefusal:
            return None
        submitted = moment_of(task.submitted)
        if submitted is None:
            return None
        age = (error.served_at or time.time()) - submitted.timestamp()
        return task if age <= time.time() - since + _CLOCK_STEP else None

    def trigger_for(
        self, job: JiraTask, progress: Progress[JiraTask], *, is_ours: bool = True
    ) -> JiraTaskTrigger:
        return JiraTaskTrigger(
            jira_task_id=job.id,
            jira_conn_id=self.jira_conn_id,
            poll_interval=self.poll_interval,
            end_time=self.deadline_of(progress).at,
            carried=progress.pack(),
            cancel_on_kill=self.cancel_on_kill and is_ours,
        )

    def failure(self, job: JiraTask) -> JobError:
        return _FAILURES.get(job.status, JiraTaskFailed)(
            f"Jira task {job.id} ended {job.status}. Jira says: {job.said}. A retry submits a new one.",
            job.to_dict(),
        )

    def cancel(self, job: JiraTask) -> None:
        if self.hook.cancel_task(job.id):
            self.log.info("Asked Jira to cancel task %s", job.id)
        else:
            self.log.info("Jira task %s had ended already", job.id)
