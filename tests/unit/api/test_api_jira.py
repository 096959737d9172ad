"""Jira's endpoints: what goes out, and what the reference's own example answers come to."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_archival.api import http, jira
from airflow_provider_archival.api.http import Repeat, Request, Response
from airflow_provider_archival.api.jira import ArchiveError, ArchiveReport, ExportFilter, JiraTask

FILTER = ExportFilter(
    projects=("FOO", "BAR"),
    archived_by=("uuid-rep-001", "uuid-rep-002"),
    archived_after="2023-01-01",
    archived_before="2023-01-12",
    issue_types=("10001", "10002"),
    reporters=("uuid-rep-001", "uuid-rep-002"),
)


def read(request: Request[Any], said: Any, status: int = 200) -> Any:
    return request.read(Response(status, {}, json.dumps(said).encode()))


# --- what goes out ---


@pytest.mark.parametrize(
    ("request_", "method", "target", "body"),
    [
        (
            jira.archive_issues(["PR-1", "1001", "PROJECT-2"]),
            "PUT",
            "/rest/api/3/issue/archive",
            {"issueIdsOrKeys": ["PR-1", "1001", "PROJECT-2"]},
        ),
        (
            jira.unarchive_issues(("PR-1",)),
            "PUT",
            "/rest/api/3/issue/unarchive",
            {"issueIdsOrKeys": ["PR-1"]},
        ),
        (
            jira.archive_by_jql("project = FOO AND updated < -2y"),
            "POST",
            "/rest/api/3/issue/archive",
            {"jql": "project = FOO AND updated < -2y"},
        ),
        (
            jira.export_archived_issues(FILTER),
            "PUT",
            "/rest/api/3/issues/archive/export",
            {
                "archivedBy": ["uuid-rep-001", "uuid-rep-002"],
                "archivedDateRange": {"dateAfter": "2023-01-01", "dateBefore": "2023-01-12"},
                "issueTypes": ["10001", "10002"],
                "projects": ["FOO", "BAR"],
                "reporters": ["uuid-rep-001", "uuid-rep-002"],
            },
        ),
        (jira.export_archived_issues(ExportFilter()), "PUT", "/rest/api/3/issues/archive/export", {}),
        (jira.get_task("1010"), "GET", "/rest/api/3/task/1010", None),
        (jira.cancel_task("1010"), "POST", "/rest/api/3/task/1010/cancel", None),
        (
            jira.count_issues("project = HSP"),
            "POST",
            "/rest/api/3/search/approximate-count",
            {"jql": "project = HSP"},
        ),
        (
            jira.search_issues("project = HSP", 20),
            "POST",
            "/rest/api/3/search/jql",
            {"jql": "project = HSP", "maxResults": 20, "fields": ["key"]},
        ),
        (jira.myself(), "GET", "/rest/api/3/myself", None),
        (jira.is_admin(), "GET", "/rest/api/3/mypermissions?permissions=ADMINISTER", None),
    ],
    ids=str,
)
def test_a_request_has_the_references_method_path_and_body(
    request_: Request[Any], method: str, target: str, body: Any
) -> None:
    assert (request_.method, request_.target, request_.json) == (method, target, body)


@pytest.mark.parametrize(
    ("request_", "repeat"),
    [
        (jira.archive_issues(["A-1"]), Repeat.FREELY),
        (jira.unarchive_issues(["A-1"]), Repeat.FREELY),
        (jira.archive_by_jql("project = A"), Repeat.AFTER_A_LOOK),
        (jira.export_archived_issues(ExportFilter()), Repeat.AFTER_A_LOOK),
        (jira.get_task("1"), Repeat.FREELY),
        (jira.cancel_task("1"), Repeat.FREELY),
        (jira.count_issues("project = A"), Repeat.FREELY),
        (jira.myself(), Repeat.FREELY),
        (jira.is_admin(), Repeat.FREELY),
    ],
    ids=str,
)
def test_only_what_starts_a_task_is_not_repeated_freely(request_: Request[Any], repeat: Repeat) -> None:
    assert request_.repeat is repeat


@pytest.mark.parametrize(
    "ends", [{"archived_after": "2023-01-01"}, {"archived_before": "2023-01-01"}], ids=str
)
def test_a_filter_with_one_end_of_the_range_is_refused(ends: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="needs both ends, archived_after and archived_before"):
        ExportFilter(**ends)  # type: ignore[arg-type]


# --- archive and unarchive ---

DOCUMENTED_REPORT = {
    "errors": {
        "issueIsSubtask": {
            "count": 3,
            "issueIdsOrKeys": ["ST-1", "ST-2", "ST-3"],
            "message": "Issue is subtask.",
        },
        "issuesInArchivedProjects": {
            "count": 2,
            "issueIdsOrKeys": ["AR-1", "AR-2"],
            "message": "Issue exists in archived project.",
        },
        "issuesInUnlicensedProjects": {
            "count": 3,
            "issueIdsOrKeys": ["UL-1", "UL-2", "UL-3"],
            "message": "Issues with these IDs are in unlicensed projects.",
        },
        "issuesNotFound": {
            "count": 3,
            "issueIdsOrKeys": ["PR-1", "PR-2", "PR-3"],
            "message": "Issue not found.",
        },
    },
    "numberOfIssuesUpdated": 10,
}


@pytest.mark.parametrize("make", [jira.archive_issues, jira.unarchive_issues])
def test_the_references_report_is_read(make: Any) -> None:
    report = read(make(["PR-1"]), DOCUMENTED_REPORT)
    assert report.updated == 10
    assert report.error_count == 11
    assert list(report.errors) == list(DOCUMENTED_REPORT["errors"])  # type: ignore[call-overload]
    assert report.errors["issueIsSubtask"] == ArchiveError(3, "Issue is subtask.", ("ST-1", "ST-2", "ST-3"))


@pytest.mark.parametrize(
    ("said", "report"),
    [
        ({"numberOfIssuesUpdated": 3, "errors": {}}, ArchiveReport(3)),
        ({"numberOfIssuesUpdated": 3}, ArchiveReport(3)),
        ({"numberOfIssuesUpdated": 3, "errors": None}, ArchiveReport(3)),
        ({"numberOfIssuesUpdated": 3, "errors": {"issueIsSubtask": None}}, ArchiveReport(3)),
        (
            {
                "numberOfIssuesUpdated": 0,
                "errors": {"onAnotherPlanet": {"count": 1, "issueIdsOrKeys": ["A-1"]}},
            },
            ArchiveReport(0, {"onAnotherPlanet": ArchiveError(1, "onAnotherPlanet", ("A-1",))}),
        ),
        (
            {"numberOfIssuesUpdated": 0, "errors": {"issuesNotFound": {"issueIdsOrKeys": [1, "A-1"]}}},
            ArchiveReport(0, {"issuesNotFound": ArchiveError(2, "issuesNotFound", ("1", "A-1"))}),
        ),
        (
            {
                "numberOfIssuesUpdated": 0,
                "errors": {"userDoesNotHavePermission": {"count": 4, "message": "No."}},
            },
            ArchiveReport(0, {"userDoesNotHavePermission": ArchiveError(4, "No.")}),
        ),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_a_report_is_read_whatever_it_leaves_out(status: int, said: Any, report: ArchiveReport) -> None:
    assert read(jira.archive_issues(["A-1"]), said, status) == report


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b'{"errorMessages": ["No valid issue to archive or unarchive. Bad request."], "errors": {}}',
            "No valid issue to archive or unarchive. Bad request.",
        ),
        (b'["No.", "Never."]', "No. Never."),
        (b'{"errorMessages": [], "errors": {}}', '{"errorMessages": [], "errors": {}}'),
    ],
)
def test_a_400_of_jiras_is_a_report_about_all_that_was_asked_for(body: bytes, message: str) -> None:
    report = jira.archive_issues(["A-1", "A-2"]).read(Response(400, {}, body))
    assert report == ArchiveReport(0, {jira.NOTHING_VALID: ArchiveError(2, message, ("A-1", "A-2"))})


@pytest.mark.parametrize("status", [400, 412])
@pytest.mark.parametrize(
    "body", [b"", b"{cut", b"<html><title>Oops</title>", b'{"message": "No route"}', b"[]", b"[1]"]
)
def test_a_400_of_anybody_elses_is_no_report(body: bytes, status: int) -> None:
    with pytest.raises(http.ForeignAnswer) as caught:
        jira.archive_issues(["A-1", "A-2"]).read(Response(status, {}, body))
    assert caught.value.can_repeat


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, http.NotAuthenticated, "User is not logged in."),
        (403, http.Forbidden, "Only admins can archive or unarchive issues. Access denied."),
    ],
)
def test_the_references_errors_of_archiving_are_no_reports(
    status: int, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        read(jira.archive_issues(["A-1"]), {"errorMessages": [message], "errors": {}}, status)


def test_a_412_is_a_report_of_its_own_reason() -> None:
    message = "The number of issues to archive or unarchive exceeds the hard limit of 1000."
    report = read(jira.archive_issues(["A-1", "A-2"]), {"errorMessages": [message], "errors": {}}, 412)
    assert report == ArchiveReport(0, {jira.PRECONDITION_FAILED: ArchiveError(2, message, ("A-1", "A-2"))})


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"errors": {}}', b'{"numberOfIssuesUpdated": "x"}']
)
def test_a_200_that_is_no_report_is_unreadable(body: bytes) -> None:
    with pytest.raises(http.UnreadableAnswer):
        jira.archive_issues(["A-1"]).read(Response(200, {}, body))


def test_found_issues_are_their_keys_or_else_their_ids() -> None:
    said = {"issues": [{"id": "1", "key": "A-1", "fields": {}}, {"id": "2"}], "isLast": True}
    assert read(jira.search_issues("project = A", 2), said) == ("A-1", "2")


def test_reports_add_up() -> None:
    first = ArchiveReport(2, {"a": ArchiveError(1, "A.", ("1",)), "b": ArchiveError(1, "B.", ("2",))})
    second = ArchiveReport(3, {"c": ArchiveError(1, "C."), "a": ArchiveError(2, "Other.", ("3", "4"))})
    assert first + second == ArchiveReport(
        5,
        {
            "a": ArchiveError(3, "A.", ("1", "3", "4")),
            "b": ArchiveError(1, "B.", ("2",)),
            "c": ArchiveError(1, "C."),
        },
    )
    assert first == ArchiveReport(2, {"a": ArchiveError(1, "A.", ("1",)), "b": ArchiveError(1, "B.", ("2",))})


def test_a_reports_errors_are_plain_data_for_xcom() -> None:
    report = read(jira.archive_issues(["PR-1"]), DOCUMENTED_REPORT)
    plain = report.errors_to_dict()
    assert plain == json.loads(json.dumps(plain))
    assert plain["issuesInArchivedProjects"] == {
        "count": 2,
        "message": "Issue exists in archived project.",
        "issue_ids_or_keys": ["AR-1", "AR-2"],
    }


# --- tasks ---


@pytest.mark.parametrize(
    "said",
    [
        "https://your-domain.atlassian.net/rest/api/3/task/1010",
        "https://api.atlassian.com/ex/jira/11-22/rest/api/3/task/1010/",
        "http://127.0.0.1:8080/rest/api/3/task/1010?x=1",
        "1010",
        1010,
        {"taskId": "1010"},
        {"id": "1010", "status": "ENQUEUED"},
        {"taskId": 1010},
        {"self": "https://your-domain.atlassian.net/rest/api/3/task/1010"},
        {"taskId": None, "id": None, "self": "https://your-domain.atlassian.net/rest/api/3/task/1010"},
    ],
)
def test_the_id_of_a_task_is_read_from_any_form(said: Any) -> None:
    # An export that was started, and whose answer counts for none, is started again: one more e-mail.
    assert read(jira.archive_by_jql("project = A"), said, 202) == "1010"
    assert read(jira.export_archived_issues(FILTER), said, 202) == JiraTask("1010", "ENQUEUED")


@pytest.mark.parametrize(
    "said",
    [None, "", [], {}, "https://evil.example.com/", "https://x/rest/api/3/task/..%2Fmyself", 3.5, True],
)
def test_an_answer_without_a_task_is_unreadable(said: Any) -> None:
    for request in (jira.archive_by_jql("project = A"), jira.export_archived_issues(FILTER)):
        with pytest.raises(http.UnreadableAnswer):
            read(request, said, 202)


def test_the_references_task_is_read() -> None:
    task = read(
        jira.get_task("1"),
        {
            "description": "Task description",
            "elapsedRuntime": 156,
            "finished": 1501708133000,
            "id": "1",
            "lastUpdate": 1501708133000,
            "progress": 100,
            "result": "the task result, this may be any JSON",
            "self": "https://your-domain.atlassian.net/rest/api/3/task/1",
            "started": 1501708132900,
            "status": "COMPLETE",
            "submitted": 1501708132800,
            "submittedBy": 10000,
        },
    )
    assert task == JiraTask(
        id="1",
        status="COMPLETE",
        progress=100,
        result="the task result, this may be any JSON",
        description="Task description",
        submitted="2017-08-02T21:08:52.800000+00:00",
        started="2017-08-02T21:08:52.900000+00:00",
        finished="2017-08-02T21:08:53+00:00",
        elapsed_runtime=156,
    )


def test_the_references_export_is_read() -> None:
    said = {
        "payload": "{projects=[FOO, BAR]}",
        "progress": 0,
        "status": "ENQUEUED",
        "submittedTime": 1623230887000,
        "taskId": "10990",
    }
    assert read(jira.export_archived_issues(FILTER), said, 202) == JiraTask(
        id="10990", status="ENQUEUED", progress=0, submitted="2021-06-09T09:28:07+00:00"
    )


def test_an_export_tells_its_file_where_jira_does() -> None:
    said = {"taskId": "1", "fileUrl": "https://example.com/export.csv"}
    task = read(jira.export_archived_issues(FILTER), said, 202)
    assert (task.file_url, task.status) == ("https://example.com/export.csv", "ENQUEUED")


@pytest.mark.parametrize(
    ("status", "is_final", "succeeded", "is_documented"),
    [
        ("ENQUEUED", False, False, True),
        ("RUNNING", False, False, True),
        ("COMPLETE", True, True, True),
        ("FAILED", True, False, True),
        ("CANCEL_REQUESTED", False, False, True),
        ("CANCELLED", True, False, True),
        ("DEAD", True, False, True),
        ("complete", True, True, True),
        ("HIBERNATING", False, False, False),
    ],
)
def test_a_tasks_status_tells_whether_it_is_over(
    status: str, is_final: bool, succeeded: bool, is_documented: bool
) -> None:
    task = read(jira.get_task("1"), {"id": "1", "status": status})
    assert (task.is_final, task.succeeded, task.is_documented) == (is_final, succeeded, is_documented)


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (1501708132900, "2017-08-02T21:08:52.900000+00:00"),
        (1501708132900.5, "2017-08-02T21:08:52.900500+00:00"),
        ("2017-08-02T21:08:52.900Z", "2017-08-02T21:08:52.900000+00:00"),
        ("2017-08-02T23:08:52+02:00", "2017-08-02T21:08:52+00:00"),
        ("2017-08-02T21:08:52.900+0000", "2017-08-02T21:08:52.900000+00:00"),
        (None, None),
        (True, None),
        ("", None),
        ("whenever", None),
        ("4:", None),
        ("9999-12-31T23:59:59-10:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        (1e300, None),
        (-1e15, None),
        ([], None),
        ({}, None),
    ],
)
def test_a_time_is_read_in_both_forms_and_never_costs_the_task(value: Any, time: str | None) -> None:
    assert read(jira.get_task("1"), {"id": "1", "status": "RUNNING", "submitted": value}).submitted == time


def test_an_exports_time_is_read_in_both_forms() -> None:
    for value in (1623230887000, "2021-06-09T09:28:07.000+0000"):
        task = read(jira.export_archived_issues(FILTER), {"taskId": "1", "submittedTime": value}, 202)
        assert task.submitted == "2021-06-09T09:28:07+00:00"


@pytest.mark.parametrize(
    ("result", "file_url"),
    [
        (" https://example.com/x.csv\n", "https://example.com/x.csv"),
        ({"fileUrl": "HTTPS://example.com/x.csv"}, "HTTPS://example.com/x.csv"),
        ({"fileUrl": "https://example.com/x.csv"}, "https://example.com/x.csv"),
        ("https://example.com/x.csv", "https://example.com/x.csv"),
        ("file:///etc/passwd", None),
        ("done", None),
        ({"fileUrl": 7}, None),
        ({}, None),
        (None, None),
        ([1, 2], None),
        (7, None),
    ],
)
def test_a_files_address_is_looked_for_in_the_result(result: Any, file_url: str | None) -> None:
    task = read(jira.get_task("1"), {"id": "1", "status": "COMPLETE", "result": result})
    assert (task.file_url, task.result) == (file_url, result)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (JiraTask("1", "FAILED", message="Index locked."), "Index locked"),
        (JiraTask("1", "FAILED", result={"errors": 3}), "{'errors': 3}"),
        (JiraTask("1", "FAILED"), "no message"),
        (JiraTask("1", "FAILED", result={}), "no message"),
    ],
)
def test_a_task_says_its_outcome(task: JiraTask, said: str) -> None:
    assert task.said == said


@given(
    st.builds(
        JiraTask,
        id=st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True),
        status=st.text(),
        progress=st.none() | st.floats(allow_nan=False),
        result=st.recursive(st.none() | st.text() | st.integers(), st.lists),
        message=st.none() | st.text(),
    )
)
def test_a_task_comes_back_from_its_dict_through_json(task: JiraTask) -> None:
    assert JiraTask.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_a_cancellation_is_read_whatever_it_says() -> None:
    assert jira.cancel_task("1").read(Response(202, {}, b'"The task is asked to stop."')) is None
    assert jira.cancel_task("1").read(Response(202, {}, b"")) is None


def test_a_cancellation_that_comes_too_late_is_a_bad_request() -> None:
    with pytest.raises(http.BadRequest, match="can't be cancelled"):
        read(jira.cancel_task("1"), ["The task with ID 1 can't be cancelled."], 400)


# --- count, who am I ---


def test_the_references_count_is_read() -> None:
    assert read(jira.count_issues("project = HSP"), {"count": 153}) == 153


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"accountId": "5b10a2844c20165700ede21g", "displayName": "Mia Krystof"}, "Mia Krystof"),
        ({"accountId": "5b10a2844c20165700ede21g"}, "5b10a2844c20165700ede21g"),
    ],
)
def test_the_caller_is_known_by_name_or_account(said: Any, name: str) -> None:
    assert read(jira.myself(), said) == name


@pytest.mark.parametrize("has_it", [True, False])
def test_the_admin_permission_is_read(has_it: bool) -> None:
    said = {"permissions": {"ADMINISTER": {"id": "0", "key": "ADMINISTER", "havePermission": has_it}}}
    assert read(jira.is_admin(), said) is has_it


# --- ids of tasks, and keys of issues ---


@pytest.mark.parametrize(
    "given_",
    [
        "1010",
        1010,
        " 1010\n",
        "https://your-domain.atlassian.net/rest/api/3/task/1010",
        "https://your-domain.atlassian.net/rest/api/3/task/1010/",
        "https://your-domain.atlassian.net/rest/api/3/task/1010?expand=all&x=/y/z",
        "https://your-domain.atlassian.net/rest/api/3/task/1010/?x",
        "https://your-domain.atlassian.net/rest/api/3/task/1010#fragment",
        "https://api.atlassian.com/ex/jira/11-22/rest/api/3/task/1010",
        "http://127.0.0.1:8080/rest/api/3/task/1010",
        "/rest/api/3/task/1010",
    ],
)
def test_a_task_is_given_by_its_id_or_its_url_on_any_host(given_: Any) -> None:
    assert jira.task_id_of(given_) == "1010"


def test_a_tasks_id_may_have_letters_hyphens_and_underscores() -> None:
    assert jira.task_id_of("ab_C-9") == "ab_C-9"


@pytest.mark.parametrize(
    "given_",
    [
        "",
        " ",
        None,
        True,
        1.5,
        b"1010",
        ["1010"],
        {},
        "..",
        "../1010",
        "1010/../../myself",
        "https://x/rest/api/3/task/",
        "https://x/rest/api/3/task/1010/cancel",
        "https://x/rest/api/3/task/..",
        "https://x/rest/api/3/task/%2e%2e",
        "https://x/rest/api/3/task/10%2F10",
        "https://x/rest/api/3/task/10 10",
        "https://x/rest/api/3/task/10\n10",
        "https://x/rest/api/3/issue/1010",
        "https://x/1010",
        "https://[bad/task/1010",
        "10 10",
        "10\n10",
        "1010?x=1",
        "1010#x",
        "é",
        "\uff11\uff10",
        "10\x0010",
    ],
)
def test_what_is_no_task_is_refused(given_: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (each has words of its own)
        jira.task_id_of(given_)


@given(st.text())
def test_no_text_reaches_the_path_but_a_plain_id(text: str) -> None:
    try:
        path = jira.get_task(text).path
    except ValueError:
        return
    assert re.fullmatch(r"/rest/api/3/task/[A-Za-z0-9_-]+", path)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["ABC-1"], ["ABC-1"]),
        (["abc-1", "ABC-1", " Abc-1 "], ["ABC-1"]),
        (["10001", "B-2", "A-1", "10001", "B-2"], ["10001", "B-2", "A-1"]),
        (["A_B2-3"], ["A_B2-3"]),
        ([], []),
    ],
)
def test_issues_are_kept_in_order_without_repeats(names: list[str], kept: list[str]) -> None:
    assert jira.issue_ids_or_keys_of(names) == kept


@pytest.mark.parametrize(
    "name",
    [
        "ABC",
        "-1",
        "ABC-",
        "ABC-1x",
        "1-1",
        "A B-1",
        "A-1/2",
        "None",
        "",
        "\uff21-1",
        "A-\uff11",
        "\u0661",
        "\u00df-1",
        "\u0131-1",
    ],
)
def test_what_is_neither_id_nor_key_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="1 of 2 are neither an issue id nor an issue key") as caught:
        jira.issue_ids_or_keys_of(["A-1", name])
    assert repr(name.upper()) in str(caught.value) or repr(name) in str(caught.value)


def test_of_many_wrong_names_only_the_first_are_shown() -> None:
    with pytest.raises(ValueError, match="500 of 500") as caught:
        jira.issue_ids_or_keys_of([f"wrong{number}" for number in range(500)])
    assert str(caught.value).endswith(", …")
    assert len(str(caught.value)) < 300
