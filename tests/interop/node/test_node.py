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

NODE_FAILURE = 2
#: With livekit-server, too. What is said of subscriptions has no order with the rest.
ANEW = [
    "connectionStateChanged 2",
    "reconnecting",
    "trackUnsubscribed 1 1 python",
    "trackUnpublished 1 python",
    "participantDisconnected python",
    "participantConnected python",
    "trackPublished 1 python",
    "localTrackRepublished 1 node",
    "connectionStateChanged 1",
    "reconnected",
]
SUBSCRIBED = ["trackSubscribed 1 1 python", "localTrackSubscribed 1"]


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


async def test_node_begins_anew(node_peer: Peer, python_peer: Peer) -> None:
    await node_peer.publishTone(660)
    await python_peer.publishTone(440)
    await node_peer.hears("python", 440)
    await python_peer.hears("node", 660)
    await node_peer.happened()
    await node_peer.simulate(NODE_FAILURE)
    await node_peer.notices("reconnected")
    for subscribed in SUBSCRIBED:
        await node_peer.notices(subscribed)
    await node_peer.hears("python", 440)
    await python_peer.hears("node", 660)
    assert [event for event in await node_peer.happened() if event not in SUBSCRIBED] == ANEW
