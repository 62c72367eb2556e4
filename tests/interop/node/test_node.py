from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from peers import Peer, run_program
from servers import ROOM, Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]


@pytest_asyncio.fixture(loop_scope="module")
async def node_peer(server: Server) -> AsyncIterator[Peer]:
    """Somebody on npm's `@livekit/rtc-node`, in the room."""
    node = shutil.which("node") or str(Path(sys.executable).with_name("node"))
    async with run_program("node", node, str(Path(__file__).with_name("peer.mjs"))) as peer:
        await peer.connect(server.url, server.token(identity="node", room=ROOM))
        yield peer


async def test_node_hears_and_is_heard(node_peer: Peer, python_peer: Peer) -> None:
    await node_peer.publishTone(660)
    await python_peer.publishTone(440)
    await node_peer.hears("python", 440)
    await python_peer.hears("node", 660)


async def test_node_and_python_exchange_data(node_peer: Peer, python_peer: Peer) -> None:
    await node_peer.meets("python")
    await python_peer.send("from python")
    await node_peer.receives({"content": "from python", "from": "python"})
    await python_peer.meets("node")
    await node_peer.send("from node")
    await python_peer.receives({"content": "from node", "from": "node"})
