"""The operators that archive and unarchive Jira issues by key."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_archival.api import jira
from airflow_provider_archival.api.jira import ArchiveReport
from airflow_provider_archival.exceptions import BadInput, JiraPartialError
from airflow_provider_archival.operators.chunks import Chunks
from airflow_provider_archival.operators.jira_tasks import DEFAULT_CONN_ID
from airflow_provider_archival.operators.parsing import names_of
from airflow_provider_archival.operators.progress import store_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_archival.hooks.jira import JiraCloudHook

_REASONS = {
    jira.NOTHING_VALID: "Jira does not tell which it is: a subtask (archive the parent), in an unlicensed"
    " or an archived project (leave it out), not found (check the key), or archived already (leave it out)",
    jira.PRECONDITION_FAILED: "Jira could not take this request: clear this task to ask again",
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
    done_before: ClassVar[re.Pattern[str]]
    """What Jira may say of issues with which nothing is to be done: its reference leaves that open."""

    def __init__(
        self,
        *,
        issue_ids_or_keys: Any,
        jira_conn_id: str = DEFAULT_CONN_ID,
        fail_on_partial_error: bool = True,
        max_concurrent_requests: int = 1,
        durable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.issue_ids_or_keys = issue_ids_or_keys
        self.jira_conn_id = jira_conn_id
        self.fail_on_partial_error = fail_on_partial_error
        if isinstance(max_concurrent_requests, bool) or not isinstance(max_concurrent_requests, int):
            raise ValueError(f"max_concurrent_requests must be a number; got {max_concurrent_requests!r}")
        if max_concurrent_requests < 1:
            raise ValueError(f"max_concurrent_requests must be 1 or more; got {max_concurrent_requests}")
        self.max_concurrent_requests = max_concurrent_requests
        self.durable = durable

    def send(self, hook: JiraCloudHook, issue_ids_or_keys: list[str]) -> ArchiveReport:
        """Ask Jira."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        wanted = names_of(self.issue_ids_or_keys, "issue_ids_or_keys", is_required=True)
        try:
            wanted = jira.issue_ids_or_keys_of(wanted)
        except ValueError as error:
            raise BadInput(f"issue_ids_or_keys: {error}. Nothing was {self.done_word}.") from None
        if not wanted:
            self.log.info("No issues were given: nothing to do")
            return self._result(wanted, ArchiveReport())
        chunks = Chunks(store_of(context, self.durable), wanted, jira.MAX_KEYS_PER_REQUEST)
        if chunks.done:
            self.log.info("%d of %d requests were done by an earlier try", len(chunks.done), chunks.number)
        self._ask_for(chunks)
        report = chunks.report()
        result = self._result(wanted, report)
        self._tell(result, report)
        # Also after errors: whoever mends them at Jira and clears the task means all of it.
        chunks.forget()
        if report.errors and self.fail_on_partial_error:
            context["ti"].xcom_push(key="report", value=result)
            raise JiraPartialError(self._message(result, report), result)
        return result

    def _ask_for(self, chunks: Chunks) -> None:
        """Ask for all chunks that are not done; what was done when one fails is kept."""
        from airflow_provider_archival.hooks.jira import JiraCloudHook
        from airflow_provider_archival.hooks.repeats import LONGEST

        hook = JiraCloudHook(self.jira_conn_id)
        # A pause that Jira asks for costs no attempt; Airflow's execution_timeout ends it.
        hook.deadline = time.time() + LONGEST
        try:
            left = chunks.left()
            # The first goes alone: it finds out whether the connection is good for anything.
            for number in left if self.max_concurrent_requests == 1 else left[:1]:
                self._keep(chunks, number, self.send(hook, chunks.keys(number)))
            if left := chunks.left():
                self._ask_at_once(hook, chunks, left)
        finally:
            hook.close()

    def _ask_at_once(self, hook: JiraCloudHook, chunks: Chunks, numbers: list[int]) -> None:
        threads = ThreadPoolExecutor(self.max_concurrent_requests)
        asked = {threads.submit(self.send, hook, chunks.keys(number)): number for number in numbers}
        failures: list[BaseException] = []
        try:
            for future in as_completed(asked):
                if future.cancelled():
                    continue
                if error := future.exception():
                    failures.append(error)
                    threads.shutdown(wait=False, cancel_futures=True)
                else:
                    self._keep(chunks, asked[future], future.result())
        finally:
            threads.shutdown(cancel_futures=True)
        if failures:
            raise failures[0]

    def _keep(self, chunks: Chunks, number: int, report: ArchiveReport) -> None:
        errors = dict(report.errors)
        for reason, error in report.errors.items():
            if reason not in _REASONS and self.done_before.search(f"{reason} {error.message}"):
                self.log.info("%d issues were %s before: %s", error.count, self.done_word, error.message)
                del errors[reason]
        chunks.keep(number, ArchiveReport(report.updated, errors))
        done = len(chunks.done)
        if chunks.number > 1 and done * 10 // chunks.number > (done - 1) * 10 // chunks.number:
            self.log.info("%d of %d requests are done", done, chunks.number)

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

    Jira takes 1000 in a request: more are several requests, and one report. A retry goes on after the
    last request that was answered, where Airflow can remember that (3.3 and later), and its report covers all
    tries; elsewhere it asks for all of them again, which changes nothing for those that are archived already.

    XCom: ``{"requested": n, "archived": n, "errors": {reason: {"count", "message", "issue_ids_or_keys"}}}``.
    ``archived`` counts subtasks too, which go with their parents. The same is under ``report`` when the
    task fails for a partial error.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issue-archive-put

    :param issue_ids_or_keys: any number of ids or keys: a list, an XCom, a string with commas or white
        space, JSON, or what a list renders to. Repeats are dropped, order is kept; an empty list succeeds and
        does nothing, while None, ``""`` and ``"None"`` (an upstream task that returned nothing) are errors. A
        None in a list is left out, with a warning.
    :param jira_conn_id: the Airflow connection
    :param fail_on_partial_error: fail the task (and don't retry it) when any issue was not archived;
        otherwise return the report, even when nothing could be archived
    :param max_concurrent_requests: how many requests may be under way at the same time
    :param durable: go on in a retry where an earlier try stopped; False always asks for all
    :raises BadInput: nothing is given, or something in the list is neither an id nor a key; nothing was sent
    :raises JiraPartialError: some issues were not archived
    :raises ServiceRefusal: no login, no admin, not a Premium plan; not retried
    :raises ServiceFault: Jira is down or busy; retried
    """

    done_word = "archived"
    done_before = re.compile(r"already.?archived", re.IGNORECASE)

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
    done_before = re.compile(r"already.?(unarchived|restored)|not.?archived", re.IGNORECASE)

    def send(self, hook: JiraCloudHook, issue_ids_or_keys: list[str]) -> ArchiveReport:
        return hook.unarchive_issues(issue_ids_or_keys)


def _reasons(report: ArchiveReport) -> Iterator[str]:
    for reason, error in report.errors.items():
        shown = ", ".join(error.issue_ids_or_keys[:20]) + (", …" if len(error.issue_ids_or_keys) > 20 else "")
        advice = f"; {_REASONS[reason]}" if reason in _REASONS else ""
        yield f"{reason} ({error.count}): {error.message} [{shown}]{advice}"
