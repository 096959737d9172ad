"""What the plans that start Jira tasks have in common."""

from __future__ import annotations

from airflow_provider_archival.api.jira import JiraTask
from airflow_provider_archival.api.times import moment_of
from airflow_provider_archival.plans.base import Since

# A Date header counts whole seconds, and the machines of a service need not agree on the last one.
_CLOCK_STEP = 2.0


def is_older(task: JiraTask, since: Since) -> bool:
    """
    Say whether a task was submitted before an attempt began, both by Jira's clock.

    It says no more: what came later may be anybody's.
    """
    submitted = moment_of(task.submitted)
    if submitted is None or since.served is None:
        return False
    return submitted.timestamp() < since.served - _CLOCK_STEP
