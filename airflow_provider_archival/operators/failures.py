"""The errors of a wait, in words that say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_archival.api.batches import OperationBatch
from airflow_provider_archival.api.jira import JiraTask
from airflow_provider_archival.api.polling import GONE, NEVER_SEEN, REFUSED, TIMEOUT, UNWATCHED
from airflow_provider_archival.api.toloka import TolokaOperation
from airflow_provider_archival.engine.driver import BLOCKED, FAILED, PAUSED, TOO_LATE, BadEnd
from airflow_provider_archival.exceptions import (
    CountsDoNotAddUp,
    JiraTaskCancelled,
    JiraTaskDead,
    JiraTaskFailed,
    JobError,
    JobGone,
    JobNotWatched,
    JobTimeout,
    PoolsNotArchived,
    TolokaOperationFailed,
    TooManyIssues,
    WatchRefused,
)
from airflow_provider_archival.plans.base import Cause, Stop

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow_provider_archival.api.polling import Job
    from airflow_provider_archival.engine.state import Run
    from airflow_provider_archival.hooks.base import ServiceHook

_JIRA_TASKS: dict[str, type[JobError]] = {"CANCELLED": JiraTaskCancelled, "DEAD": JiraTaskDead}


def stopped(stop: Stop) -> Exception:
    """Return the error for a run that must not go on."""
    if stop.cause is Cause.TOO_MANY_ISSUES:
        return TooManyIssues(stop.message)
    if stop.cause is Cause.COUNTS_DIFFER:
        return CountsDoNotAddUp(stop.message)
    return PoolsNotArchived(stop.message, stop.details)


def ended(end: BadEnd, hook: ServiceHook, run: Run[Any, Any], limit: str) -> Exception:
    """
    Return the error for a try that ended badly.

    :param run: the run as it stands
    :param limit: the limit of its time, in words
    """
    message = str(hook.in_airflows_terms(end.error)) if end.error else end.message
    if end.how == FAILED:
        return failed(hook, end.job)
    if end.how == TIMEOUT:
        return hook.timed_out(end.job, message or None, limit)
    if end.how == GONE:
        return gone(hook, end.job)
    if end.how == REFUSED:
        return refused(hook, end.job, message)
    if end.how == UNWATCHED:
        return unwatched(hook, end.job, message)
    if end.how == BLOCKED:
        return blocked_too_long(hook, run.blocker or run.last_blocker, message or None)
    if end.how == TOO_LATE:
        return too_late(hook, limit, run.jobs)
    assert end.how == PAUSED
    return paused_too_long(hook, message, limit)


def failed(hook: ServiceHook, job: Any) -> JobError:
    """Return the error for a job of our own that ended badly."""
    if isinstance(job, OperationBatch):
        message = (
            f"{job.counts['FAIL']} of {job.expected} Toloka operations ({job.type} in project"
            f" {job.project_id}) ended FAIL. Toloka says: {job.said}. A retry submits new ones"
            " for these only."
        )
        return TolokaOperationFailed(message, job.to_dict())
    what, kind = "", JobError
    if isinstance(job, TolokaOperation):
        what, kind = f" ({job.type} of {dict(job.parameters)})", TolokaOperationFailed
    elif isinstance(job, JiraTask):
        kind = _JIRA_TASKS.get(job.status, JiraTaskFailed)
    return kind(
        f"{hook.name_of(job.id)}{what} ended {job.status}. {hook.service} says: {job.said}. A retry submits a"
        " new one.",
        job.to_dict(),
    )


def gone(hook: ServiceHook, job: Job) -> JobError:
    """Return the error for a job of our own that the service does not know any more."""
    return JobGone(
        f"{hook.service} does not know {hook.job_word} {job.id} any more: what it did can't be told. A retry"
        " submits anew.",
        job.to_dict(),
    )


def refused(hook: ServiceHook, job: Job, message: str | None) -> WatchRefused:
    """Return the error for a job that the service does not let us look at."""
    return WatchRefused(f"{hook.name_of(job.id)} goes on, but can't be watched. {message}", job.to_dict())


def unwatched(hook: ServiceHook, job: Job | None, message: str | None) -> JobNotWatched:
    """Return the error for a job at which the triggerer could not look."""
    name = hook.name_of(job.id) if job else f"The {hook.job_word}"
    return JobNotWatched(
        f"{name} could not be watched by the triggerer: {message} The job goes on, and a retry takes it"
        " up. What to do: see to it that the triggerer has what the workers have (connections, a secrets"
        " backend, packages).",
        job.to_dict() if job else {"id": None},
    )


def blocked_too_long(hook: ServiceHook, blocker: str | None, story: str | None = None) -> JobTimeout:
    """Return the error for a run that could submit nothing, since another's job did not end."""
    other = hook.name_of(blocker) if blocker else f"Another {hook.job_word}"
    advice = (
        "wait for its end, or give this a longer timeout; a one-slot Airflow pool keeps your own tasks from"
        " meeting"
    )
    if story and story.startswith(NEVER_SEEN):
        advice = "see to it that it can be looked at from here, then clear this task"
    told = f" {story.rstrip('.')}." if story else ""
    return JobTimeout(
        f"{other} was in the way all the time, so nothing was submitted.{told} What to do: {advice}.",
        {"id": blocker},
    )


def paused_too_long(hook: ServiceHook, message: str, limit: str) -> JobTimeout:
    """Return the error for a run whose service asked for a pause that did not end in time."""
    return JobTimeout(
        f"{hook.service} asked for a pause that outlasts the {limit} of this task. {message} What to do:"
        " clear this task when the pause is over, or give it more time; what was submitted is taken up then.",
        {"id": None},
    )


def too_late(hook: ServiceHook, limit: str, jobs: Sequence[Job]) -> JobTimeout:
    """Return the error for a run whose time was up before all was submitted."""
    done = f"{len(jobs)} {hook.job_word}s before it ended well" if jobs else "Nothing was submitted"
    return JobTimeout(
        f"The {limit} of this task passed before the next {hook.job_word} could be submitted. {done}. What to"
        " do: give it more time, and clear this task: it goes on where it stopped.",
        jobs[-1].to_dict() if jobs else {"id": None},
    )


def execution_timeout(
    hook: ServiceHook, limit: timedelta | None, pending: Sequence[Job], is_cancelled: bool
) -> AirflowTaskTimeout:
    """Return what Airflow takes for the end of ``execution_timeout``, in words."""
    seconds = f" of {limit.total_seconds():g} s" if limit else ""
    names = ", ".join(hook.name_of(job.id) for job in pending)
    what = (
        f"{names} is cancelled (cancel_on_timeout)" if is_cancelled else f"{names} goes on at {hook.service}"
    )
    return AirflowTaskTimeout(
        f"execution_timeout{seconds} has passed. {what if names else 'Nothing was under way'}. What to do:"
        " give the task more time; a retry goes on where this try stopped."
    )


def nobody_looked(hook: ServiceHook, job: Job | None, limit: str) -> JobTimeout:
    """Return the error for a deferral that Airflow itself ended."""
    name = hook.name_of(job.id) if job else f"The {hook.job_word}"
    return JobTimeout(
        f"{name} did not end in time, or nobody saw it: no triggerer looked before the {limit} was up."
        " What to do: check that a triggerer is running and keeps up. What was submitted goes on at"
        f" {hook.service}, and a retry takes it up.",
        job.to_dict() if job else {"id": None},
    )
