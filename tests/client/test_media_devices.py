from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from roomful import rtc
from roomful.rtc import media_devices as module

TIMES = SimpleNamespace(currentTime=1.0, inputBufferAdcTime=0.98, outputBufferDacTime=1.03)


class Stream:
    """A device, whose thread is the test."""

    opened: ClassVar[list[Stream]] = []

    def __init__(self, callback: Any, **options: Any) -> None:
        self.callback, self.options = callback, options
        self.state = "opened"
        self.opened.append(self)

    def start(self) -> None:
        self.state = "started"

    def stop(self) -> None:
        self.state = "stopped"

    def close(self) -> None:
        self.state = "closed"

    def hear(self, samples: list[int]) -> None:
        self.callback(pcm(samples), len(samples), TIMES, None)

    def play(self, count: int) -> list[int]:
        out = bytearray(2 * count)
        self.callback(memoryview(out), count, TIMES, None)
        return list(memoryview(out).cast("h"))


class Source:
    def __init__(self, rate: int, channels: int, loop: Any = None) -> None:
        self.rate, self.channels = rate, channels
        self.frames: list[rtc.AudioFrame] = []
        self.news = asyncio.Event()

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        self.frames.append(frame)
        self.news.set()


class Apm:
    def __init__(self, **options: bool) -> None:
        self.options = options
        self.delays: list[int] = []
        self.reverse: list[int] = []

    def set_stream_delay_ms(self, delay: int) -> None:
        self.delays.append(delay)

    def process_stream(self, frame: rtc.AudioFrame) -> None: ...

    def process_reverse_stream(self, frame: rtc.AudioFrame) -> None:
        self.reverse.extend(frame.data)


class Sound:
    """The stream of a track."""

    def __init__(self, track: Any, sample_rate: int, num_channels: int) -> None:
        self.frames: asyncio.Queue[Any] = track.frames
        self.closed = False

    async def __anext__(self) -> Any:
        return await self.frames.get()

    async def aclose(self) -> None:
        self.closed = True


def pcm(samples: list[int]) -> bytes:
    return b"".join(sample.to_bytes(2, sys.byteorder, signed=True) for sample in samples)


@pytest.fixture(autouse=True)
def devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    library = ModuleType("sounddevice")
    library.RawInputStream = library.RawOutputStream = Stream  # type: ignore[attr-defined]
    library.query_devices = lambda: [  # type: ignore[attr-defined]
        {"name": "microphone", "max_input_channels": 1, "max_output_channels": 0},
        {"name": "loudspeaker", "max_input_channels": 0, "max_output_channels": 2},
    ]
    library.default = SimpleNamespace(device=(0, -1))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    monkeypatch.setattr(module, "AudioSource", Source)
    monkeypatch.setattr(module, "AudioProcessingModule", Apm)
    monkeypatch.setattr(module, "AudioStream", Sound)
    monkeypatch.setattr(Stream, "opened", [])
    return library


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario, 10)

    asyncio.run(bounded())


def test_devices_are_listed() -> None:
    devices = rtc.MediaDevices()
    assert [(one["index"], one["name"]) for one in devices.list_input_devices()] == [(0, "microphone")]
    assert [(one["index"], one["name"]) for one in devices.list_output_devices()] == [(1, "loudspeaker")]
    assert (devices.default_input_device(), devices.default_output_device()) == (0, None)


def test_without_the_library_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ImportError, match="pip install roomful"):
        rtc.MediaDevices().list_input_devices()


def test_a_microphone_is_captured_in_frames_of_ten_milliseconds() -> None:
    async def scenario() -> None:
        devices = rtc.MediaDevices(input_sample_rate=1000)
        capture: Any = devices.open_input(input_device=4, auto_gain_control=False)
        (stream,) = Stream.opened
        assert (stream.options["device"], stream.options["channels"], stream.state) == (4, 1, "started")
        stream.hear(list(range(7)))
        stream.hear(list(range(7, 25)))
        while len(capture.source.frames) < 2:
            capture.source.news.clear()
            await capture.source.news.wait()
        assert [list(frame.data) for frame in capture.source.frames] == [
            list(range(10)),
            list(range(10, 20)),
        ]
        assert capture.apm.options["echo_cancellation"]
        assert not capture.apm.options["auto_gain_control"]
        assert capture.apm.delays == [20, 20]
        await capture.aclose()
        assert (stream.state, capture.task.done()) == ("closed", True)

    run(scenario())


def test_one_channel_of_several_is_captured_and_nothing_is_processed_unasked() -> None:
    async def scenario() -> None:
        capture: Any = rtc.MediaDevices(input_sample_rate=300).open_input(
            enable_aec=False,
            noise_suppression=False,
            high_pass_filter=False,
            auto_gain_control=False,
            input_channel_index=1,
        )
        (stream,) = Stream.opened
        stream.hear([1, 2, 3, 4, 5, 6])
        await capture.source.news.wait()
        assert (list(capture.source.frames[0].data), capture.source.channels) == ([2, 4, 6], 1)
        assert (stream.options["channels"], capture.apm) == (2, None)
        await capture.aclose()

    run(scenario())


def test_tracks_are_played_and_the_microphone_is_told() -> None:
    async def scenario() -> None:
        devices = rtc.MediaDevices(input_sample_rate=1000, output_sample_rate=1000)
        capture: Any = devices.open_input()
        player = devices.open_output(output_device=1)
        microphone, loudspeaker = Stream.opened
        track: Any = SimpleNamespace(sid="TR_1", frames=asyncio.Queue())
        await player.add_track(track)
        with pytest.raises(ValueError, match="already added"):
            await player.add_track(track)
        await player.start()
        with pytest.raises(RuntimeError, match="already started"):
            await player.start()
        assert loudspeaker.play(10) == [0] * 10
        for _ in range(3):
            frame = rtc.AudioFrame(pcm([5] * 100), 1000, 1, 100)
            track.frames.put_nowait(SimpleNamespace(frame=frame))
        while not player._buffer:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert loudspeaker.play(50) == [5] * 50
        assert capture.apm.reverse == [0] * 10 + [5] * 50
        microphone.hear([0] * 10)
        assert capture.apm.delays[-1] == 50  # 20 ms of the microphone, 30 of the loudspeaker
        await player.remove_track(track)
        await player.remove_track(track)
        await player.aclose()
        await player.aclose()
        await capture.aclose()
        assert loudspeaker.state == "closed"

    run(scenario())
