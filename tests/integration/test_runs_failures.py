"""DAG runs that fail: the right state, no retries where none can help, and a message that says what to do."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import AirflowTaskTimeout
from conftest import Airflow, Run, rows, until

from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import (
    PROJECT_OF_ANOTHER_REQUESTER,
    PROJECT_READY,
    PROJECT_WITH_LOCKED_POOL,
    PROJECT_WITH_OPEN_POOL,
    PROJECT_WITH_REJECTIONS,
    PROJECT_WITH_TRAINING,
)
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

RunIt = Callable[..., Run]
Connection = Callable[..., str]
EndJobs = Callable[..., Future[list[Any]]]


def by_jql(jql: str = "project = DEMO", **arguments: Any) -> Callable[[], object]:
    arguments = {"task_id": "job", "poll_interval": 0.1, **arguments}
    return lambda: JiraArchiveIssuesByJqlOperator(jql=jql, **arguments)


def by_key(*keys: str, **arguments: Any) -> Callable[[], object]:
    return lambda: JiraArchiveIssuesOperator(
        task_id="job", **{"issue_ids_or_keys": list(keys) or ["DEMO-4"], **arguments}
    )


def export(**arguments: Any) -> Callable[[], object]:
    return lambda: JiraExportArchivedIssuesOperator(**{"task_id": "job", "poll_interval": 0.1, **arguments})


def project(project_id: str = PROJECT_READY, **arguments: Any) -> Callable[[], object]:
    arguments = {"task_id": "job", "poll_interval": 0.1, **arguments}
    return lambda: TolokaArchiveProjectOperator(project_id=project_id, **arguments)


def pool(pool_id: str, **arguments: Any) -> Callable[[], object]:
    arguments = {"task_id": "job", "poll_interval": 0.1, **arguments}
    return lambda: TolokaArchivePoolOperator(pool_id=pool_id, **arguments)


def first_pool(project_id: str, status: str) -> str:
    from airflow_provider_archival.hooks.toloka import TolokaHook

    return next(found.id for found in TolokaHook().list_pools(project_id, status=status))


def fails_for_good(run: RunIt, make: Callable[[], Any], kind: str, *words: str) -> Run:
    """Run a task that may be tried three times; it must fail at once, with this exception and these words."""
    done = run(make, default_args={"retries": 2})
    assert done.states() == {"job": "failed"}
    assert done.tries("job") == 1
    assert done.error.startswith(f"{kind}: "), done.error
    for word in words:
        assert word in done.error
    return done


def fails_and_may_be_retried(run: RunIt, make: Callable[[], Any], kind: str, *words: str) -> Run:
    """Run a task that may be tried twice; it must use both tries."""
    done = run(make, default_args={"retries": 1, "retry_delay": timedelta(0)})
    assert done.states() == {"job": "failed"}
    assert done.tries("job") == 2
    assert done.error.startswith(f"{kind}: "), done.error
    for word in words:
        assert word in done.error
    return done


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


JIRA = {
    "by-key": by_key,
    "by-jql": by_jql,
    "by-jql-deferrable": lambda **more: by_jql(deferrable=True, **more),
    "export": export,
    "sensor": lambda **more: (
        lambda: JiraTaskSensor(task_id="job", jira_task_id="10101", poke_interval=0.1, **more)
    ),
    "sensor-deferrable": lambda **more: (
        lambda: JiraTaskSensor(task_id="job", jira_task_id="10101", deferrable=True, **more)
    ),
}
TOLOKA = {
    "project": project,
    "pool": lambda **more: pool("20001", **more),
    "sensor": lambda **more: (
        lambda: TolokaOperationSensor(task_id="job", operation_id="abc", poke_interval=0.1, **more)
    ),
    "sensor-deferrable": lambda **more: (
        lambda: TolokaOperationSensor(task_id="job", operation_id="abc", deferrable=True, **more)
    ),
}


# --- a bad connection ---


@pytest.mark.parametrize("what", JIRA)
def test_a_jira_connection_that_is_missing_is_named(sandbox: Sandbox, run: RunIt, what: str) -> None:
    fails_and_may_be_retried(
        run,
        JIRA[what](jira_conn_id="jira_nowhere"),
        "ConnectionNotFound",
        "There is no Airflow connection 'jira_nowhere'",
        "Admin > Connections",
        "AIRFLOW_CONN_JIRA_NOWHERE",
    )


@pytest.mark.parametrize("what", TOLOKA)
def test_a_toloka_connection_that_is_missing_is_named(sandbox: Sandbox, run: RunIt, what: str) -> None:
    fails_and_may_be_retried(
        run,
        TOLOKA[what](toloka_conn_id="toloka_nowhere"),
        "ConnectionNotFound",
        "There is no Airflow connection 'toloka_nowhere'",
        "Admin > Connections",
    )


@pytest.mark.parametrize(
    ("conn_id", "fields", "words"),
    [
        ("jira_cloud_default", {"host": ""}, "host is missing"),
        ("jira_cloud_default", {"login": ""}, "login (the account's e-mail address) is missing"),
        ("jira_cloud_default", {"password": ""}, "password (the API token) is missing"),
        ("jira_cloud_default", {"host": "http://jira.example.com"}, "plain http://"),
        ("jira_cloud_default", {"extra": {"auth_type": "magic"}}, "'auth_type' must be one of basic, bearer"),
        ("jira_cloud_oauth", {"extra": {"cloud_id": ""}}, "'cloud_id' is missing"),
        ("jira_cloud_oauth", {"password": ""}, "password (the client secret) is missing"),
        ("jira_cloud_bearer", {"password": ""}, "password (the access token) is missing"),
    ],
)
def test_an_incomplete_jira_connection_names_its_field(
    sandbox: Sandbox,
    run: RunIt,
    connection: Connection,
    conn_id: str,
    fields: dict[str, Any],
    words: str,
) -> None:
    connection(conn_id, **fields)
    fails_for_good(
        run,
        by_jql(jira_conn_id=conn_id),
        "ConnectionNotUsable",
        f"Connection '{conn_id}'",
        words,
        "Edit the connection",
    )
    assert sandbox.requests() == []


def test_an_incomplete_toloka_connection_names_its_field(
    sandbox: Sandbox, run: RunIt, connection: Connection
) -> None:
    connection("toloka_default", password="")
    fails_for_good(
        run,
        project(),
        "ConnectionNotUsable",
        "Connection 'toloka_default': password (the token) is missing",
        "Edit the connection",
    )
    assert sandbox.requests() == []


@pytest.mark.parametrize(
    ("what", "conn_id"),
    [
        *((what, "jira_cloud_default") for what in JIRA),
        ("by-jql", "jira_cloud_oauth"),
        ("by-jql", "jira_cloud_bearer"),
        ("sensor-deferrable", "jira_cloud_oauth"),
    ],
)
def test_wrong_jira_credentials_say_which_connection_to_check(
    sandbox: Sandbox, run: RunIt, connection: Connection, what: str, conn_id: str
) -> None:
    connection(conn_id, password="wrong-token")
    done = fails_for_good(
        run,
        JIRA[what](jira_conn_id=conn_id),
        "WatchRefused" if "sensor" in what else "ServiceRefusal",
        "HTTP 401",
    )
    assert f"Check login, password and auth_type of connection '{conn_id}'" in done.error
    assert sandbox.counters()["issues_archived"] == 0


@pytest.mark.parametrize("what", TOLOKA)
def test_a_wrong_toloka_token_says_which_connection_to_check(
    sandbox: Sandbox, run: RunIt, connection: Connection, what: str
) -> None:
    connection("toloka_default", password="wrong-token")
    fails_for_good(
        run,
        TOLOKA[what](),
        "WatchRefused" if "sensor" in what else "ServiceRefusal",
        "HTTP 401",
        "Check the token (password) of connection 'toloka_default'",
    )


@pytest.mark.parametrize("what", ["by-key", "by-jql", "by-jql-deferrable", "export"])
def test_an_account_that_is_no_admin_is_told_what_it_lacks(
    sandbox: Sandbox, run: RunIt, connection: Connection, what: str
) -> None:
    connection("jira_cloud_default", login="member@example.com", password="sandbox-member-token")
    fails_for_good(
        run, JIRA[what](), "ServiceRefusal", "HTTP 403", "needs Jira admin on a Premium or Enterprise plan"
    )


# --- a bad request ---


@pytest.mark.parametrize(
    ("jql", "words"),
    [
        ("project = NOPE", "The value 'NOPE' does not exist for the field 'project'"),
        ("project =", "HTTP 400"),
        ("magic = 1", "magic"),
        ("ORDER BY created", "HTTP 400"),
    ],
)
def test_a_bad_jql_fails_with_jiras_words(sandbox: Sandbox, run: RunIt, jql: str, words: str) -> None:
    fails_for_good(
        run,
        by_jql(jql, deferrable="NOPE" in jql),
        "ServiceRefusal",
        words,
        "Correct what Jira names, then clear this task.",
    )
    assert sandbox.jobs() == []


@pytest.mark.parametrize("jql", ["", "  \n", "{{ params.missing }}"])
def test_an_empty_jql_archives_nothing(sandbox: Sandbox, run: RunIt, jql: str) -> None:
    done = run(by_jql(jql), params={"missing": ""}, default_args={"retries": 2})
    assert (done.states(), done.tries("job")) == ({"job": "failed"}, 1)
    assert done.error.startswith("BadInput: jql is empty: give a JQL with a restriction")
    assert sandbox.requests() == []


def test_a_subtask_among_the_keys_says_to_archive_its_parent(sandbox: Sandbox, run: RunIt) -> None:
    fails_for_good(
        run,
        by_key("DEMO-4", "DEMO-2"),
        "JiraPartialError",
        "Of 2 issues, 1 were not archived",
        "issueIsSubtask (1): Issue is subtask. [DEMO-2]",
        "a subtask goes with its parent: archive the parent",
        "Mend the list and clear this task, or set fail_on_partial_error=False",
    )
    assert sandbox.issue("DEMO-4")["archived"]


def test_an_issue_of_an_unlicensed_project_says_to_leave_it_out(sandbox: Sandbox, run: RunIt) -> None:
    fails_for_good(
        run,
        by_key("DEMO-4", "UNL-1", "OLD-1"),
        "JiraPartialError",
        "issuesInUnlicensedProjects (1)",
        "[UNL-1]; their project's product has no licence (any more): leave them out",
        "[OLD-1]; their whole project is archived: leave them out, or restore the project",
    )


@pytest.mark.parametrize("keys", [("DEMO-2",), ("UNL-1",), ("OLD-1",), ("DEMO-404",)])
def test_keys_none_of_which_can_be_archived_say_what_may_be_wrong(
    sandbox: Sandbox, run: RunIt, keys: tuple[str, ...]
) -> None:
    """Jira does not tell which reason it is, so the message has to name them all."""
    fails_for_good(
        run,
        by_key(*keys),
        "JiraPartialError",
        keys[0],
        "a subtask (archive the parent)",
        "in an unlicensed or an archived project (leave it out)",
        "not found (check the key)",
    )


@pytest.mark.parametrize("keys", [["DEMO"], ["DEMO-1", "not a key"], [{"key": "DEMO-1"}], "{{ [1.5] }}"])
def test_what_is_no_key_is_named_before_anything_is_sent(sandbox: Sandbox, run: RunIt, keys: Any) -> None:
    fails_for_good(run, by_key(issue_ids_or_keys=keys), "BadInput", "issue_ids_or_keys")
    assert sandbox.requests() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"archived_after": "yesterday"}, "archived_after must be a date such as 2024-01-31"),
        ({"archived_after": "2024-02-01", "archived_before": "2024-01-01"}, "is later than archived_before"),
        (
            {"destination": "x.csv", "wait_for_completion": False},
            "destination needs wait_for_completion=True",
        ),
    ],
)
def test_an_export_that_makes_no_sense_is_not_sent(
    sandbox: Sandbox, run: RunIt, arguments: dict[str, Any], words: str
) -> None:
    fails_for_good(run, export(**arguments), "BadInput", words)
    assert sandbox.requests() == []


def test_an_export_of_an_unknown_project_fails_with_jiras_words(sandbox: Sandbox, run: RunIt) -> None:
    fails_for_good(
        run,
        export(projects=["NOPE"]),
        "ServiceRefusal",
        "NOPE",
        "Correct what Jira names",
    )


# --- Toloka's states ---


def test_an_unfinished_pool_says_how_to_get_its_project_archived(
    sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    fails_for_good(
        run,
        project(PROJECT_WITH_OPEN_POOL, deferrable=deferrable),
        "PoolsNotArchived",
        f"Toloka project {PROJECT_WITH_OPEN_POOL} can't be archived before its pools and trainings are",
        "nothing was changed",
        f"pool {first_pool(PROJECT_WITH_OPEN_POOL, 'OPEN')} is OPEN",
        "set archive_pools=True",
        "close_open_pools=True, which stops the work in them",
    )
    assert sandbox.jobs() == []


def test_an_open_pool_is_in_the_way_of_archiving_closed_ones_too(sandbox: Sandbox, run: RunIt) -> None:
    fails_for_good(
        run,
        project(PROJECT_WITH_OPEN_POOL, archive_pools=True),
        "PoolsNotArchived",
        "close the OPEN ones, or set close_open_pools=True",
    )
    assert sandbox.jobs() == []


def test_a_training_that_is_not_archived_is_in_the_way(sandbox: Sandbox, run: RunIt) -> None:
    fails_for_good(run, project(PROJECT_WITH_TRAINING), "PoolsNotArchived", "training ", "is CLOSED")


def test_a_locked_pool_says_who_can_help(sandbox: Sandbox, run: RunIt) -> None:
    fails_for_good(
        run,
        project(PROJECT_WITH_LOCKED_POOL, archive_pools=True, close_open_pools=True),
        "PoolsNotArchived",
        "is LOCKED",
        "unlock it in Toloka, or ask Toloka's support",
    )


def test_an_open_pool_by_itself_says_to_close_it(sandbox: Sandbox, run: RunIt) -> None:
    fails_for_good(
        run,
        pool(first_pool(PROJECT_WITH_OPEN_POOL, "OPEN")),
        "ServiceRefusal",
        "HTTP 409",
        "INAPPROPRIATE_STATUS",
        "before a pool, it must be closed",
    )


def test_a_pool_with_fresh_rejections_says_to_wait(sandbox: Sandbox, run: RunIt, deferrable: bool) -> None:
    fails_for_good(
        run,
        project(PROJECT_WITH_REJECTIONS, archive_pools=True, deferrable=deferrable),
        "PoolsNotArchived",
        "CONFLICT_STATE",
        "rejected less than 9 days ago",
        "can be archived nine days after the last rejection",
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (project("99999"), "HTTP 404"),
        (pool("99999"), "HTTP 404"),
        (project(PROJECT_OF_ANOTHER_REQUESTER), "HTTP 403"),
    ],
)
def test_what_is_unknown_or_another_requesters_says_what_to_check(
    sandbox: Sandbox, run: RunIt, make: Any, words: str
) -> None:
    done = fails_for_good(run, make, "ServiceRefusal", words)
    assert "Check the " in done.error


# --- a service that is down ---


@pytest.mark.parametrize("make", [by_key, by_jql, export])
def test_a_jira_that_is_down_is_tried_again_and_says_what_to_check(
    sandbox: Sandbox, run: RunIt, connection: Connection, closed_port: str, quick_repeats: None, make: Any
) -> None:
    connection("jira_cloud_default", host=closed_port)
    done = run(make(), default_args={"retries": 2})
    assert done.states() == {"job": "failed"}
    assert done.tries("job") == 3
    assert done.error.startswith("ServiceFault: Jira: ")
    assert "Check that the host of connection 'jira_cloud_default' is right and can be reached" in done.error


def test_a_toloka_that_is_down_is_tried_again_and_says_what_to_check(
    sandbox: Sandbox,
    run: RunIt,
    connection: Connection,
    closed_port: str,
    quick_repeats: None,
    deferrable: bool,
) -> None:
    connection("toloka_default", host=closed_port)
    done = run(project(deferrable=deferrable), default_args={"retries": 1})
    assert done.states() == {"job": "failed"}
    assert done.tries("job") == 2
    assert "Check that the host of connection 'toloka_default' is right and can be reached" in done.error


@pytest.mark.parametrize(
    ("make", "path"),
    [(by_jql(), "/rest/api/3/*"), (by_key(), "/rest/api/3/*"), (project(), "/api/v1/*")],
    ids=["by-jql", "by-key", "project"],
)
def test_a_service_that_comes_back_before_the_next_try_is_no_failure(
    sandbox: Sandbox, run: RunIt, quick_repeats: None, make: Any, path: str
) -> None:
    sandbox.fault(path, status=503, times=5)
    done = run(make, default_args={"retries": 2})
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 2
    assert "This usually passes; the next try may succeed." in done.error


def test_a_service_that_stays_away_during_the_wait_ends_it_at_the_timeout(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    slow_sandbox.fault("/rest/api/3/task/*", status=503, times=None)
    done = run(by_jql(deferrable=deferrable, timeout=1))
    assert done.states() == {"job": "failed"}
    assert done.error.startswith("JobTimeout: ")


# --- another job in the way ---


def test_another_archive_that_runs_is_waited_for_and_then_ours_is_submitted(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool, end_jobs: EndJobs
) -> None:
    other = JiraCloudHook().archive_issues_by_jql("key = DEMO-5")

    def asked_twice(id: str) -> None:
        if id == other:
            until(lambda: slow_sandbox.counters()["polls"].get(id, 0) >= 2)

    end_jobs("finish", "finish", look=asked_twice)
    done = run(by_jql("key = DEMO-4", deferrable=deferrable))
    assert done.states() == {"job": "success"}
    assert f"busy with Jira task {other}: waiting for its end" in done.log
    assert [job["payload"]["jql"] for job in slow_sandbox.jobs()] == ["key = DEMO-5", "key = DEMO-4"]
    assert slow_sandbox.counters()["jobs_overlapped"] == {"archive": 1}


def test_another_archive_that_does_not_end_is_named_at_the_timeout(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    other = JiraCloudHook().archive_issues_by_jql("key = DEMO-5")
    done = run(by_jql("key = DEMO-4", deferrable=deferrable, timeout=1))
    assert done.states() == {"job": "failed"}
    assert done.error.startswith(f"JobTimeout: Jira task {other} was in the way all the time")
    assert "nothing was submitted" in done.error
    assert "a one-slot Airflow pool keeps your own tasks from meeting" in done.error


# --- jobs that end badly ---


@pytest.mark.parametrize(
    ("action", "kind", "status"),
    [
        ("fail", "JiraTaskFailed", "FAILED"),
        ("cancel", "JiraTaskCancelled", "CANCELLED"),
        ("die", "JiraTaskDead", "DEAD"),
    ],
)
def test_a_jira_task_that_ends_badly_fails_the_try_and_the_next_submits_anew(
    slow_sandbox: Sandbox,
    run: RunIt,
    deferrable: bool,
    end_jobs: EndJobs,
    action: str,
    kind: str,
    status: str,
) -> None:
    end_jobs(action, "finish", message="The index is being rebuilt.")
    done = run(by_jql(deferrable=deferrable), default_args={"retries": 1})
    first, second = slow_sandbox.jobs()
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 2
    assert (
        f"{kind}: Jira task {first['id']} ended {status}. Jira says: The index is being rebuilt." in done.log
    )
    assert "A retry submits a new one." in done.log
    assert [found["task_id"] for found in done.xcom("job")["tasks"]] == [second["id"]]


def test_an_export_that_ends_badly_fails_without_retries(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool, end_jobs: EndJobs
) -> None:
    end_jobs("fail", message="The disk is full.")
    done = run(export(deferrable=deferrable))
    assert done.states() == {"job": "failed"}
    assert done.error.startswith("JiraTaskFailed: ")
    assert "The disk is full." in done.error


def test_a_toloka_operation_that_ends_badly_fails_the_try_and_the_next_submits_anew(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool, end_jobs: EndJobs
) -> None:
    end_jobs("fail", "finish", message="Out of luck.")
    done = run(project(deferrable=deferrable), default_args={"retries": 1})
    first, second = slow_sandbox.jobs()
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 2
    assert f"TolokaOperationFailed: Toloka operation {first['id']}" in done.log
    assert PROJECT_READY in done.error
    assert done.xcom("job")["operation_id"] == second["id"]


def test_a_job_that_the_service_forgot_fails_the_try(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool, end_jobs: EndJobs
) -> None:
    end_jobs(
        "forget",
        "finish",
        look=lambda id: until(lambda: slow_sandbox.counters()["polls"].get(id)),
    )
    done = run(by_jql(deferrable=deferrable), default_args={"retries": 1})
    assert done.states() == {"job": "success"}
    assert done.tries("job") == 2
    assert "JobGone: Jira does not know task" in done.log


# --- time ---


@pytest.mark.parametrize("make", [by_jql, project], ids=["archive", "project"])
def test_the_timeout_fails_the_task_and_leaves_the_job_running(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool, make: Any
) -> None:
    done = run(make(deferrable=deferrable, timeout=1))
    assert done.states() == {"job": "failed"}
    (job,) = slow_sandbox.jobs()
    assert job["ended"] is None
    assert done.error.startswith("JobTimeout: ")
    assert job["id"] in done.error
    assert "did not end in time" in done.error
    assert "give it a longer timeout" in done.error
    assert slow_sandbox.requests("*/cancel") == []


def test_the_timeout_cancels_the_jira_task_where_that_is_wanted(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool
) -> None:
    done = run(by_jql(deferrable=deferrable, timeout=1, cancel_on_timeout=True))
    assert done.states() == {"job": "failed"}
    assert done.error.startswith("JobTimeout: ")
    (job,) = slow_sandbox.jobs()
    assert len(slow_sandbox.requests(f"/rest/api/3/task/{job['id']}/cancel", "POST")) == 1
    slow_sandbox.advance(60)
    assert slow_sandbox.job(job["id"])["status"] == "CANCELLED"


def test_a_cancel_that_fails_does_not_hide_the_timeout(
    slow_sandbox: Sandbox, run: RunIt, deferrable: bool, quick_repeats: None
) -> None:
    slow_sandbox.fault("/rest/api/3/task/*/cancel", status=500, times=None)
    done = run(by_jql(deferrable=deferrable, timeout=1, cancel_on_timeout=True))
    assert done.states() == {"job": "failed"}
    assert done.error.startswith("JobTimeout: ")


@pytest.mark.parametrize("cancels", [False, True], ids=["goes on", "cancelled"])
def test_airflows_execution_timeout_ends_the_wait_and_does_with_the_jira_task_as_any_timeout(
    slow_sandbox: Sandbox, airflow: Airflow, logged: list[str], deferrable: bool, cancels: bool
) -> None:
    with airflow.dag() as dag:
        by_jql(execution_timeout=timedelta(seconds=2), cancel_on_timeout=cancels, deferrable=deferrable)()
    # In Airflow 2 it comes out of dag.test, since it is no Exception there.
    with contextlib.suppress(AirflowTaskTimeout):
        airflow.run(dag)
    (found,) = rows("SELECT state FROM task_instance WHERE dag_id = ?", dag.dag_id)
    assert found["state"] == "failed"
    (job,) = slow_sandbox.jobs()
    assert len(slow_sandbox.requests(f"/rest/api/3/task/{job['id']}/cancel", "POST")) == int(cancels)
    assert any("execution_timeout of 2 s" in line and "Jira task" in line for line in logged)
