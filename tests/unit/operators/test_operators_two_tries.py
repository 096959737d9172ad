"""Two tries alive at once: what the earlier one still does changes nothing that the later one wrote."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from tries import Killed, Store, Tries

from airflow_provider_archival.exceptions import JiraTaskCancelled, JobTimeout, TryOvertaken
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.memory import STORE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Pauses, TaskInstance

ARCHIVE = "/rest/api/3/issue/archive"
JOBS: dict[str, dict[str, Any]] = {
    "archive": {"operator": JiraArchiveIssuesByJqlOperator, "jql": "project = DEMO"},
    "export": {"operator": JiraExportArchivedIssuesOperator},
}

pytestmark = pytest.mark.usefixtures("connections", "pauses")


@pytest.fixture(params=JOBS)
def job(request: pytest.FixtureRequest) -> dict[str, Any]:
    return JOBS[request.param]


class TwoTries:
    """Runs the first try of a task up to some point, and the second one from there."""

    def __init__(self, ti: TaskInstance, store: Store, pauses: Pauses) -> None:
        self._ti, self.store, self._pauses = ti, store, pauses
        self.zombie: Any = None
        self.later: list[Any] = []

    def run(self, number: int, job: dict[str, Any]) -> Any:
        """Run a try in the worker, as a process of its own would."""
        ti = copy.copy(self._ti)
        ti.try_number, ti.xcoms = number, {}
        parameters = {"task_id": "task", "deferrable": False, "poll_interval": 5, "timeout": 600, **job}
        task = parameters.pop("operator")(**parameters)
        if number == 1:
            self.zombie = task
        else:
            self.later.append(task)
        return task.execute({"ti": ti, "task_state_store": self.store})

    def meanwhile(self, do: Callable[[], object]) -> None:
        """Let something happen in the next pause of the first try."""

        def once() -> None:
            self._pauses.before = None
            do()

        self._pauses.before = once

    def die_at_once(self, job: dict[str, Any]) -> None:
        """Let the second try attach, and be killed while it waits."""

        def die() -> None:
            raise Killed

        self._pauses.before = die
        with pytest.raises(Killed):
            self.run(2, job)
        self._pauses.before = None


@pytest.fixture
def two(ti: TaskInstance, store: Store, pauses: Pauses) -> TwoTries:
    return TwoTries(ti, store, pauses)


def test_an_earlier_try_keeps_nothing_over_what_the_later_one_kept(
    job: dict[str, Any], two: TwoTries, archival_sandbox: Sandbox
) -> None:
    kept: list[Any] = []

    def later() -> None:
        two.die_at_once(job)
        kept.append(two.store.get(STORE_KEY))

    two.meanwhile(later)
    with pytest.raises(TryOvertaken, match=r"Try 2 of this task has taken over .* What to do: "):
        two.run(1, job)
    assert kept[0]["try"] == 2
    assert two.store.get(STORE_KEY) == kept[0]
    assert len(archival_sandbox.jobs()) == 1


def test_an_earlier_try_cancels_nothing_that_the_later_one_waits_for(
    job: dict[str, Any], two: TwoTries, archival_sandbox: Sandbox, logged: list[str]
) -> None:
    def later() -> None:
        two.die_at_once(job)
        two.zombie.on_kill()

    two.meanwhile(later)
    with pytest.raises(TryOvertaken):
        two.run(1, job)
    assert archival_sandbox.requests("*/cancel", "POST") == []
    assert any("A later try of this task goes on with the job" in line for line in logged)


def test_the_later_try_cancels_it(job: dict[str, Any], two: TwoTries, archival_sandbox: Sandbox) -> None:
    def later() -> None:
        two.die_at_once(job)
        two.later[-1].on_kill()

    two.meanwhile(later)
    with pytest.raises(JiraTaskCancelled):
        two.run(1, job)
    assert len(archival_sandbox.requests("*/cancel", "POST")) == 1


def test_an_earlier_try_whose_time_is_up_cancels_nothing_that_the_later_one_waits_for(
    job: dict[str, Any], two: TwoTries, archival_sandbox: Sandbox
) -> None:
    late = {**job, "timeout": 20, "cancel_on_timeout": True}

    def later() -> None:
        two.die_at_once(job)
        archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "freeze")

    two.meanwhile(later)
    with pytest.raises(JobTimeout):
        two.run(1, late)
    assert archival_sandbox.requests("*/cancel", "POST") == []


def test_an_earlier_try_submits_nothing_when_the_later_one_has_begun(
    two: TwoTries, archival_sandbox: Sandbox
) -> None:
    job = {**JOBS["export"], "archived_after": "2024-01-01", "archived_before": "2024-03-01"}
    job["split_by"] = "month"
    two.meanwhile(lambda: two.die_at_once(job))
    with pytest.raises(TryOvertaken):
        two.run(1, job)
    assert len(archival_sandbox.jobs()) == 1


def test_an_earlier_try_behind_another_job_submits_nothing(
    job: dict[str, Any], two: TwoTries, archival_sandbox: Sandbox
) -> None:
    what = {"jql": "project = HR"} if "jql" in job else {}
    archival_sandbox.colleague("archive" if what else "export", **what)
    two.meanwhile(lambda: two.die_at_once(job))
    with pytest.raises(TryOvertaken):
        two.run(1, job)
    assert len(archival_sandbox.jobs()) == 1, "the colleague's only"


def test_an_earlier_try_forgets_nothing_of_the_later_one(
    job: dict[str, Any], two: TwoTries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    """The later one begins when the job of the earlier one has just ended well."""
    begun: list[int] = []

    class Late(Store):
        def delete(self, key: str) -> None:
            raise AssertionError("forgotten by a try that is over")

    two.store = store = Late()
    two.meanwhile(lambda: (two.die_at_once(job), begun.append(1)))
    with pytest.raises(TryOvertaken):
        two.run(1, job)
    assert begun
    assert store.get(STORE_KEY)["try"] == 2


def test_an_earlier_try_by_key_sends_no_more(
    ti: TaskInstance, store: Store, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    job = {
        "task_id": "task",
        "issue_ids_or_keys": [f"DEMO-{number}" for number in range(100_001, 103_001)],
        "fail_on_partial_error": False,
    }

    class Overtaken(Store):
        """The later try begins right after the first chunk of the earlier one was kept."""

        def set(self, key: str, value: Any) -> None:
            super().set(key, value)
            if value["try"] == 1:
                super().set(key, {**value, "try": 2})

    ti.try_number = 1
    kept = Overtaken()
    with pytest.raises(TryOvertaken):
        JiraArchiveIssuesOperator(**job).execute({"ti": ti, "task_state_store": kept})
    assert kept.get(STORE_KEY)["try"] == 2
    assert len(archival_sandbox.requests(ARCHIVE, "PUT")) == 2


@pytest.mark.parametrize("deferrable", [True], ids=["deferrable"], indirect=True)
def test_an_earlier_try_that_comes_back_from_a_deferral_changes_nothing(
    job: dict[str, Any], tries: Tries, ti: TaskInstance, store: Store, archival_sandbox: Sandbox
) -> None:
    def task() -> Any:
        parameters = {**job, "task_id": "task", "deferrable": True}
        return parameters.pop("operator")(**parameters)

    first = task()
    ti.try_number = 1
    context: Any = {"ti": ti, "task_state_store": store}
    with pytest.raises(TaskDeferred) as earlier:
        first.execute(context)
    ti.try_number = 2
    with pytest.raises(TaskDeferred):
        task().execute(context)
    kept = store.get(STORE_KEY)
    archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "finish")
    event = tries._deferrals.event_of(earlier.value.trigger)
    ti.try_number = 1
    with pytest.raises(TryOvertaken):
        first.resume_execution("execute_complete", {"event": event}, context)
    assert store.get(STORE_KEY) == kept
    assert "return_value" not in ti.xcoms


def test_what_a_run_that_is_no_more_left_with_a_higher_number_does_not_block(
    job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    """A cleared task begins with a lower number where its history was deleted."""

    def die() -> None:
        raise Killed

    tries._number = 4
    pauses.before = die
    with pytest.raises(Killed):
        tries.run(**job)
    pauses.before = None
    (running,) = archival_sandbox.jobs()
    archival_sandbox.job(running["id"], "freeze")
    pauses._take(3600)
    archival_sandbox.job(running["id"], "finish")
    tries._number = 0
    result = tries.run(**job)
    assert [task["task_id"] for task in result["tasks"]] == [running["id"]]
    assert len(archival_sandbox.jobs()) == 1
    assert tries.store is not None
    assert STORE_KEY not in tries.store.kept
