"""Video that comes encoded, for example from a camera or a file, and is published as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from roomful.rtc._enums import EncodedFrameType, FrameMetadata, VideoCodec


@dataclass(frozen=True)
class EncodedVideoFrame:
    """One complete encoded frame, without container or RTP headers; Annex B for H.264 and H.265."""

    data: bytes
    width: int
    height: int
    codec: VideoCodec.ValueType
    """That of the publication, the same for all frames."""
    frame_type: EncodedFrameType.ValueType
    timestamp_us: int
    """When it was captured, in microseconds; later for each frame."""
    metadata: FrameMetadata | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes):
            raise TypeError("encoded frame data must be bytes")
        if not self.data:
            raise ValueError("encoded frame data must not be empty")
        if self.width <= 0 or self.height <= 0:
            raise ValueError("encoded frame dimensions must be positive")


@dataclass(frozen=True)
class EncodedRateControl:
    """What the connection has room for."""

    target_bitrate_bps: int
    framerate_fps: float


@dataclass(frozen=True)
class EncodedVideoSourceFeedback:
    """What was asked of the encoder since the last time."""

    keyframe_requested: bool
    rate_control: EncodedRateControl | None


class EncodedVideoSource:
    """Frames that somebody else has encoded, at the rate at which they are to be played.

    Create a `LocalVideoTrack` with it and publish that with the frames' `video_codec`, with
    `video_encoder=ENCODER_BACKEND_PRE_ENCODED` and `simulcast=False`. Ask `take_feedback` often and pass on
    what it says: subscribers see nothing before the next key frame.
    """

    def __init__(self, width: int, height: int) -> None:
        """`width` and `height` in pixels; ValueError is raised for what is not positive."""
        if width <= 0 or height <= 0:
            raise ValueError("encoded source dimensions must be positive")
        self._width = width
        self._height = height
        #: Takes frames while the track is published; says whether it did.
        self._sink: Callable[[EncodedVideoFrame], bool] | None = None
        self._key_frame_wanted = False
        self._rate: EncodedRateControl | None = None

    def capture_frame(self, frame: EncodedVideoFrame) -> bool:
        """Sends a frame; False if nobody takes it, for example before the track is published."""
        return self._sink is not None and self._sink(frame)

    def take_feedback(self) -> EncodedVideoSourceFeedback:
        """What is asked of the encoder; the next call says only what is new."""
        feedback = EncodedVideoSourceFeedback(self._key_frame_wanted, self._rate)
        self._key_frame_wanted, self._rate = False, None
        return feedback

    async def aclose(self) -> None:
        """Takes no more frames."""
        self._sink = None

    def _want_key_frame(self) -> None:
        self._key_frame_wanted = True

    def _want_rate(self, bitrate: int, framerate: float) -> None:
        self._rate = EncodedRateControl(bitrate, framerate)
