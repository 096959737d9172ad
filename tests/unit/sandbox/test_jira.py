"""The sandbox's Jira over HTTP, read against what Jira's reference says."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.client import SandboxError
from airflow_provider_archival.sandbox.jira_answers import Refusal
from airflow_provider_archival.sandbox.jira_catalog import (
    ADMIN,
    ARCHIVED_PROJECT_ISSUE,
    BUG,
    COLLEAGUE,
    MEMBER,
    OLD_ISSUE,
    PARENT_ISSUE,
    RECENT_ISSUE,
    SERVICE_ACCOUNT,
    STORY,
    SUBTASK,
    SUBTASK_ISSUES,
    TASK,
    UNLICENSED_ISSUE,
)
from airflow_provider_archival.sandbox.jira_export import check_size

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from airflow_provider_archival.sandbox.pytest_plugin import SandboxFactory

BASIC_ADMIN = (credentials.JIRA_ADMIN_EMAIL, credentials.JIRA_ADMIN_API_TOKEN)
BASIC_MEMBER = (credentials.JIRA_MEMBER_EMAIL, credentials.JIRA_MEMBER_API_TOKEN)
TASK_KEYS = {
    "self",
    "id",
    "description",
    "status",
    "submittedBy",
    "progress",
    "elapsedRuntime",
    "submitted",
    "lastUpdate",
}
GATEWAY = f"/ex/jira/{credentials.JIRA_CLOUD_ID}"


class Jira:
    """A small client of the sandbox's Jira."""

    def __init__(self, sandbox: Sandbox, auth: Any = BASIC_ADMIN, token: str = "", prefix: str = "") -> None:
        self.sandbox = sandbox
        self.url = f"{sandbox.base_url}{prefix}/rest/api/3"
        self.auth, self.headers = auth, {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        return requests.request(
            method, self.url + path, json=body, auth=self.auth, headers=self.headers, timeout=30, **more
        )

    def archive(self, *ids_or_keys: str) -> requests.Response:
        return self.call("PUT", "/issue/archive", {"issueIdsOrKeys": ids_or_keys})

    def unarchive(self, *ids_or_keys: str) -> requests.Response:
        return self.call("PUT", "/issue/unarchive", {"issueIdsOrKeys": ids_or_keys})

    def archive_by_jql(self, jql: str) -> requests.Response:
        return self.call("POST", "/issue/archive", {"jql": jql})

    def export(self, **wanted: Any) -> requests.Response:
        return self.call("PUT", "/issues/archive/export", wanted)

    def count(self, jql: str) -> requests.Response:
        return self.call("POST", "/search/approximate-count", {"jql": jql})

    def task(self, id: str) -> requests.Response:
        return self.call("GET", f"/task/{id}")

    def cancel(self, id: str) -> requests.Response:
        return self.call("POST", f"/task/{id}/cancel")

    def started(self, jql: str = "project = DEMO") -> str:
        """Start to archive, and return the task's id."""
        answer = self.archive_by_jql(jql)
        assert answer.status_code == 202
        return str(answer.json()).rpartition("/")[2]


def bearer(sandbox: Sandbox, token: str = credentials.JIRA_ACCESS_TOKEN) -> Jira:
    return Jira(sandbox, auth=None, token=token, prefix=GATEWAY)


def ask_token(sandbox: Sandbox, **changed: str) -> requests.Response:
    wanted = {
        "grant_type": "client_credentials",
        "client_id": credentials.JIRA_CLIENT_ID,
        "client_secret": credentials.JIRA_CLIENT_SECRET,
        **changed,
    }
    return requests.post(f"{sandbox.base_url}/oauth/token", data=wanted, timeout=30)


def refused(answer: requests.Response) -> tuple[int, list[str]]:
    """Return the status and messages of a refusal in Jira's usual shape."""
    body = answer.json()
    assert body["errors"] == {}
    return answer.status_code, body["errorMessages"]


@pytest.fixture
def jira(archival_sandbox: Sandbox) -> Jira:
    return Jira(archival_sandbox)


@pytest.fixture
def member(archival_sandbox: Sandbox) -> Jira:
    return Jira(archival_sandbox, BASIC_MEMBER)


@pytest.fixture
def stranger(archival_sandbox: Sandbox) -> Jira:
    return Jira(archival_sandbox, None)


class TestArchiveByKey:
    def test_an_issue_goes_with_its_subtasks(self, jira: Jira) -> None:
        answer = jira.archive(PARENT_ISSUE, "10004")
        assert (answer.status_code, answer.json()) == (200, {"numberOfIssuesUpdated": 4, "errors": {}})
        assert jira.count("project = DEMO").json() == {"count": 1}
        assert jira.sandbox.issue(SUBTASK_ISSUES[0])["archivedBy"] == ADMIN.account_id
        assert jira.sandbox.counters()["issues_archived"] == 4

    def test_what_cannot_be_archived_is_reported_by_reason(self, jira: Jira) -> None:
        answer = jira.archive(
            OLD_ISSUE, *SUBTASK_ISSUES, UNLICENSED_ISSUE, ARCHIVED_PROJECT_ISSUE, "DEMO-404", "x", OLD_ISSUE
        )
        assert answer.status_code == 200
        assert answer.json() == {
            "numberOfIssuesUpdated": 1,
            "errors": {
                "issueIsSubtask": {
                    "count": 2,
                    "issueIdsOrKeys": list(SUBTASK_ISSUES),
                    "message": "Issue is subtask.",
                },
                "issuesInArchivedProjects": {
                    "count": 1,
                    "issueIdsOrKeys": [ARCHIVED_PROJECT_ISSUE],
                    "message": "Issue exists in archived project.",
                },
                "issuesInUnlicensedProjects": {
                    "count": 1,
                    "issueIdsOrKeys": [UNLICENSED_ISSUE],
                    "message": "Issues with these IDs are in unlicensed projects.",
                },
                "issuesNotFound": {
                    "count": 2,
                    "issueIdsOrKeys": ["DEMO-404", "x"],
                    "message": "Issue not found.",
                },
            },
        }

    @pytest.mark.parametrize(
        "body",
        [
            {"issueIdsOrKeys": [SUBTASK_ISSUES[0], "X-1"]},
            {"issueIdsOrKeys": []},
            {},
            {"issueIdsOrKeys": "A-1"},
        ],
    )
    def test_nothing_to_archive_is_a_bad_request(self, jira: Jira, body: dict[str, Any]) -> None:
        answer = jira.call("PUT", "/issue/archive", body)
        assert refused(answer) == (400, ["No valid issue to archive or unarchive. Bad request."])

    def test_the_first_1000_are_archived_of_more(self, jira: Jira) -> None:
        others = [f"X-{number}" for number in range(999)]
        answer = jira.archive(OLD_ISSUE, *others, RECENT_ISSUE)
        assert refused(answer) == (
            412,
            [
                "The number of issues to archive or unarchive exceeds the hard limit of 1000."
                " Precondition failed."
            ],
        )
        assert jira.sandbox.issue(OLD_ISSUE)["archived"]
        assert not jira.sandbox.issue(RECENT_ISSUE)["archived"]

    def test_unarchiving_reverses_it(self, jira: Jira) -> None:
        jira.archive(PARENT_ISSUE, OLD_ISSUE)
        answer = jira.unarchive(PARENT_ISSUE, SUBTASK_ISSUES[0])
        assert (answer.status_code, answer.json()["numberOfIssuesUpdated"]) == (200, 3)
        assert answer.json()["errors"]["issueIsSubtask"]["issueIdsOrKeys"] == [SUBTASK_ISSUES[0]]
        assert jira.count("project = DEMO").json() == {"count": 4}
        assert jira.sandbox.counters()["issues_unarchived"] == 3
        assert refused(jira.unarchive("X-1"))[0] == 400
        assert refused(jira.unarchive(*[OLD_ISSUE] * 1001))[0] == 412

    @pytest.mark.parametrize(
        "text", ["", "{", '"text"', "[]", '{"issueIdsOrKeys": ["\\ud800"]}', "[" * 300_000]
    )
    def test_a_broken_body_is_a_bad_request(self, jira: Jira, text: str) -> None:
        answer = requests.put(jira.url + "/issue/archive", data=text, auth=BASIC_ADMIN, timeout=30)
        assert refused(answer)[0] == 400


class TestArchiveByJql:
    def test_a_task_archives_what_matches(self, jira: Jira) -> None:
        answer = jira.archive_by_jql("project = DEMO and updated < -2y")
        assert answer.status_code == 202
        url = answer.json()
        assert re.fullmatch(rf"{re.escape(jira.url)}/task/\d+", url)
        id = url.rpartition("/")[2]
        assert jira.count("project = DEMO").json() == {"count": 5}

        jira.sandbox.advance(5)
        task = requests.get(url, auth=BASIC_ADMIN, timeout=30).json()
        assert (task["status"], task["progress"]) == ("COMPLETE", 100)
        assert task["result"] == {"numberOfIssuesUpdated": 4, "numberOfIssuesNotUpdated": 0}
        assert jira.count("project = DEMO").json() == {"count": 1}
        counters = jira.sandbox.counters()
        assert counters["jobs_submitted"] == {"archive": 1}
        assert counters["issues_archived"] == 4
        assert counters["polls"] == {id: 1}

    def test_what_matches_and_cannot_be_archived_stays(self, jira: Jira) -> None:
        id = jira.started(f"project = UNL or key in ({', '.join(SUBTASK_ISSUES)}, {OLD_ISSUE})")
        left = jira.count("project = UNL").json()["count"] + 2
        jira.sandbox.advance(5)
        assert jira.task(id).json()["result"] == {
            "numberOfIssuesUpdated": 1,
            "numberOfIssuesNotUpdated": left,
        }

    def test_a_query_that_matches_nothing_gets_a_task(self, jira: Jira) -> None:
        id = jira.started("project = OLD")
        jira.sandbox.advance(5)
        assert jira.task(id).json()["result"] == {"numberOfIssuesUpdated": 0, "numberOfIssuesNotUpdated": 0}

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"jql": "project ="}, "Error in the JQL Query: Expecting either a value, list or function"),
            ({"jql": "project = NOPE"}, "The value 'NOPE' does not exist for the field 'project'."),
            ({"jql": ""}, "Unbounded JQL queries are not allowed here."),
            ({"jql": None}, "Invalid JQL. Bad request."),
            ({}, "Invalid JQL. Bad request."),
        ],
    )
    def test_a_bad_query_is_a_bad_request(self, jira: Jira, body: dict[str, Any], message: str) -> None:
        status, messages = refused(jira.call("POST", "/issue/archive", body))
        assert status == 400
        assert messages[0].startswith(message)
        assert jira.sandbox.jobs() == []

    def test_more_than_100000_issues_are_a_bad_request(
        self, archival_sandbox_factory: SandboxFactory
    ) -> None:
        jira = Jira(archival_sandbox_factory(issues=106_000, job_seconds=0))
        count = jira.count("created <= now()").json()["count"]
        assert count > 100_000
        assert refused(jira.archive_by_jql("created <= now()")) == (
            400,
            [f"The JQL query matches {count} issues, more than the limit of 100000."],
        )
        id = jira.started("created <= now() and project != HR")
        assert jira.task(id).json()["result"]["numberOfIssuesUpdated"] > 80_000

    @pytest.mark.parametrize("over_limit", ["refuse", "first"])
    def test_what_more_issues_than_one_task_takes_get_is_a_setting(
        self, archival_sandbox_factory: SandboxFactory, over_limit: str
    ) -> None:
        settings = {"issues_per_task": 50, "over_limit": over_limit}
        jira = Jira(archival_sandbox_factory(issues=1000, job_seconds=0, **settings))
        jql = "project = FIN and issuetype in standardIssueTypes()"
        matched = jira.count(jql).json()["count"]
        assert matched > 50
        if over_limit == "refuse":
            assert refused(jira.archive_by_jql(jql))[0] == 400
            return
        assert jira.task(jira.started(jql)).json()["result"]["numberOfIssuesNotUpdated"] == matched - 50
        assert jira.count(jql).json()["count"] == matched - 50

    def test_one_task_at_a_time(self, jira: Jira) -> None:
        id = jira.started()
        again = refused(jira.archive_by_jql("project = WEB"))
        assert again == (
            412,
            [
                f"An issue archival task is already running with ID {id}."
                " To start a new one, cancel the task or wait for it to finish."
            ],
        )
        assert jira.export().status_code == 202
        jira.sandbox.advance(5)
        assert int(jira.started("project = WEB")) > int(id)

    def test_an_archive_and_an_export_can_share_a_lock(
        self, archival_sandbox_factory: SandboxFactory
    ) -> None:
        jira = Jira(archival_sandbox_factory(issues=10, locks="one"))
        id = jira.started()
        said = jira.archive_by_jql("project = WEB")
        assert f"already running with ID {id}." in refused(said)[1][0]
        export = jira.export()
        assert (export.status_code, export.json()) == (412, said.json())
        jira.sandbox.job(id, "finish")
        id = jira.export().json()["taskId"]
        assert f"already running with ID {id}." in refused(jira.archive_by_jql("project = WEB"))[1][0]


class TestTask:
    def test_it_goes_through_its_states_by_the_clock(self, jira: Jira) -> None:
        submitted = jira.sandbox.now() * 1000
        id = jira.started()
        queued = jira.task(id).json()
        assert queued.keys() == TASK_KEYS
        assert queued["self"] == f"{jira.url}/task/{id}"
        assert (queued["id"], queued["status"], queued["progress"]) == (id, "ENQUEUED", 0)
        assert (queued["submittedBy"], queued["elapsedRuntime"]) == (ADMIN.id, 0)
        assert queued["submitted"] == pytest.approx(submitted, abs=2000)

        jira.sandbox.advance(1.5)
        running = jira.task(id).json()
        assert running.keys() == {*TASK_KEYS, "started"}
        assert running["status"] == "RUNNING"
        assert 40 < running["progress"] < 99
        assert 1000 < running["elapsedRuntime"] < 3000

        jira.sandbox.advance(2)
        complete = jira.task(id).json()
        assert complete.keys() == {*TASK_KEYS, "started", "finished", "result"}
        assert complete["submitted"] < complete["started"] < complete["finished"] == complete["lastUpdate"]
        assert complete["elapsedRuntime"] == pytest.approx(complete["finished"] - complete["started"], abs=1)

    @pytest.mark.parametrize(
        ("action", "status"), [("fail", "FAILED"), ("die", "DEAD"), ("cancel", "CANCELLED")]
    )
    def test_it_can_end_badly(self, jira: Jira, action: str, status: str) -> None:
        id = jira.started()
        jira.sandbox.job(id, action, message="So it goes.")
        task = jira.task(id).json()
        assert (task["status"], task["message"]) == (status, "So it goes.")
        assert jira.count("project = DEMO").json() == {"count": 5}
        assert jira.started() != id

    def test_cancelling_is_asked_for(self, jira: Jira) -> None:
        id = jira.started()
        jira.sandbox.advance(1)
        assert jira.cancel(id).status_code == 202
        assert jira.task(id).json()["status"] == "CANCEL_REQUESTED"
        jira.sandbox.advance(1)
        assert jira.task(id).json()["status"] == "CANCELLED"
        assert jira.count("project = DEMO").json() == {"count": 5}

    def test_its_times_and_the_date_of_an_answer_are_by_one_clock(self, jira: Jira) -> None:
        jira.sandbox.advance(30 * 86400)
        started, busy = (jira.archive_by_jql("project = DEMO") for _ in range(2))
        look = jira.call("GET", f"/task/{started.json().rpartition('/')[2]}")
        jira.sandbox.fault("/rest/api/3/myself", status=503)
        answers = [started, busy, look, jira.call("GET", "/myself")]
        assert [answer.status_code for answer in answers] == [202, 412, 200, 503]
        submitted = look.json()["submitted"] / 1000
        assert submitted == pytest.approx(jira.sandbox.now(), abs=30)
        for answer in answers:
            date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            assert date == pytest.approx(submitted, abs=10)

    def test_a_cancel_can_come_too_late(self, jira: Jira) -> None:
        id = jira.started("project = DEMO AND issuetype in standardIssueTypes()")
        jira.sandbox.job(id, "freeze")
        assert jira.cancel(id).status_code == 202
        jira.sandbox.advance(3600)
        assert jira.task(id).json()["status"] == "CANCEL_REQUESTED"
        assert f"already running with ID {id}." in refused(jira.archive_by_jql("project = WEB"))[1][0]
        jira.sandbox.job(id, "finish")
        task = jira.task(id).json()
        assert (task["status"], task["progress"]) == ("COMPLETE", 100)
        assert task["result"] == {"numberOfIssuesUpdated": 5, "numberOfIssuesNotUpdated": 0}
        assert jira.count("project = DEMO").json() == {"count": 0}

    def test_one_that_is_hidden_runs_on_and_is_named(self, jira: Jira) -> None:
        id = jira.started()
        not_found = f"The task with ID {id} is not found."
        body = {"errorMessages": [not_found], "errors": {}}
        jira.sandbox.fault(f"/rest/api/3/task/{id}", status=404, body=body, times=2)
        for _ in range(2):
            assert refused(jira.task(id)) == (404, [not_found])
            assert f"already running with ID {id}." in refused(jira.archive_by_jql("key = DEMO-5"))[1][0]
        assert jira.task(id).json()["status"] == "ENQUEUED"

        fault = jira.sandbox.fault(f"/rest/api/3/task/{id}*", status=404, body=body, times=None)
        jira.sandbox.advance(2)
        assert (jira.task(id).status_code, jira.cancel(id).status_code) == (404, 404)
        assert jira.archive_by_jql("key = DEMO-5").status_code == 412
        jira.sandbox.clear_faults(fault)
        assert jira.task(id).json()["status"] == "RUNNING"

    def test_what_is_over_cannot_be_cancelled(self, jira: Jira) -> None:
        id = jira.started()
        jira.sandbox.advance(5)
        answer = jira.cancel(id)
        assert (answer.status_code, answer.json()) == (
            400,
            [f"The task with ID {id} can't be cancelled: it is COMPLETE."],
        )

    def test_an_unknown_one_is_not_found(self, jira: Jira) -> None:
        assert refused(jira.task("404")) == (404, ["The task with ID 404 is not found."])
        answer = jira.cancel("404")
        assert (answer.status_code, answer.json()) == (404, ["The task with ID 404 is not found."])

    def test_it_is_forgotten_after_fourteen_days(self, jira: Jira) -> None:
        id = jira.started()
        jira.sandbox.advance(13.9 * 86400)
        assert jira.task(id).status_code == 200
        jira.sandbox.advance(0.2 * 86400)
        assert jira.task(id).status_code == 404

    def test_it_is_seen_by_its_creator_and_admins_only(self, jira: Jira, member: Jira) -> None:
        id = jira.started()
        assert bearer(jira.sandbox).task(id).status_code == 200
        assert member.task(id).status_code == 404
        assert member.cancel(id).status_code == 404

    @pytest.mark.parametrize(
        ("tells", "descriptions"),
        [
            ("kind", ["Archive issues", "Export archived issues"]),
            ("same", ["Issue archival task", "Issue archival task"]),
            ("none", [None, None]),
        ],
    )
    def test_what_its_description_tells_is_a_setting(
        self, archival_sandbox_factory: SandboxFactory, tells: str, descriptions: list[str | None]
    ) -> None:
        jira = Jira(archival_sandbox_factory(issues=10, description=tells))
        tasks = [jira.task(id).json() for id in (jira.started(), jira.export().json()["taskId"])]
        assert [task.get("description") for task in tasks] == descriptions
        assert [set(task) ^ TASK_KEYS for task in tasks] == [
            {"description"} if tells == "none" else set()
        ] * 2


class TestColleague:
    """Jobs that another admin submits."""

    def test_their_archive_is_one_like_ours_but_for_its_submitter(self, jira: Jira) -> None:
        theirs = jira.task(jira.sandbox.colleague("archive", jql="project = HR")).json()
        jira.sandbox.job(theirs["id"], "finish")
        ours = jira.task(jira.started()).json()
        assert ours.keys() == theirs.keys()
        assert (theirs["description"], theirs["submittedBy"]) == ("Archive issues", COLLEAGUE.id)
        assert ours["submittedBy"] == ADMIN.id
        assert jira.sandbox.count("project = HR", archived=False) == 0
        (entry,) = jira.sandbox.requests("*/issue/archive")
        assert entry["body"] == {"jql": "project = DEMO"}

    def test_their_export_has_a_file_of_what_they_chose(self, jira: Jira) -> None:
        jira.archive(OLD_ISSUE)
        files = []
        for projects in ([], ["DEMO"], ["HR"]):
            id = jira.sandbox.colleague("export", filter={"projects": projects})
            assert jira.task(id).json()["submittedBy"] == COLLEAGUE.id
            jira.sandbox.job(id, "finish")
            url = jira.task(id).json()["result"]["fileUrl"]
            files.append(requests.get(url, auth=BASIC_ADMIN, timeout=30).text.count(OLD_ISSUE))
        assert files == [1, 1, 0]

    @pytest.mark.parametrize("locks", ["each", "one"])
    def test_they_wait_for_us_and_we_for_them(
        self, archival_sandbox_factory: SandboxFactory, locks: str
    ) -> None:
        sandbox = archival_sandbox_factory(issues=10, locks=locks)
        jira = Jira(sandbox)
        id = jira.started()
        with pytest.raises(SandboxError, match=rf"412.*already running with ID {id}\. To start a new one"):
            sandbox.colleague("archive", jql="project = HR")
        if locks == "one":
            with pytest.raises(SandboxError, match=rf"412.*already running with ID {id}\."):
                sandbox.colleague("export")
            sandbox.job(id, "finish")
        id = sandbox.colleague("export")
        assert f"already running with ID {id}." in refused(jira.export())[1][0]

    def test_jira_refuses_them_what_makes_no_sense(self, jira: Jira) -> None:
        with pytest.raises(SandboxError, match=r"400.*Invalid JQL"):
            jira.sandbox.colleague("archive")
        with pytest.raises(SandboxError, match=r"400.*Your filter contains invalid values"):
            jira.sandbox.colleague("export", filter={"projects": ["NOPE"]})
        assert jira.sandbox.jobs() == []


class TestWords:
    def test_a_task_says_half_an_emoji_and_big_numbers(self, jira: Jira) -> None:
        id = jira.started()
        jira.sandbox.job(id, "finish", message="half \ud83d", result={"numberOfIssuesUpdated": 10**30})
        answer = jira.task(id)
        assert r'"half \ud83d"' in answer.text
        assert (answer.json()["status"], answer.json()["result"]) == (
            "COMPLETE",
            {"numberOfIssuesUpdated": 10**30},
        )

    def test_a_task_may_fall_back(self, jira: Jira) -> None:
        id = jira.started()
        jira.sandbox.job(id, "show", status="RUNNING", progress=100)
        assert (jira.task(id).json()["status"], jira.task(id).json()["progress"]) == ("RUNNING", 100)
        jira.sandbox.job(id, "show", status="ENQUEUED", progress=10)
        assert (jira.task(id).json()["status"], jira.task(id).json()["progress"]) == ("ENQUEUED", 10)
        assert jira.archive_by_jql("project = DEMO").status_code == 412
        jira.sandbox.job(id, "thaw")
        jira.sandbox.advance(60)
        assert jira.task(id).json()["status"] == "COMPLETE"


class TestExport:
    def test_a_file_holds_the_archived_issues(self, jira: Jira) -> None:
        jira.archive(PARENT_ISSUE, OLD_ISSUE)
        answer = jira.export()
        body = answer.json()
        assert answer.status_code == 202
        assert body.keys() == {"taskId", "status", "progress", "submittedTime", "payload", "fileUrl"}
        assert (body["status"], body["progress"], body["payload"]) == ("ENQUEUED", 0, "{}")
        assert jira.call("GET", body["fileUrl"].removeprefix(jira.url)).status_code == 404

        jira.sandbox.advance(5)
        task = jira.task(body["taskId"]).json()
        assert (task["status"], task["result"]) == ("COMPLETE", {"fileUrl": body["fileUrl"]})
        file = requests.get(body["fileUrl"], auth=BASIC_ADMIN, timeout=30)
        assert file.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert int(file.headers["Content-Length"]) == len(file.content)
        issues = {row["Issue key"]: row for row in csv.DictReader(io.StringIO(file.text))}
        assert issues.keys() == {PARENT_ISSUE, *SUBTASK_ISSUES, OLD_ISSUE}
        subtask = issues[SUBTASK_ISSUES[0]]
        assert subtask["Summary"] == "The first subtask of the story"
        assert (subtask["Issue Type"], subtask["Parent"]) == ("Sub-task", PARENT_ISSUE)
        assert subtask["ArchivedBy"] == ADMIN.account_id
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000\+0000", subtask["ArchivedDate"])

    @pytest.mark.parametrize(
        ("wanted", "keys"),
        [
            ({"projects": ["WEB"]}, {"WEB-1"}),
            ({"projects": ["WEB", "DEMO"]}, {PARENT_ISSUE, *SUBTASK_ISSUES, RECENT_ISSUE, "WEB-1"}),
            ({"projects": []}, {PARENT_ISSUE, *SUBTASK_ISSUES, RECENT_ISSUE, "WEB-1"}),
            ({"projects": ["DEMO"], "issueTypes": [str(BUG)]}, {RECENT_ISSUE}),
            (
                {"projects": ["DEMO"], "issueTypes": [str(STORY), str(SUBTASK)]},
                {PARENT_ISSUE, *SUBTASK_ISSUES},
            ),
            ({"projects": ["DEMO"], "reporters": [MEMBER.account_id]}, {RECENT_ISSUE}),
            ({"archivedBy": [SERVICE_ACCOUNT.account_id]}, {"WEB-1"}),
            ({"archivedBy": ["nobody"]}, set()),
            ({"projects": ["FIN"], "archivedDate": "whatever"}, set()),
        ],
    )
    def test_a_filter_chooses_issues(self, jira: Jira, wanted: dict[str, Any], keys: set[str]) -> None:
        jira.archive(PARENT_ISSUE, RECENT_ISSUE)
        token = ask_token(jira.sandbox).json()["access_token"]
        assert bearer(jira.sandbox, token).archive("WEB-1").json()["numberOfIssuesUpdated"] == 1
        assert exported(jira, **wanted) == keys

    def test_a_range_is_from_midnight_to_midnight(self, jira: Jira) -> None:
        jira.archive(RECENT_ISSUE)
        today = jira.sandbox.now()
        yesterday, tomorrow, later = (day(today + days * 86400) for days in (-1, 1, 2))
        assert exported(jira, archivedDateRange={"dateAfter": day(today), "dateBefore": tomorrow}) == {
            RECENT_ISSUE
        }
        assert exported(jira, archivedDateRange={"dateAfter": yesterday, "dateBefore": day(today)}) == set()
        assert exported(jira, archivedDateRange={"dateAfter": tomorrow, "dateBefore": later}) == set()

    def test_the_filter_is_said_back(self, jira: Jira) -> None:
        answer = jira.export(
            projects=["DEMO", "WEB"],
            reporters=["a", "b"],
            issueTypes=[str(TASK)],
            archivedDateRange={"dateAfter": "2023-01-01", "dateBefore": "2023-01-12"},
        )
        assert answer.json()["payload"] == (
            "{projects=[DEMO, WEB], reporters=[a, b], issueTypes=[10002],"
            " archivedDate={dateAfterInstant=2023-01-01, dateBeforeInstant=2023-01-12}}"
        )

    @pytest.mark.parametrize(
        "wanted",
        [
            {"projects": ["NOPE"]},
            {"projects": "DEMO"},
            {"projects": [1]},
            {"issueTypes": ["Story"]},
            {"project": ["DEMO"]},
            {"archivedDateRange": {"dateAfter": "2024-01-01"}},
            {"archivedDateRange": {"dateAfter": "2024-01-01", "dateBefore": None}},
            {"archivedDateRange": {"dateAfter": "2024-01-01", "dateBefore": "01.02.2024"}},
            {"archivedDateRange": {"dateAfter": "2024-01-02", "dateBefore": "2024-01-01"}},
            {"archivedDateRange": "2024-01-01"},
        ],
    )
    def test_a_bad_filter_is_a_bare_array(self, jira: Jira, wanted: dict[str, Any]) -> None:
        answer = jira.export(**wanted)
        assert answer.status_code == 400
        (message,) = answer.json()
        assert message.startswith("Your filter contains invalid values {")

    def test_more_than_a_million_issues_are_too_many(self) -> None:
        check_size(1_000_000, 1_000_000)
        with pytest.raises(Refusal, match="more than the limit of 1000000"):
            check_size(1_000_001, 1_000_000)

    def test_one_export_at_a_time(self, jira: Jira) -> None:
        id = jira.export().json()["taskId"]
        status, messages = refused(jira.export())
        assert status == 412
        assert f"already running with ID {id}." in messages[0]
        assert jira.archive_by_jql("project = DEMO").status_code == 202

    def test_the_file_is_for_admins(self, jira: Jira, member: Jira, stranger: Jira) -> None:
        path = jira.export().json()["fileUrl"].removeprefix(jira.url)
        jira.sandbox.advance(5)
        assert [who.call("GET", path).status_code for who in (jira, member, stranger)] == [200, 403, 401]

    def test_the_file_goes_when_the_sandbox_is_reset(self, jira: Jira) -> None:
        path = jira.export().json()["fileUrl"].removeprefix(jira.url)
        jira.sandbox.advance(5)
        jira.sandbox.reset()
        assert jira.call("GET", path).status_code == 404


def exported(jira: Jira, **wanted: Any) -> set[str]:
    """Export, and return the keys in the file."""
    answer = jira.export(**wanted)
    assert answer.status_code == 202
    jira.sandbox.job(answer.json()["taskId"], "finish")
    file = requests.get(answer.json()["fileUrl"], auth=BASIC_ADMIN, timeout=30)
    return {row["Issue key"] for row in csv.DictReader(io.StringIO(file.text))}


class TestExportForms:
    """The setting ``csv``: what the file looks like."""

    def file_of(self, start: SandboxFactory, form: str, *archived: str) -> bytes:
        jira = Jira(start(issues=300, csv=form))
        jira.archive(*archived)
        answer = jira.export()
        jira.sandbox.job(answer.json()["taskId"], "finish")
        return requests.get(answer.json()["fileUrl"], auth=BASIC_ADMIN, timeout=30).content

    def test_a_column_for_each_value_as_often_as_the_richest_issue_of_the_file_needs(
        self, archival_sandbox_factory: SandboxFactory
    ) -> None:
        one = self.file_of(archival_sandbox_factory, "jira", OLD_ISSUE)
        many = self.file_of(archival_sandbox_factory, "jira", *(f"WEB-{number}" for number in range(1, 40)))
        assert one.startswith(b"\xef\xbb\xbfSummary,Issue key,Issue id,Issue Type,Status,Project key,")
        rows = [list(csv.reader(io.StringIO(file.decode("utf-8-sig")))) for file in (one, many)]
        numbers = [[header.count(name) for name in ("Labels", "Watchers", "Summary")] for header, *_ in rows]
        assert numbers[0][0] < numbers[1][0]
        assert [number[2] for number in numbers] == [1, 1]
        assert numbers[1][1] == 3
        for header, *cells in rows:
            assert {len(row) for row in cells} == {len(header)}

    def test_odd_rows_and_bytes(self, archival_sandbox_factory: SandboxFactory) -> None:
        file = self.file_of(archival_sandbox_factory, "odd", PARENT_ISSUE, OLD_ISSUE, RECENT_ISSUE)
        assert file.startswith(b"Summary,Work item key,")
        with pytest.raises(UnicodeDecodeError):
            file.decode()
        for oddity in (
            b"caf\xe9,",
            b"\xed\xa0\xbd\xed\xb8\x80",
            b"\0",
            b"\n\nA row of no issue\n",
            b",one more,",
        ):
            assert oddity in file
        widths = {len(row) for row in csv.reader(io.StringIO(file.decode("latin-1")))}
        assert {0, 1} < widths
        assert len(widths) == 5

    def test_utf_16_with_rows_that_end_in_a_carriage_return(
        self, archival_sandbox_factory: SandboxFactory
    ) -> None:
        file = self.file_of(archival_sandbox_factory, "utf-16", OLD_ISSUE)
        text = file.decode("utf-16")
        assert (text.count("\r"), text.count("\n")) == (2, 0)
        assert text.split("\r")[1].split(",")[1] == OLD_ISSUE


def day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


class TestSearch:
    """``POST /search/jql``."""

    def search(self, jira: Jira, **body: Any) -> requests.Response:
        return jira.call("POST", "/search/jql", body)

    def test_it_goes_on_from_page_to_page(self, jira: Jira) -> None:
        found, token = [], None
        while True:
            more = {"nextPageToken": token} if token else {}
            page = self.search(jira, jql="project = DEMO", maxResults=2, fields=["key"], **more).json()
            found += [issue["key"] for issue in page["issues"]]
            token = page.get("nextPageToken")
            assert page["isLast"] is (token is None)
            if token is None:
                break
        assert found == ["DEMO-1", "DEMO-2", "DEMO-3", "DEMO-4", "DEMO-5"]

    def test_without_fields_there_is_only_the_id(self, jira: Jira) -> None:
        (issue,) = self.search(jira, jql="key = DEMO-4").json()["issues"]
        assert set(issue) == {"expand", "id", "self"}

    def test_nobody_sees_nothing(self, stranger: Jira) -> None:
        assert self.search(stranger, jql="project = DEMO").json() == {"issues": [], "isLast": True}

    @pytest.mark.parametrize("more", [{"maxResults": 0}, {"maxResults": "x"}, {"nextPageToken": "x"}])
    def test_bad_parameters_are_refused(self, jira: Jira, more: dict[str, Any]) -> None:
        assert self.search(jira, jql="project = DEMO", **more).status_code == 400


class TestCount:
    def test_it_counts(self, jira: Jira, member: Jira) -> None:
        for who in (jira, member):
            answer = who.count("project = DEMO")
            assert (answer.status_code, answer.json()) == (200, {"count": 5})

    def test_a_query_needs_a_restriction(self, jira: Jira) -> None:
        for jql in ("", "order by key"):
            assert refused(jira.count(jql)) == (
                400,
                [
                    "Unbounded JQL queries are not allowed here."
                    " Please add a search restriction to your query."
                ],
            )

    def test_a_bad_query_is_a_bad_request(self, jira: Jira, stranger: Jira) -> None:
        for who in (jira, stranger):
            assert refused(who.count("colour = red"))[0] == 400

    def test_strangers_and_wrong_tokens_see_nothing(self, stranger: Jira) -> None:
        answer = stranger.count("project = DEMO")
        assert (answer.json(), "X-Seraph-LoginReason" in answer.headers) == ({"count": 0}, False)
        answer = Jira(stranger.sandbox, ("admin@example.com", "wrong")).count("project = DEMO")
        assert answer.json() == {"count": 0}
        assert answer.headers["X-Seraph-LoginReason"] == "AUTHENTICATED_FAILED"


class TestWhoAmI:
    def test_everybody_is_told_who_they_are(self, jira: Jira, member: Jira) -> None:
        token = ask_token(jira.sandbox).json()["access_token"]
        for who, user in ((jira, ADMIN), (member, MEMBER), (bearer(jira.sandbox, token), SERVICE_ACCOUNT)):
            body = who.call("GET", "/myself").json()
            assert (body["accountId"], body["accountType"]) == (user.account_id, user.kind)
            assert (body["displayName"], body["active"]) == (user.name, True)

    def test_permissions_are_told(self, jira: Jira, member: Jira, stranger: Jira) -> None:
        asked = {"permissions": "ADMINISTER,BROWSE_PROJECTS"}
        for who, expected in ((jira, [True, True]), (member, [False, True]), (stranger, [False, False])):
            answer = who.call("GET", "/mypermissions", params=asked)
            found = answer.json()["permissions"]
            assert [found[name]["havePermission"] for name in asked["permissions"].split(",")] == expected
            assert found["ADMINISTER"].keys() == {
                "id",
                "key",
                "name",
                "type",
                "description",
                "havePermission",
            }

    @pytest.mark.parametrize("asked", ["", ",", "FLY"])
    def test_permissions_must_be_asked_for(self, jira: Jira, asked: str) -> None:
        assert refused(jira.call("GET", "/mypermissions", params={"permissions": asked}))[0] == 400


# (method, path, whether the message to strangers is "User is not logged in.")
ENDPOINTS = [
    ("PUT", "/issue/archive", True),
    ("POST", "/issue/archive", True),
    ("PUT", "/issue/unarchive", True),
    ("PUT", "/issues/archive/export", True),
    ("GET", "/task/1", False),
    ("GET", "/myself", False),
]


class TestAuthentication:
    @pytest.mark.parametrize(
        "auth", [None, ("admin@example.com", "wrong"), ("sandbox-admin-token", ""), ("ä", "ö")]
    )
    @pytest.mark.parametrize(("method", "path", "is_archival"), ENDPOINTS)
    def test_nobody_gets_in_without(
        self, archival_sandbox: Sandbox, auth: Any, method: str, path: str, is_archival: bool
    ) -> None:
        answer = Jira(archival_sandbox, auth).call(method, path, {"jql": "project = DEMO"})
        message = (
            "User is not logged in."
            if is_archival
            else "Client must be authenticated to access this resource."
        )
        assert refused(answer) == (401, [message])

    def test_strangers_cannot_cancel(self, stranger: Jira) -> None:
        answer = stranger.cancel("1")
        assert (answer.status_code, answer.json()) == (
            401,
            ["Client must be authenticated to access this resource."],
        )

    @pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic /w==", "Digest x", "nonsense"])
    def test_a_broken_header_is_no_login(self, stranger: Jira, header: str) -> None:
        stranger.headers = {"Authorization": header}
        assert stranger.call("GET", "/myself").status_code == 401

    def test_members_may_not_archive(self, member: Jira) -> None:
        only_admins = (403, ["Only admins can archive or unarchive issues. Access denied."])
        assert refused(member.archive(OLD_ISSUE)) == only_admins
        assert refused(member.unarchive(OLD_ISSUE)) == only_admins
        assert refused(member.archive_by_jql("project = DEMO")) == only_admins
        assert refused(member.export()) == (403, ["User is not an admin."])

    def test_basic_works_on_the_site_and_through_the_gateway(self, archival_sandbox: Sandbox) -> None:
        for prefix in ("", GATEWAY):
            assert Jira(archival_sandbox, prefix=prefix).call("GET", "/myself").status_code == 200

    def test_a_bearer_token_works_through_the_gateway_only(self, archival_sandbox: Sandbox) -> None:
        assert bearer(archival_sandbox).call("GET", "/myself").json()["accountId"] == ADMIN.account_id
        on_site = Jira(archival_sandbox, auth=None, token=credentials.JIRA_ACCESS_TOKEN)
        assert on_site.call("GET", "/myself").status_code == 401

    def test_the_gateway_lets_no_stranger_through(self, archival_sandbox: Sandbox) -> None:
        for who in (bearer(archival_sandbox, "wrong"), Jira(archival_sandbox, None, prefix=GATEWAY)):
            answer = who.count("project = DEMO")
            assert (answer.status_code, answer.json()) == (401, {"code": 401, "message": "Unauthorized"})

    def test_another_cloud_id_is_not_found(self, archival_sandbox: Sandbox) -> None:
        assert Jira(archival_sandbox, prefix="/ex/jira/another").call("GET", "/myself").status_code == 404

    def test_behind_the_gateway_a_task_has_the_sites_own_address(self, archival_sandbox: Sandbox) -> None:
        jira = bearer(archival_sandbox)
        url = jira.archive_by_jql("project = DEMO").json()
        assert re.fullmatch(r"https://sandbox-site\.example\.com/rest/api/3/task/\d+", url)
        assert jira.task(url.rpartition("/")[2]).json()["self"] == url

    def test_behind_the_gateway_a_file_is_reached_through_it(self, archival_sandbox: Sandbox) -> None:
        jira = bearer(archival_sandbox)
        url = jira.export().json()["fileUrl"]
        archival_sandbox.advance(5)
        assert url.startswith(f"{jira.url}/")
        assert requests.get(url, headers=jira.headers, timeout=30).status_code == 200


READ, WRITE, USER = "read:jira-work", "write:jira-work", "read:jira-user"
# (method, path, a scope that it needs): through the gateway.
SCOPES = [
    ("PUT", "/issue/archive", WRITE),
    ("PUT", "/issue/archive", "write:issue:jira"),
    ("POST", "/issue/archive", WRITE),
    ("PUT", "/issue/unarchive", WRITE),
    ("PUT", "/issues/archive/export", READ),
    ("PUT", "/issues/archive/export", "read:issue:jira"),
    ("GET", "/issues/archive/export/file/1.csv", READ),
    ("GET", "/task/1", READ),
    ("POST", "/task/1/cancel", WRITE),
    ("POST", "/task/1/cancel", "delete:async-task:jira"),
    ("POST", "/search/approximate-count", READ),
    ("POST", "/search/jql", READ),
    ("GET", "/mypermissions", READ),
    ("GET", "/myself", USER),
]


class TestScopes:
    @pytest.mark.parametrize(("method", "path", "needed"), SCOPES)
    def test_the_gateway_wants_a_scope(self, jira: Jira, method: str, path: str, needed: str) -> None:
        app = bearer(jira.sandbox)
        jira.sandbox.scope(" ".join({READ, WRITE, USER} - {needed} if ":jira-" in needed else {needed}))
        answer = app.call(method, path, {})
        if ":jira-" in needed:
            assert answer.status_code == 401
            assert answer.json() == {"code": 401, "message": "Unauthorized; scope does not match"}
            jira.sandbox.scope(needed)
            answer = app.call(method, path, {})
        assert answer.status_code != 401

    def test_a_scoped_api_token_has_scopes_at_the_gateway_and_none_on_the_site(self, jira: Jira) -> None:
        jira.sandbox.scope(READ)
        assert Jira(jira.sandbox, prefix=GATEWAY).call("GET", "/myself").status_code == 401
        assert jira.call("GET", "/myself").status_code == 200

    def test_wrong_credentials_are_no_matter_of_scope(self, jira: Jira) -> None:
        jira.sandbox.scope("")
        assert bearer(jira.sandbox, "wrong").task("1").json() == {"code": 401, "message": "Unauthorized"}

    def test_a_token_tells_its_scopes_and_a_reset_restores_them(self, jira: Jira) -> None:
        jira.sandbox.scope(READ)
        assert ask_token(jira.sandbox).json()["scope"] == READ
        jira.sandbox.reset()
        assert bearer(jira.sandbox).call("GET", "/myself").status_code == 200

    def test_a_sandbox_starts_with_the_scopes_that_it_is_told(
        self, archival_sandbox_factory: SandboxFactory
    ) -> None:
        narrow = archival_sandbox_factory(issues=10, scopes=f"{READ} {WRITE}")
        assert bearer(narrow).call("GET", "/myself").status_code == 401
        narrow.reset()
        assert bearer(narrow).call("GET", "/myself").status_code == 401
        assert bearer(narrow).task("1").status_code == 404


class TestTokens:
    def test_a_service_account_gets_a_token(self, archival_sandbox: Sandbox) -> None:
        answer = ask_token(archival_sandbox)
        body = answer.json()
        assert answer.status_code == 200
        assert (body["expires_in"], body["token_type"]) == (3600, "Bearer")
        assert body["scope"].split() == ["read:jira-work", "write:jira-work", "read:jira-user"]
        assert bearer(archival_sandbox, body["access_token"]).archive(OLD_ISSUE).status_code == 200
        assert archival_sandbox.issue(OLD_ISSUE)["archivedBy"] == SERVICE_ACCOUNT.account_id

    def test_it_may_ask_in_json(self, archival_sandbox: Sandbox) -> None:
        wanted = {
            "grant_type": "client_credentials",
            "client_id": credentials.JIRA_CLIENT_ID,
            "client_secret": credentials.JIRA_CLIENT_SECRET,
        }
        answer = requests.post(f"{archival_sandbox.base_url}/oauth/token", json=wanted, timeout=30)
        assert answer.status_code == 200

    @pytest.mark.parametrize("changed", [{"client_id": "x"}, {"client_secret": "x"}, {"client_secret": ""}])
    def test_a_wrong_client_gets_none(self, archival_sandbox: Sandbox, changed: dict[str, str]) -> None:
        answer = ask_token(archival_sandbox, **changed)
        assert (answer.status_code, answer.json()["error"]) == (401, "access_denied")

    def test_another_grant_is_not_supported(self, archival_sandbox: Sandbox) -> None:
        answer = ask_token(archival_sandbox, grant_type="password")
        assert (answer.status_code, answer.json()["error"]) == (403, "unsupported_grant_type")

    @pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
    def test_a_broken_request_gets_none(self, archival_sandbox: Sandbox, content_type: str) -> None:
        answer = requests.post(
            f"{archival_sandbox.base_url}/oauth/token",
            data=b"\xff{",
            headers={"Content-Type": content_type},
            timeout=30,
        )
        assert answer.status_code == 403

    def test_a_token_lives_an_hour(self, archival_sandbox: Sandbox) -> None:
        jira = bearer(archival_sandbox, ask_token(archival_sandbox).json()["access_token"])
        archival_sandbox.advance(3590)
        assert jira.call("GET", "/myself").status_code == 200
        archival_sandbox.advance(20)
        assert jira.call("GET", "/myself").status_code == 401

    def test_tokens_can_be_made_to_expire(self, archival_sandbox: Sandbox) -> None:
        jira = bearer(archival_sandbox, ask_token(archival_sandbox).json()["access_token"])
        archival_sandbox.expire_tokens()
        assert jira.call("GET", "/myself").status_code == 401
        assert bearer(archival_sandbox).call("GET", "/myself").status_code == 200


@pytest.fixture(scope="module")
def lenient(archival_sandbox_factory: SandboxFactory) -> Sandbox:
    return archival_sandbox_factory(auth="any", issues=10)


@pytest.fixture(scope="module")
def open_to_all(archival_sandbox_factory: SandboxFactory) -> Sandbox:
    return archival_sandbox_factory(auth="off", issues=10, job_seconds=0)


def test_each_answer_has_a_request_id(jira: Jira, stranger: Jira) -> None:
    jira.sandbox.limit(quota=5)
    answers = [
        jira.call("GET", "/myself"),
        jira.task("1"),
        jira.call("GET", "/nothing"),
        stranger.call("GET", "/myself"),
        bearer(jira.sandbox, "wrong").task("1"),
        jira.call("GET", "/myself"),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 404, 401, 401, 429]
    assert len({answer.headers["X-ARequestId"] for answer in answers}) == len(answers)
    assert "X-ARequestId" not in requests.get(f"{jira.sandbox.base_url}/api/v1/requester", timeout=10).headers


SENTENCE = "Client must be authenticated to access this resource."


@pytest.mark.parametrize(
    ("how", "kind", "body"),
    [
        ("message", "application/json", f'{{"message":"{SENTENCE}","status-code":401}}'),
        ("text", "text/plain; charset=utf-8", SENTENCE),
        ("empty", None, ""),
    ],
)
def test_a_site_refuses_strangers_in_other_ways(
    archival_sandbox_factory: SandboxFactory, how: str, kind: str | None, body: str
) -> None:
    sandbox = archival_sandbox_factory(issues=10, unauthenticated=how)
    for auth in (None, ("admin@example.com", "wrong")):
        stranger = Jira(sandbox, auth)
        for method, path, _ in ENDPOINTS:
            answer = stranger.call(method, path, {})
            found = answer.status_code, answer.headers.get("Content-Type"), answer.text
            assert found == (401, kind, body)
    assert Jira(sandbox, None, token="wrong").call("GET", "/myself").text == body
    at_the_gateway = bearer(sandbox, "wrong").call("GET", "/myself")
    assert at_the_gateway.json() == {"code": 401, "message": "Unauthorized"}


class TestStrictness:
    def test_any_credentials_can_be_an_admins(self, lenient: Sandbox) -> None:
        for who in (Jira(lenient, ("x", "y")), bearer(lenient, "z"), Jira(lenient, None, token="z")):
            assert who.call("GET", "/myself").json()["accountId"] == ADMIN.account_id
        assert Jira(lenient, None).call("GET", "/myself").status_code == 401
        assert ask_token(lenient, client_secret="x").status_code == 200

    def test_no_credentials_can_be_needed(self, open_to_all: Sandbox) -> None:
        assert Jira(open_to_all, None).call("GET", "/myself").json()["accountId"] == ADMIN.account_id

    def test_a_job_can_be_over_at_once(self, open_to_all: Sandbox) -> None:
        jira = Jira(open_to_all, None)
        assert jira.task(jira.started()).json()["status"] == "COMPLETE"
        answer = jira.export().json()
        assert (answer["status"], answer["progress"]) == ("COMPLETE", 100)


def test_what_a_query_means_does_not_change_while_it_waits(jira: Jira) -> None:
    jira.started("project = DEMO and updated < -1w")
    jira.sandbox.advance(30 * 86400)
    assert not jira.sandbox.issue(RECENT_ISSUE)["archived"]
    assert jira.sandbox.issue(OLD_ISSUE)["archived"]
