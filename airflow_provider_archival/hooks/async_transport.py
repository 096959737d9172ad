"""The way over the wire for an event loop, ``aiohttp``: it sends once and names what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import resource
import ssl
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_archival.api.http import Response
from airflow_provider_archival.hooks.auth import Wire
from airflow_provider_archival.hooks.network import MAX_HEADER, MAX_HEADERS, tls_context
from airflow_provider_archival.hooks.site import Site
from airflow_provider_archival.hooks.ways import HEADERS, Way, Ways

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.client_proto import ResponseHandler

_turns: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}
_sites_of: WeakKeyDictionary[asyncio.AbstractEventLoop, set[AsyncTransport]] = WeakKeyDictionary()


class AsyncTransport(Ways):
    """Sends over ``aiohttp``, with the manners of the worker's transport; made by :meth:`open`."""

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
        way = self.way(wire)
        async with _turn(wire):
            with self._fitting() as session:
                return await self._send(wire, way, session)

    async def _send(self, wire: Wire, way: Way, session: aiohttp.ClientSession) -> Response:
        import aiohttp

        try:
            async with session.request(
                wire.method,
                wire.url,
                headers={**HEADERS, **wire.headers, **way.headers_for_the_proxy},
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


async def _name_faults(way: Way, request: Any, handler: Any) -> Any:
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


def _most_files() -> int | None:
    """Return how many files this process may open; None for any number."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if limit == resource.RLIM_INFINITY else limit
