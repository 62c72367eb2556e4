"""Rooms on several event loops, one after the other and at once."""

from __future__ import annotations

import asyncio
import threading

from scripted import PaperPeer, open_scripted

from roomful.rtc.room import Room


def test_rooms_of_several_loops_and_runs_do_not_meet(paper_peers: type[PaperPeer]) -> None:
    async def visit() -> None:
        async with open_scripted() as script:
            room = Room()
            await room.connect(script.url, "token")
            await room.disconnect()

    def run() -> None:
        asyncio.run(visit(), debug=True)

    run()
    run()
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(PaperPeer.made) == 5
    assert all(peer.closed for peer in PaperPeer.made)


def test_a_loop_that_ends_takes_its_rooms_along(paper_peers: type[PaperPeer]) -> None:
    async def visit() -> None:
        async with open_scripted() as script:
            await Room().connect(script.url, "token")

    asyncio.run(visit(), debug=True)
    assert PaperPeer.made[0].closed
