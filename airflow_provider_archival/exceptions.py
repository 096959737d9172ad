"""
What can go wrong, in two kinds.

Those that derive from ``AirflowFailException`` can't be mended by a retry, so Airflow does not try again;
the others can.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException

from airflow_provider_archival.api.http import ApiError


class ArchivalException(AirflowException):
    """The root of this provider's exceptions that a retry may mend."""


class BadInput(AirflowFailException):
    """A parameter of an operator, sensor or hook can't be used; nothing was sent."""


class ConnectionNotUsable(AirflowFailException):
    """An Airflow connection lacks something, or has something that can't be used; nothing was sent."""


class ConnectionNotFound(ArchivalException):
    """
    There is no such Airflow connection, or it can't be read just now.

    Airflow keeps to itself that a secrets backend failed, so "not now" looks like "not there".
    """


class ServiceFault(ArchivalException):
    """
    A service did not do what it was asked, and may do so later.

    :param message: what was asked, what the service answered, what to do
    :param error: the service's answer: its ``status``, ``messages``, ``request_line``
    """

    def __init__(self, message: str, error: ApiError) -> None:
        super().__init__(message)
        self.error = error


class ServiceRefusal(AirflowFailException, ServiceFault):
    """A service refused what it was asked, and will refuse it again."""


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


class WatchRefused(AirflowFailException, JobError):
    """The service refuses to tell how a job stands, for a reason that won't pass; the job goes on."""


class WatchedJobFailed(AirflowFailException, JobError):
    """A job that a sensor watches ended badly, or is unknown; watching it again can't change that."""


class JiraPartialError(AirflowFailException):
    """
    Jira archived (or unarchived) some issues of those asked for, or none.

    :param message: how many, and the reasons with Jira's words
    :param report: the operator's whole result
    """

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message)
        self.report = report


class FileNotAvailable(AirflowFailException, JobError):
    """An export ended well, but Jira does not tell where its file lies, so it can't be saved."""


class FileTooLarge(AirflowFailException):
    """A file is larger than ``max_file_bytes`` allows; nothing was saved."""


class FilesDiffer(AirflowFailException):
    """The files of several exports can't be one: their columns are not the same; nothing was saved."""


class TooManyIssues(AirflowFailException):
    """A JQL matches more issues than ``max_issues`` allows, or than Jira takes where they can't be cut."""


class PoolsNotArchived(AirflowFailException):
    """
    A Toloka project can't be archived, because of its pools or trainings.

    :param message: each pool with its status or what Toloka says of it, and what to do
    :param pools: a list of ``{"pool_id" or "training_id", "status" or "message"}``
    """

    def __init__(self, message: str, pools: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.pools = pools
