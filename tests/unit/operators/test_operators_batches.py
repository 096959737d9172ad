"""Archiving a Toloka project with many pools: each once, awaited together, whatever happens on the way."""

from __future__ import annotations

import collections
import json
from typing import TYPE_CHECKING, Any

import pytest
from tries import Killed, Store, Tries

from airflow_provider_archival.api import toloka
from airflow_provider_archival.exceptions import (
    JobTimeout,
    PoolsNotArchived,
    ServiceFault,
    TolokaOperationFailed,
)
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import PROJECT_WITH_REJECTIONS

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Deferrals, Pauses

OPERATIONS, POOLS = "/api/v1/operations", "/api/v1/pools"

pytestmark = pytest.mark.usefixtures("connections", "pauses")


def archive(project_id: str, **more: Any) -> dict[str, Any]:
    return {
        "operator": TolokaArchiveProjectOperator,
        "project_id": project_id,
        "archive_pools": True,
        "close_open_pools": True,
        **more,
    }


def started(sandbox: Sandbox) -> dict[str, collections.Counter[str]]:
    """How often an operation was started on each pool, training and project, by type."""
    found: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for job in sandbox.jobs():
        (target,) = job["payload"].values()
        found[job["kind"]][target] += 1
    return found


def check_each_once(sandbox: Sandbox, pools: int, trainings: int, *, closed: bool = False) -> None:
    counted = started(sandbox)
    closes = {} if closed else {"POOL.CLOSE": pools, "TRAINING.CLOSE": trainings}
    assert {kind: len(targets) for kind, targets in counted.items()} == closes | {
        "POOL.ARCHIVE": pools,
        "TRAINING.ARCHIVE": trainings,
        "PROJECT.ARCHIVE": 1,
    }
    assert {times for targets in counted.values() for times in targets.values()} == {1}


def statuses(project_id: str) -> list[str]:
    hook = TolokaHook()
    return [one.status for one in (*hook.list_pools(project_id), *hook.list_trainings(project_id))]


def test_the_pools_of_a_step_are_awaited_together(
    tries: Tries, archival_sandbox: Sandbox, pauses: Pauses, store: Store
) -> None:
    pools = toloka.MAX_OPERATIONS_PER_PAGE + 1
    added = archival_sandbox.add_toloka_project(pools=pools, trainings=2, status="CLOSED")
    result = tries.run(**archive(added["id"]))
    assert result["status"] == "SUCCESS"
    assert [one["pool_id"] for one in result["pools"][:-2]] == added["pools"]
    assert [one["training_id"] for one in result["pools"][-2:]] == added["trainings"]
    assert {one["status"] for one in result["pools"]} == {"SUCCESS"}
    check_each_once(archival_sandbox, pools, 2, closed=True)
    # No operation of a pool is asked for by itself: two pages a poll, and one for the project's operation.
    by_id = [one for one in archival_sandbox.requests(f"{OPERATIONS}/*") if "?" not in one["path"]]
    assert len(by_id) <= len(pauses.asked)
    assert len(archival_sandbox.requests(OPERATIONS)) < 60
    assert len(archival_sandbox.requests(POOLS)) < 30
    assert max(len(json.dumps(kept)) for kept in store.history) < 4000
    assert store.kept == {}


@pytest.mark.parametrize("deferrable", [True])
def test_a_deferral_is_small_and_plain_data(
    archival_sandbox: Sandbox, tries: Tries, deferrals: Deferrals
) -> None:
    added = archival_sandbox.add_toloka_project(pools=150, status="CLOSED")
    tries.run(**archive(added["id"]))
    assert len(deferrals.seen) == 2
    for deferred in deferrals.seen:
        assert len(json.dumps(deferred.trigger.serialize())) < 3000


@pytest.mark.parametrize("killed_at", range(1, 26, 4))
@pytest.mark.parametrize("remembers", [True, False], ids=["store", "no store"])
def test_a_crash_at_any_point_and_a_retry_start_each_operation_once(
    tries: Tries,
    tries_without_store: Tries,
    archival_sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: int,
    remembers: bool,
) -> None:
    added = archival_sandbox.add_toloka_project(pools=4, trainings=2, status="OPEN")
    sent = 0
    call = TolokaHook.call

    def killed(self: TolokaHook, *request: Any, **how: Any) -> Any:
        nonlocal sent
        answer = call(self, *request, **how)
        sent += 1
        if sent == killed_at:
            raise Killed
        return answer

    monkeypatch.setattr(TolokaHook, "call", killed)
    runs = tries if remembers else tries_without_store
    with pytest.raises(Killed):
        runs.run(**archive(added["id"]))
    result = runs.run(**archive(added["id"]))
    assert TolokaHook().get_project(added["id"]).is_archived
    check_each_once(archival_sandbox, 4, 2)
    assert set(statuses(added["id"])) == {"ARCHIVED"}
    if remembers:
        assert len(result["pools"]) == 6


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_answers_in_the_middle_of_a_step_start_nothing_twice(
    tries: Tries, archival_sandbox: Sandbox, when: str
) -> None:
    added = archival_sandbox.add_toloka_project(pools=6, status="CLOSED")
    archival_sandbox.fault(f"{POOLS}/*/archive", reset=when, skip=2, times=3)
    result = tries.run(**archive(added["id"]))
    assert len(result["pools"]) == 6
    assert set(started(archival_sandbox)["POOL.ARCHIVE"].values()) == {1}


def test_a_service_that_goes_down_in_the_middle_of_a_step_costs_only_what_was_not_done(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    added = archival_sandbox.add_toloka_project(pools=6, status="CLOSED")
    archival_sandbox.fault(f"{POOLS}/*/archive", status=503, skip=4, times=None)
    with pytest.raises(ServiceFault):
        tries.run(**archive(added["id"]))
    archival_sandbox.clear_faults()
    result = tries.run(**archive(added["id"]))
    assert len(result["pools"]) == 6
    assert set(started(archival_sandbox)["POOL.ARCHIVE"].values()) == {1}


def test_operations_that_fail_are_named_and_a_retry_starts_only_these_again(
    tries: Tries, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    added = archival_sandbox.add_toloka_project(pools=5, status="CLOSED")

    def fail_two() -> None:
        pauses.before = None
        for job in archival_sandbox.jobs()[1:3]:
            archival_sandbox.job(job["id"], "fail", message="Somebody rated a task.")

    pauses.before = fail_two
    with pytest.raises(TolokaOperationFailed, match=r"2 of 5 .*Somebody rated a task.*these only") as caught:
        tries.run(**archive(added["id"]))
    failed = added["pools"][1:3]
    assert all(f"pool {id} " in str(caught.value) for id in failed)
    assert "PROJECT.ARCHIVE" not in started(archival_sandbox)

    result = tries.run(**archive(added["id"]))
    assert result["status"] == "SUCCESS"
    assert started(archival_sandbox)["POOL.ARCHIVE"] == {
        id: 2 if id in failed else 1 for id in added["pools"]
    }
    assert {one["status"] for one in result["pools"]} == {"SUCCESS"}


def test_pools_that_toloka_refuses_keep_the_project_only(tries: Tries, archival_sandbox: Sandbox) -> None:
    hook = TolokaHook()
    (refused,) = [one.id for one in hook.list_pools(PROJECT_WITH_REJECTIONS)]
    with pytest.raises(PoolsNotArchived, match=f"pool {refused} .*nine days after") as caught:
        tries.run(**archive(PROJECT_WITH_REJECTIONS))
    assert [one["pool_id"] for one in caught.value.pools] == [refused]
    archival_sandbox.advance(7 * 24 * 3600)
    result = tries.run(**archive(PROJECT_WITH_REJECTIONS))
    assert (result["status"], len(result["pools"])) == ("SUCCESS", 1)


def test_operations_of_others_in_the_same_project_are_taken_up(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    added = archival_sandbox.add_toloka_project(pools=3, status="CLOSED")
    TolokaHook().archive_pool(added["pools"][1])
    tries.run(**archive(added["id"]))
    assert set(started(archival_sandbox)["POOL.ARCHIVE"].values()) == {1}


def test_a_timeout_leaves_the_operations_to_the_next_try(tries: Tries, archival_sandbox: Sandbox) -> None:
    added = archival_sandbox.add_toloka_project(pools=3, status="CLOSED")
    with pytest.raises(JobTimeout, match=r"POOL.ARCHIVE of 3 in project"):
        tries.run(**archive(added["id"], timeout=1))
    assert tries.run(**archive(added["id"]))["status"] == "SUCCESS"
    assert set(started(archival_sandbox)["POOL.ARCHIVE"].values()) == {1}


def test_an_operation_that_is_over_at_once_is_not_waited_for(tries: Tries, archival_sandbox: Sandbox) -> None:
    added = archival_sandbox.add_toloka_project(pools=1, status="CLOSED")
    said = {
        "id": "at-once",
        "type": toloka.POOL_ARCHIVE,
        "status": "FAIL",
        "parameters": {"pool_id": added["pools"][0]},
        "details": {"message": "No."},
    }
    archival_sandbox.fault(f"{POOLS}/*/archive", status=202, body=json.dumps(said))
    with pytest.raises(PoolsNotArchived, match=r"'message': 'No.'"):
        tries.run(**archive(added["id"]))
    # A success that Toloka's list does not know is one all the same.
    archival_sandbox.fault(f"{POOLS}/*/archive", status=202, body=json.dumps({**said, "status": "SUCCESS"}))
    archival_sandbox.fault("/api/v1/projects/*/archive", status=204)
    assert tries.run(**archive(added["id"]))["status"] == "ARCHIVED"
