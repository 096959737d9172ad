"""The operator that archives the Jira issues that a JQL matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import pendulum

from airflow_provider_archival.api.http import BadRequest, Busy
from airflow_provider_archival.api.jira import MAX_ISSUES_PER_TASK, JiraTask
from airflow_provider_archival.api.windows import CountsDiffer, Part, Window, cut, most_windows
from airflow_provider_archival.exceptions import BadInput, CountsDoNotAddUp, ServiceRefusal, TooManyIssues
from airflow_provider_archival.operators.jira_tasks import DEFAULT_CONN_ID, JiraTaskOperator
from airflow_provider_archival.operators.parsing import flag_of, limit_of, required, text_of
from airflow_provider_archival.operators.progress import Found, Progress, Submission

# Counts are estimates: a window is cut until it is this much under the limit.
_SAFE_SHARE = 0.9
_MOST_SAMPLED = 1000
# A count that falls by one with each task would take as many tasks as there are issues.
_MORE_TASKS = 10


class JiraArchiveIssuesByJqlOperator(JiraTaskOperator):
    """
    Archive every Jira issue that a JQL matches, however many; subtasks go with their parents.

    The issues are counted and logged first. More than one task of Jira's can take (100,000) are cut by their
    time of creation into windows, which are archived one after the other. While a task runs its id is in
    XCom under ``jira_task_id``. What still matches at the end is counted and logged.

    A retry goes on with the task of an earlier try, running or done, and repeats no window that is done.
    Where it is not known whether a task was started, it looks first; at worst a second one runs after the
    first, and archives only what is left, since archived issues leave the JQL. Another archive that is
    running is waited for.

    XCom: ``{"jql": str, "matched": n, "left": n | None, "windows": [{"after", "before", "matched",
    "task_ids"}], "tasks": [{"task_id", "status", "progress", "result", "message", …}]}``. ``left`` is
    None where nothing was waited for; ``tasks`` is empty when nothing matched, or with ``dry_run``. A
    window's ends are minutes in the time zone of the connection's account, ``after`` inclusive and None where
    it is open.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/#api-rest-api-3-issue-archive-post

    :param jql: a JQL with a restriction, or the name of a ``.jql`` file with one
    :param max_issues: fail before anything is archived when more issues match; None for no guard
    :param dry_run: stop after the plan, and return it
    :param sample: how many of the issues to name in the log before anything is archived, at most 1,000
    :param issues_per_task: how many issues to give to one task; at most 100,000
    :param jira_conn_id: the Airflow connection
    :param wait_for_completion: see :class:`~airflow_provider_archival.operators.base.RemoteJobOperator`, as
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
        "is_dry_run",
        "sample",
        "issues_per_task",
        "jira_conn_id",
    )
    template_ext: Sequence[str] = (".jql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"jql": "sql"}

    def __init__(
        self,
        *,
        jql: str,
        max_issues: int | None = None,
        dry_run: bool = False,
        sample: int = 0,
        issues_per_task: int = MAX_ISSUES_PER_TASK,
        jira_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.jql = jql
        self.max_issues = max_issues
        # Not self.dry_run: that is a method of every operator, which `airflow tasks test --dry-run` calls.
        self.is_dry_run = dry_run
        self.sample = sample
        self.issues_per_task = issues_per_task
        self.jira_conn_id = jira_conn_id

    def asked(self) -> dict[str, Any]:
        return {"jql": self.jql, "jira_conn_id": self.jira_conn_id}

    def submit_next(self, progress: Progress[JiraTask]) -> Iterator[Submission[JiraTask]]:
        notes = progress.notes
        if "windows" not in notes:
            notes.update(self._plan())
        if notes["dry_run"]:
            return
        self._assign(progress)
        while window := self._current(progress):
            part = Part(Window(window["after"], window["before"]), self._count_in(window))
            if not self._is_to_do(window, part, progress):
                window["is_over"] = True
            elif part.matched > self._most() and (parts := self._cut(part))[1:]:
                # More has come since the plan was made, or Jira takes less than it says.
                self._replace(window, parts, notes)
            else:
                window["left"], window["asked"] = part.matched, len(window["task_ids"])
                notes["again"] = part.matched > _safe(self._most())
                yield self._submission(part, window, notes)
                return

    def adopt(self, job_id: str, error: Busy, since: float) -> JiraTask | None:
        task = super().adopt(job_id, error, since)
        if task is not None and self._progress is not None:
            # It may be another's after all: count again at its end. What is left then is archived as well.
            self._progress.notes["adopted"] = True
        return task

    def take_up(self, progress: Progress[JiraTask], *, lost: bool) -> None:
        known = {task.id for task in progress.jobs}
        for window in progress.notes.get("windows", ()):
            window["task_ids"] = [id for id in window["task_ids"] if id in known]
        if "windows" in progress.notes:
            self._guard(progress.notes)

    def must_wait_for(self, job: JiraTask) -> bool:
        if self.wait_for_completion or self._progress is None:
            return True
        waiting = [window for window in self._progress.notes["windows"] if not window["is_over"]]
        return len(waiting) > 1 or self._progress.notes["again"]

    def result(self, progress: Progress[JiraTask]) -> dict[str, Any]:
        self._assign(progress)
        notes = progress.notes
        windows = [
            {name: window[name] for name in ("after", "before", "matched", "task_ids")}
            for window in notes["windows"]
        ]
        is_over = not notes["dry_run"] and all(task.succeeded for task in progress.jobs)
        return {
            "jql": notes["jql"],
            "matched": notes["matched"],
            "left": self._left(progress) if is_over else None,
            "windows": windows,
            "tasks": [task.to_dict() for task in progress.jobs],
        }

    # --- the plan ---

    def _guard(self, notes: dict[str, Any]) -> None:
        """Hold an earlier try's plan to what this try asks for: more may match by now, or less be allowed."""
        jql, most, notes["dry_run"] = self._checked()
        left = 0 if most is None else self.hook.count_issues(jql)
        if most is not None and left > most:
            raise TooManyIssues(
                f"An earlier try began to archive these issues. About {left} match now, and max_issues is"
                f" {most}: no more are archived. Narrow the JQL or raise max_issues, then clear this task."
                f" JQL: {jql}"
            )
        if notes["dry_run"]:
            self.log.info("dry_run: no more is archived; this is the plan of the earlier try")

    def _plan(self) -> dict[str, Any]:
        jql, most, dry_run = self._checked()
        matched = self.hook.count_issues(jql)
        self.log.info("About %d issues match: %s", matched, jql)
        if most is not None and matched > most:
            raise TooManyIssues(
                f"About {matched} issues match, and max_issues is {most}: nothing was archived. Narrow the"
                f" JQL or raise max_issues, then clear this task. JQL: {jql}"
            )
        if matched and (asked := limit_of(self.sample, "sample")):
            keys = self.hook.search_issues(jql, min(asked, _MOST_SAMPLED))
            self.log.info("%d of them: %s", len(keys), ", ".join(keys))
        whole = Part(Window(), matched)
        parts = self._cut(whole) if matched > self._most() else [whole] if matched else []
        if not parts:
            self.log.info("Nothing matches: there is nothing to archive")
        elif len(parts) > 1:
            self.log.info(
                "One task takes %d issues: %d windows, one after the other", self._most(), len(parts)
            )
            for part in parts:
                self.log.info("About %d: %s", part.matched, part.window)
        if dry_run:
            self.log.info("dry_run: nothing is archived")
        return {
            "jql": jql,
            "matched": matched,
            "dry_run": dry_run,
            "windows": [_noted(part) for part in parts],
            "again": False,
        }

    def _cut(self, part: Part) -> list[Part]:
        def count(window: Window) -> int:
            return self.hook.count_issues(window.restrict(self._jql()))

        try:
            return cut(part, _safe(self._most()), count, pendulum.now("UTC"))
        except CountsDiffer as differ:
            raise self._no_sum(str(differ)) from None

    def _no_sum(self, why: str) -> CountsDoNotAddUp:
        return CountsDoNotAddUp(
            f"Jira's counts of the windows do not add up: {why}. No (more) issues are archived. Retry, or"
            f" narrow the JQL so that one task takes what it matches. JQL: {self._jql()}"
        )

    def _replace(self, window: dict[str, Any], parts: list[Part], notes: dict[str, Any]) -> None:
        windows = len(notes["windows"]) + len(parts)
        if windows > most_windows(max(notes["matched"], sum(part.matched for part in parts)), self._most()):
            raise self._no_sum(f"of {notes['matched']} issues, and after {windows} windows some are too full")
        at = notes["windows"].index(window)
        notes["windows"][at : at + 1] = [_noted(part) for part in parts]
        self.log.info("About %d issues: cut into %d windows", sum(part.matched for part in parts), len(parts))

    # --- a window ---

    @staticmethod
    def _current(progress: Progress[JiraTask]) -> dict[str, Any] | None:
        windows = progress.notes["windows"]
        return next((window for window in windows if not window["is_over"]), None)

    def _assign(self, progress: Progress[JiraTask]) -> None:
        """Note the tasks that no window has yet: they are the current window's."""
        known = {id for window in progress.notes["windows"] for id in window["task_ids"]}
        if new := [task.id for task in progress.jobs if task.id not in known]:
            window = self._current(progress)
            assert window is not None
            window["task_ids"] += new

    def _count_in(self, window: dict[str, Any]) -> int:
        return self.hook.count_issues(Window(window["after"], window["before"]).restrict(self._jql()))

    def _is_to_do(self, window: dict[str, Any], part: Part, progress: Progress[JiraTask]) -> bool:
        """
        Say whether a window needs a task (more).

        One that had too many for a task is archived as often as the count falls. What is left of others are
        issues that can't be archived, unless the task may have been another's.
        """
        if not part.matched:
            return False
        if len(window["task_ids"]) == window.get("asked"):
            # A task was to be submitted, and was not, or came to nothing.
            return True
        if not window["task_ids"] or progress.notes.pop("adopted", False):
            return True
        most_tasks = 2 * (max(window["matched"], part.matched) // self._most()) + _MORE_TASKS
        falls = progress.notes["again"] and part.matched < window["left"]
        return bool(falls and len(window["task_ids"]) < most_tasks)

    def _submission(self, part: Part, window: dict[str, Any], notes: dict[str, Any]) -> Submission[JiraTask]:
        jql = part.window.restrict(self._jql())

        def send() -> JiraTask | None:
            try:
                return JiraTask(self.hook.archive_issues_by_jql(jql), "ENQUEUED")
            except ServiceRefusal as refusal:
                if not isinstance(refusal.error, BadRequest):
                    raise
                if window["task_ids"] or not self._count_in(window):
                    self.log.info("Jira can archive nothing (more) of these: %s", refusal)
                    window["is_over"] = True
                elif part.matched > _safe(self._most()) and (parts := self._cut(part))[1:]:
                    # The count was an estimate, and too low.
                    self._replace(window, parts, notes)
                elif part.matched > _safe(self._most()):
                    raise TooManyIssues(
                        f"About {part.matched} issues were created in one minute, and Jira refuses so many"
                        f" at once: {part.window}. The windows before it are archived. Give these a task of"
                        " their own for each project or issue type, then clear this task for the rest. Jira"
                        " says:"
                        f" {' '.join(refusal.error.messages)}"
                    ) from None
                else:
                    raise
                return None

        return Submission(send, lambda since: None if self._count_in(window) else Found(None))

    def _left(self, progress: Progress[JiraTask]) -> int:
        """Count what still matches, and tell."""
        if not progress.notes["windows"]:
            return 0
        for task in progress.jobs:
            if _is_partial(task):
                self.log.warning("Jira says that task %s did not archive everything: %s", task.id, task.said)
        left = self.hook.count_issues(progress.notes["jql"])
        if left:
            self.log.warning(
                "About %d of %d issues still match. They may be subtasks whose parents do not match, of"
                " projects that are archived or have no licence, new since the count, or not visible to the"
                " connection's account: %s",
                *(left, progress.notes["matched"], progress.notes["jql"]),
            )
        return left

    # --- the parameters ---

    def _most(self) -> int:
        most = limit_of(self.issues_per_task, "issues_per_task")
        if most is None:
            return MAX_ISSUES_PER_TASK
        if not most:
            raise BadInput("issues_per_task must be a whole number from 1 on")
        return min(most, MAX_ISSUES_PER_TASK)

    def _checked(self) -> tuple[str, int | None, bool]:
        return self._jql(), limit_of(self.max_issues, "max_issues"), flag_of(self.is_dry_run, "dry_run")

    def _jql(self) -> str:
        advice = "give a JQL with a restriction, such as: project = ABC AND updated < -2y; "
        jql = required(self.jql, "jql", advice)
        if not isinstance(jql, str):
            raise BadInput(
                f"jql must be a text, such as: project = ABC AND updated < -2y; got a {type(jql).__name__}"
            )
        return text_of(jql, "jql") or ""


def _safe(most: int) -> int:
    return max(int(most * _SAFE_SHARE), 1)


def _noted(part: Part) -> dict[str, Any]:
    noted = {"matched": part.matched, "task_ids": [], "is_over": False, "left": None, "asked": None}
    return {**asdict(part.window), **noted}


def _is_partial(task: JiraTask) -> bool:
    result = task.result if isinstance(task.result, dict) else {}
    return bool(result.get("errors") or result.get("numberOfIssuesNotUpdated"))
