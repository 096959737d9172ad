"""What submits and waits go through without anybody's help."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from site_under_test import ARCHIVE, EXPORT, KINDS, TOLOKA, Site

OUTAGE_SECONDS = 60
TOOK_EFFECT: dict[str, dict[str, Any]] = {
    ARCHIVE: {"reset": "after"},
    EXPORT: {"status": 502, "when": "after"},
    TOLOKA: {"truncate": True},
}
HAD_NO_EFFECT: dict[str, dict[str, Any]] = {
    ARCHIVE: {"reset": "before"},
    EXPORT: {"status": 504},
    TOLOKA: {"status": 503, "body": "html"},
}


@pytest.mark.parametrize("losses", [TOOK_EFFECT, HAD_NO_EFFECT], ids=["took effect", "had no effect"])
def test_the_answer_to_a_submit_is_lost(
    new_site: Callable[..., Site], mode: str, losses: dict[str, dict[str, Any]]
) -> None:
    site = new_site(job_seconds=600)
    for kind, what in losses.items():
        site.spoil_submit(kind, **what)
    runs = {kind: site.run(kind, mode) for kind in KINDS}
    for kind, run in runs.items():
        job = site.wait_for_job(kind, run)
        site.wait_for_looks(job, run)
        site.sandbox.job(job, "finish")

    for kind, run in runs.items():
        value = run.wait_for_success(tries=1)
        assert site.id_in(value) == site.jobs(kind)[0]["id"], run.story()
        assert site.submitted(kind) == 1, run.story()


def test_a_service_that_is_down_for_a_minute_costs_no_retry(new_site: Callable[..., Site]) -> None:
    site, other = new_site(job_seconds=600), new_site(job_seconds=600)
    runs = [
        *((site, kind, site.run(kind, "waiting")) for kind in KINDS),
        *((other, kind, other.run(kind, "deferrable")) for kind in KINDS),
    ]
    jobs = [here.wait_for_job(kind, run) for here, kind, run in runs]
    for (here, _, run), job in zip(runs, jobs, strict=True):
        here.wait_for_looks(job, run)

    for what in ({"status": 503}, {"reset": "before"}, {"status": 200, "body": "html"}):
        for here in (site, other):
            here.sandbox.fault("*", times=None, **what)
        until = time.monotonic() + OUTAGE_SECONDS / 3
        site.wait_until(lambda until=until: time.monotonic() > until, "the time is over")
        for here in (site, other):
            here.sandbox.clear_faults()
    for (here, _, _), job in zip(runs, jobs, strict=True):
        here.sandbox.job(job, "finish")

    for (here, kind, run), job in zip(runs, jobs, strict=True):
        assert here.id_in(run.wait_for_success(tries=1)) == job
        assert here.submitted(kind) == 1, run.story()


def test_the_token_expires_twice_during_a_wait(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=600)
    runs = {kind: site.run(kind, mode, jira="jira_cloud_oauth") for kind in (ARCHIVE, EXPORT)}
    jobs = {kind: site.wait_for_job(kind, run) for kind, run in runs.items()}

    for _ in range(2):
        for kind, run in runs.items():
            site.wait_for_looks(jobs[kind], run, more=2)
        site.sandbox.expire_tokens()
    for kind, run in runs.items():
        site.wait_for_looks(jobs[kind], run, more=2)
        site.sandbox.job(jobs[kind], "finish")

    for kind, run in runs.items():
        assert site.id_in(run.wait_for_success(tries=1)) == jobs[kind]
        assert site.submitted(kind) == 1, run.story()
