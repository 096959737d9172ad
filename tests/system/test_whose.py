"""Whose a job is: a colleague's is left alone, a lost try touches nothing, a failing store costs no job."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from processes import kill, parent_of
from runs import Run
from site_under_test import ARCHIVE, EXPORT, KINDS, LOOK_PATHS, SECOND, SUBMIT_PATHS, Site

# Airflow takes a task for lost after a minute without a heartbeat, and looks every ten seconds.
UNTIL_TAKEN_FOR_LOST = 180.0
COLLEAGUES = {"projects": ["HR"]}
OURS = {"projects": "FIN"}
CANCEL = "/rest/api/3/task/*/cancel"


# --- a colleague's export, and an answer that was lost ---


@pytest.mark.parametrize("lost", ["had no effect", "had no effect, and theirs came after it", "took effect"])
def test_a_colleagues_export_is_never_taken_for_ours(
    new_site: Callable[..., Site], mode: str, lost: str
) -> None:
    site = new_site(job_seconds=600)
    if lost == "had no effect":
        theirs = site.sandbox.colleague(EXPORT, filter=COLLEAGUES)
        site.spoil_submit(EXPORT, reset="before")
        run = site.run(EXPORT, mode, conf=OURS)
    elif lost == "took effect":
        run, theirs = _behind_theirs_after_ours(site, mode)
    else:
        run, theirs = _behind_theirs_in_doubt(site, mode)
    before = site.submitted(EXPORT)
    site.wait_for_looks(theirs, run, more=2)

    site.sandbox.job(theirs, "finish")
    ours = site.wait_for_job(EXPORT, run, number=before + 1)
    site.sandbox.job(ours, "finish")

    value = run.wait_for_success(tries=1)
    assert [task["task_id"] for task in value["tasks"]] == [ours], run.story()
    assert site.submitted(EXPORT) == before + 1, run.story()
    assert site.most_at_once(EXPORT) == 1, run.story()
    # Before its first answer nobody knows Jira's clock: so even theirs is not known to be the older one.
    assert SECOND in run.log(), run.story()


# What is deferred is cancelled from Airflow 3.3 on.
@pytest.mark.parametrize("mode", ["waiting", pytest.param("deferrable", marks=pytest.mark.airflow3_only)])
@pytest.mark.usefixtures("cluster")
def test_ending_a_task_behind_a_colleagues_export_leaves_that_alone(
    new_site: Callable[..., Site], mode: str
) -> None:
    site = new_site(job_seconds=600)
    run, theirs = _behind_theirs_in_doubt(site, mode)
    other = site.run(ARCHIVE, mode)
    others = site.wait_for_job(ARCHIVE, other)
    site.wait_for_looks(theirs, run)
    site.wait_for_looks(others, other)

    run.mark_failed()
    other.mark_failed()

    # Ours is cancelled; by then theirs would be.
    site.wait_until(lambda: site.sandbox.job(others)["status"] == "CANCELLED", "ours is cancelled", other)
    assert run.wait_for_end() == other.wait_for_end() == "failed"
    _assert_untouched(site, theirs, run)

    run.clear()
    site.wait_for_looks(theirs, run, more=2)
    site.sandbox.job(theirs, "finish")
    ours = site.wait_for_job(EXPORT, run, number=2)
    site.sandbox.job(ours, "finish")
    assert site.id_in(run.wait_for_success()) == ours
    assert site.most_at_once(EXPORT) == 1


@pytest.mark.usefixtures("cluster")
def test_a_task_is_killed_behind_a_colleagues_export(new_site: Callable[..., Site]) -> None:
    site = new_site(job_seconds=600)
    run, theirs = _behind_theirs_in_doubt(site, "waiting")
    site.wait_for_looks(theirs, run)

    kill(run.wait_for_trace("started", try_number=1)["pid"])
    run.wait_for_trace("started", try_number=2)
    site.wait_for_looks(theirs, run, more=2)
    _assert_untouched(site, theirs, run)
    site.sandbox.job(theirs, "finish")
    ours = site.wait_for_job(EXPORT, run, number=2)
    site.sandbox.job(ours, "finish")

    assert site.id_in(run.wait_for_success(tries=2)) == ours
    assert "though it was waited for" not in run.log(), run.story()
    assert site.submitted(EXPORT) == 2, run.story()
    assert site.most_at_once(EXPORT) == 1, run.story()


# --- two tries of one task ---


# What is deferred is cancelled by Clear from Airflow 3.3 on.
@pytest.mark.airflow3_only
@pytest.mark.usefixtures("cluster")
def test_clear_while_a_job_runs_never_makes_two_at_once(new_site: Callable[..., Site], mode: str) -> None:
    sites = [new_site(job_seconds=600) for _ in range(3)]
    runs = [(site, kind, site.run(kind, mode)) for site in sites for kind in (ARCHIVE, EXPORT)]
    firsts = [site.wait_for_job(kind, run) for site, kind, run in runs]
    wanted = "deferred" if mode == "deferrable" else "running"
    for (site, _, run), first in zip(runs, firsts, strict=True):
        site.sandbox.job(first, "freeze")
        site.wait_for_looks(first, run)
        run.wait_until(lambda run=run: run.task()["state"] == wanted, f"it is {wanted}")

    for _, _, run in runs:
        run.clear()

    for (site, kind, run), first in zip(runs, firsts, strict=True):
        run.wait_for_trace("started", try_number=2)
        site.wait_until(lambda s=site, j=first: "CANCEL" in s.sandbox.job(j)["status"], "asked to end", run)
        site.sandbox.job(first, "thaw")
        site.sandbox.job(site.wait_for_job(kind, run, number=2), "finish")
        value = run.wait_for_success(tries=2)
        assert site.sandbox.job(first)["status"] == "CANCELLED", run.story()
        assert site.id_in(value) == site.jobs(kind)[-1]["id"], run.story()
        assert site.submitted(kind) == 2, run.story()
        assert site.most_at_once(kind) == 1, run.story()
        assert run.remembered() == {}


# Airflow 2 ends such a worker in another way.
@pytest.mark.airflow3_only
@pytest.mark.usefixtures("cluster")
def test_a_worker_that_was_taken_for_lost_goes_on(new_site: Callable[..., Site], mode: str) -> None:
    """Both of a try's processes stand still until the next try has the job; then Airflow ends the first."""
    site = new_site(job_seconds=900)
    runs = _held_in_their_jobs(site, mode)
    pids = {kind: run.wait_for_trace("started", try_number=1)["pid"] for kind, run in runs.items()}

    with _stopped(*(one for pid in pids.values() for one in (parent_of(pid), pid))):
        for run in runs.values():
            run.wait_until(lambda run=run: run.traced("started", 2), "try 2 begins", UNTIL_TAKEN_FOR_LOST)
        jobs = {kind: site.wait_for_job(kind, run) for kind, run in runs.items()}
        for kind, run in runs.items():
            site.wait_for_looks(jobs[kind], run, more=2)
    for kind, run in runs.items():
        run.wait_until(lambda pid=pids[kind]: not psutil.pid_exists(pid), "try 1 is ended")

    for kind, run in runs.items():
        _assert_untouched(site, jobs[kind], run)
        site.sandbox.job(jobs[kind], "finish")
        assert site.id_in(run.wait_for_success(tries=2)) == jobs[kind]
        assert site.submitted(kind) == 1, run.story()
        assert run.remembered() == {}


# Airflow 2 ends such a task in another way.
@pytest.mark.airflow3_only
@pytest.mark.usefixtures("cluster")
def test_a_task_outlives_its_worker_beside_the_next_try(new_site: Callable[..., Site]) -> None:
    """Only the supervisor of the first try is killed: its task looks at the job, but can tell nobody."""
    site = new_site(job_seconds=900)
    runs = {kind: site.run(kind, "waiting") for kind in KINDS}
    jobs = {kind: site.wait_for_job(kind, run) for kind, run in runs.items()}
    pids = {kind: run.wait_for_trace("started", try_number=1)["pid"] for kind, run in runs.items()}
    for kind, run in runs.items():
        site.wait_for_looks(jobs[kind], run)

    for pid in pids.values():
        kill(parent_of(pid))
    for kind, run in runs.items():
        run.wait_until(lambda run=run: run.traced("started", 2), "try 2 begins", UNTIL_TAKEN_FOR_LOST)
        assert psutil.pid_exists(pids[kind])
        site.wait_for_looks(jobs[kind], run, more=4)
        site.sandbox.job(jobs[kind], "finish")

    for kind, run in runs.items():
        assert site.id_in(run.wait_for_success(tries=2)) == jobs[kind]
        run.wait_until(lambda pid=pids[kind]: not psutil.pid_exists(pid), "try 1 has ended")
        assert site.submitted(kind) == 1, run.story()
        assert site.sandbox.requests(CANCEL) == []
        assert run.remembered() == {}


# --- what can't be kept ---


@pytest.mark.usefixtures("cluster")
def test_what_was_submitted_can_not_be_remembered(new_site: Callable[..., Site], mode: str) -> None:
    runs = _run_each(lambda: new_site(job_seconds=3), mode)

    for site, kind, run in runs:
        value = run.wait_for_success(tries=1)
        assert site.id_in(value) == site.jobs(kind)[0]["id"]
        assert site.submitted(kind) == 1, run.story()
        assert "can't be kept for a retry (ConnectionError: the store is away)" in run.log(), run.story()
        assert run.remembered() == {}


@pytest.mark.usefixtures("cluster")
def test_what_was_submitted_is_remembered_as_soon_as_the_store_is_back(new_site: Callable[..., Site]) -> None:
    runs = _run_each(lambda: new_site(job_seconds=600), "waiting", times=2)

    for site, kind, run in runs:
        job = site.wait_for_job(kind, run)
        run.wait_until(lambda run=run, job=job: _is_remembered(run, job), "its job is remembered")
        kill(run.wait_for_trace("started", try_number=1)["pid"])
        run.wait_for_trace("started", try_number=2)
        site.wait_for_looks(job, run)
        site.sandbox.job(job, "finish")

    for site, kind, run in runs:
        run.wait_for_success(tries=2)
        assert site.submitted(kind) == 1, run.story()
        assert SECOND not in run.log()


@pytest.mark.usefixtures("cluster")
def test_what_is_done_can_not_be_forgotten(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=3)
    runs = _run_all(site, mode, failing_store={"call": "delete"})

    for kind, run in runs.items():
        value = run.wait_for_success(tries=1)
        assert site.id_in(value) == site.jobs(kind)[0]["id"]
        assert site.submitted(kind) == 1, run.story()
        assert "can't be forgotten (ConnectionError: the store is away)" in run.log(), run.story()


@pytest.mark.usefixtures("cluster")
def test_nothing_is_submitted_that_could_not_be_remembered(new_site: Callable[..., Site], mode: str) -> None:
    site = new_site(job_seconds=3)
    runs = _run_all(site, mode, failing_store={"call": "set"})

    for kind, run in runs.items():
        value = run.wait_for_success(tries=2)
        assert site.id_in(value) == site.jobs(kind)[0]["id"]
        # One submit altogether: the first try has asked for none.
        assert len(site.sandbox.requests(SUBMIT_PATHS[kind])) == site.submitted(kind) == 1, run.story()
        assert "Nothing was submitted. How far this task has come can't be kept" in run.log(), run.story()
        assert SECOND not in run.log()
        assert run.remembered() == {}


@pytest.mark.usefixtures("cluster")
def test_a_result_that_xcom_refuses_is_handed_over_by_the_next_try(
    new_site: Callable[..., Site], mode: str
) -> None:
    site = new_site(job_seconds=3)
    runs = _run_all(site, mode, refuse_result=True)

    for kind, run in runs.items():
        value = run.wait_for_success(tries=2)
        assert site.id_in(value) == site.jobs(kind)[0]["id"]
        assert site.submitted(kind) == 1, run.story()
        assert "XCom does not take the result (ConnectionError: XCom is away)" in run.log(), run.story()
        assert run.remembered() == {}


# --- helpers ---


def _behind_theirs_in_doubt(site: Site, mode: str) -> tuple[Run, str]:
    """Start an export that loses an answer, before it meets a colleague's that was submitted meanwhile."""
    site.spoil_submit(EXPORT, status=504, delay=6)
    run = site.run(EXPORT, mode, conf=OURS)
    site.wait_until(lambda: site.sandbox.requests(SUBMIT_PATHS[EXPORT]), "it is asked for", run)
    return run, site.sandbox.colleague(EXPORT, filter=COLLEAGUES)


def _behind_theirs_after_ours(site: Site, mode: str) -> tuple[Run, str]:
    """Start an export whose answer is lost, and let a colleague's begin when its task has ended unseen."""
    site.spoil_submit(EXPORT, reset="after")
    run = site.run(EXPORT, mode, conf=OURS)
    unknown = site.wait_for_job(EXPORT, run)
    site.wait_for_looks(unknown, run)
    site.sandbox.fault(LOOK_PATHS[EXPORT], times=None, status=503)
    site.sandbox.job(unknown, "finish")
    theirs = site.sandbox.colleague(EXPORT, filter=COLLEAGUES)
    site.sandbox.clear_faults()
    return run, theirs


def _assert_untouched(site: Site, job: str, run: Run) -> None:
    """Assert that nobody has asked for a job's end."""
    seen = site.sandbox.job(job)
    assert seen["ended"] is None, run.story()
    assert "CANCEL" not in seen["status"], run.story()
    assert site.sandbox.requests(CANCEL.replace("*", job)) == [], run.story()


def _held_in_their_jobs(site: Site, mode: str) -> dict[str, Run]:
    """Start a run of each kind, and wait until its process waits for the job, or is about to be deferred."""
    hold = {"hold_after_remembering": site.sandbox.base_url} if mode == "deferrable" else {}
    runs = _run_all(site, mode, **hold)
    for kind, run in runs.items():
        if hold:
            run.wait_for_trace("remembered")
        else:
            site.wait_for_looks(site.wait_for_job(kind, run), run)
    return runs


def _run_all(site: Site, mode: str, **conf: Any) -> dict[str, Run]:
    return {kind: site.run(kind, mode, conf=conf) for kind in KINDS}


def _run_each(make: Callable[[], Site], mode: str, **how: Any) -> list[tuple[Site, str, Run]]:
    """Start a run of each kind, at a site of its own; its store takes nothing once a job is submitted."""
    runs = []
    for kind in KINDS:
        site = make()
        fails = {"call": "set", "jobs_at": site.sandbox.base_url, **how}
        runs.append((site, kind, site.run(kind, mode, conf={"failing_store": fails})))
    return runs


def _is_remembered(run: Run, job: str) -> bool:
    return any(job in kept["pending"] for kept in run.remembered().values())  # type: ignore[attr-defined]


@contextmanager
def _stopped(*pids: int) -> Iterator[None]:
    """Let processes stand still; they go on at the end."""
    for pid in pids:
        psutil.Process(pid).send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            psutil.Process(pid).send_signal(signal.SIGCONT)
