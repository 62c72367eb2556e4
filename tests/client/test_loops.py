"""Rooms on several event loops, one after the other and at once."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from scripted import PaperPeer, open_scripted
from watched import tone

from roomful.rtc._enums import ConnectionState
from roomful.rtc.room import Room
from roomful.testing import ThreadedServer


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


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_room_outlives_a_loop_that_was_closed_under_it() -> None:
    """What asyncio says of the tasks and sockets of such a loop is right."""
    room, told = Room(), list[str]()
    room.on("connection_state_changed", lambda state: told.append(ConnectionState.Name(state)))
    room.on("disconnected", lambda: told.append("disconnected"))

    def abandon(server: ThreadedServer) -> None:
        async def enter() -> None:
            await room.connect(server.url, server.token(identity="ada", room="demo"))
            waiting.append(asyncio.create_task(room.local_participant.set_metadata("never answered")))
            waiting.append(asyncio.create_task(room.local_participant.publish_track(tone())))
            await asyncio.sleep(0)

        waiting: list[asyncio.Task[Any]] = []
        loop = asyncio.new_event_loop()
        loop.run_until_complete(enter())
        loop.close()

    def abandon_a_join(server: ThreadedServer) -> None:
        loop = asyncio.new_event_loop()
        joining = loop.create_task(room.connect(server.url, server.token(identity="ada", room="demo")))
        loop.run_until_complete(asyncio.sleep(0))
        assert not joining.done()
        loop.close()

    async def leave() -> None:
        await room.disconnect()
        assert not room.isconnected()

    async def enter_again(server: ThreadedServer) -> None:
        await room.connect(server.url, server.token(identity="ada", room="demo"))
        await asyncio.to_thread(gc.collect)  # And with it what is left of the loop before.
        await room.local_participant.publish_data("here")
        assert room.isconnected()
        await room.disconnect()

    connected, left = "CONN_CONNECTED", ["CONN_DISCONNECTED", "disconnected"]
    with ThreadedServer() as server:
        abandon(server)
        asyncio.run(leave())
        assert told == [connected, *left]
        abandon(server)
        asyncio.run(enter_again(server))
        assert told == [connected, *left] * 3
        abandon_a_join(server)
        asyncio.run(enter_again(server))
        assert told == [connected, *left] * 4
