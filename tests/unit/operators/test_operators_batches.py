"""Archiving a Toloka project with many pools: each once, awaited together, whatever happens on the way."""

from __future__ import annotations

import collections
import json
from datetime import UTC, datetime
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


def test_an_operation_that_appears_late_is_not_started_again(
    tries: Tries, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    added = archival_sandbox.add_toloka_project(pools=2, status="CLOSED")
    archival_sandbox.fault(f"{POOLS}/{added['pools'][0]}/archive", reset="before")
    archival_sandbox.fault("/api/v1/projects/*/archive", reset="before")

    def appear() -> None:
        # What Toloka was asked for has its effect only after the first looks.
        if pauses.asked[-2:] == [1.0, 2.0]:
            last = archival_sandbox.requests(method="POST")[-1]["path"]
            (TolokaHook().archive_project if "projects" in last else TolokaHook().archive_pool)(
                last.split("/")[-2]
            )

    pauses.before = appear
    tries.run(**archive(added["id"], poll_interval=3))
    assert {times for targets in started(archival_sandbox).values() for times in targets.values()} == {1}


def test_a_fault_now_and_then_does_not_fail_a_long_step(tries: Tries, archival_sandbox: Sandbox) -> None:
    added = archival_sandbox.add_toloka_project(pools=8, status="CLOSED")
    for id in added["pools"]:
        archival_sandbox.fault(f"{POOLS}/{id}/archive", status=503)
    assert len(tries.run(**archive(added["id"]))["pools"]) == 8
    assert set(started(archival_sandbox)["POOL.ARCHIVE"].values()) == {1}


def test_what_runs_since_before_the_dag_run_is_taken_up_without_a_store(
    tries_without_store: Tries, archival_sandbox: Sandbox
) -> None:
    # Airflow moves a DAG run's start when a task of a finished run is cleared.
    added = archival_sandbox.add_toloka_project(pools=2, status="CLOSED")
    with pytest.raises(JobTimeout):
        tries_without_store.run(**archive(added["id"], timeout=1))
    for job in archival_sandbox.jobs():
        archival_sandbox.job(job["id"], "freeze")
    archival_sandbox.advance(3600)
    tries_without_store._ti.start_date = datetime.fromtimestamp(archival_sandbox.now(), UTC)
    with pytest.raises(JobTimeout):
        tries_without_store.run(**archive(added["id"], timeout=1))
    assert started(archival_sandbox) == {"POOL.ARCHIVE": dict.fromkeys(added["pools"], 1)}


def test_a_try_that_was_not_recorded_starts_no_second_operation(
    tries: Tries, archival_sandbox: Sandbox, store: Store
) -> None:
    added = archival_sandbox.add_toloka_project(pools=0)
    first = tries.run(**archive(added["id"], wait_for_completion=False))
    assert store.kept == {}
    assert tries.run(**archive(added["id"]))["operation_id"] == first["operation_id"]
    assert started(archival_sandbox) == {"PROJECT.ARCHIVE": {added["id"]: 1}}


def test_operations_that_toloka_lists_no_more_are_not_waited_for_by_the_next_try(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    added = archival_sandbox.add_toloka_project(pools=3, status="CLOSED")
    with pytest.raises(JobTimeout):
        tries.run(**archive(added["id"], timeout=1))
    archival_sandbox.advance(60)
    for job in archival_sandbox.jobs()[:2]:
        archival_sandbox.job(job["id"], "forget")
    assert tries.run(**archive(added["id"], timeout=60))["status"] == "SUCCESS"
    assert TolokaHook().get_project(added["id"]).is_archived


def test_a_step_that_something_is_in_the_way_of_is_asked_for_again(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    added = archival_sandbox.add_toloka_project(pools=1, trainings=1, status="CLOSED")
    for path in (f"{POOLS}/*/archive", "/api/v1/projects/*/archive"):
        archival_sandbox.fault(path, status=412)
    assert tries.run(**archive(added["id"]))["status"] == "SUCCESS"
    check_each_once(archival_sandbox, 1, 1, closed=True)


def test_an_operation_that_somebody_started_since_we_looked_is_taken_up(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    added = archival_sandbox.add_toloka_project(pools=0)
    first = TolokaHook().archive_project(added["id"])
    assert first is not None
    refusal = {"code": "CONFLICT", "message": "It is being archived."}
    archival_sandbox.fault("/api/v1/projects/*/archive", status=409, body=refusal)
    assert tries.run(**archive(added["id"]))["operation_id"] == first.id


def test_many_refused_pools_are_counted_and_the_first_named(tries: Tries, archival_sandbox: Sandbox) -> None:
    added = archival_sandbox.add_toloka_project(pools=30, status="CLOSED")
    refusal = {"code": "CONFLICT", "message": "Wait."}
    for id in added["pools"][:25]:
        archival_sandbox.fault(f"{POOLS}/{id}/archive", status=409, body=refusal, times=None)
    # The step is begun again when answers get lost: the refused ones are not counted twice.
    archival_sandbox.fault(f"{POOLS}/{added['pools'][-1]}/archive", status=503, times=3)
    with pytest.raises(PoolsNotArchived, match=r"refuses 25 of .* and 5 more") as caught:
        tries.run(**archive(added["id"]))
    assert [one["pool_id"] for one in caught.value.pools] == added["pools"][:20]


def test_refused_and_failed_pools_are_named_together(
    tries: Tries, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    added = archival_sandbox.add_toloka_project(pools=3, status="CLOSED")
    refusal = {"code": "CONFLICT", "message": "Wait for nine days."}
    archival_sandbox.fault(f"{POOLS}/{added['pools'][0]}/archive", status=409, body=refusal)

    def fail_one() -> None:
        pauses.before = None
        archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "fail", message="Somebody rated a task.")

    pauses.before = fail_one
    with pytest.raises(PoolsNotArchived, match=r"Wait for nine days.*1 failed.*Somebody rated a task"):
        tries.run(**archive(added["id"]))
