"""What submits and waits go through without anybody's help."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from site_under_test import ARCHIVE, EXPORT, KINDS, LOOK_PATHS, SECOND, TOLOKA, Site

OUTAGE_SECONDS = 60
# An hour of Jira's quotas on a clock that is sped up: longer than a task holds a worker for.
QUOTA_SECONDS = 90
COUNT = "/rest/api/3/search/approximate-count"
EDGES_PAGE: dict[str, Any] = {"status": 404, "body": "edge"}
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
    # Nobody can tell whose an export is: it is waited for, and made again.
    seconds = (EXPORT,) if losses is TOOK_EFFECT else ()
    for kind in seconds:
        site.sandbox.job(site.wait_for_job(kind, runs[kind], number=2), "finish")

    for kind, run in runs.items():
        value = run.wait_for_success(tries=1)
        assert site.id_in(value) == site.jobs(kind)[-1]["id"], run.story()
        assert site.submitted(kind) == (2 if kind in seconds else 1), run.story()
        assert site.most_at_once(kind) == 1, run.story()
        # It is told wherever an answer was lost: whether that had an effect nobody knows.
        assert (SECOND in run.log()) == (kind == EXPORT), run.story()


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


def test_an_edge_answers_for_a_while_in_each_place(
    new_site: Callable[..., Site], mode: str, tmp_path: Path
) -> None:
    site = new_site(job_seconds=600)
    site.sandbox.fault(COUNT, times=2, **EDGES_PAGE)
    site.sandbox.fault("*.csv", times=2, **EDGES_PAGE)
    for kind in KINDS:
        site.spoil_submit(kind, **EDGES_PAGE)
        site.sandbox.fault(LOOK_PATHS[kind], times=3, **EDGES_PAGE)
    runs = {
        ARCHIVE: site.run(ARCHIVE, mode),
        EXPORT: site.run(EXPORT, mode, destination=str(tmp_path)),
        TOLOKA: site.run(TOLOKA, mode),
    }
    for kind, run in runs.items():
        job = site.wait_for_job(kind, run)
        site.wait_for_looks(job, run)
        site.sandbox.job(job, "finish")

    for kind, run in runs.items():
        value = run.wait_for_success(tries=1)
        assert site.id_in(value) == site.jobs(kind)[0]["id"], run.story()
        assert site.submitted(kind) == 1, run.story()
    assert len(list(tmp_path.glob("*.csv"))) == 1


def test_a_quota_that_is_used_up_is_waited_for_and_costs_no_retry(
    new_site: Callable[..., Site], mode: str
) -> None:
    site = new_site(job_seconds=600)
    watching = site.run(ARCHIVE, mode)
    watched = site.wait_for_job(ARCHIVE, watching)
    site.wait_for_looks(watched, watching)

    site.wait_until(lambda: site.sandbox.now() % QUOTA_SECONDS < 5, "the quota's hour begins")
    site.sandbox.limit(quota=1, hour=QUOTA_SECONDS)
    begun = site.run(EXPORT, mode)

    def refused() -> list[dict[str, Any]]:
        return [entry for entry in site.sandbox.requests() if entry["status"] == 429]

    knocks = site.wait_until(lambda: len(found := refused()) >= 2 and found, "both have met the limit")
    site.sandbox.clear_limits()
    ends = knocks[0]["time"] // QUOTA_SECONDS * QUOTA_SECONDS + QUOTA_SECONDS
    job = site.wait_for_job(EXPORT, begun)
    site.wait_for_looks(watched, watching)
    for one, run in ((watched, watching), (job, begun)):
        site.sandbox.job(one, "finish")
        run.wait_for_success(tries=1)

    # One knock of each process; nothing else until the hour is over.
    after = [entry for entry in site.sandbox.requests() if entry["n"] > knocks[-1]["n"]]
    assert len(refused()) == 2
    assert min(entry["time"] for entry in after) >= ends - 1
    assert site.submitted(ARCHIVE) == site.submitted(EXPORT) == 1
