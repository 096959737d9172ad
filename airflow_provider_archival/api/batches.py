"""Many operations of Toloka's that are awaited together: what they come to, from a list of operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import pendulum

from airflow_provider_archival.api.clean import shorten
from airflow_provider_archival.api.toloka import (
    Pages,
    TolokaOperation,
    TolokaPool,
    all_members,
    all_operations,
)

MOST_NAMED = 20
"""How many of the operations that failed are kept by name."""
OTHER = "OTHER"
"""Stands in the counts for all statuses that are not documented but the first of them."""

_STATUSES = frozenset({"PENDING", "RUNNING", "SUCCESS", "FAIL"})
_MOST_STATUSES = 20
_MOST_SAID = 200


@dataclass(frozen=True)
class OperationBatch:
    """
    The operations of one type on pools or trainings of one project, as they stood when they were looked at.

    It does not hold their ids: 5,000 of those are more than Airflow's databases take for a deferred task.
    They are found again by type, time and project, the latest of each pool.

    :param type: such as ``POOL.ARCHIVE``
    :param project_id: the project
    :param begin: when the first was submitted; ISO 8601, UTC
    :param expected: how many there are
    :param counts: how many stand where, such as ``{"RUNNING": 2}``
    :param progress: 0 to 100, over all of them
    :param failed: a text for each of the first that failed
    """

    type: str
    project_id: str
    begin: str
    expected: int
    counts: Mapping[str, int] = field(default_factory=dict)
    progress: float | None = None
    failed: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """A name for the log: no id of Toloka's."""
        return f"{self.type} of {self.expected} in project {self.project_id}"

    @property
    def _all_listed_have_ended(self) -> bool:
        return self.counts.get("SUCCESS", 0) + self.counts.get("FAIL", 0) == sum(self.counts.values())

    @property
    def is_final(self) -> bool:
        return self._all_listed_have_ended and sum(self.counts.values()) >= self.expected

    @property
    def succeeded(self) -> bool:
        return self.is_final and not self.counts.get("FAIL")

    @property
    def status(self) -> str:
        if self.is_final:
            return "SUCCESS" if self.succeeded else "FAIL"
        return "RUNNING" if self.counts else "PENDING"

    @property
    def has_vanished(self) -> bool:
        """Say whether all that are listed have ended, but fewer than were started are listed."""
        return self._all_listed_have_ended and sum(self.counts.values()) < self.expected

    @property
    def is_documented(self) -> bool:
        return set(self.counts) <= _STATUSES

    @property
    def said(self) -> str:
        """What Toloka says of those that failed, in one line, without a full stop."""
        more = self.counts.get("FAIL", 0) - len(self.failed)
        return "; ".join(self.failed) + (f"; and {more} more" if more > 0 else "")

    def members(self) -> Pages[TolokaPool]:
        """Return the pages of the pools or trainings in the project."""
        return all_members(self.type, self.project_id)

    def operations(self) -> Pages[TolokaOperation]:
        """Return the pages of the operations among which the batch's are."""
        return all_operations(type=self.type, submitted_gte=self.begin)

    def seen(self, operations: Iterable[TolokaOperation], members: Collection[str]) -> OperationBatch:
        """Return the batch as it stands now, from what :meth:`operations` and :meth:`members` list."""
        latest = latest_of(operations, self.type, members)
        operations = latest.values()
        done = sum(100.0 if one.is_final else one.progress or 0.0 for one in operations)
        failed = [(id, one) for id, one in latest.items() if one.is_final and not one.succeeded]
        return replace(
            self,
            counts=_few(Counter(one.status for one in operations)),
            progress=done / max(self.expected, len(latest), 1),
            failed=tuple(
                f"{target_of(self.type)[:-3]} {id} (operation {one.id}): {shorten(one.said, _MOST_SAID)}"
                for id, one in failed[:MOST_NAMED]
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; it is told from an operation's by ``expected``."""
        return {**asdict(self), "failed": list(self.failed), "status": self.status}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OperationBatch:
        """The inverse of :meth:`to_dict`."""
        rest = {name: value for name, value in values.items() if name != "status"}
        return cls(**{**rest, "failed": tuple(values["failed"])})


def _few(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts; where there are more statuses than can be real, those that matter and the rest."""
    kept = {*_STATUSES, *islice(counts, _MOST_STATUSES)}
    found = {status: number for status, number in counts.items() if status in kept}
    other = sum(counts.values()) - sum(found.values())
    return {**found, OTHER: found.get(OTHER, 0) + other} if other else found


def target_of(type: str) -> str:
    """Return the parameter that names what an operation of this type works on, such as ``pool_id``."""
    return f"{type.partition('.')[0].lower()}_id"


def latest_of(
    operations: Iterable[TolokaOperation], type: str, members: Collection[str]
) -> dict[str, TolokaOperation]:
    """
    Return the latest operation on each pool or training.

    :param operations: any operations of this type
    :param type: such as ``POOL.ARCHIVE``
    :param members: the ids of the pools or trainings; those of other projects are in the list too
    """
    found: dict[str, TolokaOperation] = {}
    for operation in operations:
        id = str(operation.parameters.get(target_of(type)))
        if id in members and (id not in found or (found[id].submitted or "") <= (operation.submitted or "")):
            found[id] = operation
    return found


def time_before(moment: float | str, seconds: float) -> str:
    """Return the time so many seconds before an epoch time or an ISO text, as Toloka's filters take it."""
    time = pendulum.parse(moment) if isinstance(moment, str) else pendulum.from_timestamp(moment)
    assert isinstance(time, pendulum.DateTime)
    return time.in_timezone("UTC").subtract(seconds=seconds).format("YYYY-MM-DDTHH:mm:ss.SSS")
