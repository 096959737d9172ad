"""Whose answer is it: which errors count as a service's own, and which are a fault that may pass."""

from __future__ import annotations

import json
from typing import Any

import pytest
from every_request import EVERY_REQUEST
from said import EDGES_PAGE, GATEWAYS_JSON

from airflow_provider_archival.api import http, voices
from airflow_provider_archival.api.http import ApiError, Request, Response
from airflow_provider_archival.hooks import auth

JIRAS = {"errorMessages": ["No."], "errors": {}}
TOLOKAS = {"request_id": "r-1", "code": "ACCESS_DENIED", "message": "No.", "payload": {}}
NOT_THERE = {**TOLOKAS, "code": "DOES_NOT_EXIST"}
REPORT = {"numberOfIssuesUpdated": 0, "errors": {}}
SITE_401 = {"message": "Client must be authenticated to access this resource.", "status-code": 401}
SCOPE_401 = {"code": 401, "message": "Unauthorized; scope does not match"}
PLAIN_401 = b"Client must be authenticated to access this resource."
S3S = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'


def answer(status: int, said: Any, **headers: str) -> Response:
    body = (
        said
        if isinstance(said, bytes)
        else said.encode()
        if isinstance(said, str)
        else json.dumps(said).encode()
    )
    return Response(status, headers, body)


@pytest.mark.parametrize(
    ("status", "said", "is_jiras"),
    [
        *((status, JIRAS, True) for status in (400, 401, 403, 404, 405, 409, 410, 412)),
        (404, ["Task is not found."], True),
        (404, ["Task", 1], False),
        (404, [], False),
        (400, REPORT, True),
        (400, {"numberOfIssuesUpdated": 0}, True),
        (400, {"errors": {"jql": "is wrong"}}, True),
        (400, {"errors": ["is wrong"]}, False),
        (400, {"errorMessages": "is wrong"}, False),
        (401, SCOPE_401, True),
        (403, {**SCOPE_401, "code": 403}, True),
        (404, {"code": 404, "message": "No site"}, False),
        (403, {"code": 0, "message": "Blocked by a rule"}, False),
        (401, SITE_401, True),
        (404, {**SITE_401, "status-code": 404}, False),
        (401, PLAIN_401, True),
        (403, PLAIN_401, False),
        *((status, b"", True) for status in (401, 403, 404)),
        *((status, b" \n", True) for status in (401, 403, 404)),
        *((status, b"", False) for status in (400, 405, 409, 410, 412, 413)),
        *((status, EDGES_PAGE, False) for status in (400, 401, 403, 404, 409, 410, 412)),
        *((status, GATEWAYS_JSON, False) for status in (400, 401, 403, 404, 412)),
        (404, b'{"errorMessages": ["cut', False),
        (404, b'"Not Found"', False),
        (404, b"null", False),
        (404, b"404 page not found", False),
        (404, TOLOKAS, False),
    ],
    ids=str,
)
def test_an_error_is_jiras_only_in_a_shape_of_jiras(status: int, said: Any, is_jiras: bool) -> None:
    assert voices.jiras(answer(status, said)) is is_jiras


def test_a_page_is_nobodys_even_if_it_reads_like_an_error_of_jiras() -> None:
    assert not voices.jiras(answer(404, JIRAS, **{"content-type": "text/html"}))


@pytest.mark.parametrize(
    ("status", "said", "is_tolokas"),
    [
        *((status, TOLOKAS, True) for status in (400, 401, 403, 409)),
        (404, NOT_THERE, True),
        (404, TOLOKAS, False),
        (404, {**NOT_THERE, "code": "NOT_FOUND"}, False),
        (410, {**NOT_THERE, "code": "GONE"}, False),
        (403, {"code": "ACCESS_DENIED"}, False),
        (403, {"code": 403, "message": "No."}, False),
        (403, {"code": "403", "message": "No."}, False),
        *((status, b"", True) for status in (401, 403, 404)),
        *((status, b"", False) for status in (400, 409, 410)),
        *((status, EDGES_PAGE, False) for status in (400, 401, 403, 404, 409)),
        *((status, GATEWAYS_JSON, False) for status in (400, 401, 403, 404, 409)),
        (409, [TOLOKAS], False),
        (404, JIRAS, False),
    ],
    ids=str,
)
def test_an_error_is_tolokas_only_in_its_shape(status: int, said: Any, is_tolokas: bool) -> None:
    assert voices.tolokas(answer(status, said)) is is_tolokas


@pytest.mark.parametrize(
    ("status", "said", "is_a_storages"),
    [
        (403, S3S, True),
        (404, S3S, True),
        (400, b"\xef\xbb\xbf<Error>", True),
        (403, b"", True),
        (400, b"", False),
    ]
    + [(status, EDGES_PAGE, False) for status in (400, 403, 404)]
    + [(404, b"<Errors/>", False), (404, b"gone", False)],
    ids=str,
)
def test_an_error_is_an_object_stores_only_in_xml(status: int, said: Any, is_a_storages: bool) -> None:
    assert voices.storages(answer(status, said)) is is_a_storages


EVERY = [*EVERY_REQUEST, auth._TOKEN_REQUEST]


@pytest.mark.parametrize("request_", EVERY, ids=str)
@pytest.mark.parametrize(
    "said", [EDGES_PAGE, GATEWAYS_JSON, b"no healthy upstream"], ids=["page", "JSON", "text"]
)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 410, 412, 413, 422, 431, 451])
def test_what_something_else_says_is_a_fault_that_may_pass_and_leaves_all_in_doubt(
    request_: Request[Any], said: Any, status: int
) -> None:
    with pytest.raises(ApiError) as caught:
        request_.read(answer(status, said))
    assert type(caught.value) is http.ForeignAnswer
    assert (caught.value.can_repeat, caught.value.surely_undone) == (True, False)


@pytest.mark.parametrize("request_", EVERY, ids=str)
@pytest.mark.parametrize("status", [408, 423, 425, 500, 503])
@pytest.mark.parametrize("said", [JIRAS, TOLOKAS, b""], ids=["jira", "toloka", "empty"])
def test_some_statuses_pass_whoever_says_them(request_: Request[Any], status: int, said: Any) -> None:
    with pytest.raises(http.ServiceUnavailable) as caught:
        request_.read(answer(status, said))
    assert (caught.value.can_repeat, caught.value.surely_undone) == (True, False)


@pytest.mark.parametrize("request_", EVERY, ids=str)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_fault_that_may_pass(request_: Request[Any], status: int) -> None:
    with pytest.raises(http.Redirected) as caught:
        request_.read(answer(status, b"", location="https://id.example.com/login"))
    assert (caught.value.can_repeat, caught.value.surely_undone) == (True, False)
    assert caught.value.messages == ("redirected to https://id.example.com",)


def test_a_request_that_says_nothing_of_its_service_believes_nobody() -> None:
    with pytest.raises(http.ForeignAnswer):
        Request("GET", "/", lambda response: None).read(answer(404, JIRAS))
