"""Makes one CSV of several that overlap, in constant memory."""

from __future__ import annotations

import csv
import io
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_archival.exceptions import FilesDiffer
from airflow_provider_archival.hooks.base import ServiceHook
from airflow_provider_archival.hooks.download import Saved, download, target_of

# As the header names the column, in small letters and without what is between words.
_KEY_COLUMNS = {"issuekey", "key"}
_LONGEST_FIELD = 2**31 - 1


@dataclass(frozen=True)
class Merged(Saved):
    """
    The one file.

    :param dropped: how many rows were left out because their issue was there already; None where no column
        was recognised as the issues' key, so that nothing was left out
    """

    dropped: int | None = None


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
    Save the CSVs at ``urls`` as one, each issue once.

    They come one after the other to a temporary folder of this machine; the one file is under a temporary
    name until it is complete. Columns are told by the first file's header.

    :param max_bytes: of each of the files
    """
    target = target_of(destination, name, conn_id)
    part = target.parent / f"{target.name}.part"
    try:
        with tempfile.TemporaryDirectory() as folder, part.open("wb") as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            merging = _Merging(text, Path(folder))
            with closing(merging):
                for number, url in enumerate(urls):
                    download(hook, url, folder, f"{number}.csv", max_bytes=max_bytes)
                    file = Path(folder) / f"{number}.csv"
                    merging.add(file, url)
                    file.unlink()
                text.flush()
                size = int(raw.tell())
        part.replace(target)
    finally:
        if part.exists():
            part.unlink()
    dropped = merging.dropped if merging.key is not None else None
    return Merged(str(target), merging.rows, size, dropped)


class _Merging:
    def __init__(self, text: io.TextIOWrapper, folder: Path) -> None:
        csv.field_size_limit(_LONGEST_FIELD)
        self._text, self._writer = text, csv.writer(text)
        self._seen = sqlite3.connect(folder / "seen.db", isolation_level=None)
        self._seen.execute("PRAGMA journal_mode = OFF")
        self._seen.execute("PRAGMA synchronous = OFF")
        self._seen.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")
        # One transaction for all: nobody else reads it, and it does not outlive the merge.
        self._seen.execute("BEGIN")
        self._header: list[str] | None = None
        self.key: int | None = None
        self.rows = self.dropped = 0

    def add(self, file: Path, url: str) -> None:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.reader(text)
            header = next(rows, None)
            if header is None:
                return
            if self._header is None:
                self._header = header
                self.key = _key_column(header)
                self._writer.writerow(header)
            for row in self._in_order(rows, header, url):
                self._take(row)

    def _in_order(self, rows: Iterator[list[str]], header: list[str], url: str) -> Iterator[list[str]]:
        """Yield the rows with their columns in the first file's order."""
        if header == self._header:
            yield from rows
            return
        assert self._header is not None
        if sorted(header) != sorted(self._header):
            raise FilesDiffer(
                f"The exports have different columns, so they can't be merged: {url} has {', '.join(header)},"
                f" the first one {', '.join(self._header)}. Leave merge out: then each is a file of its own."
            )
        order = [header.index(name) for name in self._header]
        for row in rows:
            yield [row[at] for at in order]

    def _take(self, row: list[str]) -> None:
        if self.key is not None and self.key < len(row):
            insert = "INSERT OR IGNORE INTO seen VALUES (?)"
            if not self._seen.execute(insert, (row[self.key],)).rowcount:
                self.dropped += 1
                return
        self._writer.writerow(row)
        self.rows += 1

    def close(self) -> None:
        self._seen.close()
        if not self._text.closed:
            self._text.detach()


def _key_column(header: list[str]) -> int | None:
    names = ["".join(letter for letter in name.lower() if letter.isalnum()) for name in header]
    return next((at for at, name in enumerate(names) if name in _KEY_COLUMNS), None)
