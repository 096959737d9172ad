"""The operators that archive and unarchive Jira issues by key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_archival.api import jira
from airflow_provider_archival.api.http import Request
from airflow_provider_archival.api.jira import ArchiveReport
from airflow_provider_archival.api.jobs import JIRA_TASK
from airflow_provider_archival.exceptions import BadInput, JiraPartialError
from airflow_provider_archival.operators.base import PlanOperator
from airflow_provider_archival.operators.parsing import DEFAULT_JIRA_CONN_ID, names_of
from airflow_provider_archival.plans.jira_issues import IssuesByKey

if TYPE_CHECKING:
    from airflow_provider_archival.engine.state import Run
    from airflow_provider_archival.operators.drivers import InWorker

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


class _IssuesByKeyOperator(PlanOperator):
    """What archiving and unarchiving by key have in common."""

    template_fields: Sequence[str] = ("issue_ids_or_keys", "jira_conn_id")
    kind = JIRA_TASK
    has_chunks = True
    done_word: ClassVar[str]

    @staticmethod
    def request(issue_ids_or_keys: Sequence[str]) -> Request[ArchiveReport]:
        """Return the request for a chunk."""
        raise NotImplementedError

    done_before: ClassVar[re.Pattern[str]]
    """What Jira may say of issues with which nothing is to be done: its reference leaves that open."""

    def __init__(
        self,
        *,
        issue_ids_or_keys: Any,
        jira_conn_id: str = DEFAULT_JIRA_CONN_ID,
        fail_on_partial_error: bool = True,
        max_concurrent_requests: int = 1,
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

    def plan(self) -> IssuesByKey:
        wanted = names_of(self.issue_ids_or_keys, "issue_ids_or_keys", is_required=True)
        try:
            wanted = jira.issue_ids_or_keys_of(wanted)
        except ValueError as error:
            raise BadInput(f"issue_ids_or_keys: {error}. Nothing was {self.done_word}.") from None
        return IssuesByKey(
            tuple(wanted),
            self.done_word,
            self.request,
            self.done_before,
            frozenset(_REASONS),
            jira.MAX_KEYS_PER_REQUEST,
            self.max_concurrent_requests,
        )

    def finish(self, result: dict[str, Any], run: Run[Any, Any], driver: InWorker) -> dict[str, Any]:
        if not result["requested"]:
            self.log.info("No issues were given: nothing to do")
            return result
        self.log.info(
            "Jira %s %d issues; %d were asked for",
            *(self.done_word, result[self.done_word], result["requested"]),
        )
        lines = list(_reasons(result["errors"]))
        for line in lines:
            self.log.warning("Not %s: %s", self.done_word, line)
        if lines and self.fail_on_partial_error:
            driver.push("report", result)
            # Whoever mends them at Jira and clears the task means all of it.
            driver.forget()
            raise JiraPartialError(self._message(result, lines), result)
        return result

    def _message(self, result: dict[str, Any], lines: list[str]) -> str:
        number = sum(one["count"] for one in result["errors"].values())
        return (
            f"Of {result['requested']} issues, {number} were not {self.done_word}"
            f" ({result[self.done_word]} were, with their subtasks). {'; '.join(lines)}."
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

    request = staticmethod(jira.archive_issues)


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

    request = staticmethod(jira.unarchive_issues)


def _reasons(errors: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for reason, error in errors.items():
        keys = error["issue_ids_or_keys"]
        shown = ", ".join(keys[:20]) + (", …" if len(keys) > 20 else "")
        advice = f"; {_REASONS[reason]}" if reason in _REASONS else ""
        yield f"{reason} ({error['count']}): {error['message']} [{shown}]{advice}"
