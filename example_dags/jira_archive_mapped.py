"""
### Archive keys that another task found, in batches

`find_issues` stands for whatever knows the keys: a query in your warehouse, a spreadsheet, a ticket. Its
batches are archived by mapped tasks, and `summarise` says what was not archived and why, instead of failing
everything.

Needs the connection `jira_cloud_default`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_archival.operators.jira import JiraArchiveIssuesOperator

log = logging.getLogger(__name__)


@dag(
    dag_id="jira_archive_mapped",
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    tags=["archival", "jira"],
    params={
        "issues": Param(
            ["DEMO-1", "DEMO-2", "DEMO-404"],
            type="array",
            items={"type": "string"},
            description="Issue keys or ids.",
        ),
        "batch_size": Param(500, type="integer", minimum=1, description="Issues in a mapped task."),
    },
    default_args={
        "retries": 4,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md=__doc__,
)
def jira_archive_mapped() -> None:
    @task
    def find_issues(params: dict[str, Any]) -> list[list[str]]:
        """Return the keys in batches."""
        keys, size = params["issues"], params["batch_size"]
        return [keys[start : start + size] for start in range(0, len(keys), size)]

    @task
    def summarise(reports: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Say how many were archived, and for each reason how many were not, and which."""
        total = {"requested": 0, "archived": 0}
        failed: Counter[str] = Counter()
        for report in reports:
            for name in total:
                total[name] += report[name]
            for reason, error in report["errors"].items():
                failed[reason] += error["count"]
                log.warning("%s: %s %s", reason, error["message"], ", ".join(error["issue_ids_or_keys"]))
        log.info("Archived %(archived)d, subtasks included; %(requested)d were asked for.", total)
        return {**total, "failed": dict(failed)}

    archived = JiraArchiveIssuesOperator.partial(task_id="archive", fail_on_partial_error=False).expand(
        issue_ids_or_keys=find_issues()
    )
    summarise(archived.output)


jira_archive_mapped()
