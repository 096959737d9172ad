"""What a run carries through a deferral."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

from airflow_provider_archival.operators.progress import Progress

from airflow_provider_archival.api.jira import JiraTask

A_COLUMN_OF_MYSQL = 65_535
AS_FERNET_WRITES_IT = 4 / 3


def a_task(number: int, rng: random.Random) -> JiraTask:
    begin = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * number)
    times = (str(begin + timedelta(milliseconds=rng.randrange(900_000))) for _ in range(3))
    return JiraTask(
        str(10_000 + number),
        "COMPLETE",
        progress=100,
        message="The task is complete.",
        result={"numberOfIssuesUpdated": rng.randrange(100_000), "errors": {}},
        submitted=next(times),
        started=next(times),
        finished=next(times),
        elapsed_runtime=rng.randrange(900_000),
    )


def test_a_run_of_hundreds_of_tasks_fits_in_any_database_and_comes_back() -> None:
    rng = random.Random(1)
    progress = Progress(1.5, 2.5, {"jql": "project = A"}, done=[a_task(number, rng) for number in range(330)])
    progress.notes["windows"] = [
        {
            "after": str(datetime(2015, 1, 1, tzinfo=UTC) + timedelta(minutes=n * 9973)),
            "before": None,
            "matched": rng.randrange(100_000),
            "task_ids": [str(10_000 + n)],
        }
        for n in range(330)
    ]
    carried = progress.pack()
    assert len(json.dumps(progress.to_dict())) > A_COLUMN_OF_MYSQL
    assert len(json.dumps(carried)) * AS_FERNET_WRITES_IT < A_COLUMN_OF_MYSQL
    assert Progress.unpack(json.loads(json.dumps(carried)), JiraTask.from_dict) == progress
