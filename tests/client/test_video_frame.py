"""Pictures are those of LiveKit's SDK, byte for byte where it matters."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from livekit import rtc as livekit
from pydantic import TypeAdapter

from roomful import rtc

T = rtc.VideoBufferType
TYPES = list(T.values())
RGB = [T.RGBA, T.ABGR, T.ARGB, T.BGRA, T.RGB24]
#: What LiveKit's SDK converts I420 to.
THERE = [*RGB, T.I420]
WIDTH, HEIGHT = 64, 48


def rgba() -> rtc.VideoFrame:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([x * 4, y * 5, x + y, np.full_like(x, 255)], axis=-1).astype(np.uint8)
    return rtc.VideoFrame(WIDTH, HEIGHT, T.RGBA, pixels.tobytes())


@pytest.mark.parametrize("type_", THERE, ids=T.Name)
def test_colours_are_those_of_livekit(type_: int) -> None:
    ours = rgba().convert(T.I420).convert(type_)
    there = livekit.VideoFrame(WIDTH, HEIGHT, T.RGBA, bytes(rgba().data)).convert(T.I420)
    if type_ != T.I420:
        there = there.convert(type_)
    difference = np.abs(np.asarray(ours.data, dtype=np.int16) - np.asarray(there.data, dtype=np.int16))
    assert difference.max() <= 4


@pytest.mark.parametrize("type_", TYPES, ids=T.Name)
def test_planes_are_where_livekit_has_them(type_: int) -> None:
    for width, height in [(WIDTH, HEIGHT), (7, 5)]:
        black = rtc.VideoFrame(width, height, T.RGBA, bytes(width * height * 4))
        size = len(black.convert(type_).data)
        data = bytes((np.arange(size) % 251).astype(np.uint8))
        frame = rtc.VideoFrame(width, height, type_, data)
        there = livekit.VideoFrame(width, height, type_, data)
        for index in range(5):
            ours, theirs = frame.get_plane(index), there.get_plane(index)
            assert (ours is None) == (theirs is None)
            assert ours is None or bytes(ours) == bytes(theirs)
        assert repr(frame) == repr(there)


def test_a_plane_of_a_mutable_picture_can_be_painted() -> None:
    frame = rtc.VideoFrame(4, 4, T.I420, bytearray(24))
    plane = frame.get_plane(1)
    assert plane is not None
    plane[:] = bytes([7] * 4)
    assert bytes(frame.data[16:20]) == bytes([7] * 4)
    np.frombuffer(frame.data, np.uint8)[0] = 9
    assert frame.data[0] == 9


def test_a_picture_turns_upside_down() -> None:
    flipped = rgba().convert(T.RGBA, flip_y=True)
    lines = np.frombuffer(rgba().data, np.uint8).reshape(HEIGHT, -1)
    assert bytes(flipped.data) == lines[::-1].tobytes()


@pytest.mark.parametrize("size", [0, 23, 25, 10_000])
def test_data_of_another_size_is_refused_with_the_size_it_should_have(size: int) -> None:
    with pytest.raises(ValueError, match=f"a picture of 4x4 in I420 takes 24 bytes, not {size}"):
        rtc.VideoFrame(4, 4, T.I420, bytes(size))


def test_what_is_no_buffer_or_has_gaps_is_refused() -> None:
    with pytest.raises(TypeError):
        rtc.VideoFrame(1, 1, T.RGBA, [1, 2, 3, 4])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="contiguous"):
        rtc.VideoFrame(1, 1, T.RGBA, memoryview(bytes(8))[::2])
    with pytest.raises(ValueError, match="unsupported video buffer type"):
        rgba().convert(99)  # type: ignore[arg-type]


def test_a_view_of_a_part_is_that_part() -> None:
    data = memoryview(bytes(range(40)))[8:24]
    assert bytes(rtc.VideoFrame(2, 2, T.RGBA, data).data) == bytes(range(8, 24))


def test_pydantic_models_may_hold_pictures() -> None:
    adapter = TypeAdapter(rtc.VideoFrame)
    frame = rtc.VideoFrame(1, 1, T.RGBA, bytes([1, 2, 3, 4]))
    there = TypeAdapter(livekit.VideoFrame)
    same = livekit.VideoFrame(1, 1, T.RGBA, bytes([1, 2, 3, 4]))
    assert adapter.dump_json(frame) == there.dump_json(same)
    assert bytes(adapter.validate_json(adapter.dump_json(frame)).data) == bytes([1, 2, 3, 4])


def test_a_picture_survives_pickling() -> None:
    frame = pickle.loads(pickle.dumps(rgba()))
    assert bytes(frame.data) == bytes(rgba().data)
