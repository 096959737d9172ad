"""A store or an XCom backend that fails costs neither the work nor a second job, and says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tries import Killed, Store, Tries

from airflow_provider_archival.exceptions import ResultNotKept, StateNotKept
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.memory import STORE_KEY
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Pauses, TaskInstance

pytestmark = pytest.mark.usefixtures("connections", "pauses")

JOBS: dict[str, dict[str, Any]] = {
    "archive": {"operator": JiraArchiveIssuesByJqlOperator, "jql": "project = DEMO"},
    "export": {"operator": JiraExportArchivedIssuesOperator},
    "project": {"operator": TolokaArchiveProjectOperator, "project_id": PROJECT_READY},
}


@pytest.fixture(params=JOBS)
def job(request: pytest.FixtureRequest) -> dict[str, Any]:
    return JOBS[request.param]


class Weak(Store):
    """A store some of whose operations fail while they are told to."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._sandbox = sandbox
        self.failing: set[str] = set()
        self.only_with_a_job = False
        self.refused = 0

    def get(self, key: str) -> Any:
        self._fail("get")
        return super().get(key)

    def set(self, key: str, value: Any) -> None:
        self._fail("set")
        super().set(key, value)

    def delete(self, key: str) -> None:
        self._fail("delete")
        super().delete(key)

    def _fail(self, what: str) -> None:
        if what in self.failing and (not self.only_with_a_job or self._sandbox.jobs()):
            self.refused += 1
            raise ConnectionError("no database")


@pytest.fixture
def store(archival_sandbox: Sandbox) -> Weak:
    return Weak(archival_sandbox)


@pytest.fixture
def weak(tries: Tries) -> Weak:
    """The store of ``tries``."""
    assert isinstance(tries.store, Weak)
    return tries.store


def submitted(sandbox: Sandbox) -> int:
    return sum(sandbox.counters()["jobs_submitted"].values())


def test_a_store_that_cannot_be_read_ends_the_try_before_anything_is_submitted(
    job: dict[str, Any], tries: Tries, weak: Weak, archival_sandbox: Sandbox
) -> None:
    weak.failing = {"get"}
    with pytest.raises(StateNotKept, match="nothing was submitted") as caught:
        tries.run(**job)
    assert "no database" in str(caught.value)
    assert "What to do: " in str(caught.value)
    assert submitted(archival_sandbox) == 0
    weak.failing = set()
    tries.run(**job)
    assert submitted(archival_sandbox) == 1


def test_a_store_that_cannot_be_written_ends_the_try_before_anything_is_submitted(
    job: dict[str, Any], tries: Tries, weak: Weak, archival_sandbox: Sandbox
) -> None:
    weak.failing = {"set"}
    with pytest.raises(StateNotKept, match="Nothing was submitted") as caught:
        tries.run(**job)
    assert "no database" in str(caught.value)
    assert "What to do: " in str(caught.value)
    assert submitted(archival_sandbox) == 0


@pytest.mark.parametrize("what", [{"set"}, {"get"}, {"get", "set"}, {"get", "set", "delete"}])
def test_a_store_that_fails_after_the_submit_leaves_the_task_green(
    what: set[str],
    job: dict[str, Any],
    tries: Tries,
    weak: Weak,
    archival_sandbox: Sandbox,
    logged: list[str],
) -> None:
    weak.failing, weak.only_with_a_job = what, True
    tries.run(**job)
    assert submitted(archival_sandbox) == 1
    (line,) = [line for line in logged if "It is tried again with each look." in line][:1]
    assert "What to do: " in line


# A deferred run looks in the triggerer, which has no store: see test_a_store_that_failed_before_a_deferral…
@pytest.mark.parametrize("deferrable", [False], ids=["waiting"], indirect=True)
def test_a_store_that_recovers_during_the_wait_is_written_at_a_later_look(
    job: dict[str, Any], tries: Tries, weak: Weak, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    weak.failing, weak.only_with_a_job = {"set"}, True
    seen: list[Any] = []

    def later() -> None:
        seen.append(weak.kept.get(STORE_KEY, ""))
        id = archival_sandbox.jobs()[-1]["id"]
        archival_sandbox.job(id, "freeze")
        if len(seen) == 3:
            weak.failing = set()
        if len(seen) == 6:
            raise Killed

    pauses.before = later
    with pytest.raises(Killed):
        tries.run(**job)
    pauses.before = None
    (running,) = archival_sandbox.jobs()
    assert running["id"] not in str(seen[1])
    assert weak.get(STORE_KEY)["pending"] == [running["id"]]
    archival_sandbox.job(running["id"], "finish")
    tries.run(**job)
    assert submitted(archival_sandbox) == 1


@pytest.mark.parametrize("deferrable", [True], ids=["deferrable"], indirect=True)
def test_a_store_that_failed_before_a_deferral_is_written_before_it_or_after_it(
    job: dict[str, Any], tries: Tries, weak: Weak, archival_sandbox: Sandbox
) -> None:
    class Once(Weak):
        def _fail(self, what: str) -> None:
            if what == "set" and self._sandbox.jobs() and not self.refused:
                self.refused += 1
                raise ConnectionError("no database")

    tries.store = once = Once(archival_sandbox)
    tries.run(**job)
    assert once.refused == 1
    (running,) = archival_sandbox.jobs()
    assert any(running["id"] in str(kept["pending"]) for kept in once.history)


def test_a_store_that_cannot_forget_leaves_the_task_green_and_says_what_to_do(
    job: dict[str, Any], tries: Tries, weak: Weak, archival_sandbox: Sandbox, logged: list[str]
) -> None:
    weak.failing = {"delete"}
    first = tries.run(**job)
    assert any("can't be forgotten" in line and f"'{STORE_KEY}' is deleted" in line for line in logged)
    # And so a try more hands over the same, and does nothing twice.
    again = tries.run(**job)
    assert again == first
    assert submitted(archival_sandbox) == 1


def test_the_jobs_id_is_in_the_log_before_it_is_kept(
    job: dict[str, Any], tries: Tries, archival_sandbox: Sandbox, logged: list[str]
) -> None:
    told: list[bool] = []

    class Listening(Store):
        def set(self, key: str, value: Any) -> None:
            lines = [line for line in logged if "under way" in line]
            told.extend(any(one in line for line in lines) for one in value["pending"])
            super().set(key, value)

    tries.store = Listening()
    tries.run(**job)
    assert told
    assert all(told)


class Picky:
    """An XCom backend that takes no value under some keys."""

    def __init__(self, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused: set[str] = set()
        push = ti.xcom_push

        def picky(key: str, value: Any) -> None:
            if key in self.refused:
                raise PermissionError("403: bucket")
            push(key, value)

        monkeypatch.setattr(ti, "xcom_push", picky)


@pytest.fixture
def picky(ti: TaskInstance, monkeypatch: pytest.MonkeyPatch) -> Picky:
    return Picky(ti, monkeypatch)


def test_xcom_that_refuses_the_result_gets_the_same_one_from_each_retry_and_nothing_is_done_twice(
    job: dict[str, Any], tries: Tries, archival_sandbox: Sandbox, picky: Picky
) -> None:
    picky.refused = {"return_value"}
    for _ in range(3):
        with pytest.raises(ResultNotKept, match=r"The work is done.* What to do: ") as caught:
            tries.run(**job)
        assert "403: bucket" in str(caught.value)
    picky.refused = set()
    result = tries.run(**job)
    assert submitted(archival_sandbox) == 1
    (done,) = archival_sandbox.jobs()
    assert done["id"] in str(result)
    assert tries._ti.xcoms["return_value"] == result
    assert tries.store is not None
    assert STORE_KEY not in tries.store.kept


def test_the_result_is_handed_over_before_anything_is_forgotten(
    job: dict[str, Any], ti: TaskInstance, tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    push = ti.xcom_push

    class Telling(Store):
        def delete(self, key: str) -> None:
            happened.append("forgotten")
            super().delete(key)

    def tell(key: str, value: Any) -> None:
        happened.append(key)
        push(key, value)

    monkeypatch.setattr(ti, "xcom_push", tell)
    tries.store = Telling()
    tries.run(**job)
    assert happened.index("return_value") < happened.index("forgotten")


def test_a_task_that_pushes_nothing_does_not_push_its_result(
    job: dict[str, Any], tries: Tries, picky: Picky
) -> None:
    picky.refused = {"return_value"}
    tries.run(**job, do_xcom_push=False)


def test_xcom_that_refuses_a_jobs_id_does_not_end_the_run(
    job: dict[str, Any], tries: Tries, archival_sandbox: Sandbox, picky: Picky, logged: list[str]
) -> None:
    picky.refused = {"jira_task_id", "operation_id"}
    tries.run(**job)
    assert submitted(archival_sandbox) == 1
    assert any("XCom does not take the id of" in line and "403: bucket" in line for line in logged)
