"""A worker of livekit-agents without a model, as its users write them: `python greeter.py start`.

It greets who is there, plays a tone, and once it is asked to, echoes what it hears.
"""

import asyncio
import math
import os
from array import array

from livekit import rtc
from livekit.agents import AgentServer, AutoSubscribe, JobContext, JobExecutorType, cli

RATE, STEP = 48_000, 480
HERTZ = 660

server = AgentServer(
    job_executor_type=JobExecutorType[os.environ["EXECUTOR"]],
    multiprocessing_context=os.environ["STARTED"],
    num_idle_processes=1,
    host="127.0.0.1",
    port=0,
    load_fnc=lambda: 0.0,
    initialize_process_timeout=60,
)


@server.rtc_session(agent_name=os.environ["AGENT_NAME"])
async def greet(job: JobContext) -> None:
    asked = asyncio.Event()

    async def read(reader: rtc.TextStreamReader) -> None:
        if await reader.read_all() == "echo":
            asked.set()

    tasks = set()
    job.room.register_text_stream_handler(
        "text", lambda reader, _: tasks.add(asyncio.create_task(read(reader)))
    )
    await job.connect(auto_subscribe=AutoSubscribe.AUDIO_ONLY)
    who = await job.wait_for_participant()
    me = job.room.local_participant

    source = rtc.AudioSource(RATE, 1)
    track = rtc.LocalAudioTrack.create_audio_track("voice", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    await me.publish_track(track, options)
    await me.send_text(f"Hello {who.identity}, by {rtc.__name__} in {os.getpid()}", topic="text")
    await me.publish_data("Hello, too")

    at = 0
    while not asked.is_set():
        wave = (8_000 * math.sin(2 * math.pi * HERTZ * (at + i) / RATE) for i in range(STEP))
        await source.capture_frame(rtc.AudioFrame(array("h", map(int, wave)).tobytes(), RATE, 1, STEP))
        at += STEP
    microphone = rtc.TrackSource.SOURCE_MICROPHONE
    heard = rtc.AudioStream.from_participant(participant=who, track_source=microphone, sample_rate=RATE)
    async for event in heard:
        await source.capture_frame(event.frame)


if __name__ == "__main__":
    cli.run_app(server)
