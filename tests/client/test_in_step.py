"""Sound and pictures that are published together, as they arrive."""

from __future__ import annotations

import asyncio

import pytest
import scene

import roomful
from roomful import rtc

#: Seconds between them, on a machine that is busy with other things: a picture is 40 ms long.
NEAR = 0.06


@pytest.mark.asyncio
async def test_a_flash_and_a_beep_arrive_together() -> None:
    async with asyncio.timeout(60), roomful.Server() as server:
        ada, ben = rtc.Room(), rtc.Room()
        watcher = scene.Watcher(ben)
        for room, identity in ((ben, "ben"), (ada, "ada")):
            await room.connect(server.url, server.token(identity=identity, room="stage"))
        playing = asyncio.create_task(scene.play(ada))
        apart = await watcher.apart()
        playing.cancel()
        await ada.disconnect()
        await ben.disconnect()
    assert abs(scene.typical(apart)) < NEAR, apart
