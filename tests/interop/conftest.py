from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from peers import Peer, run_python
from servers import ROOM, Server, open_server


@pytest.fixture
def server() -> Iterator[Server]:
    """A fresh server on the loopback address."""
    with open_server() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def python_peer(server: Server) -> AsyncIterator[Peer]:
    """Somebody on PyPI's `livekit`, in the room."""
    async with run_python("python") as peer:
        await peer.connect(server.url, server.token(identity="python", room=ROOM))
        yield peer


@pytest_asyncio.fixture(loop_scope="module")
async def roomful_peer(server: Server) -> AsyncIterator[Peer]:
    """Somebody on `roomful.rtc`, in the room."""
    async with run_python("python", "roomful") as peer:
        await peer.connect(server.url, server.token(identity="python", room=ROOM))
        yield peer
