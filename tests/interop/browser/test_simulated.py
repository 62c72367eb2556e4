"""What livekit-client can have a server do to it: it comes back with its tracks, or knows why not."""

from __future__ import annotations

import pytest
from chromium import Chromium
from livekit.rtc import DisconnectReason
from servers import REFERENCE, Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]


@pytest.mark.parametrize(
    "scenario",
    [
        "resume-reconnect",
        "full-reconnect",
        "node-failure",
        "migration",
        "disconnect-signal-on-resume",
        "disconnect-signal-on-resume-no-messages",
        "force-tcp",
        "force-tls",
        pytest.param(
            "leave-full-reconnect",
            marks=pytest.mark.skipif(bool(REFERENCE), reason="livekit-server ignores it"),
        ),
    ],
)
async def test_who_is_thrown_out_comes_back(chromium: Chromium, server: Server, scenario: str) -> None:
    ada, bob = await chromium.join(server, "ada"), await chromium.join(server, "bob")
    await ada.publishTone(440)
    await bob.publishTone(880)
    await bob.hears("ada", 440)
    await ada.hears("bob", 880)
    await ada.forget()
    await ada.simulate(scenario)
    await ada.notices("reconnected")
    await bob.hears("ada", 440)
    await ada.hears("bob", 880)
    assert await ada.seen("disconnected") == []


async def test_who_is_sent_away_for_good_knows_why(chromium: Chromium, server: Server) -> None:
    ada = await chromium.join(server, "ada")
    await ada.simulate("server-leave")
    await ada.notices("disconnected", str(DisconnectReason.SERVER_SHUTDOWN))
    assert await ada.seen("signalReconnecting", "reconnecting") == []


async def test_somebody_speaks_who_does_not(chromium: Chromium, server: Server) -> None:
    ada = await chromium.join(server, "ada")
    await ada.simulate("speaker")
    await ada.notices("speakers", "ada")
