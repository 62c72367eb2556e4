from __future__ import annotations

import pytest
from chromium import Chromium
from servers import Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

BOTH_MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


@BOTH_MODES
async def test_packets_texts_files_and_calls_arrive(chromium: Chromium, server: Server, single: bool) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    for one, other in ((ada, bob), (bob, ada)):
        who = one.identity
        await other.meets(who)
        await one.send("reliable", {"topic": "chat"})
        await other.receives({"kind": "packet", "from": who, "topic": "chat", "content": "reliable"})
        await one.send("lossy", {"reliable": False})
        await other.receives({"kind": "packet", "from": who, "content": "lossy"})
        await one.send("", {"size": 60_000})
        await other.receives({"kind": "packet", "from": who, "content": "60000 bytes"})
        await one.sendText("a text " * 10_000)
        await other.receives({"kind": "text", "from": who, "content": "a text " * 10_000})
        await one.sendFile("picture.png", 300_000)
        await other.receives({"kind": "file", "from": who, "name": "picture.png", "content": 300_000})
        assert await one.request(other.identity, "shout", "hello") == "HELLO"
        assert await one.request(other.identity, "shout", "") == {"code": 1701, "message": "nothing to shout"}
        assert (await one.request(other.identity, "whisper", "hello"))["code"] == 1400


async def test_data_reaches_those_that_it_is_for(chromium: Chromium, server: Server) -> None:
    ada = await chromium.join(server, "ada")
    bob = await chromium.join(server, "bob")
    cleo = await chromium.join(server, "cleo", single=False)
    await ada.send("for cleo", {"destinationIdentities": ["cleo"]})
    await ada.send("for all")
    await cleo.receives({"content": "for cleo"})
    await cleo.receives({"content": "for all"})
    await bob.receives({"content": "for all"})
    with pytest.raises(AssertionError, match="Never receives"):
        await bob.receives({"content": "for cleo"}, 500)
