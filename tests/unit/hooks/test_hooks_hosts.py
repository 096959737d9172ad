"""Addresses and other fields as people write them: mended where the meaning is sure, else refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowNotFoundException

from airflow_provider_archival.api import jira, toloka
from airflow_provider_archival.exceptions import (
    BadInput,
    ConnectionNotFound,
    ConnectionNotUsable,
    ServiceFault,
)
from airflow_provider_archival.hooks import site as site_module
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.toloka import TolokaHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.hooks.base import ServiceHook
    from airflow_provider_archival.hooks.site import Site
    from tests.unit.conftest import Answer, Carrier, Connections, Loopback, Received

SITE = "https://acme.atlassian.net"
ME = b'{"displayName": "Me"}'
BASIC: dict[str, Any] = {"conn_type": "jira_cloud", "host": SITE, "login": "me@example.com", "password": "pw"}
TOLOKA: dict[str, Any] = {"conn_type": "toloka", "password": "token"}


@pytest.fixture(autouse=True)
def _nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "_warned", set())


def site_of(hook: ServiceHook) -> Site:
    connection = hook.get_connection("mine")
    return hook.site_of(connection, connection.extra_dejson)


def jira_site(connections: Connections, **fields: Any) -> Site:
    return site_of(JiraCloudHook(connections.add("mine", **{**BASIC, **fields})))


def toloka_site(connections: Connections, **fields: Any) -> Site:
    return site_of(TolokaHook(connections.add("mine", **{**TOLOKA, **fields})))


# --- hosts that are mended ---

SLIPS = [
    "https:/acme.atlassian.net",
    "https:acme.atlassian.net",
    "https:///acme.atlassian.net",
    "https//acme.atlassian.net",
    "https;//acme.atlassian.net",
    "https:\\\\acme.atlassian.net",
    "https ://acme.atlassian.net",
    "https://https://acme.atlassian.net",
    "https://https//acme.atlassian.net",
    "http://https://acme.atlassian.net",
    "HTTPS://https:/acme.atlassian.net",
    "//acme.atlassian.net",
    '"https://acme.atlassian.net"',
    "<https://acme.atlassian.net>",
    "https://acme.atlassian.net.",
    "https://acme.atlassian.net./jira",
    "\N{ZERO WIDTH SPACE}https://acme.atlassian.net",
    "https://\N{ZERO WIDTH SPACE}acme.atlassian.net",
    "https://acme.atlassian.net\N{LEFT-TO-RIGHT MARK}",
    "\N{ZERO WIDTH NO-BREAK SPACE}acme.atlassian.net",
    "https://acme\N{IDEOGRAPHIC FULL STOP}atlassian.net",
]
CLOUD_PAGES = [
    "/browse/ABC-1",
    "/browse/ABC-1?focusedCommentId=1",
    "/browse",
    "/jira",
    "/jira/",
    "/jira/software/projects/ABC/boards/1?selectedIssue=ABC-1",
    "/jira/your-work",
    "/secure/Dashboard.jspa",
    "/secure/admin/WhatEver!default.jspa#top",
    "/projects/ABC",
    "/issues/?jql=project%20%3D%20ABC",
    "/issues/ABC-1",
    "/rest/api/2",
    "/rest/api/2/",
    "/rest/api/latest",
    "/rest/api/3/myself",
    "/rest",
    "/wiki/spaces/ABC",
    "/plugins/servlet/x",
    "/servicedesk/customer/portal/1",
    "/login.jsp",
]


@pytest.mark.parametrize(
    "host", [*SLIPS, *(SITE + page for page in CLOUD_PAGES), "acme.atlassian.net/browse/A-1"]
)
def test_a_host_whose_meaning_is_sure_is_mended_and_named_once(
    own_connections: Connections, logged: list[str], host: str
) -> None:
    for _ in range(2):
        assert jira_site(own_connections, host=host).base_url == SITE
    (line,) = [line for line in logged if "is taken for" in line]
    assert line.startswith("Connection 'mine': host ")
    assert f"is taken for {SITE}. Correct it" in line


@pytest.mark.parametrize(
    "host",
    [
        SITE,
        f" {SITE}// ",
        "acme.atlassian.net",
        "HTTPS://ACME.Atlassian.NET",
        f"{SITE}/rest/api/3",
        f"{SITE}:443",
        "acme.atlassian.net:443/",
        "acme.atlassian.net:",
    ],
)
def test_a_host_in_another_form_needs_no_word(
    own_connections: Connections, logged: list[str], host: str
) -> None:
    assert jira_site(own_connections, host=host).base_url == SITE
    assert not [line for line in logged if "is taken for" in line]


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        ("https://jira.example.com/jira", "https://jira.example.com/jira"),
        ("https://jira.example.com/tools/jira/", "https://jira.example.com/tools/jira"),
        ("https://jira.example.com/secure/jira", "https://jira.example.com/secure/jira"),
        ("https://jira.example.com/projects/jira", "https://jira.example.com/projects/jira"),
        ("https://jira.example.com/restful", "https://jira.example.com/restful"),
        ("https://jira.example.com/jira/browse/ABC-1", "https://jira.example.com/jira"),
        ("https://jira.example.com/browse/ABC-1", "https://jira.example.com"),
        ("https://jira.example.com/jira/rest/api/2", "https://jira.example.com/jira"),
        ("https://jira.example.com/rest/api/latest/", "https://jira.example.com"),
        ("https://jira.example.com/jira/software/projects/ABC/boards/1", "https://jira.example.com"),
        ("https://jira.example.com/jira/secure/RapidBoard.jspa?x=1", "https://jira.example.com/jira"),
        ("https://jira.example.com/projects/ABC/issues/ABC-1", "https://jira.example.com"),
        ("https://jira.example.com/issues/?jql=x", "https://jira.example.com"),
        ("https://jira.example.com:8443/browse/ABC-1", "https://jira.example.com:8443"),
        ("http:/127.0.0.1:8080/jira", "http://127.0.0.1:8080/jira"),
        ("http//localhost:8080", "http://localhost:8080"),
        ("https://api.atlassian.com/ex/jira/11-22", "https://api.atlassian.com/ex/jira/11-22"),
        ("https://api.atlassian.com/ex/jira/11-22/rest/api/3", "https://api.atlassian.com/ex/jira/11-22"),
    ],
)
def test_elsewhere_a_path_is_the_sites_own_unless_it_is_surely_a_page(
    own_connections: Connections, host: str, base_url: str
) -> None:
    assert jira_site(own_connections, host=host).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": "acme.atlassian.net:443", "port": 8443}, SITE),
        ({"host": "acme.atlassian.net", "port": 443}, SITE),
        ({"host": "https:/acme.atlassian.net", "schema": "http"}, SITE),
        ({"host": "https:/acme.atlassian.net/jira", "port": 8443}, f"{SITE}:8443"),
        ({"host": "acme.atlassian.net", "port": 0}, SITE),
        ({"host": "https://j\u00edra.example.com"}, "https://xn--jra-rma.example.com"),
        ({"host": "https://stra\u00dfe.example.com"}, "https://xn--strae-oqa.example.com"),
    ],
    ids=str,
)
def test_schema_and_port_are_for_a_host_that_has_none(
    own_connections: Connections, fields: dict[str, Any], base_url: str
) -> None:
    assert jira_site(own_connections, **fields).base_url == base_url


@pytest.mark.parametrize(
    "gateway",
    ["https:/api.atlassian.com", "https://api.atlassian.com/ex/jira/11-22", "api.atlassian.com/ex/jira/"],
)
def test_a_gateway_is_mended_too(own_connections: Connections, gateway: str) -> None:
    site = jira_site(own_connections, extra={"cloud_id": "11-22", "gateway_url": gateway})
    assert site.base_url == "https://api.atlassian.com/ex/jira/11-22"


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": "https:/toloka.dev"}, "https://toloka.dev/api/v1"),
        ({"host": "https://toloka.dev/api/v1/projects"}, "https://toloka.dev/api/v1"),
        ({"host": "https://toloka.dev/api/v2/"}, "https://toloka.dev/api/v1"),
        ({"host": "https://platform.toloka.ai/requester/projects?x=1"}, "https://platform.toloka.ai/api/v1"),
        ({"host": "https://toloka.dev/v1"}, "https://toloka.dev/api/v1"),
        ({"host": "https://gw.example.com/api/toloka"}, "https://gw.example.com/api/toloka/api/v1"),
        ({"host": "https://gw.example.com/toloka/api/v1"}, "https://gw.example.com/toloka/api/v1"),
        ({"extra": {"url": "https://https://toloka.dev/requester"}}, "https://toloka.dev/api/v1"),
    ],
    ids=str,
)
def test_tolokas_address_is_mended(
    own_connections: Connections, fields: dict[str, Any], base_url: str
) -> None:
    assert toloka_site(own_connections, **fields).base_url == base_url


# --- hosts that are refused ---


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        (
            {"host": f"{SITE}/archive"},
            f"host has a path that no Jira site has; write {SITE} and nothing behind",
        ),
        ({"host": "me@example.com"}, "host is an e-mail address, which belongs into the login; write"),
        (
            {"host": "https://id.atlassian.com"},
            "host is id.atlassian.com, which is no Jira site; write the site's",
        ),
        ({"host": "admin.atlassian.com/o/1/overview"}, "host is admin.atlassian.com, which is no Jira site"),
        ({"host": "https://atlassian.net"}, "host is atlassian.net, which is no Jira site"),
        ({"host": "https://acme.atlassian.com"}, "host is acme.atlassian.com, which is no Jira site"),
        ({"host": "https://api.atlassian.com"}, "host is api.atlassian.com, which is no Jira site"),
        ({"host": "htps://acme.atlassian.net"}, "host must begin with https://; it begins with htps://"),
        ({"host": "https://http://acme.atlassian.net"}, "host is plain http://"),
        ({"host": "https://"}, "host is not a host or URL"),
        ({"host": "https:/"}, "host is not a host or URL"),
        ({"host": "."}, "host is not a host or URL"),
        ({"host": "https://acme.example.com:0"}, "host is not a URL"),
        ({"port": 70_000}, "port is 70000, which is no port"),
        ({"port": -1}, "port is -1, which is no port"),
        ({"host": "acme.atlassian.net,"}, "host is not a host or URL"),
        ({"host": "https://acme..example.com"}, "host is not a host or URL"),
        ({"host": "https://<your-domain>.atlassian.net"}, "host is not a host or URL"),
        ({"host": f"https://{64 * 'a'}.example.com"}, "host is not a host or URL"),
        ({"host": "https://\N{SNOWMAN}\N{COMBINING ACUTE ACCENT}.example.com"}, "host is not a host or URL"),
        (
            {"extra": {"cloud_id": "11-22", "gateway_url": SITE}},
            "extra field 'gateway_url' is a site's address",
        ),
        ({"extra": {"file_host": "http://files.example.com"}}, "extra field 'file_host' is plain http://"),
        ({"extra": {"file_host": "two words"}}, "extra field 'file_host' is not a host or URL"),
        ({"extra": {"file_host": 7}}, "extra field 'file_host' must be text"),
    ],
    ids=str,
)
def test_a_host_that_means_nothing_is_refused_with_what_to_write(
    own_connections: Connections, carry: Carrier, fields: dict[str, Any], complaint: str
) -> None:
    hook = JiraCloudHook(own_connections.add("mine", **{**BASIC, **fields}))
    with pytest.raises(ConnectionNotUsable) as caught:
        carry(hook, jira.myself(), attempts=1)
    assert str(caught.value).startswith(f"Connection 'mine': {complaint}")
    assert "Nothing was sent." in str(caught.value)


def test_toloka_has_no_other_path_and_no_such_port(own_connections: Connections) -> None:
    with pytest.raises(
        ConnectionNotUsable, match="host has a path that is not the API's; write https://tolo"
    ):
        toloka_site(own_connections, host="https://toloka.dev/archive")
    with pytest.raises(ConnectionNotUsable, match="port is 70000, which is no port"):
        toloka_site(own_connections, host="toloka.dev", port=70_000)


def test_tolokas_home_page_is_no_api(own_connections: Connections) -> None:
    with pytest.raises(ConnectionNotUsable, match=r"host is toloka\.ai, which has no API"):
        toloka_site(own_connections, host="https://toloka.ai/")


# --- extra ---


@pytest.mark.parametrize(
    "extra",
    [
        "{'environment': 'sandbox'}",
        "nonsense",
        '["sandbox"]',
        '"sandbox"',
        "7",
        "true",
        "[]",
        '""',
        "{",
        "environment=1",
    ],
)
@pytest.mark.parametrize("what", ["jira", "toloka"])
def test_an_extra_that_is_no_object_is_an_error_that_names_it(
    own_connections: Connections, carry: Carrier, what: str, extra: str
) -> None:
    fields = {**(BASIC if what == "jira" else TOLOKA), "extra": extra}
    own_connections.add("mine", **fields)
    hook, request = (JiraCloudHook, jira.myself()) if what == "jira" else (TolokaHook, toloka.requester())
    with pytest.raises(
        ConnectionNotUsable, match=r"Connection 'mine': Extra (is no JSON|must be a JSON object)"
    ):
        carry(hook("mine"), request)  # type: ignore[arg-type]


@pytest.mark.parametrize("extra", [None, "", "  ", "{}", "null"])
def test_an_empty_extra_is_fine(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier, extra: str | None
) -> None:
    server = loopback(lambda received: (200, {}, ME))
    hook = JiraCloudHook(own_connections.add("mine", **{**BASIC, "host": server.url, "extra": extra}))
    assert carry(hook, jira.myself(), attempts=1) == "Me"


def test_fields_that_mean_nothing_are_named_once(own_connections: Connections, logged: list[str]) -> None:
    for _ in range(2):
        toloka_site(own_connections, extra={"enviroment": "sandbox", "Timeout": "topsecret"})
    (line,) = [line for line in logged if "extra field" in line]
    assert line == (
        "Connection 'mine': nothing is made of its extra fields 'enviroment', 'Timeout'."
        " What is read: allow_http, auth_scheme, environment, proxies, timeout, token, url, verify."
    )
    jira_site(own_connections, extra={"cloudid": "1"})
    assert any("nothing is made of its extra field 'cloudid'." in line for line in logged)


@pytest.mark.parametrize(
    "extra",
    [
        {"verify": True, "validate": "true", "get_server_info": "false"},
        {"extra__jira__verify": False},
        {"extra__jira_cloud__timeout": 3},
        {
            "auth_type": "basic",
            "cloud_id": None,
            "gateway_url": "",
            "token_url": "",
            "file_host": "a.example.com",
        },
    ],
    ids=str,
)
def test_fields_that_are_known_are_not_warned_of(
    own_connections: Connections, logged: list[str], extra: dict[str, Any]
) -> None:
    jira_site(own_connections, extra=extra)
    assert not [line for line in logged if "extra field" in line]


def test_the_older_providers_fields_are_known(own_connections: Connections, logged: list[str]) -> None:
    names = ("token", "environment", "url")
    toloka_site(own_connections, extra={f"extra__toloka__{name}": "" for name in names})
    assert not [line for line in logged if "extra field" in line]


def test_prefixed_fields_are_read(own_connections: Connections) -> None:
    site = jira_site(own_connections, extra={"extra__jira__verify": "false", "extra__jira_cloud__timeout": 3})
    assert (site.verify, site.timeout) == (False, 3.0)


# --- which connection ---


@pytest.mark.parametrize("conn_id", [None, "", "  ", "None", "none", " None\n", 7])
@pytest.mark.parametrize(("hook", "name"), [(JiraCloudHook, "jira_conn_id"), (TolokaHook, "toloka_conn_id")])
def test_a_connection_id_that_rendered_to_nothing_is_an_error(
    hook: type[ServiceHook], name: str, conn_id: Any
) -> None:
    with pytest.raises(
        BadInput, match=f"^{name} is .*, which names no connection.*look what the task"
    ) as caught:
        hook(conn_id)
    assert repr(conn_id) in str(caught.value)


def test_blanks_around_a_connection_id_don_t_matter(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    own_connections.add("mine", **{**BASIC, "host": loopback(lambda received: (200, {}, ME)).url})
    assert carry(JiraCloudHook(" mine\n"), jira.myself(), attempts=1) == "Me"


def _raise(error: Exception) -> Any:
    def look_up(*args: Any, **how: Any) -> Any:
        raise error

    return look_up


@pytest.mark.parametrize(
    "error",
    [
        AirflowNotFoundException("The conn_id `mine` isn't defined"),
        ConnectionError("vault said: token s.12345 is sealed"),
        TimeoutError(),
        RuntimeError("no supervisor"),
    ],
    ids=repr,
)
def test_a_connection_that_can_not_be_found_is_worth_a_retry(
    carry: Carrier, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(JiraCloudHook, "get_connection", staticmethod(_raise(error)))
    monkeypatch.setattr(JiraCloudHook, "aget_connection", staticmethod(_raise_later(error)), raising=False)
    with pytest.raises(ConnectionNotFound) as caught:
        carry(JiraCloudHook("mine"), jira.myself())
    assert not isinstance(caught.value, AirflowFailException)
    assert "no Airflow connection 'mine', or it can't be read just now" in str(caught.value)
    assert "secrets backend" in str(caught.value)
    assert "AIRFLOW_CONN_MINE" in str(caught.value)
    assert "s.12345" not in str(caught.value)


def _raise_later(error: Exception) -> Any:
    async def look_up(*args: Any, **how: Any) -> Any:
        await asyncio.sleep(0)
        raise error

    return look_up


@pytest.mark.parametrize("field", ["password", "extra"])
def test_a_connection_that_can_not_be_decrypted_can_not_be_read(
    carry: Carrier, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """With Airflow 2 that shows when its password is read, by an error without a word."""

    class Locked:
        host, login, password, extra, schema, port = SITE, "me@example.com", "pw", None, None, None
        extra_dejson: dict[str, Any] = {}  # noqa: RUF012

    class InvalidToken(Exception):
        pass

    async def look_up(*args: Any, **how: Any) -> Any:
        return Locked()

    setattr(Locked, field, property(_raise(InvalidToken())))
    monkeypatch.setattr(JiraCloudHook, "get_connection", staticmethod(lambda conn_id: Locked()))
    monkeypatch.setattr(JiraCloudHook, "aget_connection", staticmethod(look_up), raising=False)
    with pytest.raises(ConnectionNotFound, match=r"can't be read just now \(InvalidToken\)"):
        carry(JiraCloudHook("mine"), jira.myself())


def test_a_secrets_backend_that_fails_looks_like_no_connection(
    carry: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow swallows what a backend raises: that is why the one is as good as the other."""
    from airflow.secrets.environment_variables import EnvironmentVariablesBackend

    monkeypatch.setattr(EnvironmentVariablesBackend, "get_connection", _raise(ConnectionError("sealed")))
    with pytest.raises(ConnectionNotFound, match="no Airflow connection 'mine'"):
        carry(JiraCloudHook("mine"), jira.myself())


def test_a_connection_that_comes_back_is_taken(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    hook = JiraCloudHook("mine")
    with pytest.raises(ConnectionNotFound):
        carry(hook, jira.myself())
    own_connections.add("mine", **{**BASIC, "host": loopback(lambda received: (200, {}, ME)).url})
    assert carry(hook, jira.myself(), attempts=1) == "Me"


def test_the_connection_form_shows_what_is_wrong(own_connections: Connections) -> None:
    assert (
        JiraCloudHook("nowhere").test_connection()[1].startswith("There is no Airflow connection 'nowhere'")
    )
    own_connections.add("mine", **{**TOLOKA, "extra": "nonsense"})
    is_good, words = TolokaHook("mine").test_connection()
    assert not is_good
    assert "Extra is no JSON" in words


# --- whose files get the credentials ---


def csv(received: Received) -> Answer:
    return 200, {}, b"key\r\nA-1\r\n"


@pytest.mark.parametrize("form", ["{url}", "{url}/", "{url}/rest/files?x=1", "{bare}"])
def test_the_file_host_gets_the_credentials_when_all_goes_through_the_gateway(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files, others, gateway = loopback(csv), loopback(csv), loopback(csv)
    host = form.format(url=files.url, bare=files.url.removeprefix("http://"))
    if form == "{bare}":
        # A bare host means https://, which this server does not speak.
        site = jira_site(own_connections, extra={"cloud_id": "1", "file_host": host})
        assert site.file_url == f"https://{host}"
        return
    extra = {"auth_type": "bearer", "cloud_id": "1", "gateway_url": gateway.url, "file_host": host}
    hook = JiraCloudHook(own_connections.add("mine", **{**BASIC, "extra": extra}))
    for server in (files, others, gateway):
        hook.fetch(f"{server.url}/file.csv", lambda piece: None)
        assert hook.is_own(f"{server.url}/file.csv") is (server is not others)
    assert files.received[0].headers["authorization"] == "Bearer pw"
    assert gateway.received[0].headers["authorization"] == "Bearer pw"
    assert "authorization" not in others.received[0].headers


@pytest.mark.parametrize(
    "url", ["https://[files/f.csv", "https://files:port/f.csv", "https:///f.csv", "http://"]
)
def test_a_file_at_what_is_no_url_is_a_fault_with_words(own_connections: Connections, url: str) -> None:
    hook = JiraCloudHook(own_connections.add("mine", **BASIC))
    with pytest.raises(ServiceFault, match="this is no URL") as caught:
        hook.fetch(url, lambda piece: None)
    assert caught.value.error.can_repeat


@pytest.mark.parametrize("location", ["https://[files/f.csv", "https://files:port/f.csv"])
def test_a_redirect_to_what_is_no_url_is_a_fault_with_words(
    loopback: Callable[..., Loopback], own_connections: Connections, location: str
) -> None:
    server = loopback(lambda received: (302, {"Location": location}, b""))
    hook = JiraCloudHook(own_connections.add("mine", **{**BASIC, "host": server.url}))
    with pytest.raises(ServiceFault, match="no URL"):
        hook.fetch(f"{server.url}/f.csv", lambda piece: None)


def test_without_a_file_host_only_the_gateway_gets_them(
    loopback: Callable[..., Loopback], own_connections: Connections
) -> None:
    files, gateway = loopback(csv), loopback(csv)
    extra = {"auth_type": "bearer", "cloud_id": "1", "gateway_url": gateway.url}
    hook = JiraCloudHook(own_connections.add("mine", **{**BASIC, "extra": extra}))
    hook.fetch(f"{files.url}/file.csv", lambda piece: None)
    assert not hook.is_own(f"{files.url}/file.csv")
    assert "authorization" not in files.received[0].headers
