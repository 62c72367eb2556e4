"""Pictures between two rooms: encoded, sent and decoded."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

import roomful
from roomful import rtc
from roomful.rtc import _video_receiver
from roomful.rtc._video_codecs import CLOCK, Encoder
from roomful.rtc.track import TrackInfo

pytestmark = pytest.mark.asyncio

WIDTH, HEIGHT = 320, 180
CODECS = [rtc.VideoCodec.VP8, rtc.VideoCodec.H264, rtc.VideoCodec.VP9, rtc.VideoCodec.AV1]
PATIENCE = 30.0


def grey(brightness: int, width: int = WIDTH, height: int = HEIGHT) -> rtc.VideoFrame:
    luma = bytes([brightness]) * (width * height)
    return rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, luma + bytes([128]) * (len(luma) // 2))


@pytest_asyncio.fixture
async def server() -> AsyncIterator[roomful.Server]:
    async with roomful.Server() as server:
        yield server


@asynccontextmanager
async def entered(server: roomful.Server, identity: str) -> AsyncIterator[rtc.Room]:
    room = rtc.Room()
    await room.connect(server.url, server.token(identity=identity, room="cinema"))
    try:
        yield room
    finally:
        await room.disconnect()


class Projector:
    """Captures a picture thirty times a second; `brightness` may change."""

    def __init__(self, width: int = WIDTH, height: int = HEIGHT, **options: Any) -> None:
        self.source = rtc.VideoSource(width, height, **options)
        self.track = rtc.LocalVideoTrack.create_video_track("film", self.source)
        self.brightness = 60

    async def run(self, metadata: Any = None) -> None:
        while True:
            picture = grey(self.brightness, self.source.width, self.source.height)
            canvas = bytearray(picture.data)
            picture = rtc.VideoFrame(picture.width, picture.height, picture.type, canvas)
            self.source.capture_frame(picture, metadata=metadata and metadata(self.brightness))
            canvas[:] = bytes(len(canvas))  # The next one may be drawn at once.
            await asyncio.sleep(1 / 30)


async def first_track(room: rtc.Room) -> rtc.RemoteVideoTrack:
    subscribed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def note(track: Any, *_: Any) -> None:
        if not subscribed.done():
            subscribed.set_result(track)

    room.on("track_subscribed", note)
    for participant in room.remote_participants.values():
        for publication in participant.track_publications.values():
            if publication.track is not None:
                note(publication.track)
    track: rtc.RemoteVideoTrack = await subscribed
    return track


async def until(stream: rtc.VideoStream, brightness: int) -> rtc.VideoFrameEvent:
    """The first picture that is about as bright."""
    async for event in stream:
        if abs(int(np.asarray(event.frame.get_plane(0)).mean()) - brightness) < 6:
            return event
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("codec", CODECS, ids=rtc.VideoCodec.Name)
async def test_pictures_arrive_as_they_were_captured(server: roomful.Server, codec: Any) -> None:
    projector = Projector()
    async with asyncio.timeout(PATIENCE), entered(server, "ada") as ada, entered(server, "ben") as ben:
        running = asyncio.create_task(
            projector.run(
                lambda it: rtc.FrameMetadata(user_timestamp=1 << 40, frame_id=it, user_data=b"left out")
            )
        )
        features = [rtc.FrameMetadataFeature.FMF_USER_TIMESTAMP, rtc.FrameMetadataFeature.FMF_FRAME_ID]
        options = rtc.TrackPublishOptions(
            video_codec=codec, source=rtc.TrackSource.SOURCE_CAMERA, frame_metadata_features=features
        )
        publication = await ada.local_participant.publish_track(projector.track, options)
        stream = rtc.VideoStream(await first_track(ben))
        event = await until(stream, 60)
        assert (event.frame.width, event.frame.height) == (WIDTH, HEIGHT)
        assert event.frame.type == rtc.VideoBufferType.I420
        assert event.metadata == rtc.FrameMetadata(user_timestamp=1 << 40, frame_id=60)
        (seen,) = ben.remote_participants["ada"].track_publications.values()
        assert seen.frame_metadata_features == publication.frame_metadata_features == features
        projector.brightness = 180
        event = await until(stream, 180)
        assert event.metadata
        assert event.metadata.frame_id == 180
        await ada.local_participant.unpublish_track(publication.sid)
        async for _ in stream:
            pass
        running.cancel()


@pytest.mark.parametrize("codec", CODECS, ids=rtc.VideoCodec.Name)
async def test_small_pictures_arrive_in_their_shape(server: roomful.Server, codec: Any) -> None:
    projector = Projector(48, 20)
    async with asyncio.timeout(PATIENCE), entered(server, "ada") as ada, entered(server, "ben") as ben:
        running = asyncio.create_task(projector.run())
        options = rtc.TrackPublishOptions(video_codec=codec)
        await ada.local_participant.publish_track(projector.track, options)
        picture = (await until(rtc.VideoStream(await first_track(ben)), 60)).frame
        size = (154, 64) if codec == rtc.VideoCodec.AV1 else (48, 20)
        assert (picture.width, picture.height) == size
        running.cancel()


async def test_several_streams_of_one_track_each_get_their_form_and_the_newest(
    server: roomful.Server,
) -> None:
    projector = Projector()
    async with asyncio.timeout(PATIENCE), entered(server, "ada") as ada, entered(server, "ben") as ben:
        running = asyncio.create_task(projector.run())
        await ada.local_participant.publish_track(projector.track, rtc.TrackPublishOptions())
        track = await first_track(ben)
        lazy = rtc.VideoStream.from_track(track=track, capacity=2)
        stream = rtc.VideoStream.from_track(track=track, format=rtc.VideoBufferType.RGBA)
        followed = rtc.VideoStream.from_participant(
            participant=ben.remote_participants["ada"], track_source=rtc.TrackSource.SOURCE_UNKNOWN
        )
        first = await anext(stream)
        assert first.frame.type == rtc.VideoBufferType.RGBA
        await anext(followed)
        projector.brightness = 200
        async for event in stream:
            if event.frame.data[0] > 180:
                break
        for _ in range(10):
            await anext(stream)
        # Two at most waited for it: they are of the new brightness.
        assert int(np.asarray((await anext(lazy)).frame.get_plane(0)).mean()) > 150
        for one in (lazy, stream, followed):
            await one.aclose()
            await one.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(one)
        running.cancel()


async def test_nothing_is_decoded_for_nobody_and_no_thread_stays(server: roomful.Server) -> None:
    def threads(name: str = "roomful video") -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one.name.startswith(name)]

    async def gone(name: str) -> None:
        for thread in threads(name):
            await asyncio.to_thread(thread.join)

    projector = Projector()
    async with asyncio.timeout(PATIENCE):
        async with entered(server, "ada") as ada, entered(server, "ben") as ben:
            running = asyncio.create_task(projector.run())
            await ada.local_participant.publish_track(projector.track, rtc.TrackPublishOptions())
            track = await first_track(ben)
            assert [one.name for one in threads()] == ["roomful video sender"]
            stream = rtc.VideoStream(track)
            await anext(stream)
            del stream
            gc.collect()
            await gone("roomful video receiver")
            # And again.
            await anext(rtc.VideoStream(track))
        running.cancel()
        await gone("roomful video receiver")
        await gone("roomful video sender")


async def test_large_pictures_are_sent_in_three_sizes(server: roomful.Server) -> None:
    projector = Projector(1280, 720)
    async with asyncio.timeout(PATIENCE), entered(server, "ada") as ada, entered(server, "ben") as ben:
        running = asyncio.create_task(projector.run())
        await ada.local_participant.publish_track(
            projector.track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
        )
        track = await first_track(ben)
        stream = rtc.VideoStream(track)
        publication = ben.remote_participants["ada"].track_publications[track.sid]
        for quality, width in [
            (rtc.VideoQuality.VIDEO_QUALITY_LOW, 320),
            (rtc.VideoQuality.VIDEO_QUALITY_HIGH, 1280),
            (rtc.VideoQuality.VIDEO_QUALITY_MEDIUM, 640),
        ]:
            publication.set_video_quality(quality)
            async for event in stream:
                if event.frame.width == width:
                    break
        running.cancel()


async def test_others_see_black_until_there_is_a_picture_at_whatever_time(server: roomful.Server) -> None:
    source = rtc.VideoSource(WIDTH, HEIGHT)
    track = rtc.LocalVideoTrack.create_video_track("film", source)
    async with asyncio.timeout(PATIENCE), entered(server, "ada") as ada, entered(server, "ben") as ben:
        await ada.local_participant.publish_track(track)
        stream = rtc.VideoStream(await first_track(ben))
        black = await until(stream, 0)
        assert set(black.frame.get_plane(1) or b"") == {128}
        running = asyncio.create_task(show(source))
        assert (await until(stream, 100)).timestamp_us > black.timestamp_us
        running.cancel()


async def test_a_single_picture_is_seen_however_soon_after_black(server: roomful.Server) -> None:
    source = rtc.VideoSource(WIDTH, HEIGHT)
    track = rtc.LocalVideoTrack.create_video_track("slide", source)
    async with asyncio.timeout(10), entered(server, "ada") as ada, entered(server, "ben") as ben:
        await ada.local_participant.publish_track(track)
        stream = rtc.VideoStream(await first_track(ben))
        await until(stream, 0)
        source.capture_frame(grey(100))
        await until(stream, 100)


async def show(source: rtc.VideoSource, brightness: int = 100, begin: int = 33_000) -> None:
    """By a clock that shows `begin`, in microseconds."""
    for index in itertools.count():
        source.capture_frame(grey(brightness), timestamp_us=begin + index * 33_000)
        await asyncio.sleep(0.033)


async def test_pictures_go_on_with_times_that_rise_when_their_clock_is_another(
    server: roomful.Server,
) -> None:
    source = rtc.VideoSource(WIDTH, HEIGHT)
    track = rtc.LocalVideoTrack.create_video_track("film", source)
    async with asyncio.timeout(PATIENCE), entered(server, "ada") as ada, entered(server, "ben") as ben:
        await ada.local_participant.publish_track(track)
        stream = rtc.VideoStream(await first_track(ben))
        shown = []
        clip, again, wall = 60_000_000, 1, 1_700_000_000_000_000
        for brightness, begin in ((60, clip), (100, again), (140, wall), (180, wall - 100_000), (220, again)):
            running = asyncio.create_task(show(source, brightness, begin))
            shown.append((await until(stream, brightness)).timestamp_us)
            running.cancel()
        assert shown == sorted(set(shown))
        assert shown[-1] - shown[0] < PATIENCE * 1_000_000


async def test_what_cannot_be_sent_is_refused_by_name() -> None:
    source = rtc.VideoSource(64, 64)
    with pytest.raises(ValueError, match="user_data of 233 bytes"):
        source.capture_frame(grey(1, 64, 64), metadata=rtc.FrameMetadata(user_data=bytes(233)))
    with pytest.raises(ValueError, match="positive"):
        rtc.VideoSource(0, 64)
    source.capture_frame(grey(1, 64, 64))
    await source.aclose()
    source.capture_frame(grey(1, 64, 64))


@pytest.mark.parametrize("place", ["over the network", "in the process"])
async def test_a_picture_is_seen_turned(place: str) -> None:
    width, height, quarter = 320, 160, 80
    corner = np.full((height, width), 60, np.uint8)
    corner[:quarter, :quarter] = 200  # At the top left.
    chroma = bytes([128]) * (width * height // 2)
    picture = rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, corner.tobytes() + chroma)
    source = rtc.VideoSource(width, height)
    track = rtc.LocalVideoTrack.create_video_track("film", source)
    ada, ben = rtc.Room(), rtc.Room()

    async def show_turned(rotation: Any) -> None:
        while True:
            source.capture_frame(picture, rotation=rotation)
            await asyncio.sleep(0.033)

    async with asyncio.timeout(PATIENCE), roomful.Server() as server:
        way: Any = server if place == "in the process" else server.url
        for room, identity in ((ada, "ada"), (ben, "ben")):
            await room.connect(way, server.token(identity=identity, room="cinema"))
        await ada.local_participant.publish_track(track)
        stream = rtc.VideoStream(await first_track(ben))
        # Where the corner is when the picture was turned clockwise.
        turns = {"0": (0, 0), "90": (0, -1), "180": (-1, -1), "270": (-1, 0)}
        for turn, place_then in turns.items():
            running = asyncio.create_task(show_turned(rtc.VideoRotation.Value(f"VIDEO_ROTATION_{turn}")))
            async for event in stream:
                size = event.frame.height, event.frame.width
                plane = np.frombuffer(event.frame.get_plane(0) or b"", np.uint8).reshape(size)
                lit = [at for at in turns.values() if abs(int(plane[at]) - 200) < 20]
                if lit == [place_then]:
                    break
            assert size == ((height, width) if turn in ("0", "180") else (width, height))
            assert event.rotation == rtc.VideoRotation.VIDEO_ROTATION_0
            running.cancel()
        await ada.disconnect()
        await ben.disconnect()


async def test_a_picture_says_how_it_is_to_be_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = Encoder("vp8", 64, 64, bitrate=100_000, frames=30).encode(grey(1, 64, 64), 0, key=True)
    assert encoded

    class Sink:
        """In the place of a FrameSink: the same picture from each side."""

        def __init__(self, wake: Callable[[], object], capacity: int) -> None:
            self.frames = [(encoded.data, turn * CLOCK, True, "vp8", turn * 90) for turn in range(4)]
            wake()

        def take(self) -> list[tuple[bytes, int, bool, str, int]]:
            taken, self.frames = self.frames, []
            return taken

        def decoded(self, *_: object) -> None: ...
        def close(self) -> None: ...

    class Reception:
        def attach(self, sink: object) -> None: ...
        def detach(self, sink: object) -> None: ...

    monkeypatch.setattr(_video_receiver, "FrameSink", Sink)
    info = TrackInfo("TR_1", "camera", rtc.TrackKind.KIND_VIDEO, muted=False)
    track = rtc.RemoteVideoTrack(info, Reception())  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE), rtc.VideoStream(track) as stream:
        turns = [rtc.VideoRotation.Name((await anext(stream)).rotation) for _ in range(4)]
    assert turns == [f"VIDEO_ROTATION_{degrees}" for degrees in (0, 90, 180, 270)]
