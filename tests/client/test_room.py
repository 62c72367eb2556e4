"""A room at a server of paper: what is said to it, and which events there are in which order."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
from typing import Any

import pytest
import trustme
from livekit.protocol import models, rtc
from scripted import (
    BufferLow,
    Connection,
    Data,
    PaperPeer,
    ScriptedServer,
    Track,
    me,
    microphone,
    open_scripted,
    other,
)

from roomful.rtc import _connection, _presence, _roster
from roomful.rtc._enums import (
    ConnectionState,
    DisconnectReason,
    IceServer,
    IceTransportType,
    SimulateScenarioKind,
)
from roomful.rtc.participant import PublishDataError, PublishTrackError, UnpublishTrackError
from roomful.rtc.room import ConnectError, EventTypes, Room, RoomOptions, RtcConfiguration
from roomful.rtc.rpc import RpcInvocationData
from roomful.rtc.track import LocalAudioTrack, RemoteAudioTrack
from roomful.rtc.track_publication import LocalTrackPublication

pytestmark = pytest.mark.asyncio

Action = rtc.LeaveRequest.Action
QUIET = {"token_refreshed"}


class Source:
    """Of sound, as far as its publication goes."""

    num_channels = 1
    _queue = "a queue"


class Log:
    """Every event of a room, by name and what it is about."""

    def __init__(self, room: Room) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._news = asyncio.Event()
        for name in EventTypes.__args__:  # type: ignore[attr-defined]
            room.on(name, self._noting(name))

    def _noting(self, name: str) -> Any:
        def note(*arguments: Any) -> None:
            if name not in QUIET:
                self.events.append((name, *map(_plain, arguments)))
                self._news.set()

        return note

    @property
    def names(self) -> list[str]:
        return [event[0] for event in self.events]

    async def sees(self, *event: Any) -> None:
        async with asyncio.timeout(5):
            while not any(one[: len(event)] == event for one in self.events):
                self._news.clear()
                await self._news.wait()


def _plain(argument: Any) -> Any:
    for name in ("identity", "sid", "data"):
        if hasattr(argument, name):
            return getattr(argument, name)
    return [_plain(one) for one in argument] if isinstance(argument, list) else argument


async def connected(script: ScriptedServer, **options: Any) -> tuple[Room, Log]:
    room = Room()
    log = Log(room)
    await room.connect(script.url, "token", RoomOptions(**options))
    await asyncio.sleep(0)
    return room, log


def tone() -> LocalAudioTrack:
    return LocalAudioTrack.create_audio_track("tone", Source())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0.01)


# ---- joining


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


async def test_others_come_change_and_go_in_order(script: ScriptedServer) -> None:
    room, log = await connected(script)
    bob = other("bob", microphone(), version=1)
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[bob]))
    PaperPeer.made[0].emit(Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic"))
    await log.sees("track_subscribed")
    changed = other("bob", microphone(muted=True), version=2, name="Bob", metadata="m")
    changed.attributes.update({"mood": "fine"})
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[changed]))
    stale = other("bob", version=1)
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[stale]))
    gone = other("bob", state=models.ParticipantInfo.DISCONNECTED, version=3, disconnect_reason=4)
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[gone]))
    await log.sees("participant_disconnected")
    assert log.events[1:] == [
        ("participant_connected", "bob"),
        ("participant_active", "bob"),
        ("track_published", "TR_mic", "bob"),
        ("track_subscribed", "TR_mic", "TR_mic", "bob"),
        ("participant_name_changed", "bob", "", "Bob"),
        ("participant_metadata_changed", "bob", "", "m"),
        ("participant_attributes_changed", {"mood": "fine"}, "bob"),
        ("track_muted", "bob", "TR_mic"),
        ("track_unsubscribed", "TR_mic", "TR_mic", "bob"),
        ("track_unpublished", "TR_mic", "bob"),
        ("participant_disconnected", "bob"),
    ]
    assert not room.remote_participants
    await room.disconnect()


async def test_media_may_come_before_its_publication(script: ScriptedServer) -> None:
    room, log = await connected(script)
    PaperPeer.made[0].emit(Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic"))
    await turns(1)
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[other("bob", microphone())]))
    await log.sees("track_subscribed", "TR_mic")
    track = room.remote_participants["bob"].track_publications["TR_mic"].track
    assert isinstance(track, RemoteAudioTrack)
    await room.disconnect()


async def test_a_subscription_is_given_up_and_asked_for_again(script: ScriptedServer) -> None:
    script.others = [other("bob", microphone())]
    room, log = await connected(script)
    arrival = Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic")
    PaperPeer.made[0].emit(arrival)
    await log.sees("track_subscribed")
    publication = room.remote_participants["bob"].track_publications["TR_mic"]
    publication.set_subscribed(False)
    assert publication.subscribed  # Until the event.
    await log.sees("track_unsubscribed")
    assert (publication.subscribed, publication.track) == (False, None)
    asked = await script.seat.hears("subscription")
    assert (list(asked.track_sids), asked.subscribe) == (["TR_mic"], False)
    PaperPeer.made[0].emit(arrival)  # Was on its way.
    await turns(1)
    assert publication.track is None
    publication.set_subscribed(True)
    PaperPeer.made[0].emit(arrival)
    await turns(1)
    assert publication.track is not None
    await room.disconnect()


async def test_a_subscription_that_the_server_never_gave_up_is_taken_up_again(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_roster, "CHANGED_WITHIN", 0.01)
    script.others = [other("bob", microphone())]
    room, log = await connected(script)
    PaperPeer.made[0].emit(Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic"))
    await log.sees("track_subscribed")
    publication = room.remote_participants["bob"].track_publications["TR_mic"]
    publication.set_subscribed(False)
    await log.sees("track_unsubscribed")
    publication.set_subscribed(True)
    await turns(3)
    assert log.names.count("track_subscribed") == 2
    assert publication.track is not None
    await room.disconnect()


async def test_the_sections_of_a_single_connection_are_known_by_the_answer(script: ScriptedServer) -> None:
    script.others = [other("bob", microphone())]
    room, log = await connected(script)
    await script.seat.send(
        answer=rtc.SessionDescription(type="answer", sdp="v=0", mid_to_track_id={"5": "TR_mic"})
    )
    await turns(1)
    PaperPeer.made[0].emit(Track("publisher", "5", "audio", "PA_bob|camera", "whatever"))
    await log.sees("track_subscribed", "TR_mic")
    await room.disconnect()


async def test_speakers_are_told_of_whole(script: ScriptedServer) -> None:
    script.others = [other("bob"), other("eve")]
    room, log = await connected(script)

    async def speak(sid: str, level: float) -> None:
        speaker = models.SpeakerInfo(sid=sid, level=level, active=level > 0)
        await script.seat.send(speakers_changed=rtc.SpeakersChanged(speakers=[speaker]))

    await speak("PA_bob", 0.2)
    await speak("PA_eve", 0.5)
    await speak("PA_bob", 0)
    await log.sees("active_speakers_changed", ["eve"])
    assert [event[1] for event in log.events[1:]] == [["bob"], ["eve", "bob"], ["eve"]]
    await room.disconnect()


async def test_handlers_may_fail_and_may_be_coroutines(
    script: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    room, log = await connected(script)
    done = asyncio.Event()

    def fails(participant: Any) -> None:
        raise ValueError("of the program")

    async def waits(participant: Any) -> None:
        await asyncio.sleep(0)
        done.set()

    room.on("participant_connected", fails)
    room.on("participant_connected", waits)
    with caplog.at_level(logging.ERROR):
        await script.seat.send(update=rtc.ParticipantUpdate(participants=[other("bob")]))
        await asyncio.wait_for(done.wait(), 5)
    assert "ValueError: of the program" in caplog.text
    assert "participant_active" in log.names
    await room.disconnect()


# ---- oneself


async def test_a_track_is_announced_before_its_publication_is_told_of(script: ScriptedServer) -> None:
    room, log = await connected(script)
    track = tone()
    publication = await room.local_participant.publish_track(track)
    assert "local_track_published" not in log.names
    await asyncio.sleep(0)
    assert log.events[-1] == ("local_track_published", publication.sid, publication.sid)
    asked = await script.seat.hears("add_track")
    (call,) = PaperPeer.made[0].called("publish_audio")
    assert dict(call[2:])["cid"] == asked.cid
    assert (track.sid, publication.track) == (publication.sid, track)
    await script.seat.send(track_subscribed=rtc.TrackSubscribed(track_sid=publication.sid))
    await asyncio.wait_for(publication.wait_for_subscription(), 5)
    track.mute()
    assert (await script.seat.hears("mute")).muted
    await log.sees("track_muted", "ada", publication.sid)
    await script.seat.send(mute=rtc.MuteTrackRequest(sid=publication.sid, muted=False))
    await log.sees("track_unmuted")
    assert script.seat.kinds().count("mute") == 1
    await room.local_participant.unpublish_track(publication.sid)
    assert log.events[-1] == ("local_track_unpublished", publication.sid)
    assert publication.track is None
    with pytest.raises(UnpublishTrackError):
        await room.local_participant.unpublish_track(publication.sid)
    await room.disconnect()


async def test_who_may_not_publish_hears_so_at_once(script: ScriptedServer) -> None:
    room, _ = await connected(script)
    script.deaf_to.add("add_track")
    publishing = asyncio.create_task(room.local_participant.publish_track(tone()))
    asked = await script.seat.hears("add_track")
    refusal = rtc.RequestResponse(reason=rtc.RequestResponse.NOT_ALLOWED, message="no", add_track=asked)
    await script.seat.send(request_response=refusal)
    with pytest.raises(PublishTrackError, match="NOT_ALLOWED"):
        await publishing
    await room.disconnect()


async def test_reliable_data_is_numbered_and_waits_for_room(script: ScriptedServer) -> None:
    room, _ = await connected(script)
    peer = PaperPeer.made[0]
    await room.local_participant.publish_data("one", topic="t", destination_identities=["bob"])
    peer.full = True
    waiting = asyncio.create_task(room.local_participant.publish_data(b"two"))
    await turns(1)
    assert not waiting.done()
    peer.full = False
    peer.emit(BufferLow("reliable"))
    await waiting
    first, second = peer.packets()
    assert [(one.sequence, one.user.payload) for one in (first, second)] == [(1, b"one"), (2, b"two")]
    assert (first.participant_identity, list(first.destination_identities)) == ("ada", ["bob"])
    with pytest.raises(PublishDataError, match="64000"):
        await room.local_participant.publish_data(b"x" * 64_000)
    await room.disconnect()


async def test_what_is_none_is_refused_where_it_is_given(script: ScriptedServer) -> None:
    room, _ = await connected(script)
    me: Any = room.local_participant
    for call in (
        lambda: me.publish_data(5),
        lambda: me.publish_data([1, 2]),
        lambda: me.publish_data(b"x", topic=None),
        lambda: me.send_bytes(5),
        lambda: me.send_text("x", topic=None),
        lambda: me.stream_bytes("x", topic=None),
        lambda: me.set_metadata(None),
        lambda: me.set_name(None),
        lambda: me.set_attributes(None),
    ):
        with pytest.raises(TypeError):
            await call()
    with pytest.raises(ValueError, match="99"):
        await room.simulate_scenario(99)  # type: ignore[arg-type]
    assert PaperPeer.made[0].packets() == []
    assert not {"update_metadata", "simulate"} & set(script.seat.kinds())
    await room.disconnect()


async def test_data_comes_once_with_its_sender(script: ScriptedServer) -> None:
    script.others = [other("bob")]
    room, log = await connected(script)
    packet = models.DataPacket(participant_identity="bob", participant_sid="PA_bob", sequence=4)
    packet.user.payload = b"hello"
    message = packet.SerializeToString()
    PaperPeer.made[0].emit(Data("reliable", message), Data("reliable", message), Data("lossy", b"\xff"))
    packet.ClearField("sequence")
    PaperPeer.made[0].emit(Data("lossy", packet.SerializeToString()))
    await turns(1)
    assert log.events[1:] == [("data_received", b"hello")] * 2
    await room.disconnect()


async def test_changes_of_oneself_wait_for_the_answer(script: ScriptedServer) -> None:
    room, log = await connected(script)
    await room.local_participant.set_attributes({"mood": "fine"})
    asked = await script.seat.hears("update_metadata")
    assert dict(asked.attributes) == {"mood": "fine"}
    await script.seat.send(
        update=rtc.ParticipantUpdate(participants=[models.ParticipantInfo(identity="ada", name="Ada")])
    )
    await log.sees("participant_name_changed", "ada", "", "Ada")
    await room.disconnect()


# ---- reconnecting


async def test_lost_signalling_is_resumed_without_a_sound(script: ScriptedServer) -> None:
    script.others = [other("bob", microphone()), other("eve")]
    room, log = await connected(script)
    room.remote_participants["bob"].track_publications["TR_mic"].set_subscribed(False)
    await room.local_participant.publish_data(b"one")
    await room.local_participant.publish_data(b"two")
    publication = await room.local_participant.publish_track(tone())
    packet = models.DataPacket(participant_sid="PA_bob", sequence=9)
    PaperPeer.made[0].emit(Data("reliable", packet.SerializeToString()))
    await turns(1)
    log.events.clear()

    script.others = [other("bob", microphone())]
    script.last_message_seq = 1
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
    room.local_participant.set_track_subscription_permissions(allow_all_participants=True)
    await log.sees("reconnected")
    # Eve has left meanwhile, which nobody could say.
    assert log.events == [("participant_disconnected", "eve"), ("reconnected",)]
    seat = script.seat
    assert seat.resumes
    assert seat.join.participant_sid == "PA_ada1"
    await turns(1)
    assert [kind for kind in seat.kinds() if kind != "ping_req"][:2] == ["sync_state", "offer"]
    assert {"subscription_permission", "mute"} <= set(seat.kinds())  # What may have been lost.
    state = await seat.hears("sync_state")
    assert [one.track.sid for one in state.publish_tracks] == [publication.sid]
    assert list(state.subscription.track_sids) == ["TR_mic"]
    assert [(one.publisher_sid, one.last_seq) for one in state.datachannel_receive_states] == [("PA_bob", 9)]
    peer = PaperPeer.made[0]
    assert peer.called("restart_ice") == [("publisher",)]
    assert [one.sequence for one in peer.packets()] == [1, 2, 2]
    await room.disconnect()


async def test_reconnecting_is_told_of_when_media_breaks(script: ScriptedServer) -> None:
    room, log = await connected(script)
    log.events.clear()
    PaperPeer.made[0].emit(Connection("publisher", "failed"))
    await log.sees("reconnecting")
    seat = await script.seat_of(2)
    await seat.hears("offer")
    await turns(1)
    assert "reconnected" not in log.names
    PaperPeer.made[0].emit(Connection("publisher", "connected"))
    await log.sees("reconnected")
    assert log.events == [
        ("connection_state_changed", ConnectionState.CONN_RECONNECTING),
        ("reconnecting",),
        ("connection_state_changed", ConnectionState.CONN_CONNECTED),
        ("reconnected",),
    ]
    await room.disconnect()


async def test_what_is_unpublished_while_the_session_is_lost_is_not_published_again(
    script: ScriptedServer,
) -> None:
    room, log = await connected(script)
    me = room.local_participant
    publication = await me.publish_track(tone())
    kept = await me.publish_track(tone())
    before = [publication.sid, kept.sid]

    @room.on("reconnecting")
    async def withdraw() -> None:
        await me.unpublish_track(publication.sid)

    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    await log.sees("local_track_republished")
    await turns(1)
    told = [event for event in log.events if event[0].startswith("local_track_") and event[-1] in before]
    assert told[-3:] == [
        *(("local_track_unpublished", sid) for sid in before),
        ("local_track_republished", kept.sid, before[1]),
    ]
    assert list(me.track_publications.values()) == [kept]
    assert publication.track is None
    await room.disconnect()


async def test_a_track_is_published_once_though_asked_twice_at_the_same_time(script: ScriptedServer) -> None:
    room, _ = await connected(script)
    me, track = room.local_participant, tone()
    first, second = await asyncio.gather(
        me.publish_track(track), me.publish_track(track), return_exceptions=True
    )
    assert isinstance(second, PublishTrackError)
    assert list(me.track_publications.values()) == [first]
    await me.unpublish_track(track.sid)
    await me.publish_track(track)
    await room.disconnect()


async def test_a_full_reconnect_is_as_if_everybody_had_left_and_come_back(script: ScriptedServer) -> None:
    script.others = [other("bob", microphone())]
    room, log = await connected(script)
    PaperPeer.made[0].emit(Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic"))
    track = tone()
    publication = await room.local_participant.publish_track(track)
    await turns(1)
    before = publication.sid
    log.events.clear()
    published: list[dict[str, LocalTrackPublication]] = []
    me = room.local_participant
    room.on("reconnected", lambda: published.append(dict(me.track_publications)))
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    await log.sees("local_track_republished")
    assert published == [{}]
    assert log.events == [
        ("track_unsubscribed", "TR_mic", "TR_mic", "bob"),
        ("track_unpublished", "TR_mic", "bob"),
        ("participant_disconnected", "bob"),
        ("local_track_unpublished", before),
        ("connection_state_changed", ConnectionState.CONN_RECONNECTING),
        ("reconnecting",),
        ("connection_state_changed", ConnectionState.CONN_CONNECTED),
        ("reconnected",),
        ("participant_connected", "bob"),
        ("participant_active", "bob"),
        ("track_published", "TR_mic", "bob"),
        ("local_track_published", publication.sid, publication.sid),
        ("local_track_republished", publication.sid, before),
    ]
    assert publication.sid != before
    assert dict(room.local_participant.track_publications) == {publication.sid: publication}
    assert track.sid == publication.sid
    assert PaperPeer.made[0].closed
    assert len(PaperPeer.made[1].called("publish_audio")) == 1
    await room.disconnect()


@pytest.mark.parametrize("action", [Action.RESUME, Action.RECONNECT])
async def test_the_server_may_ask_to_come_again(script: ScriptedServer, action: Any) -> None:
    room, log = await connected(script)
    await script.seat.send(leave=rtc.LeaveRequest(action=action))
    await log.sees("reconnected")
    assert script.seat.resumes == (action == Action.RESUME)
    assert ("reconnecting" in log.names) == (action == Action.RECONNECT)
    await room.disconnect()


async def test_a_session_that_the_server_has_forgotten_begins_anew(script: ScriptedServer) -> None:
    room, log = await connected(script)
    leave = rtc.LeaveRequest(reason=models.DisconnectReason.STATE_MISMATCH, action=Action.RECONNECT)
    script.first.append(rtc.SignalResponse(leave=leave))
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
    await log.sees("reconnected")
    assert [seat.resumes for seat in script.seats] == [False, True, False]
    assert room.local_participant.sid == "PA_ada2"
    await room.disconnect()


async def test_a_server_that_says_goodbye_at_a_reconnect_is_believed(script: ScriptedServer) -> None:
    _, log = await connected(script)
    leave = rtc.LeaveRequest(reason=models.DisconnectReason.DUPLICATE_IDENTITY, action=Action.DISCONNECT)
    script.first.append(rtc.SignalResponse(leave=leave))
    await script.seat.socket.close()
    await log.sees("disconnected", DisconnectReason.DUPLICATE_IDENTITY)


async def test_a_token_that_is_refused_at_a_reconnect_ends_it(script: ScriptedServer) -> None:
    room, log = await connected(script)
    await script.seat.send(refresh_token="a-newer-one")
    await turns(1)
    assert room._token == "a-newer-one"
    script.refusals.append((401, "no"))
    script.validations.append((401, "no"))
    await script.seat.socket.close()
    await log.sees("disconnected", DisconnectReason.JOIN_FAILURE)


async def test_a_server_that_is_away_is_waited_for(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connection, "FIRST_DELAY", 0.01)
    room, log = await connected(script)
    assert script.server
    port = script.server.sockets[0].getsockname()[1]
    script.server.close()
    await script.server.wait_closed()
    async with open_scripted() as other_script:
        # The same address, another server, which knows nobody.
        url = other_script.url
        assert room._connection
        await asyncio.sleep(0.05)
        leave = rtc.LeaveRequest(action=Action.RECONNECT)
        other_script.first.append(rtc.SignalResponse(leave=leave))
        room._connection.url = url
        await log.sees("reconnected")
        assert port
        await room.disconnect()


async def test_a_silent_server_is_left(script: ScriptedServer) -> None:
    script.ping = (1, 1)
    script.deaf_to.add("ping_req")
    room, log = await connected(script)
    seat = script.seat
    script.deaf_to.clear()
    await log.sees("reconnected")
    assert script.seat is not seat
    await room.disconnect()


async def test_leaving_ends_a_reconnect(script: ScriptedServer) -> None:
    room, log = await connected(script)
    script.deaf_to.add("offer")
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    await script.seat_of(2)
    await room.disconnect()
    assert log.events[-1] == ("disconnected", DisconnectReason.CLIENT_INITIATED)
    assert all(peer.closed for peer in PaperPeer.made)


async def test_who_was_moved_is_in_another_room_with_the_same_tracks(script: ScriptedServer) -> None:
    script.others = [other("bob")]
    room, log = await connected(script)
    publication = await room.local_participant.publish_track(tone())
    await turns(1)
    log.events.clear()
    moved = rtc.RoomMovedResponse(
        room=models.Room(name="other", sid="RM_other"),
        token="of-the-other-room",
        participant=me("PA_moved"),
        other_participants=[other("eve")],
    )
    await script.seat.send(room_moved=moved)
    await log.sees("moved")
    assert log.names == [
        "participant_disconnected",
        "participant_connected",
        "participant_active",
        "room_updated",
        "moved",
    ]
    assert (room.name, room.local_participant.sid) == ("other", "PA_moved")
    assert publication.sid in room.local_participant.track_publications
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
    await log.sees("reconnected")
    assert script.seat.join.participant_sid == "PA_moved"
    await room.disconnect()


async def test_methods_that_are_registered_are_known_by_name(script: ScriptedServer) -> None:
    """livekit-agents calls handlers that others have registered."""
    room, _ = await connected(script)
    me = room.local_participant

    @me.register_rpc_method("decorated")
    def decorated(invocation: RpcInvocationData) -> str:
        return invocation.payload

    assert me.register_rpc_method("given", decorated) is decorated
    assert me._rpc_handlers == {"decorated": decorated, "given": decorated}
    me.unregister_rpc_method("given")
    me.unregister_rpc_method("given")
    assert list(me._rpc_handlers) == ["decorated"]
    await room.disconnect()
