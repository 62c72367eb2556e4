"""Servers that mean no good: whatever they say ends in an event, an error or a line of the log."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from livekit.protocol import models, rtc
from scripted import Data, PaperPeer, ScriptedServer, Track, microphone, other
from watched import Source

from roomful._core import PeerEvent
from roomful.rtc import _connection, _presence, _session, _signal, log
from roomful.rtc._enums import (
    AudioTrackFeature,
    ConnectionState,
    DisconnectReason,
    EncryptionType,
    ParticipantKind,
    ParticipantKindDetail,
    ParticipantState,
    TrackKind,
    TrackSource,
)
from roomful.rtc.participant import PublishTrackError
from roomful.rtc.room import ConnectError, EventTypes, Room, RoomOptions
from roomful.rtc.track import LocalAudioTrack, LocalVideoTrack
from roomful.rtc.video_source import VideoSource
from roomful.sparing import BURST

pytestmark = pytest.mark.asyncio

Action = rtc.LeaveRequest.Action
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


async def connected(script: ScriptedServer) -> Room:
    room = Room()
    await room.connect(script.url, "token")
    await asyncio.sleep(0)
    return room


# ---- before the WebSocket


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(await reader.readuntil(b"\r\n\r\n"), writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def endless(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(head)
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"


async def test_a_refusal_without_an_end_is_not_read_to_it(paper_peers: type[PaperPeer]) -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/validate" in request:
            await endless(REFUSAL, writer)
        writer.write(REFUSAL.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nno"))

    async with answering(answer) as url, asyncio.timeout(20):
        with pytest.raises(ConnectError, match=r"400 Bad Request: x{500}$"):
            await Room().connect(url, "token")


async def test_an_answer_without_an_end_is_no_websocket(
    paper_peers: type[PaperPeer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connection, "RETRIES", ())
    async with answering(lambda _, writer: endless(REFUSAL, writer)) as url, asyncio.timeout(20):
        with pytest.raises(ConnectError, match=r"^server: "):
            await Room().connect(url, "token", RoomOptions(connect_timeout=0.3))


async def test_a_refusal_that_drips_is_not_waited_for(
    paper_peers: type[PaperPeer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_signal, "VALIDATE_TIMEOUT", 0.1)

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(REFUSAL)
        if b"/validate" not in request:
            return
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.02)

    async with answering(answer) as url, asyncio.timeout(20):
        with pytest.raises(ConnectError, match="400 Bad Request"):
            await Room().connect(url, "token")


# ---- sessions


async def test_goodbyes_in_unknown_words_are_goodbyes(script: ScriptedServer) -> None:
    room = await connected(script)
    reasons: asyncio.Queue[int] = asyncio.Queue()
    room.on("disconnected", reasons.put_nowait)
    await script.seat.send(leave=rtc.LeaveRequest(reason=99, action=77))  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        assert await reasons.get() == DisconnectReason.UNKNOWN_REASON
    script.first.append(rtc.SignalResponse(leave=rtc.LeaveRequest(reason=99, action=77)))  # type: ignore[arg-type]
    with pytest.raises(ConnectError, match="goodbye"):
        await Room().connect(script.url, "token")


async def test_who_is_sent_away_at_once_again_and_again_takes_more_and_more_time(
    script: ScriptedServer,
) -> None:
    async def answer(seat: Any, request: rtc.SignalRequest) -> None:
        if request.HasField("ping_req"):  # The first is sent with the join.
            action = Action.RECONNECT if len(script.seats) % 2 else Action.RESUME
            await seat.send(leave=rtc.LeaveRequest(action=action))
        else:
            await type(script).answer(script, seat, request)

    script.answer = answer  # type: ignore[method-assign]
    room = await connected(script)
    await asyncio.sleep(1)
    assert 1 < len(script.seats) <= 3 * _connection.AT_ONCE  # Without pauses they are hundreds.
    await room.disconnect()


async def test_numbers_that_nobody_knows_are_known_ones_to_programs(script: ScriptedServer) -> None:
    track = microphone(encryption=9, audio_features=[0, 77])
    track.type, track.source = 8, 55  # type: ignore[assignment]
    strange = other("bob", track, state=77, kind=44, kind_details=[0, 66], joined_at=2**62)
    strange.disconnect_reason = 88  # type: ignore[assignment]
    script.others = [strange]
    room = await connected(script)
    room._info.creation_time_ms = -(2**63)
    bob = room.remote_participants["bob"]
    publication = bob.track_publications["TR_mic"]
    named = [
        ParticipantState.Name(bob.state),
        ParticipantKind.Name(bob.kind),
        *map(ParticipantKindDetail.Name, bob.kind_details),
        TrackSource.Name(publication.source),
        TrackKind.Name(publication.kind),
        EncryptionType.Name(publication.encryption_type),
        *map(AudioTrackFeature.Name, publication.audio_features),
    ]
    assert len(named) == 7
    assert publication.encryption_type == EncryptionType.CUSTOM
    assert bob.disconnect_reason is None
    assert bob.joined_at is not None
    assert bob.joined_at.year == room.creation_time.year == 1970
    await room.disconnect()


async def test_pings_go_on_whatever_the_pongs_say(script: ScriptedServer) -> None:
    room = await connected(script)
    assert room._connection is not None
    assert room._connection.presence is not None
    session = room._connection.presence.session
    for told in (-(2**63), 2**63 - 1):
        session.receive(rtc.SignalResponse(pong_resp=rtc.Pong(last_ping_timestamp=told)))
        session.ping()
    pings = [await script.seat.hears("ping_req", nth) for nth in (2, 3)]
    assert [ping.rtt for ping in pings] == [_session.MAX_RTT_MS, 0]
    await room.disconnect()


async def test_a_server_that_does_not_read_is_given_up(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await connected(script)
    monkeypatch.setattr(_signal, "MAX_UNSENT", 10_000)
    script.deaf_to.add("offer")
    events: list[Any] = []
    room.on("connection_state_changed", events.append)
    assert room._connection is not None
    for _ in range(20):
        room._connection.send(
            rtc.SignalRequest(update_metadata=rtc.UpdateParticipantMetadata(name="x" * 1000))
        )
    await script.seat_of(2)
    await room.disconnect()


async def test_what_comes_before_the_room_is_ready_is_bounded(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PaperPeer, "connects", False)
    monkeypatch.setattr(_session, "MAX_HELD", 50_000)
    monkeypatch.setattr(_connection, "RETRIES", ())

    async def greet(seat: Any) -> None:
        await type(script).greet(script, seat)
        for _ in range(100):
            await seat.send(room_update=rtc.RoomUpdate(room=models.Room(metadata="x" * 1000)))

    script.greet = greet  # type: ignore[method-assign]
    with pytest.raises(ConnectError, match="more than can be kept"):
        await Room().connect(script.url, "token")


async def test_nobody_floods_the_log(script: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    room = await connected(script)
    after = asyncio.Event()
    room.on("room_metadata_changed", lambda *_: after.set())
    for _ in range(200):
        await script.seat.socket.send(b"\xff")
    PaperPeer.made[0].emit(*(Data("reliable", b"\xff") for _ in range(200)))
    await script.seat.send(room_update=rtc.RoomUpdate(room=models.Room(metadata="after")))
    await after.wait()
    assert len([one for one in caplog.records if one.name == log.logger.name]) == 2 * BURST
    await room.disconnect()


async def test_sections_that_the_server_names_are_bounded(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_session, "MAX_SECTIONS", 10)
    room = await connected(script)
    session = presence_of(room).session
    for index in range(100):
        session.receive(
            rtc.SignalResponse(answer=rtc.SessionDescription(sdp="v=0", mid_to_track_id={str(index): "TR_x"}))
        )
    assert list(session.connections["publisher"].tracks or ()) == [str(index) for index in range(90, 100)]
    await room.disconnect()


async def test_a_track_that_is_said_to_be_well_but_not_as_what_is_no_publication(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomful.rtc._requests.TRACK_TIMEOUT", 0.1)
    room = await connected(script)
    script.deaf_to.add("add_track")
    publishing = asyncio.create_task(
        room.local_participant.publish_track(LocalAudioTrack.create_audio_track("mic", Source()))
    )
    asked = await script.seat.hears("add_track")
    await script.seat.send(request_response=rtc.RequestResponse(add_track=asked))
    with pytest.raises(PublishTrackError, match="timed out"):
        await publishing
    await room.disconnect()


def presence_of(room: Room) -> _presence.Presence:
    assert room._connection is not None
    assert room._connection.presence is not None
    return room._connection.presence


async def test_many_participants_and_tracks_cost_as_much_as_they_are(script: ScriptedServer) -> None:
    room = await connected(script)
    session = presence_of(room).session
    many = range(5000)

    def tells(**message: Any) -> None:
        session.receive(rtc.SignalResponse(**message))

    began = time.process_time()
    tells(update=rtc.ParticipantUpdate(participants=[other(f"p{n}", microphone(f"TR_{n}")) for n in many]))
    speakers = [models.SpeakerInfo(sid=f"PA_p{n}", active=True) for n in many]
    tells(speakers_changed=rtc.SpeakersChanged(speakers=speakers))
    states = [rtc.StreamStateInfo(track_sid=f"TR_{n}") for n in many]
    tells(stream_state_update=rtc.StreamStateUpdate(stream_states=states))
    encrypted = [microphone(f"TR_of_p{n}", encryption=models.Encryption.GCM) for n in many]
    tells(update=rtc.ParticipantUpdate(participants=[other("p1", *encrypted)]))
    for again in "ab":
        data = [models.DataTrackInfo(sid=f"DTR_{again}{n}", pub_handle=n + 1) for n in many]
        tells(update=rtc.ParticipantUpdate(participants=[other("p2", data_tracks=data)]))
    gone = [other(f"p{n}", state=models.ParticipantInfo.DISCONNECTED) for n in many]
    tells(update=rtc.ParticipantUpdate(participants=gone))
    assert time.process_time() - began < 8
    assert not room.remote_participants
    await room.disconnect()


async def test_a_name_that_another_track_has_is_no_publication(script: ScriptedServer) -> None:
    room = await connected(script)

    async def answer(seat: Any, request: rtc.SignalRequest) -> None:
        if request.HasField("add_track"):
            track = models.TrackInfo(sid="TR_same")
            same = rtc.TrackPublishedResponse(cid=request.add_track.cid, track=track)
            await seat.send(track_published=same)

    script.answer = answer  # type: ignore[method-assign]
    publish = room.local_participant.publish_track
    await publish(LocalAudioTrack.create_audio_track("one", Source()))
    with pytest.raises(PublishTrackError, match="name of another"):
        await publish(LocalAudioTrack.create_audio_track("other", Source()))
    await room.disconnect()


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_goodbyes_come_the_room_is_connected_or_not(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(_connection, "FIRST_DELAY", 0.0)
    choice = random.Random(seed)
    room = await connected(script)
    for _ in range(40):
        ended = asyncio.Event()
        for event in ("reconnected", "disconnected"):
            room.once(event, lambda *_, ended=ended: ended.set())
        leave = filled(rtc.LeaveRequest(), choice)
        presence_of(room).session.receive(rtc.SignalResponse(leave=leave))
        async with asyncio.timeout(20):
            await ended.wait()
        if not room.isconnected():
            room = await connected(script)
    await room.disconnect()
    assert all(peer.closed for peer in PaperPeer.made)


# ---- anything at all

#: What it may say that the client knows of, so that some of it fits together.
NAMES = [
    *("", "ada", "bob", "eve", "PA_ada1", "PA_bob", "PA_eve", "TR_mic", "TR_2", "TR_3", "DTR_1", "s", "t"),
    *("lk.rpc_request", "lk.rpc_response", "0", "1", "\x00", "🦀" * 50, "[" * 2000, '{"candidate": 5}'),
]
NUMBERS = [0, 1, 2, 3, 5, 15, 99, 2**15, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, -1, -(2**31), -(2**63)]
BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
FLOATS = [0.0, -1.0, 1e300, float("nan"), float("inf")]


def filled(message: Message, choice: random.Random, depth: int = 0) -> Any:
    """With anything that its fields can hold."""
    for field in message.DESCRIPTOR.fields:
        if choice.random() < 0.4 or depth > 4:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            for _ in range(choice.randrange(3)):
                entries = getattr(message, field.name)
                if value.message_type is not None:
                    filled(entries[scalar(key, choice)], choice, depth + 1)
                else:
                    entries[scalar(key, choice)] = scalar(value, choice)
        elif field.is_repeated:
            for _ in range(choice.randrange(4)):
                if field.message_type is not None:
                    filled(getattr(message, field.name).add(), choice, depth + 1)
                else:
                    getattr(message, field.name).append(scalar(field, choice))
        elif field.message_type is not None:
            filled(getattr(message, field.name), choice, depth + 1)
        else:
            setattr(message, field.name, scalar(field, choice))
    return message


def scalar(field: FieldDescriptor, choice: random.Random) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = choice.choice(NAMES)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return choice.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return choice.choice(FLOATS)
    lowest, highest = BOUNDS[kind]
    return choice.choice([number for number in NUMBERS if lowest <= number <= highest])


def said(choice: random.Random) -> rtc.SignalResponse:
    kinds = rtc.SignalResponse.DESCRIPTOR.oneofs_by_name["message"].fields
    kind = choice.choice([one for one in kinds if one.name != "leave"])
    response = rtc.SignalResponse()
    part = getattr(response, kind.name)
    if kind.message_type is None:
        setattr(response, kind.name, scalar(kind, choice))
    else:
        part.SetInParent()
        filled(part, choice)
    return response


def packet(choice: random.Random) -> models.DataPacket:
    kinds = models.DataPacket.DESCRIPTOR.oneofs_by_name["value"].fields
    value = models.DataPacket(
        participant_sid=choice.choice(NAMES[:7]), participant_identity=choice.choice(NAMES[:4])
    )
    part = getattr(value, choice.choice(kinds).name)
    part.SetInParent()
    filled(part, choice)
    return value


@pytest.mark.parametrize(("seed", "single"), [(0, True), (1, True), (2, False)])
async def test_whatever_a_server_says_the_room_lives_on(
    script: ScriptedServer, caplog: pytest.LogCaptureFixture, seed: int, single: bool
) -> None:
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    choice = random.Random(seed)
    script.others = [other("bob", microphone())]
    script.subscriber_primary = not single
    room = Room()
    await room.connect(script.url, "token", RoomOptions(dynacast=True, single_peer_connection=single))
    await asyncio.sleep(0)
    told: set[str] = set()
    for name in EventTypes.__args__:  # type: ignore[attr-defined]
        room.on(name, lambda *_, name=name: (told.add(name), repr(_)))
    room.register_text_stream_handler("t", lambda reader, identity: None)
    room.register_byte_stream_handler("t", lambda reader, identity: None)
    room.local_participant.register_rpc_method("t", lambda invocation: "")
    await room.local_participant.publish_track(LocalAudioTrack.create_audio_track("mic", Source()))
    await room.local_participant.publish_track(
        LocalVideoTrack.create_video_track("cam", VideoSource(640, 360))
    )
    session, peer = presence_of(room).session, PaperPeer.made[-1]
    arriving = "publisher" if single else "subscriber"
    for turn in range(1500):
        session.receive(said(choice))
        peer.emit(Data("reliable", packet(choice).SerializeToString()))
        peer.emit(Data("data_track", choice.randbytes(choice.randrange(40))))
        stream = f"{choice.choice(NAMES)}|{choice.choice(NAMES)}"
        peer.emit(PeerEvent.KeyFrame(choice.randrange(4), choice.randrange(256)))
        peer.emit(PeerEvent.Bitrate(choice.randrange(4), choice.randrange(256), choice.randrange(2**64)))
        peer.emit(Track(arriving, choice.choice("0123"), "audio", stream, choice.choice(NAMES)))
        if turn % 10 == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    everybody = [room.local_participant, *room.remote_participants.values()]
    for one in everybody:
        assert repr(one)
        for name in dir(one):
            if not name.startswith("_"):
                getattr(one, name)
    assert room.connection_state == ConnectionState.CONN_CONNECTED
    assert session.ended is None
    assert {"participant_connected", "track_published", "data_received", "moved"} <= told
    async with asyncio.timeout(20):
        await room.disconnect()
    assert not unhandled
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]


async def test_a_join_of_anything_is_a_room_or_an_error(script: ScriptedServer, paper_peers: Any) -> None:
    choice = random.Random(3)
    for _ in range(30):
        join = rtc.JoinResponse()
        filled(join, choice)
        join.participant.SetInParent()
        join.ping_interval, join.ping_timeout = 5, 15
        answer = rtc.SignalResponse(answer=rtc.SessionDescription(type="answer", sdp="v=0", id=1))
        script.first.append(rtc.SignalResponse(join=join))

        async def greet(seat: Any, answer: rtc.SignalResponse = answer) -> None:
            await type(script).greet(script, seat)
            await seat.socket.send(answer.SerializeToString())

        script.greet = greet  # type: ignore[method-assign]
        room = Room()
        try:
            await room.connect(script.url, "token")
        except ConnectError:
            script.first.clear()
            continue
        assert repr(room)
        await room.disconnect()
