"""The store that is kept in Airflow Variables: when it is used, its names, what it makes of faults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_archival.exceptions import ArchivalException, BadInput
from airflow_provider_archival.operators import variable_store
from airflow_provider_archival.operators.jira import JiraExportArchivedIssuesOperator
from airflow_provider_archival.operators.memory import STORE_KEY, store_of
from airflow_provider_archival.operators.variable_store import VariableStore

if TYPE_CHECKING:
    from tests.unit.operators.tries import Store

    from tests.unit.conftest import Deferrals, TaskInstance

SETTING = "AIRFLOW__ARCHIVAL__STATE_STORE"


class Variables:
    """As much of Airflow's ``Variable`` as the store uses, with nothing but a dictionary behind it."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.descriptions: dict[str, str | None] = {}
        self.is_readable = True
        """Airflow gives the default for a Variable that it could not read."""

    def get(self, key: str, default: str | None) -> str | None:
        return self.kept.get(key, default) if self.is_readable else default

    def set(self, key: str, value: str, description: str | None = None) -> None:
        self.kept[key], self.descriptions[key] = value, description

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Variables:
    variables = Variables()
    monkeypatch.setattr(variable_store, "Variable", variables)
    return variables


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "variables")


class TestWhenItIsUsed:
    def test_by_default_nothing_is_remembered(self, context: Any) -> None:
        assert store_of(context, durable=True) is None

    @pytest.mark.parametrize("value", ["variables", "Variables", " variables "])
    def test_the_setting_asks_for_it(self, context: Any, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv(SETTING, value)
        assert isinstance(store_of(context, durable=True), VariableStore)

    @pytest.mark.usefixtures("wanted")
    def test_a_task_that_is_not_durable_remembers_nothing(self, context: Any) -> None:
        assert store_of(context, durable=False) is None

    @pytest.mark.usefixtures("wanted")
    def test_airflows_own_store_goes_first(self, context: Any, store: Store) -> None:
        assert store_of({**context, "task_state_store": store}, durable=True) is store

    def test_another_value_is_an_error_that_names_the_setting(
        self, context: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(SETTING, "variable")
        with pytest.raises(BadInput, match=re.escape("[archival] state_store is 'variable'")):
            store_of(context, durable=True)


class TestNames:
    def test_a_name_tells_the_dag_and_the_task(self, context: Any) -> None:
        name = VariableStore(context).name_of("progress")
        assert re.fullmatch(r"archival_state-dag-task-[0-9a-f]{32}", name)

    @pytest.mark.parametrize(
        ("field", "other"),
        [("dag_id", "dag2"), ("run_id", "run2"), ("task_id", "task2"), ("map_index", 0), ("dag_id", "DAG")],
    )
    def test_every_task_instance_has_a_name_of_its_own(
        self, context: Any, ti: TaskInstance, field: str, other: Any
    ) -> None:
        name = VariableStore(context).name_of("progress")
        setattr(ti, field, other)
        assert VariableStore(context).name_of("progress").lower() != name.lower()

    def test_the_parts_can_not_be_taken_for_each_other(self, context: Any, ti: TaskInstance) -> None:
        ti.dag_id, ti.task_id = "a-b", "c"
        name = VariableStore(context).name_of("progress")
        ti.dag_id, ti.task_id = "a", "b-c"
        assert VariableStore(context).name_of("progress") != name

    def test_a_retry_has_the_same_name(self, context: Any, ti: TaskInstance) -> None:
        name = VariableStore(context).name_of("progress")
        ti.try_number = 2
        assert VariableStore(context).name_of("progress") == name

    def test_the_longest_and_strangest_ids_make_a_name_that_every_backend_takes(
        self, context: Any, ti: TaskInstance
    ) -> None:
        ti.dag_id, ti.task_id, ti.run_id = "day_ü/%.日" * 30, "t" * 250, "manual__2024-01-01T00:00:00+00:00"
        name = VariableStore(context).name_of("progress")
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name)


@pytest.mark.usefixtures("variables")
class TestValues:
    @pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "ü\ud800"]}, [], "text", 0, False])
    def test_what_is_set_is_there(self, context: Any, value: Any) -> None:
        store = VariableStore(context)
        store.set("key", value)
        assert store.get("key") == value

    def test_keys_do_not_meet(self, context: Any) -> None:
        store = VariableStore(context)
        store.set("key", 1)
        store.set("other", 2)
        assert (store.get("key"), store.get("other")) == (1, 2)

    def test_what_was_deleted_is_gone(self, context: Any) -> None:
        store = VariableStore(context)
        store.set("key", 1)
        store.delete("key")
        assert store.get("key") is None

    def test_what_was_never_there_can_be_deleted(self, context: Any) -> None:
        VariableStore(context).delete("key")

    def test_the_variable_says_whose_it_is_and_when_it_may_go(
        self, context: Any, variables: Variables
    ) -> None:
        store = VariableStore(context)
        store.set("key", 1)
        (description,) = variables.descriptions.values()
        assert description == (
            "How far a task has come, for its next try; delete it when that task is over, not earlier."
            " DAG dag, run run, task task, map index -1: key."
        )

    @pytest.mark.parametrize("damaged", ["", "no JSON", '{"cut": '])
    def test_what_is_damaged_is_given_as_it_is_so_that_it_is_not_taken_for_nothing(
        self, context: Any, variables: Variables, damaged: str
    ) -> None:
        store = VariableStore(context)
        variables.kept[store.name_of("key")] = damaged
        assert store.get("key") == damaged


class TestFailedReads:
    def test_a_retry_does_not_take_a_failed_read_for_nothing(
        self, context: Any, ti: TaskInstance, variables: Variables
    ) -> None:
        ti.try_number = 2
        variables.is_readable = False
        with pytest.raises(ArchivalException, match="can't be read just now"):
            VariableStore(context).get("key")

    def test_a_retry_reads_again_what_was_back_a_moment_later(
        self, context: Any, ti: TaskInstance, variables: Variables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ti.try_number = 2
        store = VariableStore(context)
        store.set("key", {"a": 1})
        answers = iter([False])

        def get(key: str, default: str | None) -> str | None:
            return variables.kept.get(key, default) if next(answers, True) else default

        monkeypatch.setattr(variables, "get", get)
        assert store.get("key") == {"a": 1}

    def test_a_retry_that_finds_nothing_leaves_nothing(
        self, context: Any, ti: TaskInstance, variables: Variables
    ) -> None:
        ti.try_number = 2
        assert VariableStore(context).get("key") is None
        assert variables.kept == {}

    def test_a_first_try_writes_nothing_to_read(self, context: Any, variables: Variables) -> None:
        assert VariableStore(context).get("key") is None
        assert variables.descriptions == {}


@pytest.mark.usefixtures("connections", "pauses", "wanted")
def test_an_operator_keeps_its_progress_there_and_removes_it_at_the_end(
    context: Any, variables: Variables, deferrals: Deferrals, deferrable: bool
) -> None:
    task = JiraExportArchivedIssuesOperator(task_id="task", deferrable=deferrable, poll_interval=5)
    deferrals.run(task, context)
    assert set(variables.descriptions) == {VariableStore(context).name_of(STORE_KEY)}
    assert variables.kept == {}
