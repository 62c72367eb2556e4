from __future__ import annotations

import pytest
from chromium import Chromium
from servers import Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

BOTH_MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


@BOTH_MODES
async def test_only_those_whom_the_publisher_allows_may_subscribe(
    chromium: Chromium, server: Server, single: bool
) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    cleo = await chromium.join(server, "cleo", single=single)
    await ada.allowOnly("bob")
    await ada.publishColour("red")
    await bob.sees("ada", "camera")
    await cleo.notices("subscriptionPermission", "ada camera not_allowed")
    await cleo.seesNothing("ada", "camera")
    await ada.allowOnly("cleo")
    await cleo.sees("ada", "camera")
    await bob.notices("trackUnsubscribed", "ada camera")
    await ada.allowEverybody()
    await bob.sees("ada", "camera")


@BOTH_MODES
async def test_a_subscriber_may_leave_out_a_track_and_take_it_again(
    chromium: Chromium, server: Server, single: bool
) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    await ada.publishColour("red")
    await ada.publishTone(440)
    await bob.sees("ada", "camera")
    await bob.hears("ada", 440)
    await bob.subscribe("ada", "camera", False)
    await bob.notices("trackUnsubscribed", "ada camera")
    await bob.hears("ada", 440)
    await bob.subscribe("ada", "camera", True)
    await bob.sees("ada", "camera")


@BOTH_MODES
async def test_publishing_again_and_again_leaves_descriptions_small(
    chromium: Chromium, server: Server, single: bool
) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    await bob.publishTone(880)
    await ada.hears("bob", 880)
    sections = []
    for round in range(30):
        await ada.publishColour("red")
        await bob.notices("trackSubscribed", "ada camera")
        if round in (0, 29):
            await bob.sees("ada", "camera", {"colour": [255, 0, 0]})
            sections.append([await ada.sections(), await bob.sections()])
        await ada.unpublish("camera")
        await bob.notices("trackUnpublished", "ada camera")
        await bob.forget()
    assert sections[0] == sections[1]
    await ada.hears("bob", 880)


@BOTH_MODES
async def test_who_left_comes_back(chromium: Chromium, server: Server, single: bool) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    await bob.publishTone(880)
    for hz in (440, 660):
        await ada.publishTone(hz)
        await bob.hears("ada", hz)
        await ada.hears("bob", 880)
        await ada.leave()
        await bob.notices("participantDisconnected", "ada")
        assert await bob.who() == []
        await bob.forget()
        token = server.token(identity="ada", room="demo")
        await ada.connect(server.url, token, {"singlePeerConnection": single})
        await bob.notices("participantConnected", "ada")
    assert await ada.who() == ["bob"]


@BOTH_MODES
async def test_a_lost_signal_is_found_again_and_nobody_else_sees_it(
    chromium: Chromium, server: Server, single: bool
) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    await ada.publishTone(440)
    await bob.publishTone(880)
    await bob.hears("ada", 440)
    await ada.hears("bob", 880)
    await ada.forget()
    await bob.forget()
    await ada.simulate("signal-reconnect")
    await ada.notices("reconnected")
    coming_back = ("signalReconnecting", "reconnecting", "reconnected", "disconnected")
    assert await ada.seen(*coming_back) == ["signalReconnecting", "reconnected"]
    await bob.publishColour("red")
    await ada.sees("bob", "camera")
    await bob.hears("ada", 440)
    assert await bob.seen("participantDisconnected", "participantConnected", "trackUnsubscribed") == []


async def test_whoever_may_not_publish_is_told_so(chromium: Chromium, server: Server) -> None:
    ada = await chromium.join(server, "ada", grants={"can_publish": False})
    with pytest.raises(AssertionError, match=r"(?i)permission"):
        await ada.publishTone(440)


async def test_a_wrong_token_is_refused_with_its_reason(chromium: Chromium, server: Server) -> None:
    ada = await chromium.open_peer("ada")
    with pytest.raises(AssertionError, match=r"(?i)token|api key"):
        await ada.connect(server.url, server.token(identity="ada", room="demo")[:-8] + "AAAAAAAA")
