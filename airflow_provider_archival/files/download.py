"""Brings a CSV from a service to any object storage, in constant memory, and only a whole one."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_archival.api.urls import without_query
from airflow_provider_archival.exceptions import FileTooLarge
from airflow_provider_archival.files.csv_text import RowCounter
from airflow_provider_archival.files.destination import Destination, Part
from airflow_provider_archival.hooks.base import ServiceHook


@dataclass(frozen=True)
class Saved:
    """A file that was saved: where, how many rows under the header (empty lines aside), how many bytes."""

    path: str
    rows: int
    bytes: int


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

    It is saved as it is, in whichever encoding, under a temporary name until it is whole.

    :param hook: fetches it
    :param url: where it lies
    :param destination: a folder, or a path that ends in ``.csv``: local, or any object storage URL
    :param name: the file's name in a folder
    :param conn_id: the connection of the object storage
    :param max_bytes: how large the file may be; None for no limit
    :raises FileTooLarge: it is larger; nothing is saved
    :raises DestinationNotUsable: the destination can't be written to, and a retry can't mend that
    :raises DestinationNotReachable: the destination can't be written to now
    """
    to = Destination(destination, conn_id)
    with to.saving(name) as part:
        counter = hook.repeated(lambda: _fetch(hook, url, part, max_bytes), f"GET {without_query(url)}")
    return Saved(str(to.target(name)), counter.rows, counter.bytes)


def _fetch(hook: ServiceHook, url: str, part: Part, max_bytes: int | None) -> RowCounter:
    counter = RowCounter()
    with part.open() as file:

        def take(piece: bytes) -> None:
            counter.take(piece)
            if max_bytes is not None and counter.bytes > max_bytes:
                raise FileTooLarge(
                    f"The file at {without_query(url)} is larger than max_file_bytes ({max_bytes}): nothing"
                    " was saved. Narrow the filter, split the export (split_by), or allow more."
                )
            file.write(piece)

        hook.fetch(url, take)
    return counter
