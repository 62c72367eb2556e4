"""A flash and a beep each second, published in step, and how they arrive: `scene.py play|watch URL TOKEN`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from statistics import median

import numpy as np

from roomful import rtc

RATE, FPS = 48_000, 25
WIDTH, HEIGHT = 320, 180
#: Of a second, that a flash and a beep take: several pictures, of which some may be left out.
BRIGHT = 0.2
#: The first ones find jitter buffers unsettled.
UNSETTLED, SECONDS = 4, 7


def picture(bright: bool) -> rtc.VideoFrame:
    luma = bytes([230 if bright else 30]) * (WIDTH * HEIGHT)
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, luma + bytes([128]) * (len(luma) // 2))


def sound(loud: bool) -> rtc.AudioFrame:
    """Of the length of a picture."""
    samples = RATE // FPS
    wave = (12_000 if loud else 300) * np.sin(2 * np.pi * 1_000 * np.arange(samples) / RATE)
    return rtc.AudioFrame(wave.astype(np.int16).tobytes(), RATE, 1, samples)


async def play(room: rtc.Room) -> None:
    """Until it is cancelled."""
    audio, video = rtc.AudioSource(RATE, 1, queue_size_ms=50), rtc.VideoSource(WIDTH, HEIGHT)
    for track in (
        rtc.LocalAudioTrack.create_audio_track("voice", audio),
        rtc.LocalVideoTrack.create_video_track("face", video),
    ):
        # All pictures are sent, whatever their size.
        options = rtc.TrackPublishOptions(
            simulcast=False, video_encoding=rtc.VideoEncoding(max_bitrate=300_000, max_framerate=FPS)
        )
        await room.local_participant.publish_track(track, options)
    synchronizer = rtc.AVSynchronizer(audio_source=audio, video_source=video, video_fps=FPS)
    number = 0
    while True:
        event = number % FPS < BRIGHT * FPS
        await synchronizer.push(picture(event))
        await synchronizer.push(sound(event))
        number += 1


async def flashes(stream: rtc.VideoStream) -> AsyncIterator[float]:
    """When the first bright picture of each came."""
    bright = True
    async for event in stream:
        was, bright = bright, bool(np.asarray(event.frame.get_plane(0)).mean() > 130)
        if bright and not was:
            yield time.monotonic()


async def beeps(stream: rtc.AudioStream) -> AsyncIterator[float]:
    """When the first loud sample of each is heard, by whoever plays frames as they come."""
    last = 0.0
    async for event in stream:
        above = np.flatnonzero(np.abs(np.frombuffer(event.frame.data, np.int16).astype(int)) > 4_000)
        if above.size:
            at = time.monotonic() + int(above[0]) / RATE
            # The first block may begin within one.
            if last and at - last > BRIGHT:
                yield at
            last = at


class Watcher:
    """Made before the room is connected."""

    def __init__(self, room: rtc.Room) -> None:
        self._films: asyncio.Queue[rtc.VideoStream] = asyncio.Queue()
        self._voices: asyncio.Queue[rtc.AudioStream] = asyncio.Queue()
        room.on("track_subscribed", self._take)

    def _take(self, track: rtc.RemoteTrack, *_: object) -> None:
        if isinstance(track, rtc.RemoteVideoTrack):
            self._films.put_nowait(rtc.VideoStream(track))
        else:
            self._voices.put_nowait(rtc.AudioStream(track))

    async def apart(self) -> list[float]:
        """Seconds from each flash to the beep that is nearest."""
        film, voice = await self._films.get(), await self._voices.get()

        async def some(of: AsyncIterator[float]) -> list[float]:
            return [await anext(of) for _ in range(UNSETTLED + SECONDS)]

        seen, heard = await asyncio.gather(some(flashes(film)), some(beeps(voice)))
        await film.aclose()
        await voice.aclose()
        return [min((beep - flash for beep in heard), key=abs) for flash in seen[UNSETTLED:]]


def typical(apart: list[float]) -> float:
    """A machine that is busy holds some of them up."""
    return median(apart)


async def main(act: str, url: str, token: str) -> None:
    room = rtc.Room()
    watcher = Watcher(room)
    await room.connect(url, token)
    if act == "play":
        await play(room)
    print(json.dumps(await watcher.apart()), flush=True)
    await room.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
