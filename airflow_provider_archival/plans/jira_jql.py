"""What to archive next of the issues that a JQL matches: windows, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar

from airflow_provider_archival.api import jira
from airflow_provider_archival.api.flow import Flow, ask
from airflow_provider_archival.api.http import ApiError, BadRequest
from airflow_provider_archival.api.jira import JiraTask
from airflow_provider_archival.api.jira_flows import count
from airflow_provider_archival.api.jobs import JIRA_TASK, JobKind
from airflow_provider_archival.plans import jira_tasks
from airflow_provider_archival.plans.base import (
    Cause,
    Event,
    Finish,
    Found,
    Json,
    Lost,
    Plan,
    Sent,
    Since,
    Started,
    Step,
    Stop,
    Submit,
    Take,
    Waited,
    search,
)
from airflow_provider_archival.plans.jira_spans import JqlState, Span, folded, is_to_do, spans_of
from airflow_provider_archival.plans.windows import CountsDiffer, Part, Window, cut, most_windows

log = logging.getLogger(__name__)

# Counts are estimates: a window is cut until it is this much under the limit.
_SAFE_SHARE = 0.9
_ENOUGH = 150
"""How many windows are known ahead; what comes after them is cut when it is its turn."""
_WHOLE = Window()


@dataclass(frozen=True)
class ArchiveByJql(Plan[JqlState, Part, JiraTask]):
    """
    Archive what a JQL matches.

    :param jql: with a restriction
    :param now: the time now, in any zone
    :param max_issues: how many may be archived; None for no guard
    :param is_dry_run: stop after the plan
    :param sample: how many to name in the log
    :param most: how many one task takes
    """

    jql: str
    now: datetime
    max_issues: int | None = None
    is_dry_run: bool = False
    sample: int = 0
    most: int = jira.MAX_ISSUES_PER_TASK

    name: ClassVar[str] = "jira_jql"
    kinds: ClassVar[tuple[JobKind[Any], ...]] = (JIRA_TASK,)
    state: ClassVar[type[JqlState]] = JqlState

    def asked(self) -> Mapping[str, Json]:
        return {"jql": self.jql}

    # --- begin ---

    def begin(self, since: Since) -> Flow[JqlState]:
        matched = yield from count(self.jql)
        log.info("About %d issues match: %s", matched, self.jql)
        if self.max_issues is not None and matched > self.max_issues:
            raise Stop(
                Cause.TOO_MANY_ISSUES,
                f"About {matched} issues match, and max_issues is {self.max_issues}: nothing was archived."
                f" Narrow the JQL or raise max_issues, then clear this task. JQL: {self.jql}",
            )
        if matched and self.sample:
            keys = yield from ask(jira.search_issues(self.jql, self.sample))
            log.info("%d of them: %s", len(keys), ", ".join(keys))
        whole = Part(_WHOLE, matched)
        parts = (yield from self._cut(whole)) if matched > self.most else [whole] if matched else []
        self._tell(parts)
        return JqlState(matched, spans_of(parts), cuts=len(parts), guard=self.max_issues)

    def _tell(self, parts: list[Part]) -> None:
        if not parts:
            log.info("Nothing matches: there is nothing to archive")
        elif len(parts) > 1:
            more = "" if self.is_dry_run or len(parts) <= _ENOUGH else ", and more when it is their turn"
            log.info(
                "One task takes %d issues: %d windows, one after the other%s", self.most, len(parts), more
            )
            for part in parts:
                log.info("About %d: %s", part.matched, part.window)
        if self.is_dry_run:
            log.info("dry_run: nothing is archived")

    def take_up(self, state: JqlState) -> Flow[JqlState]:
        if self.is_dry_run:
            log.info("dry_run: no more is archived; this is the plan of the earlier try")
        if self.max_issues is None:
            return replace(state, guard=None)
        if self.max_issues != state.guard:
            # Whoever has changed it has read how many are left.
            state = replace(state, guard=self.max_issues, archived=0)
        left = yield from count(self.jql)
        self._guard(state, left, "An earlier try began to archive these issues. ")
        return state

    def _guard(self, state: JqlState, left: int, before: str = "") -> None:
        """Hold what was archived and what matches now against ``max_issues``."""
        if self.max_issues is None or state.archived + left <= self.max_issues:
            return
        archived = f"About {state.archived} were archived, and about" if state.archived else "About"
        raise Stop(
            Cause.TOO_MANY_ISSUES,
            f"{before}{archived} {left} match now, and max_issues is {self.max_issues}: no more are archived."
            f" Narrow the JQL or raise max_issues, then clear this task. JQL: {self.jql}",
        )

    # --- what comes next ---

    def next(self, state: JqlState) -> Flow[tuple[JqlState, Step[Part]]]:
        while not self.is_dry_run and (span := state.current) is not None:
            matched = yield from count(span.window.restrict(self.jql))
            waited, fell = state.waited, (span.left or 0) - matched
            state = replace(state.counted(matched), waited=None)
            if waited is not None and fell > 0:
                # It may have been ours, and has done our work: what is left is archived too.
                state = replace(state, archived=state.archived + fell)
                return state, Take(Part(span.window, matched), JIRA_TASK.read(dict(waited)))
            if not is_to_do(span, matched, self.most, again=state.again):
                state = state.with_spans(replace(span, is_over=True))
            elif matched > self.most and len(parts := (yield from self._cut(Part(span.window, matched)))) > 1:
                # More has come since the plan was made, or Jira takes less than it says.
                state = self._replaced(state, parts)
            else:
                yield from self._guard_now(state, span, matched)
                asked = replace(span, left=matched, asked=len(span.task_ids))
                state = replace(state.with_spans(asked), again=matched > self._safe)
                return state, Submit(Part(span.window, matched))
        return state, Finish()

    def _guard_now(self, state: JqlState, span: Span, matched: int) -> Flow[None]:
        """Hold the whole JQL against ``max_issues`` right before a task: more may have come meanwhile."""
        if self.max_issues is not None:
            self._guard(state, matched if span.window.is_all else (yield from count(self.jql)))

    def send(self, what: Part) -> Flow[Sent[JiraTask]]:
        task_id = yield from ask(jira.archive_by_jql(what.window.restrict(self.jql)))
        return Sent(JiraTask(task_id, "ENQUEUED"))

    def find(self, state: JqlState, what: Part, since: Since, attempt: int) -> Flow[Found[JiraTask] | None]:
        # Archived issues leave the JQL.
        def look() -> Flow[Found[JiraTask] | None]:
            left = yield from count(what.window.restrict(self.jql))
            return None if left else Found(None)

        return search(look, attempt)

    def is_older(self, job: JiraTask, since: Since) -> bool:
        return jira_tasks.is_older(job, since)

    def refused(self, state: JqlState, what: Part, error: ApiError) -> Flow[JqlState]:
        span = state.current
        if not isinstance(error, BadRequest) or span is None:
            raise error
        if span.task_ids or not (yield from count(span.window.restrict(self.jql))):
            log.info("Jira can archive nothing (more) of these: %s", error)
            return state.with_spans(replace(span, is_over=True))
        if what.matched <= self._safe:
            raise error
        if len(parts := (yield from self._cut(what))) > 1:
            # The count was an estimate, and too low.
            return self._replaced(state, parts)
        raise Stop(
            Cause.TOO_MANY_ISSUES,
            f"About {what.matched} issues were created in one minute, and Jira refuses so many at once:"
            f" {what.window}. The windows before it are archived. Give these a task of their own for each"
            " project or issue type, then clear this task for the rest. Jira says:"
            f" {' '.join(error.messages)}",
        )

    # --- what happened ---

    def after(self, state: JqlState, event: Event[Part]) -> JqlState:
        span = state.current
        if isinstance(event, Started) and event.job is not None and span is not None:
            ids = (*span.task_ids, event.job.id)
            # Of one that was taken nobody knows whether it was all: then the window is asked for again.
            asked = len(ids) if event.job.is_final else span.asked
            return folded(state.with_spans(replace(span, task_ids=ids, asked=asked)))
        if isinstance(event, Waited) and event.job.succeeded:
            return replace(state, waited=tuple(JIRA_TASK.kept(event.job).items()))
        if isinstance(event, Lost):
            return replace(state, spans=tuple(span.only(event.kept) for span in state.spans))
        return state

    def check(self, state: JqlState) -> None:
        for span in state.spans:
            span.window.halves(self.now)

    def is_last(self, state: JqlState) -> bool:
        return sum(not span.is_over for span in state.spans) <= 1 and not state.again

    def smaller(self, state: JqlState) -> JqlState | None:
        return state.smaller()

    # --- the end ---

    def result(self, state: JqlState, jobs: tuple[JiraTask, ...]) -> Flow[dict[str, Any]]:
        is_over = not self.is_dry_run and all(task.succeeded for task in jobs)
        left = (yield from self._left(state, jobs)) if is_over else None
        return {
            "jql": self.jql,
            "matched": state.matched,
            "left": left,
            "windows": [span.to_dict() for span in state.spans],
            "tasks": [task.to_dict() for task in jobs],
        }

    def _left(self, state: JqlState, jobs: tuple[JiraTask, ...]) -> Flow[int]:
        """Count what still matches, and tell."""
        if not state.spans:
            return 0
        for task in jobs:
            if _is_partial(task):
                log.warning("Jira says that task %s did not archive everything: %s", task.id, task.said)
        left = yield from count(self.jql)
        if left:
            log.warning(
                "About %d of %d issues still match. They may be subtasks whose parents do not match, of"
                " projects that are archived or have no licence, new since the count, or not visible to the"
                " connection's account: %s",
                *(left, state.matched, self.jql),
            )
        return left

    # --- windows ---

    @property
    def _safe(self) -> int:
        return max(int(self.most * _SAFE_SHARE), 1)

    def _cut(self, part: Part) -> Flow[list[Part]]:
        enough = None if self.is_dry_run else _ENOUGH
        try:
            return (
                yield from cut(
                    part, self._safe, lambda window: count(window.restrict(self.jql)), self.now, enough
                )
            )
        except CountsDiffer as differ:
            raise self._no_sum(str(differ)) from None

    def _replaced(self, state: JqlState, parts: list[Part]) -> JqlState:
        matched = sum(part.matched for part in parts)
        cuts = state.cuts + len(parts)
        if cuts > most_windows(max(state.matched, matched), self.most):
            raise self._no_sum(f"of {state.matched} issues, and after {cuts} windows some are too full")
        log.info("About %d issues: cut into %d windows", matched, len(parts))
        return replace(state.with_spans(*spans_of(parts)), cuts=cuts)

    def _no_sum(self, why: str) -> Stop:
        return Stop(
            Cause.COUNTS_DIFFER,
            f"Jira's counts of the windows do not add up: {why}. No (more) issues are archived. Retry, or"
            f" narrow the JQL so that one task takes what it matches. JQL: {self.jql}",
        )


def _is_partial(task: JiraTask) -> bool:
    result = task.result if isinstance(task.result, dict) else {}
    return bool(result.get("errors") or result.get("numberOfIssuesNotUpdated"))
