"""End-to-end encryption: the server passes on what it cannot read."""

from __future__ import annotations

from typing import Any

from ..media import GREEN, Colour
from ..sdk import rtc
from ..stage import Person, Stage, scenario
from .media import CAMERA, MICROPHONE, packets


def key(secret: bytes) -> dict[str, Any]:
    return {"encryption": rtc.E2EEOptions(rtc.KeyProviderOptions(shared_key=secret))}


@scenario()
async def only_the_right_key_hears_and_sees(stage: Stage) -> None:
    ada = await stage.join("ada", key(b"our secret"))
    bob = await stage.join("bob", key(b"our secret"))
    eve = await stage.join("eve", key(b"a guess"))
    await ada.play(440)
    await ada.show(Colour(GREEN))
    await bob.hears("ada", 440)
    await bob.sees("ada", GREEN)

    async def arrived(source: int) -> bool:
        inbound = await packets(eve, "ada", source)
        return inbound is not None and inbound.received.packets_received >= 50

    await eve.glance("packets of the microphone", lambda: arrived(MICROPHONE))
    await eve.glance("packets of the camera", lambda: arrived(CAMERA))
    await expect_nothing(eve)
    # All the while the right key goes on.
    await bob.hears_afresh("ada", 440)


async def expect_nothing(eve: Person) -> None:
    camera = await packets(eve, "ada", CAMERA)
    assert camera.inbound.frames_decoded == 0, camera
    assert eve.frames["ada"] == 0
    sound = eve.sounds.get("ada")
    assert sound is None or sound.hertz() == 0.0, (sound.hertz(), sound.loudness())
