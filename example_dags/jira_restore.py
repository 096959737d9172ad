"""
### Undo a retention run

Brings back the issues that one run of `jira_retention` archived. Which these are is read from the CSV that
the run exported, so that run needs a **destination**. The CSV holds all that was archived in those days:
issues that were not archived while the run's own Jira tasks ran are left alone, and subtasks come back with
their parents.

- **run_id**: the run to undo, such as `scheduled__2026-01-31T02:30:00+00:00`

Needs the connection `jira_cloud_default`. It can be run again: what is back is left alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_archival.operators.jira import JiraUnarchiveIssuesOperator


@dag(
    dag_id="jira_restore",
    schedule=None,
    start_date=pendulum.datetime(2024, 1, 1, tz="UTC"),
    catchup=False,
    tags=["archival", "jira"],
    params={"run_id": Param(type="string", minLength=1, description="The run of jira_retention to undo.")},
    default_args={
        "retries": 4,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md=__doc__,
)
def jira_restore() -> None:
    @task
    def archived_by_the_run(params: dict[str, Any]) -> list[str]:
        """Return the keys of the issues that the run archived."""
        import csv

        from airflow.providers.common.compat.sdk import (
            XCOM_RETURN_KEY,
            AirflowFailException,
            ObjectStoragePath,
            XCom,
        )

        # Airflow 2's xcom_pull knows no other runs.
        archive, export = (
            XCom.get_one(
                key=XCOM_RETURN_KEY, dag_id="jira_retention", task_id=task_id, run_id=params["run_id"]
            )
            for task_id in ("archive", "export")
        )
        if not archive or not export:
            raise AirflowFailException(
                f"There is no finished run of jira_retention named {params['run_id']!r}."
            )
        paths = [file["path"] for file in export["files"] if file["path"]]
        if archive["tasks"] and not paths:
            raise AirflowFailException(
                "That run saved no CSV: it had no destination. Get the CSV from the e-mail that Jira sent,"
                " and give its keys to a JiraUnarchiveIssuesOperator."
            )
        if archive["matched"] and not archive["tasks"]:
            raise AirflowFailException(
                "That run archived issues by a Jira task whose id it never learned, so nobody can tell which."
                " Choose them in the CSV, and give their keys to a JiraUnarchiveIssuesOperator."
            )
        # By Jira's own clock, on both sides.
        spans = [
            (pendulum.parse(one["submitted"]), pendulum.parse(one["finished"])) for one in archive["tasks"]
        ]
        keys = []
        for path in paths:
            with ObjectStoragePath(path).open(
                "r", encoding="utf-8-sig", errors="replace", newline=""
            ) as file:
                for row in csv.DictReader(iter(file.readline, "")):  # On Airflow 2 it can't be looped over.
                    key = row.get("Issue key") or row.get("Work item key")
                    if not key:
                        continue
                    moment = pendulum.parse(row["ArchivedDate"], strict=False).start_of("second")
                    in_time = any(begin.start_of("second") <= moment <= end for begin, end in spans)
                    if in_time and not row.get("Parent"):
                        keys.append(key)
        return keys

    JiraUnarchiveIssuesOperator(
        task_id="restore",
        issue_ids_or_keys=archived_by_the_run(),
        doc_md="Any number of issues. Fails when some could not be brought back, and names them.",
    )


jira_restore()
