"""The operator that exports archived Jira issues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import pendulum

from airflow_provider_archival.api.jira import ExportFilter
from airflow_provider_archival.api.jobs import JIRA_TASK
from airflow_provider_archival.exceptions import BadInput, FileGone
from airflow_provider_archival.operators.base import JobOperator
from airflow_provider_archival.operators.parsing import (
    DEFAULT_JIRA_CONN_ID,
    conn_id_of,
    date_of,
    flag_of,
    limit_of,
    names_of,
    text_of,
)
from airflow_provider_archival.plans.date_ranges import PERIODS, DateRange
from airflow_provider_archival.plans.jira_export import Export, Range

if TYPE_CHECKING:
    from airflow_provider_archival.engine.state import Run
    from airflow_provider_archival.files.destination import Destination
    from airflow_provider_archival.hooks.jira import JiraCloudHook
    from airflow_provider_archival.operators.drivers import InWorker

FIRST_ARCHIVED_AFTER = pendulum.date(2002, 1, 1)
"""Where a range of dates has no beginning it begins here, before there was any Jira."""


class JiraExportArchivedIssuesOperator(JobOperator):
    """
    Export archived Jira issues to a CSV, or to several where one can't hold them (1,000,000 issues).

    Several exports run one after the other, each of a part of the range of dates in which the issues were
    archived (``split_by``, and halves of what Jira says is too much). The parts overlap by a day, since it is
    not documented whether the ends of a range belong to it; ``merge`` drops the issues that come twice.

    Jira also sends the connection's account an e-mail for each export. While Jira's task runs its id is in
    XCom under ``jira_task_id``.

    A retry goes on with the task of an earlier try, running or done, and submits anew only where that came to
    nothing. Another export that is running is waited for, and never taken for this one: where an answer was
    lost, and nobody knows whose export runs, this one is made (again) after it, and the log says so.

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
    :param wait_for_completion: see :class:`~airflow_provider_archival.operators.base.JobOperator`, as
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
    kind = JIRA_TASK

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
        jira_conn_id: str = DEFAULT_JIRA_CONN_ID,
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

    def plan(self) -> Export:
        after = date_of(self.archived_after, "archived_after")
        before = date_of(self.archived_before, "archived_before")
        given = (after.isoformat() if after else None, before.isoformat() if before else None)
        days = _range(after, before)
        plan = Export(self._filter(days), given, self._period(days, is_begun=bool(after)), _all_days())
        self._check_destination(plan)
        return plan

    def export_filter(self) -> ExportFilter:
        """Read the parameters that say which issues."""
        return self.plan().wanted

    def finish(self, result: dict[str, Any], run: Run[Any, Any], driver: InWorker) -> dict[str, Any]:
        from airflow_provider_archival.files.exports import ExportFiles

        files = ExportFiles(
            cast("JiraCloudHook", self.hook),
            self._destination(),
            flag_of(self.merge, "merge"),
            self._most_bytes(),
        )
        try:
            return {**result, "files": files.of([task for task in run.jobs if task.succeeded])}
        except FileGone:
            driver.forget()
            raise

    # --- the parameters ---

    def _filter(self, days: DateRange | None) -> ExportFilter:
        return ExportFilter(
            projects=tuple(names_of(self.projects, "projects")),
            archived_by=tuple(names_of(self.archived_by, "archived_by")),
            archived_after=days.after.isoformat() if days else None,
            archived_before=days.before.isoformat() if days else None,
            issue_types=tuple(names_of(self.issue_types, "issue_types")),
            reporters=tuple(names_of(self.reporters, "reporters")),
        )

    def _period(self, days: DateRange | None, *, is_begun: bool) -> str:
        period = (text_of(self.split_by, "split_by") or "none").lower()
        if period == "none":
            return period
        if period not in PERIODS:
            raise BadInput(f"split_by must be one of {', '.join(PERIODS)}, or None; got {self.split_by!r}")
        if not is_begun or days is None:
            raise BadInput("split_by needs archived_after: the first day of the first export")
        return period

    def _check_destination(self, plan: Export) -> None:
        """Check what can be checked of the files before anything is exported."""
        destination, merges = self._destination(), flag_of(self.merge, "merge")
        if destination and not self.wait_for_completion:
            raise BadInput(
                "destination needs wait_for_completion=True: there is no file before the export ends"
            )
        if merges and not destination:
            raise BadInput("merge needs a destination: there is no other place for the one CSV")
        self._most_bytes()
        whole = Range(plan.wanted.archived_after, plan.wanted.archived_before)
        if destination and destination.is_file and not merges and plan.pieces(whole)[1:]:
            raise BadInput(
                f"destination is one file ({destination.shown}), and split_by makes several: give a folder,"
                " or merge=True"
            )

    def prepare(self) -> None:
        if (destination := self._destination()) is not None:
            destination.check()

    def _destination(self) -> Destination | None:
        from airflow_provider_archival.files.destination import Destination

        given = text_of(self.destination, "destination")
        conn_id = conn_id_of(self.destination_conn_id, "destination_conn_id")
        return None if given is None else Destination(given, conn_id)

    def _most_bytes(self) -> int | None:
        return limit_of(self.max_file_bytes, "max_file_bytes")


def _range(after: pendulum.Date | None, before: pendulum.Date | None) -> DateRange | None:
    """Return the days; an end that is missing is the earliest, or tomorrow."""
    if after is None and before is None:
        return None
    days = DateRange(after or FIRST_ARCHIVED_AFTER, before or _tomorrow())
    if days.after > days.before:
        raise BadInput(f"archived_after ({days.after}) is later than archived_before ({days.before})")
    return days


def _all_days() -> DateRange:
    return DateRange(FIRST_ARCHIVED_AFTER, _tomorrow())


def _tomorrow() -> pendulum.Date:
    return pendulum.now("UTC").add(days=1).date()
