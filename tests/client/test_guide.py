"""Every block of Python in the client's guide runs, in order, against a server."""

from __future__ import annotations

import ast
import asyncio
import inspect
import math
import re
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import roomful
from roomful import rtc

DOCS = Path(__file__).parents[2] / "docs"
RATE = 24_000


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


async def run(block: str, names: dict[str, Any]) -> None:
    """As at the prompt of `python -m asyncio`, for ten seconds at most."""
    code = compile(block, "the guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with asyncio.timeout(10):
        if inspect.iscoroutine(waiting := eval(code, names)):
            await waiting


class Recogniser:
    def __init__(self) -> None:
        self.heard, self.saw = asyncio.Event(), asyncio.Event()

    def push(self, samples: memoryview) -> None:
        if len(samples) == 160 and max(samples) > 1_000:
            self.heard.set()

    def see(self, picture: Any) -> None:
        height, width, _ = picture.shape
        if width * 9 == height * 16:
            self.saw.set()


def tone(samples: int = RATE // 50, rate: int = RATE) -> rtc.AudioFrame:
    wave = array("h", (int(9_000 * math.sin(i / 8)) for i in range(samples)))
    return rtc.AudioFrame(wave.tobytes(), rate, 1, samples)


class Speaking:
    """Ten frames."""

    left = 10

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left >= 0


@pytest.mark.asyncio
async def test_the_guide_works_from_the_first_line_to_the_last(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.png").write_bytes(bytes(2_000))
    guide = [block for block in blocks("client.md") if "class Bot" not in block]
    async with roomful.Server() as server, asyncio.TaskGroup() as tasks:
        bob, recogniser = rtc.Room(), Recogniser()
        came: asyncio.Queue[str] = asyncio.Queue()
        bob.on("data_received", lambda packet: came.put_nowait(packet.data.decode()))
        bob.register_byte_stream_handler("pictures", lambda reader, _: came.put_nowait(reader.info.name))
        bob.register_text_stream_handler("chat", lambda reader, _: came.put_nowait(reader.info.topic))
        await bob.connect(server.url, server.token(identity="bob", room="demo"))

        @bob.local_participant.register_rpc_method("greet")
        async def greet(call: rtc.RpcInvocationData) -> str:
            return f"hello {call.payload}"

        names: dict[str, Any] = {
            "asyncio": asyncio,
            "np": np,
            "roomful": roomful,
            "url": server.url,
            "token": server.token(identity="ada", room="demo"),
            "tasks": tasks,
            "speaking": Speaking(),
            "frame": tone(480, 48_000),
            "pixels": bytes(1280 * 720 * 4),
            "recogniser": recogniser,
            "long_text": "x" * 40_000,
        }

        async def read(reader: rtc.TextStreamReader) -> None:
            came.put_nowait(await reader.read_all())

        names["read"] = read
        seen = []
        for block in guide:
            await run(block.replace("ws://localhost:7880", server.url), names)
            seen.append(block)
            if "publish_data" in block:
                assert names["answer"] == "hello ada"
        assert len(seen) >= 6
        room: rtc.Room = names["room"]
        assert set(room.remote_participants) == {"bob"}
        said = {await came.get() for _ in range(3)}
        assert said == {"hello", "chat", "picture.png"}
        answer = await bob.local_participant.perform_rpc(
            destination_identity="ada", method="greet", payload="bob"
        )
        assert answer == "hello bob, says ada"
        await bob.local_participant.send_text("hi", topic="chat")
        assert await came.get() == "hi"
        await hear_and_see(bob, names, recogniser)
        await room.disconnect()
        await bob.disconnect()


async def hear_and_see(bob: rtc.Room, names: dict[str, Any], recogniser: Recogniser) -> None:
    """What the guide hears and sees of others."""
    source, camera = rtc.AudioSource(48_000, 1), rtc.VideoSource(1280, 720)
    watching = None
    await bob.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("voice", source))
    await bob.local_participant.publish_track(rtc.LocalVideoTrack.create_video_track("camera", camera))
    picture = rtc.VideoFrame(1280, 720, rtc.VideoBufferType.RGBA, names["pixels"])
    async with asyncio.timeout(20):
        while not (recogniser.heard.is_set() and recogniser.saw.is_set()):
            await source.capture_frame(tone(4_800, 48_000))
            camera.capture_frame(picture)
            publications = names["room"].remote_participants["bob"].track_publications.values()
            tracks = [one.track for one in publications if isinstance(one.track, rtc.RemoteVideoTrack)]
            if watching is None and tracks:
                watching = asyncio.create_task(names["watch"](tracks[0]))
    assert watching is not None
    watching.cancel()


@pytest.mark.asyncio
async def test_the_guide_s_bot_answers_what_it_hears_and_lets_itself_be_interrupted() -> None:
    (bot,) = (block for block in blocks("client.md") if "class Bot" in block)
    names: dict[str, Any] = {"__name__": "bot"}
    await run(bot, names)
    async with roomful.Server() as server, asyncio.timeout(30):
        running = asyncio.create_task(names["main"](server.url, server.token(identity="bot", room="demo")))
        ada, source = rtc.Room(), rtc.AudioSource(RATE, 1)
        subscribed: asyncio.Future[rtc.Track] = asyncio.get_running_loop().create_future()
        ada.on("track_subscribed", lambda track, *_: subscribed.set_result(track))
        await ada.connect(server.url, server.token(identity="ada", room="demo"))
        heard = rtc.AudioStream(await subscribed, sample_rate=RATE)
        await ada.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("voice", source))
        await say(source, 25)
        await next_loud(heard)
        await loud_frames(heard)
        await say(source, 150)
        await next_loud(heard)
        await say(source, 25)  # It is interrupted.
        assert await loud_frames(heard) < 200  # Of 300.
        await ada.disconnect()
        running.cancel()
        await asyncio.wait([running])


async def say(source: rtc.AudioSource, frames: int) -> None:
    """Of 20 ms each, and then nothing."""
    for _ in range(frames):
        await source.capture_frame(tone())
    for _ in range(30):
        await source.capture_frame(rtc.AudioFrame.create(RATE, 1, RATE // 50))


async def next_loud(stream: rtc.AudioStream) -> None:
    async for event in stream:
        if max(event.frame.data) > 2_000:
            return


async def loud_frames(stream: rtc.AudioStream) -> int:
    """How many there are before a fifth of a second of silence."""
    loud = silent = 0
    async for event in stream:
        silent = silent + 1 if max(event.frame.data) < 500 else 0
        loud += not silent
        if silent == 20:
            break
    return loud


def test_the_pages_of_those_who_come_from_livekit_compile() -> None:
    for block in blocks("migrating.md"):
        compile(block, "migrating.md", "exec")
