from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomful import rtc


def frame(**changes: Any) -> rtc.EncodedVideoFrame:
    fields: dict[str, Any] = {
        "data": b"\x00\x00\x00\x01\x65",
        "width": 640,
        "height": 360,
        "codec": rtc.VideoCodec.H264,
        "frame_type": rtc.EncodedFrameType.ENCODED_FRAME_KEY,
        "timestamp_us": 1,
    }
    return rtc.EncodedVideoFrame(**{**fields, **changes})


def test_frames_without_content_or_size_are_refused() -> None:
    for changes in ({"data": b""}, {"width": 0}, {"height": -1}):
        with pytest.raises(ValueError, match="must"):
            frame(**changes)
    with pytest.raises(TypeError, match="bytes"):
        frame(data=bytearray(b"x"))
    with pytest.raises(ValueError, match="positive"):
        rtc.EncodedVideoSource(0, 1)


def test_frames_go_to_the_track_while_there_is_one() -> None:
    source = rtc.EncodedVideoSource(640, 360)
    taken: list[rtc.EncodedVideoFrame] = []
    assert not source.capture_frame(frame())
    source._sink = lambda frame: taken.append(frame) is None
    assert source.capture_frame(frame())
    assert taken == [frame()]
    asyncio.run(source.aclose())
    assert not source.capture_frame(frame())


def test_feedback_is_given_once() -> None:
    source = rtc.EncodedVideoSource(640, 360)
    source._want_key_frame()
    source._want_rate(300_000, 15.0)
    feedback = source.take_feedback()
    assert (feedback.keyframe_requested, feedback.rate_control) == (
        True,
        rtc.EncodedRateControl(300_000, 15.0),
    )
    assert source.take_feedback() == rtc.EncodedVideoSourceFeedback(False, None)
