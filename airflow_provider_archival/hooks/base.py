"""The one place that sends: connections looked up, authentication, repeats, files, waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeVar

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowFailException
from tenacity import AsyncRetrying, Retrying

from airflow_provider_archival.api import http
from airflow_provider_archival.api.flow import Flow, ahold, hold
from airflow_provider_archival.api.http import ApiError, Repeat, Request, Response
from airflow_provider_archival.api.jobs import JobKind
from airflow_provider_archival.api.polling import TIMEOUT, Job, Wait, watch
from airflow_provider_archival.hooks.answers import Answers
from airflow_provider_archival.hooks.async_transport import AsyncTransport
from airflow_provider_archival.hooks.auth import ClientCredentials, Wire, renewing
from airflow_provider_archival.hooks.channels import Channel, channel_of, held
from airflow_provider_archival.hooks.fetching import follow_file
from airflow_provider_archival.hooks.hosts import origin_of
from airflow_provider_archival.hooks.pace import gate, limiter
from airflow_provider_archival.hooks.sending import as_answered, check, mask, read, whole, wire_of
from airflow_provider_archival.hooks.site import Site, extra_is_usable
from airflow_provider_archival.hooks.sync_transport import SyncTransport

T = TypeVar("T")
J = TypeVar("J", bound=Job)

ATTEMPTS = 5
"""How often a request is sent, at most, while the faults are passing ones."""


class ServiceHook(Answers):
    """
    What the hooks of both services share: it carries a :class:`~airflow_provider_archival.api.http.Request`.

    :param conn_id: the Airflow connection
    :raises BadInput: that is nothing
    """

    most_per_second: ClassVar[int | None] = None
    """How many requests a second a process sends at most."""

    def __init__(self, conn_id: str) -> None:
        super().__init__(conn_id)
        self._transport: SyncTransport | None = None

    @property
    def base_url(self) -> str:
        """Where the connection points."""
        return (self._site or self._look_up()).base_url

    # --- now ---

    def call(self, request: Request[T], *, attempts: int = ATTEMPTS) -> T:
        """
        Send a request and return its value; faults that pass are tried again where a repeat does no harm.

        A pause that the service asks for is made in full; with a :attr:`deadline` it costs no attempt.

        :param request: what to send
        :param attempts: how often at most
        :raises ServiceRefusal: a retry of the task can't mend it
        :raises ServiceFault: a retry of the task may mend it
        :raises ConnectionNotFound: there is no such Airflow connection, or not just now
        :raises ConnectionNotUsable: the Airflow connection is incomplete
        """
        try:
            value: T = Retrying(**self._policy(request, attempts))(self._call_once, request)
            return value
        except ApiError as error:
            raise self.in_airflows_terms(error) from None

    def follow(
        self,
        flow: Flow[T],
        *,
        attempts: int = ATTEMPTS,
        may_start: bool = False,
        sleep: Callable[[float], object] | None = None,
    ) -> T:
        """
        Hold a talk of several requests, each sent as :meth:`call` does.

        :param flow: yields the requests
        :param attempts: how often each is sent at most
        :param may_start: whether it may start a job; one that does, and may not, is a mistake
        :param sleep: sleeps for so many seconds
        :raises ApiError: what the service answered, where the talk does not take it
        """

        def send(request: Request[Any]) -> Any:
            check(request, may_start)
            with as_answered():
                return self.call(request, attempts=attempts)

        return hold(flow, send, sleep or time.sleep)

    def repeated(self, what: Callable[[], T], name: str) -> T:
        """
        Do something that does no harm twice, as often as :meth:`call` would send a request.

        :param what: raises a ``ServiceFault`` where it may be repeated
        :param name: what it is, for the log
        """
        method, _, path = name.partition(" ")
        value: T = Retrying(**self._policy(Request(method, path, lambda response: None), ATTEMPTS))(what)
        return value

    def close(self) -> None:
        """Close the connections; the hook can be used again afterwards."""
        if self._transport is not None:
            self._transport.close()
        self._site = self._transport = None

    def _call_once(self, request: Request[T]) -> T:
        known = self._site
        try:
            return self._heard(self._send(request), request, self._site)
        except http.NotAuthenticated:
            # The credentials may have been changed since the connection was read.
            if known is None or self._look_up() == known:
                raise
            return self._heard(self._send(request), request, self._site)

    def _send(self, request: Request[Any]) -> Response:
        site = self._site or self._look_up()
        wire, door = wire_of(site, request), gate(self._conn_id, site.base_url)
        if (turn := door.check(request)) > 0:
            time.sleep(turn)
        if self.most_per_second:
            limiter(self._conn_id, self.most_per_second).try_acquire()
        return self._drive(wire, fresh=request.repeat is Repeat.AFTER_A_LOOK)

    def _drive(self, wire: Wire, **how: Any) -> Response:
        site, transport = self._site, self._transport
        assert site is not None
        assert transport is not None
        flow = site.auth.flow(wire)
        try:
            step = next(flow)
            while True:
                if isinstance(step, ClientCredentials):
                    with renewing():
                        step.accept(transport.send(step.token_request()))
                    mask(site)
                    step = next(flow)
                else:
                    step = flow.send(transport.send(step, **how))
        except StopIteration as done:
            answer: Response = done.value
            return answer

    def fetch(self, url: str, sink: Callable[[bytes], object]) -> None:
        """
        Download a file that the service points to, piece by piece, once.

        Credentials go along only where the URL has the scheme, host and port of the connection or of its
        ``file_host``; elsewhere only ``https`` is taken. Redirects are followed under the same rules.

        :param url: where the file lies
        :param sink: takes the pieces
        :raises ServiceRefusal: the file can't be had from there
        :raises ServiceFault: it can't be had now, or was cut off
        """
        try:
            follow_file(self, url, sink)
        except ApiError as error:
            raise self.in_airflows_terms(error) from None

    def is_own(self, url: str) -> bool:
        """Say whether a URL has the scheme, host and port of the connection or of its ``file_host``."""
        site = self._site or self._look_up()
        return origin_of(url) in {origin_of(own) for own in (site.base_url, site.file_url) if own}

    def send_for_file(self, url: str, sink: Callable[[bytes], object], *, is_own: bool) -> Response:
        """Ask for a file once, with credentials where it is the site's own."""
        wire = Wire("GET", url)
        if is_own:
            return self._drive(wire, sink=sink)
        assert self._transport is not None
        return self._transport.send(wire, sink=sink)

    def read_file(self, response: Response, request: Request[None]) -> None:
        """Raise the error that an answer in a file's place means."""
        read(response, request, self._site)

    def _look_up(self) -> Site:
        try:
            connection = whole(self.get_connection(self._conn_id))
        except AirflowFailException:
            raise
        except Exception as error:  # noqa: BLE001 (whatever a secrets backend raises)
            raise self._not_found(error) from None
        extra_is_usable(self._conn_id, connection.extra)
        site = self.site_of(connection, connection.extra_dejson or {})
        mask(site)
        if site != self._site:
            self.close()
            self._site, self._transport = site, SyncTransport(site)
        return site

    # --- async ---

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """
        Hold the session that all users of this connection share on this event loop; the last one closes it.

        :meth:`acall` works without it too; a trigger that holds it pays for one look-up and one session only.
        """
        async with held(type(self), self._conn_id):
            yield

    async def acall(self, request: Request[T], *, attempts: int = ATTEMPTS) -> T:
        """:meth:`call` for an event loop, which it never blocks."""
        async with self.connected():
            channel = channel_of(type(self), self._conn_id)
            try:
                retrying = AsyncRetrying(**self._policy(request, attempts, channel))
                value: T = await retrying(self._acall_once, request, channel)
                return value
            except ApiError as error:
                raise self.in_airflows_terms(error, channel.site) from None

    async def afollow(self, flow: Flow[T], *, attempts: int = ATTEMPTS) -> T:
        """:meth:`follow` for an event loop, which it never blocks; it starts no job."""

        async def send(request: Request[Any]) -> Any:
            check(request, may_start=False)
            with as_answered():
                return await self.acall(request, attempts=attempts)

        async with self.connected():
            return await ahold(flow, send, asyncio.sleep)

    async def _acall_once(self, request: Request[T], channel: Channel) -> T:
        known = channel.site
        try:
            return self._heard(await self._asend(request, channel), request, channel.site)
        except http.NotAuthenticated:
            if known is None or await self._alook_up(channel, known) == known:
                raise
            return self._heard(await self._asend(request, channel), request, channel.site)

    async def _asend(self, request: Request[Any], channel: Channel) -> Response:
        site = channel.site or await self._alook_up(channel, None)
        transport, door = channel.transports[-1], gate(self._conn_id, site.base_url)
        if (turn := door.check(request)) > 0:
            await asyncio.sleep(turn)
        if self.most_per_second and not request.is_urgent:
            await limiter(self._conn_id, self.most_per_second).try_acquire_async()
        flow = site.auth.flow(wire_of(site, request))
        try:
            step = next(flow)
            while True:
                if isinstance(step, ClientCredentials):
                    async with channel.lock:
                        # One token serves all who waited for it.
                        if step.is_stale:
                            with renewing():
                                step.accept(await transport.send(step.token_request()))
                            await asyncio.to_thread(mask, site)
                    step = next(flow)
                else:
                    step = flow.send(await transport.send(step))
        except StopIteration as done:
            answer: Response = done.value
            return answer

    async def _alook_up(self, channel: Channel, known: Site | None) -> Site:
        """Read the connection, unless somebody else has just done so."""
        async with channel.lock:
            if channel.site is not None and channel.site is not known:
                return channel.site
            try:
                connection = whole(await get_async_connection(self._conn_id, hook=self))
            except AirflowFailException:
                raise
            except Exception as error:  # noqa: BLE001 (whatever a secrets backend raises)
                raise self._not_found(error) from None
            extra_is_usable(self._conn_id, connection.extra)
            site = self.site_of(connection, await get_async_extra_dejson(connection) or {})
            if site != channel.site:
                await asyncio.to_thread(mask, site)
                channel.transports.append(await AsyncTransport.open(site))
                channel.site = site
            return site

    # --- waiting ---

    def wait_for(self, kind: JobKind[J], job_id: str, poll_interval: float, timeout: float) -> J:
        """
        Look at a job again and again until it ends, through any number of passing faults.

        :param kind: what it is
        :param job_id: its id
        :param poll_interval: the longest pause between two looks, in seconds
        :param timeout: seconds to wait at most
        :raises JobTimeout: the job did not end in time; it goes on at the service
        :raises ServiceRefusal: looking can't succeed any more
        """
        job = kind.unseen(job_id)
        wait = Wait(self.name_of(job_id), poll_interval, time.time() + timeout)
        outcome = self.follow(watch(kind.looker(job), job, wait), attempts=1)
        if outcome.error is not None:
            raise self.in_airflows_terms(outcome.error)
        if outcome.how == TIMEOUT or outcome.job is None:
            raise self.timed_out(outcome.job or job, outcome.message, f"timeout of {timeout:g} s")
        return outcome.job
