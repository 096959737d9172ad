"""Processes of Airflow that end without a goodbye."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from cluster import TRIGGERER, Cluster
from processes import kill
from runs import Run
from site_under_test import ARCHIVE, EXPORT, KINDS, LOOK_PATHS, SECOND, TOLOKA, Site

pytestmark = pytest.mark.usefixtures("cluster")

MAPPED = 50


def test_a_task_is_killed_right_after_its_job_was_remembered(
    new_site: Callable[..., Site], mode: str
) -> None:
    site = new_site(job_seconds=600)
    runs = _held_after_remembering(site, mode)

    for kind, run in runs.items():
        _kill_first_try(run)
        run.wait_for_trace("started", try_number=2)
        job = site.wait_for_job(kind, run)
        site.wait_for_looks(job, run)
        site.sandbox.job(job, "finish")

    for kind, run in runs.items():
        run.wait_for_success(tries=2)
        assert site.submitted(kind) == 1, run.story()
        assert run.remembered() == {}


def test_an_edge_answers_in_the_first_looks_of_a_retry(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=600)
    runs = _held_after_remembering(site, mode)

    for kind, run in runs.items():
        job = site.wait_for_job(kind, run)
        site.sandbox.fault(LOOK_PATHS[kind], times=3, status=404, body="edge")
        _kill_first_try(run)
        run.wait_for_trace("started", try_number=2)
        site.wait_for_looks(job, run)
        site.sandbox.job(job, "finish")

    for kind, run in runs.items():
        run.wait_for_success(tries=2)
        assert site.submitted(kind) == 1, run.story()


def test_a_task_is_killed_between_the_answer_and_remembering(
    new_site: Callable[..., Site], mode: str
) -> None:
    site = new_site(job_seconds=600)
    runs = {kind: _held_before_remembering(site, kind, mode) for kind in KINDS}

    for kind, run in runs.items():
        job = site.wait_for_job(kind, run)
        _kill_first_try(run)
        run.wait_for_trace("started", try_number=2)
        site.wait_for_looks(job, run)
        site.sandbox.job(job, "finish")
    # Nobody can tell whose an export is: it is waited for, and made again.
    site.sandbox.job(site.wait_for_job(EXPORT, runs[EXPORT], number=2), "finish")

    for kind, run in runs.items():
        value = run.wait_for_success(tries=2)
        assert site.id_in(value) == site.jobs(kind)[-1]["id"], run.story()
        assert site.most_at_once(kind) == 1, run.story()
        assert site.submitted(kind) == (2 if kind == EXPORT else 1), run.story()
        assert (SECOND in run.log()) == (kind == EXPORT), run.story()


def test_a_task_is_killed_before_its_job_was_remembered_and_the_job_ends(
    new_site: Callable[..., Site], mode: str
) -> None:
    site = new_site(job_seconds=600)
    runs = {kind: _held_before_remembering(site, kind, mode) for kind in KINDS}

    for kind, run in runs.items():
        site.sandbox.job(site.wait_for_job(kind, run), "finish")
        _kill_first_try(run)
    site.sandbox.job(site.wait_for_job(EXPORT, runs[EXPORT], number=2), "finish")

    for kind, run in runs.items():
        run.wait_for_success(tries=2)
        assert site.submitted(kind) == (2 if kind == EXPORT else 1), run.story()
        assert (SECOND in run.log()) == (kind == EXPORT), run.story()


def test_the_triggerer_is_killed_while_tasks_are_deferred(
    cluster: Cluster, new_site: Callable[..., Site]
) -> None:
    site = new_site(job_seconds=600)
    succeeding = site.run(ARCHIVE, "deferrable")
    job = site.wait_for_job(ARCHIVE, succeeding)
    # A triggerer's first look-up of a connection loads much of Airflow: the deadline is not to count that.
    site.wait_for_looks(job, succeeding)
    timing_out = site.run(EXPORT, "deferrable", retries=0, timeout=25)
    unfinished = site.wait_for_job(EXPORT, timing_out)
    site.wait_for_looks(unfinished, timing_out)

    cluster.kill(TRIGGERER)
    deadline = timing_out.wait_for_trace("started")["time"] + 25
    timing_out.wait_until(lambda: time.time() > deadline, "its deadline has passed")
    looks = site.polls(unfinished)
    cluster.start(TRIGGERER)

    # The deadline is what it was: it is over, so after a last look nobody asks any more.
    assert timing_out.wait_for_end() == "failed"
    assert f"Jira task {unfinished} did not end in time" in timing_out.log()
    assert site.polls(unfinished) <= looks + 2
    site.wait_for_looks(job, succeeding)
    site.sandbox.job(job, "finish")
    succeeding.wait_for_success(tries=1)
    assert site.submitted(ARCHIVE) == site.submitted(EXPORT) == 1


def test_jobs_end_while_no_process_of_airflow_is_alive(
    cluster: Cluster, new_site: Callable[..., Site]
) -> None:
    sites = [new_site(job_seconds=600), new_site(job_seconds=600)]
    modes = ["waiting", "deferrable"]
    runs = [
        (site, kind, site.run(kind, mode)) for site, mode in zip(sites, modes, strict=True) for kind in KINDS
    ]
    jobs = [site.wait_for_job(kind, run) for site, kind, run in runs]
    for (site, _, run), job in zip(runs, jobs, strict=True):
        site.wait_for_looks(job, run)

    cluster.kill()
    for (site, _, _), job in zip(runs, jobs, strict=True):
        site.sandbox.job(job, "finish")
    cluster.start()

    for (site, kind, run), job in zip(runs, jobs, strict=True):
        value = run.wait_for_success()
        assert job == (value["operation_id"] if kind == TOLOKA else value["tasks"][0]["task_id"])
        assert site.submitted(kind) == 1, run.story()


def test_the_triggerer_is_killed_under_fifty_mapped_tasks(
    cluster: Cluster, new_site: Callable[..., Site]
) -> None:
    site = new_site(job_seconds=600)
    projects = [site.sandbox.add_toloka_project(pools=1, status="ARCHIVED")["id"] for _ in range(MAPPED)]
    run = site.run_mapped(projects)
    jobs = run.wait_until(
        lambda: len(jobs := site.jobs(TOLOKA)) >= MAPPED and jobs,
        "all operations are submitted",
        seconds=240,
    )
    site.wait_until(lambda: {task["state"] for task in run.tasks()} == {"deferred"}, "all are deferred", run)

    cluster.kill(TRIGGERER)
    for job in jobs[: MAPPED // 2]:
        site.sandbox.job(job["id"], "finish")
    cluster.start(TRIGGERER)
    for job in jobs[MAPPED // 2 :]:
        site.sandbox.job(job["id"], "finish")

    run.wait_for_end(seconds=240)
    tasks = run.tasks()
    assert [task["state"] for task in tasks] == ["success"] * MAPPED
    assert [task["try_number"] for task in tasks] == [1] * MAPPED
    assert site.submitted(TOLOKA) == MAPPED
    archived = [run.xcom("return_value", map_index=index)["project_id"] for index in range(MAPPED)]
    assert sorted(archived) == sorted(projects)


def _held_after_remembering(site: Site, mode: str) -> dict[str, Run]:
    """Start a run of each kind; they stand still as soon as the job's id is in Airflow's store."""
    conf = {"hold_after_remembering": site.sandbox.base_url}
    runs = {kind: site.run(kind, mode, conf=conf) for kind in KINDS}
    for run in runs.values():
        run.wait_for_trace("remembered")
    return runs


def _held_before_remembering(site: Site, kind: str, mode: str) -> Run:
    """Start a run that stands still because the answer to its submit, which took effect, does not come."""
    site.spoil_submit(kind, delay=600, when="after")
    return site.run(kind, mode)


def _kill_first_try(run: Run) -> None:
    kill(run.wait_for_trace("started", try_number=1)["pid"])
