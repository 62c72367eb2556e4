"""The ways to connect, each proven with everything above it in the list blocked."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import faults
import pytest
from namespace import Link
from peers import PYTHON_PEER, run_program
from servers import ROOM, ServerProcess, open_command

from roomful.config import DEV_KEY, DEV_SECRET

PORT, TCP_PORT, UDP_PORT = 7880, 7881, 7882
Blocking = Callable[[Link], AbstractContextManager[None]]

#: What is blocked, and what the client then says of the pair it has chosen.
WAYS = pytest.mark.parametrize(
    ("blocked", "chosen"),
    [(nullcontext, "udp"), (faults.block_udp, "tcp")],
    ids=["over UDP", "over TCP"],
)


@pytest.mark.asyncio
@pytest.mark.timeout(90)
async def test_forced_tcp_is_used_where_nothing_is_blocked(link: Link) -> None:
    await hear_each_other(link, nullcontext, "tcp", "--rtc.force_tcp=true")


@pytest.mark.asyncio
@pytest.mark.timeout(90)
@WAYS
async def test_two_programs_hear_each_other(link: Link, blocked: Blocking, chosen: str) -> None:
    await hear_each_other(link, blocked, chosen)


async def hear_each_other(link: Link, blocked: Blocking, chosen: str, *more: str) -> None:
    options = [f"--port={PORT}", f"--bind={link.server.address}", *more]
    with open_command(*options, within=link.server.command()), blocked(link):
        server = ServerProcess(f"ws://{link.server.address}:{PORT}", DEV_KEY, DEV_SECRET)
        program = link.client.command(sys.executable, PYTHON_PEER)
        async with run_program("ada", *program) as ada, run_program("bob", *program) as bob:
            for peer in (ada, bob):
                await peer.connect(server.url, server.token(identity=peer.identity, room=ROOM))
            await ada.publishTone(440)
            await bob.publishTone(880)
            await asyncio.gather(ada.hears("bob", 880), bob.hears("ada", 440))
            assert await ada.path() == await bob.path() == [chosen]
