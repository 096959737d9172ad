"""Archiving by key in several requests: one report, and a retry that goes on where the last try stopped."""

from __future__ import annotations

import faulthandler
import random
from typing import TYPE_CHECKING, Any

import pytest
from tries import Killed, Store, unpacked

from airflow_provider_archival.api import jira
from airflow_provider_archival.exceptions import JiraPartialError, ServiceFault, ServiceRefusal
from airflow_provider_archival.operators.jira import JiraArchiveIssuesOperator, JiraUnarchiveIssuesOperator
from airflow_provider_archival.operators.memory import STORE_KEY

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import TaskInstance

ARCHIVE = "/rest/api/3/issue/archive"
# Two in a request: six requests. DEMO-2 is a subtask, DEMO-4xx do not exist.
KEYS = ["DEMO-4", "DEMO-401", "DEMO-5", "DEMO-2", "DEMO-402", "DEMO-403", "WEB-1", "WEB-2", "WEB-3", "WEB-4"]

pytestmark = pytest.mark.usefixtures("connections", "pauses")


@pytest.fixture(autouse=True)
def _two_in_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jira, "MAX_KEYS_PER_REQUEST", 2)


@pytest.fixture
def kept(ti: TaskInstance, store: Store) -> dict[str, Any]:
    """The context of a task with a store."""
    return {"ti": ti, "task_state_store": store}


@pytest.fixture(params=[1, 3], ids=["one by one", "three at once"])
def at_once(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def archive(keys: list[str] = KEYS, **more: Any) -> JiraArchiveIssuesOperator:
    more = {"fail_on_partial_error": False, **more}
    return JiraArchiveIssuesOperator(task_id="archive", issue_ids_or_keys=keys, **more)


def done_in(store: Store) -> int:
    """Return how many requests were answered as far as a retry will know."""
    kept = store.get(STORE_KEY)
    return len((unpacked(kept)["state"] or {"done": []})["done"]) if kept else 0


def asked_for(sandbox: Sandbox) -> list[list[str]]:
    return [request["body"]["issueIdsOrKeys"] for request in sandbox.requests(ARCHIVE)]


def test_many_keys_are_several_requests_and_one_report(
    archival_sandbox: Sandbox, kept: dict[str, Any], store: Store, at_once: int
) -> None:
    result = archive(max_concurrent_requests=at_once).execute(kept)
    assert sorted(asked_for(archival_sandbox)) == sorted([KEYS[n : n + 2] for n in range(0, 10, 2)])
    assert result["requested"] == 10
    assert {reason: error["issue_ids_or_keys"] for reason, error in result["errors"].items()} == {
        "issuesNotFound": ["DEMO-401"],
        "issueIsSubtask": ["DEMO-2"],
        "noValidIssue": ["DEMO-402", "DEMO-403"],
    }
    assert store.kept == {}


@pytest.mark.parametrize("killed_at", range(1, 6))
def test_a_retry_asks_only_for_the_rest_and_reports_all(
    archival_sandbox: Sandbox, kept: dict[str, Any], store: Store, killed_at: int, at_once: int
) -> None:
    whole = archive().execute({"ti": kept["ti"]})
    archival_sandbox.reset()
    sets = 0
    keep = store.set

    def killed(key: str, value: Any) -> None:
        nonlocal sets
        sets += 1
        if sets == killed_at:
            raise Killed
        keep(key, value)

    store.set = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        archive(max_concurrent_requests=at_once).execute(kept)
    store.set = keep  # type: ignore[method-assign]
    done = done_in(store)
    before = len(asked_for(archival_sandbox))

    result = archive(max_concurrent_requests=at_once).execute(kept)

    assert len(asked_for(archival_sandbox)) - before == 5 - done
    assert result["errors"] == whole["errors"]
    assert all(archival_sandbox.issue(key)["archived"] for key in ("DEMO-4", "DEMO-5", "WEB-1", "WEB-4"))
    assert store.kept == {}


def test_a_service_that_goes_down_in_the_middle_costs_only_what_was_not_done(
    archival_sandbox: Sandbox, kept: dict[str, Any], at_once: int
) -> None:
    archival_sandbox.fault(ARCHIVE, status=503, skip=2, times=None)
    with pytest.raises(ServiceFault):
        archive(max_concurrent_requests=at_once).execute(kept)
    archival_sandbox.clear_faults()
    answered = [one for one in archival_sandbox.requests(ARCHIVE) if one["status"] != 503]
    assert len(answered) == 2
    result = archive(max_concurrent_requests=at_once).execute(kept)
    assert len([one for one in archival_sandbox.requests(ARCHIVE) if one["status"] != 503]) == 5
    assert result["requested"] == 10


def test_another_list_begins_anew(archival_sandbox: Sandbox, kept: dict[str, Any], store: Store) -> None:
    archival_sandbox.fault(ARCHIVE, status=503, skip=2, times=None)
    with pytest.raises(ServiceFault):
        archive().execute(kept)
    archival_sandbox.clear_faults()
    assert done_in(store) == 2
    result = archive(["WEB-1", "WEB-2", "WEB-3"]).execute(kept)
    assert (result["requested"], result["errors"]) == (3, {})
    assert store.kept == {}


@pytest.mark.parametrize("durable", [True, False])
def test_only_a_durable_task_remembers(
    archival_sandbox: Sandbox, kept: dict[str, Any], store: Store, durable: bool
) -> None:
    archival_sandbox.fault(ARCHIVE, status=503, skip=2, times=None)
    with pytest.raises(ServiceFault):
        archive(durable=durable).execute(kept)
    assert bool(store.kept) is durable


def test_after_partial_errors_a_cleared_task_asks_for_all_again(
    archival_sandbox: Sandbox, kept: dict[str, Any], store: Store
) -> None:
    with pytest.raises(JiraPartialError):
        archive(fail_on_partial_error=True).execute(kept)
    assert store.kept == {}
    before = len(asked_for(archival_sandbox))
    with pytest.raises(JiraPartialError):
        archive(fail_on_partial_error=True).execute(kept)
    assert len(asked_for(archival_sandbox)) == 2 * before


def test_a_412_for_one_request_is_an_entry_and_the_others_go_on(
    archival_sandbox: Sandbox, kept: dict[str, Any], at_once: int
) -> None:
    said = {"errorMessages": ["The limit is 1000."]}
    archival_sandbox.fault(ARCHIVE, status=412, body=said, skip=1)
    keys = ["WEB-1", "WEB-2", "WEB-3", "WEB-4", "WEB-5", "WEB-6"]
    result = archive(keys, max_concurrent_requests=at_once).execute(kept)
    error = result["errors"]["preconditionFailed"]
    assert (error["count"], error["message"]) == (2, "The limit is 1000.")
    others = [key for key in keys if key not in error["issue_ids_or_keys"]]
    assert len(others) == 4
    assert all(archival_sandbox.issue(key)["archived"] for key in others)


def test_a_refusal_of_the_first_request_stops_them_all(
    archival_sandbox: Sandbox, kept: dict[str, Any], at_once: int
) -> None:
    archival_sandbox.fault(ARCHIVE, status=403, times=None)
    with pytest.raises(ServiceRefusal):
        archive(max_concurrent_requests=at_once).execute(kept)
    assert len(archival_sandbox.requests(ARCHIVE)) == 1


def test_unarchiving_goes_on_in_the_same_way(
    archival_sandbox: Sandbox, kept: dict[str, Any], store: Store
) -> None:
    keys = ["WEB-1", "WEB-2", "WEB-3", "WEB-4"]
    archive(keys).execute(kept)
    path = "/rest/api/3/issue/unarchive"
    archival_sandbox.fault(path, status=503, skip=1, times=None)
    unarchive = JiraUnarchiveIssuesOperator(task_id="unarchive", issue_ids_or_keys=keys)
    with pytest.raises(ServiceFault):
        unarchive.execute(kept)
    archival_sandbox.clear_faults()
    assert unarchive.execute(kept)["errors"] == {}
    bodies = [
        one["body"]["issueIdsOrKeys"] for one in archival_sandbox.requests(path) if one["status"] == 200
    ]
    assert bodies == [keys[:2], keys[2:]]


@pytest.mark.parametrize("number", [0, -1, True, 1.5, "2"], ids=repr)
def test_an_impossible_number_of_requests_is_told_when_the_dag_is_parsed(number: Any) -> None:
    with pytest.raises(ValueError, match="max_concurrent_requests must be"):
        archive(max_concurrent_requests=number)


def test_every_key_is_in_exactly_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(60):
        size = random.Random(number).randint(1, 7)
        monkeypatch.setattr(jira, "MAX_KEYS_PER_REQUEST", size)
        keys = [f"A-{n}" for n in range(number)]
        plan = archive(keys).plan()
        assert [key for chunk in range(plan.number) for key in plan.keys(chunk)] == keys
        assert all(0 < len(plan.keys(chunk)) <= size for chunk in range(plan.number))


def test_a_refusal_in_the_middle_of_many_at_once_ends_the_try_and_what_was_answered_is_kept(
    archival_sandbox: Sandbox, kept: dict[str, Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jira, "MAX_KEYS_PER_REQUEST", 1_000)
    archival_sandbox.fault(ARCHIVE, status=403, skip=2)
    keys = [f"WEB-{n}" for n in range(1, 10_001)]
    # It has hung here for ever: then all ends with a trace.
    faulthandler.dump_traceback_later(120, exit=True)
    with pytest.raises(ServiceRefusal):
        archive(keys, max_concurrent_requests=4).execute(kept)
    faulthandler.cancel_dump_traceback_later()
    requests = archival_sandbox.requests(ARCHIVE)
    answered = [one for one in requests if one["status"] != 403]
    assert len(requests) < 10
    assert done_in(store) == len(answered) > 0
    result = archive(keys, max_concurrent_requests=4).execute(kept)
    assert len(archival_sandbox.requests(ARCHIVE)) == len(requests) + 10 - len(answered)
    assert result["requested"] == 10_000
    assert store.kept == {}
