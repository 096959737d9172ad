"""Toloka's lists: filters, sorting, and pages with ``has_more``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_archival.sandbox.toloka_errors import invalid

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda left, right: bool(left > right),
    "gte": lambda left, right: bool(left >= right),
    "lt": lambda left, right: bool(left < right),
    "lte": lambda left, right: bool(left <= right),
}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Listing:
    """
    What a list can do.

    :param usual: how many items a page has when ``limit`` isn't given; ``most``, how many it can have.
    :param choices: the fields that can be filtered by their value; None takes any value.
    :param times: the fields that are times; they and ``id`` can be filtered by ranges.
    :param sortable: the fields that ``sort`` takes.
    :param id_type: how ids compare.
    """

    usual: int
    most: int
    choices: Mapping[str, frozenset[str] | None]
    times: frozenset[str]
    sortable: frozenset[str]
    id_type: type[int] | type[str]

    def page(self, rows: Sequence[Row], query: Mapping[str, str]) -> tuple[list[Row], bool]:
        """Return a page of rows, and whether there are more; times are epoch seconds, None is absent."""
        limit = self._limit(query.get("limit"))
        order = self._order(query.get("sort"))
        filters = self._filters(query)
        found = [row for row in rows if all(keeps(row) for keeps in filters)]
        # Toloka promises no order; a lucky one would hide that somebody relies on it.
        found.sort(key=_disorder)
        for field, is_descending in reversed(order):
            known = [row for row in found if row[field] is not None]
            unknown = [row for row in found if row[field] is None]
            found = sorted(known, key=lambda row: row[field], reverse=is_descending) + unknown
        return found[:limit], len(found) > limit

    def endless_page(
        self, rows: Sequence[Row], query: Mapping[str, str], numbers: Iterator[int] | None
    ) -> list[Row]:
        """
        Return a page of a list that has no end.

        :param numbers: go into the ids of items that are made up in the likeness of the last one; without
            them each page is the first one again.
        """
        anywhere = {name: text for name, text in query.items() if not name.startswith("id_")}
        first, _ = self.page(rows, anywhere)
        if numbers is None:
            return first
        page, has_more = self.page(rows, query)
        if has_more or not first:
            return page
        missing = self._limit(query.get("limit")) - len(page)
        return page + [{**first[-1], "id": self._made_up(next(numbers))} for _ in range(missing)]

    def _made_up(self, number: int) -> int | str:
        """Return an id behind all that there are."""
        number += 10**12
        return number if self.id_type is int else f"zzzzzzzz-{number}"

    def _limit(self, text: str | None) -> int:
        if text is None:
            return self.usual
        if not text.isdecimal() or not 1 <= int(text) <= self.most:
            raise invalid("limit", f"must be between 1 and {self.most}")
        return int(text)

    def _order(self, text: str | None) -> list[tuple[str, bool]]:
        order = []
        for item in text.split(",") if text else []:
            field = item.strip().removeprefix("-")
            if field not in self.sortable:
                raise invalid("sort", f"can't sort by {field!r}")
            order.append((field, item.strip().startswith("-")))
        return order

    def _filters(self, query: Mapping[str, str]) -> list[Callable[[Row], bool]]:
        filters = []
        for name, text in query.items():
            field, _, comparison = name.rpartition("_")
            if name in self.choices:
                filters.append(self._choice(name, text))
            elif comparison in _COMPARISONS and (field == "id" or field in self.times):
                filters.append(self._range(name, field, _COMPARISONS[comparison], text))
        return filters

    def _choice(self, field: str, text: str) -> Callable[[Row], bool]:
        allowed, wanted = self.choices[field], frozenset(text.split(","))
        if allowed is not None and not wanted <= allowed:
            raise invalid(field, "must be one of " + ", ".join(sorted(allowed)))
        return lambda row: str(row[field]) in wanted

    def _range(
        self, name: str, field: str, compare: Callable[[Any, Any], bool], text: str
    ) -> Callable[[Row], bool]:
        try:
            bound = self.id_type(text) if field == "id" else _epoch(text)
        except ValueError as error:
            raise invalid(name, str(error)) from error
        if field == "id":
            return lambda row: compare(row["id"], bound)
        # Times compare as they are written, so that an item's own time finds it.
        return lambda row: row[field] is not None and compare(_epoch(written(row[field])), bound)


def written(epoch: float) -> str:
    """Write a time as Toloka does: UTC without a zone, in milliseconds."""
    return datetime.fromtimestamp(epoch, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def _epoch(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _disorder(row: Row) -> bytes:
    return hashlib.blake2b(str(row["id"]).encode(), digest_size=8).digest()
