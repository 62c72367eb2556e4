"""One end of a call whose sound is measured: `hearing_program.py SDK speak|hear URL TOKEN SECONDS`.

Speaking is a quiet tone that never stops, and a loud one each second. Both ends print a line of JSON when
they are done: when each loud tone was captured, or when it was heard, by the machine's one clock, in seconds;
the hearer also what its statistics say of the time that was measured.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from typing import Any

import numpy as np

RATE, BLOCK = 48_000, 480
#: Of a second, that the loud tone takes.
LOUD_S = 0.1
#: Heard is what reaches this.
THRESHOLD = 5_000
#: Before the measurement, for the jitter buffer to settle.
WARMUP_S = 8.0
COUNTED = (
    "concealed_samples",
    "total_samples_received",
    "jitter_buffer_delay",
    "jitter_buffer_emitted_count",
    "inserted_samples_for_deceleration",
    "removed_samples_for_acceleration",
)


async def speak(rtc: Any, room: Any, seconds: float) -> dict[str, Any]:
    source = rtc.AudioSource(RATE, 1, queue_size_ms=100)
    track = rtc.LocalAudioTrack.create_audio_track("voice", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    await room.local_participant.publish_track(track, options)
    phase = 2 * np.pi * np.arange(RATE) / RATE
    second = 600 * np.sin(300 * phase)
    second[: int(RATE * LOUD_S)] = 14_000 * np.sin(1_000 * phase[: int(RATE * LOUD_S)])
    blocks = [block.astype(np.int16).tobytes() for block in second.reshape(-1, BLOCK)]
    captured: list[float] = []
    start = time.monotonic()
    for number in range(int(seconds * RATE / BLOCK)):
        # It keeps its own time, so that nothing waits in the source.
        await asyncio.sleep(start + number * BLOCK / RATE - time.monotonic())
        if number % len(blocks) == 0:
            captured.append(time.monotonic())
        frame = rtc.AudioFrame(blocks[number % len(blocks)], RATE, 1, BLOCK)
        await source.capture_frame(frame)
    return {"captured": captured}


async def hear(rtc: Any, room: Any, seconds: float) -> dict[str, Any]:
    subscribed = asyncio.get_running_loop().create_future()
    room.on("track_subscribed", lambda track, *_: subscribed.done() or subscribed.set_result(track))
    track = await subscribed
    stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
    heard: list[float] = []
    measured_from = time.monotonic() + WARMUP_S
    before: dict[str, float] = {}
    async for event in stream:
        now = time.monotonic()
        if now < measured_from:
            continue
        if not before:
            before = await counted(track)
        samples = np.abs(np.frombuffer(event.frame.data, np.int16).astype(np.int32))
        loud = np.flatnonzero(samples > THRESHOLD)
        if loud.size and (not heard or now - heard[-1] > 0.5):
            heard.append(now + int(loud[0]) / RATE)
        if now > measured_from + seconds:
            break
    after = await counted(track)
    return {"heard": heard, **{name: after[name] - before[name] for name in COUNTED}}


async def counted(track: Any) -> dict[str, float]:
    for report in await track.get_stats():
        if report.WhichOneof("stats") == "inbound_rtp":
            return {name: float(getattr(report.inbound_rtp.inbound, name)) for name in COUNTED}
    raise RuntimeError("no statistics")


async def main(sdk: str, role: str, url: str, token: str, seconds: str) -> None:
    rtc = importlib.import_module(f"{sdk}.rtc")
    room = rtc.Room()
    await room.connect(url, token)
    act = {"speak": speak, "hear": hear}[role]
    result = await act(rtc, room, float(seconds))
    print(json.dumps(result), flush=True)
    await room.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
