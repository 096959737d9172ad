"""Makes one CSV of several that overlap, in constant memory."""

from __future__ import annotations

import csv
import io
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_archival.api.urls import without_query
from airflow_provider_archival.exceptions import FilesDiffer
from airflow_provider_archival.files.csv_text import filled, key_column, reading
from airflow_provider_archival.files.destination import Destination
from airflow_provider_archival.files.download import Saved, download
from airflow_provider_archival.hooks.base import ServiceHook

_MOST_SHOWN = 500

Column = tuple[str, int]
"""A column's name, and how many columns of this name are before it in the same header."""


@dataclass(frozen=True)
class Merged(Saved):
    """
    The one file.

    :param dropped: how many rows were left out because their issue was there already; None where no column
        was recognised as the issues' key, so that nothing was left out
    """

    dropped: int | None = None


@dataclass(frozen=True)
class _File:
    """
    A CSV, and what its rows have.

    :param columns: those of the header, and behind them one without a name for each cell that a row has more
    :param key: where the issues' key is
    """

    path: Path
    columns: tuple[Column, ...]
    key: int | None

    @property
    def key_names(self) -> list[str]:
        return [] if self.key is None else [self.columns[self.key][0]]


def merge(
    hook: ServiceHook,
    urls: Sequence[str],
    destination: str,
    name: str,
    *,
    conn_id: str | None = None,
    max_bytes: int | None = None,
) -> Merged:
    """
    Save the CSVs at ``urls`` as one in UTF-8, each issue once: its first row.

    The columns are those of all files, told by their name and by their place among those of the same name;
    these stand together. No value is left out: a row that is longer than its header has its other cells in
    columns without a name. Rows without any value are left out, those without a key are all kept.

    The files lie in a temporary folder of this machine meanwhile; the one file is under a temporary name
    until it is complete.

    :param max_bytes: of each of the files
    :raises FilesDiffer: a file has no column that one of the others has
    :raises DestinationNotUsable: the destination can't be written to, and a retry can't mend that
    :raises DestinationNotReachable: the destination can't be written to now
    """
    to = Destination(destination, conn_id)
    with tempfile.TemporaryDirectory() as folder:
        files: list[_File] = []
        for number, url in enumerate(urls):
            download(hook, url, folder, f"{number}.csv", max_bytes=max_bytes)
            files.append(_looked_at(Path(folder) / f"{number}.csv", files))
        _check(files, urls)
        with to.saving(name) as part, part.open() as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            with closing(_Merging(text, files, Path(folder))) as merging:
                merging.write()
                text.flush()
                size = int(raw.tell())
    dropped = merging.dropped if any(file.key is not None for file in files) else None
    return Merged(str(to.target(name)), merging.rows, size, dropped)


def _looked_at(path: Path, others: Sequence[_File]) -> _File:
    """Read a file once to see which columns it has; the key's is named as in the files before."""
    with reading(path) as rows:
        names = [name.strip() for name in next(filled(rows), [])]
        width = len(names)
        longer = (row for row in rows if len(row) > width)
        names += [""] * (max((_filled_width(row) for row in longer), default=width) - width)
    key = key_column(names)
    key_name = next((name for file in others for name in file.key_names), "" if key is None else names[key])
    before = Counter() if key is None else Counter([key_name])
    columns = []
    for at, name in enumerate(names):
        columns.append((key_name, 0) if at == key else (name, before[name]))
        before[name] += at != key
    return _File(path, tuple(columns), key)


def _check(files: Sequence[_File], urls: Sequence[str]) -> None:
    """Refuse what can't be an export of the same site."""
    for file, url in zip(files, urls, strict=True):
        others = {name for other in files if other is not file for name, _ in other.columns}
        own = dict.fromkeys(name for name, _ in file.columns)
        if own and others and not own.keys() & others - {""}:
            raise FilesDiffer(
                f"The exports can't be merged: {without_query(url)} has no column that another one has."
                f" Its columns are {_shown(own)}; the others have {_shown(sorted(others))}. Leave merge out:"
                " then each is a file of its own."
            )


def _shown(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


class _Merging:
    """Writes the files to one, the header first; nobody else reads what it keeps, and it is gone with it."""

    def __init__(self, text: io.TextIOWrapper, files: Sequence[_File], folder: Path) -> None:
        self._text, self._writer = text, csv.writer(text)
        self._files, self._header = files, _union(files)
        self._seen = sqlite3.connect(folder / "seen.db", isolation_level=None)
        self._seen.execute("PRAGMA journal_mode = OFF")
        self._seen.execute("PRAGMA synchronous = OFF")
        self._seen.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")
        self._seen.execute("BEGIN")
        self.rows = self.dropped = 0

    def write(self) -> None:
        if self._header:
            self._writer.writerow([name for name, _ in self._header])
        for file in self._files:
            with reading(file.path) as rows:
                below = filled(rows)
                next(below, None)
                for row in below if file.key is None else self._new(below, file.key):
                    self._writer.writerow(self._in_order(row, file))
                    self.rows += 1

    def _new(self, rows: Iterator[list[str]], key: int) -> Iterator[list[str]]:
        """Yield the rows whose issue was not there yet, and those that name none."""
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        for row in rows:
            name = row[key].strip() if key < len(row) else ""
            if not name or self._seen.execute(insert, (name,)).rowcount:
                yield row
            else:
                self.dropped += 1

    def _in_order(self, row: list[str], file: _File) -> Sequence[str]:
        """Return a row's cells under the header's columns, empty ones where it has none."""
        if file.columns == self._header and len(row) == len(file.columns):
            return row
        cells = dict(zip(file.columns, row, strict=False))
        return [cells.get(column, "") for column in self._header]

    def close(self) -> None:
        self._seen.close()
        if not self._text.closed:
            self._text.detach()


def _union(files: Sequence[_File]) -> tuple[Column, ...]:
    """Return the columns of all files: names as they come, the same ones together, those without one last."""
    most = Counter[str]()
    for file in files:
        for name, before in file.columns:
            most[name] = max(most[name], before + 1)
    unnamed = most.pop("", 0)
    named = [(name, number) for name, count in most.items() for number in range(count)]
    return (*named, *(("", number) for number in range(unnamed)))


def _filled_width(row: list[str]) -> int:
    """Return how many cells a row has without the empty ones at its end."""
    return next((at for at in range(len(row), 0, -1) if row[at - 1].strip()), 0)
