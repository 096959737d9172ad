"""What a person can choose about a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints


@dataclass(frozen=True)
class Settings:
    """
    How a sandbox behaves.

    :param port: the loopback port; 0 takes a free one.
    :param issues: how many Jira issues are seeded.
    :param seed: the random seed; the same seed gives the same issues and Toloka projects.
    :param job_seconds: how long a job takes, in seconds of the sandbox's clock.
    :param state_file: the SQLite file that keeps the state; None keeps it in memory.
    :param auth: ``strict`` answers as the services do; ``any`` takes any credentials, but still wants some;
        ``off`` wants none.
    :param scopes: what tokens may do through the gateway, separated by blanks.
    :param issues_per_task: how many issues one archive by JQL may match.
    :param issues_per_export: how many archived issues one export may hold.

    The rest is what the services' references leave open; see :data:`UNKNOWN`.
    """

    port: int = 0
    issues: int = 1000
    seed: int = 1
    job_seconds: float = 3.0
    state_file: str | None = None
    auth: Literal["strict", "any", "off"] = "strict"
    scopes: str = "read:jira-work write:jira-work read:jira-user"
    issues_per_task: int = 100_000
    issues_per_export: int = 1_000_000
    over_limit: Literal["refuse", "first"] = "refuse"
    no_match: Literal["task", "refuse"] = "task"
    archived_again: Literal["ignore", "count", "report"] = "ignore"
    busy_with: Literal["id", "nothing"] = "id"
    locks: Literal["each", "one"] = "each"
    description: Literal["kind", "same", "none"] = "kind"
    unauthenticated: Literal["errors", "message", "text", "empty"] = "errors"
    range_ends: Literal["both", "first", "none"] = "first"
    file_url: Literal["answer", "result", "text", "none"] = "answer"
    csv: Literal["plain", "jira", "odd", "utf-16"] = "plain"
    project_again: Literal["nothing", "conflict", "operation"] = "nothing"


UNKNOWN = {
    "over_limit": "what a JQL gets that matches more than one archive may: a 400, or its first issues go",
    "no_match": "what an archive by JQL gets that matches nothing: a task that archives nothing, or a 400",
    "archived_again": "whether archiving an archived issue by key is ignored, counted as an update, or"
    " reported as an error",
    "busy_with": "whether the 412 of an archive or export names the task that is running",
    "locks": "whether an archive and an export may run side by side, or share one lock",
    "description": "what a task's description tells: whether it archives or exports, the same of both,"
    " or nothing",
    "unauthenticated": "what a site's 401 says: Jira's usual errors, a message with its status, a plain"
    " text, or nothing",
    "range_ends": "which ends of an export's range of dates belong to it",
    "file_url": "where an export's file is told: in the answer and the task's result, in the result only,"
    " there as a plain text, or nowhere",
    "csv": "which form an export's file has: one column for each name; as Jira's ordinary export, with a mark"
    " (BOM) and a column for each label and watcher; that with odd rows and bytes; or that in UTF-16",
    "project_again": "what archiving an archived Toloka project gets: 204, 409, or a new operation",
}
"""What the services' references leave open, one way to settle it each: try your DAGs with all of them."""


def choices_of(name: str) -> tuple[Any, ...]:
    """Return the values that a setting can have."""
    return get_args(get_type_hints(Settings)[name])
