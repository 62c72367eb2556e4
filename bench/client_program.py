"""One end of a room by one SDK, for `client.py`: `client_program.py SDK ROLE URL TOKEN [--tracks N]`.

It prints a line of JSON where a step is done, and waits for a newline before it leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import math
import sys
import time
from array import array
from typing import Any

RATE = 48_000
FRAME = RATE // 10  # samples: 100 ms
WIDTH, HEIGHT, FRAMES_PER_SECOND = 1280, 720, 30


def say(event: str, **figures: float) -> None:
    print(json.dumps({"event": event, **figures}), flush=True)


async def told_to_go_on() -> None:
    await asyncio.to_thread(sys.stdin.readline)


async def speak(rtc: Any, room: Any, tracks: int) -> None:
    """Publishes tones, by the clock of each source's queue."""
    tone = array("h", (int(8_000 * math.sin(2 * math.pi * 440 * n / RATE)) for n in range(FRAME)))
    frame = rtc.AudioFrame(tone.tobytes(), RATE, 1, FRAME)

    async def play(source: Any) -> None:
        while True:
            await source.capture_frame(frame)

    async with asyncio.TaskGroup() as group:
        players = []
        for number in range(tracks):
            source = rtc.AudioSource(RATE, 1, 200)
            track = rtc.LocalAudioTrack.create_audio_track(f"tone {number}", source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            await room.local_participant.publish_track(track, options)
            players.append(group.create_task(play(source)))
        say("ready")
        await told_to_go_on()
        for player in players:
            player.cancel()


def pictures(rtc: Any) -> list[Any]:
    """A second of a scene that moves, with some grain: what an encoder finds in a camera's picture."""
    import numpy as np

    random = np.random.default_rng(1)
    slope = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint8)
    grain = random.integers(0, 8, (HEIGHT, WIDTH), dtype=np.uint8)
    chroma = np.full(WIDTH * HEIGHT // 2, 128, np.uint8)
    frames = []
    for number in range(FRAMES_PER_SECOND):
        luma = np.roll(slope // 2 + 40, 4 * number, axis=1) + np.roll(grain, 37 * number)
        data = np.concatenate([luma.ravel(), chroma]).tobytes()
        frames.append(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, data))
    return frames


async def film(rtc: Any, room: Any, tracks: int) -> None:
    frames = pictures(rtc)
    source = rtc.VideoSource(WIDTH, HEIGHT)
    track = rtc.LocalVideoTrack.create_video_track("film", source)
    options = rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_CAMERA,
        simulcast=False,
        video_codec=rtc.VideoCodec.VP8,
        video_encoding=rtc.VideoEncoding(max_framerate=FRAMES_PER_SECOND, max_bitrate=2_000_000),
    )
    await room.local_participant.publish_track(track, options)

    async def roll() -> None:
        loop = asyncio.get_running_loop()
        start, count = loop.time(), 0
        while True:
            source.capture_frame(frames[count % len(frames)])
            count += 1
            await asyncio.sleep(start + count / FRAMES_PER_SECOND - loop.time())

    rolling = asyncio.create_task(roll())
    say("ready")
    await told_to_go_on()
    rolling.cancel()


async def follow(rtc: Any, room: Any, tracks: int) -> None:
    """Reads every frame of so many tracks; ready when each has given one."""
    readers: list[asyncio.Task[None]] = []
    heard: set[str] = set()
    counted = {"frames": 0}
    all_heard = asyncio.Event()

    async def read(track: Any) -> None:
        audio = track.kind == rtc.TrackKind.KIND_AUDIO
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1) if audio else rtc.VideoStream(track)
        async for _ in stream:
            counted["frames"] += 1
            heard.add(track.sid)
            if len(heard) == tracks:
                all_heard.set()

    def on_track(track: Any, *_: Any) -> None:
        readers.append(asyncio.create_task(read(track)))

    room.on("track_subscribed", on_track)
    say("listening")
    await all_heard.wait()
    say("ready")
    await told_to_go_on()
    before, start = counted["frames"], time.monotonic()
    await told_to_go_on()
    say("measured", frames_per_s=(counted["frames"] - before) / (time.monotonic() - start))
    await told_to_go_on()
    for reader in readers:
        reader.cancel()


async def join(rtc: Any, url: str, token: str, count: int) -> None:
    """Connects again and again, each time until the first frame of the room's audio."""
    for _ in range(count):
        room, start = rtc.Room(), time.monotonic()
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def read(track: Any, first: asyncio.Future[None] = first) -> None:
            stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
            async for _ in stream:
                break
            if not first.done():
                first.set_result(None)
            await stream.aclose()

        readers: list[asyncio.Task[None]] = []

        def on_track(track: Any, *_: Any, readers: list[Any] = readers, read: Any = read) -> None:
            readers.append(asyncio.create_task(read(track)))

        room.on("track_subscribed", on_track)
        await room.connect(url, token)
        connected = time.monotonic() - start
        await first
        say("joined", connect_ms=1e3 * connected, first_frame_ms=1e3 * (time.monotonic() - start))
        await asyncio.gather(*readers)
        await room.disconnect()
    say("done")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sdk", choices=["roomful.rtc", "livekit.rtc"])
    parser.add_argument("role", choices=["speak", "film", "follow", "join"])
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--count", type=int, default=1, help="tracks, or joins")
    options = parser.parse_args()
    rtc = importlib.import_module(options.sdk)
    if options.role == "join":
        return await join(rtc, options.url, options.token, options.count)
    room = rtc.Room()
    role = {"speak": speak, "film": film, "follow": follow}[options.role]
    if options.role == "follow":  # The handler first, then the room.
        following = asyncio.create_task(role(rtc, room, options.count))
        await asyncio.sleep(0)
        await room.connect(options.url, options.token)
        await following
    else:
        await room.connect(options.url, options.token)
        await role(rtc, room, options.count)
    await room.disconnect()


asyncio.run(main())
