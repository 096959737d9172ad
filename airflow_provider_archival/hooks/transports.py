"""The two ways over the wire, ``requests`` and ``aiohttp``: each sends once and names what went wrong."""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import ssl
import time
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from airflow_provider_archival import __version__
from airflow_provider_archival.api.http import AnswerLost, ApiError, NotConnected, Response, UnreadableAnswer
from airflow_provider_archival.hooks.auth import Wire
from airflow_provider_archival.hooks.site import Site

if TYPE_CHECKING:
    import aiohttp
    import requests

MAX_ANSWER = 16 * 1024 * 1024
"""The longest answer that is read, in bytes; none of the services' comes near it."""

_PIECE = 64 * 1024
_USER_AGENT = f"airflow-provider-archival/{__version__}"


class SyncTransport:
    """Sends over ``requests``; redirects are not followed, cookies not kept, ``.netrc`` not read."""

    def __init__(self, site: Site) -> None:
        import requests

        self._site = site
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def send(
        self, wire: Wire, *, fresh: bool = False, sink: Callable[[bytes], object] | None = None
    ) -> Response:
        """
        Send once and return the answer, whatever its status.

        :param wire: what to send
        :param fresh: over a new connection: one that was kept alive may be dead, and then nobody knows
            whether the request was acted upon
        :param sink: takes the body of a 200 piece by piece, however long it is, but no web page; the answer's
            own is empty then
        """
        import requests
        import urllib3

        if fresh:
            self._session.close()
        began = time.monotonic()
        try:
            with self._session.request(
                wire.method,
                wire.url,
                headers={"User-Agent": _USER_AGENT, **wire.headers},
                data=wire.body,
                auth=_keep_headers,
                timeout=self._site.timeout,
                verify=self._site.verify,
                proxies=dict(self._site.proxies),
                allow_redirects=False,
                stream=True,
            ) as answer:
                body = bytearray()
                is_page = "html" in answer.headers.get("Content-Type", "").lower()
                to_sink = sink if answer.status_code == 200 and not is_page else None
                # Not iter_content: it waits for a whole piece, however slowly its bytes come.
                while piece := answer.raw.read1(_PIECE, decode_content=True):
                    if to_sink:
                        to_sink(piece)
                        continue
                    body += piece
                    _check_size(wire, answer.status_code, len(body))
                    if time.monotonic() - began > self._site.timeout:
                        raise AnswerLost(_line(wire), (f"no whole answer within {self._site.timeout:g} s",))
                return Response(answer.status_code, _lower(answer.headers), bytes(body))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _sync_error(wire, error, self._site.timeout) from None

    def close(self) -> None:
        self._session.close()


class AsyncTransport:
    """Sends over ``aiohttp``, with the same manners; made by :meth:`open`."""

    def __init__(self, site: Site, session: aiohttp.ClientSession, tls: ssl.SSLContext | bool) -> None:
        self._site, self._session, self._tls = site, session, tls

    @classmethod
    async def open(cls, site: Site) -> AsyncTransport:
        # The first import takes a third of a second: too long for a loop that thousands of triggers share.
        await asyncio.to_thread(importlib.import_module, "aiohttp")
        import aiohttp

        tls = await asyncio.to_thread(_tls, site.verify)
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=site.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(ssl=tls),
            trust_env=False,
        )
        return cls(site, session, tls)

    async def send(self, wire: Wire) -> Response:
        """Send once and return the answer, whatever its status."""
        import aiohttp

        try:
            async with self._session.request(
                wire.method,
                wire.url,
                headers={"User-Agent": _USER_AGENT, **wire.headers},
                data=wire.body,
                proxy=self._site.proxy_for(wire.url),
                allow_redirects=False,
                middlewares=(functools.partial(_name_errors, wire, self._site.timeout),),
            ) as answer:
                body = bytearray()
                async for piece in answer.content.iter_chunked(_PIECE):
                    body += piece
                    _check_size(wire, answer.status, len(body))
                return Response(answer.status, _lower(answer.headers), bytes(body))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _async_error(wire, error, self._site.timeout) from None

    async def close(self) -> None:
        await self._session.close()


def _keep_headers(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stand in for ``auth``, so that ``requests`` does not take a login from ``.netrc``."""
    return prepared


async def _name_errors(wire: Wire, seconds: float, request: Any, handler: Any) -> Any:
    """Name a fault inside of ``aiohttp``, which would else silently send a PUT again after a lost answer."""
    import aiohttp

    try:
        return await handler(request)
    except (aiohttp.ClientError, OSError) as error:
        raise _async_error(wire, error, seconds) from None


def _sync_error(wire: Wire, error: Exception, timeout: float) -> ApiError:
    import requests
    from urllib3.exceptions import NewConnectionError, ReadTimeoutError

    root = _root(error)
    # Any other TLS fault may come after the request went out.
    if isinstance(error, requests.exceptions.ConnectTimeout) or isinstance(
        root, ssl.SSLCertVerificationError
    ):
        return NotConnected(_line(wire), (_words(root),))
    if isinstance(error, requests.exceptions.ProxyError):
        return NotConnected(_line(wire), (f"the proxy failed: {_words(root)}",))
    if isinstance(error, (requests.exceptions.Timeout, ReadTimeoutError)):
        return AnswerLost(_line(wire), (f"no answer within {timeout:g} s",))
    if isinstance(error, requests.exceptions.ConnectionError) and _is_caused_by(error, NewConnectionError):
        return NotConnected(_line(wire), (_words(root),))
    return AnswerLost(_line(wire), (f"the connection was lost: {_words(root)}",))


def _async_error(wire: Wire, error: Exception, timeout: float) -> ApiError:
    import aiohttp

    root = _root(error)
    if isinstance(error, (aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError)):
        return NotConnected(_line(wire), (f"the proxy failed: {_words(root)}",))
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return NotConnected(_line(wire), (_words(root),))
    if isinstance(error, TimeoutError):
        return AnswerLost(_line(wire), (f"no answer within {timeout:g} s",))
    return AnswerLost(_line(wire), (f"the connection was lost: {_words(root)}",))


def _is_caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    return any(isinstance(one, kind) for one in _chain(error))


def _root(error: BaseException) -> BaseException:
    return _chain(error)[-1]


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while True:
        last = found[-1]
        inner = getattr(last, "reason", None)
        nested = [arg for arg in last.args if isinstance(arg, BaseException)]
        cause = inner if isinstance(inner, BaseException) else next(iter(nested), None)
        cause = cause or last.__cause__ or last.__context__
        if cause is None or cause in found:
            return found
        found.append(cause)


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"{text} ({type(error).__name__})" if text else type(error).__name__


def _check_size(wire: Wire, status: int, size: int) -> None:
    if size > MAX_ANSWER:
        raise UnreadableAnswer(_line(wire), (f"an answer of more than {MAX_ANSWER // 2**20} MiB",), status)


def _line(wire: Wire) -> str:
    return f"{wire.method} {wire.url}"


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _tls(verify: bool | str) -> ssl.SSLContext | bool:
    """Return what ``aiohttp`` takes for ``ssl``; the CA file of the environment holds as for ``requests``."""
    cafile = verify if isinstance(verify, str) else None
    if verify is True:
        cafile = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if cafile is None:
        return bool(verify)
    folder = cafile if os.path.isdir(cafile) else None
    return ssl.create_default_context(cafile=None if folder else cafile, capath=folder)
