"""The operator that archives the Jira issues that a JQL matches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pendulum

from airflow_provider_archival.api.jira import MAX_ISSUES_PER_TASK
from airflow_provider_archival.api.jobs import JIRA_TASK
from airflow_provider_archival.exceptions import BadInput
from airflow_provider_archival.operators.base import JobOperator
from airflow_provider_archival.operators.dry_run import DryRun
from airflow_provider_archival.operators.parsing import (
    DEFAULT_JIRA_CONN_ID,
    flag_of,
    limit_of,
    required,
    text_of,
)
from airflow_provider_archival.plans.jira_jql import ArchiveByJql

_MOST_SAMPLED = 1000
_SUCH_AS = "project = ABC AND updated < -2y"


class JiraArchiveIssuesByJqlOperator(JobOperator):
    """
    Archive every Jira issue that a JQL matches, however many; subtasks go with their parents.

    The issues are counted and logged first. More than one task of Jira's can take (100,000) are cut by their
    time of creation into windows, which are archived one after the other. While a task runs its id is in
    XCom under ``jira_task_id``. What still matches at the end is counted and logged.

    A retry goes on with the task of an earlier try, running or done, and repeats no window that is done.
    Where it is not known whether a task was started, it looks first; at worst a second one runs after the
    first, and archives only what is left, since archived issues leave the JQL. Another archive that is
    running is waited for, and never cancelled.

    XCom: ``{"jql": str, "matched": n, "left": n | None, "windows": [{"after", "before", "matched",
    "task_ids"}], "tasks": [{"task_id", "status", "progress", "result", "message", …}]}``. ``left`` is
    None where nothing was waited for; ``tasks`` is empty when nothing matched, or with ``dry_run``. A
    window's ends are minutes in the time zone of the connection's account, ``after`` inclusive and None where
    it is open.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issue-archive-post

    :param jql: a JQL with a restriction, or the name of a ``.jql`` file with one
    :param max_issues: how many issues may be archived; None for no guard. It is held against what matches
        before anything is archived, and before each task against what this run has archived plus what matches
        then. A retry with another ``max_issues`` counts from there.
    :param dry_run: stop after the plan, and return it
    :param sample: how many of the issues to name in the log before anything is archived, at most 1,000
    :param issues_per_task: how many issues to give to one task; at most 100,000
    :param jira_conn_id: the Airflow connection
    :param wait_for_completion: see :class:`~airflow_provider_archival.operators.base.JobOperator`, as
        for ``deferrable``, ``poll_interval`` and ``timeout`` (seconds), ``cancel_on_kill``,
        ``cancel_on_timeout``. All tasks but the last are always waited for.
    :raises BadInput: the JQL is empty
    :raises TooManyIssues: more than ``max_issues`` match, or more were created in one minute than Jira takes;
        not retried
    :raises CountsDoNotAddUp: Jira's counts contradict each other; retried
    :raises ServiceRefusal: Jira finds fault with the JQL or the caller; not retried
    :raises ServiceFault: Jira is down; retried
    :raises JiraTaskFailed, JiraTaskCancelled, JiraTaskDead: how a task ended; retried
    :raises JobTimeout: ``timeout`` passed; the Jira task goes on unless ``cancel_on_timeout``
    """

    template_fields: Sequence[str] = (
        "jql",
        "max_issues",
        "dry_run",
        "sample",
        "issues_per_task",
        "jira_conn_id",
    )
    template_ext: Sequence[str] = (".jql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"jql": "sql"}
    kind = JIRA_TASK
    dry_run = DryRun()

    def __init__(
        self,
        *,
        jql: str,
        max_issues: int | None = None,
        dry_run: bool = False,
        sample: int = 0,
        issues_per_task: int = MAX_ISSUES_PER_TASK,
        jira_conn_id: str = DEFAULT_JIRA_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.jql = jql
        self.max_issues = max_issues
        self.dry_run = dry_run
        self.sample = sample
        self.issues_per_task = issues_per_task
        self.jira_conn_id = jira_conn_id

    def plan(self) -> ArchiveByJql:
        most = limit_of(self.issues_per_task, "issues_per_task")
        if most == 0:
            raise BadInput("issues_per_task must be a whole number from 1 on")
        return ArchiveByJql(
            jql=self._jql(),
            now=pendulum.now("UTC"),
            max_issues=limit_of(self.max_issues, "max_issues"),
            is_dry_run=flag_of(DryRun.given(self.dry_run), "dry_run"),
            sample=min(limit_of(self.sample, "sample") or 0, _MOST_SAMPLED),
            most=min(most or MAX_ISSUES_PER_TASK, MAX_ISSUES_PER_TASK),
        )

    def _jql(self) -> str:
        jql = required(self.jql, "jql", f"give a JQL with a restriction, such as: {_SUCH_AS}; ")
        if not isinstance(jql, str):
            raise BadInput(f"jql must be a text, such as: {_SUCH_AS}; got a {type(jql).__name__}")
        return text_of(jql, "jql") or ""
