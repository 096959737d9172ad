"""What ``requests`` sends over here: sockets that keep a deadline, long heads, one TLS context."""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import logging
import os
import re
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import LocationParseError

from airflow_provider_archival.api.urls import without_queries
from airflow_provider_archival.hooks.network import LOWEST_RATE, MAX_HEADER, MAX_HEADERS, proxy_headers

_SENT_AT_ONCE = 16 * 1024
_HEADER = re.compile(rb"[!-9;-~]+:|[ \t]")
_HEAD_START = 0.25
"""Seconds that an address of a host has for itself before the next is tried too, as with ``aiohttp``."""


class Clock(threading.local):
    """
    The time that the request of this thread has left, and whether it went out.

    A timeout of a socket begins anew with each byte; this holds for all of them together.
    """

    until: float | None = None
    was_sent = False
    _bytes = 0

    @contextlib.contextmanager
    def runs(self, seconds: float) -> Iterator[None]:
        """Give a request so much time."""
        before = self.until, self.was_sent, self._bytes
        self.until, self.was_sent = time.monotonic() + seconds, False
        try:
            yield
        finally:
            self.until, self.was_sent, self._bytes = before

    def left(self) -> float | None:
        """
        Return the seconds that are left; None for no limit.

        :raises TimeoutError: none is left
        """
        if self.until is None:
            return None
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is up")
        return left

    def begin_download(self, seconds: float) -> None:
        """Set a lowest rate in the place of a limit: so many seconds for the first bytes."""
        self.until, self._bytes = time.monotonic() + seconds, 0

    def came(self, size: int, seconds: float) -> None:
        """Hear of bytes of a download: enough of them give the next as much time."""
        self._bytes += size
        if self._bytes >= LOWEST_RATE * seconds:
            self.begin_download(seconds)

    @contextlib.contextmanager
    def stands(self) -> Iterator[None]:
        """Don't count what is done meanwhile."""
        began = time.monotonic()
        yield
        if self.until is not None:
            self.until += time.monotonic() - began


clock = Clock()


class _Timed:
    """Gives each operation of a socket what is left on the clock."""

    def recv(self, *args: Any) -> bytes:
        return self._in_time().recv(*args)  # type: ignore[no-any-return]

    def recv_into(self, *args: Any) -> int:
        return self._in_time().recv_into(*args)  # type: ignore[no-any-return]

    def send(self, *args: Any) -> int:
        return self._in_time().send(*args)  # type: ignore[no-any-return]

    def sendall(self, *args: Any) -> None:
        self._in_time().sendall(*args)

    def _in_time(self) -> Any:
        left = clock.left()
        if left is not None:
            self.settimeout(left)  # type: ignore[attr-defined]
        return super()


class _Socket(_Timed, socket.socket):
    pass


class _TLSSocket(_Timed, ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        self._in_time().do_handshake(block)


def _connected(host: str, port: int, options: Iterable[Any]) -> _Socket:
    """
    Connect to that address of a host which answers first: one that is silent takes no time from the others.

    :raises OSError: none can be connected to
    """
    try:
        host.encode("idna")
    except UnicodeError:
        raise LocationParseError(f"'{host}', label empty or too long") from None
    failed: OSError = OSError("the name leads to no address")
    with _Attempts(options) as attempts:
        left = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        while left or attempts:
            try:
                if left:
                    attempts.begin(*left.pop(0))
                if found := attempts.first(_HEAD_START if left else None):
                    return found
            except TimeoutError:
                raise
            except OSError as error:
                failed = error
    raise failed


class _Attempts:
    """Connections that are being made, to several addresses at once; those that are not taken are closed."""

    def __init__(self, options: Iterable[Any]) -> None:
        self._options = list(options)
        self._open: list[_Socket] = []

    def __enter__(self) -> _Attempts:
        self._selector = selectors.DefaultSelector()
        return self

    def __exit__(self, *raised: object) -> None:
        self._selector.close()
        for one in self._open:
            one.close()

    def __bool__(self) -> bool:
        return bool(self._open)

    def begin(self, family: int, kind: int, protocol: int, name: str, address: Any) -> None:
        one = _Socket(family, kind, protocol)
        self._open.append(one)
        for option in self._options:
            one.setsockopt(*option)
        one.setblocking(False)
        state = one.connect_ex(address)
        self._selector.register(one, selectors.EVENT_WRITE)
        if state not in (0, errno.EINPROGRESS):
            self._drop(one, state)

    def first(self, seconds: float | None) -> _Socket | None:
        """Wait for one to come about, so many seconds or all that are left; None where none has by then."""
        left = clock.left()
        pauses = [pause for pause in (seconds, left) if pause is not None]
        for key, _ in self._selector.select(min(pauses) if pauses else None):
            one: Any = key.fileobj
            if state := one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._drop(one, state)
            self._open.remove(one)
            self._selector.unregister(one)
            one.settimeout(clock.left())
            return one  # type: ignore[no-any-return]
        return None

    def _drop(self, one: _Socket, state: int) -> None:
        self._open.remove(one)
        self._selector.unregister(one)
        one.close()
        raise OSError(state, os.strerror(state))


class _Head(io.BufferedReader):
    """
    Gives ``http.client`` several headers as one line, since it takes no more than 100, and no half lines.

    Its limit is a variable of the module, which would hold for everybody in this process. And it takes what
    was cut off for the end: half a status line for an answer, half the size of a chunk for the last chunk.
    """

    _is_open = False
    _count = 0
    _held = b""

    def expect_headers(self) -> None:
        """Hear that headers come next, up to a blank line."""
        self._is_open = True

    def readline(self, size: int | None = -1, /) -> bytes:
        if not self._is_open:
            return self._line(size)
        joined = self._held or self._line(size)
        self._held = b""
        while joined.strip(b"\r\n"):
            line = self._line(size)
            if not line.strip(b"\r\n") or len(joined) + len(line) > MAX_HEADER:
                self._held = line
                return joined
            joined += line
        self._is_open = False
        return joined

    def _line(self, size: int | None) -> bytes:
        while True:
            line = super().readline(size)
            is_cut = not line.endswith(b"\n") and len(line) != size
            if is_cut and (line or self._is_open):
                raise http.client.IncompleteRead(line)
            self._count += self._is_open
            if self._count > MAX_HEADERS:
                raise http.client.HTTPException(f"got more than {MAX_HEADERS} headers")
            # At a line that is no header, the parser drops all that follow, and urllib3 logs the URL.
            if not self._is_open or not line.strip(b"\r\n") or _HEADER.match(line):
                return line


class _Answer(http.client.HTTPResponse):
    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.fp: Any = _Head(self.fp.detach())

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            self.fp.expect_headers()
            # What http.client skips is 100 only, and a proxy's none; aiohttp all that is no answer yet.
            if not 100 <= status < 200 or status == 101:
                return version, status, reason
            while self.fp.readline(MAX_HEADER + 1).strip(b"\r\n"):
                pass


class _Line(HTTPConnection):
    """A connection that tells the clock when a request goes out."""

    response_class = _Answer
    _is_asking_proxy = False

    def _new_conn(self) -> socket.socket:
        return _connected(self._dns_host, self.port or self.default_port, self.socket_options or ())

    def _tunnel(self) -> None:
        self._is_asking_proxy = True
        try:
            super()._tunnel()
        finally:
            self._is_asking_proxy = False

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if not self._is_asking_proxy:
            clock.left()
            clock.was_sent = True
        for start in range(0, len(data), _SENT_AT_ONCE):
            super().send(data[start : start + _SENT_AT_ONCE])


class _TLSLine(_Line, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Line


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSLine


class _WithoutQueries(logging.Filter):
    """Leaves the queries of URLs, which may be signatures, out of what ``urllib3`` logs of a request here."""

    def filter(self, record: logging.LogRecord) -> bool:
        if clock.until is not None and isinstance(record.args, tuple):
            record.args = tuple(without_queries(one) for one in record.args)
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutQueries())
_POOLS = {"http": _Pool, "https": _TLSPool}


class Session(requests.Session):
    """Takes nothing from the environment, keeps no cookies, follows no redirects."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = Adapter(tls)
        for scheme in ("https://", "http://"):
            self.mount(scheme, adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Look at none: even where none is followed, the inherited one reads all of the body first."""
        return None


class Adapter(HTTPAdapter):
    """
    Sends over these sockets, and checks certificates with one context only.

    :param tls: the context
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        tls.sslsocket_class = _TLSSocket
        self._tls = tls
        super().__init__()

    def init_poolmanager(self, *args: Any, **how: Any) -> None:
        super().init_poolmanager(*args, **{**how, "ssl_context": self._tls})
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **how: Any) -> Any:
        tls = {"ssl_context": self._tls, "proxy_ssl_context": self._tls}
        manager = super().proxy_manager_for(proxy, **{**how, **tls})
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        return proxy_headers(proxy)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave it to the context; the inherited one would add another CA file to it."""
