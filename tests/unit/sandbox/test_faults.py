"""The sandbox's faults: what goes wrong, for which requests, how often, and what took effect."""

from __future__ import annotations

import json
import socket
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.bodies import HUGE_BYTES
from airflow_provider_archival.sandbox.descriptions import BadDescription
from airflow_provider_archival.sandbox.faults import Faults
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
    assert len(get(archival_sandbox).content) > HUGE_BYTES


def test_sends_half_an_emoji(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", status=400, body={"message": "cut \ud83d"})
    assert get(archival_sandbox).content == b'{"message": "cut \\ud83d"}'
    archival_sandbox.fault("/api/v1/requester", status=400, body="cut \ud83d")
    assert get(archival_sandbox).content == b"cut \xed\xa0\xbd"
    shown = requests.get(f"{archival_sandbox.base_url}/_sandbox/faults", timeout=10).json()["faults"]
    assert [fault["body"] for fault in shown] == [{"message": "cut \ud83d"}, "cut \ud83d"]


def test_an_error_page_has_its_status(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", status=502, body="html")
    answer = get(archival_sandbox)
    assert (answer.status_code, answer.text[:15]) == (502, "<!doctype html>")


def test_truncates_an_answer(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", truncate=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        get(archival_sandbox)


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("edge", "text/html", "<title>404 Not Found</title>"),
        ("login", "text/html", "<title>Log in to continue</title>"),
        ("gateway", "application/json", '{"code": 404, "message": "Not Found"}'),
        ("xml", "application/xml", "<Error><Code>AccessDenied</Code>"),
    ],
)
def test_others_answer_in_the_services_place(
    archival_sandbox: Sandbox, body: str, kind: str, said: str
) -> None:
    archival_sandbox.fault(ARCHIVE, status=404, body=body)
    answer = archive(archival_sandbox)
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (404, kind)
    assert said in answer.text
    assert archival_sandbox.jobs() == []


def test_the_page_of_an_edge_is_some_kilobytes_long_and_names_its_status(archival_sandbox: Sandbox) -> None:
    for status in (400, 403, 404, 599):
        archival_sandbox.fault("/api/v1/requester", status=status, body="edge")
        answer = get(archival_sandbox)
        assert f"<title>{status} " in answer.text
        assert 2000 < len(answer.content) < 10_000


def test_a_redirect_can_lead_to_a_login_page(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", redirect="/login")
    answer = get(archival_sandbox)
    assert (answer.status_code, [one.status_code for one in answer.history]) == (200, [302])
    assert "<title>Log in to continue</title>" in answer.text


def test_packs_an_answer(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", encoding="gzip")
    answer = get(archival_sandbox)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json()["id"]


def test_half_of_a_packed_answer_is_whole_as_far_as_http_goes(archival_sandbox: Sandbox) -> None:
    lines = "\n".join(f"line {number}" for number in range(3000))
    archival_sandbox.fault("/api/v1/requester", status=200, body=lines, encoding="gzip", truncate=True)
    with get(archival_sandbox, stream=True) as answer:
        sent = answer.raw.read(decode_content=False)
    assert int(answer.headers["Content-Length"]) == len(sent)
    unpacking = zlib.decompressobj(31)
    assert lines.startswith(unpacking.decompress(sent).decode())
    assert not unpacking.eof


class Raw:
    """A connection on which nothing but bytes is read."""

    def __init__(self, sandbox: Sandbox, method: str, path: str) -> None:
        host, _, port = sandbox.base_url.removeprefix("http://").partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        authorization = f"Authorization: {TOKEN['Authorization']}"
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n\r\n".encode())

    def read_until(self, wanted: bytes) -> bytes:
        read = b""
        while wanted not in read:
            got = self.socket.recv(1)
            assert got, read
            read += got
        return read


@pytest.mark.parametrize(
    ("what", "first", "on_and_on"),
    [
        ({"drip": "headers"}, b"HTTP/1.1 202 Accepted\r\nX-Slow: ", b"." * 20),
        ({"continues": True}, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 20),
        ({"drip": "body"}, b"HTTP/1.1 202 Accepted\r\n", b"1\r\n \r\n" * 20),
    ],
)
def test_an_answer_goes_on_without_an_end(
    archival_sandbox: Sandbox, what: dict[str, Any], first: bytes, on_and_on: bytes
) -> None:
    archival_sandbox.fault(ARCHIVE, every=0.001, **what)
    raw = Raw(archival_sandbox, "POST", ARCHIVE)
    with raw.socket:
        assert raw.read_until(first) == first
        raw.read_until(on_and_on)
        assert len(archival_sandbox.jobs()) == 1
        archival_sandbox.reset()
        while raw.socket.recv(1000):
            pass
    assert get(archival_sandbox).status_code == 200


def test_a_body_comes_byte_by_byte_as_it_is(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/api/v1/requester", drip="body", every=0.001, status=404, body="gateway")
    with get(archival_sandbox, stream=True) as answer:
        assert answer.status_code == 404
        pieces = answer.iter_content(1)
        whole = b'{"code": 404, "message": "Not Found"}'
        assert b"".join(next(pieces) for _ in range(len(whole) + 3)) == whole + b"   "


async def test_a_request_that_was_dropped_between_two_waits_is_held_no_more() -> None:
    faults = Faults()
    held = faults.held
    assert await held.wait(0.001)
    faults.drop_held()
    assert not await held.wait(0.001)
    assert await faults.held.wait(0.001)


@pytest.mark.parametrize("what", [{"drip": "headers"}, {"drip": "body"}, {"continues": True}])
def test_a_client_that_leaves_ends_it(archival_sandbox: Sandbox, what: dict[str, Any]) -> None:
    def overlapped() -> int:
        archival_sandbox.clear_counters()
        get(archival_sandbox)
        return int(archival_sandbox.counters()["requests_overlapped"])

    archival_sandbox.fault(ARCHIVE, every=0.001, **what)
    raw = Raw(archival_sandbox, "POST", ARCHIVE)
    with raw.socket:
        raw.read_until(b"\r\n")
        assert overlapped() == 1
    while overlapped():
        time.sleep(0.01)


def test_a_count_that_never_falls_and_a_412_are_recipes(archival_sandbox: Sandbox) -> None:
    archival_sandbox.fault("/rest/api/3/search/approximate-count", times=None, status=200, body={"count": 7})
    busy = (
        "An issue archival task is already running with ID 10101."
        " To start a new one, cancel the task or wait for it to finish."
    )
    archival_sandbox.fault("/rest/api/3/issue/archive", status=412, body={"errorMessages": [busy]})
    api = f"{archival_sandbox.base_url}/rest/api/3"
    counts = [requests.post(f"{api}/search/approximate-count", timeout=10).json() for _ in range(3)]
    assert counts == [{"count": 7}] * 3
    answer = requests.post(f"{api}/issue/archive", timeout=10)
    assert (answer.status_code, answer.json()) == (412, {"errorMessages": [busy]})


def test_may_say_another_date(archival_sandbox: Sandbox) -> None:
    date = "Thu, 01 Jan 1970 00:00:00 GMT"
    archival_sandbox.fault("/api/v1/*", status=503, headers={"Date": date})
    archival_sandbox.fault("/api/v1/*", body="html", headers={"Date": date})
    assert [get(archival_sandbox).headers["Date"] for _ in range(2)] == [date, date]


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
        ({"path": "/a", "drip": True}, "drip"),
        ({"path": "/a", "continues": 1}, "continues"),
        ({"path": "/a", "every": 1}, "status"),
        ({"path": "/a", "drip": "body", "every": 0}, "every"),
        ({"path": "/a", "encoding": "br"}, "encoding"),
        ({"path": "/a", "drip": "body", "reset": "before"}, "drip"),
        ({"path": "/a", "drip": "body", "continues": True}, "continues"),
        ({"path": "/a", "drip": "body", "truncate": True}, "truncate"),
        ({"path": "/a", "reset": "before", "encoding": "gzip"}, "reset"),
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
