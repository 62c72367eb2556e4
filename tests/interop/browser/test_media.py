from __future__ import annotations

import asyncio

import pytest
from chromium import Chromium
from servers import Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

BOTH_MODES = pytest.mark.parametrize("single", [True, False], ids=["single", "dual"])


@BOTH_MODES
async def test_two_pages_see_and_hear_each_other(chromium: Chromium, server: Server, single: bool) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    await asyncio.gather(ada.publishTone(440), bob.publishTone(880))
    await asyncio.gather(ada.publishColour("red"), bob.publishColour("blue"))
    await asyncio.gather(bob.hears("ada", 440), ada.hears("bob", 880))
    await asyncio.gather(
        bob.sees("ada", "camera", {"width": 320, "colour": [255, 0, 0]}),
        ada.sees("bob", "camera", {"width": 320, "colour": [0, 0, 255]}),
    )
    assert chromium.signal_paths == ["rtc/v1" if single else "rtc"] * 2


@BOTH_MODES
async def test_a_camera_has_three_layers_and_the_receiver_chooses(
    chromium: Chromium, server: Server, single: bool
) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    await ada.publishCamera()
    await bob.sees("ada", "camera", {"codec": "VP8", "width": 1280})
    assert [layer["rid"] for layer in await ada.sending("camera")] == ["f", "h", "q"]
    await bob.prefer("ada", "camera", "LOW")
    await bob.sees("ada", "camera", {"width": 320})
    await bob.prefer("ada", "camera", "MEDIUM")
    await bob.sees("ada", "camera", {"width": 640})
    await bob.prefer("ada", "camera", "HIGH")
    await bob.sees("ada", "camera", {"width": 1280})


@BOTH_MODES
async def test_a_picture_climbs_to_its_full_bitrate(chromium: Chromium, server: Server, single: bool) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    bitrate = 1_500_000
    await ada.publishNoise({"videoEncoding": {"maxBitrate": bitrate, "maxFramerate": 30}}, [320, 180])
    await bob.sees("ada", "camera", {"width": 320})
    await ada.climbs("camera", bitrate)


@pytest.mark.parametrize("codec", ["vp8", "h264", "vp9", "av1"])
async def test_each_codec_is_seen(chromium: Chromium, server: Server, codec: str) -> None:
    ada = await chromium.join(server, "ada")
    bob = await chromium.join(server, "bob", single=False)
    await ada.publishColour("lime", {"videoCodec": codec})
    await bob.sees("ada", "camera", {"codec": codec.upper(), "colour": [0, 255, 0]})
    # Whoever comes later waits for a key frame, which the publisher is asked for.
    cleo = await chromium.join(server, "cleo")
    await cleo.sees("ada", "camera", {"codec": codec.upper(), "colour": [0, 255, 0]})


@pytest.mark.parametrize("codec", ["vp9", "av1"])
async def test_scalable_layers_arrive_whole(chromium: Chromium, server: Server, codec: str) -> None:
    ada = await chromium.join(server, "ada")
    bob = await chromium.join(server, "bob", single=False)
    await ada.publishColour("lime", {"videoCodec": codec}, [960, 540])
    await bob.sees("ada", "camera", {"codec": codec.upper(), "width": 960, "colour": [0, 255, 0]})
    [layer] = await ada.sending("camera")
    assert layer["scalabilityMode"] == "L3T3_KEY"


async def test_a_microphone_is_heard_unless_it_is_muted(chromium: Chromium, server: Server) -> None:
    ada = await chromium.join(server, "ada")
    bob = await chromium.join(server, "bob", single=False)
    await ada.publishMicrophone()
    await bob.hearsSomething("ada")
    await ada.mute("microphone")
    await bob.notices("trackMuted", "ada microphone")
    await bob.hearsNothing("ada")
    await ada.unmute("microphone")
    await bob.notices("trackUnmuted", "ada microphone")
    await bob.hearsSomething("ada")


async def test_who_sounds_is_an_active_speaker(chromium: Chromium, server: Server) -> None:
    ada = await chromium.join(server, "ada")
    bob = await chromium.join(server, "bob", single=False)
    # Chromium's own microphone beeps so briefly that it hardly counts as speech.
    await ada.publishTone(440)
    await bob.notices("speakers", "ada")
    await ada.notices("speakers", "ada")
    await ada.mute("microphone")
    await bob.notices("speakers", "")


@BOTH_MODES
async def test_a_screen_is_shared_beside_a_camera(chromium: Chromium, server: Server, single: bool) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    await ada.publishColour("red")
    await ada.publishScreen()
    await bob.sees("ada", "camera", {"colour": [255, 0, 0]})
    await bob.sees("ada", "screen")
    await ada.unpublish("screen")
    await bob.notices("trackUnpublished", "ada screen_share")
    await bob.sees("ada", "camera", {"colour": [255, 0, 0]})


@BOTH_MODES
async def test_a_muted_camera_shows_nothing_until_it_is_unmuted(
    chromium: Chromium, server: Server, single: bool
) -> None:
    ada = await chromium.join(server, "ada", single=single)
    bob = await chromium.join(server, "bob", single=single)
    await ada.publishColour("red")
    await bob.sees("ada", "camera")
    await ada.mute("camera")
    await bob.notices("trackMuted", "ada camera")
    await bob.seesNothing("ada", "camera")
    await ada.unmute("camera")
    await bob.notices("trackUnmuted", "ada camera")
    await bob.sees("ada", "camera", {"colour": [255, 0, 0]})
