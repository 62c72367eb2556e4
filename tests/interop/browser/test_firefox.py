from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from namespace import Namespace, open_namespace
from peers import Peer, run_program
from servers import ROOM, Server, open_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    """Firefox offers no loopback address, so that it and the server need a network between them."""
    with open_namespace() as namespace:
        yield namespace


@pytest.fixture
def server(namespace: Namespace) -> Iterator[Server]:
    with open_server(address=namespace.outside) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def firefox(namespace: Namespace) -> AsyncIterator[Peer]:
    """A page in Firefox that has not joined yet."""
    program = str(Path(__file__).with_name("firefox_peer.py"))
    async with run_program("firefox", *namespace.command(sys.executable, program)) as peer:
        yield peer


@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
async def test_firefox_hears_and_sees_and_is_heard_and_seen(
    firefox: Peer, server: Server, python_peer: Peer, single: bool
) -> None:
    token = server.token(identity="firefox", room=ROOM)
    await firefox.connect(server.url, token, {"singlePeerConnection": single})
    await firefox.publishMicrophone()  # A tone of 880 Hz.
    await firefox.publishColour("blue")
    await python_peer.publishTone(440)
    await python_peer.publishColour("red")
    await asyncio.gather(firefox.hears("python", 440), python_peer.hears("firefox", 880))
    await asyncio.gather(
        firefox.sees("python", "camera", {"colour": [255, 0, 0]}), python_peer.sees("firefox", "blue")
    )
    await firefox.send("from firefox")
    await python_peer.receives({"content": "from firefox", "from": "firefox"})
    await python_peer.send("from python")
    await firefox.receives({"content": "from python", "from": "python"})
    await firefox.leave()
