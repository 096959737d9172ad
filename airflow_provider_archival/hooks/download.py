"""Brings a CSV from a service to any object storage, in constant memory, and only a whole one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from airflow_provider_archival.exceptions import FileTooLarge, ServiceFault
from airflow_provider_archival.hooks.base import ATTEMPTS, ServiceHook


@dataclass(frozen=True)
class Saved:
    """A file that was saved: where, how many rows under the header, how many bytes."""

    path: str
    rows: int
    bytes: int


class _RowCounter:
    """Counts the rows of a CSV that comes in pieces; a line break between quotes ends none."""

    def __init__(self) -> None:
        self.bytes = 0
        self._ends = 0
        self._quoted = False
        self._last = b"\n"

    def take(self, piece: bytes) -> None:
        self.bytes += len(piece)
        for number, part in enumerate(piece.split(b'"')):
            if number:
                self._quoted = not self._quoted
            if not self._quoted:
                self._ends += part.count(b"\n")
        self._last = piece[-1:] or self._last

    @property
    def rows(self) -> int:
        """The rows without the header."""
        return max(self._ends + (self._last != b"\n") - 1, 0)


def target_of(destination: str, name: str, conn_id: str | None = None) -> Any:
    """Return the path of a file, and see to it that its folder exists; see :func:`download`."""
    target = ObjectStoragePath(destination, conn_id=conn_id)
    if not destination.endswith(".csv"):
        target = target / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def download(
    hook: ServiceHook,
    url: str,
    destination: str,
    name: str,
    *,
    conn_id: str | None = None,
    max_bytes: int | None = None,
) -> Saved:
    """
    Save the CSV at ``url``; passing faults and cut downloads are tried again from the start.

    :param hook: fetches it
    :param url: where it lies
    :param destination: a folder, or a path that ends in ``.csv``: local, or any object storage URL
    :param name: the file's name in a folder
    :param conn_id: the connection of the object storage
    :param max_bytes: how large the file may be; None for no limit
    :raises FileTooLarge: it is larger; nothing is saved
    """
    target = target_of(destination, name, conn_id)
    part = target.parent / f"{target.name}.part"
    retrying = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(initial=1, max=30),
        retry=retry_if_exception(lambda error: isinstance(error, ServiceFault) and error.error.can_repeat),
        reraise=True,
    )
    try:
        counter: _RowCounter = retrying(_fetch, hook, url, part, max_bytes)
        part.replace(target)
    finally:
        if part.exists():
            part.unlink()
    return Saved(str(target), counter.rows, counter.bytes)


def _fetch(hook: ServiceHook, url: str, part: Any, max_bytes: int | None) -> _RowCounter:
    counter = _RowCounter()
    with part.open("wb") as file:

        def take(piece: bytes) -> None:
            counter.take(piece)
            if max_bytes is not None and counter.bytes > max_bytes:
                raise FileTooLarge(
                    f"The file at {url} is larger than max_file_bytes ({max_bytes}): nothing was saved."
                    " Narrow the filter, split the export (split_by), or allow more."
                )
            file.write(piece)

        hook.fetch(url, take)
    return counter
