"""How far an archive by JQL has come: its windows, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_archival.plans.windows import Part, Window

_MOST_OVER = 100
"""How many windows that are over are kept each by itself; the earlier ones are one."""
# A count that falls by one with each task would take as many tasks as there are issues.
_MORE_TASKS = 10


@dataclass(frozen=True)
class Span:
    """
    A window, and what became of it.

    :param after, before: see :class:`~airflow_provider_archival.plans.windows.Window`
    :param matched: about how many issues it held when it was planned
    :param task_ids: the tasks that archived it
    :param is_over: whether nothing is left to be done
    :param left: about how many it held when a task was last asked for
    :param asked: how many tasks it had then
    """

    after: str | None
    before: str | None
    matched: int
    task_ids: tuple[str, ...] = ()
    is_over: bool = False
    left: int | None = None
    asked: int | None = None

    @property
    def window(self) -> Window:
        return Window(self.after, self.before)

    def only(self, task_ids: frozenset[str]) -> Span:
        """Return it with those tasks only that count."""
        kept = tuple(id for id in self.task_ids if id in task_ids)
        # One whose task came to nothing is to be done, whatever an earlier look said.
        return replace(self, task_ids=kept, is_over=self.is_over and len(kept) == len(self.task_ids))

    def to_dict(self) -> dict[str, Any]:
        """Return what goes to XCom."""
        return {
            "after": self.after,
            "before": self.before,
            "matched": self.matched,
            "task_ids": list(self.task_ids),
        }


@dataclass(frozen=True)
class JqlState:
    """
    How far an archive by JQL has come.

    :param matched: about how many issues matched in the beginning
    :param spans: the windows, in order
    :param again: whether the current window had too many for one task, so that it may need another
    :param cuts: how many windows were made, all in all
    :param archived: about how many issues were archived since ``guard`` was set
    :param guard: the ``max_issues`` that the run is held against
    :param waited: a task that was in the way, may have been ours, and has ended well; as a small dict's items
    """

    matched: int
    spans: tuple[Span, ...]
    again: bool = False
    cuts: int = 0
    archived: int = 0
    guard: int | None = None
    waited: tuple[tuple[str, str | None], ...] | None = None

    @property
    def current(self) -> Span | None:
        return next((span for span in self.spans if not span.is_over), None)

    def with_spans(self, *new: Span) -> JqlState:
        """Return it with others in the place of the current window."""
        at = next(number for number, span in enumerate(self.spans) if not span.is_over)
        return replace(self, spans=self.spans[:at] + new + self.spans[at + 1 :])

    def counted(self, matched: int) -> JqlState:
        """Take in how many issues the current window holds now: what its tasks took is archived."""
        span = self.current
        if span is None or span.left is None or len(span.task_ids) == span.asked or matched >= span.left:
            return self
        return replace(self, archived=self.archived + span.left - matched)

    def smaller(self) -> JqlState | None:
        """
        Return it with fewer windows, each larger: those that are over first, then those not begun,
        which are cut again when it is their turn. None where that is all that can be done.
        """
        over = sum(span.is_over for span in self.spans)
        if over > 1:
            return folded(self, over // 2)
        begun = [number for number, span in enumerate(self.spans) if span.is_over or span.left is not None]
        first = begun[-1] + 1 if begun else 0
        keep = first + (len(self.spans) - first) // 2
        rest = self.spans[keep:]
        if len(rest) < 2:
            return None
        whole = Span(rest[0].after, rest[-1].before, sum(span.matched for span in rest))
        return replace(self, spans=(*self.spans[:keep], whole))


def is_to_do(span: Span, matched: int, most: int, *, again: bool) -> bool:
    """
    Say whether a window needs a task (more).

    One that had too many for a task is archived as often as the count falls. What is left of others are
    issues that can't be archived.
    """
    if not matched:
        return False
    if not span.task_ids or len(span.task_ids) == span.asked:
        # A task was to be started, and was not, or came to nothing, or did perhaps not all of it.
        return True
    most_tasks = 2 * (max(span.matched, matched) // most) + _MORE_TASKS
    falls = again and span.left is not None and matched < span.left
    return falls and len(span.task_ids) < most_tasks


def spans_of(parts: Iterable[Part]) -> tuple[Span, ...]:
    """Return the windows of a plan."""
    return tuple(Span(part.window.after, part.window.before, part.matched) for part in parts)


def folded(state: JqlState, most: int = _MOST_OVER) -> JqlState:
    """Return a state in which so many windows that are over stand by themselves; those before are one."""
    over = 0
    while over < len(state.spans) and state.spans[over].is_over:
        over += 1
    if over <= max(most, 1):
        return state
    first = state.spans[: over - most + 1] if most else state.spans[:over]
    one = replace(
        first[0],
        before=first[-1].before,
        matched=sum(span.matched for span in first),
        task_ids=tuple(id for span in first for id in span.task_ids),
        left=None,
        asked=None,
    )
    return replace(state, spans=(one, *state.spans[len(first) :]))
