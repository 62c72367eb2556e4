"""A server that stops and starts again on the same ports: clients come back, with their tracks."""

from __future__ import annotations

import pytest
from chromium import Chromium
from peers import run_python
from servers import REFERENCE, ROOM, free_port, open_command

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(REFERENCE), reason="livekit-server tells its clients to stay away"),
]


@pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])
async def test_a_browser_and_a_program_come_back_to_a_server_that_restarts(
    chromium: Chromium, single: bool
) -> None:
    port, udp = free_port("127.0.0.1"), free_port("127.0.0.1")
    command = [f"--port={port}", "--bind=127.0.0.1", f"--rtc.udp_port={udp}", "--drain-timeout=0"]
    async with run_python("bob") as bob:
        with open_command(*command) as server:
            ada = await chromium.join(server, "ada", single=single)
            await bob.connect(server.url, server.token(identity="bob", room=ROOM))
            await ada.publishTone(440)
            await bob.publishTone(880)
            await ada.hears("bob", 880)
            await bob.hears("ada", 440)
            await ada.forget()
        with open_command(*command):
            await ada.notices("reconnected")
            await bob.notices("reconnected", "")
            await bob.forgetMedia()
            await ada.hears("bob", 880)
            await bob.hears("ada", 440)
            assert await ada.seen("disconnected") == []
            await ada.leave()
            await bob.leave()
