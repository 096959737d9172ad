"""What a service asks for is waited for: deferred where that is long, never beyond the task's own time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tries import Killed

from airflow_provider_archival.exceptions import JobTimeout, ServiceFault
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY, PROJECTS_WITH_CLOSED_POOLS
from airflow_provider_archival.triggers.base import PauseTrigger

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Deferrals, Pauses
    from tests.unit.tries import Tries

pytestmark = pytest.mark.usefixtures("connections", "pauses")

ARCHIVE, COUNT, TASK = "/rest/api/3/issue/archive", "*/approximate-count", "/rest/api/3/task/*"
QUOTA = {"RateLimit-Reason": "jira-quota-tenant-based", "Retry-After": "1847"}
JOBS: dict[str, dict[str, Any]] = {
    "archive": {"operator": JiraArchiveIssuesByJqlOperator, "jql": "project = DEMO"},
    "export": {"operator": JiraExportArchivedIssuesOperator},
    "project": {"operator": TolokaArchiveProjectOperator, "project_id": PROJECT_READY},
}
SUBMITS = {
    "archive": (ARCHIVE, "POST"),
    "export": ("/rest/api/3/issues/archive/export", "PUT"),
    "project": ("/api/v1/projects/*/archive", "POST"),
}


@pytest.fixture(params=JOBS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def submitted(sandbox: Sandbox) -> int:
    return sum(sandbox.counters()["jobs_submitted"].values())


def of_pauses(deferrals: Deferrals) -> list[PauseTrigger]:
    return [one.trigger for one in deferrals.seen if isinstance(one.trigger, PauseTrigger)]


@pytest.mark.parametrize("status", [429, 503])
def test_a_submit_waits_as_long_as_it_is_asked_to(
    kind: str, tries: Tries, archival_sandbox: Sandbox, pauses: Pauses, deferrals: Deferrals, status: int
) -> None:
    path, method = SUBMITS[kind]
    archival_sandbox.fault(path, method=method, times=3, status=status, headers={"Retry-After": "3600"})
    begun = archival_sandbox.now()
    tries.run(**JOBS[kind], timeout=24 * 60 * 60)
    assert submitted(archival_sandbox) == 1
    assert len(archival_sandbox.requests(path, method)) == 4
    assert archival_sandbox.now() - begun >= 3 * 3600
    # A worker is held for none of it where the task can be deferred.
    assert len(of_pauses(deferrals)) == (3 if tries._deferrable else 0)


def test_a_short_pause_is_not_worth_a_deferral(
    kind: str, tries: Tries, archival_sandbox: Sandbox, deferrals: Deferrals
) -> None:
    path, method = SUBMITS[kind]
    archival_sandbox.fault(path, method=method, times=2, status=429, headers={"Retry-After": "20"})
    tries.run(**JOBS[kind])
    assert submitted(archival_sandbox) == 1
    assert of_pauses(deferrals) == []


def test_no_pause_outlasts_the_timeout(
    kind: str, tries: Tries, archival_sandbox: Sandbox, pauses: Pauses, deferrals: Deferrals
) -> None:
    path, method = SUBMITS[kind]
    archival_sandbox.fault(path, method=method, times=None, status=429, headers={"Retry-After": "3600"})
    with pytest.raises(JobTimeout, match=r"asked for a pause that outlasts the timeout of 100 s.*HTTP 429"):
        tries.run(**JOBS[kind], timeout=100)
    assert sum(pauses.asked) == pytest.approx(100, abs=1)
    assert len(archival_sandbox.requests(path, method)) == 1
    assert len(of_pauses(deferrals)) == (1 if tries._deferrable else 0)
    # The next try does it.
    archival_sandbox.clear_faults()
    tries.run(**JOBS[kind])
    assert submitted(archival_sandbox) == 1


def test_no_deferred_pause_outlasts_the_execution_timeout(
    kind: str, tries: Tries, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    if not tries._deferrable:
        # In the worker Airflow itself ends it.
        return
    path, method = SUBMITS[kind]
    archival_sandbox.fault(path, method=method, times=None, status=429, headers={"Retry-After": "3600"})
    with pytest.raises(JobTimeout, match=r"outlasts the execution_timeout of 90 s"):
        tries.run(**JOBS[kind], timeout=1000, execution_timeout=timedelta(seconds=90))
    assert sum(pauses.asked) == pytest.approx(90, abs=1)


@pytest.mark.parametrize(
    ("path", "skip"),
    [(COUNT, 0), (COUNT, 1), (ARCHIVE, 0), (TASK, 0), (TASK, 2), (COUNT, 2)],
    ids=["plan", "window", "submit", "first look", "later look", "what is left"],
)
def test_a_quota_costs_no_try_wherever_it_is_met(
    tries: Tries, archival_sandbox: Sandbox, deferrals: Deferrals, logged: list[str], path: str, skip: int
) -> None:
    archival_sandbox.fault(path, status=429, headers=QUOTA, skip=skip)
    begun = archival_sandbox.now()
    result = tries.run(**JOBS["archive"], timeout=24 * 60 * 60)
    assert (submitted(archival_sandbox), len(result["tasks"]), result["left"]) == (1, 1, 0)
    assert archival_sandbox.now() - begun >= 1847
    assert len([line for line in logged if "everything on this connection pauses" in line]) == 1
    if path != TASK and tries._deferrable:
        assert len(of_pauses(deferrals)) == 1


def test_a_quota_in_the_first_look_of_a_retry_is_waited_for(
    kind: str, tries: Tries, archival_sandbox: Sandbox, pauses: Pauses, deferrals: Deferrals
) -> None:
    def kill() -> None:
        raise Killed

    pauses.before = kill
    with pytest.raises(Killed):
        tries.run(**JOBS[kind])
    pauses.before = None
    look = "/api/v1/operations/*" if kind == "project" else TASK
    archival_sandbox.fault(look, status=429, headers={"Retry-After": "1847"})
    begun = archival_sandbox.now()
    tries.run(**JOBS[kind], timeout=24 * 60 * 60)
    assert submitted(archival_sandbox) == 1
    assert archival_sandbox.now() - begun >= 1847
    assert len(of_pauses(deferrals)) == (1 if tries._deferrable else 0)


def test_a_quota_at_the_file_is_waited_for(
    tries: Tries, archival_sandbox: Sandbox, tmp_path: Path, deferrals: Deferrals
) -> None:
    archival_sandbox.fault("*.csv", status=429, headers={"Retry-After": "1847"})
    begun = archival_sandbox.now()
    result = tries.run(**JOBS["export"], destination=str(tmp_path), timeout=24 * 60 * 60)
    assert result["files"][0]["path"]
    assert submitted(archival_sandbox) == 1
    assert archival_sandbox.now() - begun >= 1847


@pytest.mark.parametrize(("interval", "seconds"), [("MIN", 60), ("HOUR", 3600)])
def test_tolokas_interval_is_waited_for_between_two_of_many_starts(
    tries: Tries, archival_sandbox: Sandbox, deferrals: Deferrals, interval: str, seconds: float
) -> None:
    said = {"code": "TOO_MANY_REQUESTS", "message": "Too many.", "payload": {"interval": interval}}
    archival_sandbox.fault("/api/v1/pools/*/archive", skip=1, status=429, body=said)
    begun = archival_sandbox.now()
    result = tries.run(
        operator=TolokaArchiveProjectOperator,
        project_id=PROJECTS_WITH_CLOSED_POOLS[0],
        archive_pools=True,
        timeout=24 * 60 * 60,
    )
    assert [pool["status"] for pool in result["pools"]] == ["SUCCESS", "SUCCESS"]
    assert archival_sandbox.counters()["jobs_submitted"]["POOL.ARCHIVE"] == 2
    assert archival_sandbox.now() - begun >= seconds


def test_by_key_a_quota_costs_no_attempt(context: Any, archival_sandbox: Sandbox, pauses: Pauses) -> None:
    archival_sandbox.fault(ARCHIVE, times=9, status=429, headers={"Retry-After": "1847"})
    task = JiraArchiveIssuesOperator(task_id="keys", issue_ids_or_keys=["DEMO-4"])
    assert task.execute(context)["archived"] == 1
    assert pauses.asked == [1847] * 9


def test_no_look_for_a_lost_job_outlasts_the_timeout(
    tries: Tries, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    """Toloka's operations may appear late, so they are looked for again and again."""
    path, method = SUBMITS["project"]
    archival_sandbox.fault(path, method=method, status=502, times=None)
    with pytest.raises((ServiceFault, JobTimeout)):
        tries.run(**JOBS["project"], timeout=8)
    assert sum(pauses.asked) <= 8.5


# --- another job in the way ---


def test_a_412_that_names_a_task_that_is_over_costs_a_growing_pause(
    tries: Tries, archival_sandbox: Sandbox, pauses: Pauses, logged: list[str]
) -> None:
    tries.run(**JOBS["archive"])
    over = archival_sandbox.jobs()[0]["id"]
    said = f"An issue archival task is already running with ID {over}."
    body = {"errorMessages": [said], "errors": {}}
    archival_sandbox.fault(ARCHIVE, method="POST", status=412, body=body, times=6)
    pauses.asked.clear()
    tries.run(
        operator=JiraArchiveIssuesByJqlOperator,
        jql="project = WEB AND issuetype in standardIssueTypes()",
        poll_interval=30,
    )
    assert archival_sandbox.counters()["jobs_submitted"]["archive"] == 2
    growing = [pause for pause in pauses.asked if pause >= 4]
    assert growing[:4] == [4, 8, 16, 30]
    assert any("again, though it was waited for" in line for line in logged)


def test_a_412_that_never_ends_is_a_timeout_after_few_submits(
    tries: Tries, archival_sandbox: Sandbox, pauses: Pauses
) -> None:
    tries.run(**JOBS["archive"])
    over = archival_sandbox.jobs()[0]["id"]
    said = f"An issue archival task is already running with ID {over}."
    archival_sandbox.fault(
        ARCHIVE, method="POST", status=412, body={"errorMessages": [said], "errors": {}}, times=None
    )
    with pytest.raises(JobTimeout, match="was in the way all the time"):
        tries.run(
            operator=JiraArchiveIssuesByJqlOperator,
            jql="project = WEB AND issuetype in standardIssueTypes()",
            poll_interval=30,
            timeout=600,
        )
    assert len(archival_sandbox.requests(ARCHIVE, "POST")) < 30
