"""One request of each kind that the two services are sent."""

from __future__ import annotations

from typing import Any

from airflow_provider_archival.api import jira, toloka
from airflow_provider_archival.api.http import Request

EVERY_REQUEST: list[Request[Any]] = [
    jira.archive_issues(["A-1"]),
    jira.unarchive_issues(["A-1"]),
    jira.archive_by_jql("project = A"),
    jira.export_archived_issues(jira.ExportFilter()),
    jira.get_task("1"),
    jira.cancel_task("1"),
    jira.count_issues("project = A"),
    jira.search_issues("project = A", 1),
    jira.myself(),
    jira.is_admin(),
    toloka.archive_project("1"),
    toloka.archive_pool("1"),
    toloka.archive_training("1"),
    toloka.close_pool("1"),
    toloka.close_training("1"),
    toloka.start("POOL.ARCHIVE", "1"),
    toloka.get_operation("1"),
    toloka.list_operations(),
    toloka.list_pools("1"),
    toloka.list_trainings("1"),
    toloka.get_project("1"),
    toloka.requester(),
]
