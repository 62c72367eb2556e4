from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from peers import Peer, run_program
from servers import ROOM, Server

PROGRAM = Path(__file__).resolve().parents[3] / ".cache" / "go-peer"

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

#: With livekit-server, too.
ANEW = "reconnecting, reconnected"


@pytest_asyncio.fixture(loop_scope="module")
async def go_peer(server: Server) -> AsyncIterator[Peer]:
    """Somebody on Go's server-sdk-go who gives back sound and data."""
    token = server.token(identity="go", room=ROOM)
    async with run_program("go", str(PROGRAM), server.url, token) as peer:
        yield peer


async def test_go_hears_and_is_heard(go_peer: Peer, python_peer: Peer) -> None:
    await python_peer.publishTone(440)
    await python_peer.hears("go", 440)


async def test_go_and_python_exchange_data(go_peer: Peer, python_peer: Peer) -> None:
    await python_peer.meets("go")
    await python_peer.send("hello")
    await python_peer.receives({"content": "hello", "from": "go"})


async def test_go_begins_anew(go_peer: Peer, python_peer: Peer) -> None:
    await python_peer.publishTone(440)
    await python_peer.hears("go", 440)
    await python_peer.send("fail")
    await python_peer.notices("participantDisconnected", "go")
    await python_peer.notices("participantConnected", "go")
    await python_peer.hearsAnew("go", 440)
    await python_peer.send("events")
    await python_peer.receives({"content": ANEW, "from": "go"})
