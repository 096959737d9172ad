"""A secret is sent to its service, and shown nowhere: no log line, error, trigger, XCom, template, repr."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_archival.api import jira, toloka
from airflow_provider_archival.hooks.auth import ClientCredentials, HeaderAuth
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.operators.jira import (
    JiraArchiveIssuesByJqlOperator,
    JiraArchiveIssuesOperator,
    JiraExportArchivedIssuesOperator,
)
from airflow_provider_archival.operators.toloka import TolokaArchiveProjectOperator
from airflow_provider_archival.sensors.jira import JiraTaskSensor
from airflow_provider_archival.sensors.toloka import TolokaOperationSensor
from airflow_provider_archival.triggers.jira import JiraTaskTrigger
from airflow_provider_archival.triggers.toloka import TolokaOperationTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.hooks.base import ServiceHook
    from tests.unit.conftest import (
        Answer,
        Carrier,
        Connections,
        Deferrals,
        Loopback,
        Pauses,
        Received,
        TaskInstance,
    )

SECRET = "SECRET-marker-0123456789-abcdefghijklmnopqrstuvwxyz"
ACCESS_TOKEN = "SECRET-marker-of-the-access-token"
LOGIN = "me@example.com"
ENCODED = base64.b64encode(f"{LOGIN}:{SECRET}".encode()).decode()
MARKERS = ("SECRET-marker", ENCODED[:24], ENCODED[-24:])
SCHEMES = ("basic", "bearer", "client_credentials", "toloka")


def assert_clean(*texts: Any) -> None:
    for text in texts:
        for marker in MARKERS:
            assert marker not in str(text)


def connect(connections: Connections, scheme: str, url: str, **extra: Any) -> ServiceHook:
    """Set the connection of a scheme and return its hook."""
    gateway = {"cloud_id": "1-2", "gateway_url": url}
    if scheme == "toloka":
        connections.add("mine", conn_type="toloka", host=url, password=SECRET, extra=extra)
        return TolokaHook("mine")
    extra |= {
        "basic": {},
        "bearer": {"auth_type": "bearer", **gateway},
        "client_credentials": {
            "auth_type": "client_credentials",
            "token_url": f"{url}/oauth/token",
            **gateway,
        },
    }[scheme]
    connections.add("mine", conn_type="jira_cloud", host=url, login=LOGIN, password=SECRET, extra=extra)
    return JiraCloudHook("mine")


def echo(received: Received) -> bytes:
    """What a careless service says in an error: all that it was sent."""
    return json.dumps(
        {
            "errorMessages": [
                f"You sent {received.headers.get('authorization')} and {received.body.decode()}"
            ],
            "errors": {"authorization": received.headers.get("authorization")},
            "code": "NO",
            "message": str(received.headers),
            "payload": received.headers,
            "request_id": received.headers.get("authorization"),
        }
    ).encode()


def careless(
    status: int, body: Callable[[Received], bytes] = echo, **headers: str
) -> Callable[[Received], Answer]:
    def answer(received: Received) -> Answer:
        if received.path == "/oauth/token":
            return 200, {}, json.dumps({"access_token": ACCESS_TOKEN, "expires_in": 3600}).encode()
        return status, headers, body(received)

    return answer


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def all_logged(logged: list[str], caplog: pytest.LogCaptureFixture) -> list[str]:
    """Every log line down to DEBUG, of every library."""
    for name in (None, "urllib3", "aiohttp", "asyncio", "airflow.task", "airflow_provider_archival"):
        caplog.set_level(logging.DEBUG, logger=name)
    return logged


def request_for(scheme: str) -> Any:
    return toloka.requester() if scheme == "toloka" else jira.myself()


def raised(carry: Carrier, hook: ServiceHook, request: Any) -> str:
    """Carry a request that fails, and return all that can be seen of the error."""
    try:
        carry(hook, request, attempts=2)
    except Exception as error:  # noqa: BLE001 (whatever it is, it must be clean)
        return "\n".join(
            [
                *traceback.format_exception(error),
                repr(error),
                repr(error.args),
                repr(vars(error)),
                repr(vars(getattr(error, "error", error))),
                repr(getattr(getattr(error, "error", error), "args", "")),
            ]
        )
    raise AssertionError("it did not fail")


# --- services that echo what they were sent ---


@pytest.mark.parametrize("status", [200, 302, 400, 401, 412, 503])
def test_what_a_careless_service_echoes_is_not_shown(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    archival_sandbox: Any,
    pauses: Pauses,
    carry: Carrier,
    all_logged: list[str],
    scheme: str,
    status: int,
) -> None:
    server = loopback(careless(status))
    shown = raised(carry, connect(own_connections, scheme, server.url), request_for(scheme))
    assert_clean(shown, *all_logged)
    sent = ACCESS_TOKEN if scheme == "client_credentials" else ENCODED if scheme == "basic" else SECRET
    assert sent in server.received[-1].headers["authorization"]


@pytest.mark.parametrize("before", [b"x" * 450, b"x " * 235])
@pytest.mark.parametrize("status", [200, 400])
def test_a_secret_at_the_end_of_long_words_is_not_shown_in_part(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    archival_sandbox: Any,
    pauses: Pauses,
    carry: Carrier,
    all_logged: list[str],
    scheme: str,
    status: int,
    before: bytes,
) -> None:
    server = loopback(careless(status, lambda received: before + received.headers["authorization"].encode()))
    shown = raised(carry, connect(own_connections, scheme, server.url), request_for(scheme))
    # As much of a secret as is worth guessing the rest of: eight characters after the scheme.
    assert_clean(shown, *all_logged)
    for secret in (SECRET, ACCESS_TOKEN, ENCODED):
        assert secret[:12] not in shown


def test_what_an_html_page_echoes_is_not_shown(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    archival_sandbox: Any,
    pauses: Pauses,
    carry: Carrier,
    all_logged: list[str],
    scheme: str,
) -> None:
    def page(received: Received) -> bytes:
        return f"<html><title>Log in, {received.headers['authorization']}</title>".encode()

    server = loopback(careless(500, page))
    assert_clean(
        raised(carry, connect(own_connections, scheme, server.url), request_for(scheme)), *all_logged
    )


def test_what_a_redirect_echoes_is_not_shown(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    all_logged: list[str],
    scheme: str,
) -> None:
    def answer(received: Received) -> Answer:
        if received.path == "/oauth/token":
            return 200, {}, json.dumps({"access_token": ACCESS_TOKEN}).encode()
        return 302, {"Location": f"https://login.example.com/{received.headers['authorization']}"}, b""

    server = loopback(answer)
    assert_clean(
        raised(carry, connect(own_connections, scheme, server.url), request_for(scheme)), *all_logged
    )


@pytest.mark.parametrize("status", [200, 400, 401, 503])
@pytest.mark.parametrize("secret", [SECRET, f"{SECRET}+/=&%"])
def test_what_a_careless_token_service_echoes_is_not_shown(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    archival_sandbox: Any,
    pauses: Pauses,
    carry: Carrier,
    all_logged: list[str],
    status: int,
    secret: str,
) -> None:
    def body(received: Received) -> bytes:
        said = {"error": "invalid", "error_description": f"You sent {received.body.decode()} ({secret})"}
        return json.dumps(said).encode()

    server = loopback(lambda received: (status, {}, body(received)))
    hook = connect(own_connections, "client_credentials", server.url)
    own_connections.change("mine", password=secret)
    assert_clean(raised(carry, hook, jira.myself()), *all_logged)
    assert quote(secret, safe="").encode() in server.received[0].body


@pytest.mark.parametrize("token", [f"{ACCESS_TOKEN}\n", {"x": ACCESS_TOKEN}, [ACCESS_TOKEN], ""])
def test_a_token_that_can_not_be_used_is_not_shown(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    archival_sandbox: Any,
    pauses: Pauses,
    carry: Carrier,
    all_logged: list[str],
    token: Any,
) -> None:
    said = {"access_token": token, "refresh_token": SECRET}
    server = loopback(
        lambda received: (200, {}, json.dumps(said).encode() if received.path == "/oauth/token" else b"{}")
    )
    hook = connect(own_connections, "client_credentials", server.url)
    assert_clean(raised(carry, hook, jira.myself()), *all_logged)


# --- connections that can't be used ---


@pytest.mark.parametrize(
    "fields",
    [
        {"password": f"{SECRET}\nmore"},
        {"password": f"{SECRET}ä"},
        {"host": f"https://me:{SECRET}@example.com"},
        {"host": f"me:{SECRET}@example.com"},
        {"login": None},
        {"extra": {"auth_type": "magic"}},
        {"extra": {"timeout": "soon"}},
        {"extra": {"verify": "/nowhere"}},
        {"extra": {"auth_type": "client_credentials"}},
        {"extra": {"proxies": [f"http://me:{SECRET}@proxy"]}},
    ],
    ids=lambda fields: str(list(fields)),
)
def test_a_connection_that_can_not_be_used_does_not_show_its_secret(
    own_connections: Connections, carry: Carrier, all_logged: list[str], fields: dict[str, Any]
) -> None:
    good = {"conn_type": "jira_cloud", "host": "https://example.com", "login": LOGIN, "password": SECRET}
    own_connections.add("mine", **{**good, **fields})
    assert_clean(raised(carry, JiraCloudHook("mine"), jira.myself()), *all_logged)


def test_a_proxys_password_is_not_shown(
    own_connections: Connections,
    archival_sandbox: Any,
    pauses: Pauses,
    carry: Carrier,
    all_logged: list[str],
    refused_url: str,
) -> None:
    proxy = refused_url.replace("http://", f"http://me:{SECRET}@")
    hook = connect(own_connections, "bearer", "https://jira.invalid", proxies=proxy)
    assert_clean(raised(carry, hook, jira.myself()), *all_logged)


@pytest.mark.parametrize("how", ["refused", "reset"])
def test_a_fault_of_the_wire_does_not_show_the_secret(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    archival_sandbox: Any,
    pauses: Pauses,
    carry: Carrier,
    all_logged: list[str],
    refused_url: str,
    scheme: str,
    how: str,
) -> None:
    server = loopback(lambda received: None if how == "reset" else (200, {}, b"<html>"))
    url = refused_url if how == "refused" else server.url
    assert_clean(raised(carry, connect(own_connections, scheme, url), request_for(scheme)), *all_logged)


def test_a_connection_test_does_not_show_the_secret(
    loopback: Callable[..., Loopback], own_connections: Connections, scheme: str, all_logged: list[str]
) -> None:
    hook = connect(own_connections, scheme, loopback(careless(403)).url)
    assert_clean(hook.test_connection(), *all_logged)  # type: ignore[attr-defined]


# --- what is shown of values ---


def test_no_repr_shows_a_secret(
    loopback: Callable[..., Loopback], own_connections: Connections, scheme: str
) -> None:
    hook = connect(own_connections, scheme, loopback(careless(200, lambda received: b"{}")).url)
    connection = hook.get_connection("mine")
    site = hook.site_of(connection, connection.extra_dejson)
    flow = site.auth.flow
    assert_clean(repr(site), repr(site.auth), repr(hook), str(site), repr(vars(hook)), repr(flow))


def test_no_request_shows_a_secret() -> None:
    auth = ClientCredentials("https://idp.example.com/token", "client", SECRET)
    asked = auth.token_request()
    assert b"SECRET-marker" in (asked.body or b"")
    wire = next(HeaderAuth.basic(LOGIN, SECRET).flow(asked))
    assert_clean(repr(asked), str(asked), repr(wire), repr(auth), repr(HeaderAuth.token("Bearer", SECRET)))


# --- secrets that Airflow is told to mask ---


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Airflow was told to mask."""
    from airflow_provider_archival.hooks import sending

    told: list[str] = []
    monkeypatch.setattr(sending, "mask_secret", lambda secret, *args: told.append(secret))
    return told


def test_airflow_is_told_every_secret(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    carry: Carrier,
    masked: list[str],
    scheme: str,
) -> None:
    server = loopback(careless(200, lambda received: b'{"displayName": "Me", "id": "me"}'))
    carry(connect(own_connections, scheme, server.url), request_for(scheme))
    assert SECRET in masked
    if scheme == "basic":
        assert ENCODED in masked
    if scheme == "client_credentials":
        assert ACCESS_TOKEN in masked


# --- operators, sensors and triggers ---

TASKS: dict[str, Callable[..., Any]] = {
    "keys": lambda **more: JiraArchiveIssuesOperator(
        task_id="x", issue_ids_or_keys="A-1", jira_conn_id="mine", **more
    ),
    "jql": lambda **more: JiraArchiveIssuesByJqlOperator(
        task_id="x", jql="a = 1", jira_conn_id="mine", **more
    ),
    "export": lambda **more: JiraExportArchivedIssuesOperator(task_id="x", jira_conn_id="mine", **more),
    "task sensor": lambda **more: JiraTaskSensor(task_id="x", jira_task_id="1", jira_conn_id="mine", **more),
    "project": lambda **more: TolokaArchiveProjectOperator(
        task_id="x", project_id="1", toloka_conn_id="mine", **more
    ),
    "operation sensor": lambda **more: TolokaOperationSensor(
        task_id="x", operation_id="1", toloka_conn_id="mine", **more
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_fails_shows_no_secret(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    context: Any,
    ti: TaskInstance,
    all_logged: list[str],
    name: str,
) -> None:
    connect(
        own_connections,
        "toloka" if name in ("project", "operation sensor") else "basic",
        loopback(careless(403)).url,
    )
    task = TASKS[name]()
    with pytest.raises(Exception, match="HTTP 403") as caught:
        task.execute(context)
    rendered = {field: getattr(task, field) for field in task.template_fields}
    assert_clean(
        *traceback.format_exception(caught.value),
        *all_logged,
        ti.xcoms,
        rendered,
        repr(task),
        repr(vars(caught.value)),
    )


@pytest.mark.parametrize(
    ("name", "conn_id"),
    [
        ("jql", "jira_cloud_default"),
        ("jql", "jira_cloud_oauth"),
        ("jql", "jira_cloud_bearer"),
        ("export", "jira_cloud_oauth"),
        ("project", "toloka_default"),
    ],
)
def test_a_task_that_succeeds_shows_no_secret(
    connections: Connections,
    context: Any,
    ti: TaskInstance,
    pauses: Pauses,
    deferrals: Deferrals,
    all_logged: list[str],
    name: str,
    conn_id: str,
) -> None:
    if name == "project":
        task: Any = TolokaArchiveProjectOperator(task_id="x", project_id="10001", deferrable=True)
    elif name == "export":
        task = JiraExportArchivedIssuesOperator(task_id="x", jira_conn_id=conn_id, deferrable=True)
    else:
        task = JiraArchiveIssuesByJqlOperator(
            task_id="x", jql="key = DEMO-4", jira_conn_id=conn_id, deferrable=True
        )
    secret = connections.fields(conn_id)["password"]
    result = deferrals.run(task, context)
    triggers = [repr(deferred.trigger.serialize()) for deferred in deferrals.seen]
    assert triggers
    rendered = repr({field: getattr(task, field) for field in task.template_fields})
    for shown in (json.dumps(result), json.dumps(ti.xcoms), rendered, repr(task), *triggers, *all_logged):
        assert secret not in shown
        assert base64.b64encode(secret.encode()).decode() not in shown


@pytest.mark.parametrize("status", [403, 503])
def test_a_trigger_shows_no_secret(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    archival_sandbox: Any,
    pauses: Pauses,
    deferrals: Deferrals,
    all_logged: list[str],
    scheme: str,
    status: int,
) -> None:
    connect(own_connections, scheme, loopback(careless(status)).url)
    end_time = 0.0
    trigger: Any = (
        TolokaOperationTrigger("1", "mine", 30, end_time)
        if scheme == "toloka"
        else JiraTaskTrigger("1", "mine", 30, end_time, cancel_on_kill=True)
    )
    event = deferrals.event_of(trigger)
    assert event["outcome"] == ("refused" if status == 403 else "timeout")
    if scheme != "toloka":
        asyncio.run(trigger.on_kill())
    assert_clean(json.dumps(event), json.dumps(trigger.serialize()), repr(trigger), *all_logged)


def test_a_deferral_shows_no_secret(
    loopback: Callable[..., Loopback],
    own_connections: Connections,
    context: Any,
    ti: TaskInstance,
    scheme: str,
) -> None:
    def running(received: Received) -> bytes:
        return json.dumps(
            {
                "id": "1",
                "type": "PROJECT.ARCHIVE",
                "status": "RUNNING",
                "items": [],
                "has_more": False,
                "taskId": "1",
                "count": 1,
            }
        ).encode()

    connect(own_connections, scheme, loopback(careless(200, running)).url)
    task = TASKS["project" if scheme == "toloka" else "jql"](deferrable=True)
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context)
    deferred = caught.value
    assert_clean(json.dumps(deferred.trigger.serialize()), repr(deferred.kwargs), repr(deferred), ti.xcoms)
