"""The operator that exports archived Jira issues."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pendulum

from airflow_provider_archival.api.date_ranges import PERIODS, DateRange
from airflow_provider_archival.api.http import BadRequest, Busy, Forbidden, NotFound
from airflow_provider_archival.api.jira import ExportFilter, JiraTask
from airflow_provider_archival.exceptions import BadInput, FileNotAvailable, ServiceRefusal
from airflow_provider_archival.operators.jira_tasks import DEFAULT_CONN_ID, JiraTaskOperator
from airflow_provider_archival.operators.parsing import date_of, flag_of, names_of
from airflow_provider_archival.operators.progress import Progress, Submission

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
    ``file_url``.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issues-archive-export-put

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
        each export is a file, named after its task.
    :param destination_conn_id: the connection of the object storage, if the URL does not name it
    :param split_by: ``day``, ``month`` or ``year``: an export for each; needs ``archived_after``
    :param merge: make one CSV of all exports, each issue once; needs ``destination``
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
        destination: str | None = None,
        destination_conn_id: str | None = None,
        split_by: str | None = None,
        merge: bool = False,
        max_file_bytes: int | None = None,
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

    def asked(self) -> dict[str, Any]:
        others = ("destination", "destination_conn_id", "merge")
        return {name: str(getattr(self, name)) for name in self.template_fields if name not in others}

    def submit_next(self, progress: Progress[JiraTask]) -> Iterator[Submission[JiraTask]]:
        notes = progress.notes
        if "ranges" not in notes:
            notes["ranges"] = [_noted(one) for one in self._ranges()]
        self._assign(progress)
        left = [one for one in notes["ranges"] if one["task_id"] is None]
        if left:
            after, before = left[0]["after"], left[0]["before"]
            export_filter = replace(self.export_filter(), archived_after=after, archived_before=before)
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
            url = task.file_url or progress.notes.get("file_urls", {}).get(task.id)
            if url and task.succeeded:
                found.append((task, url))
            elif task.succeeded:
                self._tell_of_no_file(task)
        return {"tasks": [task.to_dict() for task in progress.jobs], "files": self._files(found)}

    # --- several exports ---

    def _ranges(self) -> list[DateRange | None]:
        """Check the parameters, and return the range of each export; None for all dates."""
        if self.destination and not self.wait_for_completion:
            raise BadInput(
                "destination needs wait_for_completion=True: there is no file before the export ends"
            )
        if self._merges() and not self.destination:
            raise BadInput("merge needs a destination: there is no other place for the one CSV")
        whole = self._range(self.export_filter())
        period = str(self.split_by).strip().lower() if self.split_by else "none"
        if period == "none":
            return [whole]
        if period not in PERIODS:
            raise BadInput(f"split_by must be one of {', '.join(PERIODS)}, or None; got {self.split_by!r}")
        if date_of(self.archived_after, "archived_after") is None or whole is None:
            raise BadInput("split_by needs archived_after: the first day of the first export")
        if self.destination and self.destination.endswith(".csv") and not self._merges():
            raise BadInput(
                f"destination is one file ({self.destination}), and split_by makes several: give a folder, or"
                " merge=True"
            )
        return list(whole.split(period))

    def _merges(self) -> bool:
        return flag_of(self.merge, "merge")

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
            notes.setdefault("file_urls", {})[task.id] = task.file_url
        return task

    # --- the files ---

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
        one_file = self.destination and (self._merges() or self.destination.endswith(".csv"))
        return self._merged(found) if one_file and len(found) > 1 else [self._file(*one) for one in found]

    def _merged(self, found: list[tuple[JiraTask, str]]) -> list[dict[str, Any]]:
        from airflow_provider_archival.hooks.merge import merge

        assert self.destination
        saved = merge(
            self.hook,
            [url for _, url in found],
            self.destination,
            f"jira-archived-issues-{found[0][0].id}.csv",
            conn_id=self.destination_conn_id,
            max_bytes=self.max_file_bytes,
        )
        if saved.dropped is None:
            self.log.warning(
                "No column of the exports is known as the issues' key, so issues that are in two of them are"
                " in %s twice",
                saved.path,
            )
        else:
            self.log.info("%d rows were of issues that were there already: left out", saved.dropped)
        self.log.info(
            "%d exports, merged: %d rows, %d bytes at %s", len(found), saved.rows, saved.bytes, saved.path
        )
        whole = {"path": saved.path, "rows": saved.rows, "bytes": saved.bytes}
        return [{"task_id": None, "file_url": None, **whole}]

    def _file(self, task: JiraTask, url: str) -> dict[str, Any]:
        from airflow_provider_archival.hooks.download import download

        found: dict[str, Any] = {
            "task_id": task.id,
            "file_url": url,
            "path": None,
            "rows": None,
            "bytes": None,
        }
        if not self.destination:
            self.log.info("Jira task %s: the CSV lies at %s", task.id, url)
            return found
        saved = download(
            self.hook,
            url,
            self.destination,
            f"jira-archived-issues-{task.id}.csv",
            conn_id=self.destination_conn_id,
            max_bytes=self.max_file_bytes,
        )
        self.log.info("Jira task %s: %d rows, %d bytes at %s", task.id, saved.rows, saved.bytes, saved.path)
        return {**found, "path": saved.path, "rows": saved.rows, "bytes": saved.bytes}

    def _tell_of_no_file(self, task: JiraTask) -> None:
        message = (
            f"Jira task {task.id} ended well, but Jira does not tell where its CSV lies: the link is in the"
            " e-mail that it sent to the connection's account."
        )
        if self.destination:
            raise FileNotAvailable(
                f"{message} So nothing could be saved to {self.destination}.", task.to_dict()
            )
        self.log.warning("%s", message)


def _tomorrow() -> pendulum.Date:
    return pendulum.now("UTC").add(days=1).date()


def _noted(part: DateRange | None) -> dict[str, Any]:
    ends = {"after": part.after.isoformat(), "before": part.before.isoformat()} if part else {}
    return {"after": None, "before": None, **ends, "task_id": None}
