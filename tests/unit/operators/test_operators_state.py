"""The one codec of a run's state: what is written is read back, and what can't be read ends no try."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from hypothesis import given
from hypothesis import strategies as st
from tries import Killed, Store, Tries, unpacked

from airflow_provider_archival.api.jobs import JIRA_TASK
from airflow_provider_archival.engine.state import Doubt, Run, Unreadable, read, write
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.memory import STORE_KEY
from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Deferrals, Pauses, TaskInstance

OPERATORS = {
    "jql": (JiraArchiveIssuesByJqlOperator, {"jql": "project = DEMO"}),
    "export": (JiraExportArchivedIssuesOperator, {"projects": ["DEMO"]}),
    "keys": (JiraArchiveIssuesOperator, {"issue_ids_or_keys": ["DEMO-4", "DEMO-5"]}),
    "pool": (TolokaArchivePoolOperator, {"pool_id": "1"}),
    "project": (TolokaArchiveProjectOperator, {"project_id": PROJECT_READY}),
}
PLANS = {name: kind(task_id="task", **given).plan() for name, (kind, given) in OPERATORS.items()}
TIMES = st.floats(0, 4e9)
DIGITS = st.integers(1, 10**9).map(str)


def jobs_of(plan: Any) -> st.SearchStrategy[Any]:
    """Return jobs of a plan's, of which nothing has to be left out."""
    if JIRA_TASK in plan.kinds:
        ended = DIGITS.map(JIRA_TASK.unseen)
        return st.one_of(ended, *([DIGITS.map(JIRA_TASK.ended_well)] if JIRA_TASK.ended_well else []))
    return st.one_of([st.uuids().map(str).map(kind.unseen) for kind in plan.kinds])


def runs_of(plan: Any) -> st.SearchStrategy[Run[Any, Any]]:
    jobs = st.lists(jobs_of(plan), max_size=12).map(tuple)
    text = st.text(max_size=20)
    return st.builds(
        Run,
        asked=text,
        wanted=text,
        started=TIMES,
        end_time=TIMES,
        writer=st.integers(1, 99),
        state=st.none() | st.builds(plan.state),
        done=jobs,
        pending=jobs,
        taken_up=st.lists(DIGITS, max_size=12).map(tuple),
        suspects=st.lists(text, max_size=12).map(tuple),
        doubt=st.none() | st.builds(Doubt, TIMES, st.none() | TIMES),
        tried_before=st.none() | TIMES,
        blocker=st.none() | text,
        is_suspect=st.booleans(),
        blocked=st.integers(0, 99),
        last_blocker=st.none() | text,
        paused_for=st.none() | text,
    )


@pytest.mark.parametrize("name", PLANS)
@given(data=st.data())
def test_what_is_written_is_read_back(name: str, data: st.DataObject) -> None:
    plan = PLANS[name]
    run = data.draw(runs_of(plan))
    written = json.loads(json.dumps(write(plan, run)))
    again = read(plan, written)
    assert [job.id for job in again.jobs] == [job.id for job in run.jobs]
    if again.done == run.done:
        assert again == run


# --- damage ---


def packed(values: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(values).encode())).decode()


def damages(kept: dict[str, Any]) -> dict[str, Any]:
    """Return what can't be read, by what is wrong with it."""
    values = unpacked(kept)
    state, task = values["state"], values["pending"][0]

    def inner(**changed: Any) -> dict[str, Any]:
        return {**kept, "packed": packed({**values, **changed})}

    found: dict[str, Any] = {
        "another version": {**kept, "version": 99},
        "no version": {name: one for name, one in kept.items() if name != "version"},
        "another plan": {**kept, "plan": "other"},
        "no plan": {name: one for name, one in kept.items() if name != "plan"},
        "no packed": {name: one for name, one in kept.items() if name != "packed"},
        "no base64": {**kept, "packed": "*" + kept["packed"]},
        "no text": {**kept, "packed": 5},
        "no zlib": {**kept, "packed": base64.b64encode(b"text").decode()},
        "no JSON": {**kept, "packed": base64.b64encode(zlib.compress(b"{")).decode()},
        "empty": {},
        "a list": [],
        "a text": "began",
        "a number": 5,
        "a status is a number": inner(pending=[{**task, "status": 1}]),
        "a job has more": inner(pending=[{**task, "more": 1}]),
        "a job of another kind": inner(pending=[{**task, "kind": "other"}]),
        "pending is a dict": inner(pending={"kind": "jira_task", "ids": ["1"]}),
        "pending is a text": inner(pending=""),
        "done is a text": inner(done=""),
        "done is None": inner(done=None),
        "done has a None": inner(done=[None]),
        "done has numbers": inner(done={"kind": "jira_task", "ids": [1, 2]}),
        "doubt is a number": inner(doubt=1.0),
        "started is a text": inner(started="1"),
        "started is no number": inner(started=float("nan")),
        "blocked is a flag": inner(blocked=True),
        "suspects is a text": inner(suspects="10101"),
        "steps are texts": inner(suspects={"steps": ["1"]}),
        "the state is a list": inner(state=[state]),
        "the state has more": inner(state={**state, "more": 1}),
        "more": inner(more=1),
    }
    for inside in ("a text", [1], 5, None):
        found[f"inside is {inside!r}"] = {**kept, "packed": packed(inside)}
    for field in fields(Run):
        rest = {name: one for name, one in values.items() if name != field.name}
        found[f"without {field.name}"] = {**kept, "packed": packed(rest)}
    for name in state:
        found[f"the state without {name}"] = inner(state={k: one for k, one in state.items() if k != name})
    if "spans" in state:
        for name, odd in {"task_ids": [1], "matched": "1", "is_over": 1, "after": 5, "left": 1.5}.items():
            spans = [{**state["spans"][0], name: odd}]
            found[f"a window's {name}"] = inner(state={**state, "spans": spans})
    return found


def a_killed_try(tries: Tries, pauses: Pauses, name: str, **more: Any) -> Any:
    def kill() -> None:
        raise Killed

    kind, given = OPERATORS[name]
    pauses.before = kill
    with pytest.raises(Killed):
        tries.run(kind, **given, **more)
    pauses.before = None
    assert tries.store is not None
    return tries.store.get(STORE_KEY)


def check_well(sandbox: Sandbox, logged: list[str]) -> None:
    assert set(sandbox.counters()["jobs_overlapped"].values()) == {1}
    assert sum("can't be read" in line for line in logged) == 1


@pytest.mark.usefixtures("connections")
def test_nothing_damaged_is_read(
    ti: TaskInstance, store: Store, deferrals: Deferrals, pauses: Pauses
) -> None:
    kept = a_killed_try(Tries(ti, store, deferrals, False), pauses, "jql")
    plan = PLANS["jql"]
    read(plan, kept)
    operator = JiraArchiveIssuesByJqlOperator(task_id="task", jql="project = DEMO")
    for damage, value in damages(kept).items():
        with pytest.raises(Unreadable):
            pytest.fail(f"{damage}: {operator.read(plan, value, lambda: read(plan, kept))}")


FEW = [
    "another version",
    "another plan",
    "no base64",
    "a list",
    "a text",
    "a status is a number",
    "pending is a dict",
]


@pytest.mark.parametrize("damage", [*FEW, "empty"])
@pytest.mark.parametrize("name", ["jql", "export", "project"])
def test_a_try_with_a_damaged_store_ends_well_and_never_has_two_jobs_at_once(
    name: str,
    damage: str,
    ti: TaskInstance,
    store: Store,
    deferrals: Deferrals,
    connections: Any,
    pauses: Pauses,
    archival_sandbox: Sandbox,
    logged: list[str],
) -> None:
    tries = Tries(ti, store, deferrals, False)
    store.set(STORE_KEY, damages(a_killed_try(tries, pauses, name))[damage])
    kind, given = OPERATORS[name]
    tries.run(kind, **given)
    check_well(archival_sandbox, logged)
    assert STORE_KEY not in store.kept


@pytest.mark.parametrize("has_store", [True, False], ids=["store", "no store"])
@pytest.mark.parametrize("damage", [*FEW, "empty", "None"])
@pytest.mark.parametrize("name", ["jql", "project"])
def test_a_run_that_carried_something_damaged_ends_well_and_never_has_two_jobs_at_once(
    name: str,
    damage: str,
    has_store: bool,
    ti: TaskInstance,
    store: Store,
    deferrals: Deferrals,
    connections: Any,
    pauses: Pauses,
    archival_sandbox: Sandbox,
    logged: list[str],
) -> None:
    kind, given = OPERATORS[name]
    context: Any = {"ti": ti, **({"task_state_store": store} if has_store else {})}
    task = kind(task_id="task", poll_interval=5, **given, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    carried = deferred.value.trigger.serialize()[1]["carried"]
    event = {"outcome": "ended", "job": None, "carried": damages(carried).get(damage)}
    task = kind(task_id="task", poll_interval=5, **given)
    task.execute_complete(context, event)
    check_well(archival_sandbox, logged)
    assert len(archival_sandbox.jobs()) == 1
