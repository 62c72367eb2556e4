"""Video encoders and decoders: FFmpeg's, by PyAV, which comes with `roomful[video]`.

All of one encoder or decoder must happen in one thread at a time; they release the interpreter's lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from roomful.rtc._enums import VideoBufferType
from roomful.rtc.video_frame import VideoFrame, plane_sizes

#: RTP time of video.
CLOCK = 90_000
_DECODERS = {"vp8": "vp8", "vp9": "vp9", "h264": "h264", "av1": "libdav1d"}
_ENCODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9", "h264": "libx264", "av1": "libsvtav1"}
#: Of a picture, whoever sends it: beyond 4096 x 4096 no memory is taken.
MAX_PIXELS = 4096 * 4096
#: An open encoder follows no other bitrate, but x264 lower ones, slowly: it is opened anew, which costs a key
#: frame. So only for changes of that much, up rarely and down at once.
_UP, _UP_INTERVAL = 1.3, 5.0
_DOWN = {"vp8": 0.85, "vp9": 0.85, "h264": 0.6, "av1": 0.85}


class VideoUnavailable(RuntimeError):
    """Pictures can neither be encoded nor decoded here; says what to install."""


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise VideoUnavailable(
            "video is encoded and decoded by PyAV, which is not installed: pip install 'roomful[video]'"
        ) from None
    # They tell of each damaged frame, and of each encoder's settings, on the standard error stream.
    av.logging.set_level(None)
    os.environ.setdefault("SVT_LOG", "0")
    return av


def check_available() -> None:
    """Raises VideoUnavailable."""
    _pyav()


class Decoder:
    """From encoded frames to pictures, of type I420."""

    def __init__(self, codec: str) -> None:
        """`codec` is vp8, vp9, h264 or av1. Raises VideoUnavailable."""
        av = _pyav()
        self._av = av
        self._context = av.CodecContext.create(_DECODERS[codec], "r")
        self._context.thread_count = 1
        self._context.flags |= av.codec.context.Flags.low_delay
        options = {"max_pixels": str(MAX_PIXELS)}
        self._context.options = options | ({"max_frame_delay": "1"} if codec == "av1" else {})

    def decode(self, data: bytes, timestamp: int) -> Iterator[tuple[VideoFrame, int]]:
        """The pictures that it completes, with their timestamps. Raises ValueError for what is no frame."""
        packet = self._av.Packet(data)
        packet.pts = packet.dts = timestamp
        try:
            frames = self._context.decode(packet)
        except self._av.FFmpegError as error:
            raise ValueError(f"damaged frame: {error}") from error
        for frame in frames:
            yield self._picture(frame), frame.pts if frame.pts is not None else timestamp

    @staticmethod
    def _picture(frame: Any) -> VideoFrame:
        if frame.format.name not in ("yuv420p", "yuvj420p"):
            frame = frame.reformat(format="yuv420p")
        width, height = frame.width, frame.height
        data = bytearray()
        for index, plane in enumerate(frame.planes):
            wide, high = (width, height) if index == 0 else ((width + 1) // 2, (height + 1) // 2)
            lines, stride = memoryview(plane), plane.line_size
            if stride == wide:
                data += lines[: wide * high]
            else:
                for start in range(0, stride * high, stride):
                    data += lines[start : start + wide]
        return VideoFrame(width, height, VideoBufferType.I420, data)


@dataclass(frozen=True, slots=True)
class Encoded:
    data: bytes
    key: bool


class Encoder:
    """From pictures of one size to encoded frames, without delay."""

    def __init__(self, codec: str, width: int, height: int, *, bitrate: int, frames: float) -> None:
        """`codec` is vp8, vp9, h264 or av1, `bitrate` in bit/s, `frames` a second.

        Raises VideoUnavailable."""
        self._av = _pyav()
        self._codec = codec
        self._size = width, height
        self._bitrate, self._frames = bitrate, frames
        #: What the open one was opened for.
        self._opened_bitrate, self._opened_frames, self._opened_at = bitrate, frames, 0
        self._context: Any = None
        #: Filled anew for each frame: encoders keep none.
        self._picture = self._av.VideoFrame(width, height, "yuv420p")
        self._last_time: int | None = None
        #: Between pictures, on average.
        self._interval = CLOCK / frames

    def follow(self, bitrate: int, frames: float) -> None:
        """What it is to take from now on, in bit/s and at most a second."""
        self._bitrate, self._frames = bitrate, frames

    def encode(self, frame: VideoFrame, timestamp: int, *, key: bool) -> Encoded | None:
        """`timestamp` counts `CLOCK` a second. A frame that is not later than the last one is left out."""
        if self._last_time is not None:
            if timestamp <= self._last_time:
                return None
            # A pause says little of what follows.
            self._interval += (min(timestamp - self._last_time, 2 * self._interval) - self._interval) / 8
        self._last_time = timestamp
        self._adapt(timestamp)
        picture, start = self._picture, 0
        for plane, size in zip(picture.planes, plane_sizes(VideoBufferType.I420, *self._size), strict=True):
            _fill(plane, frame.data[start : start + size])
            start += size
        picture.pts, picture.time_base = timestamp, Fraction(1, CLOCK)
        types = self._av.video.frame.PictureType
        picture.pict_type = types.I if key else types.NONE
        # Not asked for more: that would take the interpreter's lock once more.
        packet = next(self._context.encode_lazy(picture), None)
        return Encoded(bytes(packet), bool(packet.is_keyframe)) if packet is not None else None

    def _adapt(self, timestamp: int) -> None:
        """Opens it if it is not open, or not for about what is wanted."""
        frames = max(min(self._frames, CLOCK / self._interval), 1.0)
        wanted = float(self._bitrate)
        if self._codec in ("h264", "av1"):  # They count frames, not time.
            wanted *= self._opened_frames / frames
        change = wanted / self._opened_bitrate
        may_rise = timestamp - self._opened_at >= _UP_INTERVAL * CLOCK
        if self._context is None or change < _DOWN[self._codec] or (change > _UP and may_rise):
            self._opened_bitrate, self._opened_frames, self._opened_at = self._bitrate, frames, timestamp
            self._context = None  # The older one goes first: both at once would take twice the memory.
            self._context = self._open()
        elif self._codec == "h264":
            self._context.bit_rate = min(int(wanted), self._opened_bitrate)

    def _open(self) -> Any:
        context = self._av.CodecContext.create(_ENCODERS[self._codec], "w")
        context.width, context.height = self._size
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, CLOCK)
        context.framerate = Fraction(self._opened_frames).limit_denominator(1000)
        context.bit_rate = self._bitrate
        context.gop_size = 3_000
        # Threads of x264 keep frames back; one is enough for what a connection takes.
        context.thread_count = 1
        context.max_b_frames = 0
        context.options = getattr(self, f"_{self._codec}")()
        context.open()
        return context

    def _vp8(self) -> dict[str, str]:
        return {
            "deadline": "realtime",
            "cpu-used": "-8",
            "lag-in-frames": "0",
            "auto-alt-ref": "0",
            "error-resilient": "default",
            "static-thresh": "1",
            "undershoot-pct": "100",
            "overshoot-pct": "15",
            "qmin": "2",
            "qmax": "56",
            "minrate": str(self._bitrate),
            "maxrate": str(self._bitrate),
            "bufsize": str(self._bitrate),
        }

    def _vp9(self) -> dict[str, str]:
        return {**self._vp8(), "cpu-used": "8", "row-mt": "1", "error-resilient": "0"}

    def _h264(self) -> dict[str, str]:
        return {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "forced-idr": "1",
            "maxrate": str(self._bitrate),
            "bufsize": str(self._bitrate),
            "x264-params": "keyint=infinite:scenecut=0:repeat-headers=1:annexb=1:aud=0:sliced-threads=0",
        }

    def _av1(self) -> dict[str, str]:
        # Nothing before the sixtieth frame otherwise, and the bits of four frames in every fourth.
        order = "pred-struct=1:rc=2:lookahead=0:lp=1:rtc=1:hierarchical-levels=0"
        buffer = "buf-sz=300:buf-initial-sz=100:buf-optimal-sz=200:overshoot-pct=0:undershoot-pct=100"
        return {"preset": "12", "svtav1-params": f"{order}:{buffer}"}


def _fill(plane: Any, data: memoryview) -> None:
    stride, width, height = plane.line_size, plane.width, plane.height
    if stride != width:
        padding = bytes(stride - width)
        lines = (bytes(data[start : start + width]) + padding for start in range(0, width * height, width))
        data = memoryview(b"".join(lines))
    size = plane.buffer_size
    if len(data) < size:
        data = memoryview(bytes(data) + bytes(size - len(data)))
    plane.update(data[:size])
