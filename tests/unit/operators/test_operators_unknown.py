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

# What each is tried with lives here, but for these two, which have files of their own.
ELSEWHERE = {"over_limit": "test_operators_windows.py", "range_ends": "test_operators_exports.py"}
HERE = [(name, value) for name in UNKNOWN if name not in ELSEWHERE for value in choices_of(name)]


@pytest.fixture(scope="session")
def _sandboxes(archival_sandbox_factory: Any) -> dict[tuple[str, str], Sandbox]:
    return {(name, value): archival_sandbox_factory(**{name: value}) for name, value in HERE}


@pytest.fixture
def chosen() -> tuple[str, str]:
    """The setting that a test is about, and its value."""
    raise AssertionError("a test chooses with @settled")


@pytest.fixture
def archival_sandbox(_sandboxes: dict[tuple[str, str], Sandbox], chosen: tuple[str, str]) -> Sandbox:
    sandbox = _sandboxes[chosen]
    sandbox.reset()
    return sandbox


def settled(setting: str) -> Any:
    choices = [pytest.param((setting, value), id=value) for value in choices_of(setting)]
    return pytest.mark.parametrize("chosen", choices)


pytestmark = pytest.mark.usefixtures("connections", "pauses")


@settled("archived_again")
def test_issues_that_were_archived_before_are_no_error(context: Any) -> None:
    JiraCloudHook().archive_issues(["DEMO-4"])
    task = JiraArchiveIssuesOperator(task_id="archive", issue_ids_or_keys="DEMO-4 DEMO-5")
    result = task.execute(context)
    assert (result["requested"], result["errors"]) == (2, {})
    assert result["archived"] in (1, 2)


@settled("no_match")
def test_a_count_that_was_too_high_is_no_error(tries: Tries, archival_sandbox: Sandbox) -> None:
    hook = JiraCloudHook()
    hook.wait_for_task(hook.archive_issues_by_jql("project = DEMO AND issuetype in standardIssueTypes()"))
    archival_sandbox.fault("*/approximate-count", status=200, body='{"count": 3}', times=2)
    result = tries.run(
        JiraArchiveIssuesByJqlOperator, jql="project = DEMO AND issuetype in standardIssueTypes()"
    )
    assert (result["matched"], result["left"]) == (3, 0)


@settled("busy_with")
def test_another_archive_is_waited_for(tries: Tries, archival_sandbox: Sandbox) -> None:
    JiraCloudHook().archive_issues_by_jql("key = DEMO-4")
    result = tries.run(JiraArchiveIssuesByJqlOperator, jql="key = DEMO-5")
    assert (len(result["tasks"]), result["left"]) == (1, 0)
    assert archival_sandbox.counters()["jobs_overlapped"] == {"archive": 1}


@settled("file_url")
@pytest.mark.parametrize("has_destination", [True, False])
def test_a_file_is_saved_wherever_it_is_told_and_missed_only_where_it_was_wanted(
    tries: Tries,
    archival_sandbox: Sandbox,
    tmp_path: Path,
    chosen: tuple[str, str],
    has_destination: bool,
) -> None:
    JiraCloudHook().archive_issues(["DEMO-4"])
    parameters = {"destination": str(tmp_path / "files")} if has_destination else {}
    if has_destination and chosen[1] == "none":
        with pytest.raises(FileNotAvailable, match="the link is in the e-mail"):
            tries.run(JiraExportArchivedIssuesOperator, **parameters)
        return
    result = tries.run(JiraExportArchivedIssuesOperator, **parameters)
    assert len(result["tasks"]) == 1
    rows = 1 if has_destination else None
    assert [one["rows"] for one in result["files"]] == ([] if chosen[1] == "none" else [rows])


@settled("project_again")
def test_a_project_that_was_archived_meanwhile_is_no_error(tries: Tries, archival_sandbox: Sandbox) -> None:
    body = f'{{"id": "{PROJECT_ARCHIVED}", "status": "ACTIVE"}}'
    archival_sandbox.fault(
        f"/api/v1/projects/{PROJECT_ARCHIVED}", status=200, body=body, method="GET", times=1
    )
    result = tries.run(TolokaArchiveProjectOperator, project_id=PROJECT_ARCHIVED)
    assert result["status"] in ("ARCHIVED", "SUCCESS")
