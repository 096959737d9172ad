"""Which archived issues an export holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ExportFilter:
    """
    Which archived issues an export holds; an empty part does not restrict.

    :param projects: project keys
    :param archived_by: account ids
    :param archived_after: ``YYYY-MM-DD``; Jira wants both ends of the range, or none
    :param archived_before: ``YYYY-MM-DD``
    :param issue_types: issue type ids
    :param reporters: account ids
    """

    projects: tuple[str, ...] = ()
    archived_by: tuple[str, ...] = ()
    archived_after: str | None = None
    archived_before: str | None = None
    issue_types: tuple[str, ...] = ()
    reporters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.archived_after is None) != (self.archived_before is None):
            raise ValueError(
                "the range of archived dates needs both ends, archived_after and archived_before"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the request body."""
        lists = {
            "projects": self.projects,
            "archivedBy": self.archived_by,
            "issueTypes": self.issue_types,
            "reporters": self.reporters,
        }
        body: dict[str, Any] = {name: list(values) for name, values in lists.items() if values}
        if self.archived_after is not None:
            body["archivedDateRange"] = {"dateAfter": self.archived_after, "dateBefore": self.archived_before}
        return body
