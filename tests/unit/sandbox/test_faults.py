"""The sandbox's faults: what goes wrong, for which requests, how often, and what took effect."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.descriptions import BadDescription
from airflow_provider_archival.sandbox.faults import HUGE_BODY_BYTES, Faults
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

TOKEN = {"Authorization": f"OAuth {credentials.TOLOKA_OAUTH_TOKEN}"}
ARCHIVE = f"/api/v1/projects/{PROJECT_READY}/archive"


def get(sandbox: Sandbox, path: str = "/api/v1/requester", **more: Any) -> requests.Response:
    return requests.get(sandbox.base_url + path, headers=TOKEN, timeout=more.pop("timeout", 10), **more)


def archive(sandbox: Sandbox, **more: Any) -> requests.Response:
    return requests.post(sandbox.base_url + ARCHIVE, headers=TOKEN, timeout=more.pop("timeout", 10), **more)


def test_answers_with_a_status_headers_and_json(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault(
        "/api/v1/*", status=429, headers={"Retry-After": "7"}, body={"code": "TOO_MANY_REQUESTS"}
    )
    answer = get(archival_sandbox)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert answer.json() == {"code": "TOO_MANY_REQUESTS"}
    assert archival_sandbox.requests()[0]["status"] == 429
    assert get(archival_sandbox).status_code == 200


@pytest.mark.parametrize(
    ("what", "jobs"),
    [
        ({"status": 504}, 0),
        ({"status": 504, "when": "after"}, 1),
        ({"redirect": "http://127.0.0.1:1/"}, 0),
        ({"body": "html"}, 1),
        ({"body": "empty"}, 1),
        ({"body": "broken"}, 1),
    ],
)
def test_takes_effect_or_not(archival_sandbox: Sandbox, what: dict[str, Any], jobs: int) -> None:
    archival_sandbox.fault(ARCHIVE, **what)
    archive(archival_sandbox, allow_redirects=False)
    assert len(archival_sandbox.jobs()) == jobs


@pytest.mark.parametrize(("when", "jobs"), [("before", 0), ("after", 1)])
def test_resets_the_connection(archival_sandbox: Sandbox, when: str, jobs: int) -> None:
    archival_sandbox.fault(ARCHIVE, reset=when)
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        archive(archival_sandbox)
    assert archival_sandbox.requests()[0]["status"] is None
    assert len(archival_sandbox.jobs()) == jobs


def test_a_reset_connection_does_no_harm_to_the_others(archival_sandbox: Sandbox) -> None:
    with requests.Session() as kept:
        assert kept.get(f"{archival_sandbox.base_url}/api/v1/requester", headers=TOKEN, timeout=10).ok
        archival_sandbox.fault(ARCHIVE, reset="before")
        with pytest.raises(requests.ConnectionError):
            archive(archival_sandbox)
        assert kept.get(f"{archival_sandbox.base_url}/api/v1/requester", headers=TOKEN, timeout=10).ok


def test_delays_and_goes_on(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", delay=0.3)
    started = time.monotonic()
    assert get(archival_sandbox).status_code == 200
    assert time.monotonic() - started >= 0.3


def test_delays_an_answer_whose_request_took_effect(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault(ARCHIVE, delay=30, when="after")
    with pytest.raises(requests.ReadTimeout):
        archive(archival_sandbox, timeout=0.5)
    assert len(archival_sandbox.jobs()) == 1


def test_delays_then_answers_with_a_status(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", delay=0.2, status=503)
    assert get(archival_sandbox).status_code == 503


def test_sends_bodies_that_can_not_be_read(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", body="broken")
    with pytest.raises(requests.JSONDecodeError):
        get(archival_sandbox).json()
    archival_sandbox.fault("/api/v1/requester", body="html")
    assert get(archival_sandbox).headers["Content-Type"].startswith("text/html")
    archival_sandbox.fault("/api/v1/requester", body="empty")
    assert get(archival_sandbox).content == b""
    archival_sandbox.fault("/api/v1/requester", body="huge")
    assert len(get(archival_sandbox).content) > HUGE_BODY_BYTES


def test_an_error_page_has_its_status(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", status=502, body="html")
    answer = get(archival_sandbox)
    assert (answer.status_code, answer.text[:15]) == (502, "<!doctype html>")


def test_truncates_an_answer(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", truncate=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        get(archival_sandbox)


def test_redirects(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", redirect="https://elsewhere.example/", status=307)
    answer = get(archival_sandbox, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (307, "https://elsewhere.example/")


def test_meets_requests_by_method_path_times_and_skip(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/req*", method="get", times=2, skip=1, status=500)
    archival_sandbox.fault("/api/v1/requester", method="POST", times=None, status=501)
    assert [get(archival_sandbox).status_code for _ in range(4)] == [200, 500, 500, 200]
    assert get(archival_sandbox, "/api/v1/projects").status_code == 200


def test_meets_requests_through_the_gateway_too(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/rest/api/3/myself", status=503)
    assert get(archival_sandbox, "/ex/jira/any-cloud/rest/api/3/myself").status_code == 503


def test_the_first_fault_that_is_not_used_up_applies(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/*", status=500)
    archival_sandbox.fault("/api/*", status=503, times=None)
    assert [get(archival_sandbox).status_code for _ in range(3)] == [500, 503, 503]
    archival_sandbox.clear_faults()
    assert get(archival_sandbox).status_code == 200


def test_no_fault_meets_the_control(archival_sandbox: Sandbox) -> None:
    id = archival_sandbox.fault("*", status=500, times=None)
    (fault,) = requests.get(f"{archival_sandbox.base_url}/_sandbox/faults", timeout=10).json()["faults"]
    assert (fault["id"], fault["met"], fault["status"]) == (id, 0, 500)
    assert requests.delete(f"{archival_sandbox.base_url}/_sandbox/faults/{id}", timeout=10).status_code == 204
    assert get(archival_sandbox).status_code == 200


@pytest.mark.parametrize(
    ("description", "field"),
    [
        ("nonsense", "body"),
        ({}, "path"),
        ({"path": "no-slash", "status": 500}, "path"),
        ({"path": 1, "status": 500}, "path"),
        ({"path": "/a"}, "status"),
        ({"path": "/a", "headers": {"X": "y"}}, "status"),
        ({"path": "/a", "status": "500"}, "status"),
        ({"path": "/a", "status": 99}, "status"),
        ({"path": "/a", "status": 500, "times": 0}, "times"),
        ({"path": "/a", "status": 500, "times": True}, "times"),
        ({"path": "/a", "status": 500, "skip": -1}, "skip"),
        ({"path": "/a", "status": 500, "method": 5}, "method"),
        ({"path": "/a", "status": 500, "headers": {"X": 1}}, "headers"),
        ({"path": "/a", "status": 500, "surprise": 1}, "surprise"),
        ({"path": "/a", "status": 500, "id": "mine"}, "id"),
        ({"path": "/a", "reset": True}, "reset"),
        ({"path": "/a", "reset": "before", "status": 500}, "reset"),
        ({"path": "/a", "delay": -1}, "delay"),
        ({"path": "/a", "delay": "1"}, "delay"),
        ({"path": "/a", "body": {"no": "status"}}, "body"),
        ({"path": "/a", "body": None}, "body"),
        ({"path": "/a", "truncate": "yes"}, "truncate"),
        ({"path": "/a", "redirect": ""}, "redirect"),
        ({"path": "/a", "status": 500, "when": "later"}, "when"),
    ],
)
def test_refuses_a_bad_description_and_names_the_field(description: Any, field: str) -> None:
    with pytest.raises(BadDescription) as refused:
        Faults().add(description)
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: ")


def test_the_refusal_reaches_the_client(archival_sandbox: Sandbox) -> None:
    url = f"{archival_sandbox.base_url}/_sandbox/faults"
    answer = requests.post(url, data=json.dumps({"path": "/a", "status": 99}), timeout=10)
    assert answer.status_code == 400
    assert answer.json() == {"error": "status: want a status from 200 to 599, not 99", "field": "status"}
