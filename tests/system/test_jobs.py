"""What becomes of a job, and of the others that want its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from processes import kill
from site_under_test import ARCHIVE, EXPORT, KINDS, TOLOKA, Site


def test_a_job_that_failed_is_submitted_anew(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=600)
    runs = {kind: site.run(kind, mode) for kind in KINDS}

    for kind, run in runs.items():
        job = site.wait_for_job(kind, run)
        site.wait_for_looks(job, run)
        site.sandbox.job(job, "fail", message="The index is being rebuilt.")
    for kind, run in runs.items():
        site.sandbox.job(site.wait_for_job(kind, run, number=2), "finish")

    for kind, run in runs.items():
        value = run.wait_for_success(tries=2)
        assert site.id_in(value) == site.jobs(kind)[1]["id"]
        assert site.submitted(kind) == 2, run.story()
        assert site.most_at_once(kind) == 1, run.story()


def test_a_job_that_is_gone_in_the_middle_of_a_wait_is_submitted_anew(
    new_site: Callable[..., Site], mode: str
) -> None:
    site = new_site(job_seconds=600)
    runs = {kind: site.run(kind, mode) for kind in KINDS}

    for kind, run in runs.items():
        job = site.wait_for_job(kind, run)
        site.wait_for_looks(job, run)
        site.sandbox.job(job, "forget")
    for kind, run in runs.items():
        site.sandbox.job(site.wait_for_job(kind, run), "finish")

    for kind, run in runs.items():
        run.wait_for_success(tries=2)
        assert site.submitted(kind) == 2, run.story()


@pytest.mark.usefixtures("cluster")
def test_a_job_that_is_gone_before_the_retry_is_submitted_anew(
    new_site: Callable[..., Site], mode: str
) -> None:
    site = new_site(job_seconds=600)
    hold = {"hold_after_remembering": site.sandbox.base_url}
    runs = {kind: site.run(kind, mode, conf=hold) for kind in KINDS}

    for run in runs.values():
        held = run.wait_for_trace("remembered")
        site.sandbox.job(held["job"], "forget")
        kill(held["pid"])
    for kind, run in runs.items():
        site.sandbox.job(site.wait_for_job(kind, run), "finish")

    for kind, run in runs.items():
        run.wait_for_success(tries=2)
        assert site.submitted(kind) == 2, run.story()


def test_an_archive_waits_for_that_of_another_client(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=600)
    others = site.archive_elsewhere("project = APP")
    run = site.run(ARCHIVE, mode)
    site.wait_for_looks(others, run, more=2)

    site.sandbox.job(others, "finish")
    ours = site.wait_for_job(ARCHIVE, run, number=2)
    site.sandbox.job(ours, "finish")

    value = run.wait_for_success(tries=1)
    assert site.id_in(value) == ours
    assert site.submitted(ARCHIVE) == 2, run.story()
    assert site.most_at_once(ARCHIVE) == 1
    assert others in run.log()


def test_runs_that_want_the_one_slot_queue_up(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=3)
    archives = [site.run(ARCHIVE, mode, conf={"jql": f"project = {key}"}) for key in ("WEB", "APP")]
    exports = [site.run(EXPORT, mode) for _ in range(4)]

    own = [site.id_in(run.wait_for_success(tries=1)) for run in archives]
    assert sorted(own) == sorted(job["id"] for job in site.jobs(ARCHIVE))
    own = [site.id_in(run.wait_for_success(tries=1)) for run in exports]
    assert sorted(own) == sorted(job["id"] for job in site.jobs(EXPORT))
    assert (site.submitted(ARCHIVE), site.submitted(EXPORT)) == (2, 4)
    assert (site.most_at_once(ARCHIVE), site.most_at_once(EXPORT)) == (1, 1)
    assert site.most_submits_a_second() <= len(archives) + len(exports)


def test_toloka_projects_are_archived_at_the_same_time(new_site: Callable[..., Site], mode: str) -> None:
    """Toloka has no single slot: a run never takes another project's operation for its own."""
    site = new_site(job_seconds=2)
    ids = [site.sandbox.add_toloka_project(pools=1, status="ARCHIVED")["id"] for _ in range(3)]
    site.spoil_submit(TOLOKA, times=3, reset="after")
    runs = [site.run(TOLOKA, mode, conf={"project_id": id}) for id in ids]

    values = [run.wait_for_success(tries=1) for run in runs]
    assert [value["project_id"] for value in values] == ids
    assert sorted(site.id_in(value) for value in values) == sorted(job["id"] for job in site.jobs(TOLOKA))
    assert site.submitted(TOLOKA) == 3
