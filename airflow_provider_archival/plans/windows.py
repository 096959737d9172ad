"""Cuts what a JQL matches into pieces by the time of creation, so that each fits into one task."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_archival.api.flow import Flow
from airflow_provider_archival.api.portable import Portable

_FORMAT = "%Y-%m-%d %H:%M"
_MINUTE = timedelta(minutes=1)
# No issue is older, whatever it was imported from; the window before it is open all the same.
_EARLIEST = datetime(1970, 1, 1)
# From the whole time to a minute it takes 25 halvings, for each part that is too full.
_HALVINGS = 30
# What is quoted or escaped is no ORDER BY.
_ORDER_BY = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.)|(?<![\w.-])order\s+by(?![\w.-])""",
    re.IGNORECASE | re.DOTALL,
)


class CountsDiffer(Portable):
    """The counts of windows contradict the count of the whole, so nothing can be cut by them."""


@dataclass(frozen=True)
class Window:
    """
    A half-open span of creation times: ``after`` belongs to it, ``before`` does not; None is open.

    Both are minutes in the time zone of Jira's caller, which needn't be known: the predicates of neighbours
    complement each other whatever the zone, so no issue falls between them.
    """

    after: str | None = None
    before: str | None = None

    @property
    def is_all(self) -> bool:
        return self.after is None and self.before is None

    def __str__(self) -> str:
        if self.is_all:
            return "all"
        ends = (f"from {self.after}" if self.after else "", f"before {self.before}" if self.before else "")
        return "created " + " ".join(end for end in ends if end)

    def restrict(self, jql: str) -> str:
        """Return a JQL for what both ``jql`` and this window match; ``jql`` itself for the window of all."""
        if self.is_all:
            return jql
        terms = [f"({without_order_by(jql)})"]
        if self.after:
            terms.append(f'created >= "{self.after}"')
        if self.before:
            terms.append(f'created < "{self.before}"')
        return " AND ".join(terms)

    def halves(self, now: datetime) -> tuple[Window, Window] | None:
        """
        Return two windows that together are this one; None when it is a minute, which can't be cut.

        :param now: the time now, in any zone: the open end is taken to lie two days later
        """
        begin = _time(self.after) or _EARLIEST
        end = _time(self.before) or _minute_of(now) + timedelta(days=2)
        minutes = (end - begin) // _MINUTE // 2
        if minutes < 1:
            return None
        middle = (begin + minutes * _MINUTE).strftime(_FORMAT)
        return Window(self.after, middle), Window(middle, self.before)


@dataclass(frozen=True)
class Part:
    """A window, and about how many issues it holds."""

    window: Window
    matched: int


def cut(
    part: Part, most: int, count: Callable[[Window], Flow[int]], now: datetime, enough: int | None = None
) -> Flow[list[Part]]:
    """
    Cut a part into parts of at most ``most`` issues each, in order, which together are the whole.

    A minute with more can't be cut; it is returned as it is. Neighbours that fit into one are one.

    :param count: counts the issues in a window
    :param now: see :meth:`Window.halves`
    :param enough: after so many parts the rest stays as it is, to be cut when it is its turn; None for all
    :raises CountsDiffer: the counts do not fall as the windows get smaller, so there would be no end to it
    """
    whole, asked = part, 0
    found: list[Part] = []
    waiting = [part]
    while waiting:
        if enough is not None and len(found) >= enough:
            return [*found, *reversed(waiting)]
        part = waiting.pop()
        halves = part.window.halves(now) if part.matched > most else None
        if halves is None:
            _add(part, found, most)
            continue
        asked += 1
        if asked > most_windows(whole.matched, most):
            raise CountsDiffer(
                f"of {whole.matched} issues ({whole.window}), {part.matched} are said to be in one of"
                f" {asked} windows ({part.window}), and as many in others"
            )
        earlier, later = halves
        matched = yield from count(earlier)
        waiting.append(Part(later, (yield from count(later)) if matched else part.matched))
        waiting.append(Part(earlier, matched))
    return found


def _add(part: Part, found: list[Part], most: int) -> None:
    """Add a part behind the others; it is one with the last where both fit into one."""
    if found and found[-1].matched + part.matched <= most:
        last = found.pop()
        part = Part(Window(last.window.after, part.window.before), last.matched + part.matched)
    found.append(part)


def most_windows(matched: int, most: int) -> int:
    """Return into how many windows so many issues are cut on the way to parts of ``most``, at most."""
    return _HALVINGS * (matched // most + 2)


def without_order_by(jql: str) -> str:
    """Return a JQL without its ``ORDER BY``, which no parentheses may hold."""
    for found in _ORDER_BY.finditer(jql):
        if found[1] is None:
            return jql[: found.start()].rstrip()
    return jql


def _minute_of(now: datetime) -> datetime:
    # Made anew: it may be of a subclass whose arithmetic is another one.
    return datetime(now.year, now.month, now.day, now.hour, now.minute)


def _time(text: str | None) -> datetime | None:
    return datetime.strptime(text, _FORMAT) if text else None
