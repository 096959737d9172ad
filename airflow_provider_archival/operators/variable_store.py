"""A task's state store for an Airflow that has none (before 3.3), kept in Airflow Variables."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Variable, conf

from airflow_provider_archival.exceptions import ArchivalException, BadInput

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

SECTION, OPTION, VARIABLES = "archival", "state_store", "variables"
PREFIX = "archival_state"
# Secrets backends are asked for a Variable first, and some allow no other characters, and no more than 127.
_LONGEST_READABLE = 50
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9-]+")


def is_wanted() -> bool:
    """Say whether ``[archival] state_store`` asks for it."""
    value = conf.get(SECTION, OPTION, fallback="").strip().lower()
    if value not in ("", VARIABLES):
        raise BadInput(f"[{SECTION}] {OPTION} is {value!r}: it has to be empty or {VARIABLES}")
    return bool(value)


class VariableStore:
    """
    What a task instance keeps for its next try, one Variable for each key.

    It has the interface of Airflow's own store, with JSON values. A Variable outlives a try, and whatever
    clears or marks the task; it goes when it is deleted.

    :param context: the task's context
    """

    def __init__(self, context: Context) -> None:
        ti = context["ti"]
        self._task = (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        self._is_retry = ti.try_number > 1

    def name_of(self, key: str) -> str:
        """Return the Variable that has a key's value: legible at its begin, unique by its end."""
        dag_id, _, task_id, _ = self._task
        readable = _NOT_ALLOWED.sub("_", f"{dag_id}-{task_id}")[:_LONGEST_READABLE]
        digest = hashlib.sha256(json.dumps([*self._task, key]).encode()).hexdigest()[:32]
        return f"{PREFIX}-{readable}-{digest}"

    def get(self, key: str) -> Any:
        """
        Return what was kept, or else the text that stands there; None where nothing was kept.

        :raises ArchivalException: it can't be read just now
        """
        name = self.name_of(key)
        text = Variable.get(name, None)
        if text is None and self._is_retry:
            # Airflow takes a failed read for a missing Variable, and what is missing is begun anew.
            self._check_reading(key)
            text = Variable.get(name, None)
        if text is None:
            return None
        try:
            return json.loads(text)
        except ValueError:
            # Whoever reads it finds that it is nothing of ours.
            return text

    def set(self, key: str, value: Any) -> None:
        self._write(key, json.dumps(value, separators=(",", ":")))

    def delete(self, key: str) -> None:
        """Forget what was kept, if anything was."""
        Variable.delete(self.name_of(key))

    def _write(self, key: str, text: str) -> None:
        dag_id, run_id, task_id, map_index = self._task
        description = (
            f"How far a task has come, for its next try; delete it when that task is over, not earlier."
            f" DAG {dag_id}, run {run_id}, task {task_id}, map index {map_index}: {key}."
        )
        Variable.set(self.name_of(key), text, description)

    def _check_reading(self, key: str) -> None:
        """Write something and read it back."""
        probe = f"{key} (probe)"
        # Not a short one: the value of a Variable whose name looks like a secret's is masked in all logs.
        self._write(probe, "written to be read back")
        if Variable.get(self.name_of(probe), None) is None:
            raise ArchivalException(
                "Airflow's Variables can't be read just now, so what an earlier try did is not known."
                " Nothing was sent."
            )
        self.delete(probe)
