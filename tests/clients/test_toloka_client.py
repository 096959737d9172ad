"""The sandbox's Toloka, used by Toloka's own client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from toloka.client import Pool, Project, TolokaClient, Training, exceptions
from toloka.client import search_requests as search
from toloka.client.operations import (
    Operation,
    PoolArchiveOperation,
    PoolCloseOperation,
    ProjectArchiveOperation,
)

from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.toloka_store import (
    PROJECT_ARCHIVED,
    PROJECT_OF_ANOTHER_REQUESTER,
    PROJECT_READY,
    PROJECT_WITH_LOCKED_POOL,
    PROJECT_WITH_OPEN_POOL,
    PROJECT_WITH_TRAINING,
    PROJECT_WITHOUT_POOLS,
    PROJECTS_WITH_CLOSED_POOLS,
)

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox


def client_of(sandbox: Sandbox, token: str) -> TolokaClient:
    return TolokaClient(token, url=sandbox.base_url, retries=0)


@pytest.fixture(params=[credentials.TOLOKA_OAUTH_TOKEN, credentials.TOLOKA_API_KEY], ids=["OAuth", "ApiKey"])
def toloka(archival_sandbox: Sandbox, request: pytest.FixtureRequest) -> TolokaClient:
    return client_of(archival_sandbox, request.param)


def ended(sandbox: Sandbox, toloka: TolokaClient, operation: Operation) -> Operation:
    """Let an operation's time pass."""
    assert not operation.is_completed()
    sandbox.advance(60)
    operation = toloka.get_operation(operation.id)
    assert operation.is_completed()
    return operation


def test_knows_the_requester(toloka: TolokaClient) -> None:
    assert toloka.get_requester().public_name == {"EN": "Sandbox Requester"}


def test_archives_a_project(archival_sandbox: Sandbox, toloka: TolokaClient) -> None:
    operation = toloka.archive_project_async(PROJECT_READY)
    assert isinstance(operation, ProjectArchiveOperation)
    assert operation.parameters.project_id == PROJECT_READY
    assert ended(archival_sandbox, toloka, operation).status == Operation.Status.SUCCESS
    assert toloka.get_project(PROJECT_READY).status == Project.ProjectStatus.ARCHIVED


def test_archives_a_project_and_waits(toloka: TolokaClient) -> None:
    assert toloka.archive_project(PROJECT_WITHOUT_POOLS).status == Project.ProjectStatus.ARCHIVED


def test_closes_and_archives_pools(archival_sandbox: Sandbox, toloka: TolokaClient) -> None:
    with pytest.raises(exceptions.ConflictStateApiError):
        toloka.archive_project_async(PROJECT_WITH_OPEN_POOL)
    (opened,) = toloka.find_pools(project_id=PROJECT_WITH_OPEN_POOL, status=Pool.Status.OPEN).items
    operation = toloka.close_pool_async(opened.id)
    assert isinstance(operation, PoolCloseOperation)
    ended(archival_sandbox, toloka, operation)
    for pool in list(toloka.get_pools(project_id=PROJECT_WITH_OPEN_POOL)):
        assert pool.is_closed()
        operation = toloka.archive_pool_async(pool.id)
        assert isinstance(operation, PoolArchiveOperation)
        assert ended(archival_sandbox, toloka, operation).parameters.pool_id == pool.id
    assert toloka.archive_project_async(PROJECT_WITH_OPEN_POOL)


def test_archives_a_training_after_its_pools(archival_sandbox: Sandbox, toloka: TolokaClient) -> None:
    (training,) = toloka.get_trainings(project_id=PROJECT_WITH_TRAINING)
    assert isinstance(training, Training)
    for pool in list(toloka.get_pools(project_id=PROJECT_WITH_TRAINING)):
        assert pool.quality_control.training_requirement.training_pool_id == training.id
        ended(archival_sandbox, toloka, toloka.archive_pool_async(pool.id))
    ended(archival_sandbox, toloka, toloka.archive_training_async(training.id))
    assert toloka.get_training(training.id).is_archived()


def test_has_nothing_to_do_for_what_is_archived_already(toloka: TolokaClient) -> None:
    pool = toloka.find_pools(project_id=PROJECT_READY, limit=1).items[0]
    assert toloka.archive_pool_async(pool.id) is None
    closed = toloka.find_pools(project_id=PROJECTS_WITH_CLOSED_POOLS[0], limit=1).items[0]
    assert toloka.close_pool_async(closed.id) is None


def test_lists_operations_by_type_status_and_time(archival_sandbox: Sandbox, toloka: TolokaClient) -> None:
    first = ended(archival_sandbox, toloka, toloka.archive_project_async(PROJECT_READY))
    second = toloka.archive_project_async(PROJECT_WITHOUT_POOLS)
    found = toloka.find_operations(type="PROJECT.ARCHIVE", sort=["-submitted"])
    assert [operation.id for operation in found.items] == [second.id, first.id]
    later = toloka.find_operations(submitted_gt=first.submitted, sort=search.OperationSortItems(["id"]))
    assert [operation.id for operation in later.items] == [second.id]
    assert {operation.id for operation in toloka.get_operations(status="SUCCESS")} == {first.id}


def test_walks_all_pages(archival_sandbox: Sandbox, toloka: TolokaClient) -> None:
    added = archival_sandbox.add_toloka_project(pools=700)
    assert [pool.id for pool in toloka.get_pools(project_id=added["id"], batch_size=300)] == added["pools"]
    archived = toloka.get_projects(status=Project.ProjectStatus.ARCHIVED)
    assert [project.id for project in archived] == [PROJECT_ARCHIVED]


def test_refusals_have_their_own_exceptions(archival_sandbox: Sandbox, toloka: TolokaClient) -> None:
    with pytest.raises(exceptions.DoesNotExistApiError):
        toloka.get_project("77")
    with pytest.raises(exceptions.AccessDeniedApiError):
        toloka.get_project(PROJECT_OF_ANOTHER_REQUESTER)
    with pytest.raises(exceptions.ValidationApiError):
        toloka.find_pools(limit=301)
    with pytest.raises(exceptions.AuthenticationApiError):
        client_of(archival_sandbox, "wrong").get_requester()
    (locked,) = toloka.find_pools(project_id=PROJECT_WITH_LOCKED_POOL, status="LOCKED").items
    with pytest.raises(exceptions.IncorrectActionsApiError) as refused:
        toloka.archive_pool_async(locked.id)
    assert refused.value.code == "INAPPROPRIATE_STATUS"


@pytest.mark.parametrize("interval", ["MIN", "HOUR", "DAY"])
def test_a_limit_tells_its_interval(archival_sandbox: Sandbox, toloka: TolokaClient, interval: str) -> None:
    archival_sandbox.limit(toloka=0, interval=interval)
    with pytest.raises(exceptions.TooManyRequestsApiError) as refused:
        toloka.get_requester()
    assert refused.value.payload == {"interval": interval}
