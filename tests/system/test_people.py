"""What people do in the UI, and what they set."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from runs import Run
from site_under_test import ARCHIVE, EXPORT, TOLOKA, Site


# Before 3.3 Airflow tells no trigger that its task was marked.
@pytest.mark.parametrize("mode", ["waiting", pytest.param("deferrable", marks=pytest.mark.airflow3_only)])
@pytest.mark.usefixtures("cluster")
def test_marking_a_task_failed_cancels_its_job(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=600)
    runs = {kind: site.run(kind, mode) for kind in (ARCHIVE, EXPORT)}
    kept = site.run(TOLOKA, mode)
    jobs = {kind: site.wait_for_job(kind, run) for kind, run in runs.items()}
    operation = site.wait_for_job(TOLOKA, kept)
    for kind, run in runs.items():
        site.wait_for_looks(jobs[kind], run)
    site.wait_for_looks(operation, kept)

    for run in (*runs.values(), kept):
        run.mark_failed()

    for kind, run in runs.items():
        site.wait_until(
            lambda job=jobs[kind]: site.sandbox.job(job)["status"] == "CANCELLED", "the job is cancelled", run
        )
        assert run.wait_for_end() == "failed"
        assert site.submitted(kind) == 1
    assert kept.wait_for_end() == "failed"
    kept.wait_until(lambda: "can't be cancelled" in kept.log(), "the log says that Toloka goes on")
    assert site.submitted(TOLOKA) == 1

    # What was cancelled is submitted anew when somebody clears the task.
    runs[EXPORT].clear()
    site.sandbox.job(site.wait_for_job(EXPORT, runs[EXPORT], number=2), "finish")
    runs[EXPORT].wait_for_success()
    assert site.submitted(EXPORT) == 2


def test_clear_after_success_does_it_again(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=2)
    run = site.run(EXPORT, mode)
    first = site.id_in(run.wait_for_success(tries=1))

    run.clear()

    second = site.id_in(run.wait_for_success())
    assert first != second
    assert site.submitted(EXPORT) == 2


def test_a_timeout_leaves_the_job_running_or_cancels_it(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=600)
    leaving, left, cancelling, cancelled = _timed_out(site, mode)

    assert f"Jira task {left} did not end in time" in leaving.log()
    assert f"Jira task {cancelled} did not end in time" in cancelling.log()
    assert site.sandbox.job(left)["ended"] is None
    site.wait_until(lambda: site.sandbox.job(cancelled)["status"] == "CANCELLED", "the job is cancelled")
    assert (site.submitted(ARCHIVE), site.submitted(EXPORT)) == (1, 1)


@pytest.mark.usefixtures("cluster")
def test_clear_after_a_timeout_attaches_or_submits_anew(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=600)
    leaving, left, cancelling, _ = _timed_out(site, mode)

    leaving.clear()
    cancelling.clear()
    site.wait_for_looks(left, leaving, more=2)
    site.sandbox.job(left, "finish")
    site.sandbox.job(site.wait_for_job(EXPORT, cancelling, number=2), "finish")

    assert site.id_in(leaving.wait_for_success()) == left
    cancelling.wait_for_success()
    assert (site.submitted(ARCHIVE), site.submitted(EXPORT)) == (1, 2)


def _timed_out(site: Site, mode: str) -> tuple[Run, str, Run, str]:
    """Let two runs time out, one of which cancels its job; returns both with their jobs."""
    leave = {"first_try": {"timeout": 6}}
    cancel = {"first_try": {"timeout": 6, "cancel_on_timeout": True}}
    leaving = site.run(ARCHIVE, mode, retries=0, conf=leave)
    cancelling = site.run(EXPORT, mode, retries=0, conf=cancel)
    left, cancelled = site.wait_for_job(ARCHIVE, leaving), site.wait_for_job(EXPORT, cancelling)
    assert leaving.wait_for_end() == cancelling.wait_for_end() == "failed"
    return leaving, left, cancelling, cancelled
