"""A talk with a service, not held yet: a generator yields requests and pauses, and is sent the answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from airflow_provider_archival.api.http import Request, Response
from airflow_provider_archival.api.times import moment_in_header

T = TypeVar("T")


@dataclass(frozen=True)
class Pause:
    """Nothing is to be sent for so many seconds."""

    seconds: float


Flow = Generator[Request[Any] | Pause, Any, T]
"""
Yields what is to be sent, is sent the value of each answer (or thrown the error that it means), and returns
what the talk came to. Whoever holds it needs two things only: to send, and to sleep.
"""


def ask(request: Request[T]) -> Flow[T]:
    """Send one request; ``yield from ask(...)`` has the type of its answer."""
    answer: T = yield request
    return answer


def nothing(value: T) -> Flow[T]:
    """Return a value without a word to anybody."""
    yield from ()
    return value


def dated(request: Request[T]) -> Request[tuple[T, float | None]]:
    """Return a request whose value has the service's time of the answer beside it, in epoch seconds."""

    def parse(response: Response) -> tuple[T, float | None]:
        moment = moment_in_header(response.headers.get("date"))
        return request.parse(response), moment.timestamp() if moment else None

    return replace(request, parse=parse)  # type: ignore[return-value, arg-type]


def hold(flow: Flow[T], send: Callable[[Request[Any]], Any], sleep: Callable[[float], object]) -> T:
    """Hold a talk: send what it yields, and give it the answers or the errors."""
    answer: Any = None
    error: Exception | None = None
    try:
        while True:
            step = flow.send(answer) if error is None else flow.throw(error)
            answer = error = None
            if isinstance(step, Pause):
                sleep(step.seconds)
                continue
            try:
                answer = send(step)
            except Exception as raised:  # noqa: BLE001 (the talk decides what becomes of it)
                error = raised
    except StopIteration as done:
        value: T = done.value
        return value


async def ahold(
    flow: Flow[T],
    send: Callable[[Request[Any]], Awaitable[Any]],
    sleep: Callable[[float], Awaitable[object]],
) -> T:
    """:func:`hold` for an event loop, which it never blocks."""
    answer: Any = None
    error: Exception | None = None
    try:
        while True:
            step = flow.send(answer) if error is None else flow.throw(error)
            answer = error = None
            if isinstance(step, Pause):
                await sleep(step.seconds)
                continue
            try:
                answer = await send(step)
            except Exception as raised:  # noqa: BLE001 (the talk decides what becomes of it)
                error = raised
    except StopIteration as done:
        value: T = done.value
        return value
