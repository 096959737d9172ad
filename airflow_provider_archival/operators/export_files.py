"""Saves the files of exports, each by itself or all as one, and tells of them."""

from __future__ import annotations

import logging
from typing import Any

from airflow_provider_archival.api.jira import JiraTask
from airflow_provider_archival.api.urls import is_whole, without_query
from airflow_provider_archival.hooks.base import ServiceHook
from airflow_provider_archival.hooks.destination import Destination
from airflow_provider_archival.hooks.download import download

log = logging.getLogger(__name__)


def save(
    hook: ServiceHook,
    found: list[tuple[JiraTask, str]],
    destination: Destination | None,
    merges: bool,
    max_bytes: int | None,
) -> list[dict[str, Any]]:
    """
    Save the files of exports, and return what goes to XCom: no URL in it has its query.

    :param hook: fetches them
    :param found: the tasks that wrote them, and where they lie
    :param destination: where to; None leaves them where they are
    :param merges: whether to make one of them
    :param max_bytes: how large each may be; None for no limit
    """
    if destination is None:
        return [_left(task, url) for task, url in found]
    if len(found) > 1 and (merges or destination.is_file):
        return [_merged(hook, found, destination, max_bytes)]
    return [_saved(hook, task, url, destination, max_bytes) for task, url in found]


def _left(task: JiraTask, url: str) -> dict[str, Any]:
    shown = without_query(url)
    signed = "" if is_whole(shown) else "; its query is not shown: give a destination to have the file"
    log.info("Jira task %s: the CSV lies at %s%s", task.id, shown, signed)
    return {"task_id": task.id, "file_url": shown, "path": None, "rows": None, "bytes": None}


def _saved(
    hook: ServiceHook, task: JiraTask, url: str, destination: Destination, max_bytes: int | None
) -> dict[str, Any]:
    saved = download(
        hook, url, destination.text, _name(task), conn_id=destination.conn_id, max_bytes=max_bytes
    )
    log.info("Jira task %s: %d rows, %d bytes at %s", task.id, saved.rows, saved.bytes, saved.path)
    told = {"path": saved.path, "rows": saved.rows, "bytes": saved.bytes}
    return {"task_id": task.id, "file_url": without_query(url), **told}


def _merged(
    hook: ServiceHook, found: list[tuple[JiraTask, str]], destination: Destination, max_bytes: int | None
) -> dict[str, Any]:
    from airflow_provider_archival.hooks.merge import merge

    urls = [url for _, url in found]
    name = _name(found[0][0])
    saved = merge(hook, urls, destination.text, name, conn_id=destination.conn_id, max_bytes=max_bytes)
    if saved.dropped is None:
        log.warning(
            "No column of the exports is known as the issues' key, so issues that are in two of them are"
            " in %s twice",
            saved.path,
        )
    else:
        log.info("%d rows were of issues that were there already: left out", saved.dropped)
    log.info("%d exports, merged: %d rows, %d bytes at %s", len(found), saved.rows, saved.bytes, saved.path)
    told = {"path": saved.path, "rows": saved.rows, "bytes": saved.bytes}
    return {"task_id": None, "file_url": None, **told}


def _name(task: JiraTask) -> str:
    return f"jira-archived-issues-{task.id}.csv"
