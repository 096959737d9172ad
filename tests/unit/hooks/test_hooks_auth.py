"""How the hooks sign in: every scheme against the sandbox, and how a token is got, kept and renewed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
import time_machine

from airflow_provider_archival.api import http, jira, toloka
from airflow_provider_archival.exceptions import ServiceFault, ServiceRefusal
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.sandbox import credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Carrier, Connections, Loopback, Pauses, Received

MYSELF, TOKEN = "/rest/api/3/myself", "/oauth/token"
OAUTH = "jira_cloud_oauth"


def asked(sandbox: Sandbox, path: str) -> int:
    return len(sandbox.requests(path))


# --- every scheme ---


@pytest.mark.parametrize(
    ("conn_id", "name", "cloud_id"),
    [
        ("jira_cloud_default", "Alex Admin", None),
        ("jira_cloud_bearer", "Alex Admin", credentials.JIRA_CLOUD_ID),
        ("jira_cloud_oauth", "Service Account", credentials.JIRA_CLOUD_ID),
    ],
)
def test_each_scheme_signs_in_to_jira(
    archival_sandbox: Sandbox,
    connections: Connections,
    carry: Carrier,
    conn_id: str,
    name: str,
    cloud_id: str | None,
) -> None:
    assert carry(JiraCloudHook(conn_id), jira.myself()) == name
    assert archival_sandbox.requests(MYSELF)[0]["cloud_id"] == cloud_id


def test_a_scoped_token_signs_in_with_basic_through_the_gateway(
    archival_sandbox: Sandbox, connections: Connections, carry: Carrier
) -> None:
    extra = {"cloud_id": credentials.JIRA_CLOUD_ID, "gateway_url": archival_sandbox.base_url}
    connections.change("jira_cloud_default", host=None, extra=extra)
    assert carry(JiraCloudHook(), jira.myself()) == "Alex Admin"
    assert archival_sandbox.requests(MYSELF)[0]["cloud_id"] == credentials.JIRA_CLOUD_ID


@pytest.mark.parametrize("token", [credentials.TOLOKA_OAUTH_TOKEN, credentials.TOLOKA_API_KEY])
def test_each_kind_of_token_signs_in_to_toloka(connections: Connections, carry: Carrier, token: str) -> None:
    connections.change("toloka_default", password=token)
    assert carry(TolokaHook(), toloka.requester()) == "Sandbox Requester"


@pytest.mark.parametrize("scheme", ["ApiKey", "OAuth"])
def test_the_wrong_scheme_is_a_refusal_that_names_the_field(
    connections: Connections, carry: Carrier, scheme: str
) -> None:
    token = credentials.TOLOKA_OAUTH_TOKEN if scheme == "ApiKey" else credentials.TOLOKA_API_KEY
    connections.change("toloka_default", password=token, extra={"auth_scheme": scheme})
    with pytest.raises(ServiceRefusal, match=r"HTTP 401.*connection 'toloka_default'.*auth_scheme"):
        carry(TolokaHook(), toloka.requester())


@pytest.mark.parametrize("conn_id", ["jira_cloud_default", "jira_cloud_bearer", "jira_cloud_oauth"])
def test_wrong_credentials_are_refused_at_once_with_what_to_do(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier, conn_id: str
) -> None:
    connections.change(conn_id, password="wrong-password")
    with pytest.raises(ServiceRefusal) as caught:
        carry(JiraCloudHook(conn_id), jira.myself())
    assert isinstance(caught.value.error, http.NotAuthenticated)
    assert f"Check login, password and auth_type of connection '{conn_id}'" in str(caught.value)
    assert len(archival_sandbox.requests()) == 1
    assert pauses.asked == []


# --- client credentials ---


def test_a_token_is_fetched_once_for_many_calls(
    archival_sandbox: Sandbox, connections: Connections, carry: Carrier
) -> None:
    carry.each(JiraCloudHook(OAUTH), *[jira.myself()] * 5)
    assert (asked(archival_sandbox, TOKEN), asked(archival_sandbox, MYSELF)) == (1, 5)


def test_a_token_is_asked_for_as_a_form(
    archival_sandbox: Sandbox, connections: Connections, carry: Carrier
) -> None:
    carry(JiraCloudHook(OAUTH), jira.myself())
    (request,) = archival_sandbox.requests(TOKEN)
    assert request["method"] == "POST"
    assert request["body"]["grant_type"] == "client_credentials"
    assert request["body"]["client_id"] == credentials.JIRA_CLIENT_ID


@pytest.mark.parametrize(
    ("expires_in", "after", "fetched"),
    [
        (3600, 3500, 1),
        (3600, 3541, 2),
        (100, 85, 1),
        (100, 91, 2),
        (None, 3500, 1),
        (None, 3541, 2),
    ],
)
def test_a_token_is_kept_until_shortly_before_it_expires(
    archival_sandbox: Sandbox,
    connections: Connections,
    carry: Carrier,
    expires_in: int | None,
    after: int,
    fetched: int,
) -> None:
    body = {"access_token": credentials.JIRA_ACCESS_TOKEN, "expires_in": expires_in}
    archival_sandbox.fault(TOKEN, status=200, body=body, times=None)
    with time_machine.travel(1_900_000_000, tick=False) as clock:
        carry.each(JiraCloudHook(OAUTH), jira.myself(), lambda: clock.shift(after), jira.myself())
    assert asked(archival_sandbox, TOKEN) == fetched


def test_a_token_that_expired_early_is_renewed_once(
    archival_sandbox: Sandbox, connections: Connections, carry: Carrier
) -> None:
    names = carry.each(
        JiraCloudHook(OAUTH), jira.myself(), archival_sandbox.expire_tokens, jira.myself(), jira.myself()
    )
    assert names == ["Service Account", None, "Service Account", "Service Account"]
    assert asked(archival_sandbox, TOKEN) == 2
    assert [request["status"] for request in archival_sandbox.requests(MYSELF)] == [200, 401, 200, 200]


def test_a_submit_goes_on_after_its_token_was_renewed(
    archival_sandbox: Sandbox, connections: Connections, carry: Carrier
) -> None:
    carry.each(
        JiraCloudHook(OAUTH),
        jira.myself(),
        archival_sandbox.expire_tokens,
        jira.archive_by_jql("key = DEMO-4"),
    )
    assert archival_sandbox.counters()["jobs_submitted"] == {"archive": 1}


def test_a_new_token_that_is_refused_too_is_a_refusal(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault(MYSELF, status=401, times=None)
    with pytest.raises(ServiceRefusal, match="HTTP 401"):
        carry(JiraCloudHook(OAUTH), jira.myself())
    assert (asked(archival_sandbox, TOKEN), asked(archival_sandbox, MYSELF)) == (2, 2)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_token_request_is_a_refusal_with_what_to_do(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier, status: int
) -> None:
    body = {"error": "access_denied", "error_description": "No such client."}
    archival_sandbox.fault(TOKEN, status=status, body=body, times=None)
    with pytest.raises(ServiceRefusal) as caught:
        carry(JiraCloudHook(OAUTH), jira.archive_by_jql("key = DEMO-4"))
    assert f"(token URL): HTTP {status}: access_denied No such client. Check login" in str(caught.value)
    assert (asked(archival_sandbox, TOKEN), len(archival_sandbox.jobs())) == (1, 0)


@pytest.mark.parametrize(
    "what",
    [
        {"status": 503},
        {"status": 429, "headers": {"Retry-After": "2"}},
        {"reset": "after"},
        {"body": "html"},
        {"body": "broken"},
        {"body": "empty"},
        {"status": 200, "body": {"expires_in": 3600}},
        {"status": 200, "body": {"access_token": ""}},
        {"status": 200, "body": {"access_token": ["x"]}},
        {"status": 200, "body": {"access_token": "x", "expires_in": "soon"}},
    ],
    ids=str,
)
def test_a_token_request_is_repeated_even_for_a_submit(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier, what: dict[str, Any]
) -> None:
    archival_sandbox.fault(TOKEN, times=2, **what)
    carry(JiraCloudHook(OAUTH), jira.archive_by_jql("key = DEMO-4"))
    assert asked(archival_sandbox, TOKEN) == 3
    assert archival_sandbox.counters()["jobs_submitted"] == {"archive": 1}


def test_a_token_service_that_stays_down_is_a_fault_that_may_pass(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault(TOKEN, status=503, times=None)
    with pytest.raises(ServiceFault, match="HTTP 503") as caught:
        carry(JiraCloudHook(OAUTH), jira.myself())
    assert not isinstance(caught.value, ServiceRefusal)
    assert (asked(archival_sandbox, TOKEN), asked(archival_sandbox, MYSELF)) == (5, 0)


async def test_many_callers_on_a_loop_fetch_one_token(
    archival_sandbox: Sandbox, connections: Connections
) -> None:
    await asyncio.gather(*(JiraCloudHook(OAUTH).acall(jira.myself()) for _ in range(30)))
    assert (asked(archival_sandbox, TOKEN), asked(archival_sandbox, MYSELF)) == (1, 30)


async def test_many_callers_on_a_loop_renew_an_expired_token_once(
    archival_sandbox: Sandbox, connections: Connections
) -> None:
    hook = JiraCloudHook(OAUTH)
    async with hook.connected():
        await hook.acall(jira.myself())
        archival_sandbox.expire_tokens()
        # So slow that every caller has its 401 before the first one has a new token.
        archival_sandbox.fault(TOKEN, delay=0.3, times=None)
        await asyncio.gather(*(JiraCloudHook(OAUTH).acall(jira.myself()) for _ in range(30)))
    assert asked(archival_sandbox, TOKEN) == 2


async def test_a_caller_that_hears_late_of_an_expired_token_takes_the_new_one(
    archival_sandbox: Sandbox, connections: Connections
) -> None:
    hook = JiraCloudHook(OAUTH)
    async with hook.connected():
        await hook.acall(jira.myself())
        archival_sandbox.expire_tokens()
        # The first to ask hears of its 401 only after the second has long had a new token.
        archival_sandbox.fault(MYSELF, delay=0.5)
        late = asyncio.create_task(hook.acall(jira.myself()))
        await asyncio.to_thread(until_asked, archival_sandbox, 2)
        await hook.acall(jira.myself())
        assert await late == "Service Account"
    assert asked(archival_sandbox, TOKEN) == 2


def until_asked(sandbox: Sandbox, times: int) -> None:
    """Wait until so many requests have come in."""
    while asked(sandbox, MYSELF) < times:
        time.sleep(0.01)


async def test_many_callers_on_a_loop_renew_a_token_that_grew_old_once(
    archival_sandbox: Sandbox, connections: Connections
) -> None:
    hook = JiraCloudHook(OAUTH)
    with time_machine.travel(1_900_000_000, tick=False) as clock:
        async with hook.connected():
            await hook.acall(jira.myself())
            clock.shift(3541)
            await asyncio.gather(*(JiraCloudHook(OAUTH).acall(jira.myself()) for _ in range(30)))
    assert asked(archival_sandbox, TOKEN) == 2


async def test_a_renewal_that_fails_for_one_caller_is_tried_by_the_next(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses
) -> None:
    archival_sandbox.fault(TOKEN, status=503)
    names = await asyncio.gather(*(JiraCloudHook(OAUTH).acall(jira.myself()) for _ in range(5)))
    assert names == 5 * ["Service Account"]


# --- credentials that were changed ---


def accepting(passwords: set[str]) -> Callable[[Received], Any]:
    def answer(received: Received) -> Any:
        is_known = received.headers["authorization"].removeprefix("Bearer ") in passwords
        return (200, {}, b'{"displayName": "Me"}') if is_known else (401, {}, b"")

    return answer


def test_changed_credentials_are_picked_up_after_a_401(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    known = {"old"}
    server = loopback(accepting(known))
    fields = {"conn_type": "jira_cloud", "host": server.url, "extra": {"auth_type": "bearer"}}
    own_connections.add("mine", password="old", **fields)

    def rotate() -> None:
        known.clear()
        known.add("new")
        own_connections.add("mine", password="new", **fields)

    names = carry.each(JiraCloudHook("mine"), jira.myself(), rotate, jira.myself(), jira.myself())
    assert names == ["Me", None, "Me", "Me"]
    sent = [received.headers["authorization"] for received in server.received]
    assert sent == ["Bearer old", "Bearer old", "Bearer new", "Bearer new"]


def test_unchanged_credentials_are_not_sent_twice_after_a_401(
    loopback: Callable[..., Loopback], own_connections: Connections, carry: Carrier
) -> None:
    known = {"old"}
    server = loopback(accepting(known))
    fields = {"conn_type": "jira_cloud", "host": server.url, "extra": {"auth_type": "bearer"}}
    own_connections.add("mine", password="old", **fields)
    with pytest.raises(ServiceRefusal, match="HTTP 401"):
        carry.each(JiraCloudHook("mine"), jira.myself(), known.clear, jira.myself())
    assert len(server.received) == 2


async def test_changed_credentials_are_looked_up_once_for_many_callers(
    loopback: Callable[..., Loopback], own_connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"old"}
    server = loopback(accepting(known))
    fields = {"conn_type": "jira_cloud", "host": server.url, "extra": {"auth_type": "bearer"}}
    own_connections.add("mine", password="old", **fields)
    hook = JiraCloudHook("mine")
    async with hook.connected():
        await hook.acall(jira.myself())
        known.clear()
        known.add("new")
        own_connections.add("mine", password="new", **fields)
        names = await asyncio.gather(*(JiraCloudHook("mine").acall(jira.myself()) for _ in range(20)))
    assert names == 20 * ["Me"]
    assert [received.headers["authorization"] for received in server.received][-1] == "Bearer new"
