"""The mixer: what is heard of streams that are late, end, fail or are taken out."""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import AsyncIterator

import pytest

from roomful import rtc

pytestmark = pytest.mark.asyncio

RATE = 8_000
BLOCK = 80


def frame(value: int, samples: int = BLOCK, channels: int = 1) -> rtc.AudioFrame:
    return rtc.AudioFrame(array("h", [value] * samples * channels).tobytes(), RATE, channels, samples)


async def stream(*frames: rtc.AudioFrame) -> AsyncIterator[rtc.AudioFrame]:
    for each in frames:
        yield each


def mixer(**options: int) -> rtc.AudioMixer:
    return rtc.AudioMixer(RATE, options.pop("channels", 1), blocksize=BLOCK, **options)


async def test_streams_are_added_up_until_all_have_ended() -> None:
    mixed = mixer(channels=2)
    mixed.add_stream(stream(frame(1, 120, 2), frame(2, 120, 2)))
    mixed.add_stream(stream(frame(10, 80, 2)))
    mixed.add_stream(stream())
    mixed.end_input()
    blocks = [block async for block in mixed]
    assert [block.data.tolist() for block in blocks] == [
        [11] * 160,
        [1] * 80 + [2] * 80,
        [2] * 160,
    ]
    assert {(b.sample_rate, b.num_channels, b.samples_per_channel) for b in blocks} == {(RATE, 2, BLOCK)}
    with pytest.raises(StopAsyncIteration):
        await anext(mixed)


async def test_sums_saturate_and_a_last_short_block_is_filled_with_silence() -> None:
    mixed = mixer()
    mixed.add_stream(stream(frame(30_000, 40)))
    mixed.add_stream(stream(frame(30_000, 40)))
    mixed.end_input()
    assert [block.data.tolist() async for block in mixed] == [[32_767] * 40 + [0] * 40]


async def test_a_late_stream_is_left_out_and_then_joins(caplog: pytest.LogCaptureFixture) -> None:
    late = asyncio.Event()

    async def slow() -> AsyncIterator[rtc.AudioFrame]:
        await late.wait()
        yield frame(5)

    async def endless() -> AsyncIterator[rtc.AudioFrame]:
        while True:
            yield frame(1)

    mixed = mixer(stream_timeout_ms=10, capacity=1)
    mixed.add_stream(slow())
    mixed.add_stream(endless())
    assert (await anext(mixed)).data[0] == 1
    late.set()
    async with asyncio.timeout(5):
        while (await anext(mixed)).data[0] != 6:
            pass
    assert "timeout" in caplog.text
    await mixed.aclose()


async def test_a_failing_stream_is_logged_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> AsyncIterator[rtc.AudioFrame]:
        yield frame(1)
        raise LookupError("of this stream")

    mixed = mixer()
    mixed.add_stream(failing())
    mixed.add_stream(stream(frame(10), frame(20)))
    mixed.end_input()
    with caplog.at_level(logging.ERROR):
        assert [block.data[0] async for block in mixed] == [11, 20]
    assert "of this stream" in caplog.text


async def test_a_stream_that_stalls_for_ever_does_not_keep_the_mixer_from_ending() -> None:
    async def stalled() -> AsyncIterator[rtc.AudioFrame]:
        await asyncio.Event().wait()
        yield frame(1)

    mixed = mixer(stream_timeout_ms=1)
    mixed.add_stream(stalled())
    mixed.end_input()
    async with asyncio.timeout(5):
        assert [block async for block in mixed] == []


async def test_a_removed_stream_is_not_heard_and_its_read_is_cancelled() -> None:
    reading, cancelled = asyncio.Event(), asyncio.Event()

    async def waiting() -> AsyncIterator[rtc.AudioFrame]:
        yield frame(1)
        reading.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    source = waiting()
    mixed = mixer(stream_timeout_ms=1_000)
    mixed.add_stream(source)
    assert (await anext(mixed)).data[0] == 1
    await reading.wait()
    mixed.remove_stream(source)
    mixed.remove_stream(source)
    async with asyncio.timeout(5):
        await cancelled.wait()
    await mixed.aclose()


async def test_closing_ends_a_reader_and_streams_and_can_be_done_again() -> None:
    cleaned = False

    async def waiting() -> AsyncIterator[rtc.AudioFrame]:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
            yield frame(1)
        finally:
            cleaned = True

    mixed = mixer()
    mixed.add_stream(waiting())
    reader = asyncio.ensure_future(anext(mixed))
    await asyncio.sleep(0.01)
    await mixed.aclose()
    await mixed.aclose()
    assert cleaned
    with pytest.raises(StopAsyncIteration):
        await reader
    with pytest.raises(RuntimeError):
        mixed.add_stream(stream())
    assert len(asyncio.all_tasks()) == 1
