"""The session that all users of a connection share on one event loop; the last one closes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from airflow_provider_archival.hooks.async_transport import AsyncTransport
from airflow_provider_archival.hooks.site import Site


@dataclass
class Channel:
    """What the users of one connection share on one event loop."""

    users: int = 0
    site: Site | None = None
    transports: list[AsyncTransport] = field(default_factory=list)
    """The last is in use; those before it, of a connection that was changed, may have a request under way."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


_Channels = dict[tuple[type, str], Channel]
_channels: WeakKeyDictionary[asyncio.AbstractEventLoop, _Channels] = WeakKeyDictionary()


@asynccontextmanager
async def held(hook: type, conn_id: str) -> AsyncIterator[None]:
    """Be a user of a connection's channel."""
    channels = _channels.setdefault(asyncio.get_running_loop(), {})
    channel = channels.setdefault((hook, conn_id), Channel())
    channel.users += 1
    try:
        yield
    finally:
        channel.users -= 1
        if not channel.users:
            channels.pop((hook, conn_id), None)
            for transport in channel.transports:
                await transport.close()


def channel_of(hook: type, conn_id: str) -> Channel:
    """Return the channel, for one of its users."""
    return _channels[asyncio.get_running_loop()][hook, conn_id]
