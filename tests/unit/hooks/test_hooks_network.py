"""Worker and triggerer see one network: one table of environments, the same outcome for both transports."""

from __future__ import annotations

import base64
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import requests.certs

from airflow_provider_archival.api import http, jira
from airflow_provider_archival.exceptions import ConnectionNotUsable, ServiceFault
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.network import Proxy as FoundProxy
from airflow_provider_archival.hooks.network import proxy_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.conftest import Answer, Carrier, Connections, Loopback, Received
    from tests.unit.hooks.conftest import Proxy

ME = b'{"displayName": "Me"}'
SUBMIT = jira.archive_by_jql("key = A-1")


def hello(received: Received) -> Answer:
    return 200, {}, ME


def bearer_to(connections: Connections, url: str, **extra: Any) -> JiraCloudHook:
    connections.add(
        "mine",
        host=url,
        password="pw",
        extra={"auth_type": "bearer", "allow_http": True, **extra},
        conn_type="jira_cloud",
    )
    return JiraCloudHook("mine")


@dataclass
class Net:
    """A site at a name of ours, and a proxy that leads there."""

    server: Loopback
    proxy: Proxy
    port: int


@pytest.fixture
def net(loopback: Callable[..., Loopback], proxies: Callable[..., Proxy], names: None) -> Net:
    server = loopback(hello)
    return Net(server, proxies(), int(server.url.rpartition(":")[2]))


def outcome(carry: Carrier, net: Net, hook: JiraCloudHook) -> str:
    """Say which way a request went."""
    assert carry(hook, jira.myself(), attempts=1) == "Me"
    assert len(net.server.received) == 1
    return "proxy" if net.proxy.heads else "direct"


# --- which proxy, and whether any ---


@pytest.mark.parametrize(
    ("variables", "extra", "way"),
    [
        ({"http_proxy": "http://{proxy}"}, None, "proxy"),
        ({"http_proxy": "{proxy}"}, None, "proxy"),
        ({"HTTP_PROXY": "{proxy}"}, None, "proxy"),
        ({"http_proxy": "localhost:{proxy_port}"}, None, "proxy"),
        ({"http_proxy": "proxy.test:{proxy_port}"}, None, "proxy"),
        ({"http_proxy": "//{proxy}"}, None, "proxy"),
        ({"http_proxy": "HTTP://{proxy}/"}, None, "proxy"),
        ({"http_proxy": " http://{proxy} "}, None, "proxy"),
        ({"all_proxy": "{proxy}"}, None, "proxy"),
        ({"https_proxy": "http://{proxy}"}, None, "direct"),
        ({"http_proxy": ""}, None, "direct"),
        ({"http_proxy": "{proxy}", "no_proxy": "jira.test"}, None, "direct"),
        ({"http_proxy": "{proxy}", "no_proxy": "other.test, jira.test"}, None, "direct"),
        ({"http_proxy": "{proxy}", "NO_PROXY": ".test"}, None, "direct"),
        ({"http_proxy": "{proxy}", "no_proxy": "test"}, None, "direct"),
        ({"http_proxy": "{proxy}", "no_proxy": "ira.test"}, None, "proxy"),
        ({"http_proxy": "{proxy}", "no_proxy": "jira.test:{port}"}, None, "direct"),
        ({"http_proxy": "{proxy}", "no_proxy": ".test:{port}"}, None, "direct"),
        ({"http_proxy": "{proxy}", "no_proxy": "jira.test:1"}, None, "proxy"),
        ({"http_proxy": "{proxy}", "no_proxy": "*"}, None, "direct"),
        ({}, "http://{proxy}", "proxy"),
        ({}, "{proxy}", "proxy"),
        ({}, {"http": "{proxy}"}, "proxy"),
        ({}, {"https": "{proxy}"}, "direct"),
        ({}, {"all": "{proxy}"}, "proxy"),
        ({}, {"http://jira.test": "{proxy}", "http": "http://127.0.0.1:9"}, "proxy"),
        ({"http_proxy": "http://127.0.0.1:9"}, {"http": "{proxy}"}, "proxy"),
        ({"http_proxy": "http://127.0.0.1:9"}, {"all": "{proxy}"}, "proxy"),
        ({"http_proxy": "{proxy}"}, {"http": ""}, "direct"),
        ({"http_proxy": "{proxy}"}, {"no_proxy": "jira.test"}, "direct"),
        ({"http_proxy": "{proxy}"}, {"no_proxy": "other.test"}, "proxy"),
        ({"http_proxy": "{proxy}", "no_proxy": "jira.test"}, {"no_proxy": "other.test"}, "proxy"),
        ({}, {"http": "{proxy}", "no_proxy": "jira.test"}, "direct"),
        ({}, {"http": "{proxy}", "no_proxy": ".test:{port}"}, "direct"),
        ({}, {"all": "{proxy}", "no_proxy": "*"}, "direct"),
        ({}, {"http": "{proxy}", "no_proxy": "other.test"}, "proxy"),
        ({"no_proxy": "jira.test"}, {"http": "{proxy}", "no_proxy": ""}, "proxy"),
        ({"no_proxy": "jira.test"}, {"http": "{proxy}"}, "proxy"),
    ],
    ids=str,
)
def test_the_same_proxy_is_taken(
    own_connections: Connections,
    carry: Carrier,
    net: Net,
    environment: Callable[..., None],
    variables: dict[str, str],
    extra: Any,
    way: str,
) -> None:
    def filled(text: str) -> str:
        return text.format(proxy=net.proxy.address, proxy_port=net.proxy.port, port=net.port)

    environment(**{name: filled(value) for name, value in variables.items()})
    if isinstance(extra, dict):
        extra = {name: filled(value) for name, value in extra.items()}
    elif extra:
        extra = filled(extra)
    hook = bearer_to(own_connections, f"http://jira.test:{net.port}", proxies=extra)
    assert outcome(carry, net, hook) == way


@pytest.mark.parametrize(
    ("extra", "way"),
    [
        ({"HTTP": "PROXY"}, "proxy"),
        ({"http_proxy": "PROXY"}, "proxy"),
        ({"HTTP_PROXY": "PROXY", "HTTPS_PROXY": "http://127.0.0.1:9"}, "proxy"),
        ({"http://": "PROXY"}, "proxy"),
        ({"all://": "PROXY"}, "proxy"),
        ({"http": "PROXY", "NO_PROXY": "jira.test"}, "direct"),
        ({"http": "PROXY", "no": "jira.test"}, "direct"),
        ({"http": "PROXY", "no_proxy": ["other.test", "jira.test"]}, "direct"),
        ({"http": "PROXY", "no_proxy": []}, "proxy"),
        ({"http": "PROXY", "https": None}, "proxy"),
        ({"http": None}, "direct"),
        ('{"http": "PROXY"}', "proxy"),
        ('{"https": "PROXY"}', "direct"),
    ],
    ids=str,
)
def test_proxies_are_read_as_others_write_them(
    own_connections: Connections,
    carry: Carrier,
    net: Net,
    environment: Callable[..., None],
    logged: list[str],
    extra: Any,
    way: str,
) -> None:
    environment()
    filled = json.loads(
        json.dumps(extra).replace("PROXY", net.proxy.url).replace(f"_{net.proxy.url}", "_PROXY")
    )
    hook = bearer_to(own_connections, f"http://jira.test:{net.port}", proxies=filled)
    assert outcome(carry, net, hook) == way
    assert not [line for line in logged if "nothing is made of" in line]


def test_a_proxys_name_that_means_nothing_is_warned_of(
    own_connections: Connections,
    carry: Carrier,
    net: Net,
    environment: Callable[..., None],
    logged: list[str],
) -> None:
    environment()
    hook = bearer_to(own_connections, f"http://jira.test:{net.port}", proxies={"htttp": net.proxy.url})
    hook._conn_id = own_connections.add(f"mine_{carry.how}", **own_connections.fields("mine"))
    assert outcome(carry, net, hook) == "direct"
    (line,) = [line for line in logged if "nothing is made of 'htttp'" in line]
    assert "extra field 'proxies'" in line
    assert net.proxy.address not in line


@pytest.mark.parametrize(
    ("no_proxy", "way"), [("127.0.0.0/8", "direct"), ("127.0.0.1", "direct"), ("10.0.0.0/8", "proxy")]
)
def test_an_address_may_be_in_a_network_that_needs_no_proxy(
    own_connections: Connections,
    carry: Carrier,
    net: Net,
    environment: Callable[..., None],
    no_proxy: str,
    way: str,
) -> None:
    environment(http_proxy=net.proxy.address, no_proxy=no_proxy)
    assert outcome(carry, net, bearer_to(own_connections, net.server.url)) == way


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_tunnel_is_dug_through_a_proxy(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    tls: ssl.SSLContext,
    certificate: Path,
    proxies: Callable[..., Proxy],
    environment: Callable[..., None],
    scheme: str,
) -> None:
    server, proxy = loopback(hello, tls=tls), proxies()
    environment(https_proxy=f"{scheme}{proxy.address}")
    hook = bearer_to(own_connections, server.url, verify=str(certificate))
    assert carry(hook, jira.myself(), attempts=1) == "Me"
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {server.url.removeprefix('https://')} ")
    assert "pw" not in head


@pytest.mark.parametrize(
    "welcome",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + 9_000 * b"x" + b"\r\n\r\n",
        b"HTTP/1.1 200 " + 9_000 * b"x" + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: x\r\n" % number for number in range(200)) + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ],
    ids=["9,000 bytes", "9,000 bytes of reason", "200 headers", "not yet", "with a length"],
)
def test_a_proxy_may_say_much_when_it_opens_a_tunnel(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    tls: ssl.SSLContext,
    certificate: Path,
    proxies: Callable[..., Proxy],
    welcome: bytes,
) -> None:
    server, proxy = loopback(hello, tls=tls), proxies()
    proxy.welcome = welcome
    hook = bearer_to(own_connections, server.url, verify=str(certificate), proxies=proxy.url)
    assert carry(hook, jira.myself(), attempts=1) == "Me"


@pytest.mark.parametrize("target", ["http", "https"])
def test_a_proxy_may_be_spoken_to_over_tls(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    tls: ssl.SSLContext,
    certificate: Path,
    proxies: Callable[..., Proxy],
    target: str,
) -> None:
    server = loopback(hello, tls=tls if target == "https" else None)
    proxy = proxies(tls=tls)
    hook = bearer_to(own_connections, server.url, verify=str(certificate), proxies=proxy.url)
    assert carry(hook, jira.myself(), attempts=1) == "Me"
    assert len(proxy.heads) == 1


@pytest.mark.parametrize(
    ("login", "said"),
    [("me:word", b"me:word"), ("m%C3%A9:w%40rd", "mé:w@rd".encode()), ("me", b"me:"), ("", None)],
)
@pytest.mark.parametrize("target", ["http", "https"])
def test_a_login_is_said_to_a_proxy_and_to_nobody_else(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    tls: ssl.SSLContext,
    certificate: Path,
    proxies: Callable[..., Proxy],
    target: str,
    login: str,
    said: bytes | None,
) -> None:
    server, proxy = loopback(hello, tls=tls if target == "https" else None), proxies()
    url = proxy.url.replace("://", f"://{login}@") if login else proxy.url
    hook = bearer_to(own_connections, server.url, verify=str(certificate), proxies=url)
    assert carry(hook, jira.myself(), attempts=1) == "Me"
    header = f"Proxy-Authorization: Basic {base64.b64encode(said or b'').decode()}\r\n".lower()
    assert (header in proxy.heads[0].lower()) is (said is not None)
    if target == "https":
        assert "proxy-authorization" not in server.received[0].headers


def test_a_proxys_password_is_masked_in_each_form(own_connections: Connections) -> None:
    hook = bearer_to(own_connections, "https://jira.test", proxies="me:w%40rd@proxy:3128")
    connection = hook.get_connection("mine")
    site = hook.site_of(connection, connection.extra_dejson)
    assert {"w%40rd", "w@rd"} <= set(site.secrets)
    assert "w%40rd" not in repr(proxy_for(site, "https://jira.test"))
    assert isinstance(proxy_for(site, "https://jira.test"), FoundProxy)


# --- proxies that say no ---


@pytest.mark.parametrize("source", ["extra field 'proxies'", "the environment variable http_proxy"])
def test_a_proxy_that_wants_a_login_has_sent_nothing_on(
    own_connections: Connections,
    carry: Carrier,
    proxies: Callable[..., Proxy],
    environment: Callable[..., None],
    source: str,
) -> None:
    proxy = proxies(refuses=b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    environment(http_proxy=proxy.url)
    extra = {"proxies": proxy.url} if "extra" in source else {}
    with pytest.raises(ServiceFault) as caught:
        carry(bearer_to(own_connections, "http://jira.test", **extra), SUBMIT, attempts=1)
    assert isinstance(caught.value.error, http.NotConnected)
    assert f"the proxy {proxy.url} of {source} wants a login" in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nforbidden",
        b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_a_tunnel_that_is_refused_names_the_setting(
    own_connections: Connections,
    carry: Carrier,
    proxies: Callable[..., Proxy],
    environment: Callable[..., None],
    answer: bytes,
) -> None:
    proxy = proxies(refuses=answer)
    environment(HTTPS_PROXY=proxy.address)
    with pytest.raises(ServiceFault) as caught:
        carry(bearer_to(own_connections, "https://jira.test"), SUBMIT, attempts=1)
    assert isinstance(caught.value.error, http.NotConnected)
    assert f"through the proxy {proxy.url} of the environment variable HTTPS_PROXY: " in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_names_the_setting(
    own_connections: Connections, carry: Carrier, refused_url: str, scheme: str
) -> None:
    hook = bearer_to(own_connections, f"{scheme}://jira.test", proxies=refused_url)
    with pytest.raises(ServiceFault) as caught:
        carry(hook, SUBMIT, attempts=1)
    assert isinstance(caught.value.error, http.NotConnected)
    assert f"through the proxy {refused_url} of extra field 'proxies': " in str(caught.value)


# --- whose certificates are trusted ---


@pytest.mark.parametrize(
    "where",
    [
        "certifi",
        "system",
        "system folder",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "verify",
        "verify folder",
        "verify over a bad variable",
    ],
)
def test_a_ca_is_trusted_wherever_it_lies(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    tls: ssl.SSLContext,
    certificate: Path,
    tmp_path: Path,
    carry: Carrier,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    (tmp_path / "our-ca.crt").write_bytes(certificate.read_bytes())
    (tmp_path / "README").write_text("no certificate")
    (tmp_path / "java").mkdir()
    (tmp_path / "gone.pem").symlink_to("/nowhere/gone.pem")
    extra = {}
    if where == "certifi":
        monkeypatch.setattr(requests.certs, "where", lambda: str(certificate))
    elif where == "system":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    elif where == "system folder":
        hashed = tmp_path / "hashed"
        hashed.mkdir()
        (hashed / f"{hash_of(certificate)}.0").write_bytes(certificate.read_bytes())
        monkeypatch.setenv("SSL_CERT_DIR", str(hashed))
    elif where.startswith("verify"):
        extra = {"verify": str(tmp_path if "folder" in where else certificate)}
        if "variable" in where:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    else:
        monkeypatch.setenv(where, str(certificate))
    server = loopback(hello, tls=tls)
    assert carry(bearer_to(own_connections, server.url, **extra), jira.myself(), attempts=1) == "Me"


def hash_of(certificate: Path) -> str:
    import subprocess

    command = ["openssl", "x509", "-subject_hash", "-noout", "-in", str(certificate)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("how", ["no store", "another file"])
def test_a_ca_that_is_nowhere_is_not_trusted(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    tls: ssl.SSLContext,
    carry: Carrier,
    monkeypatch: pytest.MonkeyPatch,
    certificate: Path,
    how: str,
) -> None:
    if how == "another file":
        # A file that is named takes the place of the stores: nothing else is trusted.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())  # type: ignore[attr-defined]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = loopback(hello, tls=tls)
    with pytest.raises(ServiceFault, match="certificate verify failed") as caught:
        carry(bearer_to(own_connections, server.url), SUBMIT, attempts=1)
    assert isinstance(caught.value.error, http.NotConnected)


# --- settings that can't work ---


@pytest.mark.parametrize(
    ("variables", "extra", "complaint"),
    [
        ({}, {"verify": "{folder}/none.pem"}, "extra field 'verify' must be true, false or a file"),
        (
            {},
            {"verify": "{folder}/text"},
            "extra field 'verify' names '{folder}/text', which can't be read as",
        ),
        ({}, {"verify": "{folder}/blank"}, "extra field 'verify' names '{folder}/blank', which can't be"),
        (
            {},
            {"verify": "{folder}/empty"},
            "extra field 'verify' names '{folder}/empty', where there is no CA",
        ),
        ({"REQUESTS_CA_BUNDLE": "{folder}/none"}, {}, "the environment variable REQUESTS_CA_BUNDLE names"),
        ({"REQUESTS_CA_BUNDLE": "{folder}/text"}, {}, "the environment variable REQUESTS_CA_BUNDLE names"),
        ({"CURL_CA_BUNDLE": "{folder}/empty"}, {}, "the environment variable CURL_CA_BUNDLE names"),
        ({"SSLKEYLOGFILE": "{folder}/none/keys"}, {}, "the environment variable SSLKEYLOGFILE names"),
        ({}, {"proxies": "htp://proxy:3128"}, "extra field 'proxies' names a proxy that begins with htp://"),
        ({}, {"proxies": "http://"}, "extra field 'proxies' is no proxy's URL"),
        ({}, {"proxies": "http://:3128"}, "extra field 'proxies' is no proxy's URL"),
        ({}, {"proxies": "http://proxy:port"}, "extra field 'proxies' is no proxy's URL"),
        ({}, {"proxies": "proxy:70000"}, "extra field 'proxies' is no proxy's URL"),
        ({}, {"proxies": "http://[proxy"}, "extra field 'proxies' is no proxy's URL"),
        ({}, {"proxies": "http://pro xy:1"}, "extra field 'proxies' is no proxy's URL"),
        ({}, {"proxies": "http:/proxy:3128"}, "extra field 'proxies' is no proxy's URL"),
        ({}, {"proxies": "https//proxy:3128"}, "extra field 'proxies' is no proxy's URL"),
        ({}, {"proxies": "https://https://proxy:3128"}, "extra field 'proxies' is no proxy's URL"),
        ({"https_proxy": '"http://proxy:3128"'}, {}, "the environment variable https_proxy is no proxy's"),
        ({}, {"proxies": "socks5://proxy:1080"}, "extra field 'proxies' names a SOCKS proxy"),
        ({}, {"proxies": {"https": "socks5h://proxy:1080"}}, "extra field 'proxies' names a SOCKS proxy"),
        ({"HTTPS_PROXY": "SOCKS4://proxy:1"}, {}, "the environment variable HTTPS_PROXY names a SOCKS proxy"),
        ({"all_proxy": "socks://proxy:1"}, {}, "the environment variable all_proxy names a SOCKS proxy"),
        ({"https_proxy": "proxy:x"}, {}, "the environment variable https_proxy is no proxy's URL"),
        (
            {"https_proxy": "ftp://proxy"},
            {},
            "the environment variable https_proxy names a proxy that begins",
        ),
    ],
    ids=str,
)
def test_a_setting_that_can_not_work_names_itself(
    own_connections: Connections,
    carry: Carrier,
    environment: Callable[..., None],
    tmp_path: Path,
    variables: dict[str, str],
    extra: dict[str, Any],
    complaint: str,
) -> None:
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "blank").touch()
    (tmp_path / "empty").mkdir()

    def filled(text: Any) -> Any:
        return text.replace("{folder}", str(tmp_path)) if isinstance(text, str) else text

    environment(**{name: filled(value) for name, value in variables.items()})
    extra = {name: filled(value) for name, value in extra.items()}
    hook = bearer_to(own_connections, "https://jira.test", **extra)
    with pytest.raises(ConnectionNotUsable) as caught:
        carry(hook, SUBMIT)
    assert str(caught.value).startswith(f"Connection 'mine': {filled(complaint)}")
    assert "Nothing was sent." in str(caught.value)
    assert str(caught.value).endswith("then clear this task.")


# --- heads ---


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Long": 9_000 * "x"},
        {"X-Long": 60_000 * "x"},
        {f"X-{number}": "x" for number in range(120)},
        {f"X-{number}": "x" for number in range(900)},
        {f"X-{number}": 5_000 * "x" for number in range(120)},
    ],
    ids=["9,000 bytes", "60,000 bytes", "120", "900", "120 of 5,000 bytes"],
)
def test_long_heads_are_read(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    headers: dict[str, str],
) -> None:
    server = loopback(lambda received: (200, headers, ME))
    hook = bearer_to(own_connections, server.url)
    assert carry.each(hook, jira.myself(), jira.myself()) == ["Me", "Me"]
    assert len({received.peer for received in server.received}) == 1


@pytest.mark.parametrize(
    "headers", [{f"X-{number}": "x" for number in range(1_200)}, {"X-Long": 70_000 * "x"}]
)
def test_endless_heads_are_not(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    headers: dict[str, str],
) -> None:
    server = loopback(lambda received: (200, headers, ME))
    with pytest.raises(ServiceFault) as caught:
        carry(bearer_to(own_connections, server.url), SUBMIT, attempts=1)
    assert isinstance(caught.value.error, http.AnswerLost)


def test_what_is_no_answer_yet_is_passed_over(
    own_connections: Connections, carry: Carrier, talking: Callable[..., int]
) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ME), ME)
    port = talking(lambda client, stop: (client.recv(65536), client.sendall(early + answer)))
    assert carry(bearer_to(own_connections, f"http://127.0.0.1:{port}"), jira.myself(), attempts=1) == "Me"


def saying(talking: Callable[..., int], answer: bytes) -> str:
    port = talking(lambda client, stop: (client.recv(65536), client.sendall(answer)))
    return f"http://127.0.0.1:{port}"


def test_headers_that_come_twice_are_read_as_one(
    own_connections: Connections, carry: Carrier, talking: Callable[..., int]
) -> None:
    answer = (
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: 1800\r\nRetry-After: 5\r\n"
        b'RateLimit-Reason: jira-burst-based\r\nRateLimit: "a";r=1;q=10\r\nRateLimit: "b";r=9;q=10\r\n\r\n'
    )
    with pytest.raises(ServiceFault) as caught:
        carry(bearer_to(own_connections, saying(talking, answer)), SUBMIT, attempts=1)
    assert caught.value.error.retry_after == 1800
    assert caught.value.error.limit is not None
    assert caught.value.error.limit.left == 0.1


@pytest.mark.parametrize("reason", ["burst-für-alle".encode(), "burst-für-alle".encode("latin-1")])
def test_a_header_in_any_encoding_is_text_that_can_be_written(
    own_connections: Connections, carry: Carrier, talking: Callable[..., int], reason: bytes
) -> None:
    answer = b"HTTP/1.1 429 No\r\nContent-Length: 0\r\nRateLimit-Reason: %b\r\n\r\n" % reason
    with pytest.raises(ServiceFault) as caught:
        carry(bearer_to(own_connections, saying(talking, answer)), SUBMIT, attempts=1)
    assert caught.value.error.limit is not None
    assert caught.value.error.limit.reason == "burst-für-alle"


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n" + 9_999 * b"x" + b"\r\n"]
)
def test_what_is_no_http_is_told_of_in_a_line(
    own_connections: Connections, carry: Carrier, talking: Callable[..., int], answer: bytes
) -> None:
    with pytest.raises(ServiceFault) as caught:
        carry(bearer_to(own_connections, saying(talking, answer), timeout=1), SUBMIT, attempts=1)
    assert isinstance(caught.value.error, http.AnswerLost)
    (said,) = caught.value.error.messages
    assert "\n" not in said
    assert "400" not in said
    assert len(said) < 1_000
