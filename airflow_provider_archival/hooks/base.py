"""The one place that sends: authentication, repeats, errors in Airflow's terms, masking, waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeVar

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
)
from tenacity import AsyncRetrying, Retrying

from airflow_provider_archival.api import http
from airflow_provider_archival.api.flow import Flow, ahold, hold
from airflow_provider_archival.api.http import ApiError, Repeat, Request, Response
from airflow_provider_archival.api.jobs import JobKind
from airflow_provider_archival.api.limits import RateLimit
from airflow_provider_archival.api.polling import NEVER_SEEN, TIMEOUT, Job, Wait, watch
from airflow_provider_archival.api.times import moment_in_header
from airflow_provider_archival.api.urls import without_queries
from airflow_provider_archival.api.voices import Voice, storages
from airflow_provider_archival.exceptions import (
    BadInput,
    ConnectionNotFound,
    JobTimeout,
    ServiceFault,
    ServiceRefusal,
)
from airflow_provider_archival.hooks.auth import ClientCredentials, Wire, renewing
from airflow_provider_archival.hooks.channels import Channel, channel_of, held
from airflow_provider_archival.hooks.fetching import follow_file
from airflow_provider_archival.hooks.hosts import origin_of
from airflow_provider_archival.hooks.pace import gate, limiter
from airflow_provider_archival.hooks.repeats import Policy
from airflow_provider_archival.hooks.sending import as_answered, check, mask, read, whole, wire_of
from airflow_provider_archival.hooks.site import Site, extra_is_usable
from airflow_provider_archival.hooks.transports import AsyncTransport, SyncTransport

T = TypeVar("T")
J = TypeVar("J", bound=Job)

ATTEMPTS = 5
"""How often a request is sent, at most, while the faults are passing ones."""

_LASTING = (
    http.BadRequest,
    http.Conflict,
    http.Forbidden,
    http.NotAuthenticated,
    http.NotFollowed,
    http.NotFound,
)


class ServiceHook(BaseHook):
    """
    What the hooks of both services share: it carries a :class:`~airflow_provider_archival.api.http.Request`.

    :param conn_id: the Airflow connection
    :raises BadInput: that is nothing
    """

    conn_name_attr: ClassVar[str]
    service: ClassVar[str]
    job_word: ClassVar[str]
    most_per_second: ClassVar[int | None] = None
    """How many requests a second a process sends at most."""

    def __init__(self, conn_id: str) -> None:
        super().__init__()
        if not isinstance(conn_id, str) or conn_id.strip().lower() in ("", "none"):
            raise BadInput(
                f"{self.conn_name_attr} is {conn_id!r}, which names no connection. If it is a template, look"
                " what the task or parameter before it gave; the default connection does not stand in for it."
            )
        self._conn_id = conn_id.strip()
        self._site: Site | None = None
        self._transport: SyncTransport | None = None
        self.deadline: float | None = None
        """Until when calls may pause, in epoch seconds; None for a day from each call's begin."""
        self.patience: float | None = None
        """The longest pause, in seconds, that a call makes before it raises; None for any."""
        self.served_at: float | None = None
        """The service's time as of its last answer to a call, in epoch seconds; None where it is not told."""

    @property
    def base_url(self) -> str:
        """Where the connection points."""
        return (self._site or self._look_up()).base_url

    def site_of(self, connection: Any, extra: Mapping[str, Any]) -> Site:
        """Read a connection; ``extra`` is its extra as a dict."""
        raise NotImplementedError

    def voice_of_files(self) -> Voice:
        """Return what says whether an error in a file's place is the word of whoever keeps the file."""
        return storages

    def advice(self, error: ApiError) -> str:
        """Say what a person can do about an error."""
        if isinstance(error, http.NotFollowed):
            return "Ask the service's support why it points there."
        if isinstance(error, http.Redirected):
            return (
                f"Check the host of connection '{self._conn_id}', and whether a login page or a proxy is on"
                " the way: credentials are never sent elsewhere."
            )
        if isinstance(error, (http.NotConnected, http.AnswerLost)):
            return (
                f"Check that the host of connection '{self._conn_id}' is right and can be reached from here."
            )
        if isinstance(error, (http.ServiceUnavailable, http.TooManyRequests)):
            return "This usually passes; the next try may succeed."
        if isinstance(error, http.UnreadableAnswer):
            return (
                "Something else may answer in the service's place, such as a proxy, a login page or its own"
                " edge. This usually passes; where it does not, check how the host is reached from here."
            )
        return ""

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

    # --- both ---

    def _policy(self, request: Request[Any], attempts: int, channel: Channel | None = None) -> dict[str, Any]:
        def tell(error: ApiError, pause: float, attempt: int) -> None:
            said = self._scrubbed(error, channel.site if channel else None)
            self.log.warning(
                "%s: %s; sending it again in %.1f s (attempt %d of %d)",
                *(self.service, said, pause, attempt, attempts),
            )

        return Policy(request, attempts, self.deadline, self.patience, tell).for_tenacity

    def _heard(self, response: Response, request: Request[T], site: Site | None) -> T:
        """Read an answer, and what it says of limits."""
        door = gate(self._conn_id, site.base_url if site else "")
        try:
            value = read(response, request, site)
        except http.TooManyRequests as error:
            if line := door.refused(request, error):
                self.log.warning("%s: %s", self.service, line)
            raise
        if (moment := moment_in_header(response.headers.get("date"))) is not None:
            self.served_at = moment.timestamp()
        if line := door.answered(request, RateLimit.of(response)):
            self.log.warning("%s: %s", self.service, line)
        return value

    def in_airflows_terms(self, error: ApiError, site: Site | None = None) -> ServiceFault:
        """Return the exception for what a service answered: what to do, and whether a retry can mend it."""
        kind = ServiceRefusal if isinstance(error, _LASTING) else ServiceFault
        scrubbed = self._scrubbed(error, site)
        return kind(f"{self.service}: {scrubbed} {self.advice(scrubbed)}".rstrip(), scrubbed)

    def _scrubbed(self, error: ApiError, site: Site | None = None) -> ApiError:
        site = site or self._site
        if site is not None:
            error.messages = tuple(without_queries(site.scrub(text)) for text in error.messages)
            error.request_line = site.scrub(error.request_line)
            error.args = (error.request_line, error.messages, error.status, error.retry_after)
        return error

    def _not_found(self, error: Exception) -> ConnectionNotFound:
        # What a secrets backend says may hold what it was asked with: its kind is enough.
        why = "" if isinstance(error, AirflowNotFoundException) else f" ({type(error).__name__})"
        return ConnectionNotFound(
            f"There is no Airflow connection '{self._conn_id}', or it can't be read just now{why}: a secrets"
            " backend that was away for a moment looks like that, and a retry will do. Else add it (Admin >"
            f" Connections, or the environment variable AIRFLOW_CONN_{self._conn_id.upper()}) where workers"
            " and triggerer see it, or name another one."
        )

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

    def timed_out(self, job: Job, story: str | None = None, limit: str = "timeout") -> JobTimeout:
        """
        Return the error for a job that did not end in time.

        :param job: the job as it was seen last
        :param story: what the wait says of it, see :attr:`~airflow_provider_archival.api.polling.Wait.story`
        :param limit: which limit ended the wait, in words
        """
        story = story or f"It was {job.status} when last seen."
        advice = f"give it a longer {limit.partition(' ')[0]}, or look there why it takes so long"
        if story.startswith(NEVER_SEEN):
            advice = "see to it that it can be looked at from here; a retry goes on with it"
        return JobTimeout(
            f"{self.name_of(job.id)} did not end in time. {story.rstrip('.')}. It goes on at {self.service};"
            f" this wait had a {limit}. What to do: {advice}.",
            job.to_dict(),
        )

    @classmethod
    def name_of(cls, job_id: str) -> str:
        """Return a job's name for the log, such as ``Jira task 10010``."""
        return f"{cls.service} {cls.job_word} {job_id}"
