"""The hook for Jira Cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from airflow_provider_archival.api import http, jira, jira_flows
from airflow_provider_archival.api.flow import Flow
from airflow_provider_archival.api.http import ApiError
from airflow_provider_archival.api.jira import ArchiveReport, ExportFilter, JiraTask
from airflow_provider_archival.api.jira_flows import lacks_scope
from airflow_provider_archival.api.jobs import JIRA_TASK, cancelled_task
from airflow_provider_archival.api.voices import Voice, jiras_or_storages
from airflow_provider_archival.exceptions import ServiceRefusal
from airflow_provider_archival.hooks.auth import Auth, ClientCredentials, HeaderAuth
from airflow_provider_archival.hooks.base import ServiceHook
from airflow_provider_archival.hooks.hosts import checked_url, file_url, gateway_url, jira_url
from airflow_provider_archival.hooks.site import Extra, Site, token_of, wrong_field

T = TypeVar("T")

DEFAULT_GATEWAY = "https://api.atlassian.com"
DEFAULT_TOKEN_URL = "https://auth.atlassian.com/oauth/token"  # noqa: S105 (an address, no secret)
_FIELDS = ("auth_type", "cloud_id", "gateway_url", "token_url", "file_host")
# What the Atlassian provider's own hook, and its older forms, read from a ``jira`` connection.
_OTHERS_FIELDS = ("validate", "get_server_info", "cloud", "session")
_PREFIXES = ("extra__jira_cloud__", "extra__jira__")


class JiraCloudHook(ServiceHook):
    """
    Talk to Jira Cloud's archival endpoints, with an API token, a bearer token or client credentials.

    All methods send their requests at once and raise
    :class:`~airflow_provider_archival.exceptions.ServiceRefusal` where a retry can't help,
    :class:`~airflow_provider_archival.exceptions.ServiceFault` where it may, and
    :class:`~airflow_provider_archival.exceptions.ConnectionNotUsable` for an incomplete connection.
    Requests are values of :mod:`airflow_provider_archival.api.jira`; :meth:`call` and :meth:`acall` send any.

    .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/

    :param jira_conn_id: a connection of type ``jira_cloud`` (or any other that has the same fields): host =
        the site's URL; extra ``auth_type``: ``basic`` (login = e-mail, password = API token), ``bearer``
        (password = access token) or ``client_credentials`` (login = client id, password = client secret).
        Extra ``cloud_id`` sends everything through the gateway; ``file_host`` names the host whose files get
        the connection's credentials then.
    """

    conn_name_attr = "jira_conn_id"
    default_conn_name = "jira_cloud_default"
    conn_type = "jira_cloud"
    hook_name = "Jira Cloud (archival)"
    service = "Jira"
    job_word = "task"

    def __init__(self, jira_conn_id: str = default_conn_name) -> None:
        super().__init__(jira_conn_id)
        self.jira_conn_id = jira_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form's labels for Airflow 2; Airflow 3 reads them from the provider info."""
        from airflow_provider_archival.get_provider_info import ui_field_behaviour

        return ui_field_behaviour(cls.conn_type)

    def archive_issues(self, issue_ids_or_keys: Sequence[str]) -> ArchiveReport:
        """
        Archive issues by id or key, in requests of up to 1000; subtasks go with their parents.

        :param issue_ids_or_keys: the issues; none is fine
        :return: how many were archived, and by reason which were not. Nothing is raised for those.
        """
        return self._in_chunks(jira.archive_issues, issue_ids_or_keys)

    def unarchive_issues(self, issue_ids_or_keys: Sequence[str]) -> ArchiveReport:
        """Bring archived issues back; as :meth:`archive_issues`."""
        return self._in_chunks(jira.unarchive_issues, issue_ids_or_keys)

    def archive_issues_by_jql(self, jql: str) -> str:
        """
        Start to archive the issues that a JQL matches, and return the id of Jira's task.

        Where the answer is lost, nobody knows whether the task was started: this raises, and does not ask
        twice.

        :param jql: matches at most 100,000 issues
        """
        return self.call(jira.archive_by_jql(jql))

    def export_archived_issues(self, export_filter: ExportFilter | None = None) -> JiraTask:
        """
        Start an export of archived issues and return Jira's task.

        Jira sends its admin an e-mail for each. Where the answer is lost, this raises, and does not ask
        twice.

        :param export_filter: which issues; None for all
        """
        return self.call(jira.export_archived_issues(export_filter or ExportFilter()))

    def get_task(self, task_id: str) -> JiraTask:
        """Look at a task, given as its id or URL."""
        return self.call(jira.get_task(task_id))

    def wait_for_task(
        self, task_id: str, *, poll_interval: float = 30, timeout: float = 24 * 60 * 60
    ) -> JiraTask:
        """
        Wait until a task ends, well or not, and return it.

        :param task_id: the task's id or URL
        :param poll_interval: the longest pause between two looks, in seconds
        :param timeout: seconds to wait at most
        :raises JobTimeout: it did not end in time; it goes on at Jira
        """
        return self.wait_for(JIRA_TASK, jira.task_id_of(task_id), poll_interval, timeout)

    def cancel_task(self, task_id: str) -> bool:
        """
        Ask Jira to cancel a task.

        :return: True when Jira took the wish (the task may still end otherwise); False when it had ended
            already
        """
        return self._talk(cancelled_task(JiraTask(jira.task_id_of(task_id), "not seen yet")))

    def count_issues(self, jql: str) -> int:
        """Count the issues that a JQL matches; an estimate that may miss recent changes."""
        return self._talk(jira_flows.count(jql))

    def _talk(self, flow: Flow[T]) -> T:
        try:
            return self.follow(flow)
        except ApiError as error:
            raise self.in_airflows_terms(error) from None

    def search_issues(self, jql: str, max_results: int = 50) -> tuple[str, ...]:
        """
        Return the keys of the first issues that a JQL matches.

        .. seealso:: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issue-search/#api-rest-api-3-search-jql-post
        """
        return self.call(jira.search_issues(jql, max_results))

    def test_connection(self) -> tuple[bool, str]:
        """Sign in, and look whether the caller may archive."""
        try:
            who = self._name()
            if not self.call(jira.is_admin()):
                return False, f"Signed in{who}, who is no Jira admin: archiving needs one."
        except Exception as error:  # noqa: BLE001 (the form shows whatever went wrong)
            return False, str(error)
        return True, f"Signed in{who}, a Jira admin."

    def _name(self) -> str:
        """Return who the caller is, where its token may tell that: archiving does not need it."""
        try:
            return f" as {self.call(jira.myself())}"
        except ServiceRefusal as refusal:
            if not lacks_scope(refusal.error):
                raise
            return " (the token does not tell who it is)"

    def voice_of_files(self) -> Voice:
        return jiras_or_storages

    def advice(self, error: ApiError) -> str:
        if isinstance(error, (http.NotAuthenticated, http.Forbidden)) and lacks_scope(error):
            return (
                f"The token of connection '{self._conn_id}' lacks a scope: this needs {error.scopes}. Give it"
                " that scope, then clear this task."
            )
        if isinstance(error, http.NotAuthenticated):
            return (
                f"Check login, password and auth_type of connection '{self._conn_id}'; an API token may have"
                " expired or been revoked."
            )
        if isinstance(error, http.Forbidden):
            return (
                "Archiving needs Jira admin on a Premium or Enterprise plan (and, for an OAuth or scoped"
                f" token, the scope {error.scopes or 'write:jira-work'})."
            )
        if isinstance(error, http.Busy):
            running = f" (task {error.running_task_id})" if error.running_task_id else ""
            return (
                f"Jira runs one archive and one export at a time{running}. Retry when it has ended; a"
                " one-slot Airflow pool keeps your own tasks from meeting."
            )
        if isinstance(error, http.BadRequest):
            return "Correct what Jira names, then clear this task."
        if isinstance(error, http.NotFound):
            return "It may be unknown, older than the 14 days that Jira keeps tasks, or another account's."
        return super().advice(error)

    def site_of(self, connection: Any, extra: Mapping[str, Any]) -> Site:
        fields = Extra(self._conn_id, extra, _PREFIXES)
        fields.warn_of_unknown(_FIELDS, _OTHERS_FIELDS)
        auth_type = fields.choice("auth_type", ("basic", "bearer", "client_credentials"), "basic")
        allow_http = fields.flag("allow_http", False) or connection.schema == "http"
        cloud_id = fields.text("cloud_id")
        if cloud_id:
            gateway = fields.text("gateway_url", DEFAULT_GATEWAY) or DEFAULT_GATEWAY
            base = gateway_url(self._conn_id, gateway, allow_http=allow_http)
            try:
                base += http.path_of("ex", "jira", http.checked_id(cloud_id, "a cloud id"))
            except ValueError as error:
                raise fields.wrong("cloud_id", f"can't be used: {error}") from None
        elif auth_type == "client_credentials":
            raise fields.wrong(
                "cloud_id", "is missing; client_credentials needs it (see https://<site>/_edge/tenant_info)"
            )
        else:
            base = jira_url(self._conn_id, connection, allow_http=allow_http)
        file_host = fields.text("file_host")
        return Site(
            base,
            self._auth(auth_type, connection, fields, allow_http),
            timeout=fields.timeout(),
            verify=fields.verify(),
            proxies=fields.proxies(),
            conn_id=self._conn_id,
            file_url=file_url(self._conn_id, file_host, allow_http=allow_http) if file_host else None,
        )

    def _auth(self, auth_type: str, connection: Any, fields: Extra, allow_http: bool) -> Auth:
        wanted = {
            "basic": ("(the account's e-mail address)", "(the API token)"),
            "bearer": (None, "(the access token)"),
            "client_credentials": ("(the client id)", "(the client secret)"),
        }
        login_is, password_is = wanted[auth_type]
        login = (connection.login or "").strip()
        if login_is and not login:
            raise wrong_field(
                self._conn_id, f"login {login_is}", f"is missing; auth_type {auth_type} needs it"
            )
        password = token_of(self._conn_id, f"password {password_is}", connection.password)
        if auth_type == "basic":
            return HeaderAuth.basic(login, password)
        if auth_type == "bearer":
            return HeaderAuth.token("Bearer", password)
        token_url = fields.text("token_url", DEFAULT_TOKEN_URL) or DEFAULT_TOKEN_URL
        return ClientCredentials(
            checked_url(self._conn_id, "extra field 'token_url'", token_url, allow_http=allow_http),
            login,
            password,
        )

    def _in_chunks(self, request: Any, issue_ids_or_keys: Sequence[str]) -> ArchiveReport:
        report = ArchiveReport()
        for start in range(0, len(issue_ids_or_keys), jira.MAX_KEYS_PER_REQUEST):
            chunk = issue_ids_or_keys[start : start + jira.MAX_KEYS_PER_REQUEST]
            report += self.call(request(chunk))
        return report
