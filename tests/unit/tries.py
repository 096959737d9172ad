"""The tries of one task, in one process: each a new operator, with what Airflow keeps between them."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.unit.conftest import Deferrals, TaskInstance


def unpacked(kept: dict[str, Any]) -> dict[str, Any]:
    """Return the values of what was kept in a store or carried by a trigger."""
    values: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(kept["packed"])))
    return values


class Store:
    """A task's state store: plain data that outlives a try, as in Airflow 3.3."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.history: list[dict[str, Any]] = []

    def get(self, key: str) -> Any:
        return json.loads(self.kept[key]) if key in self.kept else None

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = json.dumps(value)
        self.history.append(json.loads(self.kept[key]))

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the try goes on."""


class Tries:
    """Runs the tries of one task: each a new operator, with the same store."""

    def __init__(self, ti: TaskInstance, store: Store | None, deferrals: Deferrals, deferrable: bool) -> None:
        self._ti, self.store, self._deferrals, self._deferrable = ti, store, deferrals, deferrable
        self._number = 0

    def run(self, operator: type[Any], **parameters: Any) -> Any:
        self._number += 1
        self._ti.try_number = self._number
        context: dict[str, Any] = {"ti": self._ti}
        if self.store is not None:
            context["task_state_store"] = self.store
        task = operator(
            task_id="task",
            **{"deferrable": self._deferrable, "poll_interval": 5, "timeout": 600, **parameters},
        )
        return self._deferrals.run(task, context)
