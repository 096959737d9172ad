"""What a template makes of nothing: no value for what may be left out, and an error for what may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_archival.exceptions import BadInput, PoolsNotArchived
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
    JiraUnarchiveIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import PROJECT_WITH_OPEN_POOL
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Deferrals

EXPORT = "/rest/api/3/issues/archive/export"
NOTHING = pytest.mark.parametrize("nothing", [None, "None", "none", "null", "", "  "], ids=repr)
REQUIRED = [
    (JiraArchiveIssuesOperator, "issue_ids_or_keys"),
    (JiraUnarchiveIssuesOperator, "issue_ids_or_keys"),
    (JiraArchiveIssuesByJqlOperator, "jql"),
    (JiraTaskSensor, "jira_task_id"),
    (TolokaArchiveProjectOperator, "project_id"),
    (TolokaArchivePoolOperator, "pool_id"),
    (TolokaOperationSensor, "operation_id"),
]

pytestmark = pytest.mark.usefixtures("connections", "pauses")


def contained() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@NOTHING
@pytest.mark.parametrize(("kind", "parameter"), REQUIRED)
@pytest.mark.parametrize("deferrable", [False, True])
def test_what_has_to_be_given_fails_for_good_and_asks_what_upstream_gave(
    archival_sandbox: Sandbox, context: Any, kind: Any, parameter: str, nothing: Any, deferrable: bool
) -> None:
    keys = {} if parameter == "issue_ids_or_keys" else {"deferrable": deferrable}
    task = kind(task_id="task", **{parameter: nothing}, **keys)
    with pytest.raises(BadInput, match=rf"{parameter} is empty: .*What did upstream give\?") as caught:
        task.execute(context)
    assert isinstance(caught.value, AirflowFailException)
    assert archival_sandbox.requests() == []


@pytest.mark.parametrize(
    ("kind", "parameter"),
    [*REQUIRED, (JiraExportArchivedIssuesOperator, "projects")],
    ids=lambda one: str(one),
)
@pytest.mark.parametrize("make", [contained, deep])
def test_a_list_without_an_end_fails_for_good_and_sends_nothing(
    archival_sandbox: Sandbox, context: Any, kind: Any, parameter: str, make: Any
) -> None:
    task = kind(task_id="task", **{parameter: None})
    # Past Airflow's own look for XComs in it, as a value comes that is rendered.
    vars(task)[parameter] = make()
    with pytest.raises(BadInput, match=parameter):
        task.execute(context)
    assert archival_sandbox.requests() == []


@NOTHING
def test_an_export_is_asked_for_as_if_nothing_was_given(
    archival_sandbox: Sandbox, context: Any, nothing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = set(JiraExportArchivedIssuesOperator.template_fields) - {"jira_conn_id", "destination_conn_id"}
    task = JiraExportArchivedIssuesOperator(task_id="export", **dict.fromkeys(names, nothing))
    (file,) = task.execute(context)["files"]
    assert (file["path"], file["rows"]) == (None, None)
    (request,) = archival_sandbox.requests(EXPORT)
    assert request["body"] == {}
    assert list(tmp_path.iterdir()) == []


@NOTHING
def test_a_list_with_nothing_but_that_does_not_restrict_an_export(
    archival_sandbox: Sandbox, context: Any, nothing: Any, logged: list[str]
) -> None:
    task = JiraExportArchivedIssuesOperator(
        task_id="export", archived_by=[nothing, "sandbox-account-admin"], projects=[nothing]
    )
    task.execute(context)
    (request,) = archival_sandbox.requests(EXPORT)
    assert request["body"] == {"archivedBy": ["sandbox-account-admin"]}
    warnings = [line for line in logged if "Did an upstream task return nothing?" in line]
    assert len(warnings) == (2 if nothing is None or nothing.strip() else 0)


def test_a_list_that_can_be_read_once_restricts_each_export(
    archival_sandbox: Sandbox, context: Any, deferrals: Deferrals
) -> None:
    task = JiraExportArchivedIssuesOperator(
        task_id="export", archived_after="2026-01-01", archived_before="2026-01-03", split_by="day"
    )
    task.projects = (key for key in ("DEMO", "WEB"))
    deferrals.run(task, context)
    bodies = [request["body"]["projects"] for request in archival_sandbox.requests(EXPORT)]
    assert bodies == [["DEMO", "WEB"]] * len(bodies)
    assert len(bodies) > 1


@NOTHING
def test_a_destinations_connection_that_rendered_to_nothing_is_never_the_default_one(
    archival_sandbox: Sandbox, context: Any, nothing: Any, tmp_path: Path
) -> None:
    task = JiraExportArchivedIssuesOperator(
        task_id="export", destination=str(tmp_path / "folder"), destination_conn_id=nothing
    )
    if nothing is None:
        assert task.execute(context)["files"][0]["rows"] == 0
        return
    with pytest.raises(BadInput, match="destination_conn_id is empty"):
        task.execute(context)
    assert archival_sandbox.requests() == []


@NOTHING
def test_an_archive_by_jql_is_done_as_if_nothing_was_given(
    archival_sandbox: Sandbox, context: Any, nothing: Any
) -> None:
    names = ("max_issues", "dry_run", "sample", "issues_per_task")
    task = JiraArchiveIssuesByJqlOperator(
        task_id="archive", jql="key = DEMO-4", **dict.fromkeys(names, nothing)
    )
    assert task.execute(context)["matched"] == 1
    assert archival_sandbox.issue("DEMO-4")["archived"]


@NOTHING
def test_pools_are_left_alone_as_if_nothing_was_given(
    archival_sandbox: Sandbox, context: Any, nothing: Any
) -> None:
    task = TolokaArchiveProjectOperator(
        task_id="archive", project_id=PROJECT_WITH_OPEN_POOL, archive_pools=nothing, close_open_pools=nothing
    )
    with pytest.raises(PoolsNotArchived, match="set archive_pools=True"):
        task.execute(context)
    assert archival_sandbox.jobs() == []


@pytest.mark.parametrize(
    ("kind", "parameter", "value"),
    [
        (JiraArchiveIssuesByJqlOperator, "jql", 'key = DEMO-4 AND text ~ "{cut}"'),
        (JiraArchiveIssuesOperator, "issue_ids_or_keys", "DEMO-4 {cut}"),
        (JiraExportArchivedIssuesOperator, "projects", "DEMO {cut}"),
        (JiraExportArchivedIssuesOperator, "archived_by", "{cut}"),
        (JiraExportArchivedIssuesOperator, "destination", "{cut}"),
    ],
)
@pytest.mark.parametrize("cut", ["\ud83d", "\0"], ids=ascii)
def test_a_text_that_was_cut_inside_a_character_fails_for_good_and_sends_nothing(
    archival_sandbox: Sandbox, context: Any, kind: Any, parameter: str, value: str, cut: str
) -> None:
    with pytest.raises(BadInput, match=rf"{parameter} has half an emoji"):
        kind(task_id="task", **{parameter: value.format(cut=cut)}).execute(context)
    assert archival_sandbox.requests() == []


def test_the_mark_at_the_begin_of_a_jql_file_is_not_sent(archival_sandbox: Sandbox, context: Any) -> None:
    task = JiraArchiveIssuesByJqlOperator(task_id="archive", jql="\ufeffkey in (DEMO-4)\n", issues_per_task=1)
    assert task.execute(context)["jql"] == "key in (DEMO-4)"
    assert archival_sandbox.issue("DEMO-4")["archived"]
    bodies = {request["body"]["jql"] for request in archival_sandbox.requests() if request["body"]}
    assert bodies == {"key in (DEMO-4)"}
