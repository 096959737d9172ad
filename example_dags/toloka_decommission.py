"""
### Decommission Toloka projects

Archives the closed pools of each project, then the project, one mapped task each. What is archived already
is left alone, so the DAG can be run again after something was in the way.

Needs the connection `toloka_default`. Open pools are not closed: that would stop the work in them.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator


@dag(
    dag_id="toloka_decommission",
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    tags=["archival", "toloka"],
    params={
        "project_ids": Param(
            ["10011", "10012"],
            type="array",
            items={"type": "string", "pattern": "^[0-9]+$"},
            description="The projects to archive.",
        )
    },
    default_args={
        "retries": 4,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "deferrable": True,
        "max_active_tis_per_dagrun": 16,
    },
    doc_md=__doc__,
)
def toloka_decommission() -> None:
    @task
    def projects(params: dict[str, list[str]]) -> list[str]:
        """Return the ids of the projects."""
        return params["project_ids"]

    @task
    def closed_pools(project_ids: list[str]) -> list[str]:
        """Find the closed pools of all projects."""
        from airflow_provider_archival.hooks.toloka import TolokaHook

        hook = TolokaHook()
        return [pool.id for project in project_ids for pool in hook.list_pools(project, status="CLOSED")]

    found = projects()
    pools = TolokaArchivePoolOperator.partial(task_id="archive_pools").expand(pool_id=closed_pools(found))
    archive = TolokaArchiveProjectOperator.partial(
        task_id="archive_projects", archive_pools=True, trigger_rule="none_failed"
    ).expand(project_id=found)
    pools >> archive


toloka_decommission()
