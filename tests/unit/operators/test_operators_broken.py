"""Cases at the edges of what a run promises, each of which went wrong once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from test_operators_whose import NOT_FOUND, TASK, export, ids_of, killed_while_waiting
from tries import Store, Tries

from airflow_provider_archival.exceptions import JobNotWatched
from airflow_provider_archival.operators.jira import JiraExportArchivedIssuesOperator
from airflow_provider_archival.operators.memory import STORE_KEY

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Deferrals, Pauses

pytestmark = pytest.mark.usefixtures("connections", "pauses")

PASSING: list[dict[str, Any]] = [
    {"status": 429, "headers": {"Retry-After": "100"}, "times": 1},
    {"status": 503, "headers": {"Retry-After": "100"}, "times": 1},
]


@pytest.mark.parametrize("skip", range(3, 9))
@pytest.mark.parametrize("fault", PASSING, ids=["limit", "fault"])
def test_a_task_of_ours_that_can_not_be_looked_at_for_a_while_is_no_reason_for_a_second_export(
    fault: dict[str, Any], skip: int, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    id = killed_while_waiting(tries, pauses, archival_sandbox, export())
    archival_sandbox.fault(TASK, times=3, status=404, body=NOT_FOUND["body"])
    archival_sandbox.fault(TASK, skip=skip - 3, **fault)
    result = tries.run(**export(timeout=24 * 60 * 60))
    assert ids_of(result) == [id]
    assert [one["id"] for one in archival_sandbox.jobs()] == [id]


@pytest.mark.parametrize("started", ["soon", None, float("nan")])
def test_a_kept_number_of_a_try_without_its_time_blocks_nobody(
    started: Any, tries: Tries, store: Store, archival_sandbox: Sandbox
) -> None:
    store.set(STORE_KEY, {"version": 3, "plan": "jira_export", "try": 9, "started": started, "packed": ""})
    assert len(tries.run(**export())["tasks"]) == 1
    assert len(archival_sandbox.jobs()) == 1


@pytest.mark.parametrize(
    "odd",
    [{"outcome": "vanished"}, {"outcome": None}, {"job": {"id": 1}}, {"job": "text"}, {"job": None}],
    ids=str,
)
def test_an_event_that_can_not_be_read_is_told_and_the_next_try_takes_the_job_up(
    odd: dict[str, Any],
    context: dict[str, Any],
    store: Store,
    deferrals: Deferrals,
    archival_sandbox: Sandbox,
) -> None:
    from airflow.providers.common.compat.sdk import TaskDeferred

    context["task_state_store"] = store

    def task() -> Any:
        return JiraExportArchivedIssuesOperator(task_id="task", deferrable=True, timeout=600)

    with pytest.raises(TaskDeferred) as deferred:
        task().execute(context)
    event = {**deferrals.event_of(deferred.value.trigger), **odd}
    with pytest.raises(JobNotWatched, match=r"Jira task \d+ could not be watched.*event"):
        task().resume_execution("execute_complete", {"event": event}, context)
    context["ti"].try_number = 2
    assert ids_of(deferrals.run(task(), context)) == [one["id"] for one in archival_sandbox.jobs()]
    assert len(archival_sandbox.jobs()) == 1
