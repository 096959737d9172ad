"""What an answer means: which error, what the service said, whether to ask again and when."""

from __future__ import annotations

import json
from typing import Any

import pytest
import time_machine
from every_request import EVERY_REQUEST
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_archival.api import http, jira
from airflow_provider_archival.api.http import ApiError, Request, Response
from airflow_provider_archival.api.limits import RateLimit

LOOK = jira.get_task("1")


def error_of(status: int, body: bytes = b"", **headers: str) -> ApiError:
    response = Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
    with pytest.raises(ApiError) as caught:
        LOOK.read(response)
    return caught.value


# --- which error ---


@pytest.mark.parametrize(
    ("status", "kind", "can_repeat", "surely_undone"),
    [
        (302, http.Redirected, True, False),
        (400, http.BadRequest, False, True),
        (401, http.NotAuthenticated, False, True),
        (403, http.Forbidden, False, True),
        (404, http.NotFound, False, True),
        (405, http.BadRequest, False, True),
        (408, http.ServiceUnavailable, True, False),
        (409, http.Conflict, False, True),
        (410, http.NotFound, False, True),
        (412, http.Busy, False, True),
        (413, http.BadRequest, False, True),
        (423, http.ServiceUnavailable, True, False),
        (425, http.ServiceUnavailable, True, False),
        (429, http.TooManyRequests, True, True),
        (500, http.ServiceUnavailable, True, False),
        (502, http.ServiceUnavailable, True, False),
        (503, http.ServiceUnavailable, True, False),
        (504, http.ServiceUnavailable, True, False),
        (599, http.ServiceUnavailable, True, False),
    ],
)
def test_a_status_tells_the_error_and_whether_a_repeat_helps(
    status: int, kind: type[ApiError], can_repeat: bool, surely_undone: bool
) -> None:
    error = error_of(status, b'{"errorMessages": ["No."], "errors": {}}')
    assert (type(error), error.status) == (kind, status)
    assert (error.can_repeat, error.surely_undone) == (can_repeat, surely_undone)


@pytest.mark.parametrize(
    ("kind", "can_repeat", "surely_undone"),
    [(http.NotConnected, True, True), (http.AnswerLost, True, False), (http.UnreadableAnswer, True, False)],
)
def test_a_fault_of_the_wire_may_be_repeated(
    kind: type[ApiError], can_repeat: bool, surely_undone: bool
) -> None:
    error = kind("GET /")
    assert (error.can_repeat, error.surely_undone, error.status) == (can_repeat, surely_undone, None)


def test_an_error_tells_request_status_and_the_services_words() -> None:
    error = error_of(403, b'{"errorMessages": ["Access denied."], "errors": {}}')
    assert str(error) == "GET /rest/api/3/task/1: HTTP 403: Access denied."


def test_an_error_without_an_answer_says_so() -> None:
    assert (
        str(http.AnswerLost("GET /x", ("no answer within 3 s",))) == "GET /x: no answer: no answer within 3 s"
    )


def test_an_error_without_words_says_so() -> None:
    assert str(error_of(503)) == "GET /rest/api/3/task/1: HTTP 503: no message"


# --- what the service said ---


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (b'{"errorMessages": ["Invalid JQL. Bad request."], "errors": {}}', ("Invalid JQL. Bad request.",)),
        (b'{"errorMessages": ["One.", "Two."], "errors": {}}', ("One.", "Two.")),
        (b'{"errorMessages": [], "errors": {"jql": "is empty"}}', ("jql: is empty",)),
        (b'["Your filter contains invalid values {x}"]', ("Your filter contains invalid values {x}",)),
        (b'"just a string"', ("just a string",)),
        (
            b'{"numberOfIssuesUpdated": 0, "errors": {"issuesNotFound":'
            b' {"count": 2, "issueIdsOrKeys": ["A-1", "A-2"], "message": "Issue not found."}}}',
            ("issuesNotFound: Issue not found. (A-1, A-2)",),
        ),
        (
            b'{"request_id": "r-1", "code": "CONFLICT_STATE", "message": "Not closed",'
            b' "payload": {"pool_ids": ["7"]}}',
            ("CONFLICT_STATE: Not closed", 'payload {"pool_ids": ["7"]}', "(request_id r-1)"),
        ),
        (b'{"code": "ACCESS_DENIED"}', ("ACCESS_DENIED: no message",)),
        (b'{"code": 401, "message": "Unauthorized"}', ("Unauthorized",)),
        (
            b'{"error": "access_denied", "error_description": "Unauthorized"}',
            ("access_denied", "Unauthorized"),
        ),
        (b"", ()),
        (b" \n", ()),
        (b"<!doctype html><html><head><title>Log in\n - Jira</title>", ("an HTML page: Log in - Jira",)),
        (b"<html><body>Oops", ("an HTML page",)),
        (b'{"errorMessages": ["cut', ('{"errorMessages": ["cut',)),
        (b"upstream connect error", ("upstream connect error",)),
        (b"{}", ("{}",)),
        (b"[]", ("[]",)),
        (b"null", ("null",)),
        (b'{"what": "ever"}', ('{"what": "ever"}',)),
        (b"\xff\xfe", ("\ufffd\ufffd",)),
    ],
)
def test_an_errors_body_is_read_in_every_shape(body: bytes, messages: tuple[str, ...]) -> None:
    assert error_of(400, body).messages == messages


def test_a_page_is_known_by_its_content_type() -> None:
    assert error_of(502, b"Bad gateway", content_type="text/html").messages == ("an HTML page",)


def test_long_words_are_cut() -> None:
    (message,) = error_of(400, json.dumps([100 * "word "]).encode() + 10_000 * b" ").messages
    assert len(message) == 499 or (len(message) == 500 and message.endswith("…"))


@pytest.mark.parametrize("body", [b"[" * 700 + b"]" * 700, b'{"errors":{"x":{"issueIdsOrKeys":5}}}'])
@pytest.mark.parametrize("status", [400, 500])
def test_an_odd_errors_body_is_still_an_api_error(status: int, body: bytes) -> None:
    assert error_of(status, body).status == status


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://login.example.com/login?token=abc", "https://login.example.com"),
        ("http://127.0.0.1:1/", "http://127.0.0.1:1"),
        ("/relative", "another place"),
        ("https://user:word@example.com/", "another place"),
        ("", "another place"),
    ],
)
def test_a_redirect_names_the_origin_only(location: str, where: str) -> None:
    assert error_of(302, location=location).messages == (f"redirected to {where}",)


@pytest.mark.parametrize(
    ("message", "task_id"),
    [
        (
            "An issue archival task is already running with ID 1010. To start a new one, cancel the task or"
            " wait for it to finish.",
            "1010",
        ),
        ("Already running with id ab_c-1!", "ab_c-1"),
        ("Another task is running.", None),
        ("The number of issues to archive or unarchive exceeds the hard limit of 1000.", None),
        ("", None),
    ],
)
def test_a_412_names_the_running_task_where_jira_does(message: str, task_id: str | None) -> None:
    error = error_of(412, json.dumps({"errorMessages": [message], "errors": {}}).encode())
    assert isinstance(error, http.Busy)
    assert error.running_task_id == task_id


# --- unreadable answers ---


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ""),
        (b"<html><title>Log in</title>", "an HTML page"),
        (b'{"id": "1", "stat', '{"id": "1", "stat'),
        (b"[]", "[]"),
        (b"null", "null"),
        (b'{"id": "1"}', "status"),
        (b'{"id": "../x", "status": "RUNNING"}', "../x"),
        (b'{"id": null, "status": "RUNNING"}', "None"),
        (b'{"id": "1", "status": 7}', "7"),
        (b"[" * 100_000, "nested"),
    ],
)
def test_an_answer_that_breaks_its_promise_is_unreadable(body: bytes, said: str) -> None:
    with pytest.raises(http.UnreadableAnswer) as caught:
        LOOK.read(Response(200, {}, body))
    assert said in str(caught.value)
    assert caught.value.status == 200
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("request_", EVERY_REQUEST, ids=str)
@settings(max_examples=40)
@given(data=st.data())
def test_no_bytes_raise_anything_but_an_api_error(request_: Request[Any], data: st.DataObject) -> None:
    status = data.draw(st.sampled_from([200, 202, 204, 302, 400, 401, 404, 412, 429, 500]))
    body = data.draw(st.binary(max_size=200))
    _read_or_api_error(request_, Response(status, {}, body))


# The words that the answers are made of, so that hypothesis gets past the first look-up.
_NAMES = st.sampled_from(
    [
        "id",
        "status",
        "progress",
        "result",
        "message",
        "errors",
        "errorMessages",
        "count",
        "issueIdsOrKeys",
        "numberOfIssuesUpdated",
        "taskId",
        "submitted",
        "submittedTime",
        "fileUrl",
        "displayName",
        "permissions",
        "ADMINISTER",
        "havePermission",
        "code",
        "payload",
        "request_id",
        "type",
        "parameters",
        "details",
        "items",
        "has_more",
        "project_id",
        "public_name",
        "error",
        "reason",
    ]
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["1", "RUNNING", "COMPLETE", "4:", "9999-12-31T23:59:59-10:00", "2022-04-07T16:06:15.902"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=6),
    max_leaves=12,
)


@pytest.mark.parametrize("request_", EVERY_REQUEST, ids=str)
@settings(max_examples=40)
@given(status=st.sampled_from([200, 202, 204, 400, 404, 412, 500]), said=_JSON)
@example(status=400, said={"errors": {"x": {"issueIdsOrKeys": 5}}})
@example(status=200, said={"id": "1", "type": "X", "status": "RUNNING", "submitted": "4:"})
def test_no_json_raises_anything_but_an_api_error(request_: Request[Any], status: int, said: Any) -> None:
    _read_or_api_error(request_, Response(status, {}, json.dumps(said).encode()))


@given(
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "x-ratelimit-reset", "date", "location", "content-type"]),
        st.text(max_size=40)
        | st.sampled_from(["4:", "Wed, 21 Oct 99999999999 07:28:00 GMT", "9999-12-31T23:59:59-10:00", "-1"]),
    )
)
def test_no_header_raises_anything_but_an_api_error(headers: dict[str, str]) -> None:
    _read_or_api_error(LOOK, Response(429, headers, b""))


def _read_or_api_error(request_: Request[Any], response: Response) -> None:
    try:
        request_.read(response)
    except ApiError as error:
        assert str(error)  # noqa: PT017 (hypothesis decides whether there is an error)


# --- when to ask again ---


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "99999999999999999999"}, 1e20),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "4:"}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT"}, 0.0),
        ({"retry-after": "Thu, 22 Oct 2015 07:28:00 GMT"}, 86400.0),
        ({"x-ratelimit-reset": "2015-10-21T07:28:45Z"}, 45.0),
        ({"x-ratelimit-reset": "2015-10-21T09:28:45+02:00"}, 45.0),
        ({"x-ratelimit-reset": "2015-10-21T07:27:00Z"}, 0.0),
        ({"x-ratelimit-reset": "2015-10-22T07:28:00Z"}, 86400.0),
        ({"x-ratelimit-reset": "whenever"}, None),
        ({"retry-after": "7", "x-ratelimit-reset": "2015-10-21T07:28:45Z"}, 7.0),
        ({"retry-after": "soon", "x-ratelimit-reset": "2015-10-21T07:28:45Z"}, 45.0),
    ],
)
def test_the_services_wish_to_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    with time_machine.travel("2015-10-21T07:28:00Z", tick=False):
        assert RateLimit.of(Response(429, headers, b"")).retry_after == seconds


@time_machine.travel("2030-01-01T00:00:00Z", tick=False)
def test_a_date_to_wait_for_is_compared_with_the_services_own_clock() -> None:
    headers = {"date": "Wed, 21 Oct 2015 07:28:00 GMT", "retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}
    assert RateLimit.of(Response(429, headers, b"")).retry_after == 30.0


@pytest.mark.parametrize("status", [429, 503, 500])
def test_an_error_carries_the_wish_to_wait(status: int) -> None:
    assert error_of(status, retry_after="3").retry_after == 3.0


# --- paths ---


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        (("task", "1010", "cancel"), "/task/1010/cancel"),
        (("a b", "c/d"), "/a%20b/c%2Fd"),
        (("x?y=1", "z#w"), "/x%3Fy%3D1/z%23w"),
        (("é",), "/%C3%A9"),
    ],
)
def test_parts_of_a_path_are_quoted(parts: tuple[str, ...], path: str) -> None:
    assert http.path_of(*parts) == path


@pytest.mark.parametrize("id", ["1", "07700135-c34a-4df0-ae55-d44081dea432", "A_b-9", 17, " 17 "])
def test_a_plain_id_is_taken(id: Any) -> None:
    assert http.checked_id(id, "an id") == str(id).strip()


@pytest.mark.parametrize(
    "id", ["", " ", "..", "../x", "a/b", "a b", "1\n2", "é", "%2e", "1?x", None, True, [], 1.5]
)
def test_an_id_that_could_change_the_path_is_refused(id: Any) -> None:
    with pytest.raises(ValueError, match="a pool's id may have letters, digits, '-' and '_' only"):
        http.checked_id(id, "a pool's id")


@given(st.text())
def test_a_checked_id_stays_one_part_of_a_path(id: str) -> None:
    try:
        checked = http.checked_id(id, "an id")
    except ValueError:
        return
    assert http.path_of(checked) == f"/{checked}"


def test_a_query_is_encoded() -> None:
    request = Request("GET", "/pools", lambda response: None, query={"a": "1 2", "b": "&"})
    assert str(request) == "GET /pools?a=1+2&b=%26"
