"""Which export of archived issues comes next: parts of a range of dates, one after the other."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, ClassVar

from airflow_provider_archival.api import jira
from airflow_provider_archival.api.flow import Flow, ask, nothing
from airflow_provider_archival.api.http import ApiError, BadRequest
from airflow_provider_archival.api.jira import ExportFilter, JiraTask
from airflow_provider_archival.api.jobs import JIRA_TASK, JobKind
from airflow_provider_archival.plans import jira_tasks
from airflow_provider_archival.plans.base import (
    Ended,
    Event,
    Finish,
    Json,
    Lost,
    Plan,
    Sent,
    Since,
    Started,
    Step,
    Submit,
)
from airflow_provider_archival.plans.date_ranges import DateRange

log = logging.getLogger(__name__)

# Jira's words for too many issues are not documented.
_TOO_MANY = re.compile(r"too many|limit|exceed|maximum|more than|1,?000,?000", re.IGNORECASE)


@dataclass(frozen=True)
class Range:
    """The days of one export, ``YYYY-MM-DD``; None for all dates."""

    after: str | None = None
    before: str | None = None

    @classmethod
    def of(cls, days: DateRange | None) -> Range:
        return cls(days.after.isoformat(), days.before.isoformat()) if days else cls()

    @property
    def days(self) -> DateRange | None:
        if self.after is None or self.before is None:
            return None
        return DateRange(date.fromisoformat(self.after), date.fromisoformat(self.before))


@dataclass(frozen=True)
class ExportState:
    """
    How far an export has come.

    :param whole: all days, as they were when the run began
    :param begun: how many of the pieces into which ``split_by`` cuts them were begun
    :param first: ranges that come before the next piece: halves of one that was too much, or one that came
        to nothing
    :param running: the range of the export that runs
    """

    whole: Range
    begun: int = 0
    first: tuple[Range, ...] = ()
    running: Range | None = None


@dataclass(frozen=True)
class Export(Plan[ExportState, Range, JiraTask]):
    """
    Export archived issues.

    :param wanted: which, with the days as they are for this try
    :param given: the days as a person gave them: what is missing is "until tomorrow", which moves
    :param period: cuts the days: ``none`` or one of
        :data:`~airflow_provider_archival.plans.date_ranges.PERIODS`
    :param all_days: what is halved where no days were given, and all is too much
    """

    wanted: ExportFilter
    given: tuple[str | None, str | None]
    period: str
    all_days: DateRange

    name: ClassVar[str] = "jira_export"
    kinds: ClassVar[tuple[JobKind[Any], ...]] = (JIRA_TASK,)
    state: ClassVar[type[ExportState]] = ExportState
    word_of_second: ClassVar[str | None] = (
        "An earlier attempt may have made this export too, but no task is known for it: {} is perhaps a"
        " second one, with a second e-mail"
    )

    def asked(self) -> Mapping[str, Json]:
        after, before = self.given
        return {
            "projects": sorted(self.wanted.projects),
            "archived_by": sorted(self.wanted.archived_by),
            "archived_after": after,
            "archived_before": before,
            "issue_types": sorted(self.wanted.issue_types),
            "reporters": sorted(self.wanted.reporters),
            "split_by": self.period,
        }

    def begin(self, since: Since) -> Flow[ExportState]:
        return nothing(ExportState(Range(self.wanted.archived_after, self.wanted.archived_before)))

    def next(self, state: ExportState) -> Flow[tuple[ExportState, Step[Range]]]:
        pieces = self.pieces(state.whole)
        if state.first:
            return nothing((state, Submit(state.first[0])))
        if state.begun < len(pieces):
            return nothing((state, Submit(pieces[state.begun])))
        return nothing((state, Finish()))

    def pieces(self, whole: Range) -> list[Range]:
        """Return the ranges into which the days are cut beforehand."""
        days = whole.days
        return (
            [whole] if self.period == "none" or days is None else list(map(Range.of, days.split(self.period)))
        )

    def send(self, what: Range) -> Flow[Sent[JiraTask]]:
        wanted = replace(self.wanted, archived_after=what.after, archived_before=what.before)
        log.info("Exporting archived issues: %s", wanted.to_json() or "all")
        return Sent((yield from ask(jira.export_archived_issues(wanted))))

    def is_older(self, job: JiraTask, since: Since) -> bool:
        return jira_tasks.is_older(job, since)

    def refused(self, state: ExportState, what: Range, error: ApiError) -> Flow[ExportState]:
        yield from ()
        if not (isinstance(error, BadRequest) and _TOO_MANY.search(error.said)):
            raise error
        halves = (what.days or self.all_days).halves()
        if halves is None:
            raise error
        log.info("Jira says that these are too many for one export: halving the range. %s", error)
        state = _without(state)
        return replace(state, first=(*map(Range.of, halves), *state.first))

    def after(self, state: ExportState, event: Event[Range]) -> ExportState:
        if isinstance(event, Started):
            return replace(_without(state), running=event.what)
        if isinstance(event, Ended):
            return replace(state, running=None)
        if isinstance(event, Lost) and state.running is not None:
            return replace(state, first=(state.running, *state.first), running=None)
        return state

    def check(self, state: ExportState) -> None:
        for one in (state.whole, *state.first, *([state.running] if state.running else [])):
            if one.days is None and (one.after, one.before) != (None, None):
                raise ValueError(f"a range has one end: {one}")
        if state.begun < 0:
            raise ValueError(f"{state.begun} pieces were begun")

    def is_last(self, state: ExportState) -> bool:
        return not state.first and state.begun >= len(self.pieces(state.whole))

    def result(self, state: ExportState, jobs: tuple[JiraTask, ...]) -> Flow[dict[str, Any]]:
        return nothing({"tasks": [task.to_dict() for task in jobs], "files": []})


def _without(state: ExportState) -> ExportState:
    """Return a state whose next range is taken out."""
    return replace(state, first=state.first[1:]) if state.first else replace(state, begun=state.begun + 1)
