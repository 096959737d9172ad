"""The sandbox's Jira Cloud, used by two independent clients."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from atlassian.jira import JiraCloud
from jira import JIRA, JIRAError
from requests import HTTPError

from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.jira_catalog import OLD_ISSUE, PARENT_ISSUE, SUBTASK_ISSUES

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox


def with_login(sandbox: Sandbox, login: str, token: str) -> JiraCloud:
    return JiraCloud(sandbox.base_url, username=login, password=token, cloud=True)


@pytest.fixture
def admin(archival_sandbox: Sandbox) -> JiraCloud:
    return with_login(archival_sandbox, credentials.JIRA_ADMIN_EMAIL, credentials.JIRA_ADMIN_API_TOKEN)


@pytest.fixture
def member(archival_sandbox: Sandbox) -> JiraCloud:
    return with_login(archival_sandbox, credentials.JIRA_MEMBER_EMAIL, credentials.JIRA_MEMBER_API_TOKEN)


def test_knows_who_calls_and_what_they_may(admin: JiraCloud, member: JiraCloud) -> None:
    assert admin.get_current_user()["emailAddress"] == credentials.JIRA_ADMIN_EMAIL
    for client, may in ((admin, True), (member, False)):
        granted = client.get_my_permissions(permissions="ADMINISTER")["permissions"]["ADMINISTER"]
        assert granted["havePermission"] is may


def test_takes_a_bearer_token_at_the_gateway(archival_sandbox: Sandbox) -> None:
    gateway = f"{archival_sandbox.base_url}/ex/jira/{credentials.JIRA_CLOUD_ID}"
    assert (
        JiraCloud(gateway, token=credentials.JIRA_ACCESS_TOKEN, cloud=True).get_current_user()["active"]
        is True
    )


def test_counts(archival_sandbox: Sandbox, admin: JiraCloud) -> None:
    expected = archival_sandbox.count("project = DEMO", archived=False)
    assert admin.count_issues(data={"jql": "project = DEMO"}) == {"count": expected}


def test_searches(admin: JiraCloud) -> None:
    wanted = {"jql": "project = DEMO", "maxResults": 3, "fields": ["key"]}
    found = admin.search_and_reconsile_issues_using_jql_post(data=wanted)
    assert [issue["key"] for issue in found["issues"]] == ["DEMO-1", "DEMO-2", "DEMO-3"]
    rest = admin.search_and_reconsile_issues_using_jql_post(
        data={**wanted, "nextPageToken": found["nextPageToken"]}
    )
    assert ([issue["key"] for issue in rest["issues"]], rest["isLast"]) == (["DEMO-4", "DEMO-5"], True)


def test_counts_for_another_client(archival_sandbox: Sandbox) -> None:
    login = (credentials.JIRA_ADMIN_EMAIL, credentials.JIRA_ADMIN_API_TOKEN)
    options = {"server": archival_sandbox.base_url, "rest_api_version": "3"}
    other = JIRA(options=options, basic_auth=login, get_server_info=False, max_retries=0)
    # The sandbox has no server information, from which this client would know.
    other.deploymentType = "Cloud"
    assert other.myself()["emailAddress"] == credentials.JIRA_ADMIN_EMAIL
    assert other.my_permissions(permissions="ADMINISTER")["permissions"]["ADMINISTER"]["havePermission"]
    assert other.approximate_issue_count("key = DEMO-4") == 1


def test_archives_and_unarchives_by_key(archival_sandbox: Sandbox, admin: JiraCloud) -> None:
    issues = {"issueIdsOrKeys": [PARENT_ISSUE, SUBTASK_ISSUES[0], "NOPE-1"]}
    report = admin.archive_issues(data=issues)
    assert report["numberOfIssuesUpdated"] == 3
    assert set(report["errors"]) == {"issueIsSubtask", "issuesNotFound"}
    assert archival_sandbox.issue(SUBTASK_ISSUES[1])["archived"] is True
    assert admin.unarchive_issues(data={"issueIdsOrKeys": [PARENT_ISSUE]})["numberOfIssuesUpdated"] == 3


def test_archives_by_jql_and_exports(archival_sandbox: Sandbox, admin: JiraCloud) -> None:
    address = admin.archive_issues_async(data={"jql": f"key = {OLD_ISSUE}"})
    task_id = address.rsplit("/", 1)[1]
    assert admin.get_task(task_id)["status"] == "ENQUEUED"
    archival_sandbox.advance(60)
    assert admin.get_task(task_id)["status"] == "COMPLETE"
    export = admin.export_archived_issues(data={"projects": ["DEMO"]})
    archival_sandbox.advance(60)
    assert admin.get_task(export["taskId"])["progress"] == 100
    assert OLD_ISSUE in admin.get(export["fileUrl"], absolute=True, not_json_response=True).decode()


def test_cancels_a_task(archival_sandbox: Sandbox, admin: JiraCloud) -> None:
    task_id = admin.archive_issues_async(data={"jql": f"key = {OLD_ISSUE}"}).rsplit("/", 1)[1]
    admin.cancel_task(task_id)
    archival_sandbox.advance(60)
    assert admin.get_task(task_id)["status"] == "CANCELLED"
    assert archival_sandbox.issue(OLD_ISSUE)["archived"] is False


def test_refuses_who_is_no_admin(member: JiraCloud) -> None:
    with pytest.raises(HTTPError) as refused:
        member.archive_issues(data={"issueIdsOrKeys": [OLD_ISSUE]})
    assert refused.value.response.status_code == 403


def test_waits_for_as_long_as_a_limit_says(archival_sandbox: Sandbox) -> None:
    login = (credentials.JIRA_ADMIN_EMAIL, credentials.JIRA_ADMIN_API_TOKEN)
    options = {"server": archival_sandbox.base_url, "rest_api_version": "3"}
    other = JIRA(options=options, basic_auth=login, get_server_info=False, max_retries=2, timeout=10)
    archival_sandbox.limit(burst=0, retry_after=1)
    with pytest.raises(JIRAError) as refused:
        other.myself()
    assert refused.value.status_code == 429
    assert refused.value.text == "Rate limit exceeded."
    times = [entry["time"] for entry in archival_sandbox.requests()]
    assert [later - earlier >= 1 for earlier, later in pairwise(times)] == [True, True]
