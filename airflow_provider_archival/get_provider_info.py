"""What Airflow's provider manager reads: the hooks, their connection forms, the modules, the settings."""

from __future__ import annotations

from typing import Any

_COMMON_FIELDS: dict[str, Any] = {
    "timeout": {
        "label": "Timeout",
        "schema": {"type": ["number", "null"], "default": 30},
        "description": "Seconds that one request may take.",
    },
    "verify": {
        "label": "Verify TLS",
        "schema": {"type": ["string", "null"]},
        "description": "true (default), false, or the path of a file or folder with the CA certificates to"
        " trust.",
    },
    "allow_http": {
        "label": "Allow plain http",
        "schema": {"type": ["boolean", "null"], "default": False},
        "description": "Send credentials over plain http:// to another machine. For tests only.",
    },
}

_FORMS: dict[str, dict[str, Any]] = {
    "jira_cloud": {
        "fields": {
            "auth_type": {
                "label": "Auth type",
                "schema": {
                    "type": ["string", "null"],
                    "enum": ["basic", "bearer", "client_credentials"],
                    "default": "basic",
                },
                "description": "basic: e-mail and API token; bearer: an access token; client_credentials:"
                " a service account's client id and secret.",
            },
            "cloud_id": {
                "label": "Cloud id",
                "schema": {"type": ["string", "null"]},
                "description": "Sends everything through the gateway. Needed for client_credentials, usual"
                " for bearer, possible for basic with a scoped API token.",
            },
            "gateway_url": {
                "label": "Gateway URL",
                "schema": {"type": ["string", "null"]},
                "description": "Default: https://api.atlassian.com",
            },
            "token_url": {
                "label": "Token URL",
                "schema": {"type": ["string", "null"]},
                "description": "For client_credentials. Default: https://auth.atlassian.com/oauth/token",
            },
            "file_host": {
                "label": "File host",
                "schema": {"type": ["string", "null"]},
                "description": "With a cloud id: the host whose files get the credentials too, usually"
                " your-domain.atlassian.net.",
            },
            **_COMMON_FIELDS,
        },
        "behaviour": {
            "hidden_fields": ["port", "schema"],
            "relabeling": {
                "host": "Site URL",
                "login": "E-mail or client id",
                "password": "API token, access token or client secret",
            },
            "placeholders": {"host": "https://your-domain.atlassian.net", "login": "you@example.com"},
        },
    },
    "toloka": {
        "fields": {
            "environment": {
                "label": "Environment",
                "schema": {
                    "type": ["string", "null"],
                    "enum": ["production", "sandbox"],
                    "default": "production",
                },
                "description": "Used where no host is given.",
            },
            "auth_scheme": {
                "label": "Auth scheme",
                "schema": {
                    "type": ["string", "null"],
                    "enum": ["auto", "OAuth", "ApiKey"],
                    "default": "auto",
                },
                "description": "auto tells an API key from an OAuth token by its form.",
            },
            **_COMMON_FIELDS,
        },
        "behaviour": {
            "hidden_fields": ["port", "schema", "login"],
            "relabeling": {"host": "Base URL (optional)", "password": "Token"},
            "placeholders": {"host": "https://toloka.dev"},
        },
    },
}

# The module of each kind, the connection type, the hook, the service's documentation.
_SERVICES = {
    "Jira Cloud": (
        "jira",
        "jira_cloud",
        "JiraCloudHook",
        "https://developer.atlassian.com/cloud/jira/platform/",
    ),
    "Toloka": ("toloka", "toloka", "TolokaHook", "https://toloka.ai/docs/"),
}

_CONFIG: dict[str, Any] = {
    "archival": {
        "description": "The operators of the archival provider.",
        "options": {
            "state_store": {
                "description": "Where a task that starts a job remembers it for a retry, on an Airflow before"
                " 3.3, which has no store for a task's state. variables: in Airflow Variables, at most a few"
                " for a task instance, deleted when the task succeeds. Empty: nowhere, so a retry looks for"
                " the job at the service. From Airflow 3.3 on, Airflow's own store is used in any case.",
                "version_added": "0.1.0",
                "type": "string",
                "example": "variables",
                "default": "",
            }
        },
    }
}


def ui_field_behaviour(conn_type: str) -> dict[str, Any]:
    """Return a form's labels, hidden fields and placeholders, as a hook gives them to Airflow 2."""
    behaviour: dict[str, Any] = _FORMS[conn_type]["behaviour"]
    return behaviour


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description; the ``apache_airflow_provider`` entry point."""
    package = "airflow_provider_archival"
    modules = {
        kind: [
            {"integration-name": name, "python-modules": [f"{package}.{kind}.{module}"]}
            for name, (module, *_) in _SERVICES.items()
        ]
        for kind in ("hooks", "operators", "sensors", "triggers")
    }
    return {
        "package-name": "airflow-provider-archival",
        "name": "Archival",
        "description": "Archive Jira Cloud issues and Toloka projects.",
        "integrations": [
            {"integration-name": name, "external-doc-url": url, "tags": ["service"]}
            for name, (_, _, _, url) in _SERVICES.items()
        ],
        **modules,
        "connection-types": [
            {
                "connection-type": conn_type,
                "hook-class-name": f"{package}.hooks.{module}.{hook}",
                "hook-name": f"{name} (archival)",
                "conn-fields": _FORMS[conn_type]["fields"],
                "ui-field-behaviour": {
                    key.replace("_", "-"): value for key, value in _FORMS[conn_type]["behaviour"].items()
                },
            }
            for name, (module, conn_type, hook, _) in _SERVICES.items()
        ],
        "config": _CONFIG,
    }
