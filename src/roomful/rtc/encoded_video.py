"""Video that comes encoded, for example from a camera or a file, and is published as it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from roomful.rtc import _frame_metadata
from roomful.rtc._enums import DegradationPreference, EncodedFrameType, FrameMetadata, VideoCodec
from roomful.rtc._layers import Encoding
from roomful.rtc._publishing import CODECS


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
        #: One a publication, by connection and number.
        self._senders: dict[tuple[int, int], _Sender] = {}
        self._key_frame_wanted = False
        self._rate: EncodedRateControl | None = None
        self._closed = False

    @property
    def width(self) -> int:
        """Pixels, as said when it was made."""
        return self._width

    @property
    def height(self) -> int:
        """Pixels, as said when it was made."""
        return self._height

    def capture_frame(self, frame: EncodedVideoFrame) -> bool:
        """Sends a frame; False if nobody takes it: before the track is published, after it was taken back,
        and of another codec than the publication's."""
        # All of them get it.
        return any([sender.send(frame) for sender in list(self._senders.values())])

    def take_feedback(self) -> EncodedVideoSourceFeedback:
        """What is asked of the encoder; the next call says only what is new."""
        feedback = EncodedVideoSourceFeedback(self._key_frame_wanted, self._rate)
        self._key_frame_wanted, self._rate = False, None
        return feedback

    async def aclose(self) -> None:
        """Takes no more frames."""
        self._closed = True
        self._senders.clear()

    # ---- for whoever publishes it

    def _send_to(
        self,
        peer: Any,
        number: int,
        cid: str,
        codec: str,
        layers: Sequence[Encoding],
        features: Collection[int] = (),
        _preference: DegradationPreference | None = None,
    ) -> None:
        """`features` are those of metadata that frames carry."""
        (layer,) = layers
        peer.publish_video(number, cid=cid, stream="-", codec=f"video/{codec}", layers=[("", layer.bitrate)])
        if not self._closed:
            self._senders[id(peer), number] = _Sender(peer, number, codec, layer.frames, features)
            self._key_frame_wanted = True

    def _stop_sending(self, peer: Any, number: int) -> None:
        self._senders.pop((id(peer), number), None)

    def _peer_event(self, peer: Any, event: Any) -> None:
        if (sender := self._senders.get((id(peer), event.track))) is None:
            return
        if hasattr(event, "bits"):
            self._rate = EncodedRateControl(event.bits, sender.frames)
        else:
            self._key_frame_wanted = True

    def _use_layers(self, peer: Any, number: int, qualities: set[int]) -> None:
        if (sender := self._senders.get((id(peer), number))) is not None:
            wanted = bool(qualities)
            self._key_frame_wanted |= wanted and not sender.wanted
            sender.wanted = wanted
            peer.use_layers(number, [0] if wanted else [])


class _Sender:
    """One publication."""

    def __init__(self, peer: Any, number: int, codec: str, frames: float, features: Collection[int]) -> None:
        self._peer = peer
        self._number = number
        self._codec = codec
        self._features = features
        self._captured = 0
        #: A second, at most.
        self.frames = frames
        #: Somebody takes it.
        self.wanted = True

    def send(self, frame: EncodedVideoFrame) -> bool:
        if CODECS.get(frame.codec) != self._codec:
            return False
        self._captured += 1
        if self.wanted:
            data = frame.data
            metadata = _frame_metadata.chosen(frame.metadata, self._features)
            if metadata is not None:
                data = _frame_metadata.add(data, metadata, self._codec)
            size = frame.width, frame.height
            self._peer.send_frame(
                self._number,
                0,
                data,
                timestamp_us=frame.timestamp_us,
                key=frame.frame_type == EncodedFrameType.ENCODED_FRAME_KEY,
                size=size,
                captured=(*size, self._captured),
            )
        return True
