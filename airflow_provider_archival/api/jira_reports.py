"""What Jira reports of a request that archives or unarchives issues by key, and how its answer is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from airflow_provider_archival.api.clean import count_of, json_words, name_of, shorten
from airflow_provider_archival.api.http import Response, messages_of

NOTHING_VALID = "noValidIssue"
"""The reason in a report for issues that Jira refused together, telling no single one's reason."""
PRECONDITION_FAILED = "preconditionFailed"
"""The reason in a report for issues whose request Jira refused with a 412."""
MORE_REASONS = "moreReasons"
"""The reason in a report that stands for all beyond the first :data:`MOST_REASONS`."""
MOST_REASONS = 50

_MOST_KEYS = 5_000
"""Five times what one request takes: subtasks may be named beside what was asked for."""


@dataclass(frozen=True)
class ArchiveError:
    """Why some issues were not archived: Jira's ``message``, how many (``count``), and which."""

    count: int
    message: str
    issue_ids_or_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArchiveReport:
    """
    What an archive or unarchive request did.

    :param updated: how many issues changed; archived subtasks count too, so it can exceed what was asked for
    :param errors: by reason, as Jira names it, such as ``issueIsSubtask``
    """

    updated: int = 0
    errors: Mapping[str, ArchiveError] = field(default_factory=dict)

    def __add__(self, other: ArchiveReport) -> ArchiveReport:
        """Return one report of both."""
        errors = dict(self.errors)
        for reason, error in other.errors.items():
            known = errors.get(reason, ArchiveError(0, error.message))
            errors[reason] = ArchiveError(
                known.count + error.count, known.message, known.issue_ids_or_keys + error.issue_ids_or_keys
            )
        return ArchiveReport(self.updated + other.updated, _few(errors))

    @property
    def error_count(self) -> int:
        return sum(error.count for error in self.errors.values())

    def errors_to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the errors as plain dicts for XCom."""
        return {
            reason: {
                "count": error.count,
                "message": error.message,
                "issue_ids_or_keys": list(error.issue_ids_or_keys),
            }
            for reason, error in self.errors.items()
        }


def report_of(response: Response, asked: tuple[str, ...]) -> ArchiveReport:
    """Read the report; a 400 or 412, where nothing could be done, is one too, whatever shape it has."""
    is_refusal = response.status in (400, 412)
    try:
        said = response.json()
    except ValueError:
        if not is_refusal:
            raise
        said = None
    if isinstance(said, dict) and "numberOfIssuesUpdated" in said:
        errors = {
            name_of(reason): _error(reason, one) for reason, one in (said.get("errors") or {}).items() if one
        }
        return ArchiveReport(count_of(said["numberOfIssuesUpdated"]), _few(errors))
    if not is_refusal:
        raise ValueError("an answer without numberOfIssuesUpdated tells nothing of what was done")
    message = shorten(" ".join(messages_of(response))) or "Jira gave no reason"
    reason = PRECONDITION_FAILED if response.status == 412 else NOTHING_VALID
    return ArchiveReport(0, {reason: ArchiveError(len(asked), message, asked)})


def _error(reason: str, said: Mapping[str, Any]) -> ArchiveError:
    keys = said.get("issueIdsOrKeys") or []
    if not isinstance(keys, list):
        raise TypeError(f"issueIdsOrKeys is no list: {json_words(keys)}")
    return ArchiveError(
        count_of(said.get("count") or len(keys)),
        json_words(said.get("message") or reason),
        tuple(map(name_of, islice(keys, _MOST_KEYS))),
    )


def _few(errors: Mapping[str, ArchiveError]) -> dict[str, ArchiveError]:
    """Return the first reasons, and all others as one."""
    named = [reason for reason in errors if reason != MORE_REASONS]
    if len(named) <= MOST_REASONS:
        return dict(errors)
    rest = [errors[reason] for reason in named[MOST_REASONS:]]
    more = errors.get(MORE_REASONS, ArchiveError(0, shorten(f"Other reasons, such as: {rest[0].message}")))
    for error in rest:
        keys = more.issue_ids_or_keys + error.issue_ids_or_keys
        more = ArchiveError(more.count + error.count, more.message, keys)
    return {**{reason: errors[reason] for reason in named[:MOST_REASONS]}, MORE_REASONS: more}
