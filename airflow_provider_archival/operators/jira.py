"""Operators for Jira Cloud: archive and unarchive issues, export what is archived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pendulum
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_archival.api import jira
from airflow_provider_archival.api.http import Busy
from airflow_provider_archival.api.jira import ArchiveReport, ExportFilter, JiraTask
from airflow_provider_archival.exceptions import (
    BadInput,
    FileNotAvailable,
    JiraPartialError,
    TooManyIssues,
)
from airflow_provider_archival.operators.jira_tasks import JiraTaskOperator
from airflow_provider_archival.operators.parsing import date_of, flag_of, limit_of, names_of
from airflow_provider_archival.operators.progress import Found, Progress, Submission

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_archival.hooks.jira import JiraCloudHook

DEFAULT_CONN_ID = "jira_cloud_default"
FIRST_ARCHIVED_AFTER = pendulum.date(2002, 1, 1)
"""Where a range of dates has no beginning it begins here, before there was any Jira."""

_REASONS = {
    jira.NOTHING_VALID: "Jira does not tell which it is: a subtask (archive the parent), in an unlicensed"
    " or an archived project (leave it out), or not found (check the key)",
    "issueIsSubtask": "a subtask goes with its parent: archive the parent",
    "issuesInArchivedProjects": "their whole project is archived: leave them out, or restore the project",
    "issuesInUnlicensedProjects": "their project's product has no licence (any more): leave them out",
    "issuesNotFound": "check the keys: deleted, moved, or not visible to the connection's account",
    "userDoesNotHavePermission": "the connection's account needs Jira admin",
}


class _IssuesByKeyOperator(BaseOperator):
    """What archiving and unarchiving by key have in common."""

    template_fields: Sequence[str] = ("issue_ids_or_keys", "jira_conn_id")
    done_word: ClassVar[str]

    def __init__(
        self,
        *,
        issue_ids_or_keys: Any,
        jira_conn_id: str = DEFAULT_CONN_ID,
        fail_on_partial_error: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.issue_ids_or_keys = issue_ids_or_keys
        self.jira_conn_id = jira_conn_id
        self.fail_on_partial_error = fail_on_partial_error

    def send(self, hook: JiraCloudHook, issue_ids_or_keys: list[str]) -> ArchiveReport:
        """Ask Jira."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_archival.hooks.jira import JiraCloudHook

        wanted = names_of(self.issue_ids_or_keys, "issue_ids_or_keys")
        try:
            wanted = jira.issue_ids_or_keys_of(wanted)
        except ValueError as error:
            raise BadInput(f"issue_ids_or_keys: {error}. Nothing was {self.done_word}.") from None
        if not wanted:
            self.log.info("No issues were given: nothing to do")
            return self._result(wanted, ArchiveReport())
        hook = JiraCloudHook(self.jira_conn_id)
        try:
            report = self.send(hook, wanted)
        finally:
            hook.close()
        result = self._result(wanted, report)
        self._tell(result, report)
        if report.errors and self.fail_on_partial_error:
            context["ti"].xcom_push(key="report", value=result)
            raise JiraPartialError(self._message(result, report), result)
        return result

    def _result(self, wanted: list[str], report: ArchiveReport) -> dict[str, Any]:
        return {
            "requested": len(wanted),
            self.done_word: report.updated,
            "errors": report.errors_to_dict(),
        }

    def _tell(self, result: dict[str, Any], report: ArchiveReport) -> None:
        self.log.info(
            "Jira %s %d issues; %d were asked for", self.done_word, report.updated, result["requested"]
        )
        for line in _reasons(report):
            self.log.warning("Not %s: %s", self.done_word, line)

    def _message(self, result: dict[str, Any], report: ArchiveReport) -> str:
        return (
            f"Of {result['requested']} issues, {report.error_count} were not {self.done_word}"
            f" ({report.updated} were, with their subtasks). {'; '.join(_reasons(report))}."
            " Mend the list and clear this task, or set fail_on_partial_error=False to take such a result."
        )


class JiraArchiveIssuesOperator(_IssuesByKeyOperator):
    """
    Archive Jira issues by id or key, at once; there is no job to wait for.

    A retry asks for all of them again, which changes nothing for those that are archived already.

    XCom: ``{"requested": n, "archived": n, "errors": {reason: {"count", "message", "issue_ids_or_keys"}}}``.
    ``archived`` counts subtasks too, which go with their parents. The same is under ``report`` when the
    task fails for a partial error.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issue-archive-put

    :param issue_ids_or_keys: any number of ids or keys: a list, an XCom, a string with commas or white
        space, JSON, or what a list renders to. Repeats are dropped, order is kept; none at all succeeds and
        does nothing.
    :param jira_conn_id: the Airflow connection
    :param fail_on_partial_error: fail the task (and don't retry it) when any issue was not archived;
        otherwise return the report, even when nothing could be archived
    :raises BadInput: something in the list is neither an id nor a key; nothing was sent
    :raises JiraPartialError: some issues were not archived
    :raises ServiceRefusal: no login, no admin, not a Premium plan; not retried
    :raises ServiceFault: Jira is down or busy; retried
    """

    done_word = "archived"

    def send(self, hook: JiraCloudHook, issue_ids_or_keys: list[str]) -> ArchiveReport:
        return hook.archive_issues(issue_ids_or_keys)


class JiraUnarchiveIssuesOperator(_IssuesByKeyOperator):
    """
    Bring archived Jira issues back, by id or key.

    Parameters, errors and retries are those of :class:`JiraArchiveIssuesOperator`.

    XCom: ``{"requested": n, "unarchived": n, "errors": {reason: {"count", "message",
    "issue_ids_or_keys"}}}``.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issue-unarchive-put

    :param issue_ids_or_keys: any number of ids or keys, in any form
    :param jira_conn_id: the Airflow connection
    :param fail_on_partial_error: fail the task when any issue was not brought back
    """

    done_word = "unarchived"

    def send(self, hook: JiraCloudHook, issue_ids_or_keys: list[str]) -> ArchiveReport:
        return hook.unarchive_issues(issue_ids_or_keys)


class JiraArchiveIssuesByJqlOperator(JiraTaskOperator):
    """
    Archive every Jira issue that a JQL matches, up to 100,000; subtasks go with their parents.

    The issues are counted and logged first. While Jira's task runs its id is in XCom under ``jira_task_id``.

    A retry counts and submits again. That archives only what is left, since archived issues leave the JQL;
    while an earlier task still runs, Jira answers 412 and the try fails.

    XCom: ``{"jql": str, "matched": n, "tasks": [{"task_id", "status", "progress", "result", "message",
    …}]}``; ``tasks`` is empty when nothing matched, or with ``dry_run``.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issue-archive-post

    :param jql: a JQL with a restriction, or the name of a ``.jql`` file with one
    :param max_issues: fail before anything is archived when more issues match; None for no guard
    :param dry_run: stop after the count
    :param jira_conn_id: the Airflow connection
    :param wait_for_completion: see :class:`~airflow_provider_archival.operators.base.RemoteJobOperator`, as
        for ``deferrable``, ``poll_interval`` and ``timeout`` (seconds), ``cancel_on_kill``,
        ``cancel_on_timeout``
    :raises BadInput: the JQL is empty
    :raises TooManyIssues: more than ``max_issues`` match; not retried
    :raises ServiceRefusal: Jira finds fault with the JQL or the caller; not retried
    :raises ServiceFault: Jira is down, or runs another archive; retried
    :raises JiraTaskFailed, JiraTaskCancelled, JiraTaskDead: how the task ended; retried
    :raises JobTimeout: ``timeout`` passed; the Jira task goes on unless ``cancel_on_timeout``
    """

    template_fields: Sequence[str] = ("jql", "max_issues", "is_dry_run", "jira_conn_id")
    template_ext: Sequence[str] = (".jql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"jql": "sql"}

    def __init__(
        self,
        *,
        jql: str,
        max_issues: int | None = None,
        dry_run: bool = False,
        jira_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.jql = jql
        self.max_issues = max_issues
        # Not self.dry_run: that is a method of every operator, which `airflow tasks test --dry-run` calls.
        self.is_dry_run = dry_run
        self.jira_conn_id = jira_conn_id

    def asked(self) -> dict[str, Any]:
        return {"jql": self.jql}

    def submit_next(self, progress: Progress[JiraTask]) -> Iterator[Submission[JiraTask]]:
        notes = progress.notes
        if progress.handled and not notes.pop("adopted", False):
            return
        jql, most, dry_run = self._checked()
        matched = self.hook.count_issues(jql)
        notes.setdefault("jql", jql)
        notes.setdefault("matched", matched)
        self.log.info("About %d issues match: %s", matched, jql)
        if most is not None and matched > most:
            raise TooManyIssues(
                f"About {matched} issues match, and max_issues is {most}: nothing was archived. Narrow the"
                f" JQL or raise max_issues, then clear this task. JQL: {jql}"
            )
        if dry_run:
            self.log.info("dry_run: nothing is archived")
        elif matched:
            yield Submission(
                send=lambda: JiraTask(self.hook.archive_issues_by_jql(jql), "ENQUEUED"),
                find=lambda since: None if self.hook.count_issues(jql) else Found(None),
            )
        else:
            self.log.info("Nothing matches: there is nothing to archive")

    def adopt(self, job_id: str, error: Busy, since: float) -> JiraTask | None:
        task = super().adopt(job_id, error, since)
        if task is not None and self._progress is not None:
            # It may be another's after all: count again at its end. What is left then is archived as well.
            self._progress.notes["adopted"] = True
        return task

    def result(self, progress: Progress[JiraTask]) -> dict[str, Any]:
        return {
            "jql": progress.notes["jql"],
            "matched": progress.notes["matched"],
            "tasks": [task.to_dict() for task in progress.jobs],
        }

    def _checked(self) -> tuple[str, int | None, bool]:
        if not isinstance(self.jql, str) or not self.jql.strip():
            raise BadInput(
                "jql is empty: give a JQL with a restriction, such as: project = ABC AND updated < -2y"
            )
        return self.jql.strip(), limit_of(self.max_issues, "max_issues"), flag_of(self.is_dry_run, "dry_run")


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


def _reasons(report: ArchiveReport) -> Iterator[str]:
    for reason, error in report.errors.items():
        shown = ", ".join(error.issue_ids_or_keys[:20]) + (", …" if len(error.issue_ids_or_keys) > 20 else "")
        advice = f"; {_REASONS[reason]}" if reason in _REASONS else ""
        yield f"{reason} ({error.count}): {error.message} [{shown}]{advice}"
