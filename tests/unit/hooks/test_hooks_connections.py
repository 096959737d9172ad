"""What a connection's fields come to, and the one clear error for each that can't be used."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_archival.api import jira, toloka
from airflow_provider_archival.exceptions import ConnectionNotFound, ConnectionNotUsable
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.site import Site
from airflow_provider_archival.hooks.toloka import TolokaHook

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Carrier, Connections

SITE = "https://acme.atlassian.net"
BASIC: dict[str, Any] = {"conn_type": "jira_cloud", "host": SITE, "login": "me@example.com", "password": "pw"}
SERVICE: dict[str, Any] = {
    "conn_type": "jira_cloud",
    "login": "client",
    "password": "secret",
    "extra": {"auth_type": "client_credentials", "cloud_id": "11-22"},
}
TOLOKA: dict[str, Any] = {"conn_type": "toloka", "password": "token"}
API_KEY = "sandboxsandboxsandboxx.toloka.apikey"


def jira_site(connections: Connections, **fields: Any) -> Site:
    hook = JiraCloudHook(connections.add("mine", **{**BASIC, **fields}))
    connection = hook.get_connection("mine")
    return hook.site_of(connection, connection.extra_dejson)


def toloka_site(connections: Connections, **fields: Any) -> Site:
    hook = TolokaHook(connections.add("mine", **{**TOLOKA, **fields}))
    connection = hook.get_connection("mine")
    return hook.site_of(connection, connection.extra_dejson)


def authorization(site: Site) -> str:
    return site.auth.value  # type: ignore[attr-defined]


# --- Jira ---


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, SITE),
        ({"host": "acme.atlassian.net"}, SITE),
        ({"host": "acme.atlassian.net/"}, SITE),
        ({"host": " https://acme.atlassian.net// "}, SITE),
        ({"host": "https://acme.atlassian.net/rest/api/3"}, SITE),
        ({"host": "https://proxy.example.com/jira"}, "https://proxy.example.com/jira"),
        ({"host": "acme.atlassian.net", "schema": "https"}, SITE),
        ({"host": "acme.atlassian.net", "port": 8443}, f"{SITE}:8443"),
        ({"host": "acme.atlassian.net:9443", "port": 8443}, f"{SITE}:9443"),
        ({"host": "https://proxy.example.com/jira", "port": 8443}, "https://proxy.example.com:8443/jira"),
        ({"host": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080"),
        ({"host": "http://localhost", "port": 8080}, "http://localhost:8080"),
        ({"host": "http://[::1]:8080"}, "http://[::1]:8080"),
        ({"host": "jira.internal", "schema": "http"}, "http://jira.internal"),
        ({"host": "http://jira.internal", "extra": {"allow_http": True}}, "http://jira.internal"),
        ({"host": "http://jira.internal", "extra": {"allow_http": "true"}}, "http://jira.internal"),
        ({"extra": {"cloud_id": "11-22"}}, "https://api.atlassian.com/ex/jira/11-22"),
        ({"host": None, "extra": {"cloud_id": "11-22"}}, "https://api.atlassian.com/ex/jira/11-22"),
        (
            {"extra": {"cloud_id": "11-22", "gateway_url": "https://gw.example.com/"}},
            "https://gw.example.com/ex/jira/11-22",
        ),
        ({"extra": {"cloud_id": "", "gateway_url": ""}}, SITE),
        ({"extra": {"auth_type": "bearer", "cloud_id": "11-22"}}, "https://api.atlassian.com/ex/jira/11-22"),
        ({"conn_type": "jira"}, SITE),
        ({"conn_type": "http"}, SITE),
    ],
    ids=str,
)
def test_jiras_address_is_read_in_every_form(
    own_connections: Connections, fields: dict[str, Any], base_url: str
) -> None:
    assert jira_site(own_connections, **fields).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "header"),
    [
        ({}, "Basic " + base64.b64encode(b"me@example.com:pw").decode()),
        ({"extra": {"auth_type": "basic"}}, "Basic " + base64.b64encode(b"me@example.com:pw").decode()),
        ({"extra": {"auth_type": "BASIC"}}, "Basic " + base64.b64encode(b"me@example.com:pw").decode()),
        (
            {"login": " jürgen ", "password": " pw\n"},
            "Basic " + base64.b64encode("jürgen:pw".encode()).decode(),
        ),
        ({"extra": {"auth_type": "bearer"}}, "Bearer pw"),
        ({"login": None, "extra": {"auth_type": "bearer"}}, "Bearer pw"),
    ],
    ids=str,
)
def test_jiras_credentials_become_a_header(
    own_connections: Connections, fields: dict[str, Any], header: str
) -> None:
    assert authorization(jira_site(own_connections, **fields)) == header


@pytest.mark.parametrize(
    ("extra", "token_url"),
    [
        ({}, "https://auth.atlassian.com/oauth/token"),
        ({"token_url": "https://idp.example.com/token"}, "https://idp.example.com/token"),
        ({"token_url": "http://127.0.0.1:8080/oauth/token"}, "http://127.0.0.1:8080/oauth/token"),
    ],
)
def test_client_credentials_know_where_tokens_come_from(
    own_connections: Connections, extra: dict[str, Any], token_url: str
) -> None:
    auth = jira_site(own_connections, **{**SERVICE, "extra": {**SERVICE["extra"], **extra}}).auth
    assert (auth.token_url, auth.client_id) == (token_url, "client")  # type: ignore[attr-defined]


BAD_JIRA: list[tuple[dict[str, Any], str]] = [
    ({"host": None}, "host is missing"),
    ({"host": "  "}, "host is missing"),
    ({"host": "https://"}, "host is not a host or URL"),
    ({"host": "my site"}, "host is not a host or URL"),
    ({"host": f"{SITE}?x=1"}, "host is not a host or URL"),
    ({"host": f"{SITE}#x"}, "host is not a host or URL"),
    ({"host": "https://[bad"}, "host is not a URL"),
    ({"host": "https://acme:port"}, "host is not a URL"),
    ({"host": "https://me:word@acme.atlassian.net"}, "host must not hold credentials"),
    ({"host": "ftp://acme.atlassian.net"}, "host must begin with https://; it begins with ftp://"),
    ({"host": "http://acme.atlassian.net"}, "host is plain http://, which shows the credentials"),
    ({"host": "http://10.0.0.1"}, "host is plain http://"),
    ({"host": "http://127.0.0.1.example.com"}, "host is plain http://"),
    ({"login": None}, "login (the account's e-mail address) is missing; auth_type basic needs it"),
    ({"login": " "}, "login (the account's e-mail address) is missing"),
    ({"password": None}, "password (the API token) is missing"),
    ({"password": " "}, "password (the API token) is missing"),
    ({"password": "two\nlines"}, "password (the API token) has a line break"),
    ({"password": "pässword"}, "password (the API token) has a line break, or a character that no token has"),
    ({"password": None, "extra": {"auth_type": "bearer"}}, "password (the access token) is missing"),
    ({**SERVICE, "login": None}, "login (the client id) is missing; auth_type client_credentials needs it"),
    ({**SERVICE, "password": None}, "password (the client secret) is missing"),
    ({**SERVICE, "extra": {"auth_type": "client_credentials"}}, "extra field 'cloud_id' is missing"),
    (
        {**SERVICE, "extra": {**SERVICE["extra"], "token_url": "http://idp.example.com"}},
        "extra field 'token_url' is plain http://",
    ),
    (
        {**SERVICE, "extra": {**SERVICE["extra"], "token_url": "two words"}},
        "extra field 'token_url' is not a host or URL",
    ),
    (
        {"extra": {"auth_type": "oauth9"}},
        "extra field 'auth_type' must be one of basic, bearer, client_credentials",
    ),
    ({"extra": {"auth_type": 7}}, "extra field 'auth_type' must be text"),
    ({"extra": {"cloud_id": "../x"}}, "extra field 'cloud_id' can't be used"),
    ({"extra": {"cloud_id": 7}}, "extra field 'cloud_id' must be text"),
    (
        {"extra": {"cloud_id": "1", "gateway_url": "http://gw.example.com"}},
        "extra field 'gateway_url' is plain",
    ),
]
BAD_COMMON: list[tuple[dict[str, Any], str]] = [
    ({"extra": {"timeout": 0}}, "extra field 'timeout' must be a number of seconds from above 0 to 3600"),
    ({"extra": {"timeout": -1}}, "extra field 'timeout' must be"),
    ({"extra": {"timeout": 3601}}, "extra field 'timeout' must be"),
    ({"extra": {"timeout": "soon"}}, "extra field 'timeout' must be"),
    ({"extra": {"timeout": [1]}}, "extra field 'timeout' must be"),
    ({"extra": {"timeout": "nan"}}, "extra field 'timeout' must be"),
    ({"extra": {"verify": "/nowhere/ca.pem"}}, "extra field 'verify' must be true, false or a file"),
    ({"extra": {"verify": 7}}, "extra field 'verify' must be true or false"),
    ({"extra": {"allow_http": "maybe"}}, "extra field 'allow_http' must be true or false"),
    ({"extra": {"proxies": 7}}, "extra field 'proxies' must be a URL, or an object"),
    ({"extra": {"proxies": {"https": 7}}}, "extra field 'proxies' must be a URL, or an object"),
]


@pytest.mark.parametrize(("fields", "complaint"), BAD_JIRA + BAD_COMMON, ids=lambda value: str(value)[:60])
def test_a_bad_jira_connection_is_one_error_that_names_the_field(
    own_connections: Connections, carry: Carrier, fields: dict[str, Any], complaint: str
) -> None:
    hook = JiraCloudHook(own_connections.add("mine", **{**BASIC, **fields}))
    with pytest.raises(ConnectionNotUsable) as caught:
        carry(hook, jira.myself(), attempts=1)
    assert str(caught.value).startswith(f"Connection 'mine': {complaint}")
    assert str(caught.value).endswith("Edit the connection (Admin > Connections), then clear this task.")


def test_a_missing_connection_is_named_with_what_to_do(own_connections: Connections, carry: Carrier) -> None:
    with pytest.raises(
        ConnectionNotFound, match=r"no Airflow connection 'not_there'.*AIRFLOW_CONN_NOT_THERE"
    ):
        carry(JiraCloudHook("not_there"), jira.myself())


def test_a_bad_connection_is_not_retried() -> None:
    assert issubclass(ConnectionNotUsable, AirflowFailException)


@pytest.mark.parametrize(
    ("extra", "timeout"),
    [({}, 30.0), ({"timeout": 5}, 5.0), ({"timeout": "2.5"}, 2.5), ({"timeout": ""}, 30.0)],
)
def test_the_timeout_is_read(own_connections: Connections, extra: dict[str, Any], timeout: float) -> None:
    assert jira_site(own_connections, extra=extra).timeout == timeout


@pytest.mark.parametrize(
    ("value", "verify"),
    [
        (None, True),
        ("", True),
        (True, True),
        (False, False),
        ("false", False),
        ("False", False),
        ("true", True),
    ],
)
def test_verify_is_read(own_connections: Connections, value: Any, verify: bool) -> None:
    assert jira_site(own_connections, extra={"verify": value}).verify is verify


def test_verify_may_be_a_file(own_connections: Connections, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.touch()
    assert jira_site(own_connections, extra={"verify": str(path)}).verify == str(path)


@pytest.mark.parametrize(
    ("value", "proxies"),
    [
        (None, {}),
        ("http://proxy:3128", {"http": "http://proxy:3128", "https": "http://proxy:3128"}),
        ({"https": "http://proxy:3128"}, {"https": "http://proxy:3128"}),
    ],
)
def test_proxies_are_read(own_connections: Connections, value: Any, proxies: dict[str, str]) -> None:
    assert jira_site(own_connections, extra={"proxies": value}).proxies == proxies


# --- Toloka ---


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, "https://toloka.dev/api/v1"),
        ({"extra": {"environment": "production"}}, "https://toloka.dev/api/v1"),
        ({"extra": {"environment": "SANDBOX"}}, "https://sandbox.toloka.dev/api/v1"),
        ({"extra": {"environment": ""}}, "https://toloka.dev/api/v1"),
        ({"host": "toloka.example.com"}, "https://toloka.example.com/api/v1"),
        ({"host": "https://toloka.example.com/"}, "https://toloka.example.com/api/v1"),
        ({"host": "https://toloka.example.com/api/v1/"}, "https://toloka.example.com/api/v1"),
        ({"host": "https://toloka.example.com/api"}, "https://toloka.example.com/api/v1"),
        ({"host": "http://127.0.0.1", "port": 8080}, "http://127.0.0.1:8080/api/v1"),
        (
            {"host": "toloka.example.com", "extra": {"environment": "sandbox"}},
            "https://toloka.example.com/api/v1",
        ),
        ({"extra": {"extra__toloka__environment": "sandbox"}}, "https://sandbox.toloka.dev/api/v1"),
        ({"extra": {"extra__toloka__environment": "PRODUCTION"}}, "https://toloka.dev/api/v1"),
        ({"extra": {"extra__toloka__url": "https://old.example.com"}}, "https://old.example.com/api/v1"),
        ({"extra": {"url": "https://old.example.com/api/v1"}}, "https://old.example.com/api/v1"),
        (
            {"extra": {"environment": "production", "extra__toloka__environment": "sandbox"}},
            "https://toloka.dev/api/v1",
        ),
    ],
    ids=str,
)
def test_tolokas_address_is_read_in_every_form(
    own_connections: Connections, fields: dict[str, Any], base_url: str
) -> None:
    assert toloka_site(own_connections, **fields).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "header"),
    [
        ({}, "OAuth token"),
        ({"password": API_KEY}, f"ApiKey {API_KEY}"),
        ({"password": 21 * "a" + ".b.c"}, f"OAuth {21 * 'a'}.b.c"),
        ({"password": 22 * "a" + ".b.c"}, f"ApiKey {22 * 'a'}.b.c"),
        ({"password": 24 * "a" + ".b.c"}, f"ApiKey {24 * 'a'}.b.c"),
        ({"password": 25 * "a" + ".b.c"}, f"OAuth {25 * 'a'}.b.c"),
        ({"password": 22 * "a" + ".b"}, f"OAuth {22 * 'a'}.b"),
        ({"password": 22 * "a" + ".b.c.d"}, f"OAuth {22 * 'a'}.b.c.d"),
        ({"password": 22 * "a" + ".."}, f"ApiKey {22 * 'a'}.."),
        ({"extra": {"auth_scheme": "ApiKey"}}, "ApiKey token"),
        ({"extra": {"auth_scheme": "apikey"}}, "ApiKey token"),
        ({"password": API_KEY, "extra": {"auth_scheme": "OAuth"}}, f"OAuth {API_KEY}"),
        ({"password": API_KEY, "extra": {"auth_scheme": "auto"}}, f"ApiKey {API_KEY}"),
        ({"password": None, "extra": {"extra__toloka__token": "old"}}, "OAuth old"),
        ({"password": None, "extra": {"token": "old"}}, "OAuth old"),
        ({"password": "new", "extra": {"extra__toloka__token": "old"}}, "OAuth new"),
    ],
    ids=str,
)
def test_tolokas_token_is_sent_under_the_official_clients_rule(
    own_connections: Connections, fields: dict[str, Any], header: str
) -> None:
    assert authorization(toloka_site(own_connections, **fields)) == header


BAD_TOLOKA: list[tuple[dict[str, Any], str]] = [
    ({"password": None}, "password (the token) is missing"),
    ({"password": "two\nlines"}, "password (the token) has a line break"),
    ({"extra": {"environment": "staging"}}, "extra field 'environment' must be one of production, sandbox"),
    ({"extra": {"auth_scheme": "Basic"}}, "extra field 'auth_scheme' must be one of auto, OAuth, ApiKey"),
    ({"host": "http://toloka.example.com"}, "host is plain http://"),
    ({"extra": {"extra__toloka__url": "http://toloka.example.com"}}, "extra field 'url' is plain http://"),
]


@pytest.mark.parametrize(("fields", "complaint"), BAD_TOLOKA + BAD_COMMON, ids=lambda value: str(value)[:60])
def test_a_bad_toloka_connection_is_one_error_that_names_the_field(
    own_connections: Connections, carry: Carrier, fields: dict[str, Any], complaint: str
) -> None:
    hook = TolokaHook(own_connections.add("mine", **{**TOLOKA, **fields}))
    with pytest.raises(ConnectionNotUsable) as caught:
        carry(hook, toloka.requester(), attempts=1)
    assert str(caught.value).startswith(f"Connection 'mine': {complaint}")


# --- a connection in the other forms that Airflow has ---


def test_a_connection_may_be_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_MINE", "jira-cloud://me%40example.com:pw@acme.atlassian.net/?auth_type=basic"
    )
    hook = JiraCloudHook("mine")
    connection = hook.get_connection("mine")
    site = hook.site_of(connection, connection.extra_dejson)
    assert (site.base_url, authorization(site)) == (
        SITE,
        "Basic " + base64.b64encode(b"me@example.com:pw").decode(),
    )


def test_extra_may_be_text_that_holds_json(own_connections: Connections) -> None:
    site = jira_site(own_connections, extra=json.dumps({"auth_type": "bearer", "timeout": 7}))
    assert (authorization(site), site.timeout) == ("Bearer pw", 7.0)
