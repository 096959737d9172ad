"""Toloka's endpoints: what goes out, and what the reference's own example answers come to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_archival.api import http, toloka
from airflow_provider_archival.api.http import Repeat, Request, Response
from airflow_provider_archival.api.toloka import Page, TolokaOperation, TolokaPool, TolokaProject

ARCHIVED = {
    "details": {},
    "finished": "2022-04-07T16:06:15.902",
    "id": "57068577e4b0bf7b07a0256f",
    "parameters": {"project_id": "1"},
    "progress": 100,
    "started": "2022-04-07T16:06:15.902",
    "status": "SUCCESS",
    "submitted": "2022-04-07T16:06:15.902",
    "type": "PROJECT.ARCHIVE",
}


def read(request: Request[Any], said: Any, status: int = 200) -> Any:
    return request.read(Response(status, {}, json.dumps(said).encode()))


# --- what goes out ---


@pytest.mark.parametrize(
    ("request_", "method", "target", "repeat"),
    [
        (toloka.archive_project("1"), "POST", "/projects/1/archive", Repeat.AFTER_A_LOOK),
        (toloka.archive_pool("1"), "POST", "/pools/1/archive", Repeat.AFTER_A_LOOK),
        (toloka.archive_training("1"), "POST", "/trainings/1/archive", Repeat.AFTER_A_LOOK),
        (toloka.close_pool("1"), "POST", "/pools/1/close", Repeat.AFTER_A_LOOK),
        (toloka.close_training("1"), "POST", "/trainings/1/close", Repeat.AFTER_A_LOOK),
        (toloka.get_operation("a-1"), "GET", "/operations/a-1", Repeat.FREELY),
        (toloka.list_operations(), "GET", "/operations?sort=id&limit=500", Repeat.FREELY),
        (
            toloka.list_operations(
                type="PROJECT.ARCHIVE",
                status="RUNNING",
                submitted_gte="2022-04-07T16:06:15",
                id_gt="a-1",
                limit=7,
            ),
            "GET",
            "/operations?type=PROJECT.ARCHIVE&status=RUNNING&submitted_gte=2022-04-07T16%3A06%3A15&id_gt=a-1"
            "&sort=id&limit=7",
            Repeat.FREELY,
        ),
        (toloka.list_pools("1"), "GET", "/pools?project_id=1&sort=id&limit=300", Repeat.FREELY),
        (
            toloka.list_pools("1", status="OPEN", id_gt="9"),
            "GET",
            "/pools?project_id=1&status=OPEN&id_gt=9&sort=id&limit=300",
            Repeat.FREELY,
        ),
        (toloka.list_trainings("1"), "GET", "/trainings?project_id=1&sort=id&limit=300", Repeat.FREELY),
        (toloka.get_project("1"), "GET", "/projects/1", Repeat.FREELY),
        (toloka.requester(), "GET", "/requester", Repeat.FREELY),
    ],
    ids=str,
)
def test_a_request_has_the_references_method_and_path_and_no_body(
    request_: Request[Any], method: str, target: str, repeat: Repeat
) -> None:
    assert (request_.method, request_.target, request_.json) == (method, target, None)
    assert request_.repeat is repeat


@pytest.mark.parametrize("id", ["", "../x", "1/archive", "1?x", "a b", "é", None, True])
@pytest.mark.parametrize(
    "make",
    [
        toloka.archive_project,
        toloka.archive_pool,
        toloka.archive_training,
        toloka.close_pool,
        toloka.close_training,
        toloka.get_operation,
        toloka.list_pools,
        toloka.list_trainings,
        toloka.get_project,
    ],
)
def test_an_id_that_could_change_the_path_is_refused(make: Any, id: Any) -> None:
    with pytest.raises(ValueError, match="may have letters, digits, '-' and '_' only"):
        make(id)


# --- operations ---


def test_the_references_finished_operation_is_read() -> None:
    moment = "2022-04-07T16:06:15.902000+00:00"
    assert read(toloka.archive_project("1"), ARCHIVED, 202) == TolokaOperation(
        id="57068577e4b0bf7b07a0256f",
        type="PROJECT.ARCHIVE",
        status="SUCCESS",
        progress=100,
        parameters={"project_id": "1"},
        details={},
        submitted=moment,
        started=moment,
        finished=moment,
    )


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (toloka.archive_pool("1"), {**ARCHIVED, "type": "POOL.ARCHIVE", "parameters": {"pool_id": "1"}}),
        (toloka.close_pool("21"), {**ARCHIVED, "type": "POOL.CLOSE", "parameters": {"pool_id": "21"}}),
        (
            toloka.archive_training("1"),
            {**ARCHIVED, "type": "TRAINING.ARCHIVE", "parameters": {"training_id": "1245598"}},
        ),
        (
            toloka.close_training("1"),
            {**ARCHIVED, "type": "TRAINING.CLOSE", "parameters": {"training_id": "123456"}},
        ),
    ],
)
def test_the_references_other_operations_are_read(request_: Request[Any], said: dict[str, Any]) -> None:
    operation = read(request_, said, 202)
    assert (operation.type, operation.parameters) == (said["type"], said["parameters"])
    assert operation.succeeded


def test_the_references_analytics_operation_is_read() -> None:
    said = {
        "details": {"value": [{"request": {"subject_id": "36502086"}, "result": {"value": 96}}]},
        "finished": "2022-11-22T16:11:39.633",
        "id": "07700135-c34a-4df0-ae55-d44081dea432",
        "parameters": {"value": [{"name": "completion_percentage", "subject_id": "36502086"}]},
        "progress": 100,
        "started": "2022-11-22T16:11:39.005",
        "status": "SUCCESS",
        "submitted": "2022-11-22T16:11:38.874",
        "type": "ANALYTICS",
    }
    page = read(toloka.list_operations(), {"has_more": True, "items": [said]})
    assert page.has_more
    assert page.items == (read(toloka.get_operation(said["id"]), said),)  # type: ignore[arg-type]
    assert page.items[0].details == said["details"]


@pytest.mark.parametrize(
    "request_",
    [
        toloka.archive_project("1"),
        toloka.archive_pool("1"),
        toloka.archive_training("1"),
        toloka.close_pool("1"),
        toloka.close_training("1"),
    ],
    ids=str,
)
def test_a_204_means_that_nothing_had_to_be_done(request_: Request[Any]) -> None:
    assert request_.read(Response(204, {}, b"")) is None


def test_an_operation_needs_no_more_than_id_type_and_status() -> None:
    operation = read(toloka.get_operation("1"), {"id": "1", "type": "POOL.CLOSE", "status": "PENDING"})
    assert operation == TolokaOperation("1", "POOL.CLOSE", "PENDING")


@pytest.mark.parametrize("missing", ["id", "type", "status"])
def test_an_operation_without_id_type_or_status_is_unreadable(missing: str) -> None:
    said = {name: value for name, value in ARCHIVED.items() if name != missing}
    with pytest.raises(http.UnreadableAnswer, match=missing):
        read(toloka.get_operation("1"), said)


@pytest.mark.parametrize(
    ("status", "is_final", "succeeded", "is_documented"),
    [
        ("PENDING", False, False, True),
        ("RUNNING", False, False, True),
        ("SUCCESS", True, True, True),
        ("FAIL", True, False, True),
        ("PAUSED", False, False, False),
    ],
)
def test_an_operations_status_tells_whether_it_is_over(
    status: str, is_final: bool, succeeded: bool, is_documented: bool
) -> None:
    operation = read(toloka.get_operation("1"), {**ARCHIVED, "status": status})
    found = (operation.is_final, operation.succeeded, operation.is_documented)
    assert found == (is_final, succeeded, is_documented)


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2016-04-07T16:06:15.902", "2016-04-07T16:06:15.902000+00:00"),
        ("2016-04-07T16:06:15", "2016-04-07T16:06:15+00:00"),
        ("2016-04-07T18:06:15+02:00", "2016-04-07T16:06:15+00:00"),
        (None, None),
        ("", None),
        ("whenever", None),
        ("4:", None),
        ("9999-12-31T23:59:59-10:00", None),
        ([], None),
    ],
)
def test_a_time_is_read_as_utc_and_never_costs_the_operation(value: Any, time: str | None) -> None:
    assert read(toloka.get_operation("1"), {**ARCHIVED, "submitted": value}).submitted == time


@pytest.mark.parametrize(
    ("value", "progress"), [(100, 100), (12.5, 12.5), (0, 0), (None, None), ("50", None), (True, None)]
)
def test_progress_is_a_number_whole_or_not(value: Any, progress: float | None) -> None:
    assert read(toloka.get_operation("1"), {**ARCHIVED, "progress": value}).progress == progress


@pytest.mark.parametrize(
    ("details", "said"),
    [({"code": "X"}, "{'code': 'X'}"), ("broken", "broken"), ({}, "no details"), (None, "no details")],
)
def test_an_operation_says_its_outcome(details: Any, said: str) -> None:
    assert TolokaOperation("1", "POOL.CLOSE", "FAIL", details=details).said == said


def test_an_operation_comes_back_from_its_dict_through_json() -> None:
    operation = read(toloka.archive_project("1"), ARCHIVED, 202)
    assert TolokaOperation.from_dict(json.loads(json.dumps(operation.to_dict()))) == operation


# --- lists, projects, who am I ---


@pytest.mark.parametrize("make", [toloka.list_pools, toloka.list_trainings])
def test_a_page_of_pools_is_read(make: Any) -> None:
    said = {
        "items": [
            {"id": "7", "project_id": "1", "status": "CLOSED", "private_name": "Seven"},
            {"id": 8, "project_id": 1, "status": "ARCHIVED"},
        ],
        "has_more": False,
    }
    page = read(make("1"), said)
    assert page == Page((TolokaPool("7", "1", "CLOSED", "Seven"), TolokaPool("8", "1", "ARCHIVED")), False)
    assert [pool.is_archived for pool in page.items] == [False, True]


@pytest.mark.parametrize("said", [{"items": []}, {"has_more": False}, [], {"items": [{}], "has_more": False}])
def test_a_page_that_lacks_something_is_unreadable(said: Any) -> None:
    with pytest.raises(http.UnreadableAnswer):
        read(toloka.list_pools("1"), said)


@pytest.mark.parametrize(("status", "is_archived"), [("ACTIVE", False), ("ARCHIVED", True)])
def test_a_project_is_read(status: str, is_archived: bool) -> None:
    project = read(toloka.get_project("1"), {"id": "1", "status": status, "public_name": "Cats"})
    assert project == TolokaProject("1", status, "Cats")
    assert project.is_archived is is_archived


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"id": "566e", "public_name": {"EN": "Acme", "RU": "Акме"}}, "Acme"),
        ({"id": "566e", "public_name": {}}, "566e"),
        ({"id": "566e"}, "566e"),
    ],
)
def test_the_caller_is_known_by_name_or_id(said: Any, name: str) -> None:
    assert read(toloka.requester(), said) == name


# --- errors ---


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "VALIDATION_ERROR", http.BadRequest),
        (401, "AUTHENTICATION_ERROR", http.NotAuthenticated),
        (403, "ACCESS_DENIED", http.Forbidden),
        (404, "DOES_NOT_EXIST", http.NotFound),
        (409, "CONFLICT_STATE", http.Conflict),
        (409, "INAPPROPRIATE_STATUS", http.Conflict),
        (429, "TOO_MANY_REQUESTS", http.TooManyRequests),
        (503, "REMOTE_SERVICE_UNAVAILABLE", http.ServiceUnavailable),
    ],
)
def test_an_error_carries_code_message_and_request_id(
    status: int, code: str, kind: type[http.ApiError]
) -> None:
    said = {"request_id": "r-1", "code": code, "message": "Not now", "payload": {"id": ["7"]}}
    with pytest.raises(kind) as caught:
        read(toloka.archive_pool("1"), said, status)
    assert caught.value.said == f'{code}: Not now payload {{"id": ["7"]}} (request_id r-1)'


@pytest.mark.parametrize("status", [401, 403, 409, 500])
def test_an_error_without_a_body_is_read(status: int) -> None:
    with pytest.raises(http.ApiError, match=f"HTTP {status}: no message"):
        toloka.archive_pool("1").read(Response(status, {}, b""))
