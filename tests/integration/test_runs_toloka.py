"""Toloka's operators in DAG runs: what they do at Toloka, and what they leave in XCom."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import task
from conftest import Airflow, Run, rows, until

from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import (
    PROJECT_ARCHIVED,
    PROJECT_READY,
    PROJECT_WITH_OPEN_POOL,
    PROJECT_WITH_TRAINING,
    PROJECT_WITHOUT_POOLS,
    PROJECTS_WITH_CLOSED_POOLS,
)

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

RunIt = Callable[..., Run]
EndJobs = Callable[..., Future[list[Any]]]
WITH_CLOSED_POOLS = PROJECTS_WITH_CLOSED_POOLS[0]


def pools_of(project_id: str, what: str = "pools") -> dict[str, str]:
    """Return the status of each pool (or training) of a project, by id."""
    from airflow_provider_archival.hooks.toloka import TolokaHook

    found = getattr(TolokaHook(), f"list_{what}")(project_id)
    return {pool.id: pool.status for pool in found}


def is_archived(project_id: str) -> bool:
    from airflow_provider_archival.hooks.toloka import TolokaHook

    return TolokaHook().get_project(project_id).is_archived


def operations(sandbox: Sandbox, kind: str) -> list[str]:
    """Return the ids of the operations of a kind, in the order of their submission."""
    return [job["id"] for job in sandbox.jobs() if job["kind"] == kind]


# --- projects ---


@pytest.mark.parametrize("project_id", [PROJECT_READY, PROJECT_WITHOUT_POOLS])
def test_a_project_whose_pools_are_archived_is_archived_by_one_operation(
    sandbox: Sandbox, run: RunIt, deferrable: bool, project_id: str
) -> None:
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job", project_id=project_id, deferrable=deferrable, poll_interval=0.1
        )
    )
    assert done.states() == {"job": "success"}
    (operation,) = operations(sandbox, "PROJECT.ARCHIVE")
    assert done.xcom("job") == {
        "project_id": project_id,
        "operation_id": operation,
        "status": "SUCCESS",
        "pools": [],
    }
    assert done.xcom("job", "operation_id") == operation
    assert is_archived(project_id)
    assert sandbox.counters()["jobs_submitted"] == {"PROJECT.ARCHIVE": 1}


def test_a_project_that_is_archived_already_is_success(
    sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job", project_id=PROJECT_ARCHIVED, deferrable=deferrable
        )
    )
    assert done.states() == {"job": "success"}
    assert done.xcom("job") == {
        "project_id": PROJECT_ARCHIVED,
        "operation_id": None,
        "status": "ARCHIVED",
        "pools": [],
    }
    assert sandbox.jobs() == []


def test_closed_pools_are_archived_before_their_project(
    sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    before = pools_of(WITH_CLOSED_POOLS)
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job",
            project_id=WITH_CLOSED_POOLS,
            archive_pools=True,
            deferrable=deferrable,
            poll_interval=0.1,
        )
    )
    assert done.states() == {"job": "success"}
    assert done.xcom("job") == {
        "project_id": WITH_CLOSED_POOLS,
        "operation_id": operations(sandbox, "PROJECT.ARCHIVE")[0],
        "status": "SUCCESS",
        "pools": [
            {"pool_id": pool, "operation_id": operation, "status": "SUCCESS"}
            for pool, operation in zip(sorted(before), operations(sandbox, "POOL.ARCHIVE"), strict=True)
        ],
    }
    assert set(pools_of(WITH_CLOSED_POOLS).values()) == {"ARCHIVED"}
    assert is_archived(WITH_CLOSED_POOLS)
    assert sandbox.counters()["jobs_submitted"] == {"POOL.ARCHIVE": 2, "PROJECT.ARCHIVE": 1}


def test_open_pools_are_closed_first_where_that_is_asked_for(
    sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job",
            project_id=PROJECT_WITH_OPEN_POOL,
            archive_pools=True,
            close_open_pools=True,
            deferrable=deferrable,
            poll_interval=0.1,
        )
    )
    assert done.states() == {"job": "success"}
    value = done.xcom("job")
    assert [pool["status"] for pool in value["pools"]] == ["SUCCESS", "SUCCESS"]
    assert {pool["pool_id"] for pool in value["pools"]} == set(pools_of(PROJECT_WITH_OPEN_POOL))
    assert [job["kind"] for job in sandbox.jobs()] == [
        "POOL.CLOSE",
        "POOL.ARCHIVE",
        "POOL.ARCHIVE",
        "PROJECT.ARCHIVE",
    ]
    assert is_archived(PROJECT_WITH_OPEN_POOL)


def test_trainings_are_archived_after_the_pools_that_use_them(
    sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    (training,) = pools_of(PROJECT_WITH_TRAINING, "trainings")
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job",
            project_id=PROJECT_WITH_TRAINING,
            archive_pools=True,
            deferrable=deferrable,
            poll_interval=0.1,
        )
    )
    assert done.states() == {"job": "success"}
    assert done.xcom("job")["pools"][-1] == {
        "training_id": training,
        "operation_id": operations(sandbox, "TRAINING.ARCHIVE")[0],
        "status": "SUCCESS",
    }
    assert [job["kind"] for job in sandbox.jobs()] == [
        "POOL.ARCHIVE",
        "POOL.ARCHIVE",
        "TRAINING.ARCHIVE",
        "PROJECT.ARCHIVE",
    ]
    assert is_archived(PROJECT_WITH_TRAINING)


def test_open_pools_and_trainings_of_one_project_are_closed_and_archived(
    sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    project_id = sandbox.add_toloka_project(pools=3, trainings=2, status="OPEN")["id"]
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job",
            project_id=project_id,
            archive_pools=True,
            close_open_pools=True,
            deferrable=deferrable,
            poll_interval=0.1,
        )
    )
    assert done.states() == {"job": "success"}
    assert [pool["status"] for pool in done.xcom("job")["pools"]] == ["SUCCESS"] * 5
    assert sandbox.counters()["jobs_submitted"] == {
        "POOL.CLOSE": 3,
        "TRAINING.CLOSE": 2,
        "POOL.ARCHIVE": 3,
        "TRAINING.ARCHIVE": 2,
        "PROJECT.ARCHIVE": 1,
    }


def test_without_waiting_the_pools_are_waited_for_and_the_project_is_not(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool, end_jobs: EndJobs
) -> None:
    end_jobs("finish", "finish")
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job",
            project_id=WITH_CLOSED_POOLS,
            archive_pools=True,
            wait_for_completion=False,
            deferrable=deferrable,
            poll_interval=0.1,
        )
    )
    assert done.states() == {"job": "success"}
    (operation,) = operations(slow_sandbox, "PROJECT.ARCHIVE")
    assert slow_sandbox.job(operation)["ended"] is None
    value = done.xcom("job")
    assert value["operation_id"] == operation == done.xcom("job", "operation_id")
    assert value["status"] in ("PENDING", "RUNNING")
    assert [pool["status"] for pool in value["pools"]] == ["SUCCESS", "SUCCESS"]


def test_the_operations_id_is_in_xcom_while_it_runs_and_it_is_submitted_once(
    slow_sandbox: Sandbox, airflow: Airflow, deferrable: bool, end_jobs: EndJobs
) -> None:
    with airflow.dag() as dag:
        TolokaArchiveProjectOperator(
            task_id="job", project_id=PROJECT_READY, deferrable=deferrable, poll_interval=0.1
        )

    def look(id: str) -> Any:
        found = until(
            lambda: rows(
                "SELECT task_id, key, value FROM xcom WHERE dag_id = ? AND key != 'return_value'", dag.dag_id
            )
        )
        until(lambda: slow_sandbox.counters()["polls"].get(id, 0) >= 3)
        return [(row["task_id"], row["key"], json.loads(row["value"])) for row in found]

    seen = end_jobs("finish", look=look)
    done = airflow.run(dag)
    (job,) = slow_sandbox.jobs()
    assert seen.result() == [[("job", "operation_id", job["id"])]]
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 1
    assert slow_sandbox.counters()["jobs_submitted"] == {"PROJECT.ARCHIVE": 1}


def test_projects_are_mapped_over_what_an_upstream_task_found(
    sandbox: Sandbox, airflow: Airflow, deferrable: bool
) -> None:
    @task
    def find() -> list[str]:
        return [PROJECT_READY, PROJECT_ARCHIVED, WITH_CLOSED_POOLS]

    with airflow.dag() as dag:
        TolokaArchiveProjectOperator.partial(
            task_id="job", archive_pools=True, deferrable=deferrable, poll_interval=0.1
        ).expand(project_id=find())
    done = airflow.run(dag)
    assert set(done.states().values()) == {"success"}
    assert [done.xcom("job", map_index=index)["status"] for index in range(3)] == [
        "SUCCESS",
        "ARCHIVED",
        "SUCCESS",
    ]
    assert sandbox.counters()["jobs_submitted"] == {"POOL.ARCHIVE": 2, "PROJECT.ARCHIVE": 2}


# --- pools ---


def test_a_closed_pool_is_archived_by_one_operation(sandbox: Sandbox, run: RunIt, deferrable: bool) -> None:
    pool = min(pools_of(WITH_CLOSED_POOLS))
    done = run(
        lambda: TolokaArchivePoolOperator(
            task_id="job", pool_id=pool, deferrable=deferrable, poll_interval=0.1
        )
    )
    assert done.states() == {"job": "success"}
    (operation,) = operations(sandbox, "POOL.ARCHIVE")
    assert done.xcom("job") == {"pool_id": pool, "operation_id": operation, "status": "SUCCESS"}
    assert done.xcom("job", "operation_id") == operation
    assert pools_of(WITH_CLOSED_POOLS)[pool] == "ARCHIVED"
    assert sandbox.counters()["jobs_submitted"] == {"POOL.ARCHIVE": 1}


def test_a_pool_that_is_archived_already_is_success(sandbox: Sandbox, run: RunIt, deferrable: bool) -> None:
    pool = min(pools_of(PROJECT_READY))
    done = run(lambda: TolokaArchivePoolOperator(task_id="job", pool_id=pool, deferrable=deferrable))
    assert done.states() == {"job": "success"}
    assert done.xcom("job") == {"pool_id": pool, "operation_id": None, "status": "ARCHIVED"}
    assert sandbox.jobs() == []


def test_without_waiting_a_pools_operation_goes_on(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    pool = min(pools_of(WITH_CLOSED_POOLS))
    done = run(
        lambda: TolokaArchivePoolOperator(
            task_id="job", pool_id=pool, wait_for_completion=False, deferrable=deferrable
        )
    )
    assert done.states() == {"job": "success"}
    (job,) = slow_sandbox.jobs()
    assert job["ended"] is None
    assert done.xcom("job", "operation_id") == done.xcom("job")["operation_id"] == job["id"]


def test_an_api_key_works_as_a_token_does(
    sandbox: Sandbox, run: RunIt, deferrable: bool, connection: Callable[..., str]
) -> None:
    connection("toloka_default", password="sandboxsandboxsandboxx.toloka.apikey")
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job", project_id=PROJECT_READY, deferrable=deferrable, poll_interval=0.1
        )
    )
    assert done.states() == {"job": "success"}


def test_a_connection_of_the_older_toloka_provider_works_unchanged(
    sandbox: Sandbox, run: RunIt, deferrable: bool, connection: Callable[..., str]
) -> None:
    connection(
        "toloka_old",
        conn_type="toloka",
        extra={
            "extra__toloka__token": "sandbox-toloka-token",
            "extra__toloka__environment": "PRODUCTION",
            "extra__toloka__url": sandbox.base_url,
        },
    )
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job",
            project_id=PROJECT_READY,
            toloka_conn_id="toloka_old",
            deferrable=deferrable,
            poll_interval=0.1,
        )
    )
    assert done.states() == {"job": "success"}
