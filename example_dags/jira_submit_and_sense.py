"""
### Submit now, wait elsewhere

`submit` starts the archive and returns at once; a deferrable sensor waits for Jira's task without taking a
worker's slot. Other tasks can run in between, and the sensor can be in another DAG: it needs only the id.

Needs the connection `jira_cloud_default`, and a one-slot pool, since Jira runs one archive at a time:
`airflow pools set jira_archival 1 "Jira archives one thing at a time" --include-deferred`.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_archival.operators.jira import JiraArchiveIssuesByJqlOperator
from airflow_provider_archival.sensors.jira import JiraTaskSensor


@dag(
    dag_id="jira_submit_and_sense",
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    tags=["archival", "jira"],
    params={"jql": Param("project = DEMO", type="string", minLength=1, description="What to archive.")},
    default_args={
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "pool": "jira_archival",
    },
    doc_md=__doc__,
)
def jira_submit_and_sense() -> None:
    submit = JiraArchiveIssuesByJqlOperator(
        task_id="submit", jql="{{ params.jql }}", wait_for_completion=False
    )

    @task.short_circuit
    def something_was_submitted(submitted: dict[str, list[object]]) -> bool:
        """Skip the rest when the JQL matched nothing."""
        return bool(submitted["tasks"])

    wait = JiraTaskSensor(
        task_id="wait",
        jira_task_id="{{ ti.xcom_pull(task_ids='submit', key='jira_task_id') }}",
        deferrable=True,
        poke_interval=30,
        timeout=6 * 60 * 60,
        doc_md="Fails, without retries, when Jira's task ends `FAILED`, `CANCELLED` or `DEAD`.",
    )
    something_was_submitted(submit.output) >> wait


jira_submit_and_sense()
