"""Archiving Toloka projects and pools: what is in the way, what is done first, and how each ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_archival.exceptions import (
    BadInput,
    ConnectionNotUsable,
    JobGone,
    JobTimeout,
    PoolsNotArchived,
    ServiceFault,
    ServiceRefusal,
    TolokaOperationFailed,
    WatchRefused,
)
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.operators.toloka import TolokaArchivePoolOperator, TolokaArchiveProjectOperator
from airflow_provider_archival.sandbox.toloka_store import (
    PROJECT_ARCHIVED,
    PROJECT_OF_ANOTHER_REQUESTER,
    PROJECT_READY,
    PROJECT_WITH_LOCKED_POOL,
    PROJECT_WITH_OPEN_POOL,
    PROJECT_WITH_REJECTIONS,
    PROJECT_WITH_TRAINING,
    PROJECT_WITHOUT_POOLS,
    PROJECTS_WITH_CLOSED_POOLS,
)
from airflow_provider_archival.triggers.toloka import TolokaOperationTrigger

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Connections, Deferrals, Pauses, TaskInstance

OPERATION = "/api/v1/operations/*"
CLOSED = PROJECTS_WITH_CLOSED_POOLS[0]
BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferrable"])


def project(project_id: Any = PROJECT_READY, **more: Any) -> TolokaArchiveProjectOperator:
    return TolokaArchiveProjectOperator(task_id="archive", project_id=project_id, **more)


def pool(pool_id: Any, **more: Any) -> TolokaArchivePoolOperator:
    return TolokaArchivePoolOperator(task_id="archive", pool_id=pool_id, **more)


def statuses(project_id: str) -> set[str]:
    hook = TolokaHook()
    found = [*hook.list_pools(project_id), *hook.list_trainings(project_id)]
    return {one.status for one in found}


def changes(sandbox: Sandbox) -> list[str]:
    """What was asked to change, in order, such as ``pools/archive``."""
    asked = [request["path"].split("/") for request in sandbox.requests(method="POST")]
    return [f"{parts[3]}/{parts[5]}" for parts in asked]


# --- a project ---


@BOTH_WAYS
@pytest.mark.parametrize("project_id", [PROJECT_READY, PROJECT_WITHOUT_POOLS, int(PROJECT_READY)])
def test_a_project_whose_pools_are_archived_is_archived(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    ti: TaskInstance,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
    project_id: Any,
) -> None:
    result = deferrals.run(project(project_id, deferrable=deferrable), context)
    assert result == {
        "project_id": str(project_id),
        "operation_id": ti.xcoms["operation_id"],
        "status": "SUCCESS",
        "pools": [],
    }
    assert [job["id"] for job in archival_sandbox.jobs()] == [result["operation_id"]]
    assert TolokaHook().get_project(str(project_id)).is_archived
    assert len(deferrals.seen) == int(deferrable)


def test_a_project_that_is_archived_is_a_success_with_nothing_to_do(
    archival_sandbox: Sandbox, connections: Connections, context: Any, ti: TaskInstance, logged: list[str]
) -> None:
    result = project(PROJECT_ARCHIVED).execute(context)
    assert result == {"project_id": PROJECT_ARCHIVED, "operation_id": None, "status": "ARCHIVED", "pools": []}
    assert changes(archival_sandbox) == []
    assert ti.xcoms == {}
    assert any("archived already" in line for line in logged)


def test_a_project_that_somebody_else_archives_meanwhile_is_a_success(
    archival_sandbox: Sandbox, connections: Connections, context: Any, pauses: Pauses
) -> None:
    archival_sandbox.fault(
        f"/api/v1/projects/{PROJECT_READY}/archive",
        status=409,
        body={"code": "CONFLICT_STATE", "message": "It is archived"},
    )
    archival_sandbox.fault(
        f"/api/v1/projects/{PROJECT_READY}",
        skip=1,
        status=200,
        body={"id": PROJECT_READY, "status": "ARCHIVED"},
    )
    assert project().execute(context)["status"] == "ARCHIVED"


def test_an_operation_that_is_over_in_its_first_answer_is_not_waited_for(
    archival_sandbox: Sandbox, connections: Connections, context: Any
) -> None:
    body = {
        "id": "57068577e4b0bf7b07a0256f",
        "type": "PROJECT.ARCHIVE",
        "status": "SUCCESS",
        "submitted": "2022-04-07T16:06:15.902",
        "parameters": {"project_id": PROJECT_READY},
    }
    archival_sandbox.fault(f"/api/v1/projects/{PROJECT_READY}/archive", status=202, body=body)
    result = project(deferrable=True).execute(context)
    assert (result["operation_id"], result["status"]) == ("57068577e4b0bf7b07a0256f", "SUCCESS")
    assert archival_sandbox.requests(OPERATION) == []


# --- what is in the way ---


@pytest.mark.parametrize(
    ("project_id", "options", "what", "advice"),
    [
        (CLOSED, {}, "is CLOSED", "set archive_pools=True"),
        (PROJECT_WITH_OPEN_POOL, {}, "is OPEN", "close_open_pools=True"),
        (PROJECT_WITH_OPEN_POOL, {"archive_pools": True}, "is OPEN", "close the OPEN ones, or set"),
        (PROJECT_WITH_OPEN_POOL, {"close_open_pools": True}, "is OPEN", "set archive_pools=True"),
        (PROJECT_WITH_TRAINING, {}, "training 300001 is CLOSED", "set archive_pools=True"),
        (PROJECT_WITH_LOCKED_POOL, {}, "is LOCKED", "a LOCKED pool can't be archived"),
        (
            PROJECT_WITH_LOCKED_POOL,
            {"archive_pools": True, "close_open_pools": True},
            "is LOCKED",
            "a LOCKED pool can't be archived: unlock it in Toloka, or ask Toloka's support",
        ),
    ],
)
def test_what_is_in_the_way_fails_for_good_before_anything_is_changed(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    project_id: str,
    options: dict[str, Any],
    what: str,
    advice: str,
) -> None:
    with pytest.raises(PoolsNotArchived) as caught:
        project(project_id, **options).execute(context)
    message = str(caught.value)
    assert f"Toloka project {project_id} can't be archived" in message
    assert "nothing was changed" in message
    assert what in message
    assert advice in message
    assert isinstance(caught.value, AirflowFailException)
    assert json.loads(json.dumps(caught.value.pools)) == caught.value.pools
    assert changes(archival_sandbox) == []


def test_of_many_pools_in_the_way_only_some_are_named(
    archival_sandbox: Sandbox, connections: Connections, context: Any
) -> None:
    added = archival_sandbox.add_toloka_project(pools=500, status="CLOSED")
    with pytest.raises(PoolsNotArchived, match="and 480 more") as caught:
        project(added["id"]).execute(context)
    assert len(str(caught.value)) < 1500
    assert [found["pool_id"] for found in caught.value.pools] == added["pools"]


@BOTH_WAYS
@pytest.mark.parametrize(
    ("project_id", "options", "asked"),
    [
        (CLOSED, {}, ["pools/archive"] * 2 + ["projects/archive"]),
        (
            PROJECT_WITH_OPEN_POOL,
            {"close_open_pools": True},
            ["pools/close"] + ["pools/archive"] * 2 + ["projects/archive"],
        ),
        (PROJECT_WITH_TRAINING, {}, ["pools/archive"] * 2 + ["trainings/archive", "projects/archive"]),
        (PROJECT_WITHOUT_POOLS, {"close_open_pools": True}, ["projects/archive"]),
    ],
)
def test_pools_and_trainings_are_closed_and_archived_first_on_request(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    ti: TaskInstance,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
    project_id: str,
    options: dict[str, Any],
    asked: list[str],
) -> None:
    result = deferrals.run(project(project_id, archive_pools=True, deferrable=deferrable, **options), context)
    assert changes(archival_sandbox) == asked
    assert statuses(project_id) <= {"ARCHIVED"}
    assert TolokaHook().get_project(project_id).is_archived
    assert (result["status"], result["operation_id"]) == ("SUCCESS", ti.xcoms["operation_id"])
    assert {found["status"] for found in result["pools"]} <= {"SUCCESS"}
    assert len(result["pools"]) == len(
        [one for one in asked if one in ("pools/archive", "trainings/archive")]
    )
    ids = {job["id"] for job in archival_sandbox.jobs()}
    assert {found["operation_id"] for found in result["pools"]} < ids or not result["pools"]
    assert json.loads(json.dumps(result)) == result


def test_open_trainings_are_closed_and_archived_first(
    archival_sandbox: Sandbox, connections: Connections, context: Any, pauses: Pauses
) -> None:
    added = archival_sandbox.add_toloka_project(pools=1, trainings=1, status="OPEN")
    result = project(added["id"], archive_pools=True, close_open_pools=True).execute(context)
    assert changes(archival_sandbox) == [
        "pools/close",
        "trainings/close",
        "pools/archive",
        "trainings/archive",
        "projects/archive",
    ]
    assert [list(found)[0] for found in result["pools"]] == ["pool_id", "training_id"]  # noqa: RUF015


@pytest.mark.parametrize("flag", ["True", "true", True])
def test_flags_may_be_rendered_text(
    connections: Connections, context: Any, pauses: Pauses, flag: Any
) -> None:
    assert project(CLOSED, archive_pools=flag).execute(context)["status"] == "SUCCESS"


@pytest.mark.parametrize("flag", ["False", "false", False])
def test_a_flag_that_is_rendered_false_is_false(
    archival_sandbox: Sandbox, connections: Connections, context: Any, flag: Any
) -> None:
    with pytest.raises(PoolsNotArchived):
        project(CLOSED, archive_pools=flag, close_open_pools=flag).execute(context)
    assert changes(archival_sandbox) == []


def test_the_rejections_of_the_last_days_fail_for_good_and_say_how_long_to_wait(
    connections: Connections, context: Any
) -> None:
    with pytest.raises(PoolsNotArchived, match=r"rejected less than 9 days ago.*nine days after") as caught:
        project(PROJECT_WITH_REJECTIONS, archive_pools=True).execute(context)
    assert [list(pool) for pool in caught.value.pools] == [["pool_id", "message"]]


def test_without_a_wait_pools_are_waited_for_and_the_project_is_not(
    archival_sandbox: Sandbox, connections: Connections, context: Any, pauses: Pauses
) -> None:
    result = project(CLOSED, archive_pools=True, wait_for_completion=False).execute(context)
    assert result["status"] in ("PENDING", "RUNNING")
    assert {found["status"] for found in result["pools"]} == {"SUCCESS"}
    assert statuses(CLOSED) == {"ARCHIVED"}


def test_a_try_after_a_failure_goes_on_with_what_is_left(
    archival_sandbox: Sandbox, connections: Connections, context: Any, pauses: Pauses
) -> None:
    archival_sandbox.fault("/api/v1/projects/*/archive", status=503, times=None)
    with pytest.raises(ServiceFault):
        project(CLOSED, archive_pools=True).execute(context)
    archival_sandbox.clear_faults()
    result = project(CLOSED, archive_pools=True).execute(context)
    assert (result["status"], result["pools"]) == ("SUCCESS", [])
    assert changes(archival_sandbox)[:2] == ["pools/archive"] * 2
    assert set(changes(archival_sandbox)[2:]) == {"projects/archive"}


# --- a pool ---


@BOTH_WAYS
def test_a_closed_pool_is_archived(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    ti: TaskInstance,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    pool_id = next(TolokaHook().list_pools(CLOSED)).id
    result = deferrals.run(pool(pool_id, deferrable=deferrable), context)
    assert result == {"pool_id": pool_id, "operation_id": ti.xcoms["operation_id"], "status": "SUCCESS"}


def test_a_pool_that_is_archived_is_a_success_with_nothing_to_do(
    connections: Connections, context: Any, ti: TaskInstance
) -> None:
    pool_id = next(TolokaHook().list_pools(PROJECT_ARCHIVED)).id
    result = pool(pool_id).execute(context)
    assert result == {"pool_id": pool_id, "operation_id": None, "status": "ARCHIVED"}
    assert ti.xcoms == {}


@pytest.mark.parametrize(
    ("project_id", "status"), [(PROJECT_WITH_OPEN_POOL, "OPEN"), (PROJECT_WITH_LOCKED_POOL, "LOCKED")]
)
def test_a_pool_that_is_not_closed_fails_for_good_and_says_what_to_do(
    connections: Connections, context: Any, project_id: str, status: str
) -> None:
    pool_id = next(TolokaHook().list_pools(project_id, status=status)).id
    with pytest.raises(ServiceRefusal, match=r"HTTP 409: INAPPROPRIATE_STATUS.*it must be closed") as caught:
        pool(pool_id).execute(context)
    assert status in str(caught.value)
    assert isinstance(caught.value, AirflowFailException)


def test_without_a_wait_a_pools_operation_is_returned_as_it_was_submitted(
    archival_sandbox: Sandbox, connections: Connections, context: Any
) -> None:
    pool_id = next(TolokaHook().list_pools(CLOSED)).id
    result = pool(pool_id, wait_for_completion=False, deferrable=True).execute(context)
    assert result["status"] in ("PENDING", "RUNNING")
    assert archival_sandbox.requests(OPERATION) == []


# --- how a wait ends ---


@BOTH_WAYS
def test_an_operation_that_fails_is_an_error_that_is_worth_a_retry(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    failed = {
        "id": "1",
        "type": "PROJECT.ARCHIVE",
        "status": "FAIL",
        "parameters": {"project_id": PROJECT_READY},
        "details": {"message": "It was not to be."},
    }
    archival_sandbox.fault(OPERATION, status=200, body=failed)
    with pytest.raises(
        TolokaOperationFailed, match=r"ended FAIL.*It was not to be.*A retry submits"
    ) as caught:
        deferrals.run(project(deferrable=deferrable), context)
    assert caught.value.job["details"] == {"message": "It was not to be."}
    assert not isinstance(caught.value, AirflowFailException)


@BOTH_WAYS
def test_time_that_is_up_is_a_clear_error(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    logged: list[str],
    deferrable: bool,
) -> None:
    pauses.before = lambda: archival_sandbox.job(archival_sandbox.jobs()[0]["id"], "freeze")
    with pytest.raises(JobTimeout, match=r"did not end in time\. It was (RUNNING|PENDING) when last"):
        deferrals.run(project(deferrable=deferrable, timeout=600, cancel_on_timeout=True), context)
    assert any("can't be cancelled; it goes on" in line for line in logged)


@BOTH_WAYS
@pytest.mark.parametrize(("status", "kind"), [(404, JobGone), (403, WatchRefused)])
def test_an_operation_that_is_gone_or_hidden_is_told_apart(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
    status: int,
    kind: type[Exception],
) -> None:
    archival_sandbox.fault(OPERATION, status=status, times=None)
    with pytest.raises(kind) as caught:
        deferrals.run(project(deferrable=deferrable), context)
    assert isinstance(caught.value, AirflowFailException) is (kind is WatchRefused)


@BOTH_WAYS
def test_passing_faults_do_not_end_a_wait(
    archival_sandbox: Sandbox,
    connections: Connections,
    context: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    deferrable: bool,
) -> None:
    for what in ({"status": 503}, {"reset": "after"}, {"body": "html"}, {"status": 429}):
        archival_sandbox.fault(OPERATION, times=5, **what)
    assert deferrals.run(project(deferrable=deferrable), context)["status"] == "SUCCESS"
    assert len(archival_sandbox.jobs()) == 1


@pytest.mark.parametrize(
    "what", [{"reset": "after"}, {"status": 504, "when": "after"}, {"body": "broken"}], ids=str
)
def test_a_submit_whose_answer_is_lost_is_not_done_twice(
    archival_sandbox: Sandbox, connections: Connections, context: Any, pauses: Pauses, what: dict[str, Any]
) -> None:
    archival_sandbox.fault("/api/v1/projects/*/archive", **what)
    result = project().execute(context)
    assert [job["id"] for job in archival_sandbox.jobs()] == [result["operation_id"]]


def test_a_kill_leaves_the_operation_running(
    archival_sandbox: Sandbox, connections: Connections, context: Any, pauses: Pauses, logged: list[str]
) -> None:
    task = project()

    def kill() -> None:
        pauses.before = None
        task.on_kill()

    pauses.before = kill
    assert task.execute(context)["status"] == "SUCCESS"
    assert any("can't be cancelled; it goes on" in line for line in logged)


def test_a_deferral_is_plain_data(archival_sandbox: Sandbox, connections: Connections, context: Any) -> None:
    with pytest.raises(TaskDeferred) as caught:
        project(deferrable=True, poll_interval=7).execute(context)
    assert isinstance(caught.value.trigger, TolokaOperationTrigger)
    kwargs = caught.value.trigger.serialize()[1]
    assert json.loads(json.dumps(kwargs)) == kwargs
    assert kwargs["poll_interval"] == 7
    assert kwargs["operation_id"] in {job["id"] for job in archival_sandbox.jobs()}


# --- what can't be used ---


@pytest.mark.parametrize("value", ["", " ", None, True, "../x", "a b", "{{ nothing }}"], ids=repr)
@pytest.mark.parametrize(("make", "parameter"), [(project, "project_id"), (pool, "pool_id")])
def test_an_id_that_can_not_be_used_fails_for_good_and_sends_nothing(
    archival_sandbox: Sandbox, connections: Connections, context: Any, make: Any, parameter: str, value: Any
) -> None:
    with pytest.raises(BadInput, match=parameter) as caught:
        make(value).execute(context)
    assert isinstance(caught.value, AirflowFailException)
    assert archival_sandbox.requests() == []


@pytest.mark.parametrize(("project_id", "status"), [("4711", 404), (PROJECT_OF_ANOTHER_REQUESTER, 403)])
def test_a_project_that_is_not_ours_fails_for_good(
    connections: Connections, context: Any, project_id: str, status: int
) -> None:
    with pytest.raises(ServiceRefusal, match=f"HTTP {status}") as caught:
        project(project_id).execute(context)
    assert isinstance(caught.value, AirflowFailException)


def test_a_bad_connection_fails_for_good(connections: Connections, context: Any) -> None:
    connections.change("toloka_default", password="")
    with pytest.raises(ConnectionNotUsable, match=r"'toloka_default': password \(the token\) is missing"):
        project().execute(context)


def test_a_wrong_token_fails_for_good_and_says_what_to_check(connections: Connections, context: Any) -> None:
    connections.change("toloka_default", password="wrong")
    with pytest.raises(ServiceRefusal, match=r"HTTP 401.*environment.*auth_scheme"):
        project().execute(context)


def test_a_service_that_is_down_is_worth_a_retry(
    connections: Connections, context: Any, pauses: Pauses, refused_url: str
) -> None:
    connections.change("toloka_default", host=refused_url)
    with pytest.raises(ServiceFault, match="can be reached from here") as caught:
        project().execute(context)
    assert not isinstance(caught.value, AirflowFailException)


def test_all_data_parameters_are_template_fields() -> None:
    assert set(TolokaArchiveProjectOperator.template_fields) == {
        "project_id",
        "archive_pools",
        "close_open_pools",
        "toloka_conn_id",
    }
    assert set(TolokaArchivePoolOperator.template_fields) == {"pool_id", "toloka_conn_id"}
