"""Absurd words and numbers of a service's: once the work is done, they get through to XCom and the store."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from fits import check_fits
from tries import Store, Tries

from airflow_provider_archival.api import jira
from airflow_provider_archival.exceptions import (
    CountsDoNotAddUp,
    JiraPartialError,
    JiraTaskFailed,
    JobError,
    ServiceFault,
    TolokaOperationFailed,
)
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator
from airflow_provider_archival.plans.windows import most_windows
from airflow_provider_archival.sandbox.toloka_store import PROJECTS_WITH_CLOSED_POOLS
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Connections, Deferrals, Loopback, Received, TaskInstance

ARCHIVE, EXPORT = "/rest/api/3/issue/archive", "/rest/api/3/issues/archive/export"
COUNT = "/rest/api/3/search/approximate-count"
ID = "18446744073709551616"
"""More than 64 bits hold, as a number in JSON."""
BIG = rf'{{"\ud83d": "cut \ud83d", "\u0000": [{ID}, 1e999, NaN], "text": "{"x" * 100_000}"}}'
"""An emoji that was cut in two, a NUL, numbers that are none, and a long text."""
TASK = (
    rf'"id": {ID}, "message": "cut \ud83d", "description": "\u0000", "result": {BIG}, "progress": NaN,'
    rf' "elapsedRuntime": {ID}, "submitted": {ID}, "started": 1e999, "finished": "\ud83d"'
)
OPERATION = (
    rf'"id": {ID}, "type": "POOL.\ud83d", "parameters": {{"pool_id": {ID}, "more": {BIG}}}, "details": {BIG},'
    rf' "progress": 1e999, "submitted": {ID}, "started": NaN, "finished": "\ud83d"'
)

pytestmark = pytest.mark.usefixtures("connections", "pauses")


class StrictStore(Store):
    """A store that takes only what Airflow's takes."""

    def set(self, key: str, value: Any) -> None:
        check_fits(value)
        super().set(key, value)


@pytest.fixture
def store() -> Store:
    return StrictStore()


@pytest.fixture
def ti(ti: TaskInstance, monkeypatch: pytest.MonkeyPatch) -> TaskInstance:
    """The task instance, whose XComs take only what Airflow's take."""
    push = ti.xcom_push

    def strict(key: str, value: Any) -> None:
        check_fits(value)
        push(key, value)

    monkeypatch.setattr(ti, "xcom_push", strict)
    return ti


@pytest.fixture
def deferrals(deferrals: Deferrals, monkeypatch: pytest.MonkeyPatch) -> Deferrals:
    """A triggerer whose rows and events take only what Airflow's take."""
    event_of = deferrals.event_of

    def strict(trigger: Any) -> Any:
        check_fits(trigger.serialize()[1])
        event = event_of(trigger)
        check_fits(event)
        return event

    monkeypatch.setattr(deferrals, "event_of", strict)
    return deferrals


@pytest.fixture
def absurd_task(archival_sandbox: Sandbox) -> Callable[[str], None]:
    """Let Jira's task come to a status, after a look in which it had one that is absurd."""

    def becomes(status: str) -> None:
        path = f"/rest/api/3/task/{ID}"
        running = rf'{{{TASK}, "status": "\ud83d{"s" * 10_000}"}}'
        archival_sandbox.fault(path, method="GET", status=200, body=running)
        archival_sandbox.fault(
            path, method="GET", status=200, body=f'{{{TASK}, "status": "{status}"}}', times=None
        )

    return becomes


@pytest.fixture
def absurd_operation(archival_sandbox: Sandbox) -> Callable[[str], None]:
    """The same for Toloka's operation."""

    def becomes(status: str) -> None:
        path = f"/api/v1/operations/{ID}"
        running = rf'{{{OPERATION}, "status": "\ud83d{"s" * 10_000}"}}'
        archival_sandbox.fault(path, status=200, body=running)
        archival_sandbox.fault(path, status=200, body=f'{{{OPERATION}, "status": "{status}"}}', times=None)

    return becomes


def check_failure(error: JobError) -> None:
    check_fits(error.job)
    assert "cut \ufffd" in str(error)
    assert len(str(error)) < 2_000


# --- Jira's tasks ---


def test_an_archive_by_jql_takes_its_result_whatever_jira_says(
    tries: Tries, archival_sandbox: Sandbox, ti: TaskInstance, absurd_task: Callable[[str], None]
) -> None:
    archival_sandbox.fault(ARCHIVE, method="POST", status=202, body=ID)
    absurd_task("COMPLETE")
    result = tries.run(JiraArchiveIssuesByJqlOperator, jql="key = DEMO-4")
    check_fits(result)
    (task,) = result["tasks"]
    assert (task["task_id"], task["status"], task["message"]) == (ID, "COMPLETE", "cut \ufffd")
    assert task["result"]["\ufffd"] == [ID, None, None]
    assert task["result"]["text"].endswith("…")
    assert ti.xcoms["jira_task_id"] == ID
    assert tries.store is not None
    assert tries.store.kept == {}


def test_an_archive_that_failed_says_so_whatever_jira_says(
    tries: Tries, archival_sandbox: Sandbox, absurd_task: Callable[[str], None]
) -> None:
    archival_sandbox.fault(ARCHIVE, method="POST", status=202, body=rf'{{"taskId": {ID}, "x": "\ud83d"}}')
    absurd_task("FAILED")
    with pytest.raises(JiraTaskFailed) as caught:
        tries.run(JiraArchiveIssuesByJqlOperator, jql="key = DEMO-4")
    check_failure(caught.value)


def test_an_export_takes_its_result_whatever_jira_says(
    tries: Tries, archival_sandbox: Sandbox, ti: TaskInstance, absurd_task: Callable[[str], None]
) -> None:
    said = (
        rf'{{"taskId": {ID}, "status": "\ud83d", "submittedTime": 1e999, "fileUrl": "https://x.com/\ud83d"}}'
    )
    archival_sandbox.fault(EXPORT, method="PUT", status=202, body=said)
    absurd_task("COMPLETE")
    result = tries.run(JiraExportArchivedIssuesOperator)
    check_fits(result)
    assert [task["task_id"] for task in result["tasks"]] == [ID] == [ti.xcoms["jira_task_id"]]
    assert result["files"] == []


@pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferrable"])
@pytest.mark.parametrize("kind", ["task", "operation"])
def test_a_sensor_takes_its_result_whatever_the_service_says(
    deferrals: Deferrals,
    context: Any,
    absurd_task: Callable[[str], None],
    absurd_operation: Callable[[str], None],
    deferrable: bool,
    kind: str,
) -> None:
    how = {"task_id": "wait", "deferrable": deferrable, "poke_interval": 1}
    if kind == "task":
        absurd_task("COMPLETE")
        result = deferrals.run(JiraTaskSensor(jira_task_id=ID, **how), context)
    else:
        absurd_operation("SUCCESS")
        result = deferrals.run(TolokaOperationSensor(operation_id=ID, **how), context)
    result = getattr(result, "xcom_value", result)
    check_fits(result)
    assert result["status"] in ("COMPLETE", "SUCCESS")


# --- archiving by key ---

REPORT = (
    rf'{{"numberOfIssuesUpdated": 1, "errors": {{"\ud83d": {{"count": 2, "message": "cut \ud83d",'
    rf' "issueIdsOrKeys": [{ID}, "A\u0000"]}}}}}}'
)


@pytest.mark.parametrize("fails", [False, True])
def test_a_report_gets_through_whatever_jira_says(
    archival_sandbox: Sandbox,
    ti: TaskInstance,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    fails: bool,
) -> None:
    monkeypatch.setattr(jira, "MAX_KEYS_PER_REQUEST", 1)
    archival_sandbox.fault(ARCHIVE, method="PUT", status=200, body=REPORT, times=None)
    task = JiraArchiveIssuesOperator(
        task_id="archive", issue_ids_or_keys="DEMO-4 DEMO-5", fail_on_partial_error=fails
    )
    context = {"ti": ti, "task_state_store": store}
    if fails:
        with pytest.raises(JiraPartialError) as caught:
            task.execute(context)
        assert "cut \ufffd" in str(caught.value)
        result = caught.value.report
        assert ti.xcoms["report"] == result
    else:
        result = task.execute(context)
    check_fits(result)
    assert result["archived"] == 2
    (error,) = result["errors"].values()
    assert error == {"count": 4, "message": "cut \ufffd", "issue_ids_or_keys": [ID, "A\ufffd"] * 2}
    assert store.history
    assert store.kept == {}


@pytest.mark.parametrize(
    "said",
    [
        {"status": 202, "body": '"https://x/rest/api/3/task/1"'},
        {"status": 202, "body": "empty"},
        {"status": 204},
    ],
    ids=str,
)
def test_an_answer_that_is_no_report_is_asked_for_again(
    archival_sandbox: Sandbox, context: Any, said: dict[str, Any]
) -> None:
    archival_sandbox.fault(ARCHIVE, method="PUT", **said)
    task = JiraArchiveIssuesOperator(task_id="archive", issue_ids_or_keys="DEMO-4")
    assert task.execute(context)["archived"] >= 1
    assert len(archival_sandbox.requests(ARCHIVE)) == 2


def test_an_answer_that_stays_none_is_a_fault_and_no_report_of_refusals(
    archival_sandbox: Sandbox, ti: TaskInstance, context: Any
) -> None:
    archival_sandbox.fault(ARCHIVE, method="PUT", status=204, times=None)
    task = JiraArchiveIssuesOperator(
        task_id="archive", issue_ids_or_keys="DEMO-4", fail_on_partial_error=False
    )
    with pytest.raises(ServiceFault, match="unreadable answer"):
        task.execute(context)
    assert ti.xcoms == {}


# --- Toloka's operations ---


def closed_pool(sandbox: Sandbox) -> str:
    return str(sandbox.add_toloka_project(pools=1, status="CLOSED")["pools"][0])


def test_a_pools_archive_takes_its_result_whatever_toloka_says(
    tries: Tries, archival_sandbox: Sandbox, ti: TaskInstance, absurd_operation: Callable[[str], None]
) -> None:
    archival_sandbox.fault(
        "/api/v1/pools/*/archive", status=202, body=rf'{{{OPERATION}, "status": "\ud83d{"s" * 10_000}"}}'
    )
    absurd_operation("SUCCESS")
    result = tries.run(TolokaArchivePoolOperator, pool_id=closed_pool(archival_sandbox))
    check_fits(result)
    assert (result["operation_id"], result["status"]) == (ID, "SUCCESS")
    assert ti.xcoms["operation_id"] == ID


@pytest.mark.parametrize("parameters", ['["1"]', '"1"', "1", "null"])
def test_an_operation_whose_parameters_are_no_object_is_waited_for(
    tries: Tries, archival_sandbox: Sandbox, parameters: str
) -> None:
    said = f'{{"id": "1", "type": "POOL.ARCHIVE", "parameters": {parameters}, "status": '
    archival_sandbox.fault("/api/v1/pools/*/archive", status=202, body=said + '"RUNNING"}')
    archival_sandbox.fault("/api/v1/operations/1", status=200, body=said + '"SUCCESS"}')
    result = tries.run(TolokaArchivePoolOperator, pool_id=closed_pool(archival_sandbox))
    assert result["status"] == "SUCCESS"


def test_an_operation_that_failed_says_so_whatever_toloka_says(
    tries: Tries, archival_sandbox: Sandbox, absurd_operation: Callable[[str], None]
) -> None:
    archival_sandbox.fault(
        "/api/v1/pools/*/archive", status=202, body=f'{{{OPERATION}, "status": "RUNNING"}}'
    )
    absurd_operation("FAIL")
    with pytest.raises(TolokaOperationFailed) as caught:
        tries.run(TolokaArchivePoolOperator, pool_id=closed_pool(archival_sandbox))
    check_fits(caught.value.job)
    assert "\ufffd" in str(caught.value)
    assert len(str(caught.value)) < 10_000


def test_many_operations_that_failed_say_so_whatever_toloka_says(
    tries: Tries, archival_sandbox: Sandbox
) -> None:
    project = archival_sandbox.add_toloka_project(pools=3, status="CLOSED")
    failed = ", ".join(
        rf'{{"id": "of-{id}", "type": "POOL.ARCHIVE", "status": "FAIL", "parameters": {{"pool_id": {id}}},'
        rf' "details": {BIG}}}'
        for id in project["pools"]
    )
    archival_sandbox.fault(
        "/api/v1/operations",
        status=200,
        skip=3,
        times=None,
        body=f'{{"has_more": false, "items": [{failed}]}}',
    )
    with pytest.raises(TolokaOperationFailed) as caught:
        tries.run(TolokaArchiveProjectOperator, project_id=project["id"], archive_pools=True)
    check_fits(caught.value.job)
    assert len(caught.value.job["failed"]) == 3
    assert len(str(caught.value)) < 2_000


def test_a_list_that_can_have_no_end_archives_nothing(tries: Tries, archival_sandbox: Sandbox) -> None:
    id = PROJECTS_WITH_CLOSED_POOLS[0]
    archival_sandbox.fault("/api/v1/pools", status=200, body={"items": [], "has_more": True}, times=None)
    with pytest.raises(ServiceFault, match="an empty page that says there are more"):
        tries.run(TolokaArchiveProjectOperator, project_id=id, archive_pools=True)
    assert archival_sandbox.requests(method="POST") == []


# --- counts ---


def test_a_count_that_never_falls_fails_and_archives_nothing(tries: Tries, archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault(COUNT, status=200, body={"count": 200_000}, times=None)
    with pytest.raises(
        CountsDoNotAddUp, match="Jira's counts of the windows do not add up: of 200000"
    ) as caught:
        tries.run(JiraArchiveIssuesByJqlOperator, jql="project = DEMO")
    assert "project = DEMO" in str(caught.value)
    assert archival_sandbox.requests(ARCHIVE) == []
    assert len(archival_sandbox.requests(COUNT)) <= 60 * (200_000 // 90_000 + 2) + 1


@pytest.mark.parametrize("count", ["-1", ID, "NaN", "1e999", "null", '"many"', "true"])
def test_a_count_that_cannot_be_believed_archives_nothing(
    tries: Tries, archival_sandbox: Sandbox, count: str
) -> None:
    archival_sandbox.fault(COUNT, status=200, body=f'{{"count": {count}}}', times=None)
    with pytest.raises(ServiceFault, match="no count that can be believed"):
        tries.run(JiraArchiveIssuesByJqlOperator, jql="project = DEMO")
    assert archival_sandbox.requests(ARCHIVE) == []


@pytest.fixture
def site(loopback: Callable[..., Loopback], connections: Connections) -> Callable[..., Loopback]:
    """A Jira whose counts are a function's, and whose tasks end well at once."""

    def start(count: Callable[[str], int]) -> Loopback:
        def answer(received: Received) -> tuple[int, dict[str, str], bytes]:
            if received.path == COUNT:
                return 200, {}, json.dumps({"count": count(json.loads(received.body)["jql"])}).encode()
            if received.path == ARCHIVE:
                return 202, {}, str(len(server.received)).encode()
            if received.path.startswith("/rest/api/3/task/"):
                id = received.path.rpartition("/")[2]
                return 200, {}, json.dumps({"id": id, "status": "COMPLETE"}).encode()
            return 200, {}, b'{"accountId": "1"}'

        server = loopback(answer)
        connections.change("jira_cloud_default", host=server.url, extra={"allow_http": True})
        return server

    return start


def posts(server: Loopback) -> int:
    return sum(received.path == ARCHIVE for received in server.received)


@pytest.mark.parametrize("deferrable", [False])
def test_counts_that_rise_whenever_they_are_asked_for_again_come_to_an_end(
    tries: Tries, site: Callable[..., Loopback]
) -> None:
    asked: set[str] = set()

    def count(jql: str) -> int:
        """Say that a window is not too full, and that it is when it is its turn."""
        is_first = "created" in jql and jql not in asked
        asked.add(jql)
        return 80_000 if is_first else 200_000

    server = site(count)
    with pytest.raises(CountsDoNotAddUp, match="windows some are too full"):
        tries.run(JiraArchiveIssuesByJqlOperator, jql="project = DEMO")
    assert posts(server) <= most_windows(200_000, 100_000)


@pytest.mark.parametrize("deferrable", [False])
def test_a_count_that_falls_by_one_with_each_task_comes_to_an_end(
    tries: Tries, site: Callable[..., Loopback], logged: list[str]
) -> None:
    def count(jql: str) -> int:
        ends = dict(re.findall(r'created (>=|<) "([^"]+)"', jql))
        is_in = ends.get(">=", "") <= "2020-01-01 12:00" < ends.get("<", "9")
        return 200 - posts(server) if is_in else 0

    server = site(count)
    result = tries.run(JiraArchiveIssuesByJqlOperator, jql="project = DEMO", issues_per_task=100)
    assert posts(server) == 2 * (200 // 100) + 10
    assert result["left"] == 200 - posts(server)
    assert any("still match" in line for line in logged)
