"""Talks with Jira of several requests."""

from __future__ import annotations

from airflow_provider_archival.api import jira
from airflow_provider_archival.api.flow import Flow, ask
from airflow_provider_archival.api.http import BadRequest, Conflict, Forbidden, NotAuthenticated, NotFound

_REFUSALS = (BadRequest, Conflict, Forbidden, NotAuthenticated, NotFound)


def count(jql: str) -> Flow[int]:
    """Count the issues that a JQL matches; an estimate that may miss recent changes."""
    found = yield from ask(jira.count_issues(jql))
    if not found:
        # Jira takes wrong credentials for nobody's here, and nobody sees no issues.
        yield from check_login()
    return found


def check_login() -> Flow[None]:
    """
    Raise where Jira takes the caller for nobody.

    A token needs no scope for that which archiving does not need: whoever says that it lacks one has taken
    it, and who is an admin is somebody.
    """
    try:
        yield from ask(jira.myself())
    except _REFUSALS as error:
        if not lacks_scope(error) and not (yield from _is_admin()):
            raise


def _is_admin() -> Flow[bool]:
    try:
        return (yield from ask(jira.is_admin()))
    except _REFUSALS:
        return False


def lacks_scope(error: Exception) -> bool:
    """Say whether a refusal is about what a token may do, and not about who it is."""
    return isinstance(error, (NotAuthenticated, Forbidden)) and "scope" in error.said.lower()
