"""A call between two PyPI `livekit` clients: `tone_call.py URL SPEAKER_TOKEN LISTENER_TOKEN single|dual`.

Prints what the listener got, as JSON: the loudest frequency in Hz, and the bytes of a data packet.
"""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
from livekit import rtc

RATE, FRAME = 48_000, 480
TONE = 440


async def speak(room: rtc.Room) -> None:
    source = rtc.AudioSource(RATE, 1)
    track = rtc.LocalAudioTrack.create_audio_track("tone", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    await room.local_participant.publish_track(track, options)
    position = 0
    while True:
        phase = 2 * np.pi * TONE * (np.arange(FRAME) + position) / RATE
        samples = (np.sin(phase) * 10_000).astype(np.int16)
        await source.capture_frame(rtc.AudioFrame(samples.tobytes(), RATE, 1, FRAME))
        position += FRAME


async def listen(track: rtc.Track) -> float:
    """The loudest frequency of the first second that is not silent."""
    heard = np.zeros(0, np.int16)
    stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
    async for event in stream:
        samples = np.frombuffer(event.frame.data, np.int16)
        if heard.size or np.abs(samples).max() > 1_000:
            heard = np.concatenate([heard, samples])
        if heard.size >= RATE:
            break
    await stream.aclose()
    spectrum = np.abs(np.fft.rfft(heard[:RATE] * np.hanning(RATE)))
    return float(spectrum.argmax())


async def main(url: str, speaker_token: str, listener_token: str, mode: str) -> None:
    options = rtc.RoomOptions(single_peer_connection=mode == "single")
    speaker, listener = rtc.Room(), rtc.Room()
    tracks: asyncio.Queue[rtc.Track] = asyncio.Queue()
    packets: asyncio.Queue[rtc.DataPacket] = asyncio.Queue()
    listener.on("track_subscribed", lambda track, *_: tracks.put_nowait(track))
    listener.on("data_received", packets.put_nowait)
    await listener.connect(url, listener_token, options)
    await speaker.connect(url, speaker_token, options)
    speaking = asyncio.create_task(speak(speaker))
    await speaker.local_participant.publish_data(b"hello", topic="greeting")
    packet = await packets.get()
    frequency = await listen(await tracks.get())
    speaking.cancel()
    print(json.dumps({"hz": frequency, "data": packet.data.decode(), "topic": packet.topic}), flush=True)
    await speaker.disconnect()
    await listener.disconnect()


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(*sys.argv[1:5]), 40))
