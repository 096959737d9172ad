"""Something else answers in the service's place: nothing of that is believed, in any step of a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from said import EDGES_PAGE, GATEWAYS_JSON
from tries import Killed

from airflow_provider_archival.api import http
from airflow_provider_archival.exceptions import JobGone, ServiceFault, ServiceRefusal, WatchRefused
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.memory import STORE_KEY
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Connections, Pauses
    from tests.unit.tries import Tries

pytestmark = pytest.mark.usefixtures("connections", "pauses")

ARCHIVE, EXPORT = "/rest/api/3/issue/archive", "/rest/api/3/issues/archive/export"
COUNT, TASK = "*/approximate-count", "/rest/api/3/task/*"
OPERATION, PROJECT = "/api/v1/operations/*", "/api/v1/projects/*"
PAGE = {"headers": {"Content-Type": "text/html"}, "body": EDGES_PAGE}
FOREIGN: dict[str, dict[str, Any]] = {
    "page 404": {"status": 404, **PAGE},
    "page 403": {"status": 403, **PAGE},
    "page 400": {"status": 400, **PAGE},
    "gateway 404": {"status": 404, "body": GATEWAYS_JSON},
    "423": {"status": 423},
    "425": {"status": 425},
    "login": {"redirect": "https://id.example.com/login"},
}
JOBS: dict[str, dict[str, Any]] = {
    "archive": {"operator": JiraArchiveIssuesByJqlOperator, "jql": "project = DEMO"},
    "export": {"operator": JiraExportArchivedIssuesOperator},
    "project": {"operator": TolokaArchiveProjectOperator, "project_id": PROJECT_READY},
}
LOOKS = {"archive": TASK, "export": TASK, "project": OPERATION}
SUBMITS = {"archive": (ARCHIVE, "POST"), "export": (EXPORT, "PUT"), "project": (f"{PROJECT}/archive", "POST")}


@pytest.fixture(params=JOBS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stopped(kind: str, tries: Tries, pauses: Pauses, archival_sandbox: Sandbox) -> str:
    """A try was killed while its job ran; the job's id."""

    def kill() -> None:
        raise Killed

    pauses.before = kill
    with pytest.raises(Killed):
        tries.run(**JOBS[kind])
    pauses.before = None
    return str(archival_sandbox.jobs()[-1]["id"])


def submitted(sandbox: Sandbox) -> int:
    return sum(sandbox.counters()["jobs_submitted"].values())


# --- the first look of a retry ---


@pytest.mark.parametrize("what", FOREIGN.values(), ids=FOREIGN)
def test_in_the_first_look_of_a_retry_no_job_is_gone(
    kind: str, stopped: str, tries: Tries, archival_sandbox: Sandbox, what: dict[str, Any]
) -> None:
    archival_sandbox.fault(LOOKS[kind], times=3, **what)
    assert stopped in json.dumps(tries.run(**JOBS[kind]))
    assert submitted(archival_sandbox) == 1


def test_in_the_first_look_of_a_retry_for_long_the_try_fails_and_the_next_attaches(
    kind: str, stopped: str, tries: Tries, archival_sandbox: Sandbox
) -> None:
    archival_sandbox.fault(LOOKS[kind], times=5, **FOREIGN["page 404"])
    with pytest.raises(ServiceFault, match="HTTP 404: an HTML page: Page not found") as caught:
        tries.run(**JOBS[kind])
    assert not isinstance(caught.value, ServiceRefusal)
    assert submitted(archival_sandbox) == 1
    assert stopped in json.dumps(tries.run(**JOBS[kind]))
    assert submitted(archival_sandbox) == 1


def test_the_services_own_404_counts_when_it_comes_twice_with_a_pause(
    kind: str, stopped: str, tries: Tries, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    archival_sandbox.fault(LOOKS[kind], status=404)
    before = len(pauses.asked)
    assert stopped in json.dumps(tries.run(**JOBS[kind]))
    assert submitted(archival_sandbox) == 1
    assert pauses.asked[before] == 2


# --- a wait ---


@pytest.mark.parametrize("what", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("skip", [0, 1], ids=["at first", "later"])
def test_in_a_wait_no_job_is_gone_or_hidden(
    kind: str, tries: Tries, archival_sandbox: Sandbox, what: dict[str, Any], skip: int
) -> None:
    archival_sandbox.fault(LOOKS[kind], times=7, skip=skip, **what)
    tries.run(**JOBS[kind])
    assert submitted(archival_sandbox) == 1


@pytest.mark.parametrize("skip", [0, 1], ids=["at first", "later"])
def test_in_a_wait_the_services_own_404_has_to_come_twice(
    kind: str, tries: Tries, archival_sandbox: Sandbox, skip: int
) -> None:
    archival_sandbox.fault(LOOKS[kind], status=404, skip=skip)
    tries.run(**JOBS[kind])
    archival_sandbox.reset()
    archival_sandbox.fault(LOOKS[kind], status=404, times=2, skip=skip)
    with pytest.raises(JobGone):
        tries.run(**JOBS[kind])


@pytest.mark.parametrize("status", [401, 403])
def test_a_job_that_was_seen_may_be_hidden_for_a_few_looks(
    kind: str, tries: Tries, archival_sandbox: Sandbox, status: int
) -> None:
    archival_sandbox.fault(LOOKS[kind], status=status, skip=1, times=4)
    tries.run(**JOBS[kind])
    assert submitted(archival_sandbox) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_job_that_was_seen_and_stays_hidden_ends_the_wait_after_a_minute(
    kind: str, tries: Tries, archival_sandbox: Sandbox, pauses: Pauses, status: int
) -> None:
    archival_sandbox.fault(LOOKS[kind], status=status, skip=1, times=None)
    with pytest.raises(WatchRefused, match=f"HTTP {status}"):
        tries.run(**JOBS[kind])
    assert 60 <= sum(pauses.asked) < 180


# --- a submit ---


@pytest.mark.parametrize("what", FOREIGN.values(), ids=FOREIGN)
def test_a_submit_is_in_doubt_and_never_made_beside_the_first_whether_that_took_effect_or_not(
    kind: str, tries: Tries, archival_sandbox: Sandbox, what: dict[str, Any], logged: list[str]
) -> None:
    path, method = SUBMITS[kind]
    for when in ("before", "after"):
        archival_sandbox.fault(path, method=method, when=when, **what)
        tries.run(**JOBS[kind])
        # Nobody can tell whose an export is that runs: this one is made after it, and that is told.
        is_second = kind == "export" and when == "after"
        assert submitted(archival_sandbox) == (2 if is_second else 1), when
        assert set(archival_sandbox.counters()["jobs_overlapped"].values()) == {1}
        if is_second:
            assert any("is perhaps a second one" in line for line in logged)
        archival_sandbox.reset()


# --- by key ---


@pytest.mark.parametrize(
    "what",
    [FOREIGN["page 400"], {"status": 400, "body": GATEWAYS_JSON}, {"status": 412, **PAGE}, {"status": 400}],
)
def test_by_key_a_page_is_no_report(context: Any, archival_sandbox: Sandbox, what: dict[str, Any]) -> None:
    def task() -> JiraArchiveIssuesOperator:
        return JiraArchiveIssuesOperator(
            task_id="keys", issue_ids_or_keys=["DEMO-4"], fail_on_partial_error=False
        )

    archival_sandbox.fault(ARCHIVE, times=2, **what)
    assert task().execute(context) == {"requested": 1, "archived": 1, "errors": {}}
    archival_sandbox.fault(ARCHIVE, times=None, **what)
    with pytest.raises(ServiceFault) as caught:
        task().execute(context)
    assert isinstance(caught.value.error, http.ForeignAnswer)
    assert not isinstance(caught.value, ServiceRefusal)


@pytest.mark.parametrize("status", [202, 204])
def test_by_key_an_answer_without_a_report_is_asked_for_again(
    context: Any, archival_sandbox: Sandbox, status: int
) -> None:
    archival_sandbox.fault(ARCHIVE, status=status)
    task = JiraArchiveIssuesOperator(task_id="keys", issue_ids_or_keys=["DEMO-4"])
    assert task.execute(context)["archived"] == 1


# --- counts, files, logins ---


def test_a_count_is_asked_for_again(tries: Tries, archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault(COUNT, times=4, **FOREIGN["page 400"])
    assert tries.run(**JOBS["archive"])["left"] == 0


@pytest.mark.parametrize("what", FOREIGN.values(), ids=FOREIGN)
def test_a_file_behind_an_edge_is_not_gone(
    tries: Tries, archival_sandbox: Sandbox, tmp_path: Path, what: dict[str, Any]
) -> None:
    job = {**JOBS["export"], "destination": str(tmp_path)}
    archival_sandbox.fault("*.csv", times=None, **what)
    with pytest.raises(ServiceFault) as caught:
        tries.run(**job)
    assert not isinstance(caught.value, ServiceRefusal)
    assert tries.store is not None
    assert STORE_KEY in tries.store.kept
    archival_sandbox.clear_faults()
    assert tries.run(**job)["files"][0]["rows"] is not None
    assert submitted(archival_sandbox) == 1


@pytest.mark.parametrize("conn_id", ["jira_cloud_oauth", "jira_cloud_bearer"])
def test_a_token_without_a_scope_for_names_is_enough_when_all_is_archived(
    tries: Tries, archival_sandbox: Sandbox, conn_id: str
) -> None:
    archival_sandbox.scope("read:jira-work write:jira-work")
    result = tries.run(**JOBS["archive"], jira_conn_id=conn_id)
    assert (result["left"], len(result["tasks"])) == (0, 1)
    assert tries.run(**JOBS["archive"], jira_conn_id=conn_id)["matched"] == 0


def test_a_login_that_failed_is_told_from_nothing_that_matches(
    tries: Tries, archival_sandbox: Sandbox, connections: Connections
) -> None:
    connections.change("jira_cloud_default", password="wrong")
    with pytest.raises(ServiceRefusal, match="HTTP 401"):
        tries.run(**JOBS["archive"])


def test_the_scope_that_is_missing_is_named(tries: Tries, archival_sandbox: Sandbox) -> None:
    archival_sandbox.scope("read:jira-work")
    with pytest.raises(ServiceRefusal, match=r"lacks a scope: this needs write:jira-work") as caught:
        tries.run(**JOBS["archive"], jira_conn_id="jira_cloud_bearer")
    assert "jira_cloud_bearer" in str(caught.value)


def test_a_page_where_tokens_come_from_is_a_fault_that_may_pass(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    archival_sandbox.fault("/oauth/token", times=2, **FOREIGN["page 403"])
    assert tries.run(**JOBS["archive"], jira_conn_id="jira_cloud_oauth")["left"] == 0
