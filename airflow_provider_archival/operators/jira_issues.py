"""The operators that archive and unarchive Jira issues by key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_archival.api import jira
from airflow_provider_archival.api.jira import ArchiveReport
from airflow_provider_archival.exceptions import BadInput, JiraPartialError
from airflow_provider_archival.operators.jira_tasks import DEFAULT_CONN_ID
from airflow_provider_archival.operators.parsing import names_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_archival.hooks.jira import JiraCloudHook

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


def _reasons(report: ArchiveReport) -> Iterator[str]:
    for reason, error in report.errors.items():
        shown = ", ".join(error.issue_ids_or_keys[:20]) + (", …" if len(error.issue_ids_or_keys) > 20 else "")
        advice = f"; {_REASONS[reason]}" if reason in _REASONS else ""
        yield f"{reason} ({error.count}): {error.message} [{shown}]{advice}"
