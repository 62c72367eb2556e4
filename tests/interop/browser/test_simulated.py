"""What livekit-client can have a server do to it: it comes back with its tracks, or knows why not."""

from __future__ import annotations

import pytest
from chromium import Chromium
from livekit.rtc import DisconnectReason
from servers import REFERENCE, Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

OURS = pytest.mark.skipif(bool(REFERENCE), reason="livekit-server ignores it or needs TURN")


#: What the client shows with livekit-server too, but for force-tls, which fails there without TURN.
RESUMED = ["signalReconnecting", "reconnected"]
IN_FULL = ["reconnecting", "reconnected"]
TRIED_TO_RESUME = ["signalReconnecting", *IN_FULL]


@pytest.mark.parametrize(
    ("scenario", "shown"),
    [
        ("resume-reconnect", TRIED_TO_RESUME),
        ("full-reconnect", IN_FULL),
        ("node-failure", TRIED_TO_RESUME),
        ("migration", TRIED_TO_RESUME),
        ("disconnect-signal-on-resume", RESUMED),
        ("disconnect-signal-on-resume-no-messages", RESUMED),
        ("force-tcp", IN_FULL),
        pytest.param("force-tls", IN_FULL, marks=OURS),
        pytest.param("leave-full-reconnect", IN_FULL, marks=OURS),
    ],
)
async def test_who_is_thrown_out_comes_back(
    chromium: Chromium, server: Server, scenario: str, shown: list[str]
) -> None:
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
    assert await ada.seen(*TRIED_TO_RESUME, "disconnected") == shown


async def test_who_is_sent_away_for_good_knows_why(chromium: Chromium, server: Server) -> None:
    ada = await chromium.join(server, "ada")
    await ada.simulate("server-leave")
    await ada.notices("disconnected", str(DisconnectReason.SERVER_SHUTDOWN))
    assert await ada.seen("signalReconnecting", "reconnecting") == []


async def test_somebody_speaks_who_does_not(chromium: Chromium, server: Server) -> None:
    ada = await chromium.join(server, "ada")
    await ada.simulate("speaker")
    await ada.notices("speakers", "ada")
