"""Saves the files of exports, each by itself or all as one, and tells of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_archival.api.http import BadRequest, Forbidden, NotFound
from airflow_provider_archival.api.jira import JiraTask
from airflow_provider_archival.api.urls import is_whole, without_query
from airflow_provider_archival.exceptions import FileGone, FileNotAvailable, ServiceRefusal
from airflow_provider_archival.files.destination import Destination
from airflow_provider_archival.files.download import download

if TYPE_CHECKING:
    from airflow_provider_archival.hooks.jira import JiraCloudHook

log = logging.getLogger(__name__)

Found = list[tuple[JiraTask, str]]
"""Exports, and where their files lie."""


class ExportFiles:
    """
    The files of exports.

    :param hook: fetches them, and asks where they lie
    :param destination: where to; None leaves them where they are
    :param merges: whether to make one of them
    :param max_bytes: how large each may be; None for no limit
    """

    def __init__(
        self, hook: JiraCloudHook, destination: Destination | None, merges: bool, max_bytes: int | None
    ) -> None:
        self._hook, self._destination = hook, destination
        self._merges, self._max_bytes = merges, max_bytes

    def of(self, tasks: list[JiraTask]) -> list[dict[str, Any]]:
        """
        Save the files of exports, and return what goes to XCom: no URL in it has its query.

        Where one is not at the address that is known any more, Jira is asked for it anew.

        :raises FileNotAvailable: Jira does not tell where one lies
        :raises FileGone: one can be had no more
        """
        found: Found = []
        for task in tasks:
            if (url := self._url(task)) is not None:
                found.append((task, url))
            else:
                self._tell_of_no_file(task)
        try:
            return self._saved(found)
        except ServiceRefusal as refusal:
            if not self._is_gone(refusal, found):
                raise
            log.info("Asking Jira for the files' addresses again: %s", refusal)
        try:
            return self._saved([(task, self._hook.get_task(task.id).file_url or url) for task, url in found])
        except ServiceRefusal as refusal:
            if not self._is_gone(refusal, found):
                raise
            raise FileGone(
                f"{refusal} The export has ended well, but its file can be had no more. Clear this task to"
                " export anew.",
                refusal.error,
            ) from None

    # --- where they lie ---

    def _url(self, task: JiraTask) -> str | None:
        """Return where a task's file lies; what was remembered without its query is asked for again."""
        if task.file_url is None or is_whole(task.file_url) or not self._destination:
            return task.file_url
        url = self._hook.get_task(task.id).file_url
        if url is None:
            raise FileNotAvailable(
                f"Jira task {task.id} ended well, but Jira told where its CSV lies only when the export was"
                " submitted, with a signature that is kept nowhere: the link is in the e-mail that it sent to"
                f" the connection's account. So nothing could be saved to {self._destination.shown}. With"
                " deferrable=False the file of another export is.",
                task.to_dict(),
            )
        return url

    def _is_gone(self, refusal: ServiceRefusal, found: Found) -> bool:
        """Say whether a file is no more; one that is signed for some time is refused then."""
        if isinstance(refusal.error, NotFound):
            return True
        is_signed = not all(self._hook.is_own(url) for _, url in found)
        return is_signed and isinstance(refusal.error, (BadRequest, Forbidden))

    def _tell_of_no_file(self, task: JiraTask) -> None:
        message = (
            f"Jira task {task.id} ended well, but Jira does not tell where its CSV lies: the link is in the"
            " e-mail that it sent to the connection's account."
        )
        if self._destination:
            raise FileNotAvailable(
                f"{message} So nothing could be saved to {self._destination.shown}.", task.to_dict()
            )
        log.warning("%s", message)

    # --- saving ---

    def _saved(self, found: Found) -> list[dict[str, Any]]:
        if self._destination is None:
            return [_left(task, url) for task, url in found]
        if len(found) > 1 and (self._merges or self._destination.is_file):
            return [self._merged(found, self._destination)]
        return [self._saved_one(task, url, self._destination) for task, url in found]

    def _saved_one(self, task: JiraTask, url: str, to: Destination) -> dict[str, Any]:
        saved = download(self._hook, url, to.text, _name(task), conn_id=to.conn_id, max_bytes=self._max_bytes)
        log.info("Jira task %s: %d rows, %d bytes at %s", task.id, saved.rows, saved.bytes, saved.path)
        told = {"path": saved.path, "rows": saved.rows, "bytes": saved.bytes}
        return {"task_id": task.id, "file_url": without_query(url), **told}

    def _merged(self, found: Found, to: Destination) -> dict[str, Any]:
        from airflow_provider_archival.files.merge import merge

        urls = [url for _, url in found]
        name = _name(found[0][0])
        saved = merge(self._hook, urls, to.text, name, conn_id=to.conn_id, max_bytes=self._max_bytes)
        if saved.dropped is None:
            log.warning(
                "No column of the exports is known as the issues' key, so issues that are in two of them are"
                " in %s twice",
                saved.path,
            )
        else:
            log.info("%d rows were of issues that were there already: left out", saved.dropped)
        log.info(
            "%d exports, merged: %d rows, %d bytes at %s", len(found), saved.rows, saved.bytes, saved.path
        )
        told = {"path": saved.path, "rows": saved.rows, "bytes": saved.bytes}
        return {"task_id": None, "file_url": None, **told}


def _left(task: JiraTask, url: str) -> dict[str, Any]:
    shown = without_query(url)
    signed = "" if is_whole(shown) else "; its query is not shown: give a destination to have the file"
    log.info("Jira task %s: the CSV lies at %s%s", task.id, shown, signed)
    return {"task_id": task.id, "file_url": shown, "path": None, "rows": None, "bytes": None}


def _name(task: JiraTask) -> str:
    return f"jira-archived-issues-{task.id}.csv"
