"""Archiving by JQL and exporting: submitted once, waited for in each way, and how each ends."""

from __future__ import annotations

import csv
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
import time_machine
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from said import refusal
from tries import unpacked

from airflow_provider_archival.exceptions import (
    BadInput,
    ConnectionNotUsable,
    FileNotAvailable,
    JiraTaskCancelled,
    JiraTaskDead,
    JiraTaskFailed,
    JobGone,
    JobTimeout,
    ServiceFault,
    ServiceRefusal,
    TooManyIssues,
    WatchRefused,
)
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.triggers.jira import JiraTaskTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Connections, Deferrals, Loopback, Pauses, TaskInstance

ARCHIVE, EXPORT, COUNT = (
    "/rest/api/3/issue/archive",
    "/rest/api/3/issues/archive/export",
    "*/approximate-count",
)
TASK = "/rest/api/3/task/*"
BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferrable"])


def by_jql(jql: Any = "key = DEMO-4", **more: Any) -> JiraArchiveIssuesByJqlOperator:
    return JiraArchiveIssuesByJqlOperator(task_id="archive", jql=jql, **more)


def export(**more: Any) -> JiraExportArchivedIssuesOperator:
    return JiraExportArchivedIssuesOperator(task_id="export", **more)


@pytest.fixture(params=["archive", "export"])
def operator(request: pytest.FixtureRequest, connections: Connections) -> Callable[..., Any]:
    """Make an operator that starts a Jira task: each test runs for both kinds."""
    return {"archive": by_jql, "export": export}[request.param]


# --- archiving by JQL: the value ---


@BOTH_WAYS
def test_issues_are_archived_by_jql(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    ti: TaskInstance,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    result = deferrals.run(by_jql(" project = DEMO AND key != DEMO-5\n", deferrable=deferrable), context)
    assert result["jql"] == "project = DEMO AND key != DEMO-5"
    assert result["matched"] == 4
    (task,) = result["tasks"]
    assert task["task_id"] == archival_sandbox.jobs()[0]["id"] == ti.xcoms["jira_task_id"]
    assert (task["status"], task["progress"]) == ("COMPLETE", 100)
    assert json.loads(json.dumps(result)) == result
    assert archival_sandbox.counters()["jobs_submitted"] == {"archive": 1}
    assert archival_sandbox.count("project = DEMO", archived=False) == 1
    assert len(deferrals.seen) == int(deferrable)


def test_a_jql_that_matches_nothing_starts_nothing(
    archival_sandbox: Sandbox, connections: Connections, context: Any
) -> None:
    result = by_jql("key = DEMO-4 AND key = DEMO-5").execute(context)
    assert result == {
        "jql": "key = DEMO-4 AND key = DEMO-5",
        "matched": 0,
        "left": 0,
        "windows": [],
        "tasks": [],
    }
    assert archival_sandbox.jobs() == []


@pytest.mark.parametrize("jql", [["key = DEMO-4"], 7], ids=repr)
def test_a_jql_that_is_no_text_fails_for_good(
    archival_sandbox: Sandbox, connections: Connections, context: Any, jql: Any
) -> None:
    with pytest.raises(BadInput, match="jql must be a text"):
        by_jql(jql, dry_run=True).execute(context)
    assert archival_sandbox.requests() == []


@pytest.mark.parametrize("jql", ["", "  \n", None], ids=repr)
def test_an_empty_jql_fails_for_good_always(
    archival_sandbox: Sandbox, connections: Connections, context: Any, jql: Any
) -> None:
    with pytest.raises(BadInput, match="jql is empty: give a JQL with a restriction") as caught:
        by_jql(jql, dry_run=True).execute(context)
    assert isinstance(caught.value, AirflowFailException)
    assert archival_sandbox.requests() == []


@pytest.mark.parametrize("jql", ["this is no jql", "nofield = 1", "project = "])
def test_a_bad_jql_fails_for_good_with_jiras_words(
    archival_sandbox: Sandbox, connections: Connections, context: Any, jql: str
) -> None:
    with pytest.raises(ServiceRefusal, match=r"HTTP 400: .{10,} Correct what Jira names") as caught:
        by_jql(jql).execute(context)
    assert isinstance(caught.value, AirflowFailException)
    assert archival_sandbox.jobs() == []


# --- guards ---


@pytest.mark.parametrize(
    ("most", "passes"), [(3, False), (4, True), ("4", True), (None, True), ("", True), (0, False)]
)
def test_max_issues_stops_before_anything_is_archived(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    pauses: Pauses,
    most: Any,
    passes: bool,
) -> None:
    operator = by_jql("project = DEMO AND key != DEMO-5", max_issues=most)
    if passes:
        assert operator.execute(context)["matched"] == 4
        return
    with pytest.raises(TooManyIssues, match=f"About 4 issues match, and max_issues is {most}") as caught:
        operator.execute(context)
    assert isinstance(caught.value, AirflowFailException)
    assert archival_sandbox.requests(ARCHIVE) == []


@pytest.mark.parametrize("most", [-1, "many", 1.5, "1.5", True, [4]], ids=repr)
def test_a_limit_that_makes_no_sense_fails_for_good_and_sends_nothing(
    archival_sandbox: Sandbox, connections: Connections, context: Any, most: Any
) -> None:
    with pytest.raises(BadInput, match="max_issues must be a whole number from 0 on, or None"):
        by_jql(max_issues=most).execute(context)
    assert archival_sandbox.requests() == []


@pytest.mark.parametrize("dry_run", [True, "True", " true "])
def test_a_dry_run_stops_after_the_count(
    archival_sandbox: Sandbox, connections: Connections, context: Any, logged: list[str], dry_run: Any
) -> None:
    result = by_jql(dry_run=dry_run).execute(context)
    whole = {"after": None, "before": None, "matched": 1, "task_ids": []}
    assert result == {"jql": "key = DEMO-4", "matched": 1, "left": None, "windows": [whole], "tasks": []}
    assert [request["path"].rpartition("/")[2] for request in archival_sandbox.requests()] == [
        "approximate-count"
    ]
    assert "dry_run: nothing is archived" in logged


@pytest.mark.parametrize("sample", [2, "2"])
def test_a_sample_of_what_would_go_is_named_before_anything_does(
    archival_sandbox: Sandbox, connections: Connections, context: Any, logged: list[str], sample: Any
) -> None:
    by_jql("project = DEMO ORDER BY key", dry_run=True, sample=sample).execute(context)
    assert "2 of them: DEMO-1, DEMO-2" in logged
    assert [request["path"].split("/", 4)[4] for request in archival_sandbox.requests()] == [
        "search/approximate-count",
        "search/jql",
    ]


def test_nothing_is_sampled_where_nothing_matches(
    archival_sandbox: Sandbox, connections: Connections, context: Any
) -> None:
    by_jql("project = DEMO AND created < 2001-01-01", sample=5).execute(context)
    assert archival_sandbox.requests("/rest/api/3/search/jql") == []


def test_a_sample_that_is_no_number_archives_nothing(
    archival_sandbox: Sandbox, connections: Connections, context: Any
) -> None:
    with pytest.raises(BadInput, match="sample must be a whole number"):
        by_jql(sample="some").execute(context)
    assert archival_sandbox.jobs() == []


@pytest.mark.parametrize("dry_run", ["False", "false", False])
def test_a_rendered_false_is_no_dry_run(
    archival_sandbox: Sandbox, connections: Connections, context: Any, pauses: Pauses, dry_run: Any
) -> None:
    by_jql(dry_run=dry_run).execute(context)
    assert archival_sandbox.issue("DEMO-4")["archived"]


@pytest.mark.parametrize("dry_run", ["maybe", 1, [True]])
def test_a_flag_that_makes_no_sense_fails_for_good_and_sends_nothing(
    archival_sandbox: Sandbox, connections: Connections, context: Any, dry_run: Any
) -> None:
    with pytest.raises(BadInput, match="dry_run must be true or false"):
        by_jql(dry_run=dry_run).execute(context)
    assert archival_sandbox.requests() == []


def test_the_guards_hold_for_a_dry_run_too(connections: Connections, context: Any) -> None:
    with pytest.raises(TooManyIssues):
        by_jql("project = DEMO", max_issues=1, dry_run=True).execute(context)


# --- submitted once ---


def test_the_tasks_id_is_known_before_the_wait(
    archival_sandbox: Sandbox, operator: Callable[..., Any], context: Any, ti: TaskInstance, pauses: Pauses
) -> None:
    known: list[Any] = []
    pauses.before = lambda: known.append(ti.xcoms.get("jira_task_id"))
    operator().execute(context)
    assert known[0] == archival_sandbox.jobs()[0]["id"]


@pytest.mark.parametrize(
    "what", [{"reset": "after"}, {"status": 504, "when": "after"}, {"body": "broken"}], ids=str
)
def test_a_submit_whose_answer_is_lost_is_never_made_beside_the_first(
    archival_sandbox: Sandbox,
    operator: Callable[..., Any],
    context: Any,
    pauses: Pauses,
    what: dict[str, Any],
) -> None:
    archival_sandbox.fault("/rest/api/3/issue*/archive*", **what)
    (task,) = operator().execute(context)["tasks"]
    # An export that runs may be anybody's: its file is not taken, and this one is made after it.
    jobs = [job["id"] for job in archival_sandbox.jobs()]
    assert (len(jobs), jobs[-1]) == (2 if jobs_of(archival_sandbox) == {"export"} else 1, task["task_id"])
    assert set(archival_sandbox.counters()["jobs_overlapped"].values()) == {1}


def jobs_of(sandbox: Sandbox) -> set[str]:
    return {job["kind"] for job in sandbox.jobs()}


@BOTH_WAYS
def test_another_running_task_is_waited_for(
    archival_sandbox: Sandbox,
    operator: Callable[..., Any],
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    JiraCloudHook().archive_issues_by_jql("key = DEMO-5")
    JiraCloudHook().export_archived_issues()
    (task,) = deferrals.run(operator(deferrable=deferrable), context)["tasks"]
    assert len(archival_sandbox.jobs()) == 3
    assert task["task_id"] == archival_sandbox.jobs()[-1]["id"]
    assert max(archival_sandbox.counters()["jobs_overlapped"].values()) == 1
    assert archival_sandbox.requests("*/cancel") == []


def test_without_a_wait_the_task_is_returned_as_it_was_submitted(
    archival_sandbox: Sandbox, operator: Callable[..., Any], context: Any, ti: TaskInstance, pauses: Pauses
) -> None:
    result = operator(wait_for_completion=False).execute(context)
    (task,) = result["tasks"]
    assert task["task_id"] == ti.xcoms["jira_task_id"]
    assert task["status"] in ("ENQUEUED", "RUNNING")
    assert result.get("files", []) == []
    assert archival_sandbox.requests(TASK) == []
    assert pauses.asked == []


def test_without_a_wait_nothing_is_deferred(operator: Callable[..., Any], context: Any) -> None:
    assert operator(wait_for_completion=False, deferrable=True).execute(context)["tasks"]


# --- how a wait ends ---


@BOTH_WAYS
@pytest.mark.parametrize(
    ("action", "kind", "status"),
    [
        ("fail", JiraTaskFailed, "FAILED"),
        ("cancel", JiraTaskCancelled, "CANCELLED"),
        ("die", JiraTaskDead, "DEAD"),
    ],
)
def test_a_task_that_ends_badly_is_an_error_of_its_own_that_is_worth_a_retry(
    archival_sandbox: Sandbox,
    operator: Callable[..., Any],
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
    action: str,
    kind: type[Exception],
    status: str,
) -> None:
    pauses.before = lambda: end(archival_sandbox, action)
    if deferrable:
        # A deferred wait looks before it pauses, so the task ends between the submit and the deferral.
        with pytest.raises(TaskDeferred) as deferred:
            operator(deferrable=True).execute(context)
        end(archival_sandbox, action)
        event = deferrals.event_of(deferred.value.trigger)
        with pytest.raises(kind) as caught:
            operator(deferrable=True).execute_complete(context, event=event)
    else:
        with pytest.raises(kind) as caught:
            operator().execute(context)
    task_id = archival_sandbox.jobs()[0]["id"]
    message = f"Jira task {task_id} ended {status}. Jira says: It was not to be. A retry submits a new one."
    assert str(caught.value) == message
    assert caught.value.job["task_id"] == task_id  # type: ignore[attr-defined]
    assert not isinstance(caught.value, AirflowFailException)


def end(sandbox: Sandbox, action: str) -> None:
    """End the one job there is."""
    (job,) = sandbox.jobs()
    if not job["ended"]:
        sandbox.job(job["id"], action, message="It was not to be.")


@BOTH_WAYS
@pytest.mark.parametrize("cancel_on_timeout", [False, True])
def test_time_that_is_up_is_a_clear_error_and_leaves_the_task_running_unless_told_otherwise(
    archival_sandbox: Sandbox,
    operator: Callable[..., Any],
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
    cancel_on_timeout: bool,
) -> None:
    pauses.before = lambda: archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "freeze")
    task = operator(deferrable=deferrable, timeout=600, cancel_on_timeout=cancel_on_timeout)
    with pytest.raises(
        JobTimeout, match=r"Jira task \d+ did not end in time. It was \w+ when last seen"
    ) as caught:
        deferrals.run(task, context)
    assert caught.value.job["task_id"] == archival_sandbox.jobs()[0]["id"]
    assert len(archival_sandbox.requests("*/cancel", "POST")) == int(cancel_on_timeout)
    assert sum(pauses.asked) == pytest.approx(600)


@BOTH_WAYS
def test_a_cancellation_that_fails_does_not_hide_the_timeout(
    archival_sandbox: Sandbox,
    operator: Callable[..., Any],
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    pauses.before = lambda: archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "freeze")
    archival_sandbox.fault("*/cancel", status=403)
    with pytest.raises(JobTimeout):
        deferrals.run(operator(deferrable=deferrable, timeout=60, cancel_on_timeout=True), context)


@BOTH_WAYS
def test_a_task_that_is_gone_fails_the_try_and_is_worth_a_retry(
    archival_sandbox: Sandbox,
    operator: Callable[..., Any],
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    archival_sandbox.fault(TASK, status=404, times=None)
    with pytest.raises(
        JobGone, match=r"Jira does not know task \d+ any more.*A retry submits anew"
    ) as caught:
        deferrals.run(operator(deferrable=deferrable), context)
    assert not isinstance(caught.value, AirflowFailException)


@BOTH_WAYS
def test_a_wait_that_is_refused_fails_for_good_and_says_that_the_task_goes_on(
    archival_sandbox: Sandbox,
    operator: Callable[..., Any],
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    archival_sandbox.fault(TASK, status=403, body=refusal("jira"), times=None)
    with pytest.raises(WatchRefused, match=r"goes on, but can't be watched.*HTTP 403: Because") as caught:
        deferrals.run(operator(deferrable=deferrable), context)
    assert isinstance(caught.value, AirflowFailException)
    assert caught.value.job["task_id"] == archival_sandbox.jobs()[0]["id"]


@BOTH_WAYS
def test_passing_faults_do_not_end_a_wait(
    archival_sandbox: Sandbox,
    operator: Callable[..., Any],
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    for what in ({"status": 503}, {"reset": "after"}, {"body": "html"}, {"status": 429}):
        archival_sandbox.fault(TASK, times=5, **what)
    assert deferrals.run(operator(deferrable=deferrable), context)["tasks"][0]["status"] == "COMPLETE"
    assert len(archival_sandbox.jobs()) == 1


# --- deferral ---


def test_a_deferral_is_plain_data_with_a_backstop(
    archival_sandbox: Sandbox, operator: Callable[..., Any], context: Any
) -> None:
    with pytest.raises(TaskDeferred) as caught:
        operator(deferrable=True, poll_interval=7, timeout=600).execute(context)
    deferred = caught.value
    assert isinstance(deferred.trigger, JiraTaskTrigger)
    kwargs = deferred.trigger.serialize()[1]
    assert json.loads(json.dumps(kwargs)) == kwargs
    assert (kwargs["poll_interval"], kwargs["cancel_on_kill"]) == (7, True)
    assert kwargs["jira_task_id"] == archival_sandbox.jobs()[0]["id"]
    assert deferred.method_name == "execute_complete"
    assert 600 < deferred.timeout.total_seconds() <= 700


def test_a_deferral_does_not_outlast_the_execution_timeout(
    operator: Callable[..., Any], context: Any
) -> None:
    with pytest.raises(TaskDeferred) as caught:
        operator(deferrable=True, execution_timeout=timedelta(seconds=90)).execute(context)
    assert 60 < caught.value.timeout.total_seconds() <= 90


def test_cancel_on_kill_reaches_the_trigger(operator: Callable[..., Any], context: Any) -> None:
    with pytest.raises(TaskDeferred) as caught:
        operator(deferrable=True, cancel_on_kill=False).execute(context)
    assert caught.value.trigger.cancel_on_kill is False


def test_a_deferred_try_has_one_deadline(
    archival_sandbox: Sandbox, operator: Callable[..., Any], context: Any
) -> None:
    began = time.time()
    with pytest.raises(TaskDeferred) as caught:
        operator(deferrable=True, timeout=600).execute(context)
    kwargs = caught.value.trigger.serialize()[1]
    carried = unpacked(kwargs["carried"])
    assert began + 600 <= kwargs["end_time"] == carried["end_time"] <= time.time() + 600


# --- kills ---


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_a_kill_in_the_worker_cancels_the_task_unless_told_otherwise(
    archival_sandbox: Sandbox,
    operator: Callable[..., Any],
    context: Any,
    pauses: Pauses,
    cancel_on_kill: bool,
) -> None:
    task = operator(cancel_on_kill=cancel_on_kill)

    def kill() -> None:
        pauses.before = None
        task.on_kill()

    pauses.before = kill
    if cancel_on_kill:
        with pytest.raises(JiraTaskCancelled):
            task.execute(context)
    else:
        task.execute(context)
    assert len(archival_sandbox.requests("*/cancel", "POST")) == int(cancel_on_kill)


def test_a_kill_before_anything_was_submitted_cancels_nothing(
    archival_sandbox: Sandbox, operator: Callable[..., Any]
) -> None:
    operator().on_kill()
    assert archival_sandbox.requests() == []


def test_a_kill_after_the_end_cancels_nothing(
    archival_sandbox: Sandbox, operator: Callable[..., Any], context: Any, pauses: Pauses
) -> None:
    task = operator()
    task.execute(context)
    task.on_kill()
    assert archival_sandbox.requests("*/cancel") == []


def test_a_kill_that_can_not_cancel_raises_nothing(
    archival_sandbox: Sandbox, operator: Callable[..., Any], context: Any, pauses: Pauses, logged: list[str]
) -> None:
    task = operator()
    archival_sandbox.fault("*/cancel", status=403)

    def kill() -> None:
        pauses.before = None
        task.on_kill()

    pauses.before = kill
    task.execute(context)
    assert any(line.startswith("Could not cancel Jira task") for line in logged)


# --- exporting: the filter ---


def exported(sandbox: Sandbox) -> dict[str, Any]:
    return dict(sandbox.requests(EXPORT)[-1]["body"])


def test_an_export_without_parameters_is_of_everything(
    archival_sandbox: Sandbox, connections: Connections, context: Any
) -> None:
    export(wait_for_completion=False).execute(context)
    assert exported(archival_sandbox) == {}


def test_an_export_sends_its_parameters(
    archival_sandbox: Sandbox, connections: Connections, context: Any
) -> None:
    export(
        projects="['DEMO', 'WEB']",
        archived_by="sandbox-account-admin",
        archived_after="2024-01-01",
        archived_before=pendulum.date(2024, 12, 31),
        issue_types=[10001],
        reporters=["sandbox-account-ada", "sandbox-account-ada"],
        wait_for_completion=False,
    ).execute(context)
    assert exported(archival_sandbox) == {
        "projects": ["DEMO", "WEB"],
        "archivedBy": ["sandbox-account-admin"],
        "archivedDateRange": {"dateAfter": "2024-01-01", "dateBefore": "2024-12-31"},
        "issueTypes": ["10001"],
        "reporters": ["sandbox-account-ada"],
    }


@pytest.mark.parametrize(
    ("ends", "after", "before"),
    [
        ({"archived_after": "2024-01-01"}, "2024-01-01", "2024-06-16"),
        ({"archived_before": "2024-01-01"}, "2002-01-01", "2024-01-01"),
        ({"archived_after": "", "archived_before": "2024-01-01"}, "2002-01-01", "2024-01-01"),
        ({"archived_after": "2024-06-15", "archived_before": "2024-06-15"}, "2024-06-15", "2024-06-15"),
        (
            {"archived_after": pendulum.datetime(2024, 6, 14, 23, tz="America/New_York")},
            "2024-06-15",
            "2024-06-16",
        ),
    ],
    ids=str,
)
@time_machine.travel("2024-06-15T12:00:00Z", tick=False)
def test_a_range_with_one_end_gets_the_other(ends: dict[str, Any], after: str, before: str) -> None:
    wanted = export(**ends).export_filter()
    assert (wanted.archived_after, wanted.archived_before) == (after, before)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"archived_after": "soon"}, "archived_after must be a date"),
        ({"archived_before": "31.12.2024"}, "archived_before must be a date"),
        (
            {"archived_after": "2024-02-01", "archived_before": "2024-01-01"},
            r"archived_after \(2024-02-01\) is later than archived_before \(2024-01-01\)",
        ),
        ({"projects": {"DEMO": 1}}, "projects must be a list of names"),
        ({"projects": "[DEMO"}, "projects looks like a list"),
        ({"issue_types": True}, "issue_types must be a list of names"),
        ({"reporters": 1.5}, "reporters must be a list of names"),
        ({"archived_by": b"x"}, "archived_by must be a list of names"),
        (
            {"destination": "/tmp/x", "wait_for_completion": False},
            "destination needs wait_for_completion=True",
        ),
    ],
    ids=str,
)
def test_a_parameter_that_can_not_be_used_fails_for_good_and_sends_nothing(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    parameters: dict[str, Any],
    complaint: str,
) -> None:
    with pytest.raises(BadInput, match=complaint) as caught:
        export(**parameters).execute(context)
    assert isinstance(caught.value, AirflowFailException)
    assert archival_sandbox.requests() == []


def test_a_filter_that_jira_refuses_fails_for_good_with_its_words(
    connections: Connections, context: Any
) -> None:
    with pytest.raises(ServiceRefusal, match=r"HTTP 400: Your filter contains invalid values") as caught:
        export(projects="NOWHERE").execute(context)
    assert isinstance(caught.value, AirflowFailException)


# --- exporting: the file ---


@pytest.fixture
def archived(archival_sandbox: Sandbox, connections: Connections) -> None:
    """The five issues of DEMO are archived."""
    JiraCloudHook().archive_issues(["DEMO-1", "DEMO-4", "DEMO-5"])


@BOTH_WAYS
def test_an_export_without_a_destination_tells_where_the_file_lies(
    archival_sandbox: Sandbox,
    archived: None,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    result = deferrals.run(export(deferrable=deferrable), context)
    (task,), (file,) = result["tasks"], result["files"]
    assert file == {
        "task_id": task["task_id"],
        "file_url": f"{archival_sandbox.base_url}{EXPORT}/file/{task['task_id']}.csv",
        "path": None,
        "rows": None,
        "bytes": None,
    }
    assert archival_sandbox.requests("*.csv") == []
    assert json.loads(json.dumps(result)) == result


@BOTH_WAYS
@pytest.mark.parametrize("form", ["{folder}/new", "{folder}/mine.csv", "file://{folder}/new"])
def test_an_export_is_saved_to_a_folder_or_a_file(
    archival_sandbox: Sandbox,
    archived: None,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    tmp_path: Path,
    deferrable: bool,
    form: str,
) -> None:
    result = deferrals.run(export(destination=form.format(folder=tmp_path), deferrable=deferrable), context)
    (file,) = result["files"]
    name = "mine.csv" if "mine" in form else f"new/jira-archived-issues-{file['task_id']}.csv"
    saved = tmp_path / name
    assert Path(file["path"].removeprefix("file://")) == saved
    assert (file["rows"], file["bytes"]) == (5, saved.stat().st_size)
    with saved.open(newline="") as opened:
        keys = [row["Issue key"] for row in csv.DictReader(opened)]
    assert keys == ["DEMO-1", "DEMO-2", "DEMO-3", "DEMO-4", "DEMO-5"]


def test_a_truncated_download_is_repeated(
    archival_sandbox: Sandbox, archived: None, context: Any, pauses: Pauses, tmp_path: Path
) -> None:
    archival_sandbox.fault("*.csv", truncate=True, times=2)
    (file,) = export(destination=str(tmp_path)).execute(context)["files"]
    assert file["rows"] == 5
    assert len(archival_sandbox.requests("*.csv")) == 3
    assert len(archival_sandbox.jobs()) == 1


def test_a_file_of_another_origin_is_fetched_without_credentials(
    archival_sandbox: Sandbox,
    archived: None,
    context: Any,
    pauses: Pauses,
    tmp_path: Path,
    loopback: Callable[..., Loopback],
) -> None:
    other = loopback(lambda received: (200, {}, b"Issue key\nDEMO-1\n"))
    body = {"id": "10101", "status": "COMPLETE", "result": {"fileUrl": f"{other.url}/x.csv?signed=1"}}
    archival_sandbox.fault(TASK, status=200, body=body)
    (file,) = export(destination=str(tmp_path)).execute(context)["files"]
    assert (file["rows"], file["file_url"]) == (1, f"{other.url}/x.csv?***")
    (received,) = other.received
    assert received.path == "/x.csv?signed=1"
    assert "authorization" not in received.headers


@BOTH_WAYS
def test_the_file_that_only_the_submit_tells_of_is_found(
    archival_sandbox: Sandbox,
    archived: None,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    tmp_path: Path,
    deferrable: bool,
) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        export(destination=str(tmp_path), deferrable=True).execute(context)
    event = deferrals.event_of(deferred.value.trigger)
    event["job"].update(result=None, file_url=None)
    result = export(destination=str(tmp_path)).execute_complete(context, event=event)
    assert result["files"][0]["rows"] == 5


@pytest.fixture
def without_a_file(archival_sandbox: Sandbox, connections: Connections) -> None:
    """Jira tells of no file, neither at the submit nor at the end."""
    archival_sandbox.fault(EXPORT, status=202, body={"taskId": "10101", "status": "ENQUEUED"})
    archival_sandbox.fault(TASK, status=200, body={"id": "10101", "status": "COMPLETE", "result": "done"})


def test_an_export_whose_file_jira_does_not_tell_of_fails_for_good_where_one_is_wanted(
    without_a_file: None, context: Any, tmp_path: Path
) -> None:
    with pytest.raises(FileNotAvailable, match=r"does not tell where its CSV lies.*e-mail") as caught:
        export(destination=str(tmp_path)).execute(context)
    assert isinstance(caught.value, AirflowFailException)
    assert caught.value.job["task_id"] == "10101"


def test_an_export_whose_file_jira_does_not_tell_of_succeeds_where_none_is_wanted(
    without_a_file: None, context: Any, logged: list[str]
) -> None:
    result = export().execute(context)
    assert (result["files"], len(result["tasks"])) == ([], 1)
    assert any("the link is in the e-mail" in line for line in logged)


# --- what the connection or the network make fail ---


def test_a_bad_connection_fails_for_good(
    connections: Connections, operator: Callable[..., Any], context: Any
) -> None:
    connections.change("jira_cloud_default", extra={"auth_type": "magic"})
    with pytest.raises(ConnectionNotUsable, match="'jira_cloud_default': extra field 'auth_type'") as caught:
        operator().execute(context)
    assert isinstance(caught.value, AirflowFailException)


def test_a_service_that_is_down_is_worth_a_retry(
    connections: Connections, operator: Callable[..., Any], context: Any, pauses: Pauses, refused_url: str
) -> None:
    connections.change("jira_cloud_default", host=refused_url)
    with pytest.raises(ServiceFault, match="can be reached from here") as caught:
        operator().execute(context)
    assert not isinstance(caught.value, AirflowFailException)


def test_a_log_tells_the_story(
    archival_sandbox: Sandbox, connections: Connections, context: Any, pauses: Pauses, logged: list[str]
) -> None:
    by_jql("project = DEMO").execute(context)
    task_id = archival_sandbox.jobs()[0]["id"]
    story = [line for line in logged if "DEMO" in line or line.startswith("Jira task")]
    assert story[0] == "About 5 issues match: project = DEMO"
    assert story[1] == f"Jira task {task_id} is under way: ENQUEUED"
    assert story[-1] == f"Jira task {task_id} ended well: COMPLETE"


# --- parameters ---


def test_all_data_parameters_are_template_fields() -> None:
    assert set(JiraArchiveIssuesByJqlOperator.template_fields) >= {"jql", "max_issues", "jira_conn_id"}
    assert set(JiraArchiveIssuesByJqlOperator.template_ext) == {".jql"}
    assert set(JiraExportArchivedIssuesOperator.template_fields) == {
        "projects",
        "archived_by",
        "archived_after",
        "archived_before",
        "issue_types",
        "reporters",
        "destination",
        "destination_conn_id",
        "split_by",
        "merge",
        "max_file_bytes",
        "jira_conn_id",
    }


@pytest.mark.parametrize("parameter", ["poll_interval", "timeout"])
@pytest.mark.parametrize("value", [0, -1, "30", None, float("inf")])
def test_seconds_that_make_no_sense_are_refused_when_the_dag_is_parsed(
    operator: Callable[..., Any], parameter: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=f"{parameter} must be a number of seconds above 0"):
        operator(**{parameter: value})


def test_the_dry_run_of_airflow_itself_still_works() -> None:
    assert callable(by_jql(dry_run=True).dry_run)
