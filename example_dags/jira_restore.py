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

import logging
from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import Param, dag, task

from airflow_provider_archival.operators.jira import JiraUnarchiveIssuesOperator

log = logging.getLogger(__name__)


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
        from airflow.providers.common.compat.sdk import (
            XCOM_RETURN_KEY,
            AirflowFailException,
            ObjectStoragePath,
            XCom,
        )

        from airflow_provider_archival.files.csv_text import filled, key_column, reading

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
        keys, undated = [], []
        for path in paths:
            # In any encoding, with rows of any length.
            with reading(ObjectStoragePath(path)) as rows:
                table = filled(rows)
                header = next(table, [])
                column = key_column(header)
                if header and column is None:
                    raise AirflowFailException(f"{path} has no column that names the issues' key: {header}")
                for cells in table:
                    row = dict(zip(header, cells, strict=False))
                    key = row.get(header[column])
                    if not key or row.get("Parent"):
                        continue
                    if not row.get("ArchivedDate"):
                        undated.append(key)
                        continue
                    moment = pendulum.parse(row["ArchivedDate"], strict=False).start_of("second")
                    if any(begin.start_of("second") <= moment <= end for begin, end in spans):
                        keys.append(key)
        if undated:
            log.warning("The CSV does not tell when these were archived: left alone: %s", ", ".join(undated))
        return keys

    JiraUnarchiveIssuesOperator(
        task_id="restore",
        issue_ids_or_keys=archived_by_the_run(),
        doc_md="Any number of issues. Fails when some could not be brought back, and names them.",
    )


jira_restore()
