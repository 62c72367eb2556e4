"""Pictures encoded and decoded again, by each codec."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import pytest

from roomful import rtc
from roomful.rtc import _video_codecs
from roomful.rtc._enums import DegradationPreference
from roomful.rtc._layers import Encoding
from roomful.rtc._video_codecs import CLOCK, Decoder, Encoder, VideoUnavailable, check_available
from roomful.rtc._video_sender import _Layer

CODECS = ["vp8", "vp9", "h264", "av1"]
WIDTH, HEIGHT = 322, 180
STEP = CLOCK // 30


def picture(index: int) -> rtc.VideoFrame:
    """A moving pattern."""
    blocks = np.random.default_rng(index // 12).integers(0, 255, (HEIGHT // 10, WIDTH // 7), dtype=np.uint8)
    luma = np.roll(blocks.repeat(10, 0).repeat(7, 1), index * 3, 1)
    chroma = np.full((HEIGHT // 2) * (WIDTH // 2) * 2, 100 + index % 50, np.uint8)
    data = luma.tobytes() + chroma.tobytes()
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, data)


@pytest.mark.parametrize("codec", CODECS)
def test_each_picture_comes_back_at_once_and_like_it_was(codec: str) -> None:
    encoder = Encoder(codec, WIDTH, HEIGHT, bitrate=2_000_000, frames=30)
    decoder = Decoder(codec)
    keys = []
    for index in range(20):
        encoded = encoder.encode(picture(index), index * STEP, key=index == 11)
        assert encoded is not None
        keys += [index] if encoded.key else []
        ((decoded, timestamp),) = decoder.decode(encoded.data, index * STEP)
        assert timestamp == index * STEP
        assert (decoded.width, decoded.height) == (WIDTH, HEIGHT)
        before = np.asarray(picture(index).data, dtype=np.int16)
        difference = np.abs(before - np.asarray(decoded.data, dtype=np.int16))
        assert difference.mean() < 8, index
    assert keys == [0, 11]


@pytest.mark.parametrize("codec", CODECS)
def test_the_bitrate_follows_what_there_is_room_for(codec: str) -> None:
    encoder = Encoder(codec, WIDTH, HEIGHT, bitrate=900_000, frames=30)

    def rate(start: int, frames: int) -> float:
        encoded = [
            encoder.encode(picture(index), index * STEP, key=False) for index in range(start, start + frames)
        ]
        sizes = [len(one.data) for one in encoded if one is not None]
        return sum(sizes) * 8 * 30 / frames

    before = rate(0, 60)
    assert 350_000 < before < 1_200_000
    encoder.follow(250_000, 30)
    rate(60, 45)
    assert 100_000 < rate(105, 60) < 330_000


@pytest.mark.parametrize("codec", CODECS)
def test_the_bitrate_rises_again_with_the_room(codec: str) -> None:
    encoder = Encoder(codec, WIDTH, HEIGHT, bitrate=200_000, frames=30)

    def rate(start: int, frames: int) -> float:
        encoded = [
            encoder.encode(picture(index), index * STEP, key=False) for index in range(start, start + frames)
        ]
        return sum(len(one.data) for one in encoded if one is not None) * 8 * 30 / frames

    rate(0, 60)
    assert rate(60, 60) < 250_000
    encoder.follow(600_000, 30)
    rate(120, 60)
    assert rate(180, 60) > 400_000


@pytest.mark.parametrize("codec", CODECS)
def test_fewer_pictures_take_the_same_bitrate(codec: str) -> None:
    encoder = Encoder(codec, WIDTH, HEIGHT, bitrate=250_000, frames=30)
    encoded = [encoder.encode(picture(index), index * 3 * STEP, key=False) for index in range(100)]
    late = sum(len(one.data) for one in encoded[60:] if one is not None) * 8 * 10 / 40
    assert 140_000 < late < 330_000


def test_pictures_of_one_time_are_sent_once() -> None:
    encoder = Encoder("vp8", WIDTH, HEIGHT, bitrate=500_000, frames=30)
    assert encoder.encode(picture(0), 100, key=False)
    assert encoder.encode(picture(1), 100, key=True) is None
    assert encoder.encode(picture(1), 50, key=False) is None
    assert encoder.encode(picture(2), 101, key=False)


def degraded(preference: DegradationPreference) -> tuple[int, float]:
    """The width of pictures and how many a second there are, where there is room for a fiftieth."""
    layer = _Layer(Encoding(640, 360, 1_000_000, 30), "vp8", preference)
    frame = rtc.VideoFrame(640, 360, rtc.VideoBufferType.I420, bytes(640 * 360 * 3 // 2))
    layer.encode(frame, 0)
    layer.bitrate = 20_000
    width, height = layer.fitting(frame, (640, 360), CLOCK)
    frame = rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, bytes(width * height * 3 // 2))
    layer.encode(frame, CLOCK)
    next_one = next(time for time in range(CLOCK, 3 * CLOCK, CLOCK // 100) if layer.due(time))
    return layer.size[0], CLOCK / (next_one - CLOCK)


@pytest.mark.parametrize(
    ("preference", "width", "frames"),
    [
        (DegradationPreference.MAINTAIN_RESOLUTION, 640, 8),
        (DegradationPreference.MAINTAIN_FRAMERATE, 320, 33),
        (DegradationPreference.MAINTAIN_FRAMERATE_AND_RESOLUTION, 640, 33),
        (DegradationPreference.BALANCED, 320, 10),
    ],
)
def test_for_want_of_room_it_gives_up_what_it_may(
    preference: DegradationPreference, width: int, frames: int
) -> None:
    size, rate = degraded(preference)
    assert (size, round(rate)) == (width, frames)


def test_a_layer_that_loses_its_room_while_it_is_due_comes_back_with_it() -> None:
    layer = _Layer(Encoding(640, 360, 1_000_000, 30), "vp8", DegradationPreference.BALANCED)
    frame = rtc.VideoFrame(640, 360, rtc.VideoBufferType.I420, bytes(640 * 360 * 3 // 2))
    assert layer.encode(frame, 0)
    layer.bitrate = 0
    assert layer.encode(frame, CLOCK) is None
    layer.bitrate = 1_000_000
    assert layer.encode(frame, 2 * CLOCK)


@pytest.mark.parametrize("codec", CODECS)
def test_damaged_frames_are_refused_and_harm_nothing(codec: str) -> None:
    encoder = Encoder(codec, WIDTH, HEIGHT, bitrate=500_000, frames=30)
    decoder = Decoder(codec)
    first = encoder.encode(picture(0), 0, key=True)
    assert first
    for damaged in (b"\xff" * 400, first.data[:40], first.data[20:], b"\0"):
        with contextlib.suppress(ValueError):
            list(decoder.decode(damaged, 0))
    second = encoder.encode(picture(1), STEP, key=True)
    assert second
    assert len(list(decoder.decode(second.data, STEP))) == 1


def test_without_pyav_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoUnavailable, match=r"pip install 'roomful\[video\]'"):
        check_available()


@pytest.mark.parametrize("codec", CODECS)
def test_pictures_of_absurd_size_are_errors_and_take_no_memory(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = Encoder(codec, WIDTH, HEIGHT, bitrate=2_000_000, frames=30).encode(picture(0), 0, key=True)
    assert encoded
    monkeypatch.setattr(_video_codecs, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(ValueError, match="damaged"):
        list(Decoder(codec).decode(encoded.data, 0))


def test_a_small_frame_that_says_it_is_huge_is_an_error() -> None:
    encoded = Encoder("vp8", WIDTH, HEIGHT, bitrate=2_000_000, frames=30).encode(picture(0), 0, key=True)
    assert encoded
    data = bytearray(encoded.data)
    assert data[3:6] == b"\x9d\x01\x2a"
    data[6:10] = b"\xff\x3f\xff\x3f"
    with pytest.raises(ValueError, match="damaged"):
        list(Decoder("vp8").decode(bytes(data), 0))


def test_an_encoder_is_closed_before_it_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    how = Encoder._open

    def open_one(encoder: Encoder) -> object:
        opened.append(encoder._context)
        return how(encoder)

    monkeypatch.setattr(Encoder, "_open", open_one)
    encoder = Encoder("vp8", WIDTH, HEIGHT, bitrate=900_000, frames=30)
    encoder.encode(picture(0), 0, key=False)
    encoder.follow(300_000, 30)
    encoder.encode(picture(1), STEP, key=False)
    assert opened == [None, None]
