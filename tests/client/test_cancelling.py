"""Joins that are cancelled at any point, at a real server with real media."""

from __future__ import annotations

import asyncio
import os
import random
import time

import pytest
from livekit import api
from servers import Server, open_server

from roomful import rtc

pytestmark = pytest.mark.asyncio

ROUNDS = int(os.environ.get("CANCEL_ROUNDS", "60"))
#: Seconds, of a join at most; on a busy machine half the rounds get far.
LONGEST = 0.3
#: Seconds for the server to notice.
GONE_WITHIN = 3.0


def used() -> tuple[int, int]:
    """Open files and threads of this process."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


async def identities(lk: api.LiveKitAPI) -> set[str]:
    listed = await lk.room.list_participants(api.ListParticipantsRequest(room="demo"))
    return {one.identity for one in listed.participants}


async def leave_no_trace(server: Server) -> None:
    choice = random.Random(5)
    key, secret = next(iter(server.keys.items()))
    async with api.LiveKitAPI(server.url.replace("ws", "http", 1), key, secret) as lk:
        witness = rtc.Room()
        await witness.connect(server.url, server.token(identity="witness", room="demo"))
        assert await identities(lk) == {"witness"}
        before, tasks = used(), asyncio.all_tasks()
        got_far = 0
        for _ in range(ROUNDS):
            room = rtc.Room()
            token = server.token(identity="ada", room="demo")
            limit = choice.uniform(0, LONGEST)
            joining = asyncio.create_task(room.connect(server.url, token))
            await asyncio.wait([joining], timeout=limit)
            cancelled = time.monotonic()
            joining.cancel()
            await asyncio.wait([joining])
            assert time.monotonic() - cancelled < 0.5
            assert asyncio.all_tasks() == tasks or not joining.cancelled()
            if not joining.cancelled():
                await room.disconnect()
                got_far += 1
            async with asyncio.timeout(GONE_WITHIN):
                while "ada" in await identities(lk):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == tasks
        for _ in range(50):
            if (now := used()) <= before:
                break
            await asyncio.sleep(0.05)
        assert now <= before, (before, now, got_far)
        again = rtc.Room()
        await again.connect(server.url, server.token(identity="ada", room="demo"))
        assert "witness" in again.remote_participants
        await asyncio.gather(again.disconnect(), witness.disconnect())


async def test_a_cancelled_join_leaves_no_trace() -> None:
    with open_server() as server:
        await leave_no_trace(server)
