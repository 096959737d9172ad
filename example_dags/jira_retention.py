"""
### Nightly retention for Jira

Archives the issues of some projects that nobody has touched for a while, then exports what this run archived.

- **projects**: the keys, such as `ABC`
- **age**: how long an issue must have been left alone, as JQL writes it: `2y`, `26w`, `90d`
- **guard**: more issues than this, and nothing is archived: somebody should look first
- **destination**: a folder for the exported CSV, local or at an object store; `jira_restore` undoes a run
  that has one

Needs the connection `jira_cloud_default`, and a one-slot pool, since Jira runs one archive at a time:
`airflow pools set jira_archival 1 "Jira archives one thing at a time" --include-deferred`.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import Param, dag

from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraExportArchivedIssuesOperator,
)

# The run's own time stays what it is when a task is cleared; Airflow 2 knows it by its other name.
THE_DAY_BEFORE = "{{ macros.ds_add(dag_run.run_after | default(dag_run.data_interval_end) | ds, -1) }}"
JQL = """
project in ({{ params.projects | join(", ") }})
AND issuetype in standardIssueTypes()
AND status in (Done, Closed)
AND updated < -{{ params.age }}
"""


@dag(
    dag_id="jira_retention",
    schedule="30 2 * * *",
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    tags=["archival", "jira"],
    params={
        "projects": Param(
            ["DEMO"],
            type="array",
            minItems=1,
            items={"type": "string", "pattern": "^[A-Z][A-Z0-9_]+$"},
            description="Project keys.",
        ),
        "age": Param(
            "2y", type="string", pattern="^[1-9][0-9]*[dwy]$", description="Such as 2y, 26w or 90d."
        ),
        "guard": Param(
            5000, type="integer", minimum=1, description="Archive nothing when more issues match."
        ),
        "destination": Param("", type="string", description="A folder for the CSV; empty: leave it at Jira."),
    },
    default_args={
        "retries": 5,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=30),
        "pool": "jira_archival",
        "deferrable": True,
    },
    doc_md=__doc__,
)
def jira_retention() -> None:
    archive = JiraArchiveIssuesByJqlOperator(
        task_id="archive",
        jql=JQL,
        max_issues="{{ params.guard }}",  # type: ignore[arg-type] # a template renders to text
        timeout=6 * 60 * 60,
        doc_md="Subtasks go with their parents. Archived issues leave the JQL: each night takes the rest.",
    )
    export = JiraExportArchivedIssuesOperator(
        task_id="export",
        projects="{{ params.projects }}",
        archived_after=THE_DAY_BEFORE,
        destination="{{ params.destination }}",
        doc_md="Exports what was archived since the day before this run: Jira may not count that day itself.",
    )
    archive >> export


jira_retention()
