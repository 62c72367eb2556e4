"""More tracks than a server takes into one negotiation."""

from __future__ import annotations

import asyncio

import pytest

import roomful
from roomful import rtc

pytestmark = pytest.mark.asyncio

TRACKS = 50


async def test_fifty_tracks_published_at_once_are_all_heard() -> None:
    async with roomful.Server() as server, asyncio.timeout(60):
        speaker, listener = rtc.Room(), rtc.Room()
        heard: set[str] = set()
        all_heard = asyncio.Event()

        async def listen(track: rtc.RemoteTrack) -> None:
            async for event in rtc.AudioStream(track):
                if any(event.frame.data):
                    heard.add(track.name)
                    break
            if len(heard) == TRACKS:
                all_heard.set()

        listeners = []
        listener.on(
            "track_subscribed", lambda track, *_: listeners.append(asyncio.create_task(listen(track)))
        )
        for room, identity in ((speaker, "speaker"), (listener, "listener")):
            await room.connect(server.url, server.token(identity=identity, room="choir"))

        async def publish(number: int) -> asyncio.Task[None]:
            source = rtc.AudioSource(48_000, 1)
            track = rtc.LocalAudioTrack.create_audio_track(f"voice {number}", source)
            await speaker.local_participant.publish_track(track)
            return asyncio.create_task(speak(source))

        async def speak(source: rtc.AudioSource) -> None:
            square = (b"\0\x10" * 50 + b"\0\xf0" * 50) * 48
            while True:
                await source.capture_frame(rtc.AudioFrame(square, 48_000, 1, 4_800))

        speakers = await asyncio.gather(*map(publish, range(TRACKS)))
        await all_heard.wait()
        for task in speakers:
            task.cancel()
        await asyncio.gather(*listeners)
        await speaker.disconnect()
        await listener.disconnect()
