"""How a try learns that it is not the current one any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tries import Store

from airflow_provider_archival.operators.memory import STORE_KEY, Memory

VALUES = {"try": 1, "started": 1000.0}


def memory_of(store: Store, try_number: int = 1, state: str | None = "running") -> Memory:
    def states(**asked: Any) -> dict[str, Any]:
        return {"run": {"task": state}} if state != "deleted" else {}

    ti = SimpleNamespace(
        dag_id="dag",
        task_id="task",
        run_id="run",
        map_index=-1,
        try_number=try_number,
        get_task_states=states,
    )
    context: Any = {"ti": ti, "task_state_store": store}
    return Memory(context, True, 1000.0)


@pytest.mark.parametrize("is_read_only", [True, False])
def test_a_try_whose_store_is_empty_all_at_once_is_overtaken(is_read_only: bool) -> None:
    store = Store()
    memory = memory_of(store)
    if is_read_only:
        store.set(STORE_KEY, VALUES)
        memory.recall()
    else:
        memory.keep(VALUES)
    assert not memory.is_overtaken

    store.kept.clear()

    assert memory.is_overtaken


@pytest.mark.parametrize("state", [None, "scheduled", "queued", "deleted"])
def test_a_try_that_was_cleared_or_whose_run_was_deleted_is_not_overtaken(state: str | None) -> None:
    store = Store()
    memory = memory_of(store, state=state)
    memory.keep(VALUES)

    store.kept.clear()

    assert not memory.is_overtaken


def test_a_try_that_kept_nothing_or_has_forgotten_it_is_not_overtaken() -> None:
    memory = memory_of(Store())
    assert not memory.is_overtaken

    memory.keep(VALUES)
    memory.forget()

    assert not memory.is_overtaken


def test_a_try_is_overtaken_when_a_later_one_has_written() -> None:
    store = Store()
    memory = memory_of(store)
    memory.keep(VALUES)

    memory_of(store, try_number=2).keep({**VALUES, "try": 2})

    assert memory.is_overtaken
