from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from roomful import rtc
from roomful.rtc import synchronizer as module


class Clock:
    """Time that passes while somebody sleeps, and not otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        sleep = asyncio.sleep

        async def pass_time(seconds: float) -> None:
            self.now += seconds
            await sleep(0)

        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(module.asyncio, "sleep", pass_time)


class Audio:
    def __init__(self) -> None:
        self.heard: list[rtc.AudioFrame] = []
        self.queued_duration = 0.25
        self.cleared = 0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        self.heard.append(frame)

    async def wait_for_playout(self) -> None: ...

    def clear_queue(self) -> None:
        self.cleared += 1


class Video:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seen: list[tuple[float, str]] = []

    def capture_frame(self, frame: str) -> None:
        if frame == "broken":
            raise ValueError("no frame")
        self.seen.append((round(self.clock.now - 100, 3), frame))


class Sources:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.audio, self.video = Audio(), Video(clock)

    def synchronizer(self, **options: Any) -> rtc.AVSynchronizer:
        return rtc.AVSynchronizer(audio_source=self.audio, video_source=self.video, video_fps=10, **options)


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Sources:
    return Sources(Clock(monkeypatch))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario, 10)

    asyncio.run(bounded())


def test_video_is_captured_at_its_rate_and_audio_at_once(sources: Sources) -> None:
    async def scenario() -> None:
        synchronizer = sources.synchronizer(video_queue_size_ms=0)
        audio = rtc.AudioFrame.create(48_000, 1, 480)
        for index in range(4):
            await synchronizer.push(f"frame {index}", timestamp=index / 10)
            await synchronizer.push(audio, timestamp=index / 10 + 0.1)
        assert len(sources.audio.heard) == 4
        await synchronizer.wait_for_playout()
        assert sources.video.seen == [(0.0, "frame 0"), (0.1, "frame 1"), (0.2, "frame 2"), (0.3, "frame 3")]
        assert (synchronizer.last_video_time, round(synchronizer.last_audio_time, 3)) == (0.3, 0.15)
        assert round(synchronizer.actual_fps, 3) == 10
        await synchronizer.aclose()

    run(scenario())


def test_video_that_is_late_does_not_come_in_a_rush(
    sources: Sources, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        synchronizer = sources.synchronizer(video_queue_size_ms=0)
        await synchronizer.push("a")
        await synchronizer.wait_for_playout()
        sources.clock.now += 0.25  # tolerated: made up for
        for frame in "bc":
            await synchronizer.push(frame)
        await synchronizer.wait_for_playout()
        assert sources.video.seen[1:] == [(0.25, "b"), (0.25, "c")]
        sources.clock.now += 1
        for frame in "de":
            await synchronizer.push(frame)
        await synchronizer.wait_for_playout()
        assert sources.video.seen[3:] == [(1.25, "d"), (1.35, "e")]
        assert "late" in caplog.text
        synchronizer.reset()
        assert synchronizer.actual_fps == 0
        await synchronizer.aclose()

    run(scenario())


def test_pictures_stay_with_their_sound_when_that_is_late(sources: Sources) -> None:
    async def scenario() -> None:
        synchronizer = sources.synchronizer(video_queue_size_ms=0)
        tenth = rtc.AudioFrame.create(48_000, 1, 4_800)

        async def push(*frames: str) -> None:
            for frame in frames:
                await synchronizer.push(frame)
                await synchronizer.push(tenth)
            await synchronizer.wait_for_playout()

        await push("a", "b")
        sources.clock.now += 0.29  # Sound had run out after 0.1 s, and goes on now: so does the beat.
        await push("c", "d")
        assert sources.video.seen[2:] == [(0.39, "c"), (0.49, "d")]
        sources.clock.now += 0.17  # That is caught up with.
        await push("e", "f")
        assert sources.video.seen[4:] == [(0.66, "e"), (0.69, "f")]
        await synchronizer.aclose()

    run(scenario())


def test_nobody_waits_for_a_synchronizer_that_is_closed(sources: Sources) -> None:
    async def scenario() -> None:
        synchronizer = sources.synchronizer(video_queue_size_ms=100)
        pushing = [asyncio.ensure_future(synchronizer.push(frame)) for frame in "abcdefgh"]
        playing = asyncio.ensure_future(synchronizer.wait_for_playout())
        await asyncio.sleep(0)
        assert not pushing[-3].done()
        await synchronizer.aclose()
        seen = list(sources.video.seen)
        await asyncio.gather(*pushing, playing)
        for frame in "ijk":
            await synchronizer.push(frame)
        await synchronizer.wait_for_playout()
        assert sources.video.seen == seen

    run(scenario())


def test_a_full_queue_waits_and_a_broken_frame_is_passed_over(
    sources: Sources, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        synchronizer = sources.synchronizer(video_queue_size_ms=100)
        await synchronizer.push("broken")
        pushing = asyncio.ensure_future(synchronizer.push("a"))
        assert not pushing.done()
        await pushing
        await synchronizer.wait_for_playout()
        assert [frame for _, frame in sources.video.seen] == ["a"]
        assert "no frame" in caplog.text
        await synchronizer.push("b")
        await synchronizer.clear_queue()
        await synchronizer.wait_for_playout()
        assert (sources.audio.cleared, len(sources.video.seen)) == (1, 1)
        await synchronizer.aclose()
        await synchronizer.aclose()

    run(scenario())
