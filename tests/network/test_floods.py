"""Floods from a participant of the same server: nobody else's media has a gap, and memory stays bounded."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from namespace import Link
from peers import PYTHON_PEER, run_program
from served import OURS, Served

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

FLOOD = str(Path(__file__).with_name("flood.py"))
#: Packets of audio a second.
RATE = 50


def memory(process: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_participant_that_floods_from_twenty_thousand_ports_harms_nobody(link: Link) -> None:
    server = Served(OURS, link.server, relay=True)
    program = link.client.command(sys.executable, PYTHON_PEER)
    async with (
        server.running(),
        run_program("ada", *program) as ada,
        run_program("bob", *program) as bob,
    ):
        # Ada by TURN, bob by ICE over UDP: both are flooded.
        await ada.connect(server.url, server.token("ada"), True)
        await bob.connect(server.url, server.token("bob"))
        await asyncio.gather(ada.publishTone(440), bob.publishTone(880))
        await asyncio.gather(ada.hears("bob", 880), bob.hears("ada", 440))
        assert server.process
        before, began = memory(server.process.pid), time.monotonic()
        counted = [await peer.audioPackets() for peer in (ada, bob)]
        flood = await asyncio.create_subprocess_exec(
            *link.client.command(sys.executable, FLOOD, server.url, server.token("mallory")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert flood.stdin
        assert flood.stdout
        async with asyncio.timeout(60):
            assert await flood.stdout.readline() == b"done\n"
        lasted = time.monotonic() - began
        for peer, (received, lost) in zip((ada, bob), counted, strict=True):
            now_received, now_lost = await peer.audioPackets()
            assert now_lost - lost <= 0.01 * RATE * lasted
            assert now_received - received >= 0.9 * RATE * lasted
        assert memory(server.process.pid) - before < 40e6
        await asyncio.gather(ada.hearsAnew("bob", 880), bob.hearsAnew("ada", 440))
        flood.stdin.close()
        await flood.wait()
