"""Manners on the wire, the same for both transports: redirects, sizes, TLS, proxies, sessions."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_archival import __version__
from airflow_provider_archival.api import http, jira, toloka
from airflow_provider_archival.exceptions import ServiceFault, ServiceRefusal
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.toloka import TolokaHook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Answer, Carrier, Connections, Loopback, Pauses, Received

ME = b'{"displayName": "Me"}'
MYSELF = "/rest/api/3/myself"


def hello(received: Received) -> Answer:
    return 200, {}, ME


def bearer_to(connections: Connections, url: str, **extra: Any) -> JiraCloudHook:
    connections.add(
        "mine", host=url, password="pw", extra={"auth_type": "bearer", **extra}, conn_type="jira_cloud"
    )
    return JiraCloudHook("mine")


# --- what is sent ---


def test_a_request_says_who_sends_it_and_what_it_takes(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    server = loopback(lambda received: (200, {}, b'{"count": 1}'))
    carry(bearer_to(own_connections, server.url), jira.count_issues('project = "Ä"'))
    (received,) = server.received
    assert (received.method, received.path) == ("POST", "/rest/api/3/search/approximate-count")
    assert received.headers["user-agent"] == f"airflow-provider-archival/{__version__}"
    assert received.headers["accept"] == "application/json"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["authorization"] == "Bearer pw"
    assert received.body == b'{"jql": "project = \\"\\u00c4\\""}'


def test_a_request_without_a_body_sends_none(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    server = loopback(lambda received: (202, {}, b""))
    carry(bearer_to(own_connections, server.url), jira.cancel_task("1"))
    (received,) = server.received
    assert received.body == b""
    assert "content-type" not in {name for name in received.headers if received.body}


def test_a_path_of_the_connection_comes_before_the_requests(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    server = loopback(hello)
    carry(bearer_to(own_connections, f"{server.url}/jira/"), jira.myself())
    assert server.received[0].path == f"/jira{MYSELF}"


def test_a_query_is_sent(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    server = loopback(
        lambda received: (200, {}, b'{"permissions": {"ADMINISTER": {"havePermission": true}}}')
    )
    assert carry(bearer_to(own_connections, server.url), jira.is_admin()) is True
    assert server.received[0].path == "/rest/api/3/mypermissions?permissions=ADMINISTER"


# --- redirects ---


@pytest.mark.parametrize(
    ("status", "request_"),
    [(status, jira.myself()) for status in (301, 302, 303, 307, 308)]
    + [(307, jira.archive_by_jql("key = A-1")), (308, jira.archive_issues(["A-1"]))],
    ids=str,
)
def test_a_redirect_to_another_host_is_refused_and_that_host_hears_nothing(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    status: int,
    request_: http.Request[Any],
) -> None:
    other = loopback(hello)
    server = loopback(lambda received: (status, {"Location": f"{other.url}/login"}, b""))
    with pytest.raises(ServiceFault) as caught:
        carry(bearer_to(own_connections, server.url), request_, attempts=1)
    assert f"redirected to {other.url} Check the host of connection 'mine'" in str(caught.value)
    assert isinstance(caught.value.error, http.Redirected)
    assert not isinstance(caught.value, ServiceRefusal)
    assert caught.value.error.surely_undone is False
    assert other.received == []
    assert len(server.received) == 1


def test_a_redirect_on_the_same_host_is_not_followed_either(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    server = loopback(lambda received: (302, {"Location": "/login.jsp"}, b""))
    with pytest.raises(ServiceFault, match="redirected to another place"):
        carry(bearer_to(own_connections, server.url), jira.myself(), attempts=1)
    assert len(server.received) == 1


# --- sizes and broken answers ---


def test_an_answer_over_the_cap_is_not_read(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault(MYSELF, body="huge")
    with pytest.raises(ServiceFault, match="an answer of more than 16 MiB") as caught:
        carry(JiraCloudHook(), jira.myself(), attempts=1)
    assert isinstance(caught.value.error, http.UnreadableAnswer)


def test_an_errors_huge_body_is_not_read_either(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault(MYSELF, status=403, body="huge")
    with pytest.raises(ServiceFault, match="HTTP 403: an answer of more than 16 MiB"):
        carry(JiraCloudHook(), jira.myself(), attempts=1)


def test_a_compressed_answer_is_read_and_counted_unpacked(
    loopback: Callable[..., Loopback], own_connections: Connections, pauses: Pauses, carry: Carrier
) -> None:
    bombs = iter([gzip.compress(ME), gzip.compress(b" " * (20 * 2**20))])
    server = loopback(lambda received: (200, {"Content-Encoding": "gzip"}, next(bombs)))
    hook = bearer_to(own_connections, server.url)
    assert carry(hook, jira.myself(), attempts=1) == "Me"
    with pytest.raises(ServiceFault, match="an answer of more than 16 MiB"):
        carry(hook, jira.myself(), attempts=1)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Encoding": "gzip"}, b"this is no gzip"),
        ({"Transfer-Encoding": "chunked", "Content-Length": ""}, b"not a chunk\r\n"),
        ({"Content-Length": "100"}, b"{}"),
    ],
)
def test_a_body_that_does_not_keep_its_headers_word_is_a_fault_that_may_pass(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    headers: dict[str, str],
    body: bytes,
) -> None:
    server = loopback(lambda received: (200, {"Connection": "close", **headers}, body))
    with pytest.raises(ServiceFault) as caught:
        carry(bearer_to(own_connections, server.url, timeout=0.5), jira.myself(), attempts=1)
    assert isinstance(caught.value.error, http.AnswerLost)


@pytest.mark.parametrize(
    "garbage", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/9.9 what\r\n\r\n", b"\x00\xff\r\n\r\n"]
)
def test_what_is_no_http_is_a_fault_that_may_pass(
    raw_server: Callable[..., str], own_connections: Connections, carry: Carrier, garbage: bytes
) -> None:
    hook = bearer_to(own_connections, raw_server(garbage), timeout=2)
    with pytest.raises(ServiceFault) as caught:
        carry(hook, jira.archive_by_jql("key = A-1"), attempts=1)
    assert caught.value.error.can_repeat
    assert caught.value.error.surely_undone is False


def test_a_trickle_does_not_outlast_the_timeout(
    raw_server: Callable[..., str], own_connections: Connections, carry: Carrier
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    hook = bearer_to(own_connections, raw_server(head, trickle=True), timeout=0.5)
    with pytest.raises(ServiceFault, match=r"answer within 0\.5 s") as caught:
        carry(hook, jira.myself(), attempts=1)
    assert isinstance(caught.value.error, http.AnswerLost)


@pytest.fixture
def raw_server() -> Any:
    """Start servers that read a request and answer with these bytes, whatever they are."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(answer: bytes, *, trickle: bool = False, tls: ssl.SSLContext | None = None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.05)

        def serve_one(plain: socket.socket) -> None:
            plain.settimeout(5)
            try:
                talk = tls.wrap_socket(plain, server_side=True) if tls else plain
                while b"\r\n\r\n" not in talk.recv(65536):
                    pass
                # Over TLS these bytes go past the encryption: the client can't decrypt them.
                with socket.socket(fileno=talk.detach()) as bare:
                    bare.sendall(answer)
                    for _ in range(60 if trickle else 0):
                        stop.wait(0.05)
                        bare.sendall(b" ")
            except OSError:
                pass
            finally:
                plain.close()

        def serve() -> None:
            with listener:
                while not stop.is_set():
                    try:
                        plain, _ = listener.accept()
                    except TimeoutError:
                        continue
                    threads.append(threading.Thread(target=serve_one, args=(plain,), daemon=True))
                    threads[-1].start()

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    stop.set()
    for thread in threads:
        thread.join(5)


# --- .netrc and cookies ---


def test_netrc_is_not_used(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login other password word\ndefault login other password word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    server = loopback(hello)
    carry(bearer_to(own_connections, server.url), jira.myself())
    assert server.received[0].headers["authorization"] == "Bearer pw"


def test_cookies_are_not_kept(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    server = loopback(lambda received: (200, {"Set-Cookie": "JSESSIONID=abc; Path=/"}, ME))
    # By name: for an address alone, aiohttp keeps no cookies anyway.
    url = server.url.replace("127.0.0.1", "localhost")
    carry.each(bearer_to(own_connections, url), jira.myself(), jira.myself())
    assert len(server.received) == 2
    assert "cookie" not in server.received[1].headers


# --- TLS ---


def test_an_untrusted_certificate_is_not_connected_to(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    tls: ssl.SSLContext,
    pauses: Pauses,
    carry: Carrier,
) -> None:
    server = loopback(hello, tls=tls)
    with pytest.raises(ServiceFault, match="certificate verify failed") as caught:
        carry(bearer_to(own_connections, server.url), jira.myself())
    assert isinstance(caught.value.error, http.NotConnected)
    assert server.received == []


@pytest.mark.parametrize("how", ["file", "folderless", "off", "environment"])
def test_a_certificate_is_trusted_as_the_connection_says(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    tls: ssl.SSLContext,
    certificate: Path,
    carry: Carrier,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    server = loopback(hello, tls=tls)
    extra: dict[str, Any] = {"file": {"verify": str(certificate)}, "off": {"verify": False}}.get(how, {})
    if how == "folderless":
        extra = {"verify": f" {certificate} "}
    if how == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with pytest.warns() if how == "off" and carry.how == "call" else contextlib.nullcontext():
        assert carry(bearer_to(own_connections, server.url, **extra), jira.myself(), attempts=1) == "Me"


@pytest.mark.parametrize(
    "request_", [jira.archive_by_jql("key = A-1"), jira.export_archived_issues(jira.ExportFilter())], ids=str
)
def test_a_tls_fault_after_the_request_was_sent_does_not_repeat_a_submit(
    raw_server: Callable[..., str],
    own_connections: Connections,
    tls: ssl.SSLContext,
    certificate: Path,
    pauses: Pauses,
    carry: Carrier,
    request_: http.Request[Any],
) -> None:
    url = raw_server(b"\x17\x03\x03\x00\x20" + 32 * b"x", tls=tls)
    hook = bearer_to(own_connections, url, verify=str(certificate))
    with pytest.raises(ServiceFault) as caught:
        carry(hook, request_)
    assert caught.value.error.surely_undone is False
    assert pauses.asked == []


# --- proxies ---


def proxy_answer(received: Received) -> Answer:
    return (200, {}, ME) if received.path.startswith("http://") else (502, {}, b"")


@pytest.mark.parametrize("form", ["text", "object", "environment", "all_proxy"])
def test_a_proxy_is_used_as_the_connection_or_the_environment_says(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    proxy = loopback(proxy_answer)
    extra: dict[str, Any] = {"allow_http": True}
    if form in ("environment", "all_proxy"):
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name)
        name = "http_proxy" if form == "environment" else "all_proxy"
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.upper(), proxy.url)
    else:
        extra["proxies"] = proxy.url if form == "text" else {"http": proxy.url}
    assert (
        carry(bearer_to(own_connections, "http://jira.invalid", **extra), jira.myself(), attempts=1) == "Me"
    )
    assert proxy.received[0].path == f"http://jira.invalid{MYSELF}"


def test_no_proxy_is_honoured(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    monkeypatch: pytest.MonkeyPatch,
    refused_url: str,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, refused_url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = loopback(hello)
    assert carry(bearer_to(own_connections, server.url), jira.myself(), attempts=1) == "Me"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_is_a_fault_that_may_pass(
    own_connections: Connections, carry: Carrier, refused_url: str, scheme: str
) -> None:
    hook = bearer_to(own_connections, f"{scheme}://jira.invalid", allow_http=True, proxies=refused_url)
    with pytest.raises(ServiceFault) as caught:
        carry(hook, jira.archive_by_jql("key = A-1"), attempts=1)
    assert isinstance(caught.value.error, http.NotConnected)


def test_a_proxy_that_refuses_the_tunnel_never_sent_a_submit(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    proxy = loopback(lambda received: (407, {}, b""))
    hook = bearer_to(own_connections, "https://jira.invalid", proxies=proxy.url)
    with pytest.raises(ServiceFault) as caught:
        carry(hook, jira.archive_by_jql("key = A-1"), attempts=1)
    assert isinstance(caught.value.error, http.NotConnected)
    assert {received.method for received in proxy.received} == {"CONNECT"}
    assert all("authorization" not in received.headers for received in proxy.received)


# --- connections that were kept ---


@pytest.mark.parametrize(
    "request_",
    [
        jira.export_archived_issues(jira.ExportFilter()),
        jira.archive_by_jql("key = A-1"),
        jira.archive_issues(["A-1"]),
    ],
    ids=str,
)
def test_a_request_whose_answer_is_lost_on_a_kept_connection_is_sent_once(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    request_: http.Request[Any],
) -> None:
    server = loopback(lambda received: (200, {}, ME) if received.method == "GET" else None)
    hook = bearer_to(own_connections, server.url)
    with pytest.raises(ServiceFault) as caught:
        carry.each(hook, jira.myself(), _once(request_))
    assert isinstance(caught.value.error, http.AnswerLost)
    assert len([received for received in server.received if received.method != "GET"]) == 1


def _once(request_: http.Request[Any]) -> http.Request[Any]:
    """The same request, as one that must not be repeated by our own policy either."""
    return dataclasses.replace(request_, repeat=http.Repeat.AFTER_A_LOOK)


def test_reads_share_a_connection(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    server = loopback(hello)
    carry.each(bearer_to(own_connections, server.url), jira.myself(), jira.myself(), jira.myself())
    assert len({received.peer for received in server.received}) == 1


def test_a_worker_submits_over_a_new_connection(
    loopback: Callable[..., Loopback], own_connections: Connections
) -> None:
    server = loopback(lambda received: (200, {}, ME if received.method == "GET" else b'"task/1"'))
    hook = bearer_to(own_connections, server.url)
    hook.call(jira.myself())
    hook.call(jira.archive_by_jql("key = A-1"))
    assert len({received.peer for received in server.received}) == 2


def until_asked(sandbox: Sandbox, times: int) -> None:
    """Wait until so many requests have come in."""
    while len(sandbox.requests(MYSELF)) < times:
        time.sleep(0.01)


# --- one session for each loop and connection ---


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every ``aiohttp`` session that is made."""
    import aiohttp

    made: list[Any] = []
    make = aiohttp.ClientSession.__init__

    def listen(self: Any, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        make(self, *args, **kwargs)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", listen)
    return made


async def test_users_of_a_connection_share_one_session_until_the_last_leaves(
    connections: Connections, sessions: list[Any]
) -> None:
    first, second = JiraCloudHook(), JiraCloudHook()
    async with first.connected():
        await first.acall(jira.myself())
        async with second.connected():
            await asyncio.gather(*(JiraCloudHook().acall(jira.myself()) for _ in range(10)))
        assert not sessions[0].closed
        await first.acall(jira.myself())
    assert len(sessions) == 1
    assert sessions[0].closed


async def test_each_connection_has_its_own_session(connections: Connections, sessions: list[Any]) -> None:
    jira_hook, other, toloka_hook = JiraCloudHook(), JiraCloudHook("jira_cloud_bearer"), TolokaHook()
    async with jira_hook.connected(), other.connected(), toloka_hook.connected():
        await jira_hook.acall(jira.myself())
        await other.acall(jira.myself())
        await toloka_hook.acall(toloka.requester())
        assert len(sessions) == 3
    assert all(session.closed for session in sessions)


def test_each_loop_has_its_own_session(connections: Connections, sessions: list[Any]) -> None:
    for _ in range(2):
        asyncio.run(JiraCloudHook().acall(jira.myself()))
    assert len(sessions) == 2
    assert all(session.closed for session in sessions)


async def test_a_session_is_closed_when_its_user_is_cancelled(
    archival_sandbox: Sandbox, connections: Connections, sessions: list[Any]
) -> None:
    archival_sandbox.fault(MYSELF, delay=60)
    task = asyncio.create_task(JiraCloudHook().acall(jira.myself()))
    await asyncio.to_thread(until_asked, archival_sandbox, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [session.closed for session in sessions] == [True]
    assert await JiraCloudHook().acall(jira.myself()) == "Alex Admin"


async def test_a_cancelled_user_does_not_take_the_others_session(
    archival_sandbox: Sandbox, connections: Connections, sessions: list[Any]
) -> None:
    hook = JiraCloudHook()
    async with hook.connected():
        await hook.acall(jira.myself())
        archival_sandbox.fault(MYSELF, delay=60)
        task = asyncio.create_task(JiraCloudHook().acall(jira.myself()))
        await asyncio.to_thread(until_asked, archival_sandbox, 2)
        task.cancel()
        await asyncio.wait([task])
        assert await hook.acall(jira.myself()) == "Alex Admin"
    assert len(sessions) == 1


async def test_a_look_up_that_fails_is_tried_again_by_the_next_call(
    connections: Connections, own_connections: Connections, sessions: list[Any]
) -> None:
    hook = JiraCloudHook("later")
    async with hook.connected():
        with pytest.raises(Exception, match="no Airflow connection 'later'"):
            await hook.acall(jira.myself())
        own_connections.add("later", **connections.fields("jira_cloud_default"))
        assert await hook.acall(jira.myself()) == "Alex Admin"


# --- the loop is never blocked ---


async def test_the_connection_is_looked_up_off_the_loops_thread(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_loop = threading.get_ident()
    looked_up_on: list[int] = []
    look_up = JiraCloudHook.get_connection

    def listen(conn_id: str) -> Any:
        looked_up_on.append(threading.get_ident())
        return look_up(conn_id)

    monkeypatch.setattr(JiraCloudHook, "get_connection", staticmethod(listen))
    assert await JiraCloudHook().acall(jira.myself()) == "Alex Admin"
    assert on_the_loop not in looked_up_on


async def test_ca_certificates_are_read_off_the_loops_thread(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    tls: ssl.SSLContext,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = loopback(hello, tls=tls)
    read_on: list[int] = []
    read = ssl.create_default_context

    def listen(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        read_on.append(threading.get_ident())
        return read(*args, **kwargs)

    monkeypatch.setattr(ssl, "create_default_context", listen)
    hook = bearer_to(own_connections, server.url, verify=str(certificate))
    assert await hook.acall(jira.myself()) == "Me"
    assert read_on
    assert threading.get_ident() not in read_on


async def test_no_sync_request_is_made_on_a_loop(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a sync request on the loop")

    monkeypatch.setattr(requests.Session, "send", refuse)
    monkeypatch.setattr(requests.Session, "__init__", refuse)
    for conn_id in ("jira_cloud_default", "jira_cloud_oauth", "jira_cloud_bearer"):
        assert await JiraCloudHook(conn_id).acall(jira.myself())


_BLOCKING = {
    "open",
    "os.listdir",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "subprocess.Popen",
    "time.sleep",
}


class Watchman:
    """Hears of blocking calls on one thread through Python's audit events, which nothing can bypass."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.heard: list[Any] = []
        sys.addaudithook(self._hear)  # For good: there is no way to take one back.

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.thread is not None and event in _BLOCKING and threading.get_ident() == self.thread:
            self.heard.append((event, *map(str, arguments)))


@pytest.mark.parametrize("conn_id", ["jira_cloud_default", "jira_cloud_oauth"])
def test_nothing_blocks_the_loop(
    archival_sandbox: Sandbox,
    connections: Connections,
    certificate: Path,
    conn_id: str,
) -> None:
    connections.change(
        conn_id,
        host=archival_sandbox.base_url.replace("127.0.0.1", "localhost"),
        extra={"verify": str(certificate)},
    )
    watchman = Watchman()
    asyncio.run(JiraCloudHook(conn_id).acall(jira.myself()))  # What is imported for the first time.

    async def watched() -> str:
        watchman.thread = threading.get_ident()
        try:
            return await JiraCloudHook(conn_id).acall(jira.myself())
        finally:
            watchman.thread = None

    assert asyncio.run(watched())
    assert watchman.heard == []


def test_aiohttp_is_first_imported_off_the_loops_thread(connections: Connections) -> None:
    """In a process of its own, since here it is imported already; a finder tells the importing thread."""
    code = """
        import asyncio, sys, threading

        from airflow_provider_archival.api import jira
        from airflow_provider_archival.hooks.jira import JiraCloudHook

        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "aiohttp":
                    is_loop = threading.current_thread() is LOOP
                    print("imported by", "the loop" if is_loop else "another thread")

        async def main():
            return await JiraCloudHook().acall(jira.myself())

        LOOP = threading.current_thread()
        assert "aiohttp" not in sys.modules
        sys.meta_path.insert(0, Finder())
        print(asyncio.run(main()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("imported")]
    assert told == ["imported by another thread"]
    assert "Alex Admin" in done.stdout
