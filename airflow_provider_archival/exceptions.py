"""
What can go wrong, in two kinds.

Those that derive from ``AirflowFailException`` can't be mended by a retry, so Airflow does not try again;
the others can.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_archival.api.http import ApiError
from airflow_provider_archival.api.portable import Portable, plain


class _Portable(Portable, AirflowException):
    """What every exception of this provider is: made again whole by ``pickle`` and by Airflow."""

    def serialize(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """Return the class, and what Airflow calls it with to make it again; as plain data."""
        kind, known = type(self), vars(self)
        parameters = [name for name in signature(kind).parameters if name in known]
        more = {name: plain(known[name]) for name in parameters}
        return f"{kind.__module__}.{kind.__qualname__}", (str(self),), more


class ArchivalException(_Portable):
    """The root of this provider's exceptions that a retry may mend."""


class BadInput(_Portable, AirflowFailException):
    """A parameter of an operator, sensor or hook can't be used; nothing was sent."""


class ConnectionNotUsable(_Portable, AirflowFailException):
    """An Airflow connection lacks something, or has something that can't be used; nothing was sent."""


class ConnectionNotFound(ArchivalException):
    """
    There is no such Airflow connection, or it can't be read just now; nothing was sent.

    Airflow keeps to itself that a secrets backend failed, so "not now" looks like "not there".
    """


class ServiceFault(ArchivalException):
    """
    A service did not do what it was asked, and may do so later.

    :param message: what was asked, what the service answered, what to do
    :param error: the service's answer: its ``status``, ``messages``, ``request_line``
    """

    def __init__(self, message: str, error: ApiError | Mapping[str, Any]) -> None:
        super().__init__(message)
        # Airflow makes it again from plain data.
        self.error = error if isinstance(error, ApiError) else ApiError.from_plain(error)


class ServiceRefusal(AirflowFailException, ServiceFault):
    """A service refused what it was asked, and will refuse it again."""


class FileGone(ServiceRefusal):
    """An export has ended well, but its file can be had no more; when the task is cleared it exports anew."""


class JobError(ArchivalException):
    """
    Something about a job.

    :param message: what happened, in the service's words, and what to do
    :param job: the job as it was seen last, a plain dict; it has at least its id
    """

    def __init__(self, message: str, job: dict[str, Any]) -> None:
        super().__init__(message)
        self.job = job


class JiraTaskFailed(JobError):
    """A Jira task ended ``FAILED``."""


class JiraTaskCancelled(JobError):
    """A Jira task ended ``CANCELLED``."""


class JiraTaskDead(JobError):
    """A Jira task ended ``DEAD``: Jira lost it."""


class TolokaOperationFailed(JobError):
    """A Toloka operation ended ``FAIL``."""


class JobGone(JobError):
    """The service does not know the job any more."""


class JobTimeout(JobError):
    """A job did not end within ``timeout``."""


class JobNotWatched(JobError):
    """Nobody can look at a job for a reason that a new try may mend; the job goes on."""


class WatchRefused(AirflowFailException, JobError):
    """The service refuses to tell how a job stands, for a reason that won't pass; the job goes on."""


class WatchedJobFailed(AirflowFailException, JobError):
    """A job that a sensor watches ended badly, or is unknown; watching it again can't change that."""


class JiraPartialError(_Portable, AirflowFailException):
    """
    Jira archived (or unarchived) some issues of those asked for, or none.

    :param message: how many, and the reasons with Jira's words
    :param report: the operator's whole result
    """

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message)
        self.report = report


class StateNotKept(ArchivalException):
    """How far a task has come can't be read from Airflow's store, or kept there, just now."""


class ResultNotKept(ArchivalException):
    """The work is done, but XCom does not take the result: the next try hands it over again."""


class TryOvertaken(_Portable, AirflowFailException):
    """A later try of the same task goes on with the work, so this one stops; it changes nothing."""


class FileNotAvailable(AirflowFailException, JobError):
    """An export ended well, but Jira does not tell where its file lies, so it can't be saved."""


class FileTooLarge(_Portable, AirflowFailException):
    """A file is larger than ``max_file_bytes`` allows; nothing was saved."""


class FilesDiffer(_Portable, AirflowFailException):
    """The files of several exports can't be one, since they have no column in common; nothing was saved."""


class DestinationNotUsable(_Portable, AirflowFailException):
    """Files can't be saved to ``destination``, and a retry can't mend that; no export is lost by it."""


class DestinationNotReachable(ArchivalException):
    """Files can't be saved to ``destination`` now; the next try takes the file of the same export."""


class CountsDoNotAddUp(ArchivalException):
    """Jira's counts of what a JQL matches contradict each other, so it can't be cut; no more is archived."""


class TooManyIssues(_Portable, AirflowFailException):
    """A JQL matches more issues than ``max_issues`` allows, or than Jira takes where they can't be cut."""


class PoolsNotArchived(_Portable, AirflowFailException):
    """
    A Toloka project can't be archived, because of its pools or trainings.

    :param message: each pool with its status or what Toloka says of it, and what to do
    :param pools: a list of ``{"pool_id" or "training_id", "status" or "message"}``
    """

    def __init__(self, message: str, pools: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.pools = pools
