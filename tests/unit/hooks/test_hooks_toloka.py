"""What the Toloka hook's methods do, against the sandbox's Toloka."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_archival.api import http
from airflow_provider_archival.api.batches import OperationBatch
from airflow_provider_archival.api.http import UnreadableAnswer
from airflow_provider_archival.api.jobs import batch_looker
from airflow_provider_archival.exceptions import JobTimeout, ServiceFault, ServiceRefusal
from airflow_provider_archival.hooks.base import ATTEMPTS
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.sandbox.toloka_store import (
    PROJECT_ARCHIVED,
    PROJECT_OF_ANOTHER_REQUESTER,
    PROJECT_READY,
    PROJECT_WITH_OPEN_POOL,
    PROJECT_WITH_REJECTIONS,
    PROJECT_WITH_TRAINING,
    PROJECTS_WITH_CLOSED_POOLS,
)

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Connections, Pauses

OPERATION = "/api/v1/operations/*"


@pytest.fixture
def hook(connections: Connections) -> TolokaHook:
    return TolokaHook()


# --- operations ---


def test_a_project_is_archived(archival_sandbox: Sandbox, hook: TolokaHook, pauses: Pauses) -> None:
    operation = hook.archive_project(PROJECT_READY)
    assert operation
    assert (operation.type, operation.parameters) == ("PROJECT.ARCHIVE", {"project_id": PROJECT_READY})
    ended = hook.wait_for_operation(operation.id)
    assert (ended.id, ended.status) == (operation.id, "SUCCESS")
    assert hook.get_project(PROJECT_READY).is_archived


def test_an_archived_project_needs_no_operation(hook: TolokaHook) -> None:
    assert hook.archive_project(PROJECT_ARCHIVED) is None


def test_a_pool_is_closed_and_archived(hook: TolokaHook, pauses: Pauses) -> None:
    pool = next(pool for pool in hook.list_pools(PROJECT_WITH_OPEN_POOL) if pool.status == "OPEN")
    for start in (hook.close_pool, hook.archive_pool):
        operation = start(pool.id)
        assert operation
        assert hook.wait_for_operation(operation.id).succeeded
        assert start(pool.id) is None


def test_a_training_is_archived_after_its_pools(hook: TolokaHook, pauses: Pauses) -> None:
    (training,) = hook.list_trainings(PROJECT_WITH_TRAINING)
    with pytest.raises(ServiceRefusal, match=r"HTTP 409: CONFLICT_STATE.*Before a project, all its pools"):
        hook.archive_training(training.id)
    for pool in hook.list_pools(PROJECT_WITH_TRAINING):
        operation = hook.archive_pool(pool.id)
        assert operation
        hook.wait_for_operation(operation.id)
    operation = hook.archive_training(training.id)
    assert operation
    assert hook.wait_for_operation(operation.id).succeeded


def test_a_training_is_closed(archival_sandbox: Sandbox, hook: TolokaHook, pauses: Pauses) -> None:
    training = archival_sandbox.add_toloka_project(trainings=1, status="OPEN")["trainings"][0]
    operation = hook.close_training(training)
    assert operation
    assert operation.type == "TRAINING.CLOSE"
    assert hook.wait_for_operation(operation.id).succeeded
    assert hook.close_training(training) is None


@pytest.mark.parametrize(
    ("project_id", "advice"),
    [
        (PROJECT_WITH_OPEN_POOL, "all its pools and trainings must be archived"),
        (PROJECT_OF_ANOTHER_REQUESTER, "Check the token"),
        ("4711", "Check the id, and that it belongs to this account and environment"),
    ],
)
def test_a_refusal_says_what_to_do(hook: TolokaHook, project_id: str, advice: str) -> None:
    with pytest.raises(ServiceRefusal, match=advice):
        hook.archive_project(project_id)


def test_a_pool_with_rejections_says_how_long_to_wait(hook: TolokaHook) -> None:
    (pool,) = hook.list_pools(PROJECT_WITH_REJECTIONS)
    with pytest.raises(ServiceRefusal, match=r"rejected less than 9 days ago.*nine days must have passed"):
        hook.archive_pool(pool.id)


def test_a_wait_returns_an_operation_that_failed(
    archival_sandbox: Sandbox, hook: TolokaHook, pauses: Pauses
) -> None:
    operation = hook.archive_project(PROJECT_READY)
    assert operation
    archival_sandbox.job(operation.id, "fail", message="It was not to be.")
    ended = hook.wait_for_operation(operation.id)
    assert (ended.status, ended.details) == ("FAIL", {"message": "It was not to be."})


@pytest.mark.parametrize(
    "what",
    [{"status": 429}, {"status": 503}, {"reset": "after"}, {"body": "html"}, {"body": "broken"}],
    ids=str,
)
def test_a_wait_survives_any_number_of_passing_faults(
    archival_sandbox: Sandbox, hook: TolokaHook, pauses: Pauses, what: dict[str, Any]
) -> None:
    operation = hook.archive_project(PROJECT_READY)
    assert operation
    archival_sandbox.fault(OPERATION, times=20, **what)
    assert hook.wait_for_operation(operation.id).succeeded


def test_a_wait_is_over_at_its_deadline(archival_sandbox: Sandbox, hook: TolokaHook, pauses: Pauses) -> None:
    operation = hook.archive_project(PROJECT_READY)
    assert operation
    archival_sandbox.job(operation.id, "freeze")
    with pytest.raises(JobTimeout, match=f"Toloka operation {operation.id} did not end in time") as caught:
        hook.wait_for_operation(operation.id, timeout=600)
    assert caught.value.job["operation_id"] == operation.id
    assert caught.value.job["type"] == "PROJECT.ARCHIVE"


def test_a_wait_for_an_unknown_operation_ends_at_once(hook: TolokaHook, pauses: Pauses) -> None:
    with pytest.raises(ServiceRefusal, match="HTTP 404") as caught:
        hook.wait_for_operation("4711")
    assert isinstance(caught.value.error, http.NotFound)


# --- lists ---


def test_pools_are_listed_over_all_pages(archival_sandbox: Sandbox, hook: TolokaHook) -> None:
    added = archival_sandbox.add_toloka_project(pools=700, status="CLOSED")
    pools = list(hook.list_pools(added["id"]))
    assert [pool.id for pool in pools] == added["pools"]
    assert {pool.project_id for pool in pools} == {added["id"]}
    asked = [request["query"] for request in archival_sandbox.requests("/api/v1/pools")]
    assert len(asked) == 3
    assert [query.get("id_gt") for query in asked] == [None, added["pools"][299], added["pools"][599]]


def test_trainings_are_listed_over_all_pages(archival_sandbox: Sandbox, hook: TolokaHook) -> None:
    added = archival_sandbox.add_toloka_project(trainings=301, status="CLOSED")
    assert [training.id for training in hook.list_trainings(added["id"])] == added["trainings"]


def test_a_list_fetches_no_more_pages_than_are_used(archival_sandbox: Sandbox, hook: TolokaHook) -> None:
    added = archival_sandbox.add_toloka_project(pools=700, status="CLOSED")
    next(iter(hook.list_pools(added["id"])))
    assert len(archival_sandbox.requests("/api/v1/pools")) == 1


def test_pools_are_listed_by_status(hook: TolokaHook) -> None:
    found = {
        status: [pool.status for pool in hook.list_pools(PROJECT_WITH_OPEN_POOL, status=status)]
        for status in ("OPEN", "CLOSED", "ARCHIVED")
    }
    assert found == {"OPEN": ["OPEN"], "CLOSED": ["CLOSED"], "ARCHIVED": []}


def test_operations_are_listed_over_all_pages(archival_sandbox: Sandbox, hook: TolokaHook) -> None:
    added = archival_sandbox.add_toloka_project(pools=510, status="CLOSED")
    for pool in added["pools"]:
        hook.archive_pool(pool)
    operations = list(hook.list_operations(type="POOL.ARCHIVE"))
    assert sorted(operation.parameters["pool_id"] for operation in operations) == sorted(added["pools"])
    assert len({operation.id for operation in operations}) == 510
    assert len(archival_sandbox.requests("/api/v1/operations")) == 2


def test_operations_are_listed_by_type_status_and_time(archival_sandbox: Sandbox, hook: TolokaHook) -> None:
    archived = hook.archive_project(PROJECT_READY)
    archival_sandbox.advance(3600)
    (pool, _) = hook.list_pools(PROJECTS_WITH_CLOSED_POOLS[0])
    running = hook.archive_pool(pool.id)
    assert archived
    assert running
    assert running.submitted
    since = running.submitted[:19]
    assert [one.id for one in hook.list_operations(status="SUCCESS")] == [archived.id]
    assert [one.id for one in hook.list_operations(submitted_gte=since)] == [running.id]
    assert [one.id for one in hook.list_operations(type="POOL.ARCHIVE")] == [running.id]
    assert list(hook.list_operations(type="POOL.CLOSE")) == []


def test_a_page_that_fails_for_a_moment_is_asked_for_again(
    archival_sandbox: Sandbox, hook: TolokaHook, pauses: Pauses
) -> None:
    added = archival_sandbox.add_toloka_project(pools=301, status="CLOSED")
    archival_sandbox.fault("/api/v1/pools", status=503, skip=1)
    assert len(list(hook.list_pools(added["id"]))) == 301


# --- test_connection, the hook itself ---


def test_a_good_token_passes_the_connection_test(hook: TolokaHook) -> None:
    assert hook.test_connection() == (True, "Signed in as Sandbox Requester.")


def test_a_wrong_token_fails_the_connection_test(connections: Connections, hook: TolokaHook) -> None:
    connections.change("toloka_default", password="wrong-token")
    is_good, message = hook.test_connection()
    assert not is_good
    assert "HTTP 401" in message
    assert "wrong-token" not in message


def test_the_hook_is_known_under_airflows_names() -> None:
    assert TolokaHook.conn_name_attr == "toloka_conn_id"
    assert TolokaHook().toloka_conn_id == TolokaHook.default_conn_name == "toloka_default"
    assert TolokaHook.conn_type == "toloka"


def test_a_faults_error_is_there_for_callers(hook: TolokaHook) -> None:
    with pytest.raises(ServiceFault) as caught:
        hook.get_project("4711")
    assert (caught.value.error.status, caught.value.error.request_line) == (404, "GET /projects/4711")


@pytest.mark.parametrize(
    "page",
    [
        {"items": [{"id": "1", "project_id": "7", "status": "CLOSED"}], "has_more": True},
        {"items": [], "has_more": True},
        {"items": [], "has_more": "maybe"},
    ],
)
def test_a_list_that_can_have_no_end_is_a_fault_and_no_shorter_list(
    archival_sandbox: Sandbox, hook: TolokaHook, pauses: Pauses, page: dict[str, Any]
) -> None:
    archival_sandbox.fault("/api/v1/pools", times=None, status=200, body=page)
    with pytest.raises(ServiceFault, match="unreadable answer") as caught:
        list(hook.list_pools("7"))
    assert caught.value.error.can_repeat
    assert len(archival_sandbox.requests("/api/v1/pools")) <= 1 + ATTEMPTS
    batch = OperationBatch("POOL.ARCHIVE", "7", "2000-01-01T00:00:00.000", 1)
    with pytest.raises(UnreadableAnswer, match="unreadable answer"):
        asyncio.run(TolokaHook().afollow(batch_looker(batch)()))


def test_a_page_that_comes_again_once_is_asked_for_again(
    archival_sandbox: Sandbox, hook: TolokaHook, pauses: Pauses
) -> None:
    added = archival_sandbox.add_toloka_project(pools=301, status="CLOSED")
    pool = {"id": added["pools"][0], "project_id": added["id"], "status": "CLOSED"}
    archival_sandbox.fault(
        "/api/v1/pools", status=200, body={"items": [pool], "has_more": True}, skip=1, times=1
    )
    assert len({pool.id for pool in hook.list_pools(added["id"])}) == 301


def test_the_first_look_at_a_large_project_lists_only_what_is_in_it(
    archival_sandbox: Sandbox, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_archival.api.jobs._MOST_AT_FIRST", 2)
    added = archival_sandbox.add_toloka_project(pools=3, status="CLOSED")
    for id in added["pools"]:
        TolokaHook().archive_pool(id)
    batch = OperationBatch("POOL.ARCHIVE", added["id"], "2000-01-01T00:00:00.000", 3)

    async def two_looks() -> list[OperationBatch]:
        hook, look = TolokaHook(), batch_looker(batch)
        return [await hook.afollow(look()) for _ in range(2)]

    hook, look = TolokaHook(), batch_looker(batch)
    for first, second in ([hook.follow(look()) for _ in range(2)], asyncio.run(two_looks())):
        assert first == batch
        assert sum(second.counts.values()) == 3
