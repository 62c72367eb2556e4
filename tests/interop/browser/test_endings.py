"""How a call ends for good, as each SDK tells it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any, Protocol

import pytest
from chromium import Chromium
from livekit import api
from livekit.rtc import DisconnectReason
from peers import Peer, run_python
from servers import REFERENCE, ROOM, Server, open_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


class Join(Protocol):
    """Raises AssertionError with what the SDK says when it may not."""

    async def __call__(self, server: Server, identity: str, *, grants: Mapping[str, bool] = ...) -> Peer: ...


async def see_endings(join: Join) -> None:
    with open_server() as server:
        key, secret = next(iter(server.keys.items()))
        async with api.LiveKitAPI(server.url.replace("ws", "http", 1), key, secret) as lk:
            ada = await join(server, "ada")
            await lk.room.remove_participant(api.RoomParticipantIdentity(room=ROOM, identity="ada"))
            await ada.notices("disconnected", str(DisconnectReason.PARTICIPANT_REMOVED))
            ada = await join(server, "ada")
            again = await join(server, "ada")
            await ada.notices("disconnected", str(DisconnectReason.DUPLICATE_IDENTITY))
            await lk.room.delete_room(api.DeleteRoomRequest(room=ROOM))
            await again.notices("disconnected", str(DisconnectReason.ROOM_DELETED))
            request = api.CreateRoomRequest(name=ROOM, max_participants=1, departure_timeout=1)
            await lk.room.create_room(request)
            ada = await join(server, "ada")
            with pytest.raises(
                AssertionError, match="signal" if REFERENCE else 'room "demo" is full: max_participants 1'
            ):
                await join(server, "bob")
            with pytest.raises(AssertionError, match="signature is invalid"):
                await join(Stranger(server), "bob")
            # Who only records does not keep a room open.
            tape = await join(server, "tape", grants={"recorder": True, "hidden": True})
            await ada.leave()
            await tape.notices("disconnected", str(DisconnectReason.ROOM_CLOSED))
        ada = await join(server, "ada")
    if not REFERENCE:  # It is killed.
        await ada.notices("disconnected", str(DisconnectReason.SERVER_SHUTDOWN))


class Stranger:
    """A server as somebody with another secret sees it."""

    def __init__(self, server: Server) -> None:
        self.url, self.keys, self._server = server.url, server.keys, server

    def token(self, *, identity: str, room: str, **grants: Any) -> str:
        return self._server.token(identity=identity, room=room, **grants)[:-4] + "AAAA"


async def test_livekit_client_tells_why(chromium: Chromium) -> None:
    await see_endings(chromium.join)


async def test_the_python_sdk_tells_why() -> None:
    async with AsyncExitStack() as running:

        async def join(
            server: Server, identity: str, *, grants: Mapping[str, bool] = MappingProxyType({})
        ) -> Peer:
            peer = await running.enter_async_context(run_python(identity))
            await peer.connect(server.url, server.token(identity=identity, room=ROOM, **grants))
            return peer

        await see_endings(join)
