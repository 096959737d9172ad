"""When to look again, and what of it is worth a log line."""

from __future__ import annotations

import time

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_archival.api.http import Response, TooManyRequests
from airflow_provider_archival.api.jira import JiraTask, get_task
from airflow_provider_archival.api.polling import SHORTEST_PAUSE, Schedule, Wait
from airflow_provider_archival.api.toloka import TolokaOperation, get_operation


def at(progress: float | None, status: str = "RUNNING") -> JiraTask:
    return JiraTask("1", status, progress)


# --- pauses ---


def test_pauses_grow_from_a_second_to_the_poll_interval() -> None:
    schedule = Schedule(30)
    pauses = [schedule.pause() for _ in range(30)]
    assert 0.9 <= pauses[0] <= 1.0
    assert all(pause <= 30 for pause in pauses)
    assert all(27 <= pause <= 30 for pause in pauses[15:])
    assert pauses[0] < pauses[3] < pauses[6]


def test_a_poll_interval_under_a_second_is_kept_from_the_start() -> None:
    schedule = Schedule(0.2)
    assert all(0.18 <= schedule.pause() <= 0.2 for _ in range(10))


@pytest.mark.parametrize("interval", [0, 0.001])
def test_there_is_always_a_pause(interval: float) -> None:
    assert Schedule(interval).pause() >= 0.9 * SHORTEST_PAUSE > 0


def test_pauses_are_jittered() -> None:
    assert len({Schedule(30).pause() for _ in range(20)}) > 1


def test_progress_shortens_a_pause_to_half_of_what_is_left() -> None:
    schedule = Schedule(30)
    for _ in range(20):
        schedule.pause()
    schedule.saw(at(0), now=0)
    schedule.saw(at(80), now=80)
    assert schedule.pause() == pytest.approx(10)


def test_progress_never_shortens_a_pause_under_a_second() -> None:
    schedule = Schedule(30)
    for _ in range(20):
        schedule.pause()
    schedule.saw(at(0), now=0)
    schedule.saw(at(99.9), now=10)
    assert schedule.pause() == 1


def test_progress_never_lengthens_a_pause() -> None:
    schedule = Schedule(30)
    schedule.saw(at(0), now=0)
    schedule.saw(at(1), now=1000)
    assert schedule.pause() <= 1


@pytest.mark.parametrize("progress", [None, 0, 50])
def test_progress_that_does_not_move_changes_nothing(progress: float | None) -> None:
    schedule = Schedule(30)
    for _ in range(20):
        schedule.pause()
    for now in range(5):
        schedule.saw(at(progress), now=now)
    assert schedule.pause() >= 27


def test_what_the_service_asks_for_is_the_least_pause() -> None:
    schedule = Schedule(0.5)
    assert schedule.pause(retry_after=60) == 60
    assert schedule.pause(retry_after=0) <= 0.5


@given(
    interval=st.floats(0.01, 3600),
    looks=st.lists(st.tuples(st.floats(-10, 200) | st.none(), st.floats(0, 1e6)), max_size=20),
)
def test_a_pause_is_always_within_its_bounds(
    interval: float, looks: list[tuple[float | None, float]]
) -> None:
    schedule = Schedule(interval)
    for progress, now in looks:
        schedule.saw(at(progress), now)
        longest = max(interval, SHORTEST_PAUSE)
        assert 0.9 * min(1.0, longest) <= schedule.pause() <= longest


@pytest.mark.parametrize("progress", ["1e999", "NaN", "1" + 400 * "0", "-1e999", "true", '"50"', "[]"])
@pytest.mark.parametrize("status", ["RUNNING", "COMPLETE"])
def test_a_progress_that_is_no_number_does_not_stop_a_wait(progress: str, status: str) -> None:
    wait = Wait("Jira task 1", 30, time.time() + 100)
    body = f'{{"id": "1", "status": "{status}", "progress": {progress}}}'.encode()
    task = get_task("1").read(Response(200, {}, body))
    wait.saw(task)
    wait.saw(task)
    assert task.status == status
    assert wait.pause()


def test_an_operations_progress_that_is_no_number_does_not_stop_a_wait() -> None:
    wait = Wait("Toloka operation 1", 30, time.time() + 100)
    body = b'{"id": "1", "type": "POOL.CLOSE", "status": "SUCCESS", "progress": 1e999}'
    assert wait.saw(get_operation("1").read(Response(200, {}, body))) == "Toloka operation 1: SUCCESS"


# --- deadline ---


@time_machine.travel(1000.0, tick=False)
def test_a_wait_is_over_at_its_deadline() -> None:
    assert Wait("x", 30, end_time=1000.0).pause() is None


@time_machine.travel(1000.0, tick=False)
def test_a_pause_ends_with_the_deadline() -> None:
    wait = Wait("x", 30, end_time=1000.25)
    assert wait.pause() == 0.25


@time_machine.travel(1000.0, tick=False)
def test_the_services_wish_to_wait_does_not_outlast_the_deadline() -> None:
    wait = Wait("x", 30, end_time=1005.0)
    wait.failed(TooManyRequests("GET /", (), 429, 60))
    assert wait.pause() == 5.0


@time_machine.travel(1000.0, tick=False)
def test_the_services_wish_to_wait_holds_until_it_answers_again() -> None:
    wait = Wait("x", 30, end_time=9000.0)
    wait.failed(TooManyRequests("GET /", (), 429, 60))
    assert wait.pause() == 60
    wait.saw(at(1))
    assert (wait.pause() or 60) < 60


# --- log lines ---


def lines_of(*jobs: JiraTask | TolokaOperation) -> list[str | None]:
    wait = Wait("Jira task 1", 30, time.time() + 1000)
    return [wait.saw(job) for job in jobs]


def test_each_change_of_status_is_told_once() -> None:
    assert lines_of(at(0, "ENQUEUED"), at(0, "ENQUEUED"), at(0), at(0), at(100, "COMPLETE")) == [
        "Jira task 1: ENQUEUED, 0 %",
        None,
        "Jira task 1: RUNNING, 0 %",
        None,
        "Jira task 1: COMPLETE, 100 %",
    ]


def test_each_tenth_of_progress_is_told_once() -> None:
    assert lines_of(at(1), at(9), at(10), at(19.5), at(42), at(41), at(50)) == [
        "Jira task 1: RUNNING, 1 %",
        None,
        "Jira task 1: RUNNING, 10 %",
        None,
        "Jira task 1: RUNNING, 42 %",
        None,
        "Jira task 1: RUNNING, 50 %",
    ]


def test_a_job_without_progress_is_told_without() -> None:
    assert lines_of(at(None), at(None)) == ["Jira task 1: RUNNING", None]


def test_a_status_that_is_not_documented_is_told_once() -> None:
    assert lines_of(at(0, "PAUSED"), at(1, "PAUSED"), at(30, "PAUSED")) == [
        "Jira task 1: PAUSED, a status that is not documented, 0 %",
        None,
        "Jira task 1: PAUSED, 30 %",
    ]


def test_faults_in_a_row_are_told_at_growing_distances() -> None:
    wait = Wait("Jira task 1", 30, time.time() + 1000)
    told = [number for number in range(1, 20) if wait.failed(ValueError("boom"))]
    assert told == [1, 2, 4, 8, 16]


def test_a_fault_is_told_with_its_reason() -> None:
    wait = Wait("Jira task 1", 30, time.time() + 1000)
    assert wait.failed(ValueError("boom")) == "Jira task 1: could not look at it now, going on: boom"
    assert wait.failed(ValueError("boom")) == (
        "Jira task 1: could not look at it now (2 times in a row), going on: boom"
    )


def test_the_end_of_faults_is_told() -> None:
    wait = Wait("Jira task 1", 30, time.time() + 1000)
    wait.saw(at(5))
    for _ in range(3):
        wait.failed(ValueError("boom"))
    assert wait.saw(at(5)) == "Jira task 1: RUNNING, 5 % (the service answers again after 3 faults)"
    assert wait.saw(at(5)) is None


# --- a job that does not go on as its progress says ---


def asked_often(schedule: Schedule) -> None:
    """Let the schedule's own pause grow to its longest."""
    for _ in range(20):
        schedule.pause()


def test_a_progress_that_falls_resets_what_was_learnt_of_the_pace() -> None:
    schedule = Schedule(30)
    asked_often(schedule)
    for now, progress in ((0, 50), (10, 99), (20, 10)):
        schedule.saw(at(progress), now=now)
    assert schedule.pause() >= 27
    # What comes afterwards is learnt anew: 10 % in 90 s.
    schedule.saw(at(20), now=110)
    assert schedule.pause() >= 27
    schedule.saw(at(90), now=740)
    assert schedule.pause() >= 27
    schedule.saw(at(99), now=821)
    assert schedule.pause() == pytest.approx(4.5, abs=0.1)


def test_a_job_that_goes_back_to_the_queue_is_not_asked_every_second() -> None:
    schedule = Schedule(30)
    asked_often(schedule)
    schedule.saw(at(0), now=0)
    schedule.saw(at(99), now=10)
    assert schedule.pause() == 1
    for now in range(11, 200, 10):
        schedule.saw(at(0, "ENQUEUED"), now=now)
        assert schedule.pause() >= 27


@pytest.mark.parametrize("stands_at", [100, 100.0])
def test_a_job_that_is_done_and_does_not_end_is_not_asked_every_second(stands_at: float) -> None:
    schedule = Schedule(30)
    asked_often(schedule)
    schedule.saw(at(0), now=0)
    for now in range(10, 3600, 30):
        schedule.saw(at(stands_at), now=now)
        assert schedule.pause() >= 27


def test_a_job_that_stands_still_near_its_end_is_asked_ever_less() -> None:
    schedule = Schedule(30)
    asked_often(schedule)
    schedule.saw(at(0), now=0)
    schedule.saw(at(99), now=99)
    now, pauses = 99.0, []
    while now < 99 + 3600:
        pauses.append(schedule.pause())
        now += pauses[-1]
        schedule.saw(at(99), now=now)
    assert pauses[0] == 1
    assert pauses[-1] >= 27
    assert len(pauses) < 150


def test_a_job_that_no_longer_tells_its_progress_is_asked_as_one_that_never_did() -> None:
    schedule = Schedule(30)
    asked_often(schedule)
    schedule.saw(at(0), now=0)
    schedule.saw(at(99), now=10)
    schedule.saw(at(None), now=11)
    assert schedule.pause() >= 27


@pytest.mark.parametrize("seconds", [60, 600, 3600])
def test_the_end_is_seen_soon_at_no_more_looks_than_a_fixed_pause(seconds: float) -> None:
    """A job with whole per cents; a simulation of the looks, often enough for their jitter to even out."""
    lags, looks = [], []
    for start in range(400):
        schedule, now, number = Schedule(30), start / 400, 1
        while now < seconds:
            schedule.saw(at(int(now / seconds * 100)), now=now)
            now += schedule.pause()
            number += 1
        lags.append(now - seconds)
        looks.append(number)
    assert sum(lags) / len(lags) < (2 if seconds < 3600 else 4)
    assert max(looks) <= seconds / 30 + 40
