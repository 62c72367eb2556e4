"""A program that draws pictures in its event loop and never rests: `restless.py URL TOKEN SIMULCAST`.

Between pictures it holds the interpreter's lock in one call. It prints how many it captured.
"""

from __future__ import annotations

import asyncio
import sys
import time

from roomful import rtc

WIDTH, HEIGHT = 1280, 720
#: Of the drawing of one: more than there is between two pictures.
SECONDS, COUNT = 0.038, 100


def draw(effort: int, canvas: bytearray, number: int) -> None:
    canvas[:] = bytes([number % 200]) * len(canvas)
    sum(range(effort))


async def main(url: str, token: str, simulcast: bool) -> None:
    began = time.perf_counter()
    sum(range(3_000_000))
    effort = int(3_000_000 * SECONDS / (time.perf_counter() - began))
    room = rtc.Room()
    await room.connect(url, token)
    source = rtc.VideoSource(WIDTH, HEIGHT)
    track = rtc.LocalVideoTrack.create_video_track("film", source)
    options = rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_CAMERA,
        simulcast=simulcast,
        video_encoding=rtc.VideoEncoding(max_framerate=30, max_bitrate=3_000_000),
    )
    await room.local_participant.publish_track(track, options)
    print("published", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    canvas = bytearray(WIDTH * HEIGHT * 4)
    for number in range(COUNT):
        draw(effort, canvas, number)
        source.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, canvas))
        await asyncio.sleep(0)
    print(COUNT, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await room.disconnect()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3] == "True"))
