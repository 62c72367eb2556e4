"""Sound and pictures that are published together, as they arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

import roomful
from roomful import rtc

RATE, FPS = 48_000, 25
WIDTH, HEIGHT = 320, 180
#: A flash and a beep each second, so many of them; the first one finds jitter buffers unsettled.
SECONDS = 6
#: Seconds between them: packets of sound take 20 ms, and wait as long again for those that come late.
NEAR = 0.08


def picture(bright: bool) -> rtc.VideoFrame:
    luma = bytes([230 if bright else 30]) * (WIDTH * HEIGHT)
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, luma + bytes([128]) * (len(luma) // 2))


def sound(loud: bool) -> rtc.AudioFrame:
    """Of the length of a picture."""
    samples = RATE // FPS
    wave = (12_000 if loud else 300) * np.sin(2 * np.pi * 1_000 * np.arange(samples) / RATE)
    return rtc.AudioFrame(wave.astype(np.int16).tobytes(), RATE, 1, samples)


async def play(room: rtc.Room) -> None:
    audio, video = rtc.AudioSource(RATE, 1, queue_size_ms=50), rtc.VideoSource(WIDTH, HEIGHT)
    for track in (
        rtc.LocalAudioTrack.create_audio_track("voice", audio),
        rtc.LocalVideoTrack.create_video_track("face", video),
    ):
        await room.local_participant.publish_track(track)
    synchronizer = rtc.AVSynchronizer(audio_source=audio, video_source=video, video_fps=FPS)
    for number in range((SECONDS + 60) * FPS):
        event = number % FPS < 3
        await synchronizer.push(picture(event))
        await synchronizer.push(sound(event))


async def flashes(stream: rtc.VideoStream) -> AsyncIterator[float]:
    """When the first bright picture of each came."""
    bright = True
    async for event in stream:
        was, bright = bright, bool(np.asarray(event.frame.get_plane(0)).mean() > 130)
        if bright and not was:
            yield time.monotonic()


async def beeps(stream: rtc.AudioStream) -> AsyncIterator[float]:
    """When the first loud sample of each is heard, by whoever plays frames as they come."""
    loud = True
    async for event in stream:
        above = np.flatnonzero(np.abs(np.frombuffer(event.frame.data, np.int16).astype(int)) > 4_000)
        was, loud = loud, bool(above.size)
        if loud and not was:
            yield time.monotonic() + int(above[0]) / RATE


async def some(of: AsyncIterator[float]) -> list[float]:
    return [await anext(of) for _ in range(SECONDS)]


@pytest.mark.asyncio
async def test_a_flash_and_a_beep_arrive_together() -> None:
    async with asyncio.timeout(60), roomful.Server() as server:
        ada, ben = rtc.Room(), rtc.Room()
        streams: asyncio.Queue[rtc.AudioStream | rtc.VideoStream] = asyncio.Queue()

        def take(track: rtc.RemoteTrack, *_: object) -> None:
            video = isinstance(track, rtc.RemoteVideoTrack)
            streams.put_nowait(rtc.VideoStream(track) if video else rtc.AudioStream(track))

        ben.on("track_subscribed", take)
        for room, identity in ((ben, "ben"), (ada, "ada")):
            await room.connect(server.url, server.token(identity=identity, room="stage"))
        playing = asyncio.create_task(play(ada))
        came = [await streams.get(), await streams.get()]
        film, voice = sorted(came, key=lambda one: isinstance(one, rtc.AudioStream))
        assert isinstance(film, rtc.VideoStream)
        assert isinstance(voice, rtc.AudioStream)
        seen, heard = await asyncio.gather(some(flashes(film)), some(beeps(voice)))
        playing.cancel()
        await ada.disconnect()
        await ben.disconnect()
    apart = sorted(min(abs(beep - flash) for beep in heard) for flash in seen)
    # A machine that is busy holds some of them up.
    assert apart[1] < NEAR, apart
