"""Whose job it is: what is not surely ours is never saved or cancelled, and what was ours stays known."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tries import Killed, Tries, unpacked

from airflow_provider_archival.exceptions import JiraTaskCancelled, ServiceRefusal
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.memory import STORE_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Connections, Pauses

JQL, EXPORT, ARCHIVE = "project = DEMO", "/rest/api/3/issues/archive/export", "/rest/api/3/issue/archive"
TASK = "/rest/api/3/task/*"
NOT_FOUND = {"status": 404, "body": {"errorMessages": ["The task is not found."], "errors": {}}}
SECOND = "is perhaps a second one"

pytestmark = pytest.mark.usefixtures("connections", "pauses")


def archive(**more: Any) -> dict[str, Any]:
    return {"operator": JiraArchiveIssuesByJqlOperator, "jql": JQL, **more}


def export(**more: Any) -> dict[str, Any]:
    return {"operator": JiraExportArchivedIssuesOperator, **more}


def ids_of(result: dict[str, Any]) -> list[str]:
    return [task["task_id"] for task in result["tasks"]]


def status_of(sandbox: Sandbox, id: str) -> str:
    return str(sandbox.job(id)["status"])


def in_next_pause(pauses: Pauses, do: Callable[[], object]) -> None:
    """Do something once, when the run pauses next."""

    def once() -> None:
        pauses.before = None
        do()

    pauses.before = once


def die() -> None:
    raise Killed


def killed_while_waiting(tries: Tries, pauses: Pauses, sandbox: Sandbox, job: dict[str, Any]) -> str:
    """Run a try that is killed in its first pause, and return its job's id."""
    in_next_pause(pauses, die)
    with pytest.raises(Killed):
        tries.run(**job)
    return str(sandbox.jobs()[-1]["id"])


class Made:
    """An operator's class that remembers what it has made, so that a test can end it as Airflow does."""

    def __init__(self, operator: type[Any], tries: Tries) -> None:
        self._operator, self._tries = operator, tries
        self.tasks: list[Any] = []

    def __call__(self, **parameters: Any) -> Any:
        self.tasks.append(self._operator(**parameters))
        return self.tasks[-1]

    def kill(self) -> None:
        """End the task where it waits: in the worker, or in the triggerer."""
        seen = self._tries._deferrals.seen
        if seen:
            # In a thread, since the trigger's own loop is running.
            thread = threading.Thread(target=lambda: asyncio.run(seen[-1].trigger.on_kill()))
            thread.start()
            thread.join()
        self.tasks[-1].on_kill()
        raise Killed


# --- somebody else's job ---

SETTINGS = [
    {"locks": locks, "description": description}
    for locks in ("each", "one")
    for description in ("kind", "same", "none")
]


class TestSomebodyElsesJob:
    @pytest.fixture(scope="session", params=SETTINGS, ids=lambda one: "-".join(one.values()))
    def _settled(self, request: pytest.FixtureRequest, archival_sandbox_factory: Any) -> Sandbox:
        started: Sandbox = archival_sandbox_factory(busy_with="id", **request.param)
        return started

    @pytest.fixture
    def archival_sandbox(self, _settled: Sandbox) -> Sandbox:
        """A sandbox whose tasks lock each other and describe themselves in one of the ways."""
        _settled.reset()
        return _settled

    @pytest.fixture(params=["another account", "our account"])
    def start(self, request: pytest.FixtureRequest, archival_sandbox: Sandbox) -> Callable[[], str]:
        """Let somebody export ``HR``, perhaps as the same account as ours."""

        def colleague() -> str:
            return archival_sandbox.colleague("export", filter={"projects": ["HR"]})

        def another_dag() -> str:
            from airflow_provider_archival.api.jira import ExportFilter

            return str(JiraCloudHook().export_archived_issues(ExportFilter(projects=("HR",))).id)

        return colleague if request.param == "another account" else another_dag

    def test_that_began_after_an_export_was_lost_is_never_saved_as_ours(
        self,
        tries: Tries,
        pauses: Pauses,
        archival_sandbox: Sandbox,
        start: Callable[[], str],
        tmp_path: Path,
        logged: list[str],
    ) -> None:
        archival_sandbox.fault(EXPORT, method="PUT", reset="before")
        in_next_pause(pauses, start)
        result = tries.run(**export(projects="FIN", destination=str(tmp_path)))
        theirs, ours = archival_sandbox.jobs()
        assert ids_of(result) == [ours["id"]]
        assert [path.name for path in tmp_path.iterdir() if theirs["id"] in path.name] == []
        assert len(list(tmp_path.iterdir())) == 1
        assert status_of(archival_sandbox, theirs["id"]) == "DONE"
        assert archival_sandbox.counters()["jobs_overlapped"]["export"] == 1
        assert any(SECOND in line for line in logged)

    def test_is_not_cancelled_when_ours_is_killed_behind_it(
        self, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox, start: Callable[[], str]
    ) -> None:
        made = Made(JiraExportArchivedIssuesOperator, tries)

        def start_and_be_killed_later() -> None:
            start()
            in_next_pause(pauses, made.kill)

        archival_sandbox.fault(EXPORT, method="PUT", reset="before")
        in_next_pause(pauses, start_and_be_killed_later)
        with pytest.raises(Killed):
            tries.run(made, projects="FIN")  # type: ignore[arg-type]
        (theirs,) = archival_sandbox.jobs()
        assert theirs["status"] not in ("CANCELLING", "CANCELLED")
        assert archival_sandbox.requests("*/cancel", "POST") == []

    def test_is_not_cancelled_when_the_time_is_up_behind_it(
        self, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox, start: Callable[[], str]
    ) -> None:
        from airflow_provider_archival.exceptions import JobTimeout

        archival_sandbox.fault(EXPORT, method="PUT", reset="before")
        in_next_pause(pauses, lambda: archival_sandbox.job(start(), "freeze"))
        with pytest.raises(JobTimeout):
            tries.run(**export(projects="FIN", timeout=30, cancel_on_timeout=True))
        assert archival_sandbox.requests("*/cancel", "POST") == []

    def test_that_runs_when_a_retry_begins_without_memory_is_not_taken(
        self,
        tries_without_store: Tries,
        pauses: Pauses,
        archival_sandbox: Sandbox,
        start: Callable[[], str],
        tmp_path: Path,
    ) -> None:
        first = killed_while_waiting(tries_without_store, pauses, archival_sandbox, export(projects="FIN"))
        archival_sandbox.job(first, "fail")
        theirs = start()
        result = tries_without_store.run(**export(projects="FIN", destination=str(tmp_path)))
        assert ids_of(result) == [archival_sandbox.jobs()[-1]["id"]]
        assert not {first, theirs} & set(ids_of(result))

    def test_that_an_archive_in_doubt_meets_is_waited_for_and_the_issues_are_counted_again(
        self, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        kind = "export" if archival_sandbox.settings.locks == "one" else "archive"
        what = {"jql": "project = HR"} if kind == "archive" else {}
        archival_sandbox.fault(ARCHIVE, method="POST", reset="before")
        in_next_pause(pauses, lambda: archival_sandbox.colleague(kind, **what))
        result = tries.run(**archive())
        theirs, ours = archival_sandbox.jobs()
        assert ids_of(result) == [ours["id"]]
        assert (result["left"], archival_sandbox.count(JQL, archived=False)) == (0, 0)
        assert status_of(archival_sandbox, theirs["id"]) == "DONE"
        statuses = [one["status"] for one in archival_sandbox.requests(ARCHIVE, "POST")]
        assert statuses == [None, 412, 202]

    def test_is_not_cancelled_when_an_archive_is_killed_behind_it(
        self, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        made = Made(JiraArchiveIssuesByJqlOperator, tries)

        def start_and_be_killed_later() -> None:
            archival_sandbox.colleague("archive", jql="project = HR")
            in_next_pause(pauses, made.kill)

        archival_sandbox.fault(ARCHIVE, method="POST", reset="before")
        in_next_pause(pauses, start_and_be_killed_later)
        with pytest.raises(Killed):
            tries.run(made, jql=JQL)  # type: ignore[arg-type]
        assert archival_sandbox.requests("*/cancel", "POST") == []


def test_our_own_job_is_cancelled_when_its_task_is_killed(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    made = Made(JiraExportArchivedIssuesOperator, tries)
    in_next_pause(pauses, made.kill)
    with pytest.raises(Killed):
        tries.run(made)  # type: ignore[arg-type]
    assert archival_sandbox.jobs()[0]["status"] in ("CANCELLING", "CANCELLED")


# --- what was known stays known ---

JOBS = [archive(), export()]


@pytest.mark.parametrize("job", JOBS, ids=["archive", "export"])
class TestATaskThatWasOurs:
    @pytest.mark.parametrize("looks", [2, 3, 4])
    def test_and_that_a_412_names_after_it_was_not_found_is_attached_to(
        self, looks: int, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        id = killed_while_waiting(tries, pauses, archival_sandbox, job)
        archival_sandbox.fault(TASK, times=looks, **NOT_FOUND)
        result = tries.run(**job)
        assert ids_of(result) == [id]
        assert [one["id"] for one in archival_sandbox.jobs()] == [id]

    def test_stays_known_in_the_try_after_one_that_did_not_find_it(
        self, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        id = killed_while_waiting(tries, pauses, archival_sandbox, job)
        archival_sandbox.job(id, "freeze")
        fault = archival_sandbox.fault(TASK, times=None, **NOT_FOUND)
        assert fault is not None
        killed_while_waiting(tries, pauses, archival_sandbox, job)
        # The first pause was that before the second look: in the next try it is behind what can't be seen.
        looks = len(archival_sandbox.requests(TASK))
        pauses.before = lambda: die() if len(archival_sandbox.requests(TASK)) > looks + 2 else None
        with pytest.raises(Killed):
            tries.run(**job)
        pauses.before = None
        archival_sandbox.clear_faults()
        archival_sandbox.job(id, "thaw")
        assert ids_of(tries.run(**job)) == [id]
        assert [one["id"] for one in archival_sandbox.jobs()] == [id]

    def test_and_was_asked_to_cancel_is_our_result_when_it_ends_well_after_all(
        self, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        id = killed_while_waiting(tries, pauses, archival_sandbox, job)
        archival_sandbox.job(id, "freeze")
        JiraCloudHook().cancel_task(id)
        in_next_pause(pauses, lambda: archival_sandbox.job(id, "finish"))
        assert ids_of(tries.run(**job)) == [id]
        assert [one["id"] for one in archival_sandbox.jobs()] == [id]

    def test_and_is_cancelled_after_it_was_taken_up_is_submitted_anew_in_the_same_try(
        self, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        id = killed_while_waiting(tries, pauses, archival_sandbox, job)
        in_next_pause(pauses, lambda: archival_sandbox.job(id, "cancel"))
        result = tries.run(**job)
        first, second = archival_sandbox.jobs()
        assert (first["id"], first["status"]) == (id, "CANCELLED")
        assert ids_of(result) == [second["id"]]

    def test_and_is_cancelled_twice_fails_since_the_second_is_this_trys_own(
        self, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        killed_while_waiting(tries, pauses, archival_sandbox, job)
        pauses.before = lambda: archival_sandbox.job(archival_sandbox.jobs()[-1]["id"], "cancel")
        with pytest.raises(JiraTaskCancelled):
            tries.run(**job)
        assert len(archival_sandbox.jobs()) == 2

    def test_and_is_cancelled_in_its_own_try_fails_it(
        self, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        in_next_pause(pauses, lambda: archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "cancel"))
        with pytest.raises(JiraTaskCancelled):
            tries.run(**job)
        assert len(archival_sandbox.jobs()) == 1

    def test_and_fails_after_it_was_taken_up_fails_the_try(
        self, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        from airflow_provider_archival.exceptions import JiraTaskFailed

        id = killed_while_waiting(tries, pauses, archival_sandbox, job)
        in_next_pause(pauses, lambda: archival_sandbox.job(id, "fail"))
        with pytest.raises(JiraTaskFailed):
            tries.run(**job)
        assert len(archival_sandbox.jobs()) == 1

    @pytest.mark.parametrize("deferrable", [True], ids=["deferrable"], indirect=True)
    def test_and_is_cancelled_by_the_trigger_of_a_cleared_try_is_submitted_anew(
        self, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        killed_while_waiting(tries, pauses, archival_sandbox, job)
        trigger = tries._deferrals.seen[-1].trigger

        def cleared() -> None:
            thread = threading.Thread(target=lambda: asyncio.run(trigger.on_kill()))
            thread.start()
            thread.join()

        # Airflow begins the new try, and then ends the trigger of the old one.
        in_next_pause(pauses, cleared)
        result = tries.run(**job)
        first, second = archival_sandbox.jobs()
        assert first["status"] == "CANCELLED"
        assert ids_of(result) == [second["id"]]
        assert set(archival_sandbox.counters()["jobs_overlapped"].values()) == {1}


# --- doubt ---


@pytest.mark.parametrize("status", [400, 403])
def test_doubt_ends_when_a_later_submit_is_cleanly_refused(
    status: int, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox, logged: list[str]
) -> None:
    refusal = {"errorMessages": ["No."], "errors": {}}
    archival_sandbox.fault(EXPORT, method="PUT", reset="before")
    archival_sandbox.fault(EXPORT, method="PUT", status=status, body=refusal)
    with pytest.raises(ServiceRefusal):
        tries.run(**export())
    assert tries.store is not None
    assert unpacked(tries.store.get(STORE_KEY))["doubt"] is None
    theirs = archival_sandbox.colleague("export")
    result = tries.run(**export())
    assert len(archival_sandbox.jobs()) == 2
    assert theirs not in ids_of(result)
    assert not any(SECOND in line for line in logged)


def test_doubt_ends_when_a_task_that_is_older_than_our_attempt_was_in_its_way(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox, logged: list[str]
) -> None:
    ours = killed_while_waiting(tries, pauses, archival_sandbox, export())
    archival_sandbox.job(ours, "fail")
    theirs = archival_sandbox.colleague("export")
    archival_sandbox.job(theirs, "freeze")
    archival_sandbox.advance(60)
    archival_sandbox.fault(EXPORT, method="PUT", reset="before")
    in_next_pause(pauses, lambda: archival_sandbox.job(theirs, "thaw"))
    result = tries.run(**export())
    assert ids_of(result) == [archival_sandbox.jobs()[-1]["id"]]
    assert len(archival_sandbox.jobs()) == 3
    assert not any(SECOND in line for line in logged)


def test_an_older_archive_that_was_in_the_way_is_not_among_our_tasks(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    theirs = archival_sandbox.colleague("archive", jql="key = DEMO-4")
    archival_sandbox.job(theirs, "freeze")
    archival_sandbox.advance(60)
    archival_sandbox.fault(ARCHIVE, method="POST", reset="before")
    in_next_pause(pauses, lambda: archival_sandbox.job(theirs, "thaw"))
    result = tries.run(**archive())
    assert ids_of(result) == [archival_sandbox.jobs()[-1]["id"]]
    assert theirs not in ids_of(result)
    assert result["left"] == 0


@pytest.mark.parametrize("seconds", [-5, 5], ids=["behind", "ahead"])
class TestAWorkerWhoseClockIsOff:
    @pytest.mark.parametrize("job", JOBS, ids=["archive", "export"])
    def test_attaches_to_the_task_whose_id_is_known(
        self,
        job: dict[str, Any],
        seconds: int,
        tries: Tries,
        pauses: Pauses,
        archival_sandbox: Sandbox,
    ) -> None:
        id = killed_while_waiting(tries, pauses, archival_sandbox, job)
        pauses._clock.shift(seconds)
        archival_sandbox.fault(TASK, times=2, **NOT_FOUND)
        assert ids_of(tries.run(**job)) == [id]
        assert [one["id"] for one in archival_sandbox.jobs()] == [id]

    def test_archives_once_where_the_answer_was_lost(
        self, seconds: int, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        archival_sandbox.fault(ARCHIVE, method="POST", reset="after")
        id = killed_while_waiting(tries, pauses, archival_sandbox, archive())
        pauses._clock.shift(seconds)
        result = tries.run(**archive())
        assert ids_of(result) == [id]
        assert archival_sandbox.counters()["jobs_submitted"] == {"archive": 1}

    def test_does_not_take_a_task_that_began_after_its_attempt_for_older(
        self, seconds: int, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox, logged: list[str]
    ) -> None:
        pauses._clock.shift(seconds)
        archival_sandbox.fault(EXPORT, method="PUT", reset="after")
        tries.run(**export())
        assert any(SECOND in line for line in logged)


# --- the same was asked ---

DIGEST = """
import json, sys, types
from airflow_provider_archival.engine.state import asked_of
from airflow_provider_archival.operators.jira import JiraExportArchivedIssuesOperator
names = {"FIN", "HR", "WEB", "DEMO"}
task = JiraExportArchivedIssuesOperator(
    task_id="task", projects=names, archived_by=names, issue_types=names, reporters=frozenset(names)
)
print(list(names), "|", asked_of(task.plan(), "jira_cloud_default", "http://127.0.0.1:1")[0])
"""


def test_sets_are_the_same_in_each_process() -> None:
    lines = []
    for seed in ("1", "2", "3"):
        found = subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        lines.append(found.stdout.strip().splitlines()[-1].split(" | "))
    assert len({order for order, _ in lines}) > 1, "the sets had the same order by chance"
    assert len({digest for _, digest in lines}) == 1


class Lazy:
    """An XCom to come, as Airflow gives the results of mapped tasks: its text tells nothing of its items."""

    def __init__(self, *items: str) -> None:
        self._items = items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return "LazySelectSequence([many items])"


class TestTheSameWasAsked:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (["FIN", "HR"], ["HR", "FIN"]),
            ("FIN, HR", {"HR", "FIN"}),
            (Lazy("FIN", "HR"), ["FIN", "HR"]),
            ('["FIN", "HR"]', ("HR", "FIN", "HR")),
        ],
        ids=["order", "text", "lazy", "repeats"],
    )
    def test_in_whatever_form_and_order(
        self, first: Any, second: Any, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        id = killed_while_waiting(tries, pauses, archival_sandbox, export(projects=first))
        assert ids_of(tries.run(**export(projects=second))) == [id]
        assert len(archival_sandbox.jobs()) == 1

    def test_but_not_by_a_lazy_xcom_whose_items_are_others(
        self, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox, tmp_path: Path
    ) -> None:
        job = export(destination=str(tmp_path))
        id = killed_while_waiting(tries, pauses, archival_sandbox, {**job, "projects": Lazy("FIN")})
        result = tries.run(**{**job, "projects": Lazy("HR")})
        assert id not in ids_of(result)
        assert [one["body"].get("projects") for one in archival_sandbox.requests(EXPORT, "PUT")][-1] == ["HR"]

    def test_but_not_of_lazy_keys_that_are_others(self, tries: Tries, archival_sandbox: Sandbox) -> None:
        kept = self.stopped_after_a_chunk(tries, archival_sandbox, Lazy(*keys("DEMO")))
        assert len(kept["pending"]) == 0
        assert sent(archival_sandbox, lambda: self.run_keys(tries, Lazy(*keys("WEB")))) == 2000

    def test_but_not_with_another_connection(
        self, tries: Tries, archival_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_STAGING", os.environ["AIRFLOW_CONN_JIRA_CLOUD_DEFAULT"])
        self.stopped_after_a_chunk(tries, archival_sandbox, keys("DEMO"), jira_conn_id="staging")
        assert sent(archival_sandbox, lambda: self.run_keys(tries, keys("DEMO"))) == 2000

    def test_and_then_chunks_that_are_done_are_not_sent_again(
        self, tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        self.stopped_after_a_chunk(tries, archival_sandbox, Lazy(*keys("DEMO")))
        assert sent(archival_sandbox, lambda: self.run_keys(tries, keys("DEMO"))) == 1000

    def test_but_not_where_chunks_were_sent_to_a_host_that_is_corrected_now(
        self, tries: Tries, archival_sandbox: Sandbox, staging: Sandbox, connections: Connections
    ) -> None:
        host = connections.fields("jira_cloud_default")["host"]
        connections.change("jira_cloud_default", host=staging.base_url)
        self.stopped_after_a_chunk(tries, staging, keys("DEMO"))
        connections.change("jira_cloud_default", host=host)
        assert sent(archival_sandbox, lambda: self.run_keys(tries, keys("DEMO"))) == 2000

    @pytest.mark.parametrize("job", JOBS, ids=["archive", "export"])
    def test_but_not_where_a_task_ran_on_a_host_that_is_corrected_now(
        self,
        job: dict[str, Any],
        tries: Tries,
        pauses: Pauses,
        archival_sandbox: Sandbox,
        staging: Sandbox,
        connections: Connections,
    ) -> None:
        host = connections.fields("jira_cloud_default")["host"]
        connections.change("jira_cloud_default", host=staging.base_url)
        id = killed_while_waiting(tries, pauses, staging, job)
        connections.change("jira_cloud_default", host=host)
        what = {"jql": "project = HR"} if job["operator"] is JiraArchiveIssuesByJqlOperator else {}
        theirs = archival_sandbox.colleague("archive" if what else "export", **what)
        assert theirs == id, "the test wants a task of the same id"
        result = tries.run(**job)
        assert ids_of(result) == [archival_sandbox.jobs()[-1]["id"]]
        assert theirs not in ids_of(result)

    @pytest.fixture(scope="session")
    def _staging(self, archival_sandbox_factory: Any) -> Sandbox:
        started: Sandbox = archival_sandbox_factory(issues=10)
        return started

    @pytest.fixture
    def staging(self, _staging: Sandbox) -> Sandbox:
        """Another Jira, with accounts and ids that are the same."""
        _staging.reset()
        return _staging

    @staticmethod
    def run_keys(tries: Tries, given: Any, **more: Any) -> Any:
        parameters = {"issue_ids_or_keys": given, "fail_on_partial_error": False, **more}
        return tries.run(by_key, **parameters)  # type: ignore[arg-type]

    def stopped_after_a_chunk(
        self, tries: Tries, sandbox: Sandbox, given: Any, **more: Any
    ) -> dict[str, Any]:
        """A try was refused after its first chunk of 1,000 keys; returns what it kept."""
        sandbox.fault(ARCHIVE, method="PUT", skip=1, status=403)
        with pytest.raises(ServiceRefusal):
            self.run_keys(tries, given, **more)
        assert tries.store is not None
        kept: dict[str, Any] = tries.store.get(STORE_KEY)
        return kept


def by_key(deferrable: bool, poll_interval: float, timeout: float, **parameters: Any) -> Any:
    """Make an operator that waits for nothing."""
    return JiraArchiveIssuesOperator(**parameters)


def keys(project: str) -> list[str]:
    return [f"{project}-{number}" for number in range(100_001, 102_001)]


def sent(sandbox: Sandbox, run: Callable[[], object]) -> int:
    """Return how many keys are sent meanwhile."""
    before = len(sandbox.requests(ARCHIVE, "PUT"))
    run()
    return sum(len(one["body"]["issueIdsOrKeys"]) for one in sandbox.requests(ARCHIVE, "PUT")[before:])
