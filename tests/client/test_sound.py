"""Sources and streams of sound, with queues and sinks of paper in the place of the extension's."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted import PaperPeer, ScriptedServer, Track, TrackEnded, microphone, other

from roomful import _core, rtc

pytestmark = pytest.mark.asyncio

RATE = 16_000


class PaperQueue:
    """Plays by the clock."""

    def __init__(self, sample_rate: int, channels: int, capacity_ms: int) -> None:
        self.second = sample_rate * channels * 2
        self.capacity = capacity_ms / 1000
        self.ends = 0.0
        self.taken = bytearray()

    @property
    def queued(self) -> float:
        return max(self.ends - time.monotonic(), 0.0)

    def push(self, samples: memoryview) -> float:
        length = len(samples) / self.second
        if (over := self.queued + length - self.capacity) > 0:
            return over
        self.ends = max(self.ends, time.monotonic()) + length
        self.taken += samples
        return 0.0

    def clear(self) -> None:
        self.ends = 0.0


class PaperSink:
    made: list[PaperSink] = []  # noqa: RUF012

    def __init__(
        self, wake: Callable[[], None], sample_rate: int, channels: int, capacity: int, frame_ms: int
    ) -> None:
        self.wake, self.capacity = wake, capacity
        self.size = sample_rate * channels * frame_ms // 500
        self.frames: list[bytes] = []
        PaperSink.made.append(self)

    def give(self, *values: int) -> None:
        self.frames.extend(bytes([value]) * self.size for value in values)
        self.wake()

    def take(self) -> list[bytes]:
        taken, self.frames = self.frames, []
        return taken


@pytest.fixture(autouse=True)
def paper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_core, "AudioQueue", PaperQueue, raising=False)
    monkeypatch.setattr(_core, "AudioSink", PaperSink, raising=False)
    monkeypatch.setattr(PaperSink, "made", [])
    yield
    gc.collect()


def frame(milliseconds: int, rate: int = RATE, channels: int = 1) -> rtc.AudioFrame:
    return rtc.AudioFrame.create(rate, channels, rate * milliseconds // 1000)


async def heard(script: ScriptedServer) -> tuple[rtc.Room, PaperPeer, rtc.RemoteAudioTrack]:
    """A room in which somebody is heard."""
    script.others = [other("bob", microphone())]
    room = rtc.Room()
    subscribed = asyncio.Event()
    room.on("track_subscribed", lambda: subscribed.set())
    await room.connect(script.url, "token")
    PaperPeer.made[0].emit(Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic"))
    await asyncio.wait_for(subscribed.wait(), 5)
    track = room.remote_participants["bob"].track_publications["TR_mic"].track
    assert isinstance(track, rtc.RemoteAudioTrack)
    return room, PaperPeer.made[0], track


# ---- sources


async def test_a_full_source_makes_wait_and_an_empty_one_is_told() -> None:
    source = rtc.AudioSource(RATE, 1, queue_size_ms=100)
    began = time.monotonic()
    await source.capture_frame(frame(50))
    await source.capture_frame(frame(50))
    assert 0.05 < source.queued_duration <= 0.1
    await source.capture_frame(frame(50))
    waited = time.monotonic() - began
    assert waited > 0.045
    await source.wait_for_playout()
    assert time.monotonic() - began >= 0.145
    assert source.queued_duration == 0


async def test_a_frame_longer_than_the_queue_is_taken_piece_by_piece() -> None:
    source = rtc.AudioSource(RATE, 2, queue_size_ms=40)
    content = bytes(range(256)) * 25
    began = time.monotonic()
    await source.capture_frame(rtc.AudioFrame(content, RATE, 2, len(content) // 4))
    assert bytes(source._queue.taken) == content
    assert time.monotonic() - began >= 0.055  # 100 ms, of which 40 wait.


async def test_what_waits_may_be_dropped() -> None:
    source = rtc.AudioSource(RATE, 1, queue_size_ms=100)
    await source.capture_frame(frame(100))
    waiting = [
        asyncio.create_task(source.capture_frame(frame(5_000))),
        asyncio.create_task(source.wait_for_playout()),
    ]
    await asyncio.sleep(0)
    source.clear_queue()
    async with asyncio.timeout(0.09):
        await asyncio.gather(*waiting)
    assert source.queued_duration == 0


async def test_a_source_is_filled_in_one_loop_at_a_time() -> None:
    source = rtc.AudioSource(RATE, 1, queue_size_ms=100)
    filling = [asyncio.create_task(source.capture_frame(frame(500))) for _ in range(2)]
    await asyncio.sleep(0)

    def elsewhere() -> None:
        asyncio.run(asyncio.wait_for(source.capture_frame(frame(200)), 5), debug=True)

    with pytest.raises(RuntimeError, match="in another event loop"):
        await asyncio.to_thread(elsewhere)
    began = time.monotonic()
    await asyncio.to_thread(source.clear_queue)
    await asyncio.wait(filling[:1])
    assert time.monotonic() - began < 0.04
    await asyncio.to_thread(source.clear_queue)
    await asyncio.gather(*filling)
    # One after the other, each of which waits.
    await asyncio.to_thread(elsewhere)
    await source.capture_frame(frame(200))
    await asyncio.to_thread(asyncio.run, source.wait_for_playout())
    assert not source.queued_duration


async def test_a_source_takes_its_own_form_only_and_nothing_when_closed() -> None:
    source = rtc.AudioSource(RATE, 1)
    with pytest.raises(ValueError, match="don't match"):
        await source.capture_frame(frame(10, 48_000))
    with pytest.raises(ValueError, match="don't match"):
        await source.capture_frame(frame(10, RATE, 2))
    await source.aclose()
    await source.aclose()
    await source.capture_frame(frame(10))
    assert not source._queue.taken
    await source.wait_for_playout()


# ---- streams


async def test_a_stream_gives_frames_until_its_track_ends(script: ScriptedServer) -> None:
    room, peer, track = await heard(script)
    stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=2, frame_size_ms=20)
    (sink,) = PaperSink.made
    assert peer.called("hear") == [("publisher", "3", sink)]
    sink.give(1, 2)
    first = (await anext(stream)).frame
    assert (first.sample_rate, first.num_channels, first.samples_per_channel) == (RATE, 2, 320)
    sink.give(3)
    peer.emit(TrackEnded("publisher", "3"))
    assert [event.frame.data.cast("B")[0] async for event in stream] == [2, 3]
    assert [event async for event in stream] == []
    await stream.aclose()
    assert not [event async for event in rtc.AudioStream(track)]
    await room.disconnect()


async def test_a_closed_stream_hears_no_more(script: ScriptedServer) -> None:
    room, peer, track = await heard(script)
    stream = rtc.AudioStream.from_track(track=track, capacity=3)
    assert PaperSink.made[0].capacity == 3
    reading = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    await stream.aclose()
    await stream.aclose()
    assert await reading is None
    assert peer.called("stop") == [("publisher", "3", PaperSink.made[0])]
    await room.disconnect()


async def test_a_stream_that_nobody_holds_is_not_heard(script: ScriptedServer) -> None:
    room, peer, track = await heard(script)
    gone = weakref.ref(rtc.AudioStream(track))
    gc.collect()
    assert gone() is None
    assert len(peer.called("stop")) == 1
    await room.disconnect()


async def test_the_end_of_a_room_is_the_end_of_its_streams(script: ScriptedServer) -> None:
    room, _, track = await heard(script)
    stream = rtc.AudioStream(track)
    reading = asyncio.ensure_future(anext(stream, None))
    await asyncio.sleep(0)
    await room.disconnect()
    assert await asyncio.wait_for(reading, 5) is None


async def test_a_stream_that_is_read_in_another_loop_ends_too(script: ScriptedServer) -> None:
    room, peer, track = await heard(script)
    reading = threading.Event()

    async def read() -> list[rtc.AudioFrameEvent]:
        stream = rtc.AudioStream(track)
        asyncio.get_running_loop().call_soon(reading.set)
        return [event async for event in stream]

    async def bounded() -> list[rtc.AudioFrameEvent]:
        async with asyncio.timeout(5):
            return await read()

    reader = asyncio.create_task(asyncio.to_thread(asyncio.run, bounded()))
    assert await asyncio.to_thread(reading.wait, 5)
    peer.emit(TrackEnded("publisher", "3"))
    assert await reader == []
    await room.disconnect()


async def test_a_stream_of_a_participant_goes_on_with_the_next_track(script: ScriptedServer) -> None:
    room, peer, _ = await heard(script)
    bob = room.remote_participants["bob"]
    source = rtc.TrackSource.SOURCE_MICROPHONE
    stream = rtc.AudioStream.from_participant(participant=bob, track_source=source)
    (sink,) = PaperSink.made
    peer.emit(TrackEnded("publisher", "3"), Track("publisher", "4", "audio", "PA_bob|TR_mic", "TR_mic"))
    await asyncio.sleep(0.01)
    assert peer.called("hear") == [("publisher", "3", sink), ("publisher", "4", sink)]
    sink.give(7)
    assert (await anext(stream)).frame.data.cast("B")[0] == 7
    await room.disconnect()
    assert await anext(stream, None) is None


async def test_a_processor_sees_every_frame_and_where_it_comes_from(script: ScriptedServer) -> None:
    class Processor(rtc.FrameProcessor[rtc.AudioFrame]):
        enabled = True  # type: ignore[assignment]
        told: dict[str, Any] = {}  # noqa: RUF012
        closed = False

        def _on_stream_info_updated(self, **info: Any) -> None:
            self.told.update(info)

        def _on_credentials_updated(self, *, token: str, url: str) -> None:
            self.told.update(token=token)

        def _process(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
            if frame.data.cast("B")[0] == 1:
                raise ValueError("cannot")
            if frame.data.cast("B")[0] == 2:
                raise asyncio.CancelledError
            return rtc.AudioFrame(b"\x09" * len(frame.data.cast("B")), 48_000, 1, frame.samples_per_channel)

        def _close(self) -> None:
            self.closed = True

    room, _, track = await heard(script)
    processor = Processor()
    stream = rtc.AudioStream(track, noise_cancellation=processor)
    assert processor.told == {
        "room_name": "demo",
        "participant_identity": "bob",
        "publication_sid": "TR_mic",
        "token": "token",
    }
    PaperSink.made[0].give(1, 2, 3)
    assert [(await anext(stream)).frame.data.cast("B")[0] for _ in range(3)] == [1, 2, 9]
    await stream.aclose()
    assert processor.closed
    with pytest.raises(NotImplementedError, match="krisp"):
        rtc.AudioStream(track, noise_cancellation=rtc.NoiseCancellationOptions("krisp", {}))
    await room.disconnect()


class Told(rtc.FrameProcessor[rtc.AudioFrame]):
    enabled = True  # type: ignore[assignment]

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def _on_stream_info_updated(
        self, *, room_name: str, participant_identity: str, publication_sid: str
    ) -> None:
        self.calls.append(("info", room_name, participant_identity, publication_sid))

    def _on_stream_info_cleared(self) -> None:
        self.calls.append(("no info",))

    def _on_credentials_updated(self, *, token: str, url: str) -> None:
        self.calls.append(("credentials", token))

    def _on_credentials_cleared(self) -> None:
        self.calls.append(("no credentials",))

    def _process(self, frame: rtc.AudioFrame) -> rtc.AudioFrame:
        return frame

    def _close(self) -> None:
        self.calls.append(("closed",))


class Faulty(Told):
    def _on_stream_info_cleared(self) -> None:
        raise asyncio.CancelledError

    def _on_credentials_updated(self, *, token: str, url: str) -> None:
        if token != "token":
            raise ValueError


async def test_processors_that_raise_harm_neither_the_room_nor_others(script: ScriptedServer) -> None:
    room, peer, track = await heard(script)
    processors = [Faulty(), Told(), Faulty()]
    streams = [rtc.AudioStream(track, noise_cancellation=one) for one in processors]
    refreshed, unsubscribed = asyncio.Event(), asyncio.Event()
    room.on("token_refreshed", refreshed.set)
    room.on("track_unsubscribed", lambda: unsubscribed.set())
    await script.seat.send(refresh_token="newer")
    await asyncio.wait_for(refreshed.wait(), 5)
    peer.emit(TrackEnded("publisher", "3"))
    room.remote_participants["bob"].track_publications["TR_mic"].set_subscribed(False)
    await asyncio.wait_for(unsubscribed.wait(), 5)
    assert processors[1].calls[-3:] == [("credentials", "newer"), ("no info",), ("no credentials",)]
    for stream in streams:
        await stream.aclose()
    await room.disconnect()


async def test_processors_follow_their_track_through_the_room(script: ScriptedServer) -> None:
    room, peer, track = await heard(script)
    first, second, closed = Told(), Told(), Told()
    stream = rtc.AudioStream(track, noise_cancellation=first)
    kept = rtc.AudioStream.from_track(track=track, noise_cancellation=second)
    gone = rtc.AudioStream(track, noise_cancellation=closed, auto_close_noise_cancellation=False)
    await gone.aclose()
    here = [("info", "demo", "bob", "TR_mic"), ("credentials", "token")]
    assert first.calls == second.calls == closed.calls == here
    refreshed = asyncio.Event()
    room.on("token_refreshed", refreshed.set)
    await script.seat.send(refresh_token="newer")
    await asyncio.wait_for(refreshed.wait(), 5)
    here.append(("credentials", "newer"))
    peer.emit(TrackEnded("publisher", "3"))
    room.remote_participants["bob"].track_publications["TR_mic"].set_subscribed(False)
    await room.disconnect()
    left = [*here, ("no info",), ("no credentials",)]
    assert (first.calls, second.calls) == (left, left)
    await stream.aclose()
    await kept.aclose()
    assert first.calls == [*left, ("closed",)]
    assert second.calls == left  # Of `from_track`: whose it is closes it.
    assert closed.calls == here[:2]
