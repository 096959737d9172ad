"""The two ways over the wire, ``requests`` and ``aiohttp``: each sends once and names what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import re
import resource
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_archival import __version__
from airflow_provider_archival.api.clean import shorten
from airflow_provider_archival.api.http import AnswerLost, ApiError, NotConnected, Response, UnreadableAnswer
from airflow_provider_archival.hooks.auth import Wire
from airflow_provider_archival.hooks.encodings import ACCEPTED, Broken, NotAsked, Unpacker, tells_its_length
from airflow_provider_archival.hooks.hosts import origin_of
from airflow_provider_archival.hooks.network import (
    LOWEST_RATE,
    MAX_HEADER,
    MAX_HEADERS,
    Proxy,
    proxy_for,
    tls_context,
)
from airflow_provider_archival.hooks.site import Site

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.client_proto import ResponseHandler

MAX_ANSWER = 16 * 1024 * 1024
"""The longest answer that is read, in bytes; none of the services' comes near it."""

_PIECE = 64 * 1024
_BEGIN = 1024
_NO_CSV = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml|\{\s*\"|\[\s*[\[{\"])", re.IGNORECASE)
"""How XML and JSON begin."""
_HEADERS = {"User-Agent": f"airflow-provider-archival/{__version__}", "Accept-Encoding": ACCEPTED}
_turns: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}
_sites_of: WeakKeyDictionary[asyncio.AbstractEventLoop, set[AsyncTransport]] = WeakKeyDictionary()


class _Ways:
    """What both transports know of the way to a site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._proxies: dict[tuple[str, str, int], Proxy | None] = {}

    def _way(self, wire: Wire) -> _Way:
        origin = origin_of(wire.url)
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(self._site, wire.url)
        return _Way(wire, self._site.timeout, self._proxies[origin])


class SyncTransport(_Ways):
    """
    Sends over ``requests``; redirects are not followed, cookies not kept, ``.netrc`` not read.

    :raises ConnectionNotUsable: the certificates to trust can't be read
    """

    def __init__(self, site: Site) -> None:
        from airflow_provider_archival.hooks.sockets import Session

        super().__init__(site)
        self._session = Session(tls_context(site))

    def send(
        self, wire: Wire, *, fresh: bool = False, sink: Callable[[bytes], object] | None = None
    ) -> Response:
        """
        Send once and return the answer, whatever its status.

        :param wire: what to send
        :param fresh: over a new connection: one that was kept alive may be dead, and then nobody knows
            whether the request was acted upon
        :param sink: takes the body of a 200 piece by piece, however long it is, but no web page and no JSON;
            the answer's own is empty then
        :raises ConnectionNotUsable: the proxy to go through can't be used
        """
        import requests
        import urllib3

        from airflow_provider_archival.hooks.sockets import clock

        way = self._way(wire)
        if fresh:
            self._session.close()
        with clock.runs(way.timeout):
            try:
                with self._session.request(
                    wire.method,
                    wire.url,
                    headers={**_HEADERS, **wire.headers},
                    data=wire.body,
                    timeout=way.timeout,
                    verify=self._site.verify is not False,
                    proxies={"all": way.proxy.full_url} if way.proxy else {},
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    body = way.body(answer.status_code, answer.headers, sink)
                    if body.sink:
                        clock.begin_download(way.timeout)
                    # Not iter_content: it waits for a whole piece, however slowly its bytes come.
                    while raw := answer.raw.read1(_PIECE, decode_content=False):
                        with clock.stands():
                            body.take(raw)
                        if body.sink:
                            clock.came(len(raw), way.timeout)
                    return body.answer()
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                way.was_sent = clock.was_sent
                raise way.fault(error) from None

    def close(self) -> None:
        self._session.close()


class AsyncTransport(_Ways):
    """Sends over ``aiohttp``, with the same manners; made by :meth:`open`."""

    def __init__(self, site: Site, tls: ssl.SSLContext) -> None:
        super().__init__(site)
        self._tls, self._session = tls, _session(site, tls)
        self._passing: aiohttp.ClientSession | None = None
        self._kept = 0
        """How many requests are under way whose connections are kept: no more can ever be idle."""
        _sites_of.setdefault(asyncio.get_running_loop(), set()).add(self)

    @classmethod
    async def open(cls, site: Site) -> AsyncTransport:
        """
        Make the session.

        :raises ConnectionNotUsable: the certificates to trust can't be read
        """
        # The first imports take a third of a second: too long for a loop that thousands of triggers share.
        tls = await asyncio.to_thread(_prepared, site)
        return cls(site, tls)

    async def send(self, wire: Wire) -> Response:
        """
        Send once and return the answer, whatever its status.

        :raises ConnectionNotUsable: the proxy to go through can't be used
        """
        way = self._way(wire)
        async with _turn(wire):
            with self._fitting() as session:
                return await self._send(wire, way, session)

    async def _send(self, wire: Wire, way: _Way, session: aiohttp.ClientSession) -> Response:
        import aiohttp

        try:
            async with session.request(
                wire.method,
                wire.url,
                headers={**_HEADERS, **wire.headers, **way.headers_for_the_proxy},
                data=wire.body,
                proxy=way.proxy.url if way.proxy else None,
                proxy_headers=way.proxy.headers if way.proxy else None,
                allow_redirects=False,
                middlewares=(partial(_name_faults, way),),
                trace_request_ctx=way,
            ) as answer:
                body = way.body(answer.status, answer.headers)
                async for raw in answer.content.iter_any():
                    body.take(raw)
                return body.answer()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise way.fault(error) from None

    @contextlib.contextmanager
    def _fitting(self) -> Iterator[aiohttp.ClientSession]:
        """Give the session to send with: where many requests are under way, not all connections are kept."""
        limit, sites = _most_files(), len(_sites_of[asyncio.get_running_loop()])
        if limit is not None and self._kept * sites >= limit // 4:
            self._passing = self._passing or _session(self._site, self._tls, force_close=True)
            yield self._passing
            return
        self._kept += 1
        try:
            yield self._session
        finally:
            self._kept -= 1

    async def close(self) -> None:
        _sites_of.get(asyncio.get_running_loop(), set()).discard(self)
        await self._session.close()
        if self._passing is not None:
            await self._passing.close()


@dataclass
class _Way:
    """
    One request on its way, and what it means when it does not get there.

    :param wire: the request
    :param timeout: seconds that it may take
    :param proxy: what it goes through
    """

    wire: Wire
    timeout: float
    proxy: Proxy | None
    was_sent: bool = False
    has_begun: bool = False
    is_download: bool = False

    @property
    def headers_for_the_proxy(self) -> dict[str, str]:
        """What ``aiohttp`` has to be given where there is no tunnel to be opened."""
        return self.proxy.headers if self.proxy and self.wire.url.startswith("http://") else {}

    def body(self, status: int, headers: Any, sink: Callable[[bytes], object] | None = None) -> _Body:
        """Return what takes the answer's body."""
        self.has_begun = True
        if status == 407:
            who = str(self.proxy or "a proxy on the way")
            raise NotConnected(self.line, (f"{who} wants a login (407 Proxy Authentication Required)",))
        lower = _joined(headers)
        if status != 200 or Response(status, lower, b"").is_html:
            sink = None
        self.is_download = sink is not None
        with self.named(status):
            return _Body(self, status, lower, sink)

    def fault(self, error: Exception) -> ApiError:
        """Return the error of a request that failed; where it did not go out, nothing was sent."""
        made_of = _made_of(error)
        root = made_of[-1]
        is_late = any(isinstance(one, TimeoutError) for one in made_of)
        if not self.was_sent:
            words = f"no connection within {self.timeout:g} s" if is_late else _words(root)
            return NotConnected(self.line, (f"through {self.proxy}: {words}" if self.proxy else words,))
        if is_late and self.is_download:
            size = LOWEST_RATE * self.timeout
            return AnswerLost(self.line, (f"less than {size:g} bytes of it came within {self.timeout:g} s",))
        if is_late:
            whole = "whole " if self.has_begun else ""
            return AnswerLost(self.line, (f"no {whole}answer within {self.timeout:g} s",))
        return AnswerLost(self.line, (f"the connection was lost: {_words(root)}",))

    @contextlib.contextmanager
    def named(self, status: int) -> Iterator[None]:
        """Name what is wrong with a body."""
        try:
            yield
        except Broken as error:
            raise AnswerLost(self.line, (f"the answer is not whole: {error}",)) from None
        except NotAsked as error:
            raise UnreadableAnswer(self.line, (str(error),), status) from None

    @property
    def line(self) -> str:
        return f"{self.wire.method} {self.wire.url}"


class _Body:
    """The body of an answer while it comes."""

    def __init__(
        self, way: _Way, status: int, headers: dict[str, str], sink: Callable[[bytes], object] | None
    ) -> None:
        self._way, self._status, self._headers, self.sink = way, status, headers, sink
        self._unpacker = Unpacker(headers)
        self._bytes = bytearray()
        self._is_begun = False
        if sink and not (self._unpacker.coding or tells_its_length(headers)):
            raise Broken("nothing tells how long the file is, so half of it can't be told from all")

    def take(self, raw: bytes) -> None:
        with self._way.named(self._status):
            for piece in self._unpacker.take(raw):
                if self.sink and self._is_begun:
                    self.sink(piece)
                    continue
                self._bytes += piece
                if self.sink and len(self._bytes) >= _BEGIN:
                    self._begin()
                if len(self._bytes) > MAX_ANSWER:
                    size = f"an answer of more than {MAX_ANSWER // 2**20} MiB"
                    raise UnreadableAnswer(self._way.line, (size,), self._status)

    def answer(self) -> Response:
        """Return the answer, whose last byte has come."""
        with self._way.named(self._status):
            self._unpacker.finish()
        if self.sink and not self._is_begun:
            self._begin()
        return Response(self._status, self._headers, bytes(self._bytes))

    def _begin(self) -> None:
        """Give the sink what has come, unless that begins as no file does."""
        begin = Response(self._status, self._headers, bytes(self._bytes))
        self._is_begun = True
        if self.sink is None or begin.is_html or _NO_CSV.match(begin.body):
            self.sink = None
            return
        self._bytes.clear()
        if begin.body:
            self.sink(begin.body)


def _session(site: Site, tls: ssl.SSLContext, *, force_close: bool = False) -> aiohttp.ClientSession:
    import aiohttp

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(_note_that_it_was_sent)
    # With a limit, requests wait for a connection while their clock runs.
    connector = aiohttp.TCPConnector(ssl=tls, limit=0, force_close=force_close)
    connector._factory = partial(_handler(), loop=asyncio.get_running_loop())
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=site.timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=connector,
        trust_env=False,
        auto_decompress=False,
        trace_configs=[tracing],
    )


@functools.cache
def _handler() -> type[ResponseHandler]:
    """Return what reads heads as long as ``requests`` does, those of a proxy that opens a tunnel too."""
    from aiohttp.client_proto import ResponseHandler

    known = inspect.signature(ResponseHandler.set_response_params).parameters
    limits = {"max_line_size": MAX_HEADER, "max_field_size": MAX_HEADER, "max_headers": MAX_HEADERS}
    ours: dict[str, Any] = {name: value for name, value in limits.items() if name in known}

    class Handler(ResponseHandler):
        def set_response_params(self, **how: Any) -> None:
            super().set_response_params(**{**how, **ours})

    return Handler


async def _name_faults(way: _Way, request: Any, handler: Any) -> Any:
    """Name a fault inside of ``aiohttp``, which would else silently send a PUT again after a lost answer."""
    import aiohttp

    try:
        return await handler(request)
    except (aiohttp.ClientError, OSError) as error:
        raise way.fault(error) from None


async def _note_that_it_was_sent(session: Any, context: Any, params: Any) -> None:
    context.trace_request_ctx.was_sent = True


def _prepared(site: Site) -> ssl.SSLContext:
    """Import what takes its time, and read the certificates: not for the loop's thread."""
    import aiohttp  # noqa: F401
    import requests.utils  # noqa: F401

    return tls_context(site)


def _turn(wire: Wire) -> contextlib.AbstractAsyncContextManager[Any]:
    """
    Return what a look waits for, before its clock runs: half of the files that this process may open.

    Whatever is no look, such as a cancel, finds the other half free.
    """
    limit = _most_files()
    if wire.method != "GET" or limit is None:
        return contextlib.nullcontext()
    loop = asyncio.get_running_loop()
    if loop not in _turns:
        for closed in [one for one in _turns if one.is_closed()]:
            del _turns[closed]
        _turns[loop] = asyncio.Semaphore(max(limit // 2, 1))
    return _turns[loop]


def _joined(headers: Any) -> dict[str, str]:
    """Return headers with names in lower case: those that come twice as one, whichever client read them."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        key, text = str(name).lower(), _readable(str(value))
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _readable(text: str) -> str:
    """Return a header's text: one client reads it as Latin-1, the other as UTF-8 with surrogates."""
    if text.isascii():
        return text
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _most_files() -> int | None:
    """Return how many files this process may open; None for any number."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if limit == resource.RLIM_INFINITY else limit


def _made_of(error: BaseException) -> list[BaseException]:
    """Return an error and what it holds or was raised from, but nothing that was only being handled then."""
    found = [error]
    while True:
        last = found[-1]
        held = (getattr(last, "reason", None), *last.args, last.__cause__)
        inner = next((one for one in held if isinstance(one, BaseException) and one not in found), None)
        if inner is None:
            return found
        found.append(inner)


def _words(error: BaseException) -> str:
    # What aiohttp can't read is a 400 to it, which nobody has said, and it draws a picture of it.
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    text = shorten(" ".join(str(text).split()))
    return f"{text} ({type(error).__name__})" if text else type(error).__name__
