"""What the Jira hook's methods do, against the sandbox's Jira."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_archival.api import http, jira
from airflow_provider_archival.api.jira import ExportFilter
from airflow_provider_archival.exceptions import JobTimeout, ServiceFault, ServiceRefusal
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.sandbox import credentials

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Connections, Pauses

ARCHIVE, TASK = "/rest/api/3/issue/archive", "/rest/api/3/task/*"


@pytest.fixture
def hook(connections: Connections) -> JiraCloudHook:
    return JiraCloudHook()


def as_member(connections: Connections) -> None:
    connections.change(
        "jira_cloud_default",
        login=credentials.JIRA_MEMBER_EMAIL,
        password=credentials.JIRA_MEMBER_API_TOKEN,
    )


# --- issues ---


def test_issues_are_archived_with_their_subtasks(archival_sandbox: Sandbox, hook: JiraCloudHook) -> None:
    report = hook.archive_issues(["DEMO-1", "DEMO-4", "DEMO-404"])
    assert report.updated == 4
    assert list(report.errors) == ["issuesNotFound"]
    assert report.errors["issuesNotFound"].issue_ids_or_keys == ("DEMO-404",)
    assert archival_sandbox.issue("DEMO-2")["archived"]


def test_issues_are_brought_back(archival_sandbox: Sandbox, hook: JiraCloudHook) -> None:
    hook.archive_issues(["DEMO-4"])
    assert hook.unarchive_issues(["DEMO-4"]).updated == 1
    assert not archival_sandbox.issue("DEMO-4")["archived"]


def test_no_issues_need_no_request(archival_sandbox: Sandbox, hook: JiraCloudHook) -> None:
    assert hook.archive_issues([]).updated == 0
    assert archival_sandbox.requests() == []


@pytest.mark.parametrize(("number", "sizes"), [(1000, [1000]), (1001, [1000, 1]), (2500, [1000, 1000, 500])])
def test_many_issues_are_sent_a_thousand_at_a_time_into_one_report(
    archival_sandbox: Sandbox, hook: JiraCloudHook, number: int, sizes: list[int]
) -> None:
    keys = [f"DEMO-{404 + count}" for count in range(number - 1)] + ["DEMO-4"]
    report = hook.archive_issues(keys)
    sent = [request["body"]["issueIdsOrKeys"] for request in archival_sandbox.requests(ARCHIVE)]
    assert [len(chunk) for chunk in sent] == sizes
    assert [key for chunk in sent for key in chunk] == keys
    assert (report.updated, report.error_count) == (1, number - 1)


def test_a_chunk_of_nothing_but_errors_does_not_stop_the_next(
    archival_sandbox: Sandbox, hook: JiraCloudHook
) -> None:
    report = hook.archive_issues([f"DEMO-{404 + count}" for count in range(1000)] + ["DEMO-4"])
    assert report.updated == 1
    assert archival_sandbox.issue("DEMO-4")["archived"]


def test_a_member_is_told_what_archiving_needs(connections: Connections, hook: JiraCloudHook) -> None:
    as_member(connections)
    with pytest.raises(ServiceRefusal, match="needs Jira admin on a Premium or Enterprise plan"):
        hook.archive_issues(["DEMO-4"])


def test_a_bad_jql_is_told_in_jiras_words(hook: JiraCloudHook) -> None:
    with pytest.raises(ServiceRefusal, match=r"HTTP 400: .+ Correct what Jira names, then clear this task"):
        hook.archive_issues_by_jql("this is no jql")


def test_issues_are_counted(archival_sandbox: Sandbox, hook: JiraCloudHook) -> None:
    assert hook.count_issues("project = DEMO") == 5


# --- tasks ---


def test_an_archive_task_is_started_looked_at_and_waited_for(
    archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses
) -> None:
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    assert hook.get_task(task_id).status in ("ENQUEUED", "RUNNING")
    task = hook.wait_for_task(task_id)
    assert (task.id, task.status, task.progress) == (task_id, "COMPLETE", 100)
    assert archival_sandbox.issue("DEMO-4")["archived"]


def test_an_export_is_started_and_its_file_told(hook: JiraCloudHook, pauses: Pauses) -> None:
    task = hook.export_archived_issues(ExportFilter(projects=("DEMO",)))
    assert task.file_url
    assert hook.wait_for_task(task.id).file_url == task.file_url


def test_an_export_without_a_filter_is_of_everything(archival_sandbox: Sandbox, hook: JiraCloudHook) -> None:
    hook.export_archived_issues()
    assert archival_sandbox.requests("/rest/api/3/issues/archive/export")[0]["body"] == {}


def test_a_task_may_be_given_by_its_url(
    archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses
) -> None:
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    url = f"https://elsewhere.example.com/rest/api/3/task/{task_id}/"
    assert hook.get_task(url).id == task_id
    assert hook.wait_for_task(url).id == task_id
    assert {request["path"] for request in archival_sandbox.requests(TASK)} == {f"/rest/api/3/task/{task_id}"}


@pytest.mark.parametrize("action", ["fail", "die", "cancel"])
def test_a_wait_returns_a_task_that_ended_badly(
    archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses, action: str
) -> None:
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    archival_sandbox.job(task_id, action, message="It was not to be.")
    task = hook.wait_for_task(task_id)
    assert task.status == {"fail": "FAILED", "die": "DEAD", "cancel": "CANCELLED"}[action]
    assert task.message == "It was not to be."


@pytest.mark.parametrize(
    "what",
    [
        {"status": 429, "headers": {"Retry-After": "5"}},
        {"status": 503},
        {"status": 500, "body": "html"},
        {"reset": "before"},
        {"reset": "after"},
        {"body": "html"},
        {"body": "broken"},
        {"body": "empty"},
        {"truncate": True},
    ],
    ids=str,
)
def test_a_wait_survives_any_number_of_passing_faults(
    archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses, what: dict[str, Any]
) -> None:
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    archival_sandbox.fault(TASK, times=20, **what)
    assert hook.wait_for_task(task_id).status == "COMPLETE"
    assert len(archival_sandbox.requests(TASK)) == 21


def test_a_wait_honours_the_services_wish_to_wait(
    archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses
) -> None:
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    archival_sandbox.fault(TASK, status=429, headers={"Retry-After": "77"})
    hook.wait_for_task(task_id, poll_interval=2)
    assert pauses.asked[0] == 77


def test_a_wait_is_over_at_its_deadline_and_leaves_the_task_running(
    archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses
) -> None:
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    archival_sandbox.job(task_id, "freeze")
    with pytest.raises(JobTimeout, match=f"Jira task {task_id} did not end in time. It was") as caught:
        hook.wait_for_task(task_id, timeout=3600)
    assert caught.value.job["task_id"] == task_id
    assert sum(pauses.asked) == pytest.approx(3600)
    assert archival_sandbox.requests("*/cancel") == []
    assert len(archival_sandbox.requests(TASK)) < 140


def test_a_wait_that_never_sees_the_task_is_over_at_its_deadline(
    archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses
) -> None:
    archival_sandbox.fault(TASK, times=None, status=503)
    with pytest.raises(JobTimeout, match=r"in time\. No look at it succeeded\. The last look failed: .*503"):
        hook.wait_for_task("10101", timeout=600)


def test_pauses_of_a_wait_keep_to_the_poll_interval(
    archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses
) -> None:
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    archival_sandbox.job(task_id, "freeze")
    with pytest.raises(JobTimeout):
        hook.wait_for_task(task_id, poll_interval=7, timeout=300)
    assert max(pauses.asked) <= 7
    assert pauses.asked[0] <= 1


def test_a_wait_for_an_unknown_task_ends_at_once(hook: JiraCloudHook, pauses: Pauses) -> None:
    with pytest.raises(ServiceRefusal, match=r"HTTP 404.*older than the 14 days") as caught:
        hook.wait_for_task("4711")
    assert isinstance(caught.value.error, http.NotFound)
    assert pauses.asked == []


def test_a_wait_outlives_its_token(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses
) -> None:
    hook = JiraCloudHook("jira_cloud_oauth")
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    archival_sandbox.job(task_id, "freeze")
    expired = iter([archival_sandbox.expire_tokens, None, lambda: archival_sandbox.job(task_id, "finish")])
    pauses.before = lambda: (next(expired, None) or (lambda: None))()
    assert hook.wait_for_task(task_id).status == "COMPLETE"
    assert len(archival_sandbox.requests("/oauth/token")) == 2


def test_a_wait_tells_each_change_and_tenth_but_not_each_look(
    archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses, logged: list[str]
) -> None:
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    hook.wait_for_task(task_id, poll_interval=0.01)
    told = [line for line in logged if line.startswith(f"Jira task {task_id}: ")]
    looks = len(archival_sandbox.requests(TASK))
    assert told[-1] == f"Jira task {task_id}: COMPLETE, 100 %"
    assert 5 < len(told) <= 13 < looks


# --- cancelling ---


def test_a_running_task_is_cancelled(archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses) -> None:
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    assert hook.cancel_task(task_id) is True
    assert hook.wait_for_task(task_id).status == "CANCELLED"


def test_a_task_that_is_over_is_not_cancelled(archival_sandbox: Sandbox, hook: JiraCloudHook) -> None:
    task_id = hook.archive_issues_by_jql("key = DEMO-4")
    archival_sandbox.job(task_id, "finish")
    assert hook.cancel_task(task_id) is False


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_refused_cancellation_is_no_false(
    archival_sandbox: Sandbox, hook: JiraCloudHook, status: int
) -> None:
    archival_sandbox.fault("*/cancel", status=status, body=["No."])
    with pytest.raises(ServiceRefusal, match=f"HTTP {status}"):
        hook.cancel_task("10101")


# --- test_connection ---


def test_an_admin_passes_the_connection_test(hook: JiraCloudHook) -> None:
    assert hook.test_connection() == (True, "Signed in as Alex Admin, a Jira admin.")


def test_a_member_fails_the_connection_test(connections: Connections, hook: JiraCloudHook) -> None:
    as_member(connections)
    assert hook.test_connection() == (
        False,
        "Signed in as Mika Member, who is no Jira admin: archiving needs one.",
    )


def test_wrong_credentials_fail_the_connection_test(connections: Connections, hook: JiraCloudHook) -> None:
    connections.change("jira_cloud_default", password="wrong-password")
    is_good, message = hook.test_connection()
    assert not is_good
    assert "HTTP 401" in message
    assert "wrong-password" not in message


def test_an_incomplete_connection_fails_the_connection_test(
    connections: Connections, hook: JiraCloudHook
) -> None:
    connections.change("jira_cloud_default", host="")
    is_good, message = hook.test_connection()
    assert not is_good
    assert message.startswith("Connection 'jira_cloud_default': host is missing")


def test_a_service_that_is_down_fails_the_connection_test(
    archival_sandbox: Sandbox, hook: JiraCloudHook, pauses: Pauses
) -> None:
    archival_sandbox.fault("*", status=503, times=None)
    assert hook.test_connection()[0] is False


# --- the hook itself ---


def test_a_closed_hook_can_be_used_again(hook: JiraCloudHook) -> None:
    hook.call(jira.myself())
    hook.close()
    hook.close()
    assert hook.call(jira.myself()) == "Alex Admin"


def test_a_connection_is_looked_up_once_for_many_calls(
    hook: JiraCloudHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    look_up = JiraCloudHook.get_connection

    def listen(conn_id: str) -> Any:
        looked_up.append(conn_id)
        return look_up(conn_id)

    monkeypatch.setattr(JiraCloudHook, "get_connection", staticmethod(listen))
    for _ in range(3):
        hook.call(jira.myself())
    assert looked_up == ["jira_cloud_default"]


def test_the_hook_is_known_under_airflows_names() -> None:
    assert JiraCloudHook.conn_name_attr == "jira_conn_id"
    assert JiraCloudHook().jira_conn_id == JiraCloudHook.default_conn_name == "jira_cloud_default"
    assert JiraCloudHook.conn_type == "jira_cloud"


def test_a_faults_error_is_there_for_callers(archival_sandbox: Sandbox, hook: JiraCloudHook) -> None:
    with pytest.raises(ServiceFault) as caught:
        hook.get_task("4711")
    error = caught.value.error
    assert (error.status, error.request_line) == (404, "GET /rest/api/3/task/4711")
    assert error.messages
