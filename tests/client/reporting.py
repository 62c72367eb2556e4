"""A program in which ada publishes and ben receives, once with each SDK, and what their statistics say.

It prints a line of JSON: by SDK, of ada's and ben's room twice and of each track once, the reports as flat
dictionaries of what is not zero.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from array import array
from typing import Any

from google.protobuf.json_format import MessageToDict
from livekit import rtc as livekit

import roomful
from roomful import rtc as roomful_rtc

SDKS: dict[str, Any] = {"livekit": livekit, "roomful": roomful_rtc}
PATIENCE = 60.0
RATE, SAMPLES = 48_000, 480
WIDTH, HEIGHT = 640, 360


def flat(report: Any) -> dict[str, Any]:
    kind = report.WhichOneof("stats")
    members: dict[str, Any] = {"kind": kind}
    for part in MessageToDict(getattr(report, kind), preserving_proto_field_name=True).values():
        for name, value in part.items():
            number = isinstance(value, str) and value.lstrip("-").isdecimal()
            value = int(value) if number else value
            if value:
                members["media" if name == "kind" else name] = value
    return members


class Call:
    def __init__(self, sdk: Any) -> None:
        self.sdk = sdk
        self.ada, self.ben = sdk.Room(), sdk.Room()
        self.tracks: dict[str, Any] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self, server: roomful.Server, room: str) -> dict[str, Any]:
        self.ben.on("track_subscribed", self.watch)
        for who, one in (("ben", self.ben), ("ada", self.ada)):
            await one.connect(server.url, server.token(identity=who, room=room))
        await self.publish()
        async with asyncio.timeout(PATIENCE):
            seen: dict[str, Any] = {"first": await self.reports()}
            await self.ada.local_participant.publish_data(b"x" * 100)
            await self.ben.local_participant.publish_data(b"x" * 100)
            await asyncio.sleep(1.5)
            seen["later"] = await self.reports()
            for name, track in self.tracks.items():
                seen[name] = [flat(one) for one in await track.get_stats()]
        for task in self.tasks:
            task.cancel()
        await self.ada.disconnect()
        await self.ben.disconnect()
        return seen

    async def publish(self) -> None:
        sdk, me = self.sdk, self.ada.local_participant
        sound, film = sdk.AudioSource(RATE, 1), sdk.VideoSource(WIDTH, HEIGHT)
        microphone = sdk.LocalAudioTrack.create_audio_track("microphone", sound)
        camera = sdk.LocalVideoTrack.create_video_track("camera", film)
        self.tracks |= {"microphone": microphone, "camera": camera}
        for track, source in (
            (microphone, sdk.TrackSource.SOURCE_MICROPHONE),
            (camera, sdk.TrackSource.SOURCE_CAMERA),
        ):
            await me.publish_track(track, sdk.TrackPublishOptions(source=source))
        self.start(self.talk(sound))
        self.start(self.film(film))

    async def reports(self) -> dict[str, Any]:
        """Once there are all kinds: of some there is nothing before a report of the other side."""
        wanted = {
            "ada": ("outbound_rtp", "remote_inbound_rtp"),
            "ben": ("inbound_rtp", "remote_outbound_rtp"),
        }
        while True:
            seen = {}
            for who, room in (("ada", self.ada), ("ben", self.ben)):
                found = await room.get_rtc_stats()
                seen[who] = [flat(one) for one in (*found.publisher_stats, *found.subscriber_stats)]
            media = {
                who: {(one["kind"], one.get("media")) for one in reports} for who, reports in seen.items()
            }
            decoded = any(one.get("frames_decoded", 0) > 20 for one in seen["ben"])
            kinds = {who: [(kind, it) for kind in wanted[who] for it in ("audio", "video")] for who in wanted}
            if decoded and all(media[who] >= set(kinds[who]) for who in wanted):
                return seen
            await asyncio.sleep(0.2)

    def watch(self, track: Any, *_: Any) -> None:
        video = track.kind == self.sdk.TrackKind.KIND_VIDEO
        self.tracks["pictures" if video else "sound"] = track
        stream = self.sdk.VideoStream(track) if video else self.sdk.AudioStream(track)

        async def take() -> None:
            async for _ in stream:
                pass

        self.start(take())

    def start(self, what: Any) -> None:
        task = asyncio.create_task(what)
        self.tasks.add(task)

    async def talk(self, source: Any) -> None:
        start = 0
        while True:
            wave = (8_000 * math.sin(2 * math.pi * 440 * (start + i) / RATE) for i in range(SAMPLES))
            await source.capture_frame(
                self.sdk.AudioFrame(array("h", map(int, wave)).tobytes(), RATE, 1, SAMPLES)
            )
            start += SAMPLES

    async def film(self, source: Any) -> None:
        number = 0
        while True:
            number += 1
            row = bytes((x + number * 3) % 200 + 20 for x in range(WIDTH))
            data = row * HEIGHT + bytes([128]) * (WIDTH * HEIGHT // 2)
            source.capture_frame(self.sdk.VideoFrame(WIDTH, HEIGHT, self.sdk.VideoBufferType.I420, data))
            await asyncio.sleep(1 / 20)


async def main() -> None:
    async with roomful.Server() as server:
        seen = await asyncio.gather(*(Call(sdk).run(server, name) for name, sdk in SDKS.items()))
        json.dump(dict(zip(SDKS, seen, strict=True)), sys.stdout)


asyncio.run(main())
