"""What a hook makes of answers, whichever way they came: limits, errors in Airflow's terms, advice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_archival.api import http
from airflow_provider_archival.api.http import ApiError, Request, Response
from airflow_provider_archival.api.limits import RateLimit
from airflow_provider_archival.api.polling import NEVER_SEEN, Job
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
from airflow_provider_archival.hooks.channels import Channel
from airflow_provider_archival.hooks.pace import gate
from airflow_provider_archival.hooks.repeats import Policy
from airflow_provider_archival.hooks.sending import read
from airflow_provider_archival.hooks.site import Site

T = TypeVar("T")

_LASTING = (
    http.BadRequest,
    http.Conflict,
    http.Forbidden,
    http.NotAuthenticated,
    http.NotFollowed,
    http.NotFound,
)


class Answers(BaseHook):
    """
    What :class:`~airflow_provider_archival.hooks.base.ServiceHook` knows of a connection and of its answers.

    :param conn_id: the Airflow connection
    :raises BadInput: that is nothing
    """

    conn_name_attr: ClassVar[str]
    service: ClassVar[str]
    job_word: ClassVar[str]

    def __init__(self, conn_id: str) -> None:
        super().__init__()
        if not isinstance(conn_id, str) or conn_id.strip().lower() in ("", "none"):
            raise BadInput(
                f"{self.conn_name_attr} is {conn_id!r}, which names no connection. If it is a template, look"
                " what the task or parameter before it gave; the default connection does not stand in for it."
            )
        self._conn_id = conn_id.strip()
        self._site: Site | None = None
        self.deadline: float | None = None
        """Until when calls may pause, in epoch seconds; None for a day from each call's begin."""
        self.patience: float | None = None
        """The longest pause, in seconds, that a call makes before it raises; None for any."""
        self.served_at: float | None = None
        """The service's time as of its last answer to a call, in epoch seconds; None where it is not told."""

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
