"""Jira's long-running tasks: as they stand, and how an answer tells of one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_archival.api.clean import bounded, clean_text, count_of, json_words, shorten, word_of
from airflow_provider_archival.api.http import Response, checked_id, percent_of
from airflow_provider_archival.api.times import time_of
from airflow_provider_archival.api.urls import without_queries, without_query

_MOST_TOLD = 2_000
_NO_URL = re.compile(r"[\s\x00-\x1f\x7f\ufffd…]")
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


def submitted_task_id_of(response: Response) -> str:
    """Return the id of the task that a submit by JQL has started."""
    return _id_in(response.json())


def _id_in(said: Any) -> str:
    """Return a task's id from an answer to a submit: the id, the URL, or an object with one of them."""
    if isinstance(said, dict):
        said = said.get("taskId") or said.get("id") or said["self"]
    return task_id_of(said)


def task_of(response: Response) -> JiraTask:
    """Read the answer to a look at a task."""
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


def export_task_of(response: Response) -> JiraTask:
    """Read the answer to a request for an export: the task for it."""
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
