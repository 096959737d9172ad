"""DAG runs through faults that pass: they succeed, in one try, with one job."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import PASSING_FAULTS, Airflow, Run, until

from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY, PROJECTS_WITH_CLOSED_POOLS

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

RunIt = Callable[..., Run]
EndJobs = Callable[..., Future[list[Any]]]


class Job:
    """One kind of job: the operator that starts it, and where its requests go."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        jira, toloka = "/rest/api/3", "/api/v1"
        self.submit, self.method, self.looks = {
            "archive": (f"{jira}/issue/archive", "POST", f"{jira}/task/*"),
            "export": (f"{jira}/issues/archive/export", "PUT", f"{jira}/task/*"),
            "PROJECT.ARCHIVE": (f"{toloka}/projects/*/archive", "POST", f"{toloka}/operations/*"),
        }[kind]

    def make(self, **arguments: Any) -> object:
        arguments = {"task_id": "job", "poll_interval": 0.1, **arguments}
        if self.kind == "archive":
            return JiraArchiveIssuesByJqlOperator(jql="project = DEMO", **arguments)
        if self.kind == "export":
            return JiraExportArchivedIssuesOperator(**arguments)
        return TolokaArchiveProjectOperator(project_id=PROJECT_READY, **arguments)


@pytest.fixture(params=["archive", "export", "PROJECT.ARCHIVE"])
def job(request: pytest.FixtureRequest) -> Job:
    return Job(request.param)


def test_faults_during_the_wait_end_in_success_with_one_job(
    sandbox: Sandbox, run: RunIt, job: Job, deferrable: bool
) -> None:
    for fault in PASSING_FAULTS:
        sandbox.fault(job.looks, method="GET", **fault)
    done = run(lambda: job.make(deferrable=deferrable))
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 1
    assert len(sandbox.requests(job.looks, "GET")) > len(PASSING_FAULTS)
    assert sandbox.counters()["jobs_submitted"] == {job.kind: 1}


def test_a_fault_before_the_submit_is_tried_again(
    sandbox: Sandbox, run: RunIt, job: Job, quick_repeats: None
) -> None:
    sandbox.fault(job.submit, method=job.method, status=429, headers={"Retry-After": "0"})
    done = run(lambda: job.make())
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 1
    assert sandbox.counters()["jobs_submitted"] == {job.kind: 1}


@pytest.mark.parametrize(
    ("deferrable", "fault"),
    [(False, {"reset": "after"}), (True, {"reset": "after"}), (False, {"status": 503, "when": "after"})],
    ids=["waiting-reset", "deferrable-reset", "waiting-503"],
)
def test_a_submit_whose_answer_is_lost_starts_no_second_job_beside_the_first(
    slow_sandbox: Sandbox,
    run: RunIt,
    job: Job,
    deferrable: bool,
    fault: dict[str, Any],
    end_jobs: EndJobs,
) -> None:
    slow_sandbox.fault(job.submit, method=job.method, **fault)
    # Whose an export is that runs nobody can tell: this one is made after it.
    jobs = 2 if job.kind == "export" else 1
    end_jobs(*jobs * ["finish"], look=lambda id: until(lambda: slow_sandbox.counters()["polls"].get(id)))
    done = run(lambda: job.make(deferrable=deferrable))
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 1
    counters = slow_sandbox.counters()
    assert counters["jobs_submitted"] == {job.kind: jobs}
    assert counters["jobs_overlapped"] == {job.kind: 1}


def test_a_retry_after_the_timeout_goes_on_with_the_job_that_still_runs(
    slow_sandbox: Sandbox,
    airflow: Airflow,
    job: Job,
    deferrable: bool,
    end_jobs: EndJobs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Before Airflow 3.3 the store is the provider's own: without one nobody can tell whose an export is.
    monkeypatch.setenv("AIRFLOW__ARCHIVAL__STATE_STORE", "variables")
    tries: list[int] = []
    with airflow.dag(default_args={"retries": 1}) as dag:
        job.make(
            deferrable=deferrable,
            timeout=1,
            on_execute_callback=lambda context: tries.append(context["ti"].try_number),
        )

    def second_try(id: str) -> None:
        def looks() -> int:
            return int(slow_sandbox.counters()["polls"].get(id, 0))

        until(lambda: 2 in tries)
        before = looks()
        until(lambda: looks() > before)

    end_jobs("finish", look=second_try)
    done = airflow.run(dag)
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 2
    assert slow_sandbox.counters()["jobs_submitted"] == {job.kind: 1}


def test_archiving_by_key_gets_through_faults(sandbox: Sandbox, run: RunIt, quick_repeats: None) -> None:
    path = "/rest/api/3/issue/archive"
    for fault in ({"status": 503}, {"reset": "after"}, {"body": "html"}, {"truncate": True}):
        sandbox.fault(path, method="PUT", **fault)
    done = run(lambda: JiraArchiveIssuesOperator(task_id="job", issue_ids_or_keys=["DEMO-4"]))
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 1
    assert sandbox.issue("DEMO-4")["archived"]


def test_a_download_gets_through_faults_and_leaves_one_whole_file(
    sandbox: Sandbox, run: RunIt, quick_repeats: None, tmp_path: Path, deferrable: bool
) -> None:
    JiraCloudHook().archive_issues(["DEMO-1", "DEMO-4"])
    for fault in ({"status": 503}, {"reset": "before"}, {"truncate": True}):
        sandbox.fault("/rest/api/3/issues/archive/export/file/*", **fault)
    done = run(
        lambda: JiraExportArchivedIssuesOperator(
            task_id="job", destination=str(tmp_path), deferrable=deferrable, poll_interval=0.1
        )
    )
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 1
    (file,) = tmp_path.iterdir()
    assert str(file) == done.xcom("job")["files"][0]["path"]
    assert len(file.read_text().splitlines()) == 1 + done.xcom("job")["files"][0]["rows"] == 5


def test_a_toloka_project_with_pools_gets_through_faults_without_a_second_operation(
    sandbox: Sandbox, run: RunIt, quick_repeats: None, deferrable: bool
) -> None:
    for path in ("/api/v1/projects/*", "/api/v1/pools", "/api/v1/trainings", "/api/v1/operations/*"):
        sandbox.fault(path, method="GET", status=503)
        sandbox.fault(path, method="GET", body="html")
    done = run(
        lambda: TolokaArchiveProjectOperator(
            task_id="job",
            project_id=PROJECTS_WITH_CLOSED_POOLS[0],
            archive_pools=True,
            deferrable=deferrable,
            poll_interval=0.1,
        )
    )
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 1
    assert sandbox.counters()["jobs_submitted"] == {"POOL.ARCHIVE": 2, "PROJECT.ARCHIVE": 1}
