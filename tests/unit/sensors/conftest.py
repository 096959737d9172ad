"""What the sensors' tests share: a job of each service that runs, and a sensor that watches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.sensors.base import JobSensor
    from tests.unit.conftest import Connections


@pytest.fixture(params=["jira", "toloka"])
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def job_id(connections: Connections, service: str) -> str:
    """A job that runs."""
    if service == "jira":
        return JiraCloudHook().archive_issues_by_jql("key = DEMO-4")
    operation = TolokaHook().archive_project(PROJECT_READY)
    assert operation
    return operation.id


@pytest.fixture
def sensor(service: str, job_id: str) -> Callable[..., JobSensor]:
    """Make a sensor that watches the job."""

    def make(job: Any = job_id, **more: Any) -> JobSensor:
        common = {"task_id": "watch", "poke_interval": 30, **more}
        if service == "jira":
            return JiraTaskSensor(jira_task_id=job, **common)
        return TolokaOperationSensor(operation_id=job, **common)

    return make
