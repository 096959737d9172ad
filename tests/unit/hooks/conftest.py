"""What the tests of the network share: servers that say what a test wants, a proxy, names without a DNS."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

Talk = Callable[[socket.socket, threading.Event], object]


@pytest.fixture
def talking() -> Iterator[Callable[[Talk], int]]:
    """Start servers: ``talking(talk)`` calls ``talk(socket, stop)`` for each connection; gives its port."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(talk: Talk) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        listener.settimeout(0.05)

        def one(accepted: socket.socket) -> None:
            accepted.settimeout(10)
            with contextlib.suppress(OSError), accepted:
                talk(accepted, stop)

        def serve() -> None:
            with listener:
                while not stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        accepted, _ = listener.accept()
                        threads.append(threading.Thread(target=one, args=(accepted,), daemon=True))
                        threads[-1].start()

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    stop.set()
    for thread in threads:
        thread.join(10)


def head_of(talk: socket.socket) -> bytes:
    """Read a request's head."""
    read = b""
    while b"\r\n\r\n" not in read:
        piece = talk.recv(65536)
        if not piece:
            raise ConnectionError("no request")
        read += piece
    return read


@pytest.fixture
def dripping(talking: Callable[[Talk], int]) -> Callable[..., int]:
    """
    Start servers that answer a byte at a time, for some seconds.

    ``dripping(drip)`` reads a request first; ``begin`` is said at once.
    """

    def start(drip: bytes, *, begin: bytes = b"") -> int:
        def talk(accepted: socket.socket, stop: threading.Event) -> None:
            head_of(accepted)
            accepted.sendall(begin)
            for place in range(100):
                if stop.wait(0.05):
                    return
                accepted.sendall(drip[place % len(drip) :][:1])

        return talking(talk)

    return start


@dataclass
class Proxy:
    """
    An HTTP proxy on 127.0.0.1 for plain requests and tunnels.

    Whatever it is asked for, names are this machine.
    """

    port: int = 0
    scheme: str = "http"
    refuses: bytes = b""
    """What it answers in the place of passing on."""
    welcome: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    """What it says when a tunnel is open."""
    heads: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    def talk(self, client: socket.socket, stop: threading.Event) -> None:
        head = head_of(client)
        self.heads.append(head.decode())
        if self.refuses:
            client.sendall(self.refuses)
            return
        method, target, _ = head.split(b" ", 2)
        parts = urlsplit(f"//{target.decode()}" if method == b"CONNECT" else target.decode())
        with socket.create_connection(("127.0.0.1", parts.port or 80)) as server:
            if method == b"CONNECT":
                client.sendall(self.welcome)
            else:
                server.sendall(head)
            self._pass_on(client, server, stop)

    @staticmethod
    def _pass_on(client: socket.socket, server: socket.socket, stop: threading.Event) -> None:
        other = {client: server, server: client}
        while not stop.is_set():
            pending = isinstance(client, ssl.SSLSocket) and client.pending()
            ready = [client] if pending else select.select(list(other), [], [], 0.05)[0]
            for one in ready:
                piece = one.recv(65536)
                if not piece:
                    return
                other[one].sendall(piece)


@pytest.fixture
def proxies(talking: Callable[[Talk], int]) -> Callable[..., Proxy]:
    """Start proxies; with ``tls`` over TLS."""

    def start(*, refuses: bytes = b"", tls: ssl.SSLContext | None = None) -> Proxy:
        proxy = Proxy(scheme="https" if tls else "http", refuses=refuses)

        def talk(client: socket.socket, stop: threading.Event) -> None:
            if tls is None:
                proxy.talk(client, stop)
                return
            with tls.wrap_socket(client, server_side=True) as wrapped:
                proxy.talk(wrapped, stop)

        proxy.port = talking(talk)
        return proxy

    return start


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each name that ends in ``.test`` be this machine: there is no DNS to ask here."""
    look_up = socket.getaddrinfo

    def answer(host: Any, *args: Any, **how: Any) -> Any:
        is_ours = isinstance(host, (str, bytes)) and str(host).rstrip(".").endswith(".test")
        return look_up("127.0.0.1" if is_ours else host, *args, **how)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.fixture
def silent() -> Iterator[Callable[[int], str]]:
    """Make addresses at which nobody answers: ``silent(port)`` gives one whose queue is full."""
    with contextlib.ExitStack() as stack:

        def make(port: int) -> str:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.2", port))
            listener.listen(0)
            for _ in range(3):
                caller = stack.enter_context(socket.socket())
                caller.setblocking(False)
                caller.connect_ex(("127.0.0.2", port))
            return "127.0.0.2"

        yield make


@pytest.fixture
def leading(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a name lead to some addresses: ``leading("jira.test", "127.0.0.2", "127.0.0.1")``."""
    look_up = socket.getaddrinfo

    def lead(name: str, *addresses: str) -> None:
        def answer(host: Any, port: Any, *args: Any, **how: Any) -> Any:
            if host != name:
                return look_up(host, port, *args, **how)
            return [
                (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, int(port)))
                for address in addresses
            ]

        monkeypatch.setattr(socket, "getaddrinfo", answer)

    return lead


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set variables in the environment, after those for proxies were taken out of it."""

    def set_them(**variables: str) -> None:
        for name in ("http", "https", "no", "all"):
            monkeypatch.delenv(f"{name}_proxy", raising=False)
            monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_them
