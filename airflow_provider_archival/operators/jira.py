"""Operators for Jira Cloud: archive and unarchive issues, export what is archived."""

from __future__ import annotations

from airflow_provider_archival.operators.jira_export import JiraExportArchivedIssuesOperator
from airflow_provider_archival.operators.jira_issues import (
    JiraArchiveIssuesOperator,
    JiraUnarchiveIssuesOperator,
)
from airflow_provider_archival.operators.jira_jql import JiraArchiveIssuesByJqlOperator

__all__ = [
    "JiraArchiveIssuesByJqlOperator",
    "JiraArchiveIssuesOperator",
    "JiraExportArchivedIssuesOperator",
    "JiraUnarchiveIssuesOperator",
]
