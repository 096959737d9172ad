"""Jira Cloud's archival endpoints, one function each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from airflow_provider_archival.api.clean import count_of, name_of
from airflow_provider_archival.api.http import Repeat, Request, Response, path_of
from airflow_provider_archival.api.jira_exports import ExportFilter
from airflow_provider_archival.api.jira_reports import (
    MORE_REASONS,
    MOST_REASONS,
    NOTHING_VALID,
    PRECONDITION_FAILED,
    ArchiveError,
    ArchiveReport,
    report_of,
)
from airflow_provider_archival.api.jira_tasks import (
    JiraTask,
    export_task_of,
    submitted_task_id_of,
    task_id_of,
    task_of,
)
from airflow_provider_archival.api.voices import jiras

__all__ = [
    "MAX_ISSUES_PER_TASK",
    "MAX_KEYS_PER_REQUEST",
    "MORE_REASONS",
    "MOST_REASONS",
    "NOTHING_VALID",
    "PRECONDITION_FAILED",
    "ArchiveError",
    "ArchiveReport",
    "ExportFilter",
    "JiraTask",
    "archive_by_jql",
    "archive_issues",
    "cancel_task",
    "count_issues",
    "export_archived_issues",
    "get_task",
    "is_admin",
    "issue_ids_or_keys_of",
    "myself",
    "search_issues",
    "task_id_of",
    "unarchive_issues",
]

MAX_KEYS_PER_REQUEST = 1000
"""How many issues one archive or unarchive request takes; Jira answers 412 to more."""

MAX_ISSUES_PER_TASK = 100_000
"""How many issues one archive by JQL takes."""

_TO_ARCHIVE = "write:jira-work (or write:issue:jira)"
_TO_EXPORT = "read:jira-work (or read:issue:jira)"
_TO_CANCEL = "write:jira-work (or delete:async-task:jira)"
_TO_READ = "read:jira-work"
_ISSUE = re.compile(r"[0-9]+|[A-Za-z][A-Za-z0-9_]*-[0-9]+")


def archive_issues(issue_ids_or_keys: Sequence[str]) -> Request[ArchiveReport]:
    """
    Archive up to :data:`MAX_KEYS_PER_REQUEST` issues at once; a repeat finds them archived already.

    A 400 is Jira's answer when none of them could be archived, a 412 when it can't take the request: these
    are reports too.
    """
    return _by_key("/rest/api/3/issue/archive", issue_ids_or_keys)


def unarchive_issues(issue_ids_or_keys: Sequence[str]) -> Request[ArchiveReport]:
    """Bring up to :data:`MAX_KEYS_PER_REQUEST` archived issues back."""
    return _by_key("/rest/api/3/issue/unarchive", issue_ids_or_keys)


def archive_by_jql(jql: str) -> Request[str]:
    """Archive every issue that ``jql`` matches, up to 100,000; answers with the id of the task for it."""
    return Request(
        "POST",
        "/rest/api/3/issue/archive",
        submitted_task_id_of,
        json={"jql": jql},
        repeat=Repeat.AFTER_A_LOOK,
        voice=jiras,
        scopes=_TO_ARCHIVE,
    )


def export_archived_issues(export_filter: ExportFilter) -> Request[JiraTask]:
    """Export the archived issues that pass the filter, up to 1,000,000; answers with the task for it."""
    return Request(
        "PUT",
        "/rest/api/3/issues/archive/export",
        export_task_of,
        json=export_filter.to_json(),
        repeat=Repeat.AFTER_A_LOOK,
        voice=jiras,
        scopes=_TO_EXPORT,
    )


def get_task(task_id: str) -> Request[JiraTask]:
    """Look at a task; Jira keeps it for about 14 days."""
    path = path_of("rest", "api", "3", "task", task_id_of(task_id))
    return Request("GET", path, task_of, voice=jiras, route="/rest/api/3/task/{taskId}", scopes=_TO_READ)


def cancel_task(task_id: str) -> Request[None]:
    """Ask a task to stop; it may still end otherwise. 400 when it has ended already."""
    return Request(
        "POST",
        path_of("rest", "api", "3", "task", task_id_of(task_id), "cancel"),
        lambda response: None,
        voice=jiras,
        route="/rest/api/3/task/{taskId}/cancel",
        scopes=_TO_CANCEL,
        is_urgent=True,
    )


def count_issues(jql: str) -> Request[int]:
    """Count the issues that a bounded ``jql`` matches: an estimate that may miss recent changes."""
    return Request(
        "POST",
        "/rest/api/3/search/approximate-count",
        lambda response: count_of(response.json()["count"]),
        json={"jql": jql},
        voice=jiras,
        scopes=_TO_READ,
    )


def search_issues(jql: str, max_results: int) -> Request[tuple[str, ...]]:
    """Return the keys of some issues that a bounded ``jql`` matches, in its order; up to 5,000."""

    def keys(response: Response) -> tuple[str, ...]:
        return tuple(
            name_of(issue.get("key") or issue["id"]) for issue in response.json()["issues"][:max_results]
        )

    return Request(
        "POST",
        "/rest/api/3/search/jql",
        keys,
        json={"jql": jql, "maxResults": max_results, "fields": ["key"]},
        voice=jiras,
        scopes=_TO_READ,
    )


def myself() -> Request[str]:
    """Tell who the caller is: a display name. Proves a login, but needs a scope that archiving does not."""
    return Request(
        "GET",
        "/rest/api/3/myself",
        lambda response: name_of(response.json().get("displayName") or response.json()["accountId"]),
        voice=jiras,
        scopes="read:jira-user",
    )


def is_admin() -> Request[bool]:
    """Tell whether the caller has Jira's global ``ADMINISTER`` permission, which proves a login."""
    return Request(
        "GET",
        "/rest/api/3/mypermissions",
        lambda response: bool(response.json()["permissions"]["ADMINISTER"]["havePermission"]),
        query={"permissions": "ADMINISTER"},
        voice=jiras,
        scopes=_TO_READ,
    )


def issue_ids_or_keys_of(names: Sequence[str]) -> list[str]:
    """
    Return issue ids and keys without repeats, order kept, keys in upper case.

    :raises ValueError: naming those that are neither an id (``10001``) nor a key (``ABC-123``)
    """
    given = list(dict.fromkeys(name.strip() for name in names))
    if wrong := [name for name in given if not _ISSUE.fullmatch(name)]:
        shown = ", ".join(repr(name) for name in wrong[:10]) + (", …" if len(wrong) > 10 else "")
        raise ValueError(f"{len(wrong)} of {len(given)} are neither an issue id nor an issue key: {shown}")
    return list(dict.fromkeys(name.upper() for name in given))


def _by_key(path: str, issue_ids_or_keys: Sequence[str]) -> Request[ArchiveReport]:
    asked = tuple(issue_ids_or_keys)
    return Request(
        "PUT",
        path,
        lambda response: report_of(response, asked),
        json={"issueIdsOrKeys": list(asked)},
        answers=frozenset({400, 412}),
        voice=jiras,
        scopes=_TO_ARCHIVE,
    )
