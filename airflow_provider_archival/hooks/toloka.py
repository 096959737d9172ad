"""The hook for Toloka."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from airflow_provider_archival.api import http, toloka
from airflow_provider_archival.api.http import ApiError
from airflow_provider_archival.api.jobs import TOLOKA_OPERATION
from airflow_provider_archival.api.toloka import (
    Pages,
    TolokaOperation,
    TolokaPool,
    TolokaProject,
)
from airflow_provider_archival.hooks.auth import HeaderAuth
from airflow_provider_archival.hooks.base import ServiceHook
from airflow_provider_archival.hooks.hosts import toloka_url
from airflow_provider_archival.hooks.site import Extra, Site, token_of

ENVIRONMENTS = {"production": "https://toloka.dev", "sandbox": "https://sandbox.toloka.dev"}
_FIELDS = ("environment", "auth_scheme", "url", "token")
_PREFIXES = ("extra__toloka__",)
# The official client's rule: such a token is an API key, any other an OAuth token.
_API_KEY = re.compile(r"[^.]{22,24}\.[^.]*\.[^.]*")

Item = TypeVar("Item", TolokaOperation, TolokaPool)


class TolokaHook(ServiceHook):
    """
    Talk to Toloka's projects, pools, trainings and operations.

    All methods send their requests at once and raise
    :class:`~airflow_provider_archival.exceptions.ServiceRefusal` where a retry can't help,
    :class:`~airflow_provider_archival.exceptions.ServiceFault` where it may, and
    :class:`~airflow_provider_archival.exceptions.ConnectionNotUsable` for an incomplete connection.
    Requests are values of :mod:`airflow_provider_archival.api.toloka`; :meth:`call` and :meth:`acall` send
    any. A process sends at most 250 requests a second through a connection; Toloka takes 300.

    .. seealso:: https://toloka.ai/docs/api/api-reference/

    :param toloka_conn_id: a connection of type ``toloka``: password = the token; host only where it is
        neither ``environment`` (extra; ``production`` or ``sandbox``); extra ``auth_scheme``: ``auto``,
        ``OAuth`` or ``ApiKey``. The extra fields of the older Toloka provider are read too.
    """

    conn_name_attr = "toloka_conn_id"
    default_conn_name = "toloka_default"
    conn_type = "toloka"
    hook_name = "Toloka (archival)"
    service = "Toloka"
    job_word = "operation"
    # Toloka refuses more than 300 a second.
    most_per_second = 250

    def __init__(self, toloka_conn_id: str = default_conn_name) -> None:
        super().__init__(toloka_conn_id)
        self.toloka_conn_id = toloka_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form's labels for Airflow 2; Airflow 3 reads them from the provider info."""
        from airflow_provider_archival.get_provider_info import ui_field_behaviour

        return ui_field_behaviour(cls.conn_type)

    def archive_project(self, project_id: str) -> TolokaOperation | None:
        """
        Start to archive a project; all its pools and trainings must be archived.

        Where the answer is lost, nobody knows whether the operation was started: this raises, and does not
        ask twice.

        :return: the operation (it may be over already); None when the project is archived already
        """
        return self.call(toloka.archive_project(project_id))

    def archive_pool(self, pool_id: str) -> TolokaOperation | None:
        """Start to archive a closed pool; None when it is archived already. As :meth:`archive_project`."""
        return self.call(toloka.archive_pool(pool_id))

    def archive_training(self, training_id: str) -> TolokaOperation | None:
        """Start to archive a closed training whose pools are archived; None when it is archived already."""
        return self.call(toloka.archive_training(training_id))

    def close_pool(self, pool_id: str) -> TolokaOperation | None:
        """Start to close a pool, which stops the work in it; None when it is closed already."""
        return self.call(toloka.close_pool(pool_id))

    def close_training(self, training_id: str) -> TolokaOperation | None:
        """Start to close a training; None when it is closed already."""
        return self.call(toloka.close_training(training_id))

    def start(self, type: str, id: str) -> TolokaOperation | None:
        """Start an operation of a type such as ``POOL.ARCHIVE``; None when there is nothing to do."""
        return self.call(toloka.start(type, id))

    def get_operation(self, operation_id: str) -> TolokaOperation:
        """Look at an operation."""
        return self.call(toloka.get_operation(operation_id))

    def wait_for_operation(
        self, operation_id: str, *, poll_interval: float = 30, timeout: float = 24 * 60 * 60
    ) -> TolokaOperation:
        """
        Wait until an operation ends, well or not, and return it.

        :param operation_id: the operation's id
        :param poll_interval: the longest pause between two looks, in seconds
        :param timeout: seconds to wait at most
        :raises JobTimeout: it did not end in time; it goes on at Toloka
        """
        return self.wait_for(TOLOKA_OPERATION, operation_id, poll_interval, timeout)

    def list_operations(
        self, *, type: str | None = None, status: str | None = None, submitted_gte: str | None = None
    ) -> Iterator[TolokaOperation]:
        """
        Go through the operations, page by page, in the order of their ids.

        :param type: such as ``PROJECT.ARCHIVE``
        :param status: such as ``RUNNING``
        :param submitted_gte: submitted then or later: ISO 8601, UTC without a zone
        """
        return self._all(toloka.all_operations(type=type, status=status, submitted_gte=submitted_gte))

    def list_pools(self, project_id: str, *, status: str | None = None) -> Iterator[TolokaPool]:
        """Go through the pools of a project, page by page, in the order of their ids."""
        return self.list_members(toloka.POOL_ARCHIVE, project_id, status=status)

    def list_trainings(self, project_id: str, *, status: str | None = None) -> Iterator[TolokaPool]:
        """Go through the trainings of a project, page by page, in the order of their ids."""
        return self.list_members(toloka.TRAINING_ARCHIVE, project_id, status=status)

    def list_members(self, type: str, project_id: str, *, status: str | None = None) -> Iterator[TolokaPool]:
        """Go through a project's pools or trainings: those that operations of this type are for."""
        return self._all(toloka.all_members(type, project_id, status))

    def get_project(self, project_id: str) -> TolokaProject:
        """Look at a project."""
        return self.call(toloka.get_project(project_id))

    def test_connection(self) -> tuple[bool, str]:
        """Sign in."""
        try:
            name = self.call(toloka.requester())
        except Exception as error:  # noqa: BLE001 (the form shows whatever went wrong)
            return False, str(error)
        return True, f"Signed in as {name}."

    def advice(self, error: ApiError) -> str:
        if isinstance(error, (http.NotAuthenticated, http.Forbidden)):
            return (
                f"Check the token (password) of connection '{self._conn_id}', its environment (a token of the"
                " sandbox is none of production's) and its auth_scheme."
            )
        if isinstance(error, http.Conflict):
            return (
                "Before a project, all its pools and trainings must be archived; before a pool, it must be"
                " closed (and, with rejected tasks, nine days must have passed since the last rejection)."
            )
        if isinstance(error, http.NotFound):
            return "Check the id, and that it belongs to this account and environment."
        if isinstance(error, http.BadRequest):
            return "Correct what Toloka names, then clear this task."
        return super().advice(error)

    def site_of(self, connection: Any, extra: Mapping[str, Any]) -> Site:
        fields = Extra(self._conn_id, extra, _PREFIXES)
        fields.warn_of_unknown(_FIELDS)
        allow_http = fields.flag("allow_http", False) or connection.schema == "http"
        base = toloka_url(self._conn_id, connection, fields.text("url"), allow_http=allow_http)
        if base is None:
            base = ENVIRONMENTS[fields.choice("environment", tuple(ENVIRONMENTS), "production")]
        token = token_of(
            self._conn_id, "password (the token)", (connection.password or "").strip() or fields.text("token")
        )
        scheme = fields.choice("auth_scheme", ("auto", "OAuth", "ApiKey"), "auto")
        if scheme == "auto":
            scheme = "ApiKey" if _API_KEY.fullmatch(token) else "OAuth"
        return Site(
            base + "/api/v1",
            HeaderAuth.token(scheme, token),
            timeout=fields.timeout(),
            verify=fields.verify(),
            proxies=fields.proxies(),
            conn_id=self._conn_id,
        )

    def _all(self, pages: Pages[Item]) -> Iterator[Item]:
        while pages.next is not None:
            yield from pages.take(self.call(pages.next))
