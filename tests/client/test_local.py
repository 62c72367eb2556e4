"""Rooms connected to a server in their own process."""

from __future__ import annotations

import array
import asyncio
import contextlib
import gc
import math
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import roomful
from roomful import rtc
from roomful.server import publications
from roomful.testing import ThreadedServer

RELAYS = rtc.RtcConfiguration(ice_transport_type=rtc.IceTransportType.TRANSPORT_RELAY)

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


async def test_a_server_that_is_gone_with_its_loop_is_not_tried_again() -> None:
    server, serving = roomful.Server(listen=False), asyncio.new_event_loop()
    thread = threading.Thread(target=serving.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), serving).result(10)
    room = rtc.Room()
    left = await seen(room, "disconnected")
    await room.connect(server, server.token(identity="ada", room="demo"))
    serving.call_soon_threadsafe(serving.stop)
    thread.join()
    serving.close()
    began = time.monotonic()
    await room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
    async with asyncio.timeout(10):
        assert await left == rtc.DisconnectReason.SERVER_SHUTDOWN
        with pytest.raises(rtc.ConnectError, match="the server's event loop is closed"):
            await rtc.Room().connect(server, server.token(identity="ada", room="demo"))
    assert time.monotonic() - began < 0.5


async def test_of_threads_that_connect_first_one_starts_the_server() -> None:
    server, ready = roomful.Server(listen=False), threading.Barrier(2, timeout=10)
    failures: list[object] = []

    async def visit(name: str) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        room = rtc.Room()
        await asyncio.to_thread(ready.wait)
        await room.connect(server, server.token(identity=name, room="demo"))
        await asyncio.to_thread(ready.wait)
        await room.disconnect()
        await asyncio.to_thread(ready.wait)
        if server.loop is asyncio.get_running_loop():
            await server.close()

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, visit(name)) for name in ("ada", "ben")))
    assert not failures


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (rtc.RoomOptions(rtc_config=RELAYS), "without ICE"),
        (
            rtc.RoomOptions(rtc_config=rtc.RtcConfiguration(ice_servers=[rtc.IceServer()])),
            "without ICE",
        ),
        (rtc.RoomOptions(connect_timeout=0), "connect_timeout"),
        (rtc.RoomOptions(connect_timeout=-1), "connect_timeout"),
    ],
)
async def test_options_that_would_do_nothing_are_refused(options: rtc.RoomOptions, why: str) -> None:
    server = roomful.Server(listen=False)
    with pytest.raises(rtc.ConnectError, match=why):
        await rtc.Room().connect(server, server.token(identity="ada", room="demo"), options)
    assert server.loop is None


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


async def with_a_call(server: roomful.Server, answer: Callable[[rtc.Room], Any]) -> tuple[rtc.Room, rtc.Room]:
    """Of whom ben calls ada's method."""
    ada, ben = rtc.Room(), rtc.Room()
    await ada.connect(server, server.token(identity="ada", room="demo"))
    await ben.connect(server, server.token(identity="ben", room="demo"))
    ada.local_participant.register_rpc_method("method", lambda _: answer(ada))
    return ada, ben


async def test_the_handler_of_a_call_may_leave_the_room() -> None:
    async with roomful.Server(listen=False) as server:
        ada, ben = await with_a_call(server, rtc.Room.disconnect)
        left, gone = await seen(ada, "disconnected"), await seen(ben, "participant_disconnected")
        with pytest.raises(rtc.RpcError) as raised:
            await ben.local_participant.perform_rpc(
                destination_identity="ada", method="method", payload="", response_timeout=10
            )
        assert raised.value.code == rtc.RpcError.ErrorCode.RECIPIENT_DISCONNECTED
        async with asyncio.timeout(10):
            await asyncio.gather(left, gone)
        assert not ada.isconnected()
        await asyncio.gather(ada.disconnect(), ben.disconnect())


async def test_a_disconnect_that_is_cancelled_leaves_all_the_same() -> None:
    async with roomful.Server(listen=False) as server:
        called = asyncio.Event()

        async def answer_slowly(_: rtc.Room) -> str:
            called.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                await asyncio.sleep(0.3)
            return ""

        ada, ben = await with_a_call(server, answer_slowly)
        left = await seen(ada, "disconnected")
        call = asyncio.create_task(
            ben.local_participant.perform_rpc(destination_identity="ada", method="method", payload="")
        )
        async with asyncio.timeout(10):
            await called.wait()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ada.disconnect(), 0.01)
            assert not left.done()
            await left
            await asyncio.gather(call, return_exceptions=True)
        await asyncio.gather(ada.disconnect(), ben.disconnect())


async def test_publishes_that_were_cancelled_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publications, "PENDING_FOR", 0.5)
    monkeypatch.setattr(publications, "MAX_TRACKS", 20)
    async with roomful.Server(listen=False) as server:
        room = rtc.Room()
        await room.connect(server, server.token(identity="ada", room="demo"))
        source = rtc.AudioSource(48_000, 1)
        for number in range(25):
            track = rtc.LocalAudioTrack.create_audio_track(f"t{number}", source)
            publishing = asyncio.create_task(room.local_participant.publish_track(track))
            for _ in range(3):
                await asyncio.sleep(0)
            publishing.cancel()
            await asyncio.wait([publishing])
        assert not room.local_participant.track_publications
        track = rtc.LocalAudioTrack.create_audio_track("real", source)
        async with asyncio.timeout(20):
            publication = await room.local_participant.publish_track(track)
        assert list(room.local_participant.track_publications) == [publication.sid]
        await room.disconnect()


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


RATE = 24_000


@asynccontextmanager
async def entered(
    server: roomful.Server, identity: str, *, network: bool = False, **options: Any
) -> AsyncIterator[rtc.Room]:
    room = rtc.Room()
    token = server.token(identity=identity, room="demo")
    await room.connect(server.url if network else server, token, rtc.RoomOptions(**options))
    try:
        yield room
    finally:
        await room.disconnect()


class Singer:
    """Plays a tone, and keeps what it played."""

    def __init__(self) -> None:
        self.source = rtc.AudioSource(RATE, 1, 100)
        self.track = rtc.LocalAudioTrack.create_audio_track("voice", self.source)
        self.played = bytearray()

    async def sing(self) -> None:
        for start in range(0, 1 << 40, RATE // 100):
            time = (2 * math.pi * 440.3 * (start + at) / RATE for at in range(RATE // 100))
            samples = array.array("h", (round(8_000 * math.sin(angle)) for angle in time))
            frame = rtc.AudioFrame(samples.tobytes(), RATE, 1, len(samples))
            self.played += frame.data.tobytes()
            await self.source.capture_frame(frame)


@asynccontextmanager
async def running(act: Any) -> AsyncIterator[None]:
    task = asyncio.ensure_future(act)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def first_track(room: rtc.Room) -> Any:
    came = await seen(room, "track_subscribed")
    for participant in room.remote_participants.values():
        for publication in participant.track_publications.values():
            if publication.track is not None:
                return publication.track
    return await came


async def hear(stream: rtc.AudioStream, good: Callable[[bytes], bool]) -> None:
    """Returns when a quarter of a second of it is good."""
    heard = bytearray()
    async with asyncio.timeout(15):
        async for event in stream:
            heard += event.frame.data.tobytes()
            if len(heard) >= RATE // 2:
                if good(bytes(heard)):
                    return
                heard.clear()


async def test_sound_passes_as_it_is_while_others_hear_it_over_a_network() -> None:
    singer = Singer()
    async with (
        roomful.Server() as server,
        entered(server, "ada") as ada,
        entered(server, "ben") as ben,
        entered(server, "eve", network=True) as eve,
        running(singer.sing()),
    ):
        microphone = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await ada.local_participant.publish_track(singer.track, microphone)
        speaking = await seen(eve, "active_speakers_changed")
        here = rtc.AudioStream(await first_track(ben), sample_rate=RATE, num_channels=1)
        there = rtc.AudioStream(await first_track(eve), sample_rate=RATE, num_channels=1)
        await hear(here, lambda heard: heard in singer.played)
        await hear(
            there, lambda heard: heard not in singer.played and max(memoryview(heard).cast("h")) > 4_000
        )
        async with asyncio.timeout(10):
            assert await speaking
        await eve.disconnect()
        await hear(here, lambda heard: heard in singer.played)
        publication.track.mute()  # type: ignore[union-attr]
        muted = await seen(ben, "track_unmuted")
        publication.track.unmute()  # type: ignore[union-attr]
        await muted
        await hear(here, lambda heard: heard in singer.played)
        ben.remote_participants["ada"].track_publications[publication.sid].set_subscribed(False)
        async with asyncio.timeout(10):
            async for _ in here:
                pass
        await asyncio.gather(here.aclose(), there.aclose())


async def test_one_source_is_heard_in_all_rooms_in_which_it_is_published() -> None:
    singer = Singer()
    speakers, hearers = (rtc.Room(), rtc.Room()), (rtc.Room(), rtc.Room())
    async with roomful.Server(listen=False) as server, running(singer.sing()):
        for speaker, hearer, name in zip(speakers, hearers, ("one", "other"), strict=True):
            await speaker.connect(server, server.token(identity="ada", room=name))
            await hearer.connect(server, server.token(identity="ben", room=name))
            track = rtc.LocalAudioTrack.create_audio_track("song", singer.source)
            await speaker.local_participant.publish_track(track)
        streams = [rtc.AudioStream(await first_track(room), sample_rate=RATE) for room in hearers]
        for stream in streams:
            await hear(stream, lambda heard: heard in singer.played)
        for room in (*speakers, *hearers):
            await room.disconnect()


async def test_who_has_another_key_hears_nothing_here_either() -> None:
    def keys(key: bytes) -> rtc.E2EEOptions:
        return rtc.E2EEOptions(key_provider_options=rtc.KeyProviderOptions(shared_key=key))

    singer = Singer()
    async with (
        roomful.Server(listen=False) as server,
        entered(server, "ada", encryption=keys(b"one")) as ada,
        entered(server, "ben", encryption=keys(b"one")) as ben,
        entered(server, "eve", encryption=keys(b"another")) as eve,
        running(singer.sing()),
    ):
        await ada.local_participant.publish_track(singer.track)
        ben_hears = rtc.AudioStream(await first_track(ben), sample_rate=RATE, num_channels=1)
        eve_hears = rtc.AudioStream(await first_track(eve), sample_rate=RATE, num_channels=1)
        await hear(ben_hears, lambda heard: max(memoryview(heard).cast("h")) > 4_000)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                async for event in eve_hears:
                    assert max(event.frame.data) < 200
        await asyncio.gather(ben_hears.aclose(), eve_hears.aclose())


async def test_pictures_pass_as_they_are_and_are_encoded_for_others_alone() -> None:
    source = rtc.VideoSource(320, 180)
    track = rtc.LocalVideoTrack.create_video_track("film", source)
    picture = rtc.VideoFrame(320, 180, rtc.VideoBufferType.I420, bytes(320 * 180 * 3 // 2))

    async def show() -> None:
        while True:
            source.capture_frame(picture)
            await asyncio.sleep(1 / 30)

    async with (
        roomful.Server() as server,
        entered(server, "ada") as ada,
        entered(server, "ben") as ben,
        running(show()),
    ):
        await ada.local_participant.publish_track(track)
        stream = rtc.VideoStream(await first_track(ben))
        turned = rtc.VideoStream(await first_track(ben), format=rtc.VideoBufferType.RGBA)
        async with asyncio.timeout(15):
            async for event in stream:
                if event.frame is picture:
                    break
            async for event in turned:
                assert event.frame.type == rtc.VideoBufferType.RGBA
                break
            sender = next(iter(source._senders.values()))
            while any(layer.bitrate for layer in sender._layers):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            async with entered(server, "eve", network=True) as eve:
                async for event in rtc.VideoStream(await first_track(eve)):
                    assert event.frame is not picture
                    break
                assert any(layer.bitrate for layer in sender._layers)
            async for event in stream:
                assert event.frame is picture
                break
            while any(layer.bitrate for layer in sender._layers):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.gather(stream.aclose(), turned.aclose())
