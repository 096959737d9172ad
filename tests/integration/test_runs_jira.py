"""Jira's operators in DAG runs: what they do at Jira, and what they leave in XCom."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import task
from conftest import Airflow, Run, rows, until

from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
    JiraUnarchiveIssuesOperator,
)

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

RunIt = Callable[..., Run]
EndJobs = Callable[..., Future[list[Any]]]
TASK_KEYS = {
    "task_id",
    "status",
    "progress",
    "result",
    "message",
    "description",
    "submitted",
    "started",
    "finished",
    "elapsed_runtime",
    "file_url",
}
NOT_FOUND = {"issuesNotFound": {"count": 1, "message": "Issue not found.", "issue_ids_or_keys": ["DEMO-404"]}}


def archive_by_key(sandbox: Sandbox, *keys: str) -> None:
    """Archive issues at the sandbox, as somebody else would."""
    from airflow_provider_archival.hooks.jira import JiraCloudHook

    JiraCloudHook().archive_issues(keys)


# --- by key ---


def test_archiving_by_key_tells_how_many_went_subtasks_included(sandbox: Sandbox, run: RunIt) -> None:
    done = run(lambda: JiraArchiveIssuesOperator(task_id="job", issue_ids_or_keys=["DEMO-1", "DEMO-4"]))
    assert done.states() == {"job": "success"}
    assert done.xcom("job") == {"requested": 2, "archived": 4, "errors": {}}
    assert sandbox.counters()["issues_archived"] == 4
    assert [sandbox.issue(f"DEMO-{number}")["archived"] for number in (1, 2, 3, 4, 5)] == [True] * 4 + [False]


def test_unarchiving_by_key_brings_subtasks_back_too(sandbox: Sandbox, run: RunIt) -> None:
    archive_by_key(sandbox, "DEMO-1", "DEMO-4")
    done = run(lambda: JiraUnarchiveIssuesOperator(task_id="job", issue_ids_or_keys="DEMO-1, demo-4"))
    assert done.states() == {"job": "success"}
    assert done.xcom("job") == {"requested": 2, "unarchived": 4, "errors": {}}
    assert sandbox.counters()["issues_unarchived"] == 4
    assert sandbox.count("project = DEMO", archived=True) == 0


@pytest.mark.parametrize(
    ("operator", "done_word"),
    [(JiraArchiveIssuesOperator, "archived"), (JiraUnarchiveIssuesOperator, "unarchived")],
)
def test_keys_that_jira_refuses_fail_the_task_and_the_report_stays_in_xcom(
    sandbox: Sandbox, run: RunIt, operator: Any, done_word: str
) -> None:
    if done_word == "unarchived":
        archive_by_key(sandbox, "DEMO-4")
    done = run(lambda: operator(task_id="job", issue_ids_or_keys=["DEMO-4", "DEMO-404"], retries=2))
    assert done.states() == {"job": "failed"}
    assert done.tries("job") == 1
    assert done.xcom("job") is None
    assert done.xcom("job", "report") == {"requested": 2, done_word: 1, "errors": NOT_FOUND}


def test_refused_keys_are_a_result_where_that_is_wanted(sandbox: Sandbox, run: RunIt) -> None:
    done = run(
        lambda: JiraArchiveIssuesOperator(
            task_id="job", issue_ids_or_keys=["DEMO-4", "DEMO-404"], fail_on_partial_error=False
        )
    )
    assert done.states() == {"job": "success"}
    assert done.xcom("job") == {"requested": 2, "archived": 1, "errors": NOT_FOUND}


def test_more_keys_than_one_request_takes_make_one_report(sandbox: Sandbox, run: RunIt) -> None:
    keys = [f"DEMO-{number}" for number in range(404, 2404)] + ["DEMO-4"]
    done = run(
        lambda: JiraArchiveIssuesOperator(task_id="job", issue_ids_or_keys=keys, fail_on_partial_error=False)
    )
    report = done.xcom("job")
    assert (report["requested"], report["archived"]) == (2001, 1)
    assert sum(error["count"] for error in report["errors"].values()) == 2000
    assert [
        len(request["body"]["issueIdsOrKeys"]) for request in sandbox.requests("/rest/api/3/issue/archive")
    ] == [
        1000,
        1000,
        1,
    ]


@pytest.mark.parametrize(
    ("operator", "done_word", "nothing"),
    [
        (JiraArchiveIssuesOperator, "archived", []),
        (JiraArchiveIssuesOperator, "archived", [None]),
        (JiraUnarchiveIssuesOperator, "unarchived", "[]"),
    ],
)
def test_no_keys_at_all_succeed_and_ask_jira_nothing(
    sandbox: Sandbox, run: RunIt, operator: Any, done_word: str, nothing: Any
) -> None:
    done = run(lambda: operator(task_id="job", issue_ids_or_keys=nothing))
    assert done.states() == {"job": "success"}
    assert done.xcom("job") == {"requested": 0, done_word: 0, "errors": {}}
    assert sandbox.requests() == []


@pytest.mark.parametrize("nothing", [None, "", "{{ none }}"], ids=repr)
def test_keys_that_upstream_did_not_give_fail_the_task_once(
    sandbox: Sandbox, run: RunIt, nothing: Any
) -> None:
    done = run(lambda: JiraArchiveIssuesOperator(task_id="job", issue_ids_or_keys=nothing, retries=2))
    assert done.states() == {"job": "failed"}
    assert "What did upstream give?" in done.error
    assert sandbox.requests() == []


def test_an_upstream_task_that_found_nothing_is_no_failure(sandbox: Sandbox, airflow: Airflow) -> None:
    @task
    def find() -> list[str]:
        return []

    with airflow.dag() as dag:
        JiraArchiveIssuesOperator(task_id="job", issue_ids_or_keys=find())
    done = airflow.run(dag)
    assert done.states() == {"find": "success", "job": "success"}
    assert done.xcom("job") == {"requested": 0, "archived": 0, "errors": {}}


def test_the_keys_can_be_the_xcom_of_an_upstream_task(sandbox: Sandbox, airflow: Airflow) -> None:
    @task
    def find() -> list[str]:
        return ["DEMO-4", "DEMO-1", "DEMO-4"]

    with airflow.dag() as dag:
        archived = JiraArchiveIssuesOperator(task_id="archive", issue_ids_or_keys=find())
        archived >> JiraUnarchiveIssuesOperator(
            task_id="bring_back", issue_ids_or_keys="{{ ti.xcom_pull(task_ids='find') }}"
        )
    done = airflow.run(dag)
    assert done.state == "success"
    assert done.xcom("archive") == {"requested": 2, "archived": 4, "errors": {}}
    assert done.xcom("bring_back") == {"requested": 2, "unarchived": 4, "errors": {}}


def test_keys_are_mapped_over_batches_that_an_upstream_task_made(sandbox: Sandbox, airflow: Airflow) -> None:
    @task
    def batches() -> list[list[str]]:
        return [["DEMO-1"], [], ["DEMO-4", "DEMO-5"]]

    with airflow.dag() as dag:
        JiraArchiveIssuesOperator.partial(task_id="job").expand(issue_ids_or_keys=batches())
    done = airflow.run(dag)
    assert set(done.states().values()) == {"success"}
    assert [done.xcom("job", map_index=index)["archived"] for index in range(3)] == [3, 0, 2]
    assert sandbox.counters()["issues_archived"] == 5


# --- by JQL ---


def test_archiving_by_jql_counts_archives_and_returns_jiras_task(
    sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(
            task_id="job", jql=" project = DEMO ", deferrable=deferrable, poll_interval=0.1
        )
    )
    assert done.states() == {"job": "success"}
    value, (job,) = done.xcom("job"), sandbox.jobs()
    assert set(value) == {"jql", "matched", "left", "windows", "tasks"}
    assert (value["jql"], value["matched"], value["left"]) == ("project = DEMO", 5, 0)
    (found,) = value["tasks"]
    assert value["windows"] == [{"after": None, "before": None, "matched": 5, "task_ids": [found["task_id"]]}]
    assert set(found) == TASK_KEYS
    assert found["task_id"] == job["id"] == done.xcom("job", "jira_task_id")
    assert (found["status"], found["progress"]) == ("COMPLETE", 100)
    assert found["result"] == {"numberOfIssuesUpdated": 5, "numberOfIssuesNotUpdated": 0}
    for name, at in (("submitted", job["submitted"]), ("finished", job["ended"])):
        assert pendulum.parse(found[name]).timestamp() == pytest.approx(at, abs=0.001)  # type: ignore[union-attr]
    counters = sandbox.counters()
    assert (counters["issues_archived"], counters["jobs_submitted"]) == (5, {"archive": 1})
    assert sandbox.count("project = DEMO", archived=False) == 0


def test_a_jql_that_matches_nothing_starts_no_task(sandbox: Sandbox, run: RunIt, deferrable: bool) -> None:
    jql = "project = DEMO AND updated < -20y"
    done = run(lambda: JiraArchiveIssuesByJqlOperator(task_id="job", jql=jql, deferrable=deferrable))
    assert done.states() == {"job": "success"}
    assert done.xcom("job") == {"jql": jql, "matched": 0, "left": 0, "windows": [], "tasks": []}
    assert sandbox.jobs() == []


def test_a_dry_run_counts_and_archives_nothing(sandbox: Sandbox, run: RunIt, deferrable: bool) -> None:
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(
            task_id="job", jql="project = DEMO", dry_run=True, deferrable=deferrable
        )
    )
    assert done.states() == {"job": "success"}
    whole = {"after": None, "before": None, "matched": 5, "task_ids": []}
    assert done.xcom("job") == {
        "jql": "project = DEMO",
        "matched": 5,
        "left": None,
        "windows": [whole],
        "tasks": [],
    }
    assert sandbox.jobs() == []


@pytest.mark.parametrize(("most", "state"), [(4, "failed"), (5, "success"), (0, "failed")])
def test_the_guard_stops_what_matches_more_before_anything_is_archived(
    sandbox: Sandbox, run: RunIt, most: int, state: str
) -> None:
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(
            task_id="job", jql="project = DEMO", max_issues=most, retries=2, poll_interval=0.1
        )
    )
    assert done.states() == {"job": state}
    assert done.tries("job") == 1
    if state == "failed":
        assert done.error.startswith("TooManyIssues: About 5 issues match")
        assert f"max_issues is {most}" in done.error
        assert sandbox.jobs() == []


def test_more_than_one_task_takes_goes_window_by_window(
    sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    jql = "project = WEB AND issuetype in standardIssueTypes() ORDER BY key"
    matched = sandbox.count(jql, archived=False)
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(
            task_id="job", jql=jql, issues_per_task=100, deferrable=deferrable, poll_interval=0.1
        )
    )
    assert done.states() == {"job": "success"}
    value = done.xcom("job")
    assert (value["matched"], value["left"]) == (matched, 0)
    assert [task["task_id"] for task in value["tasks"]] == [job["id"] for job in sandbox.jobs()]
    assert len(value["tasks"]) == len(value["windows"]) > matched / 100 > 1
    assert sandbox.counters()["jobs_overlapped"] == {"archive": 1}
    assert sandbox.count(jql, archived=False) == 0


# --- export ---


def test_an_export_tells_where_jira_put_the_file(sandbox: Sandbox, run: RunIt, deferrable: bool) -> None:
    archive_by_key(sandbox, "DEMO-1", "DEMO-4")
    done = run(
        lambda: JiraExportArchivedIssuesOperator(task_id="job", deferrable=deferrable, poll_interval=0.1)
    )
    assert done.states() == {"job": "success"}
    value, (job,) = done.xcom("job"), sandbox.jobs()
    assert set(value) == {"tasks", "files"}
    (found,), (file,) = value["tasks"], value["files"]
    assert set(found) == TASK_KEYS
    assert (found["task_id"], found["status"]) == (job["id"], "COMPLETE")
    assert done.xcom("job", "jira_task_id") == job["id"]
    assert file == {
        "task_id": job["id"],
        "file_url": job["payload"]["fileUrl"],
        "path": None,
        "rows": None,
        "bytes": None,
    }
    assert sandbox.counters()["jobs_submitted"] == {"export": 1}


@pytest.mark.parametrize("name", ["new/folder", "new/export.csv"])
def test_an_export_is_saved_to_its_destination(
    sandbox: Sandbox, run: RunIt, deferrable: bool, tmp_path: Path, name: str
) -> None:
    archive_by_key(sandbox, "DEMO-1", "DEMO-4")
    done = run(
        lambda: JiraExportArchivedIssuesOperator(
            task_id="job", destination=str(tmp_path / name), deferrable=deferrable, poll_interval=0.1
        )
    )
    assert done.states() == {"job": "success"}
    (file,) = done.xcom("job")["files"]
    expected = tmp_path / name
    if not name.endswith(".csv"):
        expected /= f"jira-archived-issues-{file['task_id']}.csv"
    assert file["path"] == str(expected)
    with expected.open(newline="") as content:
        saved = list(csv.DictReader(content))
    assert {row["Issue key"] for row in saved} == {"DEMO-1", "DEMO-2", "DEMO-3", "DEMO-4"}
    assert (file["rows"], file["bytes"]) == (4, expected.stat().st_size)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [expected]


def test_an_export_is_restricted_to_what_its_filter_says(
    sandbox: Sandbox, run: RunIt, deferrable: bool, tmp_path: Path
) -> None:
    archive_by_key(sandbox, "DEMO-1", "DEMO-4")
    done = run(
        lambda: JiraExportArchivedIssuesOperator(
            task_id="job",
            projects=["DEMO"],
            archived_by="sandbox-account-admin",
            archived_after=pendulum.now("UTC").subtract(days=1),
            issue_types=["10002"],
            reporters='["sandbox-account-admin"]',
            destination=str(tmp_path),
            deferrable=deferrable,
            poll_interval=0.1,
        )
    )
    assert done.states() == {"job": "success"}
    assert done.xcom("job")["files"][0]["rows"] == 1
    (request,) = sandbox.requests("/rest/api/3/issues/archive/export", "PUT")
    today = pendulum.now("UTC")
    assert request["body"] == {
        "projects": ["DEMO"],
        "archivedBy": ["sandbox-account-admin"],
        "issueTypes": ["10002"],
        "reporters": ["sandbox-account-admin"],
        "archivedDateRange": {
            "dateAfter": today.subtract(days=1).to_date_string(),
            "dateBefore": today.add(days=1).to_date_string(),
        },
    }


# --- while a job runs ---


@pytest.mark.parametrize("kind", ["archive", "export"])
def test_the_tasks_id_is_in_xcom_while_it_runs_and_it_is_submitted_once(
    slow_sandbox: Sandbox, airflow: Airflow, end_jobs: EndJobs, deferrable: bool, kind: str
) -> None:
    with airflow.dag() as dag:
        how = {"task_id": "job", "deferrable": deferrable, "poll_interval": 0.1}
        if kind == "archive":
            JiraArchiveIssuesByJqlOperator(jql="project = DEMO", **how)
        else:
            JiraExportArchivedIssuesOperator(**how)

    def look(id: str) -> Any:
        found = until(
            lambda: rows(
                "SELECT task_id, key, value FROM xcom WHERE dag_id = ? AND key != 'return_value'", dag.dag_id
            )
        )
        until(lambda: slow_sandbox.counters()["polls"].get(id, 0) >= 3)
        return [(row["task_id"], row["key"], json.loads(row["value"])) for row in found]

    seen = end_jobs("finish", look=look)
    done = airflow.run(dag)
    (job,) = slow_sandbox.jobs()
    assert seen.result() == [[("job", "jira_task_id", job["id"])]]
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 1
    assert slow_sandbox.counters()["jobs_submitted"] == {kind: 1}


def test_without_waiting_the_task_returns_while_jiras_task_goes_on(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(
            task_id="job", jql="project = DEMO", wait_for_completion=False, deferrable=deferrable
        )
    )
    assert done.states() == {"job": "success"}
    (job,) = slow_sandbox.jobs()
    assert job["ended"] is None
    assert done.xcom("job")["matched"] == 5
    assert [(found["task_id"], found["status"]) for found in done.xcom("job")["tasks"]] == [
        (job["id"], "ENQUEUED")
    ]
    assert done.xcom("job", "jira_task_id") == job["id"]


@pytest.mark.parametrize("conn_id", ["jira_cloud_default", "jira_cloud_oauth", "jira_cloud_bearer"])
def test_every_way_to_sign_in_works_in_both_modes(
    sandbox: Sandbox, run: RunIt, deferrable: bool, conn_id: str, tmp_path: Path
) -> None:
    archive_by_key(sandbox, "DEMO-4")
    done = run(
        lambda: JiraExportArchivedIssuesOperator(
            task_id="job",
            jira_conn_id=conn_id,
            destination=str(tmp_path),
            deferrable=deferrable,
            poll_interval=0.1,
        )
    )
    assert done.states() == {"job": "success"}
    assert done.xcom("job")["files"][0]["rows"] == 1


def test_a_token_that_expires_during_the_wait_is_renewed(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool, end_jobs: EndJobs
) -> None:
    def expire(id: str) -> None:
        for _ in range(2):
            polls = slow_sandbox.counters()["polls"].get(id, 0)
            until(lambda: slow_sandbox.counters()["polls"].get(id, 0) > polls)  # noqa: B023 (called at once)
            slow_sandbox.expire_tokens()

    seen = end_jobs("finish", look=expire)
    done = run(
        lambda: JiraArchiveIssuesByJqlOperator(
            task_id="job",
            jql="project = DEMO",
            jira_conn_id="jira_cloud_oauth",
            deferrable=deferrable,
            poll_interval=0.1,
        )
    )
    seen.result()
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 1
    assert slow_sandbox.counters()["jobs_submitted"] == {"archive": 1}
