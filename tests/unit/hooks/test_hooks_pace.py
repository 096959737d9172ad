"""A hook keeps to so many requests a second, however fast the service answers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from airflow_provider_archival.api import toloka
from airflow_provider_archival.hooks.pace import limiter
from airflow_provider_archival.hooks.toloka import TolokaHook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_archival.sandbox.client import Sandbox

PER_SECOND, REQUESTS = 40, 60
# All but the first tenth of a second's worth has to wait for its turn.
LEAST_SECONDS = (REQUESTS - PER_SECOND // 10) / PER_SECOND - 0.1

pytestmark = pytest.mark.usefixtures("connections")


@pytest.fixture(autouse=True)
def _slow_pace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(TolokaHook, "most_per_second", PER_SECOND)
    limiter.cache_clear()
    yield
    limiter.cache_clear()


def test_a_loop_over_a_fast_service_is_held_back(archival_sandbox: Sandbox) -> None:
    started = time.monotonic()
    for _ in range(REQUESTS // 2):
        # Another hook in the same process counts as well.
        TolokaHook().call(toloka.requester())
        TolokaHook().call(toloka.requester())
    assert time.monotonic() - started >= LEAST_SECONDS
    assert len(archival_sandbox.requests()) == REQUESTS


async def test_an_event_loop_full_of_requests_is_held_back(archival_sandbox: Sandbox) -> None:
    hook = TolokaHook()
    started = time.monotonic()
    async with hook.connected():
        await asyncio.gather(*(hook.acall(toloka.requester()) for _ in range(REQUESTS)))
    assert time.monotonic() - started >= LEAST_SECONDS
    assert len(archival_sandbox.requests()) == REQUESTS


def test_a_second_never_holds_more_than_toloka_takes() -> None:
    (rate,) = limiter("any", 250).bucket_factory.bucket.rates  # type: ignore[attr-defined]
    assert (rate.limit, rate.interval) == (250, 1000)
    # A second's worth, and what may come at once at its beginning.
    assert rate.limit + rate.burst < 300
