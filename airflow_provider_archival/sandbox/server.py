"""Serving a sandbox over loopback with uvicorn, with a grip on each connection so that faults can cut it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

LOOPBACK = "127.0.0.1"
# Long enough that no idle connection of a client's pool is closed just as it is taken again.
_KEEP_ALIVE_SECONDS = 75


class _Protocol(H11Protocol):
    """Hands the connection's transport to the application, in the request's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Server(uvicorn.Server):
    """
    A server on a socket that is bound already.

    :param on_start: called once connections are taken.
    :param on_stop: called before the open requests are waited for.
    """

    def __init__(self, app: Any, on_start: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                loop="asyncio",
                lifespan="off",
                ws="none",
                access_log=False,
                log_level="error",
                server_header=False,
                date_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=2,
            )
        )
        self._on_start, self._on_stop = on_start, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


def bind(port: int) -> socket.socket:
    """Return a socket on the loopback address; 0 takes a free port."""
    # asyncio sends without delay only where the protocol is spelled out.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((LOOPBACK, port))
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound
