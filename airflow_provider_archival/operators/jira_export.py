"""The operator that exports archived Jira issues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pendulum

from airflow_provider_archival.api.jira import ExportFilter, JiraTask
from airflow_provider_archival.exceptions import BadInput, FileNotAvailable
from airflow_provider_archival.operators.jira_tasks import DEFAULT_CONN_ID, JiraTaskOperator
from airflow_provider_archival.operators.parsing import date_of, names_of
from airflow_provider_archival.operators.progress import Progress, Submission

FIRST_ARCHIVED_AFTER = pendulum.date(2002, 1, 1)
"""Where a range of dates has no beginning it begins here, before there was any Jira."""


class JiraExportArchivedIssuesOperator(JiraTaskOperator):
    """
    Export archived Jira issues to a CSV, up to 1,000,000.

    Jira also sends the connection's account an e-mail for each export. While Jira's task runs its id is in
    XCom under ``jira_task_id``.

    A retry goes on with the task of an earlier try, running or done, and submits anew only where that came to
    nothing. Another export that is running is waited for.

    XCom: ``{"tasks": [{"task_id", "status", "file_url", …}], "files": [{"task_id", "file_url", "path",
    "rows", "bytes"}]}``. A file is listed where Jira tells its URL; ``path``, ``rows`` and ``bytes``
    are None without ``destination``.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issues-archive-export-put

    :param projects: project keys; None for all. A list, an XCom, a string with commas or white space, JSON
    :param archived_by: account ids; None for all
    :param archived_after: the first day: ``YYYY-MM-DD``, a date, a time (its day in UTC) or a template. With
        ``archived_before`` alone it is 2002-01-01.
    :param archived_before: the last day; with ``archived_after`` alone it is tomorrow
    :param issue_types: issue type ids; None for all
    :param reporters: account ids; None for all
    :param destination: where to put the CSV: a folder, or a path that ends in ``.csv``, as a local path or
        any Airflow object storage URL (``s3://conn_id@bucket/path``); None leaves it at Jira
    :param jira_conn_id: the Airflow connection
    :param wait_for_completion: see :class:`~airflow_provider_archival.operators.base.RemoteJobOperator`, as
        for ``deferrable``, ``poll_interval`` and ``timeout`` (seconds), ``cancel_on_kill``,
        ``cancel_on_timeout``
    :raises BadInput: a date or list can't be read, the range is empty, or ``destination`` is given without
        waiting
    :raises ServiceRefusal: Jira finds fault with the filter or the caller; not retried
    :raises ServiceFault: Jira is down, or runs another export; retried
    :raises JiraTaskFailed, JiraTaskCancelled, JiraTaskDead: how the task ended; retried
    :raises JobTimeout: ``timeout`` passed; the Jira task goes on unless ``cancel_on_timeout``
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
        self.jira_conn_id = jira_conn_id

    def asked(self) -> dict[str, Any]:
        names = self.template_fields
        return {
            name: str(getattr(self, name)) for name in names if name not in ("destination", "jira_conn_id")
        }

    def submit_next(self, progress: Progress[JiraTask]) -> Iterator[Submission[JiraTask]]:
        if progress.handled:
            return
        if self.destination and not self.wait_for_completion:
            raise BadInput(
                "destination needs wait_for_completion=True: there is no file before the export ends"
            )
        export_filter = self.export_filter()
        self.log.info("Exporting archived issues: %s", export_filter.to_json() or "all")

        def send() -> JiraTask:
            task = self.hook.export_archived_issues(export_filter)
            progress.notes["file_url"] = task.file_url
            return task

        yield Submission(send)

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
            before = before or pendulum.now("UTC").add(days=1).date()
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
        files = []
        for task in progress.jobs:
            url = task.file_url or progress.notes.get("file_url")
            if url and task.succeeded:
                files.append(self._file(task, url))
            elif task.succeeded:
                self._tell_of_no_file(task)
        return {"tasks": [task.to_dict() for task in progress.jobs], "files": files}

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
        saved = download(self.hook, url, self.destination, f"jira-archived-issues-{task.id}.csv")
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
