"""Cutting a range of dates: nothing falls between the parts, whichever of a range's ends belong to it."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_archival.plans.date_ranges import PERIODS, DateRange

DAY = timedelta(days=1)
RANGES = st.tuples(st.dates(date(1999, 1, 1), date(2030, 1, 1)), st.integers(0, 1200)).map(
    lambda one: DateRange(one[0], one[0] + DAY * one[1])
)
# How many days the first and the last day are off the range.
ENDS = {"both": (0, 0), "the first": (0, 1), "the last": (1, 0), "none": (1, 1)}


def days(range_: DateRange, ends: tuple[int, int]) -> set[date]:
    first, last = range_.after + DAY * ends[0], range_.before - DAY * ends[1]
    return {first + DAY * number for number in range((last - first).days + 1)}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
@given(whole=RANGES, period=st.sampled_from(PERIODS))
def test_the_parts_hold_what_the_whole_holds(ends: tuple[int, int], whole: DateRange, period: str) -> None:
    parts = whole.split(period)
    assert set().union(*(days(part, ends) for part in parts)) == days(whole, ends)
    assert all(part.after <= part.before for part in parts)


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
@given(whole=RANGES)
def test_the_halves_hold_what_the_whole_holds_and_are_shorter(
    ends: tuple[int, int], whole: DateRange
) -> None:
    halves = whole.halves()
    if halves is None:
        assert whole.before - whole.after < 3 * DAY
        return
    assert days(halves[0], ends) | days(halves[1], ends) == days(whole, ends)
    assert all(half.before - half.after < whole.before - whole.after for half in halves)


def test_a_range_is_cut_where_periods_begin() -> None:
    whole = DateRange(date(2023, 11, 15), date(2024, 2, 10))
    assert [(str(one.after), str(one.before)) for one in whole.split("month")] == [
        ("2023-11-15", "2023-12-02"),
        ("2023-12-01", "2024-01-02"),
        ("2024-01-01", "2024-02-02"),
        ("2024-02-01", "2024-02-10"),
    ]
    assert len(whole.split("day")) == 87
    assert [str(one.after) for one in whole.split("year")] == ["2023-11-15", "2024-01-01"]
