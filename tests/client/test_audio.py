"""Frames of sound, resampling, voice processing and Opus, beside PyPI's `livekit` where it does them."""

from __future__ import annotations

import math
import pickle
import random
import threading
from array import array
from typing import Any

import pytest
from livekit import rtc as theirs
from livekit.rtc import utils as their_utils
from pydantic import BaseModel

from roomful import _core
from roomful import rtc as ours
from roomful.rtc import utils as our_utils


def tone(rate: int, hertz: float, seconds: float, channels: int = 1) -> bytes:
    samples = array("h")
    for n in range(int(rate * seconds)):
        samples.extend([int(12_000 * math.sin(2 * math.pi * hertz * n / rate))] * channels)
    return samples.tobytes()


def noise(seed: int, count: int, amplitude: int) -> bytes:
    source = random.Random(seed)
    return array("h", (source.randint(-amplitude, amplitude) for _ in range(count))).tobytes()


def decibels(pcm: Any) -> float:
    samples = memoryview(pcm).cast("B").cast("h").tolist()
    return 10 * math.log10(sum(s * s for s in samples) / len(samples) + 1e-9)


# Frames


@pytest.mark.parametrize(
    "data",
    [
        b"\1\0\2\0",
        bytearray(b"\1\0\2\0\3\0"),
        memoryview(b"\1\0\2\0"),
        memoryview(bytearray(b"\0\0\1\0\2\0\0\0"))[2:6],
        memoryview(array("h", [1, 2])),
    ],
)
def test_a_frame_shows_what_it_was_made_of(data: Any) -> None:
    our, their = (rtc.AudioFrame(data, 48_000, 1, 2, userdata={"a": 1}) for rtc in (ours, theirs))
    assert our.data.tolist() == their.data.tolist()
    assert our.data.format == their.data.format == "h"
    assert our.data.readonly == their.data.readonly
    assert (our.sample_rate, our.num_channels, our.samples_per_channel) == (48_000, 1, 2)
    assert our.duration == their.duration
    assert our.userdata == {"a": 1}
    assert our.to_wav_bytes() == their.to_wav_bytes()
    assert repr(our) == repr(their)
    again = pickle.loads(pickle.dumps(our))
    assert (again.data.tolist(), again.userdata) == (our.data.tolist(), {"a": 1})


@pytest.mark.parametrize(
    ("data", "samples"), [(b"\0" * 4, 3), (b"\0" * 5, 2), ([1, 2], 1), (memoryview(bytearray(8))[::2], 1)]
)
def test_data_that_does_not_fit_is_refused(data: Any, samples: int) -> None:
    with pytest.raises((ValueError, TypeError)):
        theirs.AudioFrame(data, 48_000, 1, samples)
    with pytest.raises((ValueError, TypeError)):
        ours.AudioFrame(data, 48_000, 1, samples)


def test_a_new_frame_is_silent_and_writable() -> None:
    frame = ours.AudioFrame.create(48_000, 2, 480)
    assert frame.data.tolist() == [0] * 960
    frame.data[3] = 7
    assert frame.data[3] == 7


def test_a_frame_is_a_field_of_models() -> None:
    class Ours(BaseModel):
        frame: ours.AudioFrame

    class Theirs(BaseModel):
        frame: theirs.AudioFrame

    our = Ours(frame=ours.AudioFrame(b"\1\0\2\0", 48_000, 1, 2))
    their = Theirs(frame=theirs.AudioFrame(b"\1\0\2\0", 48_000, 1, 2))
    assert our.model_dump() == their.model_dump()
    assert our.model_dump_json() == their.model_dump_json()
    assert Ours.model_validate_json(our.model_dump_json()).frame.data.tolist() == [1, 2]
    assert Ours.model_validate(our.model_dump()).frame.data.tolist() == [1, 2]
    our_schema = Ours.model_json_schema()["properties"]["frame"]
    their_schema = Theirs.model_json_schema()["properties"]["frame"]
    assert our_schema["properties"] == their_schema["properties"]
    assert our_schema["required"] == their_schema["required"]
    with pytest.raises(TypeError):
        Ours.model_validate({"frame": 3})


def test_frames_are_joined() -> None:
    data = [b"\1\0\2\0", bytearray(b"\3\0\4\0")]
    our = ours.combine_audio_frames([ours.AudioFrame(d, 48_000, 2, 1) for d in data])
    their = theirs.combine_audio_frames([theirs.AudioFrame(d, 48_000, 2, 1) for d in data])
    assert our.data.tolist() == their.data.tolist() == [1, 2, 3, 4]
    assert our.samples_per_channel == their.samples_per_channel == 2
    assert ours.combine_audio_frames(our) is our
    for wrong in (
        [],
        [our, ours.AudioFrame(b"\0\0", 48_000, 1, 1)],
        [our, ours.AudioFrame(b"\0\0\0\0", 8_000, 2, 1)],
    ):
        with pytest.raises(ValueError, match=r"buffer is empty|mismatch"):
            ours.combine_audio_frames(wrong)


@pytest.mark.asyncio
async def test_a_tone_is_generated() -> None:
    our = [frame async for frame in our_utils.sine_wave_generator(440, 0.55, 16_000, 0.5)]
    their = [frame async for frame in their_utils.sine_wave_generator(440, 0.55, 16_000, 0.5)]
    assert len(our) == len(their) == 5
    for mine, other in zip(our, their, strict=True):
        assert mine.sample_rate == other.sample_rate
        assert all(abs(a - b) <= 1 for a, b in zip(mine.data, other.data, strict=True))


# Resampling


def resampled(rtc: Any, rates: tuple[int, int], channels: int, quality: str, data: bytes) -> list[int]:
    quality = rtc.AudioResamplerQuality(quality)
    resampler = rtc.AudioResampler(*rates, num_channels=channels, quality=quality)
    block = rates[0] // 100 * channels * 2
    frames = []
    for start in range(0, len(data), block):
        piece = data[start : start + block]
        frame = rtc.AudioFrame(piece, rates[0], channels, len(piece) // (2 * channels))
        frames += resampler.push(frame if start % 3 else bytearray(piece))
    frames += resampler.flush()
    assert {(frame.sample_rate, frame.num_channels) for frame in frames} == {(rates[1], channels)}
    return [sample for frame in frames for sample in frame.data]


@pytest.mark.parametrize("quality", [quality.value for quality in ours.AudioResamplerQuality])
@pytest.mark.parametrize(
    ("rates", "channels"), [((44_100, 48_000), 1), ((48_000, 16_000), 2), ((8_000, 48_000), 1)]
)
def test_the_same_sound_comes_out_of_a_resampler(rates: tuple[int, int], channels: int, quality: str) -> None:
    data = tone(rates[0], 700, 0.503, channels)
    our = resampled(ours, rates, channels, quality, data)
    their = resampled(theirs, rates, channels, quality, data)
    assert len(our) == len(their)
    middle = slice(len(our) // 4, 3 * len(our) // 4)
    tolerance = 100 if quality == "quick" else 4
    assert max(abs(a - b) for a, b in zip(our[middle], their[middle], strict=True)) <= tolerance


def test_nothing_in_is_nothing_out_and_a_flushed_resampler_begins_anew() -> None:
    resampler = ours.AudioResampler(48_000, 16_000)
    assert resampler.push(bytearray()) == []
    assert resampler.flush() == []
    for _ in range(2):
        frames = resampler.push(bytearray(960 * 2)) + resampler.flush()
        assert sum(frame.samples_per_channel for frame in frames) == 320


@pytest.mark.parametrize(
    ("rates", "channels"), [((0, 48_000), 1), ((48_000, 1), 1), ((48_000, 8_000), 0), ((-1, 8_000), 1)]
)
def test_rates_that_cannot_be_are_refused(rates: tuple[int, int], channels: int) -> None:
    with pytest.raises(ValueError, match=r"(is|are) not between|out of range"):
        ours.AudioResampler(*rates, num_channels=channels)


@pytest.mark.parametrize(
    "values",
    [
        {"channels": 0},
        {"channels": 33},
        {"channels": -1},
        {"sample_rate": 0},
        {"sample_rate": -1},
        {"sample_rate": 2**32},
        {"capacity": -1},
        {"frame_ms": -1},
        {"frame_ms": 60_001},
    ],
)
def test_sound_that_cannot_be_heard_is_refused_at_once(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"(is|are) not between|out of range|longer than"):
        _core.AudioSink(print, **{"sample_rate": 48_000, "channels": 1, "capacity": 1, **values})


@pytest.mark.parametrize("values", [(0, 1), (-1, 1), (48_000, 0), (48_000, -1)])
def test_sound_that_cannot_be_sent_is_refused_at_once(values: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"no rate or no channels|out of range"):
        ours.AudioSource(*values)


# Voice processing


def processed(rtc: Any, captured: bytes, played: bytes, **features: bool) -> bytes:
    module = rtc.AudioProcessingModule(**features)
    module.set_stream_delay_ms(0)
    out = bytearray()
    for start in range(0, len(captured), 960):
        far = rtc.AudioFrame(played[start : start + 960], 48_000, 1, 480)
        near = rtc.AudioFrame(captured[start : start + 960], 48_000, 1, 480)
        module.process_reverse_stream(far)
        module.process_stream(near)
        out += near.data.cast("B")
    return bytes(out)


@pytest.mark.parametrize(
    ("feature", "captured", "played", "tolerance"),
    [
        ("noise_suppression", noise(1, 96_000, 1_000), bytes(192_000), 3),
        ("high_pass_filter", tone(48_000, 40, 2), bytes(192_000), 2),
        ("auto_gain_control", tone(48_000, 300, 2), bytes(192_000), 3),
    ],
)
def test_a_voice_is_processed_alike(feature: str, captured: bytes, played: bytes, tolerance: float) -> None:
    our, their = (
        decibels(processed(rtc, captured, played, **{feature: True})[-96_000:]) for rtc in (ours, theirs)
    )
    assert our == pytest.approx(their, abs=tolerance)
    assert processed(ours, captured[:9_600], played) == captured[:9_600]


def test_echo_is_cancelled() -> None:
    played = noise(2, 96_000, 8_000)
    captured = (bytes(1_920) + played)[: len(played)]
    our = processed(ours, captured, played, echo_cancellation=True)
    assert decibels(our[-96_000:]) < decibels(captured) - 25


def test_a_program_that_prints_the_handle_of_a_processing_module_goes_on() -> None:
    assert ours.AudioProcessingModule()._ffi_handle is None


def test_frames_of_other_lengths_are_refused_and_the_process_lives() -> None:
    module = ours.AudioProcessingModule(echo_cancellation=True)
    with pytest.raises(ValueError, match="10 ms"):
        module.process_stream(ours.AudioFrame.create(48_000, 1, 100))
    module.process_stream(ours.AudioFrame.create(48_000, 2, 960))
    for delay in (-1, 600):
        with pytest.raises(RuntimeError):
            module.set_stream_delay_ms(delay)


# Opus


def test_opus_goes_there_and_back() -> None:
    encoder = _core.OpusEncoder(bitrate=64_000, application="audio")
    decoder = _core.OpusDecoder()
    data = tone(48_000, 440, 0.4)
    packets = [encoder.encode(data[start : start + 1_920]) for start in range(0, len(data), 1_920)]
    decoded = b"".join(decoder.decode(packet) for packet in packets)
    assert len(decoded) == len(data)
    assert decibels(decoded[9_600:]) == pytest.approx(decibels(data), abs=1)
    assert len(decoder.conceal(960)) == 1_920
    assert len(decoder.decode_fec(packets[-1], 960)) == 1_920
    for wrong in (b"", b"\3"):
        with pytest.raises(ValueError, match="malformed"):
            decoder.decode(wrong)
    with pytest.raises(ValueError, match="frame"):
        encoder.encode(bytes(10))


def test_other_threads_run_while_sound_is_worked_on() -> None:
    resampler = _core.Resampler(44_100, 48_000, quality="very_high")
    data = bytes(44_100 * 2 * 5)
    ticks = 0
    started, done = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        resampler.push(data)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    while not done.is_set():
        ticks += 1
    thread.join()
    assert ticks > 100
