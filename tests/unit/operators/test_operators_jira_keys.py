"""Archiving and unarchiving by key: what is sent, what is returned, what fails and how."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_archival.exceptions import (
    BadInput,
    ConnectionNotUsable,
    JiraPartialError,
    ServiceFault,
    ServiceRefusal,
)
from airflow_provider_archival.operators.jira import JiraArchiveIssuesOperator, JiraUnarchiveIssuesOperator
from airflow_provider_archival.sandbox import credentials

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Connections, Pauses, TaskInstance

ARCHIVE = "/rest/api/3/issue/archive"
BOTH = pytest.mark.parametrize(
    ("operator", "word"),
    [(JiraArchiveIssuesOperator, "archived"), (JiraUnarchiveIssuesOperator, "unarchived")],
)


def archive(keys: Any, **more: Any) -> JiraArchiveIssuesOperator:
    return JiraArchiveIssuesOperator(task_id="archive", issue_ids_or_keys=keys, **more)


@pytest.mark.parametrize(
    "keys",
    [
        ["DEMO-4", "DEMO-5"],
        "DEMO-4, DEMO-5",
        "demo-4 demo-5",
        "['DEMO-4', 'DEMO-5']",
        '["DEMO-4", "DEMO-5", "DEMO-4"]',
        [["DEMO-4"], ["DEMO-5"]],
    ],
    ids=repr,
)
def test_issues_are_archived_in_whichever_form_they_are_given(
    archival_sandbox: Sandbox, connections: Connections, context: Any, keys: Any
) -> None:
    assert archive(keys).execute(context) == {"requested": 2, "archived": 2, "errors": {}}
    assert archival_sandbox.requests(ARCHIVE)[0]["body"] == {"issueIdsOrKeys": ["DEMO-4", "DEMO-5"]}


def test_issues_are_archived_by_id(archival_sandbox: Sandbox, connections: Connections, context: Any) -> None:
    id = archival_sandbox.issue("DEMO-4")["id"]
    assert archive([int(id)]).execute(context)["archived"] == 1


def test_subtasks_count_as_archived(connections: Connections, context: Any) -> None:
    assert archive("DEMO-1").execute(context) == {"requested": 1, "archived": 3, "errors": {}}


def test_issues_are_brought_back(archival_sandbox: Sandbox, connections: Connections, context: Any) -> None:
    archive("DEMO-4").execute(context)
    operator = JiraUnarchiveIssuesOperator(task_id="unarchive", issue_ids_or_keys="DEMO-4")
    assert operator.execute(context) == {"requested": 1, "unarchived": 1, "errors": {}}
    assert not archival_sandbox.issue("DEMO-4")["archived"]


@BOTH
@pytest.mark.parametrize("keys", [[], (), "[]", " , ", [None], "[None]"], ids=repr)
def test_an_empty_list_succeeds_and_sends_nothing(
    archival_sandbox: Sandbox, connections: Connections, context: Any, operator: Any, word: str, keys: Any
) -> None:
    result = operator(task_id="x", issue_ids_or_keys=keys).execute(context)
    assert result == {"requested": 0, word: 0, "errors": {}}
    assert archival_sandbox.requests() == []


@BOTH
@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("DEMO-4 nonsense", "1 of 2 are neither an issue id nor an issue key: 'nonsense'"),
        (None, "is empty: got None. What did upstream give"),
        ("None", "is empty: got 'None'. What did upstream give"),
        (" ", "is empty: got ' '. What did upstream give"),
        ("DEMO-4 None", "1 of 2 are neither an issue id nor an issue key: 'None'"),
        (["DEMO-4", "None"], "1 of 2 are neither an issue id nor an issue key: 'None'"),
        ("[DEMO-4]", "looks like a list, but is neither JSON nor a Python list"),
        ({"DEMO-4": 1}, "must be a list of names or a string of them"),
        (True, "must be a list of names or a string of them"),
    ],
    ids=repr,
)
def test_a_list_that_can_not_be_used_fails_for_good_and_sends_nothing(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    operator: Any,
    word: str,
    keys: Any,
    complaint: str,
) -> None:
    with pytest.raises(BadInput, match=complaint) as caught:
        operator(task_id="x", issue_ids_or_keys=keys).execute(context)
    assert "issue_ids_or_keys" in str(caught.value)
    assert isinstance(caught.value, AirflowFailException)
    assert archival_sandbox.requests() == []


# --- partial errors ---


@pytest.mark.parametrize(
    ("key", "reason", "advice"),
    [
        ("DEMO-2", "issueIsSubtask", "archive the parent"),
        ("UNL-1", "issuesInUnlicensedProjects", "licence"),
        ("OLD-1", "issuesInArchivedProjects", "whole project is archived"),
        ("DEMO-404", "issuesNotFound", "check the keys"),
    ],
)
@pytest.mark.parametrize("with_a_good_one", [True, False])
def test_an_issue_that_can_not_be_archived_fails_for_good_and_says_what_to_do(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    ti: TaskInstance,
    key: str,
    reason: str,
    advice: str,
    with_a_good_one: bool,
) -> None:
    keys = ["DEMO-4", key] if with_a_good_one else [key]
    with pytest.raises(JiraPartialError) as caught:
        archive(keys).execute(context)
    message = str(caught.value)
    assert f"Of {len(keys)} issues, 1 were not archived" in message
    assert key in message
    assert isinstance(caught.value, AirflowFailException)
    assert caught.value.report == ti.xcoms["report"]
    assert caught.value.report["archived"] == int(with_a_good_one)
    assert archival_sandbox.issue("DEMO-4")["archived"] is with_a_good_one
    if with_a_good_one:
        assert reason in message
        assert advice in message
        assert caught.value.report["errors"][reason]["issue_ids_or_keys"] == [key]
    else:
        # Jira does not tell which of the reasons it is, so the advice names them all.
        assert "No valid issue to archive or unarchive" in message
        for hint in ("subtask", "parent", "archived project", "licen", "not found"):
            assert hint in message


@pytest.mark.parametrize("keys", [["DEMO-4", "DEMO-2"], ["DEMO-2"], ["UNL-1", "DEMO-404"]], ids=repr)
def test_a_partial_error_may_be_taken_as_a_result(
    connections: Connections, context: Any, ti: TaskInstance, keys: list[str]
) -> None:
    result = archive(keys, fail_on_partial_error=False).execute(context)
    assert result["requested"] == len(keys)
    assert result["archived"] == int("DEMO-4" in keys)
    assert sum(error["count"] for error in result["errors"].values()) == len(set(keys) - {"DEMO-4"})
    assert json.loads(json.dumps(result)) == result
    assert ti.xcoms == {}


def test_a_reason_that_is_not_documented_is_told(
    archival_sandbox: Sandbox, connections: Connections, context: Any
) -> None:
    errors = {"onAnotherPlanet": {"count": 1, "issueIdsOrKeys": ["DEMO-4"], "message": "Out of reach."}}
    archival_sandbox.fault(ARCHIVE, status=200, body={"numberOfIssuesUpdated": 0, "errors": errors})
    with pytest.raises(JiraPartialError, match=r"onAnotherPlanet \(1\): Out of reach. \[DEMO-4\]"):
        archive("DEMO-4").execute(context)


def test_each_reason_is_logged(connections: Connections, context: Any, logged: list[str]) -> None:
    archive("DEMO-4 DEMO-2 UNL-1", fail_on_partial_error=False).execute(context)
    assert "Jira archived 1 issues; 3 were asked for" in logged
    assert [line for line in logged if line.startswith("Not archived: issueIsSubtask (1): ")]
    assert [line for line in logged if line.startswith("Not archived: issuesInUnlicensedProjects (1): ")]


def test_thousands_of_keys_make_a_readable_message(connections: Connections, context: Any) -> None:
    with pytest.raises(JiraPartialError) as caught:
        archive(["DEMO-4", *(f"DEMO-{number}" for number in range(404, 2900))]).execute(context)
    assert "Of 2497 issues, 2496 were not archived" in str(caught.value)
    assert len(str(caught.value)) < 2000
    errors = caught.value.report["errors"].values()
    assert sum(len(error["issue_ids_or_keys"]) for error in errors) == 2496


# --- what Jira, the network or the connection make fail ---


@BOTH
def test_no_admin_fails_for_good_and_says_what_is_needed(
    connections: Connections, context: Any, operator: Any, word: str
) -> None:
    connections.change(
        "jira_cloud_default", login=credentials.JIRA_MEMBER_EMAIL, password=credentials.JIRA_MEMBER_API_TOKEN
    )
    with pytest.raises(
        ServiceRefusal, match=r"HTTP 403.*needs Jira admin on a Premium or Enterprise"
    ) as caught:
        operator(task_id="x", issue_ids_or_keys="DEMO-4").execute(context)
    assert isinstance(caught.value, AirflowFailException)


def test_a_bad_connection_fails_for_good(connections: Connections, context: Any) -> None:
    connections.change("jira_cloud_default", login="")
    with pytest.raises(ConnectionNotUsable, match=r"'jira_cloud_default': login .* is missing") as caught:
        archive("DEMO-4").execute(context)
    assert isinstance(caught.value, AirflowFailException)


def test_a_service_that_is_down_is_worth_a_retry(
    connections: Connections, context: Any, pauses: Pauses, refused_url: str
) -> None:
    connections.change("jira_cloud_default", host=refused_url)
    with pytest.raises(ServiceFault, match="host of connection 'jira_cloud_default' is right") as caught:
        archive("DEMO-4").execute(context)
    assert not isinstance(caught.value, AirflowFailException)


def test_a_passing_fault_is_not_seen(
    archival_sandbox: Sandbox, connections: Connections, context: Any, pauses: Pauses
) -> None:
    archival_sandbox.fault(ARCHIVE, reset="after")
    archival_sandbox.fault(ARCHIVE, status=503, skip=1)
    assert archive("DEMO-4").execute(context)["errors"] == {}
    assert archival_sandbox.issue("DEMO-4")["archived"]


@BOTH
def test_the_list_and_the_connection_are_template_fields(operator: Any, word: str) -> None:
    assert set(operator.template_fields) == {"issue_ids_or_keys", "jira_conn_id"}
