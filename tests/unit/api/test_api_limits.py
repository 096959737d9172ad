"""What an answer says of limits, as a value."""

from __future__ import annotations

import json
from typing import Any

import pytest
import time_machine

from airflow_provider_archival.api import jira, toloka
from airflow_provider_archival.api.http import ApiError, Response, TooManyRequests
from airflow_provider_archival.api.limits import RateLimit, Reach

QUOTA = {"ratelimit-reason": "jira-quota-tenant-based"}
BURST = {"ratelimit-reason": "jira-burst-based"}


def limit_of(headers: dict[str, str], status: int = 429, said: Any = None) -> RateLimit:
    return RateLimit.of(Response(status, headers, b"" if said is None else json.dumps(said).encode()))


@pytest.mark.parametrize(
    ("headers", "seconds", "reach"),
    [
        ({**QUOTA, "retry-after": "1847"}, 1847, Reach.CONNECTION),
        ({"ratelimit-reason": "Jira-Quota-Global-Based", "retry-after": "5"}, 5, Reach.CONNECTION),
        ({**QUOTA, "x-ratelimit-reset": "2026-03-26T16:00Z"}, 1200, Reach.CONNECTION),
        ({**QUOTA, "x-ratelimit-reset": "2026-03-26T16:00:30Z"}, 1230, Reach.CONNECTION),
        # The reset was seen in the past: then it is the full hour.
        ({**QUOTA, "x-ratelimit-reset": "2026-03-26T15:00Z"}, 1200, Reach.CONNECTION),
        (QUOTA, 1200, Reach.CONNECTION),
        ({**QUOTA, "ratelimit": '"jira-quota-tenant-based";r=0;t=2788'}, 2788, Reach.CONNECTION),
        ({**QUOTA, "beta-ratelimit": '"a";r=7;t=9999, "b";r=0;t=60'}, 60, Reach.CONNECTION),
        ({**BURST, "retry-after": "1"}, 1, Reach.ENDPOINT),
        (BURST, None, Reach.ENDPOINT),
        ({"ratelimit-reason": "jira-per-issue-on-write", "retry-after": "2"}, 2, Reach.REQUEST),
        ({"ratelimit-reason": "jira-cost-based", "retry-after": "2"}, 2, Reach.REQUEST),
        ({"retry-after": "2"}, 2, Reach.REQUEST),
        ({}, None, Reach.REQUEST),
    ],
    ids=str,
)
@time_machine.travel("2026-03-26T15:40:00Z", tick=False)
def test_a_429_tells_how_long_to_pause_and_what_has_to(
    headers: dict[str, str], seconds: float | None, reach: Reach
) -> None:
    limit = limit_of(headers)
    assert (limit.retry_after, limit.reach) == (seconds, reach)


@time_machine.travel("2030-01-01T00:00:00Z", tick=False)
def test_the_full_hour_is_that_of_the_services_clock() -> None:
    assert limit_of({**QUOTA, "date": "Thu, 26 Mar 2026 15:59:00 GMT"}).retry_after == 60


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"code": "TOO_MANY_REQUESTS", "message": "m", "payload": {"interval": "MIN"}}, 60),
        ({"code": "TOO_MANY_REQUESTS", "message": "m", "payload": {"interval": "HOUR"}}, 3600),
        ({"code": "TOO_MANY_REQUESTS", "message": "m", "payload": {"interval": "DAY"}}, 86400),
        ({"payload": {"interval": "WEEK"}}, None),
        ({"payload": {"interval": None}}, None),
        ({"payload": {}}, None),
        ({"payload": ["MIN"]}, None),
        ({"payload": "MIN"}, None),
        ([1], None),
        ("x", None),
        (None, None),
    ],
    ids=str,
)
def test_tolokas_interval_tells_it_too(said: Any, seconds: float | None) -> None:
    limit = limit_of({}, said=said)
    assert limit.retry_after == seconds
    # Each method has a quota of its own: looks at what runs go on.
    assert limit.reach is (Reach.ENDPOINT if seconds else Reach.REQUEST)
    assert limit_of({"retry-after": "7"}, said=said).retry_after == 7


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({"x-ratelimit-nearlimit": "true"}, 0.2),
        ({"x-ratelimit-nearlimit": "false"}, None),
        ({"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "150"}, 0.15),
        ({"x-ratelimit-limit": "0", "x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-limit": "nan", "x-ratelimit-remaining": "1"}, None),
        ({"x-ratelimit-remaining": "150"}, None),
        ({"ratelimit": '"a";r=10;t=5', "ratelimit-policy": '"a";q=100;w=60'}, 0.1),
        ({"beta-ratelimit": '"a";r=10;t=5'}, None),
    ],
    ids=str,
)
def test_what_is_left_is_read_from_any_answer(headers: dict[str, str], left: float | None) -> None:
    for status in (200, 404, 429):
        assert limit_of(headers, status).left == left


def test_an_answer_that_is_no_refusal_holds_nothing_up() -> None:
    limit = limit_of({**QUOTA, "x-ratelimit-reset": "2099-03-26T16:00Z"}, 200)
    assert (limit.retry_after, limit.reach) == (None, Reach.REQUEST)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_5xx_can_ask_for_a_pause_too(status: int) -> None:
    limit = limit_of({"retry-after": "1800"}, status)
    assert (limit.retry_after, limit.reach) == (1800, Reach.REQUEST)


@pytest.mark.parametrize(
    "name", ["ratelimit", "beta-ratelimit-policy", "ratelimit-reason", "x-ratelimit-limit"]
)
def test_headers_of_any_length_cost_nothing(name: str) -> None:
    for text in ('"' * 50_000, ";r=" * 50_000, "a;" * 50_000, "9" * 50_000):
        limit_of({name: text})


def test_an_error_carries_its_limit() -> None:
    with pytest.raises(ApiError) as caught:
        jira.get_task("1").read(Response(429, {**QUOTA, "retry-after": "9"}, b""))
    assert isinstance(caught.value, TooManyRequests)
    assert caught.value.limit == RateLimit(9, "jira-quota-tenant-based", Reach.CONNECTION)


def test_requests_of_one_kind_have_one_name() -> None:
    assert jira.get_task("1").endpoint == jira.get_task("2").endpoint == "GET /rest/api/3/task/{taskId}"
    assert toloka.archive_pool("1").endpoint == toloka.archive_pool("2").endpoint
    assert jira.cancel_task("1").is_urgent
    assert not jira.get_task("1").is_urgent
