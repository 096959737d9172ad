"""
Cuts a range of dates into ranges for one export each.

Whether Jira takes the ends of a range for parts of it is not documented: neighbours overlap by a day, so that
nothing falls between them whichever way it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

PERIODS = ("day", "month", "year")
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class DateRange:
    """Two days; ``after`` is the earlier one."""

    after: date
    before: date

    def split(self, period: str) -> list[DateRange]:
        """Cut at the begin of each of :data:`PERIODS`."""
        starts = [self.after, *_starts(self.after, self.before, period)]
        ends = [*(start + _DAY for start in starts[1:]), self.before]
        return [DateRange(*ends) for ends in zip(starts, ends, strict=True)]

    def halves(self) -> list[DateRange] | None:
        """Cut in the middle; None where the halves would be no shorter."""
        days = (self.before - self.after).days
        if days < 3:
            return None
        middle = self.after + timedelta(days=days // 2)
        return [DateRange(self.after, middle + _DAY), DateRange(middle, self.before)]


def _starts(after: date, before: date, period: str) -> Iterator[date]:
    start = _next(after, period)
    while start < before:
        yield start
        start = _next(start, period)


def _next(day: date, period: str) -> date:
    if period == "day":
        return day + _DAY
    if period == "month":
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return date(day.year + 1, 1, 1)
