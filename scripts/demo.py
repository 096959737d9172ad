"""Run the quickstart DAG through a real Airflow against the sandbox, and tell what it did."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from playground import PROJECT, Playground, playground

DAG, JQL, TOLOKA_PROJECT = (
    "archival_quickstart",
    "project = WEB AND issuetype in standardIssueTypes() AND updated < -1y",
    "10001",
)
CSV_FOLDER = PROJECT / ".demo"


def main() -> int:
    with playground(issues=10_000, job_seconds=4) as ground:
        say(f"Sandbox: {ground.sandbox.base_url} with 10,000 issues. Airflow: {ground.home}")
        say("Making Airflow's database …")
        ground.prepare()
        say(f"Running the DAG {DAG} …")
        conf = {"jql": JQL, "toloka_project_id": TOLOKA_PROJECT, "destination": str(CSV_FOLDER)}
        ground.airflow("dags", "test", DAG, "--conf", json.dumps(conf))
        return report(ground)


def report(ground: Playground) -> int:
    """Print what the tasks returned, hold it against what the sandbox knows; 0 when all is well."""
    archive, export, project = (result(ground, t) for t in ("archive", "export", "archive_toloka_project"))
    (task,), (file,) = archive["tasks"], export["files"]
    archived = task["result"]["numberOfIssuesUpdated"]
    left = ground.sandbox.count(JQL, archived=False)
    rows = count_rows(Path(file["path"]))
    counters = ground.sandbox.counters()
    say("")
    say(f"Issues matched      {archive['matched']} ({JQL})")
    say(f"Issues archived     {archived}, by Jira task {task['task_id']} ({task['status']}); {left} are left")
    say(f"Export              Jira task {file['task_id']}: {rows} rows in {file['path']}")
    say(f"Toloka project      {project['project_id']}: {project['operation_id']}: {project['status']}")
    say(f"Jobs submitted      {counters['jobs_submitted']}")
    checks = {
        "every issue that matched is archived": archived >= archive["matched"] > 0 and left == 0,
        "the service counted what the task reports": counters["issues_archived"] == archived,
        "the CSV has a row for each archived issue": rows == file["rows"] == archived,
        "each job was submitted once": set(counters["jobs_submitted"].values()) == {1},
        "the Toloka project is archived": project["status"] == "SUCCESS",
    }
    for what, is_so in checks.items():
        say(f"{'ok    ' if is_so else 'FAILED'} {what}")
    return 0 if all(checks.values()) else 1


def result(ground: Playground, task_id: str) -> Any:
    """Return what a task returned, from Airflow's database."""
    with sqlite3.connect(f"file:{ground.home}/airflow.db?mode=ro", uri=True) as database:
        row = database.execute(
            "SELECT value FROM xcom WHERE dag_id = ? AND task_id = ? AND key = 'return_value'", (DAG, task_id)
        ).fetchone()
    if row is None:
        raise SystemExit(f"The task {task_id} returned nothing. See {ground.home}/dags-test.log")
    return json.loads(row[0])


def count_rows(path: Path) -> int:
    """Count the rows of a CSV under its header."""
    with path.open(newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
