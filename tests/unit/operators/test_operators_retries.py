"""A retry never does the work twice: what each operator does with what an earlier try left behind."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred
from tries import Killed, Store, Tries, unpacked

from airflow_provider_archival.api.jira import ExportFilter
from airflow_provider_archival.exceptions import (
    JiraTaskFailed,
    JobGone,
    JobTimeout,
    ServiceFault,
    ServiceRefusal,
)
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.memory import STORE_KEY
from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY, PROJECTS_WITH_CLOSED_POOLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Answer, Connections, Loopback, Pauses, Received, TaskInstance

pytestmark = pytest.mark.usefixtures("connections", "pauses")

JQL, EXPORT, PROJECT = "project = DEMO", "/rest/api/3/issues/archive/export", "/api/v1/projects/*/archive"
ARCHIVE = "/rest/api/3/issue/archive"


def archive(**more: Any) -> dict[str, Any]:
    return {"operator": JiraArchiveIssuesByJqlOperator, "jql": JQL, **more}


def export(**more: Any) -> dict[str, Any]:
    return {"operator": JiraExportArchivedIssuesOperator, **more}


def killed_while_waiting(tries: Tries, pauses: Pauses, archival_sandbox: Sandbox, job: dict[str, Any]) -> str:
    """Run a try that is killed in its first pause, and return its job's id."""

    def kill() -> None:
        raise Killed

    pauses.before = kill
    with pytest.raises(Killed):
        tries.run(**job)
    pauses.before = None
    return str(archival_sandbox.jobs()[-1]["id"])


JOBS = [archive(), export(), {"operator": TolokaArchiveProjectOperator, "project_id": PROJECT_READY}]


@pytest.mark.parametrize("job", JOBS, ids=["archive", "export", "project"])
class TestAfterACrash:
    def test_a_running_job_is_attached_to(
        self, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        id = killed_while_waiting(tries, pauses, archival_sandbox, job)
        # Airflow does so when a new try begins.
        tries._ti.xcoms.clear()
        result = tries.run(**job)
        assert [one["id"] for one in archival_sandbox.jobs()] == [id]
        assert id in json.dumps(result)
        assert id in tries._ti.xcoms.values()

    def test_a_job_that_has_succeeded_gives_its_result(
        self, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        id = killed_while_waiting(tries, pauses, archival_sandbox, job)
        archival_sandbox.job(id, "finish")
        result = tries.run(**job)
        assert [one["id"] for one in archival_sandbox.jobs()] == [id]
        assert id in json.dumps(result)

    @pytest.mark.parametrize("end", ["fail", "die", "cancel", "forget"])
    def test_a_job_that_came_to_nothing_is_submitted_anew(
        self, end: str, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        id = killed_while_waiting(tries, pauses, archival_sandbox, job)
        if end == "forget":
            archival_sandbox.job(id, "fail")
        archival_sandbox.job(id, end)
        result = tries.run(**job)
        assert sum(archival_sandbox.counters()["jobs_submitted"].values()) == 2
        assert id not in json.dumps(result)

    def test_success_is_forgotten_so_that_a_clear_runs_it_again(
        self, job: dict[str, Any], tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        tries.run(**job)
        assert tries.store is not None
        assert tries.store.history, "nothing was kept while it ran"
        assert STORE_KEY not in tries.store.kept

    def test_what_is_kept_has_the_jobs_id_before_the_wait_begins(
        self, job: dict[str, Any], tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        id = killed_while_waiting(tries, pauses, archival_sandbox, job)
        assert tries.store is not None
        kept = tries.store.get(STORE_KEY)
        assert kept["pending"] == [id]
        assert unpacked(kept)["doubt"] is None

    def test_with_durable_false_nothing_is_kept(
        self, job: dict[str, Any], tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        tries.run(**job, durable=False)
        assert tries.store is not None
        assert tries.store.history == []


def test_a_try_that_is_asked_for_something_else_does_not_take_the_earlier_job(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    first = killed_while_waiting(tries, pauses, archival_sandbox, archive())
    result = tries.run(**archive(jql="project = WEB AND issuetype in standardIssueTypes()"))
    assert first not in json.dumps(result)
    counters = archival_sandbox.counters()
    assert counters["jobs_submitted"]["archive"] == 2
    assert counters["jobs_overlapped"]["archive"] == 1


@pytest.mark.parametrize("job", [archive(), export()], ids=["archive", "export"])
def test_a_try_with_another_connection_does_not_take_the_earlier_job(
    job: dict[str, Any],
    tries: Tries,
    pauses: Pauses,
    archival_sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", os.environ["AIRFLOW_CONN_JIRA_CLOUD_DEFAULT"])
    first = killed_while_waiting(tries, pauses, archival_sandbox, job)
    result = tries.run(**job, jira_conn_id="other")
    assert first not in [one["task_id"] for one in result["tasks"]]
    assert any("was asked for something else" in line for line in logged)


@pytest.mark.parametrize("fault", [{"reset": "after"}, {"status": 504, "when": "after"}, {"body": "html"}])
class TestALostAnswer:
    def test_to_an_export_leads_to_one_more_after_the_one_that_runs_and_that_is_told(
        self, fault: dict[str, Any], tries: Tries, archival_sandbox: Sandbox, logged: list[str]
    ) -> None:
        archival_sandbox.fault(EXPORT, method="PUT", **fault)
        result = tries.run(**export())
        counters = archival_sandbox.counters()
        assert (counters["jobs_submitted"], counters["jobs_overlapped"]) == ({"export": 2}, {"export": 1})
        assert [one["task_id"] for one in result["tasks"]] == [archival_sandbox.jobs()[1]["id"]]
        assert any("is perhaps a second one" in line for line in logged)

    def test_to_an_archive_never_leads_to_two_at_a_time(
        self, fault: dict[str, Any], tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        archival_sandbox.fault(ARCHIVE, method="POST", **fault)
        tries.run(**archive())
        counters = archival_sandbox.counters()
        assert counters["jobs_submitted"]["archive"] == 1
        assert archival_sandbox.count(JQL, archived=False) == 0

    def test_to_a_toloka_project_is_answered_by_the_list(
        self, fault: dict[str, Any], tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        archival_sandbox.fault(PROJECT, method="POST", **fault)
        result = tries.run(TolokaArchiveProjectOperator, project_id=PROJECT_READY)
        assert archival_sandbox.counters()["jobs_submitted"] == {"PROJECT.ARCHIVE": 1}
        assert result["operation_id"] == archival_sandbox.jobs()[0]["id"]


@pytest.mark.parametrize("fault", [{"reset": "before"}, {"status": 503}])
@pytest.mark.parametrize("job", JOBS, ids=["archive", "export", "project"])
def test_a_lost_request_that_had_no_effect_is_sent_again(
    job: dict[str, Any], fault: dict[str, Any], tries: Tries, archival_sandbox: Sandbox
) -> None:
    for path in (ARCHIVE, EXPORT, PROJECT):
        archival_sandbox.fault(path, **fault)
    tries.run(**job)
    assert sum(archival_sandbox.counters()["jobs_submitted"].values()) == 1


def test_a_service_that_stays_down_after_a_lost_answer_fails_the_try_and_the_next_one_attaches(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    archival_sandbox.fault(EXPORT, method="PUT", reset="after")
    archival_sandbox.fault(EXPORT, method="PUT", times=None, status=503)
    with pytest.raises(ServiceFault):
        tries.run(**export(timeout=86400))
    archival_sandbox.clear_faults()
    tries.run(**export())
    assert archival_sandbox.counters()["jobs_overlapped"]["export"] == 1


def test_an_export_that_may_have_been_made_already_is_made_again_only_with_a_word_in_the_log(
    tries: Tries, archival_sandbox: Sandbox, logged: list[str]
) -> None:
    archival_sandbox.fault(EXPORT, method="PUT", reset="after")
    archival_sandbox.fault(EXPORT, method="PUT", times=5, status=412, body={"errorMessages": ["Busy."]})
    tries.run(**export())
    counters = archival_sandbox.counters()
    assert counters["jobs_submitted"] == {"export": 2}
    assert counters["jobs_overlapped"]["export"] == 1
    assert any("is perhaps a second one" in line for line in logged)


class TestAnotherJob:
    def test_is_waited_for_before_ours_is_submitted(self, tries: Tries, archival_sandbox: Sandbox) -> None:
        other = Tries(tries._ti, None, tries._deferrals, False)
        other.run(**archive(jql="project = WEB", wait_for_completion=False))
        result = tries.run(**archive())
        counters = archival_sandbox.counters()
        assert counters["jobs_submitted"]["archive"] == 2
        assert counters["jobs_overlapped"]["archive"] == 1
        assert result["tasks"][0]["task_id"] == archival_sandbox.jobs()[1]["id"]

    def test_that_jira_does_not_name_is_waited_for_with_growing_pauses(
        self, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        busy = {"errorMessages": ["An issue archival task is already running."], "errors": {}}
        archival_sandbox.fault(EXPORT, method="PUT", times=6, status=412, body=busy)
        tries.run(**export())
        assert archival_sandbox.counters()["jobs_submitted"] == {"export": 1}
        assert max(pauses.asked) <= 5

    def test_that_never_ends_fails_at_the_timeout_with_nothing_submitted(
        self, tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        other = Tries(tries._ti, None, tries._deferrals, False)
        other.run(**export(wait_for_completion=False))
        id = archival_sandbox.jobs()[0]["id"]
        archival_sandbox.job(id, "freeze")
        with pytest.raises(JobTimeout, match=rf"Jira task {id} was in the way"):
            tries.run(**export(timeout=30))
        assert archival_sandbox.counters()["jobs_submitted"] == {"export": 1}

    def test_is_watched_again_by_a_retry_after_a_crash_in_that_wait(
        self, tries: Tries, archival_sandbox: Sandbox, pauses: Pauses, logged: list[str]
    ) -> None:
        other = Tries(tries._ti, None, tries._deferrals, False)
        other.run(**export(wait_for_completion=False))
        killed_while_waiting(tries, pauses, archival_sandbox, export())
        logged.clear()
        result = tries.run(**export())
        assert any("waiting for its end" in line for line in logged)
        assert not any("though it was waited for" in line for line in logged)
        assert result["tasks"][0]["task_id"] == archival_sandbox.jobs()[1]["id"]

    def test_that_began_before_our_attempt_is_not_taken_for_ours(
        self, tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        other = Tries(tries._ti, None, tries._deferrals, False)
        other.run(**export(wait_for_completion=False))
        archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "freeze")
        archival_sandbox.advance(60)
        archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "thaw")
        archival_sandbox.fault(EXPORT, method="PUT", reset="before")
        result = tries.run(**export())
        assert result["tasks"][0]["task_id"] == archival_sandbox.jobs()[1]["id"]


class TestWithoutAStore:
    @pytest.mark.parametrize("job", [JOBS[0], JOBS[2]], ids=["archive", "project"])
    def test_a_running_job_is_found_at_the_service(
        self, job: dict[str, Any], tries_without_store: Tries, pauses: Pauses, archival_sandbox: Sandbox
    ) -> None:
        id = killed_while_waiting(tries_without_store, pauses, archival_sandbox, job)
        result = tries_without_store.run(**job)
        assert [one["id"] for one in archival_sandbox.jobs()] == [id]
        assert id in json.dumps(result)

    def test_a_running_export_may_be_anybodys_so_it_is_waited_for_and_not_taken(
        self, tries_without_store: Tries, pauses: Pauses, archival_sandbox: Sandbox, logged: list[str]
    ) -> None:
        id = killed_while_waiting(tries_without_store, pauses, archival_sandbox, export())
        result = tries_without_store.run(**export())
        assert id not in json.dumps(result)
        counters = archival_sandbox.counters()
        assert (counters["jobs_submitted"], counters["jobs_overlapped"]) == ({"export": 2}, {"export": 1})
        assert any("is perhaps a second one" in line for line in logged)

    def test_an_archived_pool_is_success(self, tries_without_store: Tries, archival_sandbox: Sandbox) -> None:
        pool = archival_sandbox.add_toloka_project(pools=1)["pools"][0]
        for _ in range(2):
            tries_without_store.run(TolokaArchivePoolOperator, pool_id=pool)
        assert archival_sandbox.counters()["jobs_submitted"] == {"POOL.ARCHIVE": 1}


def test_a_crash_between_two_pools_leaves_none_out(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    project = PROJECTS_WITH_CLOSED_POOLS[0]
    job = {"operator": TolokaArchiveProjectOperator, "project_id": project, "archive_pools": True}
    killed_while_waiting(tries, pauses, archival_sandbox, job)
    before = dict(archival_sandbox.counters()["jobs_submitted"])
    result = tries.run(**job)
    after = archival_sandbox.counters()["jobs_submitted"]
    assert after == {**before, "PROJECT.ARCHIVE": 1}
    assert result["status"] == "SUCCESS"
    assert len(result["pools"]) == before["POOL.ARCHIVE"]


def test_a_job_that_fails_during_the_wait_fails_the_try_and_the_next_one_submits_anew(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    pauses.before = lambda: archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "fail", message="no disk")
    with pytest.raises(JiraTaskFailed, match="no disk"):
        tries.run(**archive())
    pauses.before = None
    tries.run(**archive())
    assert archival_sandbox.counters()["jobs_submitted"] == {"archive": 2}


def test_a_job_that_is_gone_during_the_wait_fails_the_try_and_the_next_one_submits_anew(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    def forget() -> None:
        pauses.before = None
        archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "forget")

    pauses.before = forget
    with pytest.raises(JobGone):
        tries.run(**export())
    pauses.before = None
    tries.run(**export())
    assert archival_sandbox.counters()["jobs_submitted"] == {"export": 2}


def test_a_try_after_a_timeout_attaches(tries: Tries, archival_sandbox: Sandbox, pauses: Pauses) -> None:
    pauses.before = lambda: archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "freeze")
    with pytest.raises(JobTimeout):
        tries.run(**export(timeout=20))
    pauses.before = None
    archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "thaw")
    tries.run(**export())
    assert archival_sandbox.counters()["jobs_submitted"] == {"export": 1}


@pytest.mark.parametrize("reason", ["Trigger timeout", "Trigger/execution timeout"])
@pytest.mark.parametrize("cancels", [False, True], ids=["goes on", "cancelled"])
def test_a_deferral_that_no_triggerer_took_up_is_a_timeout_that_says_what_to_do(
    ti: TaskInstance, store: Store, archival_sandbox: Sandbox, reason: str, cancels: bool
) -> None:
    context: Any = {"ti": ti, "task_state_store": store}
    task = JiraExportArchivedIssuesOperator(
        task_id="task", deferrable=True, poll_interval=5, cancel_on_timeout=cancels
    )
    with pytest.raises(TaskDeferred):
        task.execute(context)
    (job,) = archival_sandbox.jobs()
    with pytest.raises(JobTimeout, match=f"task {job['id']} did not end .* a triggerer is running") as caught:
        # As Airflow's scheduler has it when the deferral's own timeout passes.
        task.resume_execution("__fail__", {"error": reason}, context)
    assert caught.value.job["task_id"] == job["id"]
    assert archival_sandbox.jobs()[0]["status"] == ("CANCELLING" if cancels else "QUEUED")


def test_a_trigger_that_broke_is_no_timeout(context: Any) -> None:
    task = JiraExportArchivedIssuesOperator(task_id="task")
    with pytest.raises(AirflowException, match="Trigger failure") as caught:
        task.resume_execution("__fail__", {"error": "Trigger failure"}, context)
    assert not isinstance(caught.value, JobTimeout)


def test_a_task_that_is_being_cancelled_is_waited_for_and_submitted_anew(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox, connections: Connections
) -> None:
    from airflow_provider_archival.hooks.jira import JiraCloudHook

    id = killed_while_waiting(tries, pauses, archival_sandbox, archive())
    JiraCloudHook().cancel_task(id)
    tries.run(**archive())
    counters = archival_sandbox.counters()
    assert counters["jobs_submitted"] == {"archive": 2}
    assert counters["jobs_overlapped"]["archive"] == 1


def test_a_refusal_is_remembered_so_that_the_next_try_takes_nobody_elses_export(
    tries: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    hook = JiraCloudHook()
    first = hook.export_archived_issues(ExportFilter()).id
    killed_while_waiting(tries, pauses, archival_sandbox, export())
    archival_sandbox.job(first, "finish")
    archival_sandbox.advance(60)
    second = hook.export_archived_issues(ExportFilter()).id
    result = tries.run(**export())
    assert result["tasks"][0]["task_id"] == archival_sandbox.jobs()[-1]["id"] not in (first, second)


def test_without_a_store_no_part_of_an_export_is_taken_for_another(
    tries_without_store: Tries, pauses: Pauses, archival_sandbox: Sandbox
) -> None:
    tries_without_store._ti.start_date = datetime.fromtimestamp(archival_sandbox.now(), UTC)
    parts = export(archived_after="2024-01-01", archived_before="2024-04-01", split_by="month")
    jobs = archival_sandbox.jobs

    def kill_in_the_second() -> None:
        if len(jobs()) == 2:
            raise Killed

    pauses.before = kill_in_the_second
    with pytest.raises(Killed):
        tries_without_store.run(**parts)
    pauses.before = None
    result = tries_without_store.run(**parts)
    assert [one["task_id"] for one in result["tasks"]] == [job["id"] for job in jobs()[2:]]
    assert len(result["tasks"]) == 3
    assert archival_sandbox.counters()["jobs_overlapped"]["export"] == 1


class TestAFileThatIsGone:
    @pytest.fixture
    def stopped(self, tries: Tries, archival_sandbox: Sandbox, tmp_path: Path) -> dict[str, Any]:
        """A try has failed when its export had ended and the file was about to be saved."""
        job = export(destination=str(tmp_path))
        archival_sandbox.fault("*.csv", status=404, times=None)
        return job

    def test_is_exported_anew_by_the_next_try(
        self, stopped: dict[str, Any], tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        with pytest.raises(ServiceRefusal, match=r"can be had no more. Clear this task to export anew."):
            tries.run(**stopped)
        archival_sandbox.clear_faults()
        result = tries.run(**stopped)
        assert result["files"][0]["rows"] == 0
        assert archival_sandbox.counters()["jobs_submitted"] == {"export": 2}

    def test_is_looked_for_where_jira_says_now(
        self,
        stopped: dict[str, Any],
        tries: Tries,
        archival_sandbox: Sandbox,
        loopback: Callable[..., Loopback],
        pauses: Pauses,
    ) -> None:
        def answer(received: Received) -> Answer:
            return (200, {}, b"Issue key\nA-1\n") if "new" in received.path else (403, {}, b"")

        signed = loopback(answer)

        def moves() -> None:
            for name in ("old", "new"):
                body = {"id": id, "status": "COMPLETE", "result": {"fileUrl": f"{signed.url}/{name}.csv"}}
                archival_sandbox.fault("/rest/api/3/task/*", status=200, body=body, times=1)
            pauses.before = None

        id = "10101"
        pauses.before = moves
        (file,) = tries.run(**stopped)["files"]
        assert (file["rows"], file["file_url"]) == (1, f"{signed.url}/new.csv")
        assert archival_sandbox.counters()["jobs_submitted"] == {"export": 1}

    def test_that_may_not_be_read_is_not_exported_anew(
        self, stopped: dict[str, Any], tries: Tries, archival_sandbox: Sandbox
    ) -> None:
        archival_sandbox.clear_faults()
        archival_sandbox.fault("*.csv", status=403, times=None)
        for _ in range(2):
            with pytest.raises(ServiceRefusal, match="HTTP 403"):
                tries.run(**stopped)
        assert archival_sandbox.counters()["jobs_submitted"] == {"export": 1}
