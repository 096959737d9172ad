"""The forms that an export's CSV can have, since the reference is silent on that."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from airflow_provider_archival.sandbox.issues import key_of, labels_of
from airflow_provider_archival.sandbox.jira_catalog import (
    ISSUE_TYPES,
    PROJECT_BY_ID,
    STATUSES,
    USERS,
    account_id,
)

Find = Callable[[], Iterable[sqlite3.Row]]

_TYPES = {kind.id: kind for kind in ISSUE_TYPES}
_STATUS_NAMES = {status.id: status.name for status in STATUSES}
_PLAIN_HEADER = (
    "Issue Type|Issue key|Issue id|Summary|Status|Resolution|Project key|Project name|Parent|Assignee"
    "|Reporter|Labels|Created|Updated|Resolved|ArchivedBy|ArchivedDate"
)
_JIRA_HEADER = (
    "Summary|Issue key|Issue id|Issue Type|Status|Project key|Project name|Parent|Assignee|Reporter"
    "|Labels|Watchers|Resolution|Created|Updated|Resolved|ArchivedBy|ArchivedDate"
)
# Bytes that are no UTF-8, as surrogateescape writes them: a Latin-1 letter, and a character above U+FFFF in
# CESU-8, as two surrogates of three bytes each.
_LATIN_1, _CESU_8 = "\udce9", "".join(chr(0xDC00 + byte) for byte in b"\xed\xa0\xbd\xed\xb8\x80")
_NO_ISSUE = "A row of no issue"


def write(path: Path, form: str, find: Find) -> None:
    """
    Write an export's file.

    :param form: what :attr:`Settings.csv` says
    :param find: finds the issues; a form that has as many columns as the richest row needs looks twice
    """
    if form == "plain":
        with path.open("w", encoding="utf-8", newline="") as file:
            _write(file, _PLAIN_HEADER.split("|"), map(_plain_cells, find()))
    elif form == "utf-16":
        with path.open("w", encoding="utf-16", newline="") as file:
            _write(file, *_jira(find), lineterminator="\r")
    elif form == "odd":
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, rows = _jira(find)
            names = ["Work item key" if name == "Issue key" else name for name in header]
            _write(file, names, _odd(rows), lineterminator="\n")
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            _write(file, *_jira(find))


def _write(file: TextIO, header: list[str], rows: Iterable[list[Any]], lineterminator: str = "\r\n") -> None:
    writer = csv.writer(file, lineterminator=lineterminator)
    writer.writerow(header)
    writer.writerows(rows)


def _jira(find: Find) -> tuple[list[str], Iterator[list[Any]]]:
    """Return header and rows of Jira's ordinary export: a column for each label and each watcher."""
    widths = {
        "Labels": max((len(labels_of(row["labels"])) for row in find()), default=0),
        "Watchers": max((len(_watchers(row)) for row in find()), default=0),
    }
    columns, plain = _JIRA_HEADER.split("|"), _PLAIN_HEADER.split("|")

    def cells(row: sqlite3.Row) -> list[Any]:
        one = {name: [cell] for name, cell in zip(plain, _plain_cells(row), strict=True)}
        several = {"Labels": labels_of(row["labels"]), "Watchers": _watchers(row)}
        for name, values in several.items():
            one[name] = [*values, *[""] * (widths[name] - len(values))]
        return [cell for name in columns for cell in one[name]]

    return [name for name in columns for _ in range(widths.get(name, 1))], map(cells, find())


def _odd(rows: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Yield rows as people have them: empty, short, long, of no issue, with bytes that are no UTF-8."""
    for number, cells in enumerate(rows):
        cells[0] = f"{cells[0]} caf{_LATIN_1}" if number % 3 == 0 else f"{cells[0]} {_CESU_8}\0"
        if number % 4 == 0:
            yield []
            yield [_NO_ISSUE]
        if number % 4 == 1:
            # Its last cells are left out.
            cells = cells[:-3]
        if number % 4 == 2:
            cells = [*cells, "one more", f"and another of {cells[1]}"]
        yield cells


def _watchers(row: sqlite3.Row) -> list[str]:
    return [user.account_id for user in USERS[: row["id"] % 4]]


def _plain_cells(row: sqlite3.Row) -> list[Any]:
    project = PROJECT_BY_ID[row["project"]]
    return [
        _TYPES[row["type"]].name,
        key_of(row),
        row["id"],
        row["summary"],
        _STATUS_NAMES[row["status"]],
        None if row["resolved"] is None else "Done",
        project.key,
        project.name,
        None if row["parent"] is None else f"{project.key}-{row['parent_number']}",
        account_id(row["assignee"]),
        account_id(row["reporter"]),
        " ".join(labels_of(row["labels"])),
        row["created_time"],
        row["updated_time"],
        row["resolved_time"],
        account_id(row["archiver"]),
        row["archived_time"],
    ]
