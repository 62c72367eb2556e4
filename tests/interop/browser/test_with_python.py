from __future__ import annotations

import pytest
from chromium import Chromium
from peers import Peer, run_python
from servers import ROOM, Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

BOTH_MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


@BOTH_MODES
async def test_a_browser_and_a_program_hear_and_see_each_other(
    chromium: Chromium, server: Server, python_peer: Peer, single: bool
) -> None:
    ada = await chromium.join(server, "ada", single=single)
    await ada.publishTone(440)
    await ada.publishColour("red")
    await python_peer.publishTone(880)
    await python_peer.publishColour("blue")
    await python_peer.hears("ada", 440)
    await python_peer.sees("ada", "red")
    await ada.hears("python", 880)
    await ada.sees("python", "camera", {"colour": [0, 0, 255]})
    await ada.mute("microphone")
    await python_peer.notices("trackMuted", "ada")


@pytest.mark.parametrize("codec", ["h264", "vp9", "av1"])
async def test_a_browser_and_a_program_see_each_codec(
    chromium: Chromium, server: Server, python_peer: Peer, codec: str
) -> None:
    ada = await chromium.join(server, "ada")
    await ada.publishColour("red", {"videoCodec": codec})
    await python_peer.publishColour("blue", codec)
    await python_peer.sees("ada", "red")
    await ada.sees("python", "camera", {"codec": codec.upper(), "colour": [0, 0, 255]})


@BOTH_MODES
async def test_a_browser_and_a_program_exchange_data(
    chromium: Chromium, server: Server, python_peer: Peer, single: bool
) -> None:
    await exchange_data(await chromium.join(server, "ada", single=single), python_peer)


async def test_a_browser_and_roomful_rtc_exchange_data(
    chromium: Chromium, server: Server, roomful_peer: Peer
) -> None:
    await exchange_data(await chromium.join(server, "ada"), roomful_peer)


async def test_a_browser_and_roomful_rtc_are_encrypted_from_end_to_end(
    chromium: Chromium, server: Server
) -> None:
    key = "our secret"
    ada = await chromium.join(server, "ada", key=key)
    async with run_python("python", "roomful") as program:
        token = server.token(identity="python", room=ROOM)
        await program.connect(server.url, token, False, key)
        await ada.publishTone(440)
        await ada.publishColour("red", {"videoCodec": "vp8", "simulcast": False})
        await program.publishTone(880)
        await program.publishColour("blue")
        await program.hears("ada", 440)
        await program.sees("ada", "red")
        await program.notices("encryption", "ada OK")
        await ada.hears("python", 880)
        await ada.sees("python", "camera", {"colour": [0, 0, 255]})
        await exchange_data(ada, program)


async def exchange_data(ada: Peer, program: Peer) -> None:
    for one, other in ((ada, program), (program, ada)):
        who = one.identity
        await other.meets(who)
        await one.send("a packet")
        await other.receives({"kind": "packet", "from": who, "content": "a packet"})
        for text in ("a text", "a text of which much is the same, " * 3_000):
            await one.sendText(text)
            await other.receives({"kind": "text", "from": who, "content": text})
        await one.sendFile("a.png", 100_000)
        await other.receives({"kind": "file", "from": who, "content": 100_000, "name": "a.png"})
        assert await one.request(other.identity, "shout", "hello") == "HELLO"
