"""Every method of RoomService and AgentDispatchService through the SDKs of three languages, and what people
on livekit-client and on PyPI's `livekit` see of it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import admins
import pytest
from admins import Admin
from chromium import Chromium
from peers import Peer, run_python
from servers import REFERENCE, ROOM, Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
NEXT = "next"
EVERYTHING = {"canPublish": True, "canPublishData": True, "canSubscribe": True}

Opening = Callable[[Server], AbstractAsyncContextManager[Admin]]
#: Each with the browser on one peer connection, or on two.
ADMINS = pytest.mark.parametrize(
    ("opening", "single"),
    [(admins.python, True), (admins.node, False), (admins.go, True)],
    ids=["python, single", "node, dual", "go, single"],
)


@ADMINS
async def test_each_method_has_its_effect_on_people(
    chromium: Chromium, server: Server, opening: Opening, single: bool
) -> None:
    async with opening(server) as admin, run_python("bob") as bob:
        made = await admin.call("CreateRoom", name=ROOM, metadata="first", emptyTimeout=60)
        assert (made["name"], made["metadata"]) == (ROOM, "first")
        ada = await chromium.join(server, "ada", single=single)
        await bob.connect(server.url, server.token(identity="bob", room=ROOM))
        await ada.publishTone(440)
        await ada.publishColour("red")
        await bob.hears("ada", 440)
        await bob.sees("ada", "red")

        await lists_them(admin)
        await changes_what_others_see(admin, ada, bob)
        await mutes(admin, ada, bob)
        await subscribes(admin, bob)
        await sends_data(admin, ada, bob)
        await revokes_and_gives_back(admin, ada, bob)
        await calls(admin, ada)
        if not REFERENCE:
            await moves_and_forwards(chromium, server, admin, ada, bob, single)
        await removes_and_deletes(admin, ada, ROOM if REFERENCE else NEXT)


async def lists_them(admin: Admin) -> None:
    listed = await admin.call("ListParticipants", room=ROOM)
    assert {it["identity"] for it in listed["participants"]} == {"ada", "bob"}
    (room,) = (await admin.call("ListRooms", names=[ROOM, "nowhere"]))["rooms"]
    assert REFERENCE or room["numParticipants"] == 2  # That one counts every few seconds.
    assert REFERENCE or "turnPassword" not in room


async def tracks_of_ada(admin: Admin, room: str = ROOM) -> dict[str, str]:
    """Sids by source."""
    info = await admin.call("GetParticipant", room=room, identity="ada")
    return {it["source"]: it["sid"] for it in info.get("tracks", [])}


async def changes_what_others_see(admin: Admin, ada: Peer, bob: Peer) -> None:
    info = await admin.call(
        "UpdateParticipant",
        room=ROOM,
        identity="bob",
        name="Bob",
        metadata="about bob",
        attributes={"mood": "good", "place": "here"},
    )
    assert (info["name"], info["metadata"]) == ("Bob", "about bob")
    if not REFERENCE:  # livekit-client fires nothing of the name there.
        await ada.notices("name", "bob Bob")
    await ada.notices("metadata", "bob about bob")
    await ada.notices("attributes", 'bob {"mood":"good","place":"here"}')
    info = await admin.call("UpdateParticipant", room=ROOM, identity="bob", attributes={"mood": ""})
    assert (info["name"], info["attributes"]) == ("Bob", {"place": "here"})
    await ada.notices("attributes", 'bob {"mood":""}')
    room = await admin.call("UpdateRoomMetadata", room=ROOM, metadata="second")
    assert room["metadata"] == "second"
    assert REFERENCE or "turnPassword" not in room
    await ada.notices("roomMetadata", "second")


async def mutes(admin: Admin, ada: Peer, bob: Peer) -> None:
    sid = (await tracks_of_ada(admin))["MICROPHONE"]
    muted = await admin.call("MutePublishedTrack", room=ROOM, identity="ada", trackSid=sid, muted=True)
    assert muted["track"]["muted"] is True
    await ada.notices("trackMuted", "ada microphone")
    await bob.notices("trackMuted", "ada")
    refused = admin.refusal("MutePublishedTrack", room=ROOM, identity="ada", trackSid=sid, muted=False)
    assert await refused == "failed_precondition"
    await ada.unmute("microphone")
    await bob.hears("ada", 440)


async def subscribes(admin: Admin, bob: Peer) -> None:
    sid = (await tracks_of_ada(admin))["MICROPHONE"]
    await bob.watchForGaps("ada")
    await admin.call("UpdateSubscriptions", room=ROOM, identity="bob", trackSids=[sid], subscribe=False)
    await bob.fallsSilent("ada")
    await admin.call("UpdateSubscriptions", room=ROOM, identity="bob", trackSids=[sid], subscribe=True)
    await bob.hearsAnew("ada", 440)


async def sends_data(admin: Admin, ada: Peer, bob: Peer) -> None:
    def data(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    await admin.call(
        "SendData", room=ROOM, data=data("to ada"), topic="t", kind="RELIABLE", destinationIdentities=["ada"]
    )
    await admin.call("SendData", room=ROOM, data=data("to all"), kind="LOSSY")
    for peer in (ada, bob):
        await peer.receives({"content": "to all"})
    await ada.receives({"content": "to ada", "topic": "t"})
    assert "to ada" not in await bob.contents()


async def revokes_and_gives_back(admin: Admin, ada: Peer, bob: Peer) -> None:
    async def permit(identity: str, **permission: Any) -> None:
        await admin.call(
            "UpdateParticipant", room=ROOM, identity=identity, permission={**EVERYTHING, **permission}
        )

    camera = (await tracks_of_ada(admin))["CAMERA"]
    await bob.watchForGaps("ada")
    await permit("ada", canPublishSources=["MICROPHONE"])
    await ada.notices("localTrackUnpublished", "camera")
    await bob.notices("trackUnsubscribed", f"ada {camera}")
    assert await bob.longestGap("ada") < 0.5
    with pytest.raises(AssertionError, match=r"(?i)permission"):
        await ada.publishColour("red")
    await ada.forget()
    await permit("ada")
    await ada.notices("permissions", "ada true true ")
    await ada.publishColour("lime")
    await bob.sees("ada", "lime")

    await bob.watchForGaps("ada")
    await permit("bob", canSubscribe=False)
    await bob.fallsSilent("ada")
    await permit("bob")
    await bob.hearsAnew("ada", 440)

    if not REFERENCE:  # It does not tell that somebody became hidden.
        await permit("bob", hidden=True)
        await ada.notices("participantDisconnected", "bob")
        await permit("bob")
        await ada.meets("bob")


async def calls(admin: Admin, ada: Peer) -> None:
    async def call(**request: Any) -> str:
        answer = await admin.call("PerformRpc", room=ROOM, destinationIdentity="ada", **request)
        payload: str = answer["payload"]
        return payload

    assert await call(method="shout", payload="hello") == "HELLO"
    if not REFERENCE:  # That one takes packets only.
        assert await call(method="count", payload="a" * 15_000 + "é" * 200) == "15200"
    for request, code in (
        ({"method": "unknown", "payload": ""}, "invalid_argument"),
        ({"method": "shout", "payload": ""}, "internal"),
        ({"method": "shout", "payload": "x" * 1_000_000}, "invalid_argument"),
    ):
        refused = admin.refusal("PerformRpc", room=ROOM, destinationIdentity="ada", **request)
        assert await refused == code


async def moves_and_forwards(
    chromium: Chromium, server: Server, admin: Admin, ada: Peer, bob: Peer, single: bool
) -> None:
    cleo = await chromium.join(server, "cleo", single=single, room=NEXT)
    await cleo.publishTone(880)
    sids = await ada.published()
    await ada.forget()
    await bob.forget()
    await admin.call("MoveParticipant", room=ROOM, identity="ada", destinationRoom=NEXT)
    await ada.notices("moved", NEXT)
    await bob.notices("participantDisconnected", "ada")
    await cleo.hears("ada", 440)
    await cleo.sees("ada", "camera", {"colour": [0, 255, 0]})
    await ada.hears("cleo", 880)
    assert await ada.who() == ["cleo"]
    assert await ada.published() == sids
    assert await ada.seen("reconnecting", "signalReconnecting", "disconnected", "localTrackUnpublished") == []
    # Its session is of that room now: it comes back there by itself.
    await ada.simulate("signal-reconnect")
    await ada.notices("reconnected")
    assert await ada.who() == ["cleo"]
    await ada.unpublish("camera")
    await ada.publishColour("blue")
    await cleo.sees("ada", "camera", {"colour": [0, 0, 255]})

    await bob.publishTone(660)
    await admin.call("ForwardParticipant", room=ROOM, identity="bob", destinationRoom=NEXT)
    await cleo.hears("bob", 660)
    await ada.hears("bob", 660)
    info = await admin.call("GetParticipant", room=NEXT, identity="bob")
    assert info["kindDetails"] == ["FORWARDED"]
    await admin.call("RemoveParticipant", room=NEXT, identity="bob")
    await cleo.notices("participantDisconnected", "bob")
    listed = await admin.call("ListParticipants", room=ROOM)
    assert [it["identity"] for it in listed["participants"]] == ["bob"]
    await cleo.forget()
    await admin.call("MoveParticipant", room=ROOM, identity="bob", destinationRoom=NEXT)
    await bob.notices("moved", "")
    await bob.hearsAnew("ada", 440)
    await cleo.notices("trackSubscribed", "bob microphone")
    await cleo.hears("bob", 660)


async def removes_and_deletes(admin: Admin, ada: Peer, room: str) -> None:
    await admin.call("RemoveParticipant", room=room, identity="bob")
    await ada.notices("participantDisconnected", "bob")
    assert await admin.refusal("GetParticipant", room=room, identity="bob") == "not_found"
    await admin.call("DeleteRoom", room=room)
    await ada.notices("disconnected", "5")


@pytest.mark.parametrize("opening", [admins.python, admins.node, admins.go], ids=["python", "node", "go"])
async def test_what_is_absent_is_not_found_at_once(server: Server, opening: Opening) -> None:
    async with opening(server) as admin:
        await admin.call("CreateRoom", name=ROOM)
        somebody = {"room": ROOM, "identity": "nobody"}
        for method, request in (
            ("DeleteRoom", {"room": "nowhere"}),
            ("GetParticipant", somebody),
            ("RemoveParticipant", somebody),
            ("UpdateParticipant", {**somebody, "name": "x"}),
            ("UpdateRoomMetadata", {"room": "nowhere", "metadata": "x"}),
            *(
                ()
                if REFERENCE  # It waits three seconds, three times.
                else (
                    ("MutePublishedTrack", {**somebody, "trackSid": "TR_x", "muted": True}),
                    ("UpdateSubscriptions", {**somebody, "trackSids": ["TR_x"], "subscribe": True}),
                    ("SendData", {"room": "nowhere", "data": ""}),
                    ("PerformRpc", {"room": ROOM, "destinationIdentity": "nobody", "method": "m"}),
                    ("MoveParticipant", {**somebody, "destinationRoom": NEXT}),
                    ("ForwardParticipant", {**somebody, "destinationRoom": NEXT}),
                )
            ),
        ):
            assert await admin.refusal(method, **request) == "not_found", method

        made = await admin.call("CreateDispatch", room=ROOM, agentName="helper", metadata="m")
        assert made["id"].startswith("AD_")
        listed = await admin.call("ListDispatch", room=ROOM)
        assert made["id"] in [it["id"] for it in listed["agentDispatches"]]
        await admin.call("DeleteDispatch", room=ROOM, dispatchId=made["id"])
        listed = await admin.call("ListDispatch", room=ROOM)
        assert made["id"] not in [it["id"] for it in listed.get("agentDispatches", [])]
        assert await admin.refusal("DeleteDispatch", room=ROOM, dispatchId=made["id"]) == "not_found"
