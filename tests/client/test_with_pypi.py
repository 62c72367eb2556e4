"""Ours and PyPI's `livekit` in one call, each in a program of its own."""

from __future__ import annotations

import asyncio

import pytest
from peers import run_python
from servers import ROOM, open_server

pytestmark = pytest.mark.asyncio


async def test_each_hears_the_other() -> None:
    with open_server() as server:
        async with run_python("ada", "roomful") as ada, run_python("bob") as bob:
            for peer in (ada, bob):
                await peer.connect(server.url, server.token(identity=peer.identity, room=ROOM))
            await asyncio.gather(ada.publishTone(440), bob.publishTone(880))
            await asyncio.gather(ada.hears("bob", 880), bob.hears("ada", 440))
            await ada.leave()
            await bob.notices("participantDisconnected", "ada")
