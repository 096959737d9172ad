"""The way over the wire for a worker, ``requests``: it sends once and names what went wrong."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_archival.api.http import Response
from airflow_provider_archival.hooks.auth import Wire
from airflow_provider_archival.hooks.network import tls_context
from airflow_provider_archival.hooks.site import Site
from airflow_provider_archival.hooks.ways import HEADERS, Ways

_PIECE = 64 * 1024


class SyncTransport(Ways):
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

        way = self.way(wire)
        if fresh:
            self._session.close()
        with clock.runs(way.timeout):
            try:
                with self._session.request(
                    wire.method,
                    wire.url,
                    headers={**HEADERS, **wire.headers},
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
