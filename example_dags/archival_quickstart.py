"""
### Quickstart: every service once

Counts the issues that a JQL matches, archives them, exports what was archived, and archives a Toloka project.

Needs the connections `jira_cloud_default` and `toloka_default`, and a one-slot pool, since Jira runs one
archive at a time: `airflow pools set jira_archival 1 "Jira archives one thing at a time" --include-deferred`.
`archival-sandbox` has the projects that the parameters name, so that nothing real is archived on a first try.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator

# The run's own time stays what it is when a task is cleared; Airflow 2 knows it by its other name.
THE_DAY_BEFORE = "{{ macros.ds_add(dag_run.run_after | default(dag_run.data_interval_end) | ds, -1) }}"


@dag(
    dag_id="archival_quickstart",
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    tags=["archival", "jira", "toloka"],
    params={
        "jql": Param("project = DEMO", type="string", minLength=1, description="What to archive."),
        "toloka_project_id": Param("10001", type="string", description="Its pools must be archived."),
        "destination": Param(
            "",
            type="string",
            description="A folder for the CSV, local or at an object store; empty: leave it.",
        ),
    },
    default_args={
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md=__doc__,
)
def archival_quickstart() -> None:
    @task
    def count(params: dict[str, str]) -> int:
        """Any method of the hook can be used from a task of your own."""
        from airflow_provider_archival.hooks.jira import JiraCloudHook

        return JiraCloudHook().count_issues(params["jql"])

    archive = JiraArchiveIssuesByJqlOperator(
        task_id="archive",
        jql="{{ params.jql }}",
        max_issues=10_000,
        pool="jira_archival",
        doc_md="Archives what the JQL matches. `max_issues` stops it before anything is archived.",
    )
    export = JiraExportArchivedIssuesOperator(
        task_id="export",
        archived_after=THE_DAY_BEFORE,
        destination="{{ params.destination }}",
        pool="jira_archival",
        doc_md="Exports what was archived since the day before this run.",
    )
    TolokaArchiveProjectOperator(
        task_id="archive_toloka_project", project_id="{{ params.toloka_project_id }}"
    )

    count() >> archive >> export


archival_quickstart()
