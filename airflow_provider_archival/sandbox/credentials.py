"""Who may come into a sandbox: the identities, secrets and ids that it knows, all of them made up."""
# ruff: noqa: S105 - these are no secrets: they are printed, documented, and open nothing but a sandbox.

from __future__ import annotations

JIRA_ADMIN_EMAIL = "admin@example.com"
JIRA_ADMIN_API_TOKEN = "sandbox-admin-token"
JIRA_MEMBER_EMAIL = "member@example.com"
JIRA_MEMBER_API_TOKEN = "sandbox-member-token"

JIRA_CLIENT_ID = "sandbox-client-id"
JIRA_CLIENT_SECRET = "sandbox-client-secret"
JIRA_ACCESS_TOKEN = "sandbox-access-token"
JIRA_CLOUD_ID = "sandbox-cloud-id"
JIRA_ACCESS_TOKEN_SECONDS = 3600

TOLOKA_OAUTH_TOKEN = "sandbox-toloka-token"
# Two dots and 22 to 24 characters before the first: Toloka's own client sends such a token as an ApiKey.
TOLOKA_API_KEY = "sandboxsandboxsandboxx.toloka.apikey"
