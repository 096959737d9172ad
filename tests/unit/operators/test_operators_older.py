"""What version 1 of the state has left behind, in a store or in a deferral, is read and gone on with."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from tries import Store, unpacked

from airflow_provider_archival.engine.state import Run, Unreadable, read, write
from airflow_provider_archival.operators import jira, older, toloka
from airflow_provider_archival.operators.memory import STORE_KEY, Memory
from airflow_provider_archival.plans.jira_export import ExportState
from airflow_provider_archival.plans.jira_issues import IssuesState
from airflow_provider_archival.plans.jira_spans import JqlState
from airflow_provider_archival.plans.toloka_project import ProjectState

if TYPE_CHECKING:
    from airflow_provider_archival.plans.base import Plan
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Deferrals, TaskInstance

pytestmark = pytest.mark.usefixtures("connections", "pauses")

RECORDED = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parent / "version_1").glob("*.json"))
}
TASK = "/rest/api/3/task/{}"
SUBMITS = {"/rest/api/3/issue/archive", "/rest/api/3/issues/archive/export"}


def named(*parts: str) -> list[str]:
    return [name for name in RECORDED if all(part in name for part in parts)]


def operator_of(recorded: dict[str, Any], folder: Path, **changed: Any) -> Any:
    given = {**recorded["parameters"], **changed}
    if "destination" in given:
        given["destination"] = str(folder)
    if isinstance(keys := given.get("issue_ids_or_keys"), dict):
        given["issue_ids_or_keys"] = [
            keys["each_of"].format(number) for number in range(keys["first"], keys["last"] + 1)
        ]
    kinds = {**vars(jira), **vars(toloka)}
    return kinds[recorded["operator"]](task_id="task", **given)


def kept_in(recorded: dict[str, Any], ti: TaskInstance) -> Any:
    """Return what a new try, or a resumed one, has to read."""
    carried = recorded["carried"]
    if carried is not None and "began" not in carried:
        return carried
    store = a_store_with(recorded)
    context: Any = {"ti": ti, "task_state_store": store}
    return Memory(context, True, recorded["at"], has_chunks=True).recall()


def a_store_with(recorded: dict[str, Any]) -> Store:
    store = Store()
    for key, value in (recorded["store"] or {}).items():
        store.set(key, value)
    return store


def run_of(operator: Any, kept: Any) -> tuple[Plan[Any, Any, Any], Run[Any, Any], Run[Any, Any]]:
    """Return the plan, the run as it would begin now, and the one that was kept."""
    context: Any = {"ti": SimpleNamespace(try_number=2)}
    plan = operator._planned()
    fresh = operator._fresh(context, plan, 1.0)
    return plan, fresh, operator.read(plan, kept, lambda: fresh)


@pytest.fixture(params=list(RECORDED))
def recorded(request: pytest.FixtureRequest) -> dict[str, Any]:
    return copy.deepcopy(RECORDED[request.param])


class TestWhatIsRead:
    def test_is_all_that_was_known(self, recorded: dict[str, Any], tmp_path: Path, ti: TaskInstance) -> None:
        expected = recorded["expected"]
        plan, fresh, run = run_of(operator_of(recorded, tmp_path), kept_in(recorded, ti))
        assert run.asked == fresh.asked
        assert [job.id for job in run.pending] == expected["pending"]
        assert [job.id for job in run.done] == expected["done"]
        assert run.blocker == expected.get("blocker")
        assert (run.doubt is not None) is ("lost" in expected or "right before" in recorded["what"])
        state = run.state
        if isinstance(state, JqlState):
            assert [
                [span.after, span.before, span.is_over, list(span.task_ids)] for span in state.spans
            ] == expected["windows"]
        if isinstance(state, ExportState) and "ranges" in expected:
            running = {one[2]: one[:2] for one in expected["ranges"]}[expected["pending"][0]]
            assert state.running is not None
            assert [state.running.after, state.running.before] == running
            to_do = [*state.first, *plan.pieces(state.whole)[state.begun :]]  # type: ignore[attr-defined]
            assert [[one.after, one.before] for one in to_do] == [
                one[:2] for one in expected["ranges"] if one[2] is None
            ]
        for id, url in expected.get("file_urls", {}).items():
            assert {job.id: job.file_url for job in run.jobs}[id] == url
        if isinstance(state, ProjectState):
            assert [one.id for one in state.refused] == expected.get("refused", [])
        if isinstance(state, IssuesState):
            report = {chunk.number: plan._report(chunk) for chunk in state.done}  # type: ignore[attr-defined]
            assert {str(number): one.updated for number, one in report.items()} == expected["done_chunks"]
            assert {
                str(number): {name: list(error.issue_ids_or_keys) for name, error in one.errors.items()}
                for number, one in report.items()
                if one.errors
            } == expected["error_keys"]

    def test_is_kept_again_in_this_version(
        self, recorded: dict[str, Any], tmp_path: Path, ti: TaskInstance
    ) -> None:
        plan, _, run = run_of(operator_of(recorded, tmp_path), kept_in(recorded, ti))
        again = read(plan, json.loads(json.dumps(write(plan, run))))
        assert (again.state, [job.id for job in again.jobs]) == (run.state, [job.id for job in run.jobs])

    def test_is_of_another_run_where_something_else_is_asked_for(
        self, recorded: dict[str, Any], tmp_path: Path, ti: TaskInstance
    ) -> None:
        other = {
            "jql": "project = OTHER",
            "issue_ids_or_keys": ["OTHER-1"],
            "pool_id": "1",
            "project_id": "1",
        }
        changed = {name: value for name, value in other.items() if name in recorded["parameters"]}
        operator = operator_of(recorded, tmp_path, **(changed or {"projects": ["OTHER"]}))
        _, fresh, run = run_of(operator, kept_in(recorded, ti))
        assert run.asked != fresh.asked

    def test_is_of_another_run_with_another_connection(
        self, recorded: dict[str, Any], tmp_path: Path, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Version 1 did not keep the connection of a list of issues: the chunks are taken up.
        is_told = "issue_ids_or_keys" not in recorded["parameters"]
        key = "toloka_conn_id" if recorded["operator"].startswith("Toloka") else "jira_conn_id"
        name = "TOLOKA_DEFAULT" if key.startswith("toloka") else "JIRA_CLOUD_DEFAULT"
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", os.environ[f"AIRFLOW_CONN_{name}"])
        _, fresh, run = run_of(operator_of(recorded, tmp_path, **{key: "other"}), kept_in(recorded, ti))
        assert (run.asked != fresh.asked) is is_told


class Worlds:
    """Runs a recorded task on: services that know its jobs."""

    def __init__(self, sandbox: Sandbox, ti: TaskInstance, deferrals: Deferrals, folder: Path) -> None:
        self.sandbox, self._ti, self._deferrals, self._folder = sandbox, ti, deferrals, folder
        self.store = Store()

    def knows(self, *ids: str, status: str = "COMPLETE") -> None:
        for id in ids:
            body = {"id": id, "status": status, "progress": 100, "result": {"fileUrl": None}}
            self.sandbox.fault(TASK.format(id), times=None, status=200, body=body)

    def try_again(self, recorded: dict[str, Any]) -> Any:
        self._ti.try_number = 2
        self.store = a_store_with(recorded)
        context: Any = {"ti": self._ti, "task_state_store": self.store}
        return self._deferrals.run(operator_of(recorded, self._folder), context)

    def resume(self, recorded: dict[str, Any]) -> Any:
        self.store = a_store_with(recorded)
        context: Any = {"ti": self._ti, "task_state_store": self.store}
        task = operator_of(recorded, self._folder)
        event = {**recorded["event"], "carried": recorded["carried"]}
        try:
            return task.execute_complete(context, event)
        except TaskDeferred as deferred:
            event = self._deferrals.event_of(deferred.trigger)
            recorded = {**recorded, "event": event, "carried": event["carried"]}
            return self.resume({**recorded, "store": {key: self.store.get(key) for key in self.store.kept}})

    @property
    def submits(self) -> list[dict[str, Any]]:
        return [
            one
            for one in self.sandbox.requests()
            if one["method"] in ("POST", "PUT")
            and (one["path"] in SUBMITS or one["path"].endswith("/archive"))
        ]

    @property
    def is_forgotten(self) -> bool:
        return not [key for key in self.store.kept if key.startswith("archival_")]


@pytest.fixture
def worlds(archival_sandbox: Sandbox, ti: TaskInstance, deferrals: Deferrals, tmp_path: Path) -> Worlds:
    return Worlds(archival_sandbox, ti, deferrals, tmp_path)


@pytest.mark.parametrize("name", ["export-running.store", "jql-one-window-running.deferral"])
def test_a_new_try_takes_the_result_of_a_job_that_has_ended(name: str, worlds: Worlds) -> None:
    recorded = RECORDED[name]
    worlds.knows("10101")
    if recorded["store"] is None:
        # It was deferred; the same would stand in the store.
        recorded = {**recorded, "store": {STORE_KEY: recorded["carried"]}}
    worlds.sandbox.fault("/rest/api/3/search/approximate-count", times=None, status=200, body={"count": 0})
    result = worlds.try_again(recorded)
    assert [one["task_id"] for one in result["tasks"]] == ["10101"]
    assert worlds.submits == []
    assert worlds.is_forgotten


@pytest.mark.parametrize("name", named("jql-third-window-running.store"))
def test_a_new_try_goes_on_with_the_windows_that_are_left(name: str, worlds: Worlds) -> None:
    worlds.knows("10101", "10102", "10103")
    result = worlds.try_again(RECORDED[name])
    assert [one["task_id"] for one in result["tasks"]][:3] == ["10101", "10102", "10103"]
    assert [window["task_ids"][:1] for window in result["windows"]][:2] == [["10101"], ["10102"]]
    # The first two are over, whatever is in them now.
    bodies = [str(one["body"]) for one in worlds.submits]
    assert bodies
    assert not any('created < "2016-03-27 07:37"' in body for body in bodies)
    assert not any('created < "2018-01-05 19:54"' in body for body in bodies)
    assert worlds.is_forgotten


def test_a_new_try_attaches_to_a_running_job(worlds: Worlds) -> None:
    body = {"id": "10101", "status": "RUNNING", "progress": 50}
    worlds.sandbox.fault(TASK.format("10101"), times=3, status=200, body=body)
    worlds.knows("10101")
    result = worlds.try_again(RECORDED["export-running.store"])
    assert [one["task_id"] for one in result["tasks"]] == ["10101"]
    assert worlds.submits == []


def test_a_new_try_of_parts_makes_only_the_exports_that_were_not_begun(worlds: Worlds) -> None:
    worlds.knows("10101", "10102")
    result = worlds.try_again(RECORDED["export-by-month-second-running.store"])
    assert [one["task_id"] for one in result["tasks"]][:2] == ["10101", "10102"]
    (submit,) = worlds.submits
    assert "2024-03-01" in str(submit["body"])
    assert worlds.is_forgotten


def test_a_new_try_after_a_lost_answer_looks_before_it_submits(worlds: Worlds) -> None:
    worlds.try_again(RECORDED["export-in-doubt.store"])
    assert len(worlds.submits) == 1
    assert worlds.sandbox.counters()["jobs_overlapped"] == {"export": 1}


@pytest.mark.parametrize("name", named("jql-third-window-running.deferral"))
def test_a_resumed_run_goes_on_behind_the_job_that_has_ended(name: str, worlds: Worlds) -> None:
    result = worlds.resume(RECORDED[name])
    assert [one["task_id"] for one in result["tasks"]][:3] == ["10101", "10102", "10103"]
    assert result["left"] is not None


@pytest.mark.parametrize("name", named("jql-one-window-running.deferral"))
def test_a_resumed_run_with_one_window_is_done(name: str, worlds: Worlds) -> None:
    worlds.sandbox.fault("/rest/api/3/search/approximate-count", times=None, status=200, body={"count": 0})
    result = worlds.resume(RECORDED[name])
    assert [one["task_id"] for one in result["tasks"]] == ["10101"]
    assert worlds.submits == []


@pytest.mark.parametrize("name", named("export-by-month", "deferral"))
def test_a_resumed_export_makes_the_third_part_only(name: str, worlds: Worlds) -> None:
    result = worlds.resume(RECORDED[name])
    assert [one["task_id"] for one in result["tasks"]][:2] == ["10101", "10102"]
    assert len(worlds.submits) == 1


@pytest.mark.parametrize("name", named("pool-running", "deferral") + named("project-own", "deferral"))
def test_a_resumed_operation_of_tolokas_is_taken(name: str, worlds: Worlds) -> None:
    recorded = RECORDED[name]
    result = worlds.resume(recorded)
    assert result["operation_id"] == recorded["event"]["job"]["operation_id"]
    assert worlds.submits == []


@pytest.mark.parametrize("name", ["jql-blocked.deferral", "jql-paused-at-the-plan.deferral"])
def test_a_resumed_run_submits_what_it_could_not_before(name: str, worlds: Worlds) -> None:
    result = worlds.resume(RECORDED[name])
    assert len(result["tasks"]) == len(worlds.submits) == 1


def test_a_run_that_was_paused_before_it_began_takes_what_is_in_the_store(worlds: Worlds) -> None:
    worlds.knows("10101")
    worlds.sandbox.fault("/rest/api/3/search/approximate-count", times=None, status=200, body={"count": 0})
    result = worlds.resume(RECORDED["jql-paused-before-it-began.deferral"])
    assert [one["task_id"] for one in result["tasks"]] == ["10101"]
    assert worlds.submits == []
    assert worlds.is_forgotten


@pytest.mark.parametrize("name", named("pool-running", "store"))
def test_a_new_try_takes_tolokas_operation(name: str, worlds: Worlds) -> None:
    recorded = RECORDED[name]
    (id,) = recorded["expected"]["pending"]
    body = {"id": id, "type": "POOL.ARCHIVE", "status": "SUCCESS", "parameters": {"pool_id": "200026"}}
    worlds.sandbox.fault(f"/api/v1/operations/{id}", times=None, status=200, body=body)
    result = worlds.try_again(recorded)
    assert result["operation_id"] == id
    assert worlds.submits == []
    assert worlds.is_forgotten


@pytest.mark.parametrize("name", named("keys-"))
def test_a_new_try_asks_for_the_chunks_that_were_not_answered(name: str, worlds: Worlds) -> None:
    recorded = RECORDED[name]
    result = worlds.try_again(
        {**recorded, "parameters": {**recorded["parameters"], "fail_on_partial_error": False}}
    )
    requests = worlds.sandbox.requests("/rest/api/3/issue/archive")
    assert len(requests) == 3 - len(recorded["expected"]["done_chunks"])
    refused = [
        key for one in recorded["expected"]["error_keys"].values() for keys in one.values() for key in keys
    ]
    assert set(refused) <= {key for one in result["errors"].values() for key in one["issue_ids_or_keys"]}
    assert result["archived"] >= sum(recorded["expected"]["done_chunks"].values())
    assert worlds.is_forgotten


def damaged_values() -> list[tuple[str, str, Any]]:
    """Return names, damages and values: each of version 1, and of the right shape but for one thing."""
    found = []
    for name in (
        "jql-third-window-running.store",
        "export-by-month-second-running.store",
        "pool-running.store",
    ):
        value = RECORDED[name]["store"][STORE_KEY]
        for key in value:
            if key in ("handled", "tried_before", "last_blocker", "paused_for"):
                continue
            found.append((name, f"without {key}", {k: one for k, one in value.items() if k != key}))
            if key != "pending":
                found.append((name, f"{key} is odd", {**value, key: ["odd"]}))
        first = value["pending"][0]
        found.append((name, "pending is a text", {**value, "pending": "text"}))
        found.append((name, "pending is a dict", {**value, "pending": {}}))
        found.append((name, "a status is a number", {**value, "pending": [{**first, "status": 1}]}))
        found.append((name, "a job has more", {**value, "pending": [{**first, "more": 1}]}))
    name = "jql-third-window-running.store"
    value = RECORDED[name]["store"][STORE_KEY]
    for key, odd in {"task_ids": [1], "matched": "1", "is_over": 1, "after": 5}.items():
        windows = [{**value["notes"]["windows"][0], key: odd}, *value["notes"]["windows"][1:]]
        found.append((name, f"a window's {key}", {**value, "notes": {**value["notes"], "windows": windows}}))
    found.append(
        (
            name,
            "task_ids is a text",
            {
                **value,
                "notes": {
                    **value["notes"],
                    "windows": [{**value["notes"]["windows"][0], "task_ids": "10101"}],
                },
            },
        )
    )
    name = "jql-third-window-running.deferral"
    packed = RECORDED[name]["carried"]["packed"]
    for damage, text in {"cut": packed[:50], "no base64": "*" + packed, "no text": 5, "empty": ""}.items():
        found.append((name, f"packed: {damage}", {"packed": text}))
    return found


DAMAGED = damaged_values()


@pytest.mark.parametrize(("name", "damage", "value"), DAMAGED, ids=[f"{one[0]}: {one[1]}" for one in DAMAGED])
def test_a_damaged_value_is_unreadable(name: str, damage: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        run_of(operator_of(RECORDED[name], tmp_path), value)


@pytest.mark.parametrize("packs", [False, True], ids=["as in a store", "as carried"])
def test_an_unpacked_value_and_a_packed_one_are_read_alike(packs: bool, tmp_path: Path) -> None:
    recorded = RECORDED["jql-third-window-running.deferral"]
    value = recorded["carried"] if packs else unpacked(recorded["carried"])
    _, _, run = run_of(operator_of(recorded, tmp_path), value)
    assert [job.id for job in run.pending] == recorded["expected"]["pending"]


GOOD = {"asked": "x", "done": {"0": 1000}, "with_errors": [0]}


@pytest.mark.parametrize(
    "damaged",
    [
        [],
        "text",
        5,
        {"done": {}},
        {**GOOD, "with_errors": "text"},
        {**GOOD, "with_errors": [None]},
        {**GOOD, "done": ["text"]},
        {**GOOD, "done": {"x": 1000}},
        {**GOOD, "done": {"0": "many"}},
        GOOD,
    ],
    ids=repr,
)
def test_damaged_chunks_are_asked_for_again_and_forgotten(
    damaged: Any, worlds: Worlds, logged: list[str]
) -> None:
    recorded = copy.deepcopy(RECORDED["keys-two-of-three-chunks-done.store"])
    recorded["parameters"]["fail_on_partial_error"] = False
    if isinstance(damaged, dict) and "asked" in damaged:
        damaged = {**damaged, "asked": recorded["store"]["archival_chunks"]["asked"]}
    recorded["store"] = {"archival_chunks": damaged}
    worlds.try_again(recorded)
    assert len(worlds.sandbox.requests("/rest/api/3/issue/archive")) == 3
    assert sum("can't be read" in line for line in logged) == 1
    assert worlds.is_forgotten


def test_the_keys_of_version_1_stay_as_they_are() -> None:
    assert older.CHUNKS == "archival_chunks"
    assert STORE_KEY == "archival_progress"
