"""The errors of a wait, in words that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_archival.exceptions import JobError, JobGone, JobTimeout, WatchRefused

if TYPE_CHECKING:
    from airflow_provider_archival.api.polling import Job
    from airflow_provider_archival.hooks.base import ServiceHook


def gone(hook: ServiceHook, job: Job) -> JobError:
    """Return the error for a job of our own that the service does not know any more."""
    return JobGone(
        f"{hook.service} does not know {hook.job_word} {job.id} any more: what it did can't be told. A retry"
        " submits anew.",
        job.to_dict(),
    )


def refused(hook: ServiceHook, job: Job, message: str) -> WatchRefused:
    """Return the error for a job that the service does not let us look at."""
    return WatchRefused(f"{hook.name_of(job.id)} goes on, but can't be watched. {message}", job.to_dict())


def blocked_too_long(hook: ServiceHook, blocker: str | None) -> JobTimeout:
    """Return the error for a run that could submit nothing, since another's job did not end."""
    other = hook.name_of(blocker) if blocker else f"Another {hook.job_word}"
    return JobTimeout(
        f"{other} was in the way all the time, so nothing was submitted. Wait for its end, or give this a"
        " longer timeout; a one-slot Airflow pool keeps your own tasks from meeting.",
        {"id": blocker},
    )


def nobody_looked(hook: ServiceHook, job: Job | None) -> JobTimeout:
    """Return the error for a deferral that Airflow itself ended."""
    name = hook.name_of(job.id) if job else f"The {hook.job_word}"
    return JobTimeout(
        f"{name} did not end in time, or nobody saw it: no triggerer looked before the time was up. Check"
        " that a triggerer is running and keeps up. What was submitted goes on at"
        f" {hook.service}, and a retry takes it up.",
        job.to_dict() if job else {"id": None},
    )
