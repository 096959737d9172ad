"""What to ask for next of a long list of issues: chunks, whose reports outlive a try."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from airflow_provider_archival.api.flow import Flow, ask, nothing
from airflow_provider_archival.api.http import Request
from airflow_provider_archival.api.jira import ArchiveError, ArchiveReport
from airflow_provider_archival.api.jobs import JIRA_TASK, JobKind
from airflow_provider_archival.api.polling import Job
from airflow_provider_archival.plans.base import (
    Answered,
    Event,
    Finish,
    Json,
    Plan,
    Send,
    Since,
    Step,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reason:
    """
    Why issues of a chunk were refused.

    :param places: where those stand in the chunk that were asked for; their names are known there
    :param others: the names of others, such as subtasks
    """

    name: str
    count: int
    message: str
    places: tuple[int, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """
    A chunk that was answered: its number, how many issues changed, and why others did not.

    :param is_whole: whether all reasons are known; otherwise it is asked for again, which changes nothing
    """

    number: int
    updated: int
    reasons: tuple[Reason, ...] = ()
    is_whole: bool = True


@dataclass(frozen=True)
class IssuesState:
    """The chunks that were answered, in the order of their answers."""

    done: tuple[Chunk, ...] = ()


@dataclass(frozen=True)
class IssuesByKey(Plan[IssuesState, int, Job]):
    """
    Archive issues by key, or bring them back.

    :param issue_ids_or_keys: all of them, in order, each once
    :param done_word: ``archived`` or ``unarchived``
    :param request: asks for a chunk
    :param done_before: what Jira may say of issues with which nothing is to be done, and then counts for no
        error; those of ``reasons`` always do
    :param reasons: the reasons that are known
    :param size: how many issues go into a chunk
    :param at_once: how many requests may be under way at the same time
    """

    issue_ids_or_keys: tuple[str, ...]
    done_word: str
    request: Callable[[Sequence[str]], Request[ArchiveReport]]
    done_before: re.Pattern[str]
    reasons: frozenset[str]
    size: int
    at_once: int = 1

    name: ClassVar[str] = "jira_issues"
    kinds: ClassVar[tuple[JobKind[Any], ...]] = (JIRA_TASK,)
    state: ClassVar[type[IssuesState]] = IssuesState

    def asked(self) -> Mapping[str, Json]:
        digest = hashlib.sha256("\n".join(self.issue_ids_or_keys).encode()).hexdigest()
        return {"operation": self.done_word, "number": len(self.issue_ids_or_keys), "issues": digest}

    @cached_property
    def number(self) -> int:
        """How many chunks there are."""
        return -(-len(self.issue_ids_or_keys) // self.size)

    def keys(self, number: int) -> tuple[str, ...]:
        return self.issue_ids_or_keys[number * self.size : (number + 1) * self.size]

    def begin(self, since: Since) -> Flow[IssuesState]:
        return nothing(IssuesState())

    def check(self, state: IssuesState) -> None:
        for chunk in state.done:
            size = len(self.keys(chunk.number)) if chunk.number >= 0 else 0
            if not size or any(not 0 <= place < size for one in chunk.reasons for place in one.places):
                raise ValueError(f"there is no chunk {chunk.number} like that")

    def take_up(self, state: IssuesState) -> Flow[IssuesState]:
        done = sum(chunk.is_whole for chunk in state.done)
        log.info("%d of %d requests were done by an earlier try", done, self.number)
        return nothing(state)

    def next(self, state: IssuesState) -> Flow[tuple[IssuesState, Step[int]]]:
        done = {chunk.number for chunk in state.done if chunk.is_whole}
        left = tuple(number for number in range(self.number) if number not in done)
        if not left:
            return nothing((state, Finish()))
        if self.at_once > 1 and not done:
            # The first goes alone: it finds out whether the connection is good for anything.
            left = left[:1]
        return nothing((state, Send(left, self.at_once, is_kept=self.number > 1)))

    def send(self, what: int) -> Flow[ArchiveReport]:
        report = yield from ask(self.request(self.keys(what)))
        errors = dict(report.errors)
        for reason, error in report.errors.items():
            if reason not in self.reasons and self.done_before.search(f"{reason} {error.message}"):
                log.info("%d issues were %s before: %s", error.count, self.done_word, error.message)
                del errors[reason]
        return ArchiveReport(report.updated, errors)

    def after(self, state: IssuesState, event: Event[int]) -> IssuesState:
        if not isinstance(event, Answered):
            return state
        chunk, others = self.chunk(event.what, event.value), []
        for other in state.done:
            if other.number == chunk.number:
                # What an earlier answer changed counts as well.
                chunk = replace(chunk, updated=chunk.updated + other.updated)
            else:
                others.append(other)
        done = sum(other.is_whole for other in others) + 1
        if self.number > 1 and done * 10 // self.number > (done - 1) * 10 // self.number:
            log.info("%d of %d requests are done", done, self.number)
        return replace(state, done=(*others, chunk))

    def smaller(self, state: IssuesState) -> IssuesState | None:
        large = sorted((chunk for chunk in state.done if chunk.reasons), key=_size, reverse=True)
        if not large:
            return None
        # Half of them at once: this is done with each answer, and there may be hundreds.
        cut = {chunk.number for chunk in large[: (len(large) + 1) // 2]}
        return replace(
            state,
            done=tuple(
                replace(chunk, reasons=(), is_whole=False) if chunk.number in cut else chunk
                for chunk in state.done
            ),
        )

    def result(self, state: IssuesState, jobs: tuple[Job, ...]) -> Flow[dict[str, Any]]:
        report = self.report(state)
        return nothing(
            {
                "requested": len(self.issue_ids_or_keys),
                self.done_word: report.updated,
                "errors": report.errors_to_dict(),
            }
        )

    def report(self, state: IssuesState) -> ArchiveReport:
        """Return the reports as one, in the order of the list."""
        merged = ArchiveReport()
        for chunk in sorted(state.done, key=lambda chunk: chunk.number):
            merged += self._report(chunk)
        return merged

    def chunk(self, number: int, report: ArchiveReport) -> Chunk:
        """Return what is remembered of a chunk's report."""
        places = {name: place for place, name in enumerate(self.keys(number))}
        reasons = []
        for name, error in report.errors.items():
            names = error.issue_ids_or_keys
            # The order is kept: what was asked for stands in front in what Jira says too.
            known = tuple(places[one] for one in names if one in places)
            others = tuple(one for one in names if one not in places)
            reasons.append(Reason(name, error.count, error.message, known, others))
        return Chunk(number, report.updated, tuple(reasons))

    def _report(self, chunk: Chunk) -> ArchiveReport:
        keys = self.keys(chunk.number)
        return ArchiveReport(
            chunk.updated,
            {
                one.name: ArchiveError(
                    one.count, one.message, (*(keys[place] for place in one.places), *one.others)
                )
                for one in chunk.reasons
            },
        )


def _size(chunk: Chunk) -> int:
    return sum(len(one.message) + len(one.places) + sum(map(len, one.others)) for one in chunk.reasons)
