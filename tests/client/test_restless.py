"""Video of programs that hold the interpreter's lock, and of those that do not."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import roomful
from roomful import rtc
from roomful.rtc import _video_sender
from roomful.rtc._enums import DegradationPreference
from roomful.rtc._layers import Encoding
from roomful.rtc._video_codecs import Encoded
from roomful.rtc._video_sender import VideoSender

PROGRAM = Path(__file__).with_name("restless.py")
PATIENCE = 60.0


@pytest.mark.parametrize("simulcast", [False, True], ids=["one encoding", "simulcast"])
@pytest.mark.asyncio
async def test_most_pictures_of_a_program_that_never_rests_arrive(simulcast: bool) -> None:
    async with asyncio.timeout(PATIENCE), roomful.Server() as server:
        room = rtc.Room()
        subscribed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        room.on("track_subscribed", lambda track, *_: subscribed.set_result(track))
        await room.connect(server.url, server.token(identity="ben", room="cinema"))
        token = server.token(identity="ada", room="cinema")
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), server.url, token, str(simulcast)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert program.stdin
        assert program.stdout
        try:
            assert await program.stdout.readline() == b"published\n"
            stream = rtc.VideoStream(await subscribed)
            arrived = 0

            async def count() -> None:
                nonlocal arrived
                async for event in stream:
                    # Before the first there is black.
                    arrived += event.frame.data[0] > 16

            counting = asyncio.create_task(count())
            program.stdin.write(b"\n")
            captured = int(await program.stdout.readline())
            assert arrived > 0.6 * captured
            counting.cancel()
        finally:
            program.kill()
            await program.wait()
        await room.disconnect()


class Peer:
    """One that sends nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def sender_of(*layers: Encoding) -> VideoSender:
    return VideoSender(Peer(), 0, "vp8", layers, (), DegradationPreference.BALANCED, black=False)


def test_a_program_that_rests_does_not_wait_for_the_work_of_other_threads() -> None:
    sender = sender_of(Encoding(320, 180, 160_000, 20, "q"), Encoding(1280, 720, 1_700_000, 30, "f"))
    picture = rtc.VideoFrame(1280, 720, rtc.VideoBufferType.I420, os.urandom(1280 * 720 * 3 // 2))
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            pass

    threading.Thread(target=work).start()
    took = []
    for _ in range(40):
        began = time.perf_counter()
        sender.capture(picture, 0)
        took.append(time.perf_counter() - began)
        done.wait(0.03)
    done.set()
    sender.close()
    assert median(took) < 0.01


def test_a_program_that_rests_does_not_wait_for_a_slow_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = threading.Semaphore(0)

    class Slow:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def follow(self, bitrate: int, frames: float) -> None:
            pass

        def encode(self, *_: Any, **__: Any) -> Encoded:
            time.sleep(0.05)  # As an encoder that is busy, without the interpreter's lock.
            encoded.release()
            return Encoded(b"", True)

    monkeypatch.setattr(_video_sender, "Encoder", Slow)
    sender = sender_of(Encoding(640, 360, 500_000, 30, "h"), Encoding(1280, 720, 1_500_000, 30, "f"))
    picture = rtc.VideoFrame(1280, 720, rtc.VideoBufferType.RGBA, bytes(1280 * 720 * 4))
    took = []
    for _ in range(8):
        began = time.perf_counter()
        sender.capture(picture, 0)
        took.append(time.perf_counter() - began)
        assert encoded.acquire(timeout=PATIENCE)  # The last picture's smaller one, most of the time.
    sender.close()
    assert median(took) < 0.02
