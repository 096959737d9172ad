"""What the services' references leave open: the operators do the right thing whichever way it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tries import Tries

from airflow_provider_archival.exceptions import FileNotAvailable
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.settings import UNKNOWN, choices_of
from airflow_provider_archival.sandbox.toloka_store import PROJECT_ARCHIVED

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_archival.sandbox.client import Sandbox

# These are tried in files of their own: test_operators_windows.py, test_operators_exports.py and
# test_operators_export_files.py.
ELSEWHERE = {"over_limit", "range_ends", "csv"}
HERE = sorted(set(UNKNOWN) - ELSEWHERE)
# As many sandboxes as a question has answers at most: each answer to each question is in one of them.
ANSWERS = [
    {name: choices_of(name)[number % len(choices_of(name))] for name in HERE}
    for number in range(max(len(choices_of(name)) for name in HERE))
]
# The hardest ones together: a 412 names a task, and nothing tells that it is one of the other kind.
ANSWERS.append({**ANSWERS[0], "busy_with": "id", "locks": "one", "description": "same"})


@pytest.fixture(scope="session", params=ANSWERS, ids=lambda answers: "-".join(map(str, answers.values())))
def _settled(request: pytest.FixtureRequest, archival_sandbox_factory: Any) -> Sandbox:
    started: Sandbox = archival_sandbox_factory(**request.param)
    return started


@pytest.fixture
def archival_sandbox(_settled: Sandbox) -> Sandbox:
    """A sandbox that does what the references leave open in one way or the other."""
    _settled.reset()
    return _settled


pytestmark = pytest.mark.usefixtures("connections", "pauses")


def test_issues_that_were_archived_before_are_no_error(context: Any) -> None:
    JiraCloudHook().archive_issues(["DEMO-4"])
    task = JiraArchiveIssuesOperator(task_id="archive", issue_ids_or_keys="DEMO-4 DEMO-5")
    result = task.execute(context)
    assert (result["requested"], result["errors"]) == (2, {})
    assert result["archived"] in (1, 2)


def test_a_count_that_was_too_high_is_no_error(tries: Tries, archival_sandbox: Sandbox) -> None:
    hook = JiraCloudHook()
    hook.wait_for_task(hook.archive_issues_by_jql("project = DEMO AND issuetype in standardIssueTypes()"))
    archival_sandbox.fault("*/approximate-count", status=200, body='{"count": 3}', times=2)
    result = tries.run(
        JiraArchiveIssuesByJqlOperator, jql="project = DEMO AND issuetype in standardIssueTypes()"
    )
    assert (result["matched"], result["left"]) == (3, 0)


def test_another_archive_is_waited_for(tries: Tries, archival_sandbox: Sandbox) -> None:
    JiraCloudHook().archive_issues_by_jql("key = DEMO-4")
    result = tries.run(JiraArchiveIssuesByJqlOperator, jql="key = DEMO-5")
    assert (len(result["tasks"]), result["left"]) == (1, 0)
    assert archival_sandbox.counters()["jobs_overlapped"] == {"archive": 1}


def test_what_a_colleague_runs_is_waited_for_and_left_alone(tries: Tries, archival_sandbox: Sandbox) -> None:
    theirs = [archival_sandbox.colleague("archive", jql="key = DEMO-4")]
    if archival_sandbox.settings.locks == "each":
        theirs.append(archival_sandbox.colleague("export"))
    result = tries.run(JiraArchiveIssuesByJqlOperator, jql="key = DEMO-5")
    assert len(result["tasks"]) == 1
    assert archival_sandbox.issue("DEMO-5")["archived"]
    jobs = {job["id"]: job["status"] for job in archival_sandbox.jobs()}
    assert set(jobs) - set(theirs) == {task["task_id"] for task in result["tasks"]}
    assert set(jobs.values()) == {"DONE"}


def test_an_archive_waits_for_an_export_where_they_share_a_lock(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    archival_sandbox.colleague("export")
    result = tries.run(JiraArchiveIssuesByJqlOperator, jql="key = DEMO-5")
    assert (len(result["tasks"]), result["left"]) == (1, 0)
    refused = [one["status"] for one in archival_sandbox.requests("*/issue/archive", "POST")].count(412)
    assert (refused > 0) is (archival_sandbox.settings.locks == "one")


def test_an_export_waits_for_an_archive_where_they_share_a_lock(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    JiraCloudHook().archive_issues(["DEMO-5"])
    theirs = archival_sandbox.colleague("archive", jql="key = DEMO-4")
    result = tries.run(JiraExportArchivedIssuesOperator)
    assert len(result["tasks"]) == 1
    assert result["tasks"][0]["task_id"] != theirs
    refused = [one["status"] for one in archival_sandbox.requests("*/archive/export", "PUT")].count(412)
    assert (refused > 0) is (archival_sandbox.settings.locks == "one")


@pytest.mark.parametrize("has_destination", [True, False])
def test_a_file_is_saved_wherever_it_is_told_and_missed_only_where_it_was_wanted(
    tries: Tries,
    archival_sandbox: Sandbox,
    tmp_path: Path,
    has_destination: bool,
) -> None:
    JiraCloudHook().archive_issues(["DEMO-4"])
    is_told = archival_sandbox.settings.file_url != "none"
    parameters = {"destination": str(tmp_path / "files")} if has_destination else {}
    if has_destination and not is_told:
        with pytest.raises(FileNotAvailable, match="the link is in the e-mail"):
            tries.run(JiraExportArchivedIssuesOperator, **parameters)
        return
    result = tries.run(JiraExportArchivedIssuesOperator, **parameters)
    assert len(result["tasks"]) == 1
    rows = 1 if has_destination else None
    assert [one["rows"] for one in result["files"]] == ([rows] if is_told else [])


def test_a_project_that_was_archived_meanwhile_is_no_error(tries: Tries, archival_sandbox: Sandbox) -> None:
    body = f'{{"id": "{PROJECT_ARCHIVED}", "status": "ACTIVE"}}'
    archival_sandbox.fault(
        f"/api/v1/projects/{PROJECT_ARCHIVED}", status=200, body=body, method="GET", times=1
    )
    result = tries.run(TolokaArchiveProjectOperator, project_id=PROJECT_ARCHIVED)
    assert result["status"] in ("ARCHIVED", "SUCCESS")
