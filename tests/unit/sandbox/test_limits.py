"""The sandbox's limits: what is let through, what a refusal says, and when it is over."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_archival.sandbox import credentials
from airflow_provider_archival.sandbox.clock import Clock
from airflow_provider_archival.sandbox.descriptions import BadDescription
from airflow_provider_archival.sandbox.limits import Limits

if TYPE_CHECKING:
    from airflow_provider_archival.sandbox.client import Sandbox

LOGIN = (credentials.JIRA_ADMIN_EMAIL, credentials.JIRA_ADMIN_API_TOKEN)
TOKEN = {"Authorization": f"OAuth {credentials.TOLOKA_OAUTH_TOKEN}"}
BEARER = {"Authorization": f"Bearer {credentials.JIRA_ACCESS_TOKEN}"}
MYSELF, COUNT = "/rest/api/3/myself", "/rest/api/3/search/approximate-count"
HOUR = 3600


def get(sandbox: Sandbox, path: str = MYSELF, **more: Any) -> requests.Response:
    return requests.get(sandbox.base_url + path, **{"auth": LOGIN, "timeout": 10, **more})


def as_an_app(sandbox: Sandbox) -> requests.Response:
    url = f"{sandbox.base_url}/ex/jira/{credentials.JIRA_CLOUD_ID}{MYSELF}"
    return requests.get(url, headers=BEARER, timeout=10)


def toloka(sandbox: Sandbox, path: str = "/requester") -> requests.Response:
    return requests.get(f"{sandbox.base_url}/api/v1{path}", headers=TOKEN, timeout=10)


def archive(sandbox: Sandbox, *keys: str) -> requests.Response:
    body = {"issueIdsOrKeys": keys}
    return requests.put(f"{sandbox.base_url}/rest/api/3/issue/archive", json=body, auth=LOGIN, timeout=10)


@pytest.fixture
def sandbox(archival_sandbox: Sandbox) -> Sandbox:
    """A sandbox whose clock is at a quarter past an hour, so that no test runs into the next one."""
    archival_sandbox.advance(HOUR * 1.25 - archival_sandbox.now() % HOUR)
    return archival_sandbox


class TestQuota:
    def test_refuses_all_of_jira_until_the_full_hour(self, sandbox: Sandbox) -> None:
        sandbox.limit(quota=2)
        assert [get(sandbox).status_code for _ in range(3)] == [200, 200, 429]
        count = requests.post(sandbox.base_url + COUNT, json={"jql": "key = A-1"}, auth=LOGIN, timeout=10)
        assert count.status_code == 429
        assert toloka(sandbox).status_code == 200
        sandbox.advance(HOUR * 0.75)
        assert get(sandbox).status_code == 200

    def test_a_refusal_says_whose_quota_it_is_and_when_it_resets(self, sandbox: Sandbox) -> None:
        sandbox.limit(quota=0)
        answer = get(sandbox)
        left = HOUR - sandbox.now() % HOUR
        assert answer.json() == {"errorMessages": ["Rate limit exceeded."], "errors": {}}
        assert answer.headers["RateLimit-Reason"] == "jira-quota-tenant-based"
        assert int(answer.headers["Retry-After"]) == pytest.approx(left, abs=30)
        reset = datetime.fromtimestamp(math.ceil(sandbox.now() / HOUR) * HOUR, UTC)
        assert answer.headers["X-RateLimit-Reset"] == reset.strftime("%Y-%m-%dT%H:00Z")
        assert [answer.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "NearLimit")] == [
            *("0", "0", "true"),
        ]
        seconds = answer.headers["Retry-After"]
        assert answer.headers["RateLimit"] == f'"jira-quota-tenant-based";r=0;t={seconds}'

    def test_each_answer_says_what_is_left(self, sandbox: Sandbox) -> None:
        sandbox.limit(quota=10)
        told = [get(sandbox).headers for _ in range(10)]
        assert [headers["X-RateLimit-Remaining"] for headers in told] == [str(9 - n) for n in range(10)]
        near = [headers["X-RateLimit-NearLimit"] for headers in told]
        assert near == ["false"] * 8 + ["true"] * 2
        assert "Retry-After" not in told[-1]
        assert sandbox.limits()[0]["left"] == 0

    def test_says_nothing_without_a_limit(self, sandbox: Sandbox) -> None:
        assert not [name for name in get(sandbox).headers if "ratelimit" in name.lower()]

    def test_is_the_apps_alone_if_asked(self, sandbox: Sandbox) -> None:
        sandbox.limit(quota=0, callers="apps")
        assert (get(sandbox).status_code, as_an_app(sandbox).status_code) == (200, 429)

    @pytest.mark.parametrize(
        ("what", "header", "wanted"),
        [
            ({"policy": "global"}, "RateLimit-Reason", "jira-quota-global-based"),
            ({"retry_after": 7}, "Retry-After", "7"),
            ({"retry_after": "soon"}, "Retry-After", "soon"),
            ({"retry_after": False}, "Retry-After", None),
            ({"reset": "none"}, "X-RateLimit-Reset", None),
            ({"reset": "seconds"}, "X-RateLimit-Reset", r"....-..-..T..:00:00Z"),
            ({"header": "none"}, "RateLimit", None),
            ({"header": "Beta-RateLimit"}, "Beta-RateLimit", r'"jira-quota-tenant-based";r=0;t=\d+'),
            (
                {"entries": "several"},
                "RateLimit",
                r'"jira-burst-based";r=95;t=1, "jira-quota-tenant-based";r=0;t=\d+',
            ),
        ],
    )
    def test_a_refusal_has_other_forms(
        self, sandbox: Sandbox, what: dict[str, Any], header: str, wanted: str | None
    ) -> None:
        sandbox.limit(quota=0, **what)
        told = get(sandbox).headers.get(header)
        assert told is None if wanted is None else re.fullmatch(wanted, told or "")

    def test_a_reset_may_lie_in_the_past(self, sandbox: Sandbox) -> None:
        sandbox.limit(quota=0, reset="past")
        reset = datetime.fromisoformat(get(sandbox).headers["X-RateLimit-Reset"])
        assert reset.timestamp() < sandbox.now()

    def test_an_hour_may_be_short(self, sandbox: Sandbox) -> None:
        sandbox.limit(quota=1, hour=60)
        sandbox.advance(60 - sandbox.now() % 60)
        assert [get(sandbox).status_code for _ in range(2)] == [200, 429]
        assert int(get(sandbox).headers["Retry-After"]) <= 60
        sandbox.advance(60)
        assert get(sandbox).status_code == 200


class TestBurst:
    def test_is_of_one_endpoint_and_method(self, sandbox: Sandbox) -> None:
        sandbox.limit(burst=1, window=60)
        assert [get(sandbox, f"/rest/api/3/task/{n}").status_code for n in (1, 2)] == [404, 429]
        assert get(sandbox).status_code == 200
        sandbox.advance(60)
        assert get(sandbox, "/rest/api/3/task/3").status_code == 404

    def test_a_refusal_asks_for_a_second(self, sandbox: Sandbox) -> None:
        sandbox.limit(burst=0)
        headers = get(sandbox).headers
        assert (headers["RateLimit-Reason"], headers["Retry-After"]) == ("jira-burst-based", "1")
        assert headers["RateLimit"] == '"jira-burst-based";r=0;t=1'

    def test_holds_where_it_is_told_to(self, sandbox: Sandbox) -> None:
        sandbox.limit(burst=0, path="/rest/api/3/task/*")
        assert get(sandbox).status_code == 200
        assert get(sandbox, "/rest/api/3/task/1").status_code == 429

    def test_what_a_quota_refuses_counts_for_no_burst(self, sandbox: Sandbox) -> None:
        sandbox.limit(burst=1, window=60)
        sandbox.limit(quota=0)
        assert get(sandbox).headers["RateLimit-Reason"] == "jira-quota-tenant-based"
        sandbox.limit(quota=10)
        assert get(sandbox).status_code == 200


def test_an_issue_takes_so_many_writes(sandbox: Sandbox) -> None:
    sandbox.limit(per_issue=1, window=60)
    assert archive(sandbox, "DEMO-4").status_code == 200
    refused = archive(sandbox, "DEMO-4", "DEMO-5")
    assert (refused.status_code, refused.headers["RateLimit-Reason"]) == (429, "jira-per-issue-on-write")
    assert sandbox.issue("DEMO-5")["archived"] is False
    assert archive(sandbox, "DEMO-5").status_code == 200
    assert get(sandbox).status_code == 200
    sandbox.advance(60)
    assert archive(sandbox, "DEMO-4").status_code == 200


@pytest.mark.parametrize(("interval", "seconds"), [("MIN", 60), ("HOUR", 3600), ("DAY", 86400)])
def test_toloka_counts_by_an_interval(sandbox: Sandbox, interval: str, seconds: float) -> None:
    sandbox.limit(toloka=2, interval=interval)
    assert toloka(sandbox).status_code == 200
    sandbox.advance(seconds / 2)
    assert [toloka(sandbox).status_code for _ in range(2)] == [200, 429]
    refused = toloka(sandbox, "/operations")
    assert (refused.json()["code"], refused.json()["payload"]) == (
        "TOO_MANY_REQUESTS",
        {"interval": interval},
    )
    assert "Retry-After" not in refused.headers
    assert get(sandbox).status_code == 200
    # An interval begins with its first request, and all of it ends at once.
    sandbox.advance(seconds / 2)
    assert [toloka(sandbox).status_code for _ in range(3)] == [200, 200, 429]


def test_toloka_may_say_for_how_long(sandbox: Sandbox) -> None:
    sandbox.limit(toloka=0, retry_after=5, path="/api/v1/operations")
    assert toloka(sandbox, "/operations").headers["Retry-After"] == "5"
    assert toloka(sandbox).status_code == 200


def test_a_request_that_a_fault_answers_meets_no_limit(sandbox: Sandbox) -> None:
    sandbox.limit(quota=1)
    sandbox.fault(MYSELF, status=429, body="html")
    edge = get(sandbox)
    assert (edge.status_code, edge.headers["Content-Type"][:9]) == (429, "text/html")
    assert not [name for name in edge.headers if "retry" in name.lower() or "ratelimit" in name.lower()]
    assert get(sandbox).status_code == 200


def test_a_refused_request_is_logged_and_takes_no_effect(sandbox: Sandbox) -> None:
    sandbox.limit(quota=0)
    assert archive(sandbox, "DEMO-4").status_code == 429
    assert [entry["status"] for entry in sandbox.requests()] == [429]
    assert sandbox.issue("DEMO-4")["archived"] is False


def test_limits_are_shown_and_cleared(sandbox: Sandbox) -> None:
    sandbox.limit(quota=5, burst=7, header="none")
    get(sandbox)
    assert [(one["kind"], one["most"], one["left"]) for one in sandbox.limits()] == [
        ("quota", 5, 4),
        ("burst", 7, 6),
    ]
    sandbox.clear_limits()
    assert sandbox.limits() == []
    sandbox.limit(quota=0)
    sandbox.reset()
    assert get(sandbox).status_code == 200


@pytest.mark.parametrize(
    ("description", "field"),
    [
        ([], "body"),
        ({}, "quota"),
        ({"policy": "tenant"}, "quota"),
        ({"quota": -1}, "quota"),
        ({"burst": True}, "burst"),
        ({"per_issue": "20"}, "per_issue"),
        ({"toloka": 1.5}, "toloka"),
        ({"quota": 1, "policy": "mine"}, "policy"),
        ({"quota": 1, "hour": 0}, "hour"),
        ({"burst": 1, "window": "1"}, "window"),
        ({"toloka": 1, "interval": "WEEK"}, "interval"),
        ({"quota": 1, "callers": "mine"}, "callers"),
        ({"quota": 1, "retry_after": True}, "retry_after"),
        ({"quota": 1, "reset": "later"}, "reset"),
        ({"quota": 1, "header": "X"}, "header"),
        ({"quota": 1, "entries": 2}, "entries"),
        ({"quota": 1, "path": "rest"}, "path"),
        ({"quota": 1, "surprise": 1}, "surprise"),
    ],
)
def test_refuses_a_bad_description_and_names_the_field(description: Any, field: str) -> None:
    with pytest.raises(BadDescription) as refused:
        Limits(Clock()).set(description)
    assert refused.value.field == field
