"""A program that publishes video that comes encoded, of each codec, to a room of ours and one of PyPI's.

It prints a line of JSON: by codec, whether ours got the very frames, whether PyPI's client saw the picture,
and whether a key frame was asked for when the latter came.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import numpy as np
from livekit import rtc as livekit

import roomful
from roomful import rtc
from roomful._core import FrameSink
from roomful.rtc._video_codecs import CLOCK, Encoder

CODECS = ("VP8", "H264", "VP9", "AV1")
WIDTH, HEIGHT, FRAMES = 320, 180, 20
BRIGHTNESS = 150
PATIENCE = 60.0


def plain(frame: bytes) -> bytes:
    """With start codes of H.264 in their short form: either may stand before a NAL unit."""
    return frame.replace(b"\0\0\0\1", b"\0\0\1")


class Screening:
    def __init__(self, codec: str) -> None:
        self.codec: Any = rtc.VideoCodec.Value(codec)
        self.source = rtc.EncodedVideoSource(WIDTH, HEIGHT)
        self.encoder = Encoder(codec.lower(), WIDTH, HEIGHT, bitrate=300_000, frames=FRAMES)
        self.sent: set[bytes] = set()
        self.asked = 0

    async def project(self) -> None:
        """As a camera does that has an encoder of its own."""
        luma = np.full(WIDTH * HEIGHT, BRIGHTNESS, np.uint8)
        while True:
            luma[: WIDTH * 10] = np.random.default_rng().integers(0, 255, WIDTH * 10)
            data = luma.tobytes() + bytes([128]) * (WIDTH * HEIGHT // 2)
            picture = rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, data)
            now = time.monotonic_ns() // 1_000
            key = self.source.take_feedback().keyframe_requested
            self.asked += key
            one = self.encoder.encode(picture, now * CLOCK // 1_000_000, key=key)
            if one is not None:
                self.sent.add(plain(one.data))
                kind = (
                    rtc.EncodedFrameType.ENCODED_FRAME_KEY
                    if one.key
                    else rtc.EncodedFrameType.ENCODED_FRAME_DELTA
                )
                self.source.capture_frame(
                    rtc.EncodedVideoFrame(one.data, WIDTH, HEIGHT, self.codec, kind, now)
                )
            await asyncio.sleep(1 / FRAMES)

    async def run(self, server: roomful.Server, room: str) -> dict[str, Any]:
        ada, ben, cem = rtc.Room(), rtc.Room(), livekit.Room()
        async with asyncio.timeout(PATIENCE):
            await ada.connect(server.url, server.token(identity="ada", room=room))
            track = rtc.LocalVideoTrack.create_video_track("film", self.source)
            options = rtc.TrackPublishOptions(
                video_codec=self.codec,
                video_encoder=rtc.VideoEncoderBackend.ENCODER_BACKEND_PRE_ENCODED,
                simulcast=False,
            )
            await ada.local_participant.publish_track(track, options)
            projecting = asyncio.create_task(self.project())
            unchanged = await self.compare(ben, server, room)
            before = self.asked
            seen = await self.watch(cem, server, room)
        projecting.cancel()
        for one in (ada, ben, cem):
            await one.disconnect()
        return {"unchanged": unchanged, "seen": seen, "key frame asked for": self.asked > before}

    async def compare(self, room: rtc.Room, server: roomful.Server, name: str) -> bool:
        """Whether ten frames in a row come as they went out."""
        track = await self.subscribed(room, server, name)
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        sink = FrameSink(lambda: loop.call_soon_threadsafe(arrived.set), 60)
        track._received.attach(sink)
        frames: list[bytes] = []
        while len(frames) < 10:
            await arrived.wait()
            arrived.clear()
            frames += [plain(data) for data, *_ in sink.take()]
        track._received.detach(sink)
        return self.sent.issuperset(frames)

    async def watch(self, room: Any, server: roomful.Server, name: str) -> str:
        stream = livekit.VideoStream(await self.subscribed(room, server, name))
        picture = (await anext(stream)).frame
        plane = np.asarray(picture.convert(livekit.VideoBufferType.I420).get_plane(0))
        mean = plane.reshape(picture.height, picture.width)[20:].mean()
        await stream.aclose()
        return "as it was" if abs(mean - BRIGHTNESS) < 5 else f"of brightness {mean}"

    async def subscribed(self, room: Any, server: roomful.Server, name: str) -> Any:
        subscribed = asyncio.get_running_loop().create_future()
        room.on("track_subscribed", lambda track, *_: subscribed.set_result(track))
        token = server.token(identity=type(room).__module__, room=name)
        await room.connect(server.url, token)
        return await subscribed


async def main() -> None:
    async with roomful.Server() as server:
        seen = await asyncio.gather(*(Screening(codec).run(server, codec) for codec in CODECS))
        json.dump(dict(zip(CODECS, seen, strict=True)), sys.stdout)


asyncio.run(main())
