"""Every request has an end, and its clock runs from the moment it is sent, however many others there are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_archival.api import http, jira
from airflow_provider_archival.exceptions import ServiceFault
from airflow_provider_archival.hooks.jira import JiraCloudHook

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.conftest import Answer, Carrier, Connections, Loopback, Received
    from tests.unit.hooks.conftest import Proxy

ME = b'{"displayName": "Me"}'
SUBMIT = jira.archive_by_jql("key = A-1")
OK = b"HTTP/1.1 200 OK\r\n"
# The begin of a TLS record, and of a handshake's message in it, that both have 16 KiB to come.
HANDSHAKE = b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xf0"


def bearer_to(connections: Connections, url: str, **extra: Any) -> JiraCloudHook:
    connections.add(
        "mine", host=url, password="pw", extra={"auth_type": "bearer", **extra}, conn_type="jira_cloud"
    )
    return JiraCloudHook("mine")


def lost_by(carry: Carrier, hook: JiraCloudHook) -> http.ApiError:
    with pytest.raises(ServiceFault) as caught:
        carry(hook, SUBMIT, attempts=1)
    return caught.value.error


# --- servers that drip ---


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"", b"HTTP/1.1 200 OK            "),
        (OK, b"X-A: 1\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Content-Length: 1000\r\n\r\n", b" "),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"00000000000"),
        (OK + b"\r\n", b" "),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\n", b" "),
    ],
    ids=["status", "headers", "continue", "length", "chunks", "chunk size", "until closed", "error"],
)
def test_an_answer_that_drips_has_an_end(
    own_connections: Connections,
    carry: Carrier,
    dripping: Callable[..., int],
    begin: bytes,
    drip: bytes,
) -> None:
    port = dripping(drip, begin=begin)
    error = lost_by(carry, bearer_to(own_connections, f"http://127.0.0.1:{port}", timeout=0.4))
    assert isinstance(error, http.AnswerLost)
    assert "answer within 0.4 s" in str(error)


def test_a_flood_that_is_no_answer_has_an_end(
    own_connections: Connections, carry: Carrier, talking: Callable[..., int]
) -> None:
    def flood(client: socket.socket, stop: threading.Event) -> None:
        client.recv(65536)
        while not stop.is_set():
            client.sendall(100 * b"HTTP/1.1 100 Continue\r\n\r\n")

    hook = bearer_to(own_connections, f"http://127.0.0.1:{talking(flood)}", timeout=0.4)
    assert isinstance(lost_by(carry, hook), http.AnswerLost)


def drip_a_handshake(client: socket.socket, stop: threading.Event) -> None:
    client.recv(65536)
    client.sendall(HANDSHAKE)
    for _ in range(100):
        if stop.wait(0.05):
            return
        client.sendall(b"\x00")


def test_a_handshake_that_drips_has_an_end(
    own_connections: Connections, carry: Carrier, talking: Callable[..., int]
) -> None:
    port = talking(drip_a_handshake)
    error = lost_by(carry, bearer_to(own_connections, f"https://127.0.0.1:{port}", timeout=0.4))
    assert isinstance(error, http.NotConnected)
    assert "no connection within 0.4 s" in str(error)


@pytest.mark.parametrize("what", ["status", "head", "handshake"])
def test_a_proxy_that_drips_has_an_end(
    own_connections: Connections,
    carry: Carrier,
    dripping: Callable[..., int],
    talking: Callable[..., int],
    what: str,
) -> None:
    def tunnel(client: socket.socket, stop: threading.Event) -> None:
        client.recv(65536)
        client.sendall(OK + b"\r\n")
        drip_a_handshake(client, stop)

    if what == "handshake":
        port = talking(tunnel)
    else:
        port = dripping(b"X-A: 1\r\n", begin=OK) if what == "head" else dripping(OK[:-2] + 99 * b" ")
    hook = bearer_to(own_connections, "https://jira.test", timeout=0.4, proxies=f"http://127.0.0.1:{port}")
    error = lost_by(carry, hook)
    assert isinstance(error, http.NotConnected)
    assert f"through the proxy http://127.0.0.1:{port} of extra field 'proxies'" in str(error)
    assert "no connection within 0.4 s" in str(error)


@pytest.mark.parametrize("inside", ["the handshake", "the answer"])
def test_what_drips_in_a_tunnel_of_a_proxy_over_tls_has_an_end(
    own_connections: Connections,
    carry: Carrier,
    proxies: Callable[..., Proxy],
    tls: ssl.SSLContext,
    certificate: Path,
    talking: Callable[..., int],
    inside: str,
) -> None:
    def drip_over_tls(client: socket.socket, stop: threading.Event) -> None:
        with tls.wrap_socket(client, server_side=True) as wrapped:
            wrapped.recv(65536)
            for place in range(100):
                if stop.wait(0.05):
                    return
                wrapped.sendall(b"HTTP/1.1 200 OK\r\nX: "[place : place + 1] or b"x")

    is_answer = inside == "the answer"
    port = talking(drip_over_tls if is_answer else drip_a_handshake)
    hook = bearer_to(
        own_connections,
        f"https://127.0.0.1:{port}",
        timeout=0.5,
        verify=str(certificate),
        proxies=proxies(tls=tls).url,
    )
    error = lost_by(carry, hook)
    assert isinstance(error, http.AnswerLost if is_answer else http.NotConnected)
    assert "within 0.5 s" in str(error)


def test_a_server_that_sips_the_request_has_an_end(
    own_connections: Connections, carry: Carrier, talking: Callable[..., int]
) -> None:
    def sip(client: socket.socket, stop: threading.Event) -> None:
        for _ in range(100):
            if stop.wait(0.05):
                return
            client.recv(100_000)

    hook = bearer_to(own_connections, f"http://127.0.0.1:{talking(sip)}", timeout=0.4)
    with pytest.raises(ServiceFault, match=r"no answer within 0\.4 s"):
        carry(hook, jira.archive_by_jql(30_000_000 * "x"), attempts=1)


# --- hosts with several addresses ---


@pytest.mark.parametrize("first", ["silent", "refused"])
def test_an_address_where_nobody_answers_takes_no_time_from_the_next(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    environment: Callable[..., None],
    silent: Callable[[int], str],
    leading: Callable[..., None],
    first: str,
) -> None:
    environment()
    server = loopback(lambda received: (200, {}, ME))
    port = int(server.url.rpartition(":")[2])
    leading("jira.test", silent(port) if first == "silent" else "127.0.0.3", "127.0.0.1")
    hook = bearer_to(own_connections, f"http://jira.test:{port}", timeout=2, allow_http=True)
    assert carry(hook, jira.myself(), attempts=1) == "Me"


def test_many_addresses_where_nobody_answers_take_the_time_of_one(
    own_connections: Connections,
    carry: Carrier,
    environment: Callable[..., None],
    silent: Callable[[int], str],
    leading: Callable[..., None],
    refused_url: str,
) -> None:
    environment()
    port = int(refused_url.rpartition(":")[2])
    leading("jira.test", *8 * [silent(port)])
    hook = bearer_to(own_connections, f"http://jira.test:{port}", timeout=1, allow_http=True)
    began = time.monotonic()
    error = lost_by(carry, hook)
    assert isinstance(error, http.NotConnected)
    assert "no connection within 1 s" in str(error)
    assert time.monotonic() - began < 4


# --- downloads ---


def fetched(hook: JiraCloudHook, url: str) -> bytes:
    pieces: list[bytes] = []
    hook.fetch(url, pieces.append)
    return b"".join(pieces)


def test_a_download_that_drips_has_an_end(own_connections: Connections, dripping: Callable[..., int]) -> None:
    port = dripping(b"x", begin=OK + b"Content-Length: 100000\r\n\r\n")
    hook = bearer_to(own_connections, f"http://127.0.0.1:{port}", timeout=0.4)
    with pytest.raises(ServiceFault, match=r"less than 409\.6 bytes of it came within 0\.4 s") as caught:
        fetched(hook, f"http://127.0.0.1:{port}/file.csv")
    assert isinstance(caught.value.error, http.AnswerLost)


def test_a_download_may_take_longer_than_a_request(
    own_connections: Connections, talking: Callable[..., int]
) -> None:
    def slow(client: socket.socket, stop: threading.Event) -> None:
        client.recv(65536)
        client.sendall(OK + b"Content-Length: 20000\r\n\r\n")
        for _ in range(20):
            stop.wait(0.05)
            client.sendall(1000 * b"x")

    port = talking(slow)
    hook = bearer_to(own_connections, f"http://127.0.0.1:{port}", timeout=0.4)
    assert len(fetched(hook, f"http://127.0.0.1:{port}/file.csv")) == 20_000


def test_a_slow_storage_is_not_taken_for_a_slow_server(
    loopback: Callable[..., Loopback], own_connections: Connections
) -> None:
    server = loopback(lambda received: (200, {}, 1_000_000 * b"x"))
    pieces: list[bytes] = []

    def store(piece: bytes) -> None:
        pieces.append(piece)
        if len(pieces) < 4:
            time.sleep(0.5)

    bearer_to(own_connections, server.url, timeout=0.4).fetch(f"{server.url}/file.csv", store)
    assert len(b"".join(pieces)) == 1_000_000


# --- many at once ---


def test_as_many_connections_as_requests_in_flight_and_no_more(
    loopback: Callable[..., Loopback], own_connections: Connections
) -> None:
    """With aiohttp's own limit of 100 the barrier would never fill, and all would wait in vain."""
    together = threading.Barrier(150)

    def answer(received: Received) -> Answer:
        together.wait(30)
        return 200, {}, ME

    server = loopback(answer)
    hook = bearer_to(own_connections, server.url)

    async def rounds() -> list[str]:
        async with hook.connected():
            first = await asyncio.gather(*(hook.acall(jira.myself(), attempts=1) for _ in range(150)))
            return first + await asyncio.gather(*(hook.acall(jira.myself(), attempts=1) for _ in range(150)))

    assert asyncio.run(rounds()) == 300 * ["Me"]
    assert len({received.peer for received in server.received}) == 150


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may open 8 files: 4 looks at once."""
    monkeypatch.setattr(resource, "getrlimit", lambda what: (8, 8))


def test_looks_wait_for_their_turn_before_their_clock_runs(
    loopback: Callable[..., Loopback], own_connections: Connections, few_files: None
) -> None:
    lock, counts = threading.Lock(), [0, 0]

    def answer(received: Received) -> Answer:
        with lock:
            counts[0] += 1
            counts[1] = max(counts)
        time.sleep(0.3)
        with lock:
            counts[0] -= 1
        return 200, {}, ME

    hook = bearer_to(own_connections, loopback(answer).url, timeout=1)

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(hook.acall(jira.myself(), attempts=1) for _ in range(24)))

    # Six rounds of 0.3 s: had all clocks begun at once, the last would be late.
    assert asyncio.run(all_of_them()) == 24 * ["Me"]
    assert counts[1] == 4


def test_idle_connections_to_all_sites_leave_files_to_others(
    loopback: Callable[..., Loopback], own_connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (16, 16))

    def answer(received: Received) -> Answer:
        time.sleep(0.1)
        return 200, {}, ME

    hooks = []
    for number in range(3):
        bearer_to(own_connections, loopback(answer).url)
        hooks.append(JiraCloudHook(own_connections.add(f"site_{number}", **own_connections.fields("mine"))))

    async def one_site_after_the_other() -> int:
        async with contextlib.AsyncExitStack() as stack:
            for hook in hooks:
                await stack.enter_async_context(hook.connected())
                await hook.acall(jira.myself(), attempts=1)
            before = open_files()
            for hook in hooks:
                await asyncio.gather(*(hook.acall(jira.myself(), attempts=1) for _ in range(8)))
            # The server's ends are in this process too, and are closed a moment later.
            for _ in range(100):
                await asyncio.sleep(0.02)
                if open_files() - before <= 2 * 4:
                    break
            return open_files() - before

    assert asyncio.run(one_site_after_the_other()) <= 2 * 4


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def until_asked(server: Loopback, times: int) -> None:
    while len(server.received) < times:
        time.sleep(0.01)


def test_a_cancel_is_not_behind_a_look(
    loopback: Callable[..., Loopback], own_connections: Connections, few_files: None
) -> None:
    cancelled = threading.Event()

    def answer(received: Received) -> Answer:
        if received.method == "POST":
            cancelled.set()
            return 202, {}, b""
        cancelled.wait(20)
        return 200, {}, ME

    server = loopback(answer)
    hook = bearer_to(own_connections, server.url, timeout=30)

    async def looks_and_a_cancel() -> list[Any]:
        async with hook.connected():
            looks = [asyncio.create_task(hook.acall(jira.myself(), attempts=1)) for _ in range(10)]
            await asyncio.to_thread(until_asked, server, 4)
            await hook.acall(jira.cancel_task("1"), attempts=1)
            return await asyncio.gather(*looks)

    assert asyncio.run(looks_and_a_cancel()) == 10 * ["Me"]
    assert [received.method for received in server.received[:5]] == [*4 * ["GET"], "POST"]


# --- whose fault it was ---


def test_a_hook_that_is_called_while_another_fault_is_handled_asks_once(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier, refused_url: str
) -> None:
    server = loopback(lambda received: None)
    hook = bearer_to(own_connections, server.url)
    try:
        requests.get(refused_url, timeout=5)
    except requests.ConnectionError:
        # What is handled here is a connection that did not come about; the one that is lost now did.
        with pytest.raises(ServiceFault) as caught:
            carry(hook, SUBMIT)
    assert isinstance(caught.value.error, http.AnswerLost)
    assert "refused" not in str(caught.value)
    assert len(server.received) == 1
