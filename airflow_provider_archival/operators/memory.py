"""What a task remembers from one try to the next: where that is kept, and which try may write there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_archival.exceptions import StateNotKept, TryOvertaken
from airflow_provider_archival.operators import older, variable_store

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

STORE_KEY = "archival_progress"
# A value that began so many seconds before this try is of a run that is no more, whatever its number.
_LONGEST_CLOCK_DIFFERENCE = 300.0
# What Airflow calls a try that has not begun; there is none at all when its DAG run was deleted.
_NOT_BEGUN = {None, "scheduled", "queued", "restarting"}
_WHAT_TO_DO = (
    "What to do: a retry will do where that passes; else see what the store's own error says, or set"
    " durable=False, which gives up what an earlier try has done."
)


class Memory:
    """
    What a task remembers, where there is a store for it; see :func:`store_of`.

    Two tries can be alive at once, where Airflow has taken the first for lost. Only the latest writes.

    :param context: the task's context
    :param durable: whether to remember at all
    :param started: when this try began, in epoch seconds
    :param has_chunks: whether version 1 kept such a task's state in chunks
    """

    def __init__(self, context: Context, durable: bool, started: float, *, has_chunks: bool = False) -> None:
        self._store = store_of(context, durable)
        self._has_chunks = has_chunks
        self._ti, self._try, self._started = context["ti"], context["ti"].try_number, started
        self._is_kept = False

    @property
    def exists(self) -> bool:
        return self._store is not None

    def recall(self) -> Any:
        """
        Return what the last try kept; None where it kept nothing.

        :raises StateNotKept: it can't be read now
        :raises TryOvertaken: a later try has written it
        """
        if self._store is None:
            return None
        try:
            kept = self._store.get(STORE_KEY)
            if kept is None and self._has_chunks:
                kept = older.chunks_in(self._store)
        except Exception as error:
            raise StateNotKept(
                f"What an earlier try of this task did can't be read ({type(error).__name__}: {error}):"
                f" nothing was submitted. {_WHAT_TO_DO}"
            ) from error
        self._check(kept)
        self._is_kept = self._is_kept or kept is not None
        return kept

    def keep(self, values: dict[str, Any]) -> None:
        """
        Keep it for the next try.

        :raises StateNotKept: it can't be written now
        :raises TryOvertaken: a later try has written there
        """
        if self._store is None:
            return
        try:
            kept = self._store.get(STORE_KEY)
            self._check(kept)
            self._store.set(STORE_KEY, values)
            self._is_kept = True
        except TryOvertaken:
            raise
        except Exception as error:
            raise StateNotKept(
                f"How far this task has come can't be kept for a retry ({type(error).__name__}: {error})."
                f" {_WHAT_TO_DO}"
            ) from error

    def forget(self) -> None:
        """
        Let the next run begin anew.

        :raises StateNotKept: that can't be done now
        :raises TryOvertaken: a later try has written there
        """
        if self._store is None:
            return
        try:
            self._check(self._store.get(STORE_KEY))
            self._store.delete(STORE_KEY)
            self._is_kept = False
            if self._has_chunks:
                older.forget_chunks(self._store)
        except TryOvertaken:
            raise
        except Exception as error:
            raise StateNotKept(
                f"What this task did can't be forgotten ({type(error).__name__}: {error}). The task is done;"
                f" when it is cleared it takes this result again, unless '{STORE_KEY}' is deleted from its"
                " state first."
            ) from error

    @property
    def is_overtaken(self) -> bool:
        """Whether a later try has written there, or goes on as far as Airflow knows."""
        try:
            kept = self.recall()
        except TryOvertaken:
            return True
        except StateNotKept:
            return False
        # Airflow shows its store to the current try only: to others it is as if nothing were there.
        return kept is None and self._is_kept and self._has_heir

    @property
    def _has_heir(self) -> bool:
        """Whether the current try has begun, as far as that can be told; one that was cleared has not."""
        ti = self._ti
        try:
            states = ti.get_task_states(
                dag_id=ti.dag_id, map_index=ti.map_index, task_ids=[ti.task_id], run_ids=[ti.run_id]
            )
            found = {state for of_run in states.values() for state in of_run.values()}
        except Exception:  # noqa: BLE001 (a job that goes on can still be cancelled by whoever takes it up)
            return True
        return not found <= _NOT_BEGUN

    def _check(self, kept: Any) -> None:
        if not isinstance(kept, dict) or type(number := kept.get("try")) is not int:
            return
        started = kept.get("started")
        # A number without a time is nothing that a try of ours wrote.
        is_ours = isinstance(started, (int, float)) and started >= self._started - _LONGEST_CLOCK_DIFFERENCE
        if number > self._try and is_ours:
            raise TryOvertaken(
                f"Try {number} of this task has taken over from this one (try {self._try}), which Airflow has"
                " given up: it stops here, and changes nothing. What to do: look at the later try."
            )


def store_of(context: Context, durable: bool) -> Any:
    """
    Return the task's state store, which outlives a try; None where there is none, or it is not wanted.

    Airflow's own (3.3 and later) goes before the one that ``[archival] state_store`` asks for.
    """
    if not durable:
        return None
    if (own := context.get("task_state_store")) is not None:
        return own
    return variable_store.VariableStore(context) if variable_store.is_wanted() else None


def began_before(context: Context, *, is_begun: bool = False) -> float | None:
    """
    Return since when an earlier try of this task may have submitted something; None in the first try.

    :param is_begun: something was kept or carried, so this can't be the begin, whatever the try's number
    """
    if context["ti"].try_number <= 1 and not is_begun:
        return None
    run = context.get("dag_run")
    start = getattr(run, "start_date", None) or getattr(context["ti"], "start_date", None)
    return start.timestamp() if start is not None else 0.0
