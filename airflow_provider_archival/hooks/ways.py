"""What both ways over the wire share: the proxy to a site, how a body is taken, what a fault means."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from airflow_provider_archival import __version__
from airflow_provider_archival.api.clean import shorten
from airflow_provider_archival.api.http import AnswerLost, ApiError, NotConnected, Response, UnreadableAnswer
from airflow_provider_archival.hooks.auth import Wire
from airflow_provider_archival.hooks.encodings import ACCEPTED, Broken, NotAsked, Unpacker, tells_its_length
from airflow_provider_archival.hooks.hosts import origin_of
from airflow_provider_archival.hooks.network import LOWEST_RATE, Proxy, proxy_for
from airflow_provider_archival.hooks.site import Site

MAX_ANSWER = 16 * 1024 * 1024
"""The longest answer that is read, in bytes; none of the services' comes near it."""
HEADERS = {"User-Agent": f"airflow-provider-archival/{__version__}", "Accept-Encoding": ACCEPTED}
"""What goes along with each request."""

_BEGIN = 1024
_NO_CSV = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml|\{\s*\"|\[\s*[\[{\"])", re.IGNORECASE)
"""How XML and JSON begin."""


class Ways:
    """What both transports know of the way to a site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._proxies: dict[tuple[str, str, int], Proxy | None] = {}

    def way(self, wire: Wire) -> Way:
        origin = origin_of(wire.url)
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(self._site, wire.url)
        return Way(wire, self._site.timeout, self._proxies[origin])


@dataclass
class Way:
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
        self, way: Way, status: int, headers: dict[str, str], sink: Callable[[bytes], object] | None
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
