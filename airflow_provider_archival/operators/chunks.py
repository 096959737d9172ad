"""A long list of issues, asked for in chunks whose reports outlive a try."""

from __future__ import annotations

import hashlib
from typing import Any

from airflow_provider_archival.api.jira import ArchiveError, ArchiveReport

STORE_KEY = "archival_chunks"


class Chunks:
    """
    A list in chunks, and the reports of those that are done.

    Each chunk's errors are kept by themselves: Airflow's store is for small values.

    :param store: the task's state store; None where there is none
    :param keys: all issues, in order; an earlier try that was asked for others is forgotten
    :param size: how many issues go into a chunk
    """

    def __init__(self, store: Any, keys: list[str], size: int) -> None:
        self._store, self._keys, self._size = store, keys, size
        self.number = -(-len(keys) // size)
        self._asked = hashlib.sha256("\n".join(keys).encode()).hexdigest()
        self.done: dict[int, ArchiveReport] = {}
        self._recall()

    def keys(self, number: int) -> list[str]:
        return self._keys[number * self._size : (number + 1) * self._size]

    def left(self) -> list[int]:
        """Return the numbers of the chunks that are not done."""
        return [number for number in range(self.number) if number not in self.done]

    def keep(self, number: int, report: ArchiveReport) -> None:
        """Keep a chunk's report for the next try."""
        self.done[number] = report
        if self._store is None or self.number == 1:
            return
        if report.errors:
            self._store.set(_key_of(number), report.errors_to_dict())
        self._store.set(
            STORE_KEY,
            {
                "asked": self._asked,
                "done": {str(n): one.updated for n, one in self.done.items()},
                "with_errors": [n for n, one in self.done.items() if one.errors],
            },
        )

    def report(self) -> ArchiveReport:
        """Return the reports as one, in the order of the list."""
        merged = ArchiveReport()
        for number in sorted(self.done):
            merged += self.done[number]
        return merged

    def forget(self) -> None:
        if self._store is None or not (known := self._store.get(STORE_KEY)):
            return
        self._store.delete(STORE_KEY)
        for number in known["with_errors"]:
            self._store.delete(_key_of(number))

    def _recall(self) -> None:
        known = self._store.get(STORE_KEY) if self._store is not None else None
        if known and known["asked"] != self._asked:
            self.forget()
        elif known:
            for number, updated in known["done"].items():
                errors: dict[str, Any] = {}
                if int(number) in known["with_errors"]:
                    errors = self._store.get(_key_of(int(number))) or {}
                self.done[int(number)] = ArchiveReport(updated, {k: _error(v) for k, v in errors.items()})


def _key_of(number: int) -> str:
    return f"{STORE_KEY}_{number}"


def _error(values: dict[str, Any]) -> ArchiveError:
    return ArchiveError(values["count"], values["message"], tuple(values["issue_ids_or_keys"]))
