"""The operator that exports archived Jira issues."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_archival.api.date_ranges import PERIODS, DateRange
from airflow_provider_archival.api.http import BadRequest, Busy, Forbidden, NotFound
from airflow_provider_archival.api.jira import ExportFilter, JiraTask
from airflow_provider_archival.api.urls import is_whole, without_query
from airflow_provider_archival.exceptions import BadInput, FileNotAvailable, ServiceRefusal
from airflow_provider_archival.operators.jira_tasks import DEFAULT_CONN_ID, JiraTaskOperator
from airflow_provider_archival.operators.parsing import (
    conn_id_of,
    date_of,
    flag_of,
    limit_of,
    names_of,
    text_of,
)
from airflow_provider_archival.operators.progress import Progress, Submission

if TYPE_CHECKING:
    from airflow_provider_archival.hooks.destination import Destination

FIRST_ARCHIVED_AFTER = pendulum.date(2002, 1, 1)
"""Where a range of dates has no beginning it begins here, before there was any Jira."""

# Jira's words for too many issues are not documented.
_TOO_MANY = re.compile(r"too many|limit|exceed|maximum|more than|1,?000,?000", re.IGNORECASE)


class JiraExportArchivedIssuesOperator(JiraTaskOperator):
    """
    Export archived Jira issues to a CSV, or to several where one can't hold them (1,000,000 issues).

    Several exports run one after the other, each of a part of the range of dates in which the issues were
    archived (``split_by``, and halves of what Jira says is too much). The parts overlap by a day, since it is
    not documented whether the ends of a range belong to it; ``merge`` drops the issues that come twice.

    Jira also sends the connection's account an e-mail for each export. While Jira's task runs its id is in
    XCom under ``jira_task_id``.

    A retry goes on with the task of an earlier try, running or done, and submits anew only where that came to
    nothing. Another export that is running is waited for.

    XCom: ``{"tasks": [{"task_id", "status", "file_url", …}], "files": [{"task_id", "file_url", "path",
    "rows", "bytes"}]}``. A file is listed where Jira tells its URL; ``path``, ``rows`` and ``bytes``
    are None without ``destination``. Files that were merged are one, with neither ``task_id`` nor
    ``file_url``. A URL's query is left out everywhere (``?***``), since it may be a signature that opens the
    file: give a ``destination`` to have such a file.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issues-archive-export-put

    None, ``""``, blanks and ``"None"`` (what a template makes of None) mean "not given" for all of these:

    :param projects: project keys; None for all. A list, an XCom, a string with commas or white space, JSON
    :param archived_by: account ids; None for all
    :param archived_after: the begin of the range: ``YYYY-MM-DD``, a date, a time (its day in UTC) or a
        template. With ``archived_before`` alone it is 2002-01-01. Whether Jira takes the ends of a range for
        parts of it is not documented: give a day more on both sides where none may be missing.
    :param archived_before: the end of the range; with ``archived_after`` alone it is tomorrow
    :param issue_types: issue type ids; None for all
    :param reporters: account ids; None for all
    :param destination: where to put the CSV: a folder, or a path that ends in ``.csv``, as a local path or
        any Airflow object storage URL (``s3://conn_id@bucket/path``); None leaves it at Jira. In a folder
        each export is a file, named after its task. It is tried before anything is exported; where saving
        fails after the export, a retry takes the same export's file (where Airflow can remember that: 3.3
        and later).
    :param destination_conn_id: the connection of the object storage, if the URL does not name it; a text that
        rendered to nothing or to ``"None"`` is an error
    :param split_by: ``day``, ``month`` or ``year``: an export for each; needs ``archived_after``
    :param merge: make one CSV of all exports, each issue once, with the columns of all; needs
        ``destination``. The files lie on the worker's disk meanwhile.
    :param max_file_bytes: how large a file at Jira may be that is saved; None for no limit
    :param jira_conn_id: the Airflow connection
    :param wait_for_completion: see :class:`~airflow_provider_archival.operators.base.RemoteJobOperator`, as
        for ``deferrable``, ``poll_interval`` and ``timeout`` (seconds), ``cancel_on_kill``,
        ``cancel_on_timeout``
    :raises BadInput: a date or list can't be read, the range is empty, or parameters don't go together
    :raises ServiceRefusal: Jira finds fault with the filter or the caller; not retried
    :raises ServiceFault: Jira is down, or runs another export; retried
    :raises JiraTaskFailed, JiraTaskCancelled, JiraTaskDead: how the task ended; retried
    :raises JobTimeout: ``timeout`` passed; the Jira task goes on unless ``cancel_on_timeout``
    :raises DestinationNotUsable: files can't be saved to ``destination``; not retried
    :raises DestinationNotReachable: they can't be saved there now; retried
    :raises FileTooLarge, FilesDiffer: a file is above ``max_file_bytes``, or can't be merged; not retried
    :raises FileNotAvailable: there is a ``destination``, but Jira tells no URL; not retried
    """

    template_fields: Sequence[str] = (
        "projects",
        "archived_by",
        "archived_after",
        "archived_before",
        "issue_types",
        "reporters",
        "destination",
        "destination_conn_id",
        "split_by",
        "merge",
        "max_file_bytes",
        "jira_conn_id",
    )

    def __init__(
        self,
        *,
        projects: Any = None,
        archived_by: Any = None,
        archived_after: Any = None,
        archived_before: Any = None,
        issue_types: Any = None,
        reporters: Any = None,
        destination: Any = None,
        destination_conn_id: str | None = None,
        split_by: str | None = None,
        merge: bool = False,
        max_file_bytes: Any = None,
        jira_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.projects = projects
        self.archived_by = archived_by
        self.archived_after = archived_after
        self.archived_before = archived_before
        self.issue_types = issue_types
        self.reporters = reporters
        self.destination = destination
        self.destination_conn_id = destination_conn_id
        self.split_by = split_by
        self.merge = merge
        self.max_file_bytes = max_file_bytes
        self.jira_conn_id = jira_conn_id
        self._filter_read: ExportFilter | None = None
        # Where files lie, by task, as the answers to the submits told it; whole, so nowhere but here.
        self._file_urls: dict[str, str] = {}

    def asked(self) -> dict[str, Any]:
        # What can't be read, such as a list that contains itself, can't be shown either.
        self._filter()
        others = ("destination", "destination_conn_id", "merge", "max_file_bytes")
        return {name: str(getattr(self, name)) for name in self.template_fields if name not in others}

    def submit_next(self, progress: Progress[JiraTask]) -> Iterator[Submission[JiraTask]]:
        notes = progress.notes
        if "ranges" not in notes:
            notes["ranges"] = [_noted(one) for one in self._ranges()]
        self._assign(progress)
        left = [one for one in notes["ranges"] if one["task_id"] is None]
        if left:
            after, before = left[0]["after"], left[0]["before"]
            export_filter = replace(self._filter(), archived_after=after, archived_before=before)
            self.log.info("Exporting archived issues: %s", export_filter.to_json() or "all")
            yield Submission(lambda: self._send(export_filter, left[0], notes))

    def take_up(self, progress: Progress[JiraTask], *, lost: bool) -> None:
        known = {task.id for task in progress.jobs}
        for one in progress.notes.get("ranges", ()):
            if one["task_id"] not in known:
                one["task_id"] = None

    def adopt(self, job_id: str, error: Busy, since: float) -> JiraTask | None:
        # Where nothing is remembered, nobody knows of which part of the range an earlier try's export is.
        if self._progress and since == self._progress.tried_before and self._progress.notes["ranges"][1:]:
            return None
        return super().adopt(job_id, error, since)

    def must_wait_for(self, job: JiraTask) -> bool:
        left = self._progress.notes["ranges"] if self._progress else ()
        return self.wait_for_completion or sum(one["task_id"] is None for one in left) > 1

    def submitted_again(self, job: JiraTask) -> None:
        self.log.warning(
            "An earlier attempt may have made this export too, but no task of it can be found: Jira task %s"
            " is perhaps a second one, with a second e-mail",
            job.id,
        )

    def export_filter(self) -> ExportFilter:
        """Read the parameters."""
        after = date_of(self.archived_after, "archived_after")
        before = date_of(self.archived_before, "archived_before")
        if after or before:
            after = after or FIRST_ARCHIVED_AFTER
            before = before or _tomorrow()
            if after > before:
                raise BadInput(f"archived_after ({after}) is later than archived_before ({before})")
        return ExportFilter(
            projects=tuple(names_of(self.projects, "projects")),
            archived_by=tuple(names_of(self.archived_by, "archived_by")),
            archived_after=after.isoformat() if after else None,
            archived_before=before.isoformat() if before else None,
            issue_types=tuple(names_of(self.issue_types, "issue_types")),
            reporters=tuple(names_of(self.reporters, "reporters")),
        )

    def result(self, progress: Progress[JiraTask]) -> dict[str, Any]:
        found = []
        for task in progress.jobs:
            url = self._file_url(task, progress.notes) if task.succeeded else None
            if url:
                found.append((task, url))
            elif task.succeeded:
                self._tell_of_no_file(task)
        return {"tasks": [task.to_dict() for task in progress.jobs], "files": self._files(found)}

    # --- several exports ---

    def _ranges(self) -> list[DateRange | None]:
        """Check the parameters, and return the range of each export; None for all dates."""
        destination = self._destination
        if destination and not self.wait_for_completion:
            raise BadInput(
                "destination needs wait_for_completion=True: there is no file before the export ends"
            )
        if self._merges() and not destination:
            raise BadInput("merge needs a destination: there is no other place for the one CSV")
        self._most_bytes()
        ranges = self._split(self._range(self._filter()))
        if ranges[1:] and destination and destination.is_file and not self._merges():
            raise BadInput(
                f"destination is one file ({destination.shown}), and split_by makes several: give a folder,"
                " or merge=True"
            )
        if destination:
            destination.check()
        return ranges

    def _split(self, whole: DateRange | None) -> list[DateRange | None]:
        period = (text_of(self.split_by, "split_by") or "none").lower()
        if period == "none":
            return [whole]
        if period not in PERIODS:
            raise BadInput(f"split_by must be one of {', '.join(PERIODS)}, or None; got {self.split_by!r}")
        if date_of(self.archived_after, "archived_after") is None or whole is None:
            raise BadInput("split_by needs archived_after: the first day of the first export")
        return list(whole.split(period))

    def _filter(self) -> ExportFilter:
        """Read the filter once: some lists can't be read again, and nobody wants a warning twice."""
        if self._filter_read is None:
            self._filter_read = self.export_filter()
        return self._filter_read

    @cached_property
    def _destination(self) -> Destination | None:
        from airflow_provider_archival.hooks.destination import Destination

        given = text_of(self.destination, "destination")
        conn_id = conn_id_of(self.destination_conn_id, "destination_conn_id")
        return None if given is None else Destination(given, conn_id)

    def _merges(self) -> bool:
        return flag_of(self.merge, "merge")

    def _most_bytes(self) -> int | None:
        return limit_of(self.max_file_bytes, "max_file_bytes")

    @staticmethod
    def _range(export_filter: ExportFilter) -> DateRange | None:
        after, before = export_filter.archived_after, export_filter.archived_before
        return DateRange(date.fromisoformat(after), date.fromisoformat(before)) if after and before else None

    def _assign(self, progress: Progress[JiraTask]) -> None:
        """Note the task that no range has yet: it is that of the first range without one."""
        ranges = progress.notes["ranges"]
        known = {one["task_id"] for one in ranges}
        for task in progress.jobs:
            if task.id not in known:
                next(one for one in ranges if one["task_id"] is None)["task_id"] = task.id

    def _send(
        self, export_filter: ExportFilter, asked: dict[str, Any], notes: dict[str, Any]
    ) -> JiraTask | None:
        try:
            task = self.hook.export_archived_issues(export_filter)
        except ServiceRefusal as refusal:
            if not (isinstance(refusal.error, BadRequest) and _TOO_MANY.search(str(refusal))):
                raise
            whole = self._range(export_filter) or DateRange(FIRST_ARCHIVED_AFTER, _tomorrow())
            halves = whole.halves()
            if halves is None:
                raise
            self.log.info("Jira says that these are too many for one export: halving the range. %s", refusal)
            at = notes["ranges"].index(asked)
            notes["ranges"][at : at + 1] = [_noted(half) for half in halves]
            return None
        if task.file_url:
            self._file_urls[task.id] = task.file_url
            notes.setdefault("file_urls", {})[task.id] = without_query(task.file_url)
        return task

    # --- the files ---

    def _file_url(self, task: JiraTask, notes: dict[str, Any]) -> str | None:
        """Return where a task's file lies; what was remembered without its query is asked for again."""
        url = task.file_url or self._file_urls.get(task.id) or notes.get("file_urls", {}).get(task.id)
        if url is None or is_whole(url) or not self._destination:
            return url
        url = self._file_urls.get(task.id) or self.look_firmly(task).file_url
        if url is None:
            raise FileNotAvailable(
                f"Jira task {task.id} ended well, but Jira told where its CSV lies only when the export was"
                " submitted, with a signature that is kept nowhere: the link is in the e-mail that it sent to"
                f" the connection's account. So nothing could be saved to {self._destination.shown}. With"
                " deferrable=False the file of another export is.",
                task.to_dict(),
            )
        return url

    def _files(self, found: list[tuple[JiraTask, str]]) -> list[dict[str, Any]]:
        """Save the files; where one is not at the URL that is known any more, ask Jira for it anew."""
        try:
            return self._saved(found)
        except ServiceRefusal as refusal:
            if not self._is_gone(refusal, found):
                raise
            self.log.info("Asking Jira for the files' addresses again: %s", refusal)
        try:
            return self._saved([(task, self.look_firmly(task).file_url or url) for task, url in found])
        except ServiceRefusal as refusal:
            if not self._is_gone(refusal, found):
                raise
            self._memory.forget()
            raise ServiceRefusal(
                f"{refusal} The export has ended well, but its file can be had no more. Clear this task to"
                " export anew.",
                refusal.error,
            ) from None

    def _is_gone(self, refusal: ServiceRefusal, found: list[tuple[JiraTask, str]]) -> bool:
        """Say whether a file is no more; one that is signed for some time is refused then."""
        if isinstance(refusal.error, NotFound):
            return True
        is_signed = not all(self.hook.is_own(url) for _, url in found)
        return is_signed and isinstance(refusal.error, (BadRequest, Forbidden))

    def _saved(self, found: list[tuple[JiraTask, str]]) -> list[dict[str, Any]]:
        from airflow_provider_archival.operators.export_files import save

        return save(self.hook, found, self._destination, self._merges(), self._most_bytes())

    def _tell_of_no_file(self, task: JiraTask) -> None:
        message = (
            f"Jira task {task.id} ended well, but Jira does not tell where its CSV lies: the link is in the"
            " e-mail that it sent to the connection's account."
        )
        if self._destination:
            raise FileNotAvailable(
                f"{message} So nothing could be saved to {self._destination.shown}.", task.to_dict()
            )
        self.log.warning("%s", message)


def _tomorrow() -> pendulum.Date:
    return pendulum.now("UTC").add(days=1).date()


def _noted(part: DateRange | None) -> dict[str, Any]:
    ends = {"after": part.after.isoformat(), "before": part.before.isoformat()} if part else {}
    return {"after": None, "before": None, **ends, "task_id": None}
