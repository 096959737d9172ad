"""What is sent again, how often, and after how long: counted in the sandbox's log of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from said import refusal

from airflow_provider_archival.api import http, jira, toloka
from airflow_provider_archival.exceptions import ServiceFault, ServiceRefusal
from airflow_provider_archival.hooks.jira import JiraCloudHook
from airflow_provider_archival.hooks.toloka import TolokaHook
from airflow_provider_archival.sandbox.toloka_store import PROJECT_READY

if TYPE_CHECKING:
    from airflow_provider_archival.api.http import Request
    from airflow_provider_archival.hooks.base import ServiceHook
    from airflow_provider_archival.sandbox.client import Sandbox
    from tests.unit.conftest import Carrier, Connections, Pauses

READS: list[tuple[type[ServiceHook], Request[Any]]] = [
    (JiraCloudHook, jira.myself()),
    (JiraCloudHook, jira.count_issues("project = DEMO")),
    (JiraCloudHook, jira.archive_issues(["DEMO-4"])),
    (TolokaHook, toloka.get_project(PROJECT_READY)),
]
SUBMITS: list[tuple[type[ServiceHook], Request[Any]]] = [
    (JiraCloudHook, jira.archive_by_jql("key = DEMO-4")),
    (JiraCloudHook, jira.export_archived_issues(jira.ExportFilter())),
    (TolokaHook, toloka.archive_project(PROJECT_READY)),
]
AMBIGUOUS: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 502, "body": "html"},
    {"status": 503},
    {"status": 504, "when": "after"},
    {"status": 408},
    {"reset": "before"},
    {"reset": "after"},
    {"truncate": True},
    {"body": "html"},
    {"body": "broken"},
]
UNDONE: list[dict[str, Any]] = [{"status": 429}, {"status": 429, "headers": {"Retry-After": "2"}}]
LASTING: list[tuple[int, type[http.ApiError]]] = [
    (400, http.BadRequest),
    (401, http.NotAuthenticated),
    (403, http.Forbidden),
    (404, http.NotFound),
    (405, http.BadRequest),
    (409, http.Conflict),
    (410, http.NotFound),
]


def sent(sandbox: Sandbox, request: Request[Any]) -> int:
    path = request.path if request.path.startswith("/rest") else f"/api/v1{request.path}"
    return len(sandbox.requests(path, request.method))


def inject(sandbox: Sandbox, request: Request[Any], **what: Any) -> None:
    sandbox.fault(f"*{request.path}", method=request.method, **{"times": None, **what})


@pytest.mark.parametrize(
    ("hook", "request_", "what"),
    [(*READS[0], what) for what in AMBIGUOUS + UNDONE]
    + [(*READS[2], what) for what in AMBIGUOUS]
    + [(*read, {"status": 503}) for read in READS[1:]],
    ids=str,
)
def test_what_does_no_harm_twice_is_sent_five_times(
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    carry: Carrier,
    hook: type[ServiceHook],
    request_: Request[Any],
    what: dict[str, Any],
) -> None:
    inject(archival_sandbox, request_, **what)
    with pytest.raises(ServiceFault) as caught:
        carry(hook(), request_)  # type: ignore[call-arg]
    assert not isinstance(caught.value, ServiceRefusal)
    assert sent(archival_sandbox, request_) == 5


@pytest.mark.parametrize(
    ("hook", "request_", "what"),
    [(*SUBMITS[1], what) for what in AMBIGUOUS]
    + [(*submit, what) for submit in (SUBMITS[0], SUBMITS[2]) for what in AMBIGUOUS[3:7]],
    ids=str,
)
def test_a_submit_that_may_have_been_acted_upon_is_sent_once(
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    carry: Carrier,
    hook: type[ServiceHook],
    request_: Request[Any],
    what: dict[str, Any],
) -> None:
    inject(archival_sandbox, request_, **what)
    with pytest.raises(ServiceFault) as caught:
        carry(hook(), request_)  # type: ignore[call-arg]
    assert caught.value.error.surely_undone is False
    assert not isinstance(caught.value, ServiceRefusal)
    assert sent(archival_sandbox, request_) == 1
    assert pauses.asked == []


@pytest.mark.parametrize("what", UNDONE, ids=str)
@pytest.mark.parametrize(("hook", "request_"), SUBMITS, ids=str)
def test_a_submit_that_was_surely_not_acted_upon_is_sent_five_times(
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    carry: Carrier,
    hook: type[ServiceHook],
    request_: Request[Any],
    what: dict[str, Any],
) -> None:
    inject(archival_sandbox, request_, **what)
    with pytest.raises(ServiceFault, match="HTTP 429"):
        carry(hook(), request_)  # type: ignore[call-arg]
    assert sent(archival_sandbox, request_) == 5
    assert archival_sandbox.jobs() == []


@pytest.mark.parametrize(("hook", "request_"), [READS[0], *SUBMITS], ids=str)
def test_a_refused_connection_is_tried_five_times_even_for_a_submit(
    archival_sandbox: Sandbox,
    connections: Connections,
    refused_url: str,
    pauses: Pauses,
    carry: Carrier,
    hook: type[ServiceHook],
    request_: Request[Any],
) -> None:
    connections.change("jira_cloud_default", host=refused_url)
    connections.change("toloka_default", host=refused_url)
    with pytest.raises(ServiceFault, match=r"\((New)?Connection(Refused)?Error\)") as caught:
        carry(hook(), request_)  # type: ignore[call-arg]
    assert isinstance(caught.value.error, http.NotConnected)
    assert len(pauses.asked) == 4


@pytest.mark.parametrize(
    ("hook", "request_", "times"), [(*READS[0], 5), (*SUBMITS[0], 1), (*SUBMITS[1], 1)], ids=str
)
def test_a_timeout_is_repeated_for_a_read_only(
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    carry: Carrier,
    hook: type[ServiceHook],
    request_: Request[Any],
    times: int,
) -> None:
    connections.change("jira_cloud_default", extra={"timeout": 0.15})
    inject(archival_sandbox, request_, delay=30)
    with pytest.raises(ServiceFault, match=r"no answer within 0\.15 s") as caught:
        carry(hook(), request_)  # type: ignore[call-arg]
    assert isinstance(caught.value.error, http.AnswerLost)
    assert sent(archival_sandbox, request_) == times


@pytest.mark.parametrize(("status", "kind"), LASTING)
@pytest.mark.parametrize(("hook", "request_"), [READS[0], SUBMITS[1]], ids=str)
def test_a_refusal_is_not_repeated(
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    carry: Carrier,
    hook: type[ServiceHook],
    request_: Request[Any],
    status: int,
    kind: type[http.ApiError],
) -> None:
    inject(archival_sandbox, request_, status=status, body=refusal("jira"))
    with pytest.raises(ServiceRefusal, match="Because") as caught:
        carry(hook(), request_)  # type: ignore[call-arg]
    assert type(caught.value.error) is kind
    assert sent(archival_sandbox, request_) == 1
    assert pauses.asked == []


def test_a_412_is_not_repeated_here_but_may_be_retried(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier
) -> None:
    carry(JiraCloudHook(), jira.archive_by_jql("key = DEMO-4"))
    with pytest.raises(ServiceFault, match="one archive and one export at a time") as caught:
        carry(JiraCloudHook(), jira.archive_by_jql("key = DEMO-5"))
    assert not isinstance(caught.value, ServiceRefusal)
    assert isinstance(caught.value.error, http.Busy)
    assert caught.value.error.running_task_id == archival_sandbox.jobs()[0]["id"]
    assert sent(archival_sandbox, jira.archive_by_jql("x")) == 2
    assert pauses.asked == []


def test_a_fault_that_passes_is_not_seen(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault("/rest/api/3/myself", status=503, times=4)
    assert carry(JiraCloudHook(), jira.myself()) == "Alex Admin"
    assert sent(archival_sandbox, jira.myself()) == 5


def test_each_repeat_is_told_with_its_reason(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier, logged: list[str]
) -> None:
    archival_sandbox.fault("/rest/api/3/myself", status=503, body={"message": "Out for lunch"}, times=2)
    carry(JiraCloudHook(), jira.myself())
    told = [line for line in logged if "sending it again" in line]
    assert len(told) == 2
    assert told[0].startswith("Jira: GET /rest/api/3/myself: HTTP 503: Out for lunch; sending it again in ")
    assert told[0].endswith("(attempt 2 of 5)")
    assert told[1].endswith("(attempt 3 of 5)")


def test_attempts_can_be_fewer(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault("/rest/api/3/myself", status=503, times=None)
    with pytest.raises(ServiceFault):
        carry(JiraCloudHook(), jira.myself(), attempts=1)
    assert sent(archival_sandbox, jira.myself()) == 1


# --- how long ---


def test_pauses_grow_and_are_jittered(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier
) -> None:
    archival_sandbox.fault("/rest/api/3/myself", status=503, times=None)
    for _ in range(2):
        with pytest.raises(ServiceFault):
            carry(JiraCloudHook(), jira.myself())
    first, second = pauses.asked[:4], pauses.asked[4:]
    assert first != second
    for number, pause in enumerate(first):
        assert 2**number <= pause <= 2**number + 1


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "60"}, 60, 60),
        ({"Retry-After": "1800"}, 1800, 1800),
        ({"Retry-After": "0"}, 1, 2),
        ({"Retry-After": "whenever"}, 1, 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_services_wish_to_wait_is_honoured(
    archival_sandbox: Sandbox,
    connections: Connections,
    pauses: Pauses,
    carry: Carrier,
    status: int,
    headers: dict[str, str],
    least: float,
    most: float,
) -> None:
    archival_sandbox.fault("/rest/api/3/myself", status=status, headers=headers)
    carry(JiraCloudHook(), jira.myself())
    (pause,) = pauses.asked
    assert least <= pause <= most


@pytest.mark.parametrize("header", ["Retry-After", "X-RateLimit-Reset"])
def test_a_moment_to_wait_for_is_honoured(
    archival_sandbox: Sandbox, connections: Connections, pauses: Pauses, carry: Carrier, header: str
) -> None:
    moment = pendulum.from_timestamp(archival_sandbox.now() + 100)
    text = moment.format("ddd, DD MMM YYYY HH:mm:ss [GMT]") if header == "Retry-After" else moment.isoformat()
    archival_sandbox.fault("/rest/api/3/myself", status=429, headers={header: text})
    carry(JiraCloudHook(), jira.myself())
    (pause,) = pauses.asked
    assert 50 < pause <= 101
