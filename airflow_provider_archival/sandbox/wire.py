"""What a server can do to a connection: reset it, cut an answer short, or never come to the answer's end."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http.client import responses
from typing import Any

from starlette.types import Receive, Scope, Send

# Linger on, for no time: closing sends a reset instead of a goodbye.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Pause = Callable[[], Awaitable[bool]]
"""Waits for a moment; false if no more is to come."""


Answer = tuple[int, Mapping[str, str], bytes]
"""A status, headers with names in lower case, and a body."""


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def answer(send: Send, whole: Answer) -> None:
    """Send a whole answer."""
    status, headers, body = whole
    await _start(send, status, headers)
    await send({"type": "http.response.body", "body": body})


async def answer_half(scope: Scope, receive: Receive, send: Send, whole: Answer) -> None:
    """Promise more than the body, send half of it, and close the connection."""
    status, headers, body = whole
    await _start(send, status, {**headers, "content-length": str(len(body) + 64)})
    half = body[: (len(body) + 1) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})
    scope["state"]["transport"].close()
    await _until_gone(receive)


async def reset(scope: Scope, receive: Receive) -> None:
    """Reset the connection."""
    transport: Any = scope["state"]["transport"]
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
    await _until_gone(receive)


async def drip_headers(scope: Scope, receive: Receive, status: int, pause: Pause) -> None:
    """Begin an answer, and send the value of its first header for as long as the client stays."""
    begun = f"HTTP/1.1 {status} {responses.get(status, '')}\r\nX-Slow: ".encode()
    await _write(scope, receive, itertools.chain([begun], itertools.repeat(b".")), pause)


async def say_continue(scope: Scope, receive: Receive, pause: Pause) -> None:
    """Send ``100 Continue`` for as long as the client stays."""
    await _write(scope, receive, itertools.repeat(_CONTINUE), pause)


async def drip_body(scope: Scope, receive: Receive, send: Send, whole: Answer, pause: Pause) -> None:
    """Send a body byte by byte, and blanks behind it for as long as the client stays."""
    status, headers, body = whole
    await _start(send, status, {name: value for name, value in headers.items() if name != "content-length"})
    pieces = itertools.chain((body[at : at + 1] for at in range(len(body))), itertools.repeat(b" "))

    async def send_piece(piece: bytes) -> None:
        await send({"type": "http.response.body", "body": piece, "more_body": True})

    await _drip(scope, receive, pieces, send_piece, pause)


async def _write(scope: Scope, receive: Receive, pieces: Iterator[bytes], pause: Pause) -> None:
    async def write(piece: bytes) -> None:
        scope["state"]["transport"].write(piece)

    await _drip(scope, receive, pieces, write, pause)


async def _drip(
    scope: Scope,
    receive: Receive,
    pieces: Iterator[bytes],
    write: Callable[[bytes], Awaitable[None]],
    pause: Pause,
) -> None:
    gone = asyncio.ensure_future(_until_gone(receive))
    for piece in pieces:
        await write(piece)
        if not await pause() or gone.done():
            break
    scope["state"]["transport"].abort()
    await gone


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
