"""Jira Cloud's archival endpoints, one function each, and what they answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_archival.api.clean import (
    bounded,
    clean_text,
    count_of,
    json_words,
    name_of,
    shorten,
    word_of,
)
from airflow_provider_archival.api.http import (
    Repeat,
    Request,
    Response,
    checked_id,
    messages_of,
    path_of,
    percent_of,
)
from airflow_provider_archival.api.times import time_of
from airflow_provider_archival.api.urls import without_queries, without_query
from airflow_provider_archival.api.voices import jiras

MAX_KEYS_PER_REQUEST = 1000
"""How many issues one archive or unarchive request takes; Jira answers 412 to more."""

MAX_ISSUES_PER_TASK = 100_000
"""How many issues one archive by JQL takes."""

NOTHING_VALID = "noValidIssue"
"""The reason in a report for issues that Jira refused together, telling no single one's reason."""
PRECONDITION_FAILED = "preconditionFailed"
"""The reason in a report for issues whose request Jira refused with a 412."""

_TO_ARCHIVE = "write:jira-work (or write:issue:jira)"
_TO_EXPORT = "read:jira-work (or read:issue:jira)"
_TO_CANCEL = "write:jira-work (or delete:async-task:jira)"
_TO_READ = "read:jira-work"

MORE_REASONS = "moreReasons"
"""The reason in a report that stands for all beyond the first :data:`MOST_REASONS`."""
MOST_REASONS = 50

# Subtasks may be named beside what was asked for.
_MOST_KEYS = 5 * MAX_KEYS_PER_REQUEST
_MOST_TOLD = 2_000
_NO_URL = re.compile(r"[\s\x00-\x1f\x7f\ufffd…]")
_ISSUE = re.compile(r"[0-9]+|[A-Za-z][A-Za-z0-9_]*-[0-9]+")
_GOOD, _BAD = frozenset({"COMPLETE"}), frozenset({"FAILED", "CANCELLED", "DEAD"})
_GOING_ON = frozenset({"ENQUEUED", "RUNNING", "CANCEL_REQUESTED"})


@dataclass(frozen=True)
class JiraTask:
    """
    A long-running task of Jira's, as it stood when it was looked at.

    :param id: the task's id
    :param status: ``ENQUEUED``, ``RUNNING``, ``COMPLETE``, ``FAILED``, ``CANCEL_REQUESTED``, ``CANCELLED``,
        ``DEAD``, or one that is not documented
    :param progress: 0 to 100; None when Jira did not say
    :param result: any JSON, cut with a note where it is longer than 8 KiB; no URL in it has its query, which
        may be a signature
    :param submitted: ISO 8601, UTC, by Jira's clock; so are ``started`` and ``finished``
    :param elapsed_runtime: milliseconds
    :param file_url: where the CSV of an export lies, where Jira says so; whole, so it is not to be shown
    """

    id: str
    status: str
    progress: float | None = None
    result: Any = None
    message: str | None = None
    description: str | None = None
    submitted: str | None = None
    started: str | None = None
    finished: str | None = None
    elapsed_runtime: int | None = None
    file_url: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("result", "message", "description"):
            object.__setattr__(self, name, without_queries(getattr(self, name)))

    @property
    def is_final(self) -> bool:
        return self.status in _GOOD or self.status in _BAD

    @property
    def succeeded(self) -> bool:
        return self.status in _GOOD

    @property
    def is_documented(self) -> bool:
        return self.is_final or self.status in _GOING_ON

    @property
    def said(self) -> str:
        """What Jira says of the task's outcome, in one line, without a full stop."""
        said = self.message or (str(self.result) if self.result not in (None, {}, []) else "no message")
        return shorten(said).rstrip(".")

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict for XCom; the id is under ``task_id``, and ``file_url`` has no query."""
        return {
            "task_id": self.id,
            "status": self.status,
            "progress": self.progress,
            "result": self.result,
            "message": self.message,
            "description": self.description,
            "submitted": self.submitted,
            "started": self.started,
            "finished": self.finished,
            "elapsed_runtime": self.elapsed_runtime,
            "file_url": self.file_url and without_query(self.file_url),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JiraTask:
        """The inverse of :meth:`to_dict`."""
        return cls(
            id=values["task_id"], **{name: value for name, value in values.items() if name != "task_id"}
        )


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


@dataclass(frozen=True)
class ExportFilter:
    """
    Which archived issues an export holds; an empty part does not restrict.

    :param projects: project keys
    :param archived_by: account ids
    :param archived_after: ``YYYY-MM-DD``; Jira wants both ends of the range, or none
    :param archived_before: ``YYYY-MM-DD``
    :param issue_types: issue type ids
    :param reporters: account ids
    """

    projects: tuple[str, ...] = ()
    archived_by: tuple[str, ...] = ()
    archived_after: str | None = None
    archived_before: str | None = None
    issue_types: tuple[str, ...] = ()
    reporters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.archived_after is None) != (self.archived_before is None):
            raise ValueError(
                "the range of archived dates needs both ends, archived_after and archived_before"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the request body."""
        lists = {
            "projects": self.projects,
            "archivedBy": self.archived_by,
            "issueTypes": self.issue_types,
            "reporters": self.reporters,
        }
        body: dict[str, Any] = {name: list(values) for name, values in lists.items() if values}
        if self.archived_after is not None:
            body["archivedDateRange"] = {"dateAfter": self.archived_after, "dateBefore": self.archived_before}
        return body


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
        _submitted_task_id,
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
        _export_task,
        json=export_filter.to_json(),
        repeat=Repeat.AFTER_A_LOOK,
        voice=jiras,
        scopes=_TO_EXPORT,
    )


def get_task(task_id: str) -> Request[JiraTask]:
    """Look at a task; Jira keeps it for about 14 days."""
    path = path_of("rest", "api", "3", "task", task_id_of(task_id))
    return Request("GET", path, _task, voice=jiras, route="/rest/api/3/task/{taskId}", scopes=_TO_READ)


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


def task_id_of(text: Any) -> str:
    """
    Return the id of a task given as an id or as a URL on any host, with or without a slash or a query after
    it.

    :raises ValueError: when there is none, or when it has other characters than letters, digits, ``-``, ``_``
    """
    given = str(text).strip() if isinstance(text, (str, int)) and not isinstance(text, bool) else ""
    if ("/" in given or "?" in given) and not any(character.isspace() for character in given):
        parts = [part for part in urlsplit(given).path.split("/") if part]
        given = parts[-1] if len(parts) >= 2 and parts[-2] == "task" else ""
    if not given:
        raise ValueError(
            f"a Jira task is given by its id or its URL (…/rest/api/3/task/<id>); got {shorten(repr(text))}"
        )
    return checked_id(given, "a Jira task's id")


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
        lambda response: _report(response, asked),
        json={"issueIdsOrKeys": list(asked)},
        answers=frozenset({400, 412}),
        voice=jiras,
        scopes=_TO_ARCHIVE,
    )


def _report(response: Response, asked: tuple[str, ...]) -> ArchiveReport:
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


def _submitted_task_id(response: Response) -> str:
    return _id_in(response.json())


def _id_in(said: Any) -> str:
    """Return a task's id from an answer to a submit: the id, the URL, or an object with one of them."""
    if isinstance(said, dict):
        said = said.get("taskId") or said.get("id") or said["self"]
    return task_id_of(said)


def _task(response: Response) -> JiraTask:
    said = response.json()
    result = said.get("result")
    return JiraTask(
        id=checked_id(said["id"], "a Jira task's id"),
        status=word_of(said["status"]),
        progress=percent_of(said.get("progress")),
        result=bounded(result),
        message=_text(said.get("message")),
        description=_text(said.get("description")),
        submitted=time_of(said.get("submitted")),
        started=time_of(said.get("started")),
        finished=time_of(said.get("finished")),
        elapsed_runtime=_milliseconds(said.get("elapsedRuntime")),
        file_url=_file_url(result),
    )


def _export_task(response: Response) -> JiraTask:
    answer = response.json()
    said = answer if isinstance(answer, dict) else {}
    return JiraTask(
        id=_id_in(answer),
        status=word_of(said.get("status") or "ENQUEUED"),
        progress=percent_of(said.get("progress")),
        submitted=time_of(said.get("submittedTime")),
        file_url=_whole_url(said.get("fileUrl")),
    )


def _text(value: Any) -> str | None:
    if value in (None, ""):
        return None
    return clean_text(value, _MOST_TOLD) if isinstance(value, str) else json_words(value)


def _milliseconds(value: Any) -> int | None:
    try:
        return count_of(int(value) if isinstance(value, float) else value)
    except ValueError:
        return None


def _file_url(result: Any) -> str | None:
    found = _whole_url(result.get("fileUrl") if isinstance(result, dict) else result)
    return found if found and found.lower().startswith(("http://", "https://")) else None


def _whole_url(value: Any) -> str | None:
    """Return an address as it is; None for what is none, or was cut or mended: that would be another one."""
    found = value.strip() if isinstance(value, str) else ""
    return found if found and not _NO_URL.search(found) else None
