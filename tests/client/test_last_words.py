"""What is sent just before a room is left arrives, and leaving does not wait for it longer than it says."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Iterator

import pytest
from scripted import Flushed, PaperPeer, ScriptedServer
from servers import Server, open_server
from watched import connected

from roomful import rtc
from roomful.rtc import _presence, audio_source

pytestmark = pytest.mark.asyncio

ROUNDS = 5
PACKETS = 40
RATE = 48_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with open_server() as server:
        yield server


async def entered(server: Server, identity: str, room: str) -> rtc.Room:
    entered = rtc.Room()
    await entered.connect(server.url, server.token(identity=identity, room=room))
    return entered


async def speak_and_leave(server: Server, name: str) -> None:
    """Everything at once, the last of it in the turn in which the room is left."""
    listener = await entered(server, "listener", name)
    came: list[bytes] = []
    read, frames = asyncio.Queue[str](), asyncio.Queue[bytes]()
    gone = asyncio.Event()
    tasks = set()
    all_came = asyncio.Event()

    def take_data(packet: rtc.DataPacket) -> None:
        came.append(packet.data)
        if len(came) == PACKETS + 2:
            all_came.set()

    listener.on("data_received", take_data)
    listener.on("participant_disconnected", lambda _: gone.set())

    async def read_text(reader: rtc.TextStreamReader) -> None:
        read.put_nowait(await reader.read_all())

    async def take(track: rtc.RemoteDataTrack) -> None:
        async for frame in track.subscribe():
            frames.put_nowait(frame.payload)

    def start(work: object) -> None:
        tasks.add(asyncio.ensure_future(work))  # type: ignore[call-overload]

    listener.register_text_stream_handler("long", lambda reader, _: start(read_text(reader)))
    listener.on("data_track_published", lambda track: start(take(track)))
    speaker = await entered(server, "speaker", name)
    me = speaker.local_participant
    track = await me.publish_data_track(name="numbers")
    async with asyncio.timeout(10):
        while frames.empty():  # Until it is subscribed to.
            track.try_push(rtc.DataTrackFrame(payload=b"first"))
            await asyncio.sleep(0.02)
    sent = [b"%d" % number + b"." * 15_000 for number in range(PACKETS)]
    for one in sent:
        await me.publish_data(one)
    await me.send_text("the end " * 20_000, topic="long")
    track.try_push(rtc.DataTrackFrame(payload=b"last"))
    await me.publish_data(b"last of all", reliable=False)
    await me.publish_data(b"last")
    await speaker.disconnect()
    async with asyncio.timeout(10):
        await gone.wait()
        await all_came.wait()
        assert await read.get() == "the end " * 20_000
        while await frames.get() != b"last":
            pass
    assert sorted(came) == sorted([*sent, b"last of all", b"last"])
    for task in tasks:
        task.cancel()
    await listener.disconnect()


async def test_what_was_sent_before_a_goodbye_arrives(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_presence, "FLUSH_WITHIN", 20)  # However busy the machine is.
    for number in range(ROUNDS):
        await speak_and_leave(server, f"room {number}")


async def test_a_room_is_left_although_nothing_arrives(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_presence, "FLUSH_WITHIN", 0.1)
    room, _ = await connected(script)
    monkeypatch.setattr(PaperPeer, "acknowledged", False)
    await room.local_participant.publish_data(b"lost")
    began = time.monotonic()
    await room.disconnect()
    assert 0.1 <= time.monotonic() - began < 1
    assert "leave" in script.seats[-1].kinds()


async def test_a_room_whose_leaving_is_cancelled_still_says_its_last_words_first(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PaperPeer, "acknowledged", False)
    room, log = await connected(script)
    leaving = asyncio.create_task(room.disconnect())
    while not PaperPeer.made[-1].called("flush"):  # noqa: ASYNC110
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    assert room.isconnected()
    assert "leave" not in script.seats[-1].kinds()
    PaperPeer.made[-1].emit(Flushed())
    await log.sees("disconnected")
    await script.seats[-1].hears("leave")


async def test_a_session_that_ends_meanwhile_is_not_waited_for(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PaperPeer, "acknowledged", False)
    room, _ = await connected(script)
    leaving = asyncio.create_task(room.disconnect())
    while not PaperPeer.made[-1].called("flush"):  # noqa: ASYNC110
        await asyncio.sleep(0)
    began = time.monotonic()
    script.seats[-1].socket.transport.abort()
    await leaving
    assert time.monotonic() - began < _presence.FLUSH_WITHIN / 2


async def test_the_end_of_what_was_played_is_heard(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_source, "HEARD_WITHIN", 0.5)  # However busy the machine is.
    listener, speaker = await entered(server, "listener", "sound"), await entered(server, "speaker", "sound")
    tracks: asyncio.Queue[rtc.RemoteAudioTrack] = asyncio.Queue()
    listener.on("track_subscribed", tracks.put_nowait)
    source = rtc.AudioSource(RATE, 1)
    track = rtc.LocalAudioTrack.create_audio_track("voice", source)
    publication = await speaker.local_participant.publish_track(track)
    stream = rtc.AudioStream(await tracks.get())
    await publication.wait_for_subscription()

    async def loudness() -> list[int]:
        return [max(event.frame.data) async for event in stream]

    hearing = asyncio.create_task(loudness())
    low, high = ([level * (-1) ** (n // 50) for n in range(RATE // 2)] for level in (3_000, 20_000))
    # What is quiet goes on until it is loud, for the last 20 ms.
    samples = array("h", low + high[: RATE // 50])
    await source.capture_frame(rtc.AudioFrame(samples.tobytes(), RATE, 1, len(samples)))
    await source.wait_for_playout()
    await speaker.disconnect()
    assert max(await hearing) > 10_000
    await listener.disconnect()


@pytest.mark.parametrize("played", [True, False])
async def test_who_waits_for_the_end_of_sound_leaves_after_it(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch, *, played: bool
) -> None:
    monkeypatch.setattr(audio_source, "HEARD_WITHIN", 0.2)
    room, _ = await connected(script)
    source = rtc.AudioSource(RATE, 1)
    await room.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("voice", source))
    length = RATE // 50 if played else RATE
    await source.capture_frame(rtc.AudioFrame(bytes(2 * length), RATE, 1, length))
    if played:
        await source.wait_for_playout()
    began = time.monotonic()
    await room.disconnect()
    assert (time.monotonic() - began > 0.15) == played
