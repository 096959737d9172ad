"""The Airflow connections that lead to a sandbox, as environment variables."""

from __future__ import annotations

import json

from airflow_provider_archival.sandbox import credentials


def airflow_connections(base_url: str) -> dict[str, str]:
    """Return ``AIRFLOW_CONN_…`` names and their JSON values for the sandbox at this address."""
    gateway = {"cloud_id": credentials.JIRA_CLOUD_ID, "gateway_url": base_url}
    connections = {
        "JIRA_CLOUD_DEFAULT": {
            "conn_type": "jira_cloud",
            "host": base_url,
            "login": credentials.JIRA_ADMIN_EMAIL,
            "password": credentials.JIRA_ADMIN_API_TOKEN,
            "extra": {"auth_type": "basic"},
        },
        "JIRA_CLOUD_OAUTH": {
            "conn_type": "jira_cloud",
            "host": base_url,
            "login": credentials.JIRA_CLIENT_ID,
            "password": credentials.JIRA_CLIENT_SECRET,
            "extra": {"auth_type": "client_credentials", "token_url": f"{base_url}/oauth/token", **gateway},
        },
        "JIRA_CLOUD_BEARER": {
            "conn_type": "jira_cloud",
            "host": base_url,
            "password": credentials.JIRA_ACCESS_TOKEN,
            "extra": {"auth_type": "bearer", **gateway},
        },
        "TOLOKA_DEFAULT": {
            "conn_type": "toloka",
            "host": base_url,
            "password": credentials.TOLOKA_OAUTH_TOKEN,
        },
    }
    return {f"AIRFLOW_CONN_{name}": json.dumps(value) for name, value in connections.items()}
