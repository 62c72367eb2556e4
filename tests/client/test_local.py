"""Rooms connected to a server in their own process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import weakref

import pytest

import roomful
from roomful import rtc
from roomful.testing import ThreadedServer

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


async def seen(room: rtc.Room, event: str) -> asyncio.Future[object]:
    """The first argument of the event, once it comes."""
    came: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    room.on(event, lambda *them: came.done() or came.set_result(them[0] if them else None))  # type: ignore[arg-type]
    return came


async def meet(server: roomful.Server) -> None:
    """Two rooms see each other, say something and leave."""
    ada, ben = rtc.Room(), rtc.Room()
    await ada.connect(server, server.token(identity="ada", room="demo"))
    met, heard, left = [
        await seen(ada, event)
        for event in ("participant_connected", "data_received", "participant_disconnected")
    ]
    await ben.connect(server, server.token(identity="ben", room="demo"))
    async with asyncio.timeout(10):
        assert (await met).identity == "ben"  # type: ignore[attr-defined]
        await ben.local_participant.publish_data(b"hello")
        assert (await heard).data == b"hello"  # type: ignore[attr-defined]
        assert await ben.local_participant.send_text("long " * 20_000)
        await ben.disconnect()
        assert (await left).identity == "ben"  # type: ignore[attr-defined]
    await ada.disconnect()


async def test_rooms_meet_at_a_server_on_their_own_loop() -> None:
    async with roomful.Server() as server:
        before = asyncio.all_tasks()
        await meet(server)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


def sockets() -> int:
    """That this process has open."""
    there = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # Of the look itself.
            there += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    return there


async def test_without_a_network_there_are_no_sockets_and_no_address() -> None:
    before = sockets()
    async with roomful.Server(listen=False) as server:
        ada, ben = rtc.Room(), rtc.Room()
        await ada.connect(server, server.token(identity="ada", room="demo"))
        dual = rtc.RoomOptions(single_peer_connection=False)
        await ben.connect(server, server.token(identity="ben", room="demo"), dual)
        heard = await seen(ada, "data_received")
        await ben.local_participant.publish_data(b"hello")
        async with asyncio.timeout(10):
            await heard
        assert sockets() == before
        with pytest.raises(RuntimeError, match="listens to nobody"):
            _ = server.url
        await asyncio.gather(ada.disconnect(), ben.disconnect())


async def test_rooms_meet_at_a_server_on_another_loop() -> None:
    with ThreadedServer() as threaded:
        await asyncio.gather(meet(threaded.server))
        assert len(asyncio.all_tasks()) == 1


async def test_a_refused_join_says_why() -> None:
    async with roomful.Server({"room": {"auto_create": False}}) as server:
        for token, why in (
            ("nonsense", "^token: 401 Unauthorized: invalid authorization token"),
            (server.token(identity="ada"), "^token: 401 Unauthorized: permissions denied"),
            (server.token(identity="ada", room="absent"), "^room: 404 Not Found: requested room does not"),
        ):
            with pytest.raises(rtc.ConnectError, match=why):
                await rtc.Room().connect(server, token)
        await server.drain(0)
        await server.close()
        with pytest.raises(rtc.ConnectError, match=r"^server: 503"):
            await rtc.Room().connect(server, server.token(identity="ada", room="demo"))


async def test_a_server_that_closes_says_goodbye() -> None:
    room = rtc.Room()
    left = await seen(room, "disconnected")
    async with roomful.Server() as server:
        await room.connect(server, server.token(identity="ada", room="demo"))
    async with asyncio.timeout(10):
        assert await left == rtc.DisconnectReason.SERVER_SHUTDOWN
    assert not room.isconnected()


async def test_a_lost_signal_is_found_again() -> None:
    async with roomful.Server() as server:
        room = rtc.Room()
        found, lost = await seen(room, "reconnected"), await seen(room, "participant_disconnected")
        await room.connect(server, server.token(identity="ada", room="demo"))
        other = rtc.Room()
        await other.connect(server, server.token(identity="ben", room="demo"))
        await room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
        async with asyncio.timeout(10):
            await found
        assert not lost.done()
        await asyncio.gather(room.disconnect(), other.disconnect())


async def test_cancelled_joins_leave_nothing() -> None:
    async with roomful.Server() as server:
        witness = rtc.Room()
        await witness.connect(server, server.token(identity="witness", room="demo"))
        before = asyncio.all_tasks()
        for turns in range(40):
            room = rtc.Room()
            joining = asyncio.create_task(room.connect(server, server.token(identity="ada", room="demo")))
            for _ in range(turns):
                await asyncio.sleep(0)
            joining.cancel()
            await asyncio.wait([joining])
            await room.disconnect()
        async with asyncio.timeout(10):
            while witness.remote_participants or asyncio.all_tasks() != before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await witness.disconnect()


async def test_a_forgotten_room_leaves_with_its_loop() -> None:
    with ThreadedServer() as threaded:
        server = threaded.server

        async def visit() -> weakref.ref[rtc.Room]:
            room = rtc.Room()
            await room.connect(server, server.token(identity="ada", room="demo"))
            return weakref.ref(room)

        room = await asyncio.to_thread(asyncio.run, visit())
        gc.collect()
        assert room() is None
        witness = rtc.Room()
        await witness.connect(server, server.token(identity="witness", room="demo"))
        async with asyncio.timeout(20):
            while witness.remote_participants:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await witness.disconnect()
