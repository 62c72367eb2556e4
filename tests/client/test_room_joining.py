"""How a room is joined and left, at a server of paper: what is said to it, and what a refusal says."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import ssl

import pytest
import trustme
from livekit.protocol import models, rtc
from scripted import PaperPeer, ScriptedServer, microphone, open_scripted, other
from watched import Log, connected, tone, turns

from roomful.rtc import _connection, _presence
from roomful.rtc._enums import ConnectionState, DisconnectReason, IceServer, IceTransportType
from roomful.rtc.participant import PublishDataError, PublishTrackError
from roomful.rtc.room import ConnectError, Room, RoomOptions, RtcConfiguration

pytestmark = pytest.mark.asyncio

Action = rtc.LeaveRequest.Action


async def test_whoever_connects_again_leaves_first(script: ScriptedServer) -> None:
    room, log = await connected(script)
    await room.connect(script.url, "token")
    await script.seats[0].hears("leave")
    await turns(1)
    assert log.events == [
        ("connection_state_changed", ConnectionState.CONN_CONNECTED),
        ("connection_state_changed", ConnectionState.CONN_DISCONNECTED),
        ("disconnected", DisconnectReason.CLIENT_INITIATED),
        ("connection_state_changed", ConnectionState.CONN_CONNECTED),
    ]
    assert (room.isconnected(), PaperPeer.made[0].closed, PaperPeer.made[1].closed) == (True, True, False)
    await room.disconnect()


async def test_whoever_cannot_be_set_up_is_out_of_the_room_again(script: ScriptedServer) -> None:
    room = Room()
    with pytest.raises(AttributeError):
        await room.connect(script.url, "token", RoomOptions(data_stream="unlimited"))  # type: ignore[arg-type]
    await script.seat.hears("leave")
    assert PaperPeer.made[0].closed
    assert not room.isconnected()
    await room.disconnect()
    await room.connect(script.url, "token")
    await room.disconnect()


async def test_whoever_connects_goes_on_before_the_first_event(script: ScriptedServer) -> None:
    script.others = [other("bob", microphone())]
    room = Room()
    log = Log(room)
    await room.connect(script.url, "token")
    assert not log.events
    assert room.isconnected()
    assert list(room.remote_participants["bob"].track_publications) == ["TR_mic"]
    assert (room.name, await room.sid, room.local_participant.identity) == ("demo", "RM_demo", "ada")
    await asyncio.sleep(0)
    assert log.events == [("connection_state_changed", ConnectionState.CONN_CONNECTED)]
    await room.disconnect()


async def test_one_connection_is_asked_for_with_the_offer_in_the_join(script: ScriptedServer) -> None:
    room, _ = await connected(script, auto_subscribe=False)
    seat = script.seat
    assert seat.path == "/rtc/v1"
    assert seat.join.publisher_offer.sdp
    assert not seat.join.connection_settings.auto_subscribe
    assert seat.join.client_info.sdk == models.ClientInfo.SDK.PYTHON
    assert models.ClientInfo.Capability.CAP_PACKET_TRAILER in seat.join.client_info.capabilities
    assert PaperPeer.made[0].called("add_receivers") == [(3, 3)]
    assert seat.kinds().count("offer") == 0
    await room.disconnect()


async def test_two_connections_are_used_where_the_server_has_no_other_way(script: ScriptedServer) -> None:
    script.refusals.append((404, "not found"))
    script.subscriber_primary = True
    room, _ = await connected(script)
    seat = script.seat
    assert seat.path == "/rtc"
    assert seat.query["auto_subscribe"] == "1"
    assert (await seat.hears("answer")).id == 7
    # Our own connection comes about when there is something to send.
    assert "offer" not in seat.kinds()
    await room.local_participant.publish_data(b"now")
    assert "offer" in seat.kinds()
    first, second = PaperPeer.made
    assert first.closed
    assert not second.single
    await room.disconnect()


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (401, "invalid API key", "token: 401 Unauthorized: invalid API key"),
        (403, "room demo is full: limit.max_participants 2", "room: 403 Forbidden: room demo is full"),
        (404, "requested room does not exist", "room: 404 Not Found: requested room does not exist"),
    ],
)
async def test_a_refusal_says_what_the_server_said(
    script: ScriptedServer, status: int, text: str, said: str
) -> None:
    script.refusals.append((status, text))
    script.validations.append((status, text))
    with pytest.raises(ConnectError) as caught:
        await Room().connect(script.url, "token")
    assert caught.value.message.startswith(said)
    assert caught.value.reason == DisconnectReason.JOIN_FAILURE
    assert all(peer.closed for peer in PaperPeer.made)


async def test_a_server_that_is_busy_is_asked_again(script: ScriptedServer) -> None:
    script.refusals.extend([(503, "busy")] * 2)
    script.validations.extend([(503, "busy")] * 2)
    room, _ = await connected(script)
    assert len(PaperPeer.made) == 3
    await room.disconnect()


async def test_a_token_that_is_none_never_leaves_the_machine(script: ScriptedServer) -> None:
    for token in ("", "two words", "línea\r\nX: y"):
        with pytest.raises(ConnectError, match=r"^token: "):
            await Room().connect(script.url, token)
    assert not script.seats


@pytest.mark.parametrize("url", ["nowhere", "ftp://host", "ws://", "ws://host:port", "ws://host.invalid"])
async def test_an_address_that_is_none_is_named(paper_peers: type[PaperPeer], url: str) -> None:
    with pytest.raises(ConnectError, match=r"^address: "):
        await Room().connect(url, "token")


async def test_a_server_that_cannot_be_reached_is_named(
    paper_peers: type[PaperPeer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connection, "RETRIES", (0.0,))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(ConnectError, match=rf"^server: 127\.0\.0\.1:{port} cannot be reached"):
        await Room().connect(f"ws://127.0.0.1:{port}", "token")


async def test_a_certificate_that_is_not_trusted_is_named(paper_peers: type[PaperPeer]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with open_scripted(context) as script:
        with pytest.raises(ConnectError, match=r"^TLS: .*unable to get local issuer certificate"):
            await Room().connect(script.url.replace("ws", "wss"), "token")


async def test_media_without_a_way_is_named(script: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PaperPeer, "connects", False)
    monkeypatch.setattr(_connection, "RETRIES", ())
    monkeypatch.setattr(_presence, "MEDIA_TIMEOUT", 0.05)
    with pytest.raises(ConnectError, match=r"^ICE: "):
        await Room().connect(script.url, "token")
    assert (await script.seat.hears("leave")).reason == models.DisconnectReason.CLIENT_INITIATED


async def test_a_goodbye_in_the_place_of_a_welcome_is_a_refusal(script: ScriptedServer) -> None:
    leave = rtc.LeaveRequest(reason=models.DisconnectReason.ROOM_CLOSED, action=Action.DISCONNECT)
    script.first.append(rtc.SignalResponse(leave=leave))
    with pytest.raises(ConnectError, match="ROOM_CLOSED"):
        await Room().connect(script.url, "token")


async def test_what_is_not_offered_is_refused_by_name(script: ScriptedServer) -> None:
    with pytest.raises(ConnectError, match="TRANSPORT_NOHOST"):
        await connected(script, rtc_config=RtcConfiguration(ice_transport_type=1))


async def test_relays_and_ice_servers_of_the_program_are_used(script: ScriptedServer) -> None:
    own = IceServer(urls=["turn:host"], username="u", password="p")
    configuration = RtcConfiguration(IceTransportType.TRANSPORT_RELAY, ice_servers=[own])
    room, _ = await connected(script, rtc_config=configuration)
    (peer,) = PaperPeer.made
    # Before the first offer, and again when the server has said which it has.
    assert peer.called("set_ice_servers") == [([(["turn:host"], "u", "p")], ("relay_only", True))] * 2
    await room.disconnect()


# ---- leaving


async def test_leaving_says_goodbye_and_may_be_done_at_any_time(script: ScriptedServer) -> None:
    room, log = await connected(script)
    await asyncio.gather(*(room.disconnect() for _ in range(3)))
    await room.disconnect()
    assert (await script.seat.hears("leave")).reason == models.DisconnectReason.CLIENT_INITIATED
    assert log.events[1:] == [("connection_state_changed", 0), ("disconnected", 1)]
    assert PaperPeer.made[0].closed
    assert not room.isconnected()
    await Room().disconnect()


async def test_the_same_room_connects_again(script: ScriptedServer) -> None:
    room, log = await connected(script)
    await room.disconnect()
    await room.connect(script.url, "token")
    await asyncio.sleep(0)
    assert log.names == [*["connection_state_changed"] * 2, "disconnected", "connection_state_changed"]
    await room.disconnect()


async def test_a_goodbye_of_the_server_ends_the_room(script: ScriptedServer) -> None:
    room, log = await connected(script)
    await room.local_participant.publish_track(tone())
    await turns(1)
    leave = rtc.LeaveRequest(reason=models.DisconnectReason.PARTICIPANT_REMOVED, action=Action.DISCONNECT)
    await script.seat.send(leave=leave)
    await log.sees("disconnected", DisconnectReason.PARTICIPANT_REMOVED)
    await turns(1)
    assert log.names[-3:] == ["connection_state_changed", "disconnected", "local_track_unpublished"]
    assert room.local_participant.disconnect_reason == DisconnectReason.PARTICIPANT_REMOVED
    with pytest.raises(PublishDataError):
        await room.local_participant.publish_data("nobody is there")
    with pytest.raises(PublishTrackError):
        await room.local_participant.publish_track(tone())
    await room.disconnect()


async def test_leaving_while_joining_ends_the_join(script: ScriptedServer) -> None:
    script.deaf_to.add("offer")
    room = Room()
    joining = asyncio.create_task(room.connect(script.url, "token"))
    await script.seat_of(1)
    await room.disconnect()
    with pytest.raises(ConnectError, match="disconnected while connecting"):
        await joining
    assert PaperPeer.made[0].closed


async def test_leaving_in_the_turn_in_which_it_has_joined_leaves(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, joined, join = Room(), asyncio.Event(), _connection.Connection.join

    async def joins(connection: _connection.Connection) -> rtc.JoinResponse:
        answer = await join(connection)
        joined.set()
        return answer

    async def leave() -> None:
        await joined.wait()
        await room.disconnect()
        assert not room.isconnected()

    monkeypatch.setattr(_connection.Connection, "join", joins)
    leaving = asyncio.create_task(leave())
    await room.connect(script.url, "token")
    await leaving
    assert not room.isconnected()
    assert PaperPeer.made[0].closed
    await script.seat.hears("leave")


async def test_a_join_may_be_cancelled_at_any_point(script: ScriptedServer) -> None:
    """Nothing is left, neither here nor of the participant there."""
    choice = random.Random(1)
    for _ in range(200):
        before, room = asyncio.all_tasks(), Room()
        try:
            async with asyncio.timeout(choice.uniform(0, 0.02)):
                await room.connect(script.url, "token")
            await room.disconnect()
        except TimeoutError:
            began = asyncio.get_running_loop().time()
            left = {task for task in asyncio.all_tasks() - before if "roomful" in task.get_name()}
            assert not left
            assert asyncio.get_running_loop().time() - began < 0.1
        assert all(peer.closed for peer in PaperPeer.made)
    await turns(5)
    assert all(seat.socket.state.name == "CLOSED" for seat in script.seats)


# ---- the others


async def test_a_room_that_nobody_holds_goes_on_for_its_handlers(script: ScriptedServer) -> None:
    came: asyncio.Queue[str] = asyncio.Queue()

    async def enter() -> None:
        room = Room()
        room.on("participant_connected", lambda participant: came.put_nowait(participant.identity))
        await room.connect(script.url, "token")

    await enter()
    gc.collect()
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[other("bob")]))
    async with asyncio.timeout(5):
        assert await came.get() == "bob"
