"""Where pictures to publish come from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from roomful._core import turn_video
from roomful.rtc._enums import DegradationPreference, FrameMetadata, VideoBufferType, VideoRotation
from roomful.rtc._frame_metadata import MOST_USER_DATA
from roomful.rtc._layers import Encoding
from roomful.rtc._video_sender import VideoSender
from roomful.rtc.video_frame import VideoFrame


class VideoSource:
    """Pictures that are encoded and sent while a track with this source is published.

    `width` and `height` say what is going to be captured: sizes and bitrates of the encodings are chosen by
    them. Frames of other sizes are sent too. Until there is one, others see black.
    """

    def __init__(self, width: int, height: int, *, is_screencast: bool = False) -> None:
        """`is_screencast`: text and other still content; when there is little room the frames become fewer,
        not smaller. Raises ValueError for a size that is not positive."""
        if width <= 0 or height <= 0:
            raise ValueError("video source dimensions must be positive")
        self._width = width
        self._height = height
        self._is_screencast = is_screencast
        #: One a publication, by connection and number.
        self._senders: dict[tuple[int, int], VideoSender] = {}
        self._closed = self._has_captured = False

    @property
    def width(self) -> int:
        """Pixels, as said when it was made."""
        return self._width

    @property
    def height(self) -> int:
        """Pixels, as said when it was made."""
        return self._height

    def capture_frame(
        self,
        frame: VideoFrame,
        *,
        timestamp_us: int = 0,
        rotation: VideoRotation.ValueType = VideoRotation.VIDEO_ROTATION_0,
        metadata: FrameMetadata | None = None,
    ) -> None:
        """Sends a picture, and returns at once: it is encoded in another thread, and left out if that is busy
        with an earlier one when the next comes. In a program that never lets go of the interpreter's lock,
        which the other thread needs, it waits for that thread: some milliseconds a picture, 50 at most.

        Args:
            timestamp_us: when it was captured, in microseconds of any clock; 0 is now. Others see times that
                are as far apart, but for a clock that goes back or jumps by more than 0.3 s: they rise.
            rotation: others see it turned by that, clockwise; it is turned before this returns.
            metadata: goes with it on tracks that are published with `frame_metadata_features`: those of its
                parts that are named there.

        Raises:
            ValueError: for user_data of more than 232 bytes.
        """
        if metadata is not None and len(metadata.user_data) > MOST_USER_DATA:
            raise ValueError(f"user_data of {len(metadata.user_data)} bytes is over {MOST_USER_DATA}")
        self._has_captured = True
        if not self._senders:
            return
        if rotation != VideoRotation.VIDEO_ROTATION_0:
            frame = _turned(frame, rotation)
        elif not isinstance(frame._data, bytes):
            # Whoever captures may draw the next picture into it at once.
            frame = VideoFrame(frame.width, frame.height, frame.type, bytes(frame.data))
        for sender in list(self._senders.values()):
            sender.capture(frame, timestamp_us, metadata)

    async def aclose(self) -> None:
        """Sends nothing any more."""
        self._closed = True
        for sender in self._senders.values():
            sender.close()
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
        preference: DegradationPreference | None = None,
    ) -> None:
        """`features` are those of metadata that frames carry, `preference` is what stays for want of room."""
        if preference is None:
            still = self._is_screencast
            preference = (
                DegradationPreference.MAINTAIN_RESOLUTION if still else DegradationPreference.BALANCED
            )
        black = not (self._has_captured or self._closed)
        sender = VideoSender(peer, number, codec, layers, features, preference, black=black)
        peer.publish_video(
            number,
            cid=cid,
            stream="-",
            codec=f"video/{codec}",
            # Rids in the order of quality.
            layers=[(layer.rid, layer.bitrate) for layer in sender.layers],
        )
        if self._closed:  # Since it was published: as then, the track stays, and shows nothing.
            sender.close()
        else:
            self._senders[id(peer), number] = sender

    def _stop_sending(self, peer: Any, number: int) -> None:
        if (sender := self._senders.pop((id(peer), number), None)) is not None:
            sender.close()

    def _peer_event(self, peer: Any, event: Any) -> None:
        if (sender := self._senders.get((id(peer), event.track))) is not None:
            sender.peer_event(event)

    def _use_layers(self, peer: Any, number: int, qualities: set[int]) -> None:
        if (sender := self._senders.get((id(peer), number))) is not None:
            sender.use(qualities)


def _turned(frame: VideoFrame, rotation: VideoRotation.ValueType) -> VideoFrame:
    """Servers do not negotiate the header extension (urn:3gpp:video-orientation) by which others turn it."""
    size = frame.width, frame.height
    data = turn_video(frame.data, size, frame.type, rotation)
    width, height = size if rotation == VideoRotation.VIDEO_ROTATION_180 else size[::-1]
    return VideoFrame(width, height, VideoBufferType.I420, data)
