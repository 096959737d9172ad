"""A service's limits are kept: pauses in full, everything or one endpoint, one line in the log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_archival.api import http, jira, toloka
from airflow_provider_archival.exceptions import ServiceFault
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY
from airflow_provider_archival.triggers.jira import JiraTaskTrigger

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Carrier, Pauses

TASK = "/rest/api/3/task/*"
COUNT = "/rest/api/3/search/approximate-count"
QUOTA: dict[str, Any] = {
    "status": 429,
    "headers": {"RateLimit-Reason": "jira-quota-tenant-based", "Retry-After": "1847"},
}
BURST: dict[str, Any] = {
    "status": 429,
    "headers": {"RateLimit-Reason": "jira-burst-based", "Retry-After": "3"},
}

pytestmark = pytest.mark.usefixtures("connections")


def of_quotas(logged: list[str]) -> list[str]:
    return [line for line in logged if "jira-quota" in line]


def test_a_pause_is_made_in_full_and_knocks_no_sooner(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault(COUNT, status=429, headers={"Retry-After": "1800"})
    assert carry(JiraCloudHook(), jira.count_issues("key = DEMO-4")) == 1
    assert pauses.asked == [1800]
    assert len(archival_sandbox.requests(COUNT)) == 2


def test_with_a_deadline_pauses_cost_no_attempt(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault(COUNT, times=12, status=429, headers={"Retry-After": "600"})
    hook = JiraCloudHook()
    hook.deadline = archival_sandbox.now() + 24 * 60 * 60
    assert carry(hook, jira.count_issues("key = DEMO-4")) == 1
    assert sum(pauses.asked) == 12 * 600


def test_a_pause_ends_at_the_deadline_and_nothing_is_sent_after_it(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault(COUNT, times=None, status=429, headers={"Retry-After": "3600"})
    hook = JiraCloudHook()
    hook.deadline = archival_sandbox.now() + 8
    with pytest.raises(ServiceFault, match="HTTP 429"):
        carry(hook, jira.count_issues("key = DEMO-4"))
    assert sum(pauses.asked) == pytest.approx(8, abs=0.5)
    assert len(archival_sandbox.requests(COUNT)) == 1


def test_a_pause_that_is_too_long_to_be_held_is_the_callers(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault(COUNT, status=429, headers={"Retry-After": "31"})
    hook = JiraCloudHook()
    hook.patience = 30
    with pytest.raises(ServiceFault) as caught:
        carry(hook, jira.count_issues("key = DEMO-4"))
    assert caught.value.error.retry_after == 31
    assert pauses.asked == []


def test_a_quota_that_is_used_up_pauses_everything_on_its_connection(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier, logged: list[str]
) -> None:
    archival_sandbox.fault(COUNT, **QUOTA)
    with pytest.raises(ServiceFault):
        carry(JiraCloudHook(), jira.count_issues("key = DEMO-4"), attempts=1)
    before = len(archival_sandbox.requests())
    # Another hook in the same process, another endpoint.
    with pytest.raises(ServiceFault, match="not sent: jira-quota-tenant-based holds until") as caught:
        carry(JiraCloudHook(), jira.myself(), attempts=1)
    assert isinstance(caught.value.error, http.TooManyRequests)
    assert caught.value.error.surely_undone
    assert 1800 < (caught.value.error.retry_after or 0) <= 1847
    assert len(archival_sandbox.requests()) == before
    # Another connection goes on.
    assert carry(JiraCloudHook("jira_cloud_bearer"), jira.is_admin(), attempts=1) is True
    assert carry(JiraCloudHook(), jira.myself()) == "Alex Admin"
    assert sum(pauses.asked) == pytest.approx(1847, abs=1)
    assert len(of_quotas(logged)) == 1
    assert "everything on this connection pauses until" in of_quotas(logged)[0]


def test_a_quotas_hour_without_a_word_of_its_end_ends_with_the_hour(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.limit(quota=1, retry_after=False, reset="past", header="none")
    hook = JiraCloudHook()
    assert carry(hook, jira.myself()) == "Alex Admin"
    begun = archival_sandbox.now()
    assert carry(hook, jira.myself()) == "Alex Admin"
    assert archival_sandbox.now() // 3600 == begun // 3600 + 1
    # One knock that was refused, one that was not.
    assert len(archival_sandbox.requests()) == 3


def test_a_burst_slows_its_own_endpoint_only(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault(COUNT, **BURST)
    hook = JiraCloudHook()
    with pytest.raises(ServiceFault):
        carry(hook, jira.count_issues("key = DEMO-4"), attempts=1)
    assert carry(hook, jira.myself(), attempts=1) == "Alex Admin"
    assert pauses.asked == []
    with pytest.raises(ServiceFault, match="not sent: jira-burst-based"):
        carry(hook, jira.count_issues("key = DEMO-5"), attempts=1)
    assert carry(hook, jira.count_issues("key = DEMO-4")) == 1
    assert 3 <= sum(pauses.asked) < 6
    paused = len(pauses.asked)
    for _ in range(3):
        carry(hook, jira.count_issues("key = DEMO-4"))
    assert len(pauses.asked) > paused
    assert all(0 < pause <= 0.02 for pause in pauses.asked[paused:])
    for _ in range(100):
        carry(hook, jira.count_issues("key = DEMO-4"))
    paused = len(pauses.asked)
    carry(hook, jira.count_issues("key = DEMO-4"))
    assert len(pauses.asked) == paused, "it is as fast as ever again"


@pytest.mark.parametrize(("interval", "seconds"), [("MIN", 60), ("HOUR", 3600)])
def test_tolokas_interval_is_waited_for(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier, interval: str, seconds: float
) -> None:
    said = {"code": "TOO_MANY_REQUESTS", "message": "Too many.", "payload": {"interval": interval}}
    archival_sandbox.fault("/api/v1/projects/*", status=429, body=said)
    assert carry(TolokaHook(), toloka.get_project(PROJECT_READY)).id == PROJECT_READY
    assert sum(pauses.asked) == pytest.approx(seconds, abs=2)
    assert len(archival_sandbox.requests("/api/v1/projects/*")) == 2


def test_many_waits_meet_a_quota_with_one_line_and_one_knock(
    archival_sandbox: Sandbox, pauses: Pauses, logged: list[str]
) -> None:
    task_id = JiraCloudHook().archive_issues_by_jql("key = DEMO-4")
    archival_sandbox.job(task_id, "freeze")
    pauses.before = lambda: archival_sandbox.job(task_id)["ended"] or archival_sandbox.job(task_id, "finish")
    archival_sandbox.fault(TASK, **QUOTA)

    async def watch_all() -> list[str]:
        async def watch() -> str:
            trigger = JiraTaskTrigger(task_id, "jira_cloud_default", 30, archival_sandbox.now() + 86400)
            (outcome,) = [event.payload["outcome"] async for event in trigger.run()]
            return str(outcome)

        return await asyncio.gather(*(watch() for _ in range(20)))

    assert set(asyncio.run(watch_all())) == {"ended"}
    assert len(of_quotas(logged)) == 1
    assert not any("could not look" in line or "answers again" in line for line in logged)
    refused = [entry for entry in archival_sandbox.requests(TASK) if entry["status"] == 429]
    assert len(refused) == 1


def test_a_cancel_is_not_held_up_by_a_limit(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier
) -> None:
    task_id = JiraCloudHook().archive_issues_by_jql("key = DEMO-4")
    archival_sandbox.fault(TASK, **QUOTA)
    with pytest.raises(ServiceFault):
        carry(JiraCloudHook(), jira.get_task(task_id), attempts=1)
    carry(JiraCloudHook(), jira.cancel_task(task_id), attempts=1)
    assert len(archival_sandbox.requests("*/cancel", "POST")) == 1


def test_a_cancel_that_is_refused_for_an_hour_does_not_hold_a_kill_for_an_hour(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault("*/cancel", **QUOTA)
    with pytest.raises(ServiceFault, match="HTTP 429"):
        carry(JiraCloudHook(), jira.cancel_task("10101"))
    assert pauses.asked == []


def test_a_limit_that_is_nearly_used_up_is_warned_of_once(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier, logged: list[str]
) -> None:
    archival_sandbox.limit(quota=10)
    hook = JiraCloudHook()
    for _ in range(7):
        carry(hook, jira.myself())
    assert not any("is left" in line for line in logged)
    for _ in range(3):
        carry(hook, jira.myself())
    assert len([line for line in logged if "or less of this connection's" in line and "is left" in line]) == 1


def test_no_single_answer_closes_a_connection_for_ever(
    archival_sandbox: Sandbox, pauses: Pauses, carry: Carrier
) -> None:
    headers = {**QUOTA["headers"], "Retry-After": "99999999999999999999"}
    archival_sandbox.fault(COUNT, status=429, headers=headers)
    hook = JiraCloudHook()
    with pytest.raises(ServiceFault):
        carry(hook, jira.count_issues("key = DEMO-4"), attempts=1)
    with pytest.raises(ServiceFault, match="not sent") as caught:
        carry(hook, jira.myself(), attempts=1)
    assert (caught.value.error.retry_after or 0) <= 24 * 60 * 60
