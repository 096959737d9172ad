"""Cutting what a JQL matches into windows: nothing falls between, nothing is in two, none is too full."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_archival.api.flow import Flow, hold, nothing
from airflow_provider_archival.plans.windows import CountsDiffer, Part, Window, cut, without_order_by

NOW = datetime(2026, 11, 21, 12, 0)
MINUTES = st.datetimes(datetime(1971, 1, 1), NOW).map(lambda time: time.replace(second=0, microsecond=0))


def cut_by(count: Callable[[Window], int], part: Part, most: int, enough: int | None = None) -> list[Part]:
    """Cut a part; what a talk would ask a service for is counted here."""

    def counted(window: Window) -> Flow[int]:
        return nothing(count(window))

    return hold(cut(part, most, counted, NOW, enough), send=pytest.fail, sleep=pytest.fail)


def holds(window: Window, time: datetime) -> bool:
    """Do what Jira does with a window's predicates."""
    text = f"{time:%Y-%m-%d %H:%M}"
    return (window.after is None or text >= window.after) and (window.before is None or text < window.before)


@given(
    created=st.lists(MINUTES, max_size=80).flatmap(lambda some: st.permutations(some * 3)),
    most=st.integers(1, 20),
)
def test_every_issue_is_in_exactly_one_window_and_none_is_too_full(
    created: list[datetime], most: int
) -> None:
    def count(window: Window) -> int:
        return sum(holds(window, time) for time in created)

    parts = cut_by(count, Part(Window(), len(created)), most)

    assert (parts[0].window.after, parts[-1].window.before) == (None, None)
    assert all(one.window.before == next.window.after is not None for one, next in pairwise(parts))
    assert all(sum(holds(part.window, time) for part in parts) == 1 for time in created)
    for part in parts:
        assert part.matched == count(part.window)
        assert part.matched <= most or part.window.halves(NOW) is None
    assert all(one.matched + next.matched > most for one, next in pairwise(parts))


@pytest.mark.parametrize("matched", [2, 250_000, 10**7])
def test_a_count_that_never_falls_comes_to_an_end(matched: int) -> None:
    asked: list[Window] = []

    def count(window: Window) -> int:
        asked.append(window)
        return 200_000

    most = 90_000 if matched > 2 else 1
    with pytest.raises(CountsDiffer, match="200000 are said to be in one of"):
        cut_by(count, Part(Window(), matched), most)
    assert len(asked) <= 60 * (matched // most + 2)


def test_all_issues_of_a_large_import_may_be_of_one_minute() -> None:
    asked: list[Window] = []

    def count(window: Window) -> int:
        asked.append(window)
        return 10**6 if holds(window, NOW) else 0

    parts = cut_by(count, Part(Window(), 10**6), 90_000)
    assert [part.matched for part in parts if part.matched] == [10**6]
    assert len(asked) < 60


@given(after=st.none() | MINUTES, minutes=st.integers(1, 10**7), is_open=st.booleans())
def test_halves_are_neighbours_and_smaller(after: datetime | None, minutes: int, is_open: bool) -> None:
    begin = after or datetime(1970, 1, 1)
    before = None if is_open else f"{begin + timedelta(minutes=minutes):%Y-%m-%d %H:%M}"
    window = Window(after and f"{after:%Y-%m-%d %H:%M}", before)
    halves = window.halves(NOW)
    if halves is None:
        assert minutes == 1
        return
    earlier, later = halves
    assert earlier.after == window.after
    assert earlier.before == later.after
    assert later.before == window.before
    assert (window.after or "") < str(earlier.before)
    assert before is None or str(later.after) < before


def test_a_window_restricts_a_jql_and_the_window_of_all_leaves_it_alone() -> None:
    jql = "project = A OR project = B ORDER BY created"
    assert Window().restrict(jql) == jql
    assert Window(None, "2024-01-31 12:30").restrict(jql) == (
        '(project = A OR project = B) AND created < "2024-01-31 12:30"'
    )
    assert Window("2023-01-01 00:00", "2024-01-31 12:30").restrict(jql) == (
        '(project = A OR project = B) AND created >= "2023-01-01 00:00" AND created < "2024-01-31 12:30"'
    )


@pytest.mark.parametrize(
    ("jql", "rest"),
    [
        ("project = A", "project = A"),
        ("project = A order  by\n key DESC, created", "project = A"),
        ("project = A Order By key", "project = A"),
        ('summary ~ "order by me" ORDER BY key', 'summary ~ "order by me"'),
        ("summary ~ 'it\\'s order by' ORDER BY key", "summary ~ 'it\\'s order by'"),
        ('summary ~ "say \\"order by\\" twice"', 'summary ~ "say \\"order by\\" twice"'),
        ("(project = A)order by key", "(project = A)"),
        ('"order by" = 1', '"order by" = 1'),
        ("reorder = 1 AND by = 2", "reorder = 1 AND by = 2"),
        ("project = border by-law = 1", "project = border by-law = 1"),
        ("ORDER BY key", ""),
    ],
)
def test_order_by_is_taken_off_only_where_it_really_is_one(jql: str, rest: str) -> None:
    assert without_order_by(jql) == rest


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (Window(), "all"),
        (Window("2024-01-31 12:30"), "created from 2024-01-31 12:30"),
        (Window(None, "2024-01-31 12:30"), "created before 2024-01-31 12:30"),
        (
            Window("2024-01-01 00:00", "2024-01-31 12:30"),
            "created from 2024-01-01 00:00 before 2024-01-31 12:30",
        ),
    ],
)
def test_a_window_tells_what_it_is(window: Window, text: str) -> None:
    assert str(window) == text
