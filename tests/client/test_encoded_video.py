from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roomful import rtc
from roomful.rtc._layers import Encoding
from roomful.rtc._publishing import Unsupported, video_request

PROGRAM = Path(__file__).parent / "pre_encoded.py"


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


class PaperPeer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def publish_video(self, number: int, **spec: Any) -> None:
        self.told.append((number, spec["codec"], spec["layers"]))

    def send_frame(self, number: int, layer: int, data: bytes, **details: Any) -> None:
        self.told.append((number, layer, data, details["key"], details["timestamp_us"]))

    def use_layers(self, number: int, layers: list[int]) -> None:
        self.told.append((number, layers))


def published(source: rtc.EncodedVideoSource, codec: str = "h264") -> PaperPeer:
    peer = PaperPeer()
    source._send_to(peer, 7, "TR_1", codec, [Encoding(640, 360, 450_000, 20.0)])
    return peer


def test_frames_go_to_the_track_while_there_is_one() -> None:
    source = rtc.EncodedVideoSource(640, 360)
    assert not source.capture_frame(frame())
    peer = published(source)
    assert source.capture_frame(frame())
    assert not source.capture_frame(frame(codec=rtc.VideoCodec.VP8))
    source._use_layers(peer, 7, set())
    assert source.capture_frame(frame(timestamp_us=2))  # It is taken, but nobody would see it.
    assert peer.told == [(7, "video/h264", [("", 450_000)]), (7, 0, frame().data, True, 1), (7, [])]
    source._stop_sending(peer, 7)
    assert not source.capture_frame(frame())


def test_a_closed_source_takes_nothing() -> None:
    source = rtc.EncodedVideoSource(640, 360)
    published(source)
    asyncio.run(source.aclose())
    assert not source.capture_frame(frame())
    published(source)
    assert not source.capture_frame(frame())


def test_feedback_is_given_once() -> None:
    source = rtc.EncodedVideoSource(640, 360)
    peer = published(source)
    assert source.take_feedback().keyframe_requested  # Nothing can be seen before the first.
    assert source.take_feedback() == rtc.EncodedVideoSourceFeedback(False, None)
    source._peer_event(peer, SimpleNamespace(track=7, layer=0))
    source._peer_event(peer, SimpleNamespace(track=7, layer=0, bits=300_000))
    source._peer_event(peer, SimpleNamespace(track=8, layer=0, bits=1))
    feedback = source.take_feedback()
    rate = rtc.EncodedRateControl(300_000, 20.0)
    assert feedback == rtc.EncodedVideoSourceFeedback(True, rate)
    assert source.take_feedback() == rtc.EncodedVideoSourceFeedback(False, None)


@pytest.mark.parametrize(
    ("encoded", "options", "what"),
    [
        (True, {"simulcast": True}, "simulcast"),
        (True, {"video_encoder": rtc.VideoEncoderBackend.ENCODER_BACKEND_NVENC}, "NVENC"),
        (True, {"video_codec": rtc.VideoCodec.H265}, "H265"),
        (False, {"video_encoder": rtc.VideoEncoderBackend.ENCODER_BACKEND_PRE_ENCODED}, "PRE_ENCODED"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(encoded: bool, options: dict[str, Any], what: str) -> None:
    with pytest.raises(Unsupported, match=what):
        video_request(
            rtc.TrackPublishOptions(**options),
            cid="TR_1",
            name="film",
            muted=False,
            width=640,
            height=360,
            encryption=0,
            encoded=encoded,
        )


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    ran = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("codec", ["VP8", "H264", "VP9", "AV1"])
def test_frames_arrive_unchanged_and_are_seen(seen: dict[str, Any], codec: str) -> None:
    assert seen[codec] == {"unchanged": True, "seen": "as it was", "key frame asked for": True}
