"""Sound and pictures over a way that makes sound wait for its packets."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
import scene
from namespace import Link, Side
from relay import relayed
from served import OURS, UDP_PORT, Served

JITTER_MS = 100
#: Seconds; unheld pictures are early by the depth of the sound's buffer, which is more than the jitter.
NEAR = 0.05


async def watch(link: Link) -> list[float]:
    server = Served(OURS, link.server)

    async def start(side: Side, act: str) -> asyncio.subprocess.Process:
        command = side.command(
            sys.executable, str(Path(scene.__file__)), act, server.url, server.token(act, "stage")
        )
        return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)

    async with server.running(), relayed(link, UDP_PORT, jitter_ms=JITTER_MS):
        watcher, player = await start(link.client, "watch"), await start(link.server, "play")
        try:
            async with asyncio.timeout(60):
                said, _ = await watcher.communicate()
        finally:
            for process in (watcher, player):
                if process.returncode is None:
                    process.kill()
                await process.wait()
    return [float(one) for one in json.loads(said)]


@pytest.mark.timeout(90)
def test_pictures_wait_for_sound_that_waits_for_late_packets(link: Link) -> None:
    apart = asyncio.run(watch(link))
    assert abs(scene.typical(apart)) < NEAR, apart
