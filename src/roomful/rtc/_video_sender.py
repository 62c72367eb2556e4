"""One published video: encodes each picture once a layer, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

from roomful._core import Mailbox, fit_video
from roomful.rtc import _frame_metadata
from roomful.rtc._enums import DegradationPreference, FrameMetadata, VideoBufferType
from roomful.rtc._layers import Encoding
from roomful.rtc._video_codecs import CLOCK, Encoded, Encoder, check_available
from roomful.rtc.log import logger
from roomful.rtc.video_frame import VideoFrame

#: Below so many bits a pixel pictures fall apart: then there are fewer of them, smaller ones instead of less
#: than `_FEW_FRAMES` a second, and of the smallest ones fewer still.
_FEWEST_BITS = {"vp8": 0.035, "h264": 0.03, "vp9": 0.025, "av1": 0.025}
_FEW_FRAMES, _FEWEST_FRAMES = 15.0, 8.0
_SMALLEST_SIDE = 90
_KEEPING_SIZE = (
    DegradationPreference.MAINTAIN_RESOLUTION,
    DegradationPreference.MAINTAIN_FRAMERATE_AND_RESOLUTION,
)
_KEEPING_RATE = (
    DegradationPreference.MAINTAIN_FRAMERATE,
    DegradationPreference.MAINTAIN_FRAMERATE_AND_RESOLUTION,
)
#: Pixels of a side that an encoder takes: smaller pictures are sent larger.
_LEAST_SIDE = {"av1": 64}
#: Seconds after which a black picture stands in for a first one that does not come, and between two of them:
#: some servers tell nobody of a track before there is media.
_BLACK_AFTER, _BLACK_INTERVAL = 0.1, 0.5
#: A lower size is kept for so many seconds.
_SIZE_INTERVAL = 5.0
#: A program does not let go of the interpreter where a picture is lost, the encoder had to wait for it for so
#: many seconds, and who captures was at work for so much of the time since the picture before.
_KEPT_WAITING, _AT_WORK = 0.004, 0.1
#: Then it waits for the encoder with each picture, this long at most, and for so many seconds.
_PATIENCE, _PATIENT_FOR = 0.05, 2.0
#: A clock that is so many microseconds from ours is another one, or was set anew.
_ANOTHER_CLOCK = 300_000
#: Microseconds from one time to the next.
_LEAST_STEP = 1_000


class _Alignment:
    """From times of who captures to times of our clock, in microseconds, which rise though theirs jump, or go
    back: by what they were apart, until that is another clock."""

    def __init__(self) -> None:
        self._offset = self._last = 0

    def align(self, timestamp: int, now: int) -> int:
        """`now` is of our clock."""
        aligned = timestamp + self._offset
        earliest = self._last + _LEAST_STEP
        if aligned < earliest or abs(aligned - now) > _ANOTHER_CLOCK:
            aligned = max(now, earliest)
            self._offset = aligned - timestamp
        self._last = aligned
        return aligned


class _Layer:
    def __init__(self, encoding: Encoding, codec: str, preference: DegradationPreference) -> None:
        most = max(encoding.frames, 1.0)
        self._codec = codec
        self._keeps_size = preference in _KEEPING_SIZE
        keeps_rate = preference in _KEEPING_RATE
        self._few, self._fewest = (
            most if keeps_rate else min(frames, most) for frames in (_FEW_FRAMES, _FEWEST_FRAMES)
        )
        self._encoding = encoding
        self._encoder: Encoder | None = None
        self.size = (0, 0)
        self._halvings = 0
        self._resized_at = float("-inf")
        self._last: int | None = None
        #: What there is room for, in bit/s.
        self.bitrate = encoding.bitrate
        #: Somebody takes it.
        self.wanted = True
        self.key_wanted = True

    def due(self, timestamp: int) -> bool:
        """Whether a frame of that time is to be sent."""
        if not self.wanted or self.bitrate <= 0:
            return False
        least = CLOCK / self._frames()
        # Cameras are not exact.
        return self._last is None or timestamp - self._last >= 0.9 * least

    def forget(self) -> None:
        """The last frame was black: the next is due whenever it comes."""
        self._last = None

    def encode(self, frame: VideoFrame, timestamp: int) -> Encoded | None:
        """`frame` is I420, of a size that fits."""
        bitrate = min(self.bitrate, self._encoding.bitrate)
        if bitrate <= 0:  # There was room for it when it was due.
            return None
        self._last = timestamp
        size = frame.width, frame.height
        if self._encoder is None or size != self.size:
            self.size = size
            self._encoder = None  # The older one goes first: both at once would take twice the memory.
            self._encoder = Encoder(self._codec, *size, bitrate=bitrate, frames=self._frames())
        else:
            self._encoder.follow(bitrate, self._frames())
        key, self.key_wanted = self.key_wanted, False
        return self._encoder.encode(frame, timestamp, key=key)

    def fitting(self, frame: VideoFrame, whole: tuple[int, int], timestamp: int) -> tuple[int, int]:
        """In the shape of the frame, as much smaller as this layer is than `whole`, the largest one, if the
        encoder takes that."""
        share = max(self._encoding.width, self._encoding.height) / max(*whole, 1)
        self._choose_size(frame, share, timestamp / CLOCK)
        least = _LEAST_SIDE.get(self._codec, 0) / min(frame.width, frame.height)
        share = max(min(share, 1.0) / 2**self._halvings, least)
        return max(2, round(frame.width * share / 2) * 2), max(2, round(frame.height * share / 2) * 2)

    def _choose_size(self, frame: VideoFrame, share: float, now: float) -> None:
        if self._keeps_size or now - self._resized_at < _SIZE_INTERVAL:
            return
        pixels = frame.width * frame.height * share * share / 4**self._halvings
        needed = pixels * _FEWEST_BITS[self._codec] * self._few
        short = min(frame.width, frame.height) * share / 2**self._halvings
        if self.bitrate < needed and short >= 2 * _SMALLEST_SIDE:
            self._halvings, self._resized_at = self._halvings + 1, now
        elif self._halvings and self.bitrate > 4 * needed * 1.5:
            self._halvings, self._resized_at = self._halvings - 1, now

    def _frames(self) -> float:
        """A second."""
        most = max(self._encoding.frames, 1.0)
        pixels = self.size[0] * self.size[1]
        if not pixels:
            return most
        affordable = self.bitrate / (pixels * _FEWEST_BITS[self._codec])
        return min(most, max(affordable, self._fewest))


class VideoSender:
    """`layers` are sent smallest first; each has its index there as its number at the peer."""

    def __init__(
        self,
        peer: Any,
        number: int,
        codec: str,
        layers: Sequence[Encoding],
        features: Collection[int],
        preference: DegradationPreference,
        *,
        black: bool,
    ) -> None:
        """`black`: until there is a picture. Raises VideoUnavailable."""
        check_available()
        self.layers = sorted(layers, key=lambda layer: layer.bitrate)
        self._peer = peer
        self._number = number
        self._codec, self._features = codec, features
        self._layers = [_Layer(layer, codec, preference) for layer in self.layers]
        self._whole = self.layers[-1].width, self.layers[-1].height
        self._lock = threading.Lock()
        self._next = Mailbox()
        #: The newest picture is.
        self._in_last_step = threading.Event()
        self._kept_waiting = False
        self._patient_until = 0.0
        #: Seconds at the last picture: of our clock, and of work of who captured it.
        self._then = self._work = 0.0
        self._captured = 0
        #: Whether black is to be sent, and was.
        self._black, self._black_sent = black, False
        self._alignment = _Alignment()
        self._closed = False
        threading.Thread(target=self._run, name="roomful video sender", daemon=True).start()

    def capture(self, frame: VideoFrame, timestamp_us: int, metadata: FrameMetadata | None = None) -> None:
        """Instead of one that waits.

        The encoder needs the interpreter between its steps. A program that never lets go of it would hold up
        each of them: then this waits for all but the last, which needs it no more."""
        if self._closed:
            return
        now = time.monotonic_ns() // 1_000
        metadata = _frame_metadata.chosen(metadata, self._features)
        with self._lock:
            timestamp_us = self._alignment.align(timestamp_us if timestamp_us > 0 else now, now)
            self._black = False
            self._captured += 1
            self._in_last_step.clear()
            captured = frame, timestamp_us, metadata
            lost = self._next.put((self._captured, now, captured))
        self._peer.send_plain(self._number, captured)
        if self._has_to_wait(lost):
            self._in_last_step.wait(_PATIENCE)

    def _has_to_wait(self, lost: bool) -> bool:
        """At each picture; `lost` is one that was captured before, and not encoded."""
        now, work = time.monotonic(), time.thread_time()
        at_work = work - self._work > _AT_WORK * (now - self._then)
        self._then, self._work = now, work
        if lost:
            if self._kept_waiting and at_work:
                self._patient_until = now + _PATIENT_FOR
            self._kept_waiting = False
        return now < self._patient_until

    def peer_event(self, event: Any) -> None:
        """A key frame is wanted, or there is another room."""
        if not 0 <= event.layer < len(self._layers):
            return
        layer = self._layers[event.layer]
        if hasattr(event, "bits"):
            layer.bitrate = event.bits
        else:
            layer.key_wanted = True

    def use(self, qualities: set[int]) -> None:
        """Only these layers are encoded, by quality from 0; a single layer is if any is."""
        for index, layer in enumerate(self._layers):
            wanted = index in qualities or (len(self._layers) == 1 and bool(qualities))
            layer.key_wanted |= wanted and not layer.wanted
            layer.wanted = wanted
        self._peer.use_layers(self._number, [i for i, layer in enumerate(self._layers) if layer.wanted])

    def close(self) -> None:
        """Returns at once; what is being encoded goes nowhere."""
        self._closed = True
        self._next.close()
        self._in_last_step.set()

    def _run(self) -> None:
        while not self._closed:
            interval = _BLACK_INTERVAL if self._black_sent else _BLACK_AFTER
            item, waited = self._next.take(interval if self._black else None)
            self._note_waiting(waited)
            if item is None and not self._closed:
                item = self._black_item()
            if item is None:
                continue
            number, came, captured = item
            try:
                self._send(number, came, *captured)
            except Exception:
                logger.exception("a picture cannot be encoded")
            self._note_last_step(number)

    def _note_last_step(self, number: int) -> None:
        if number == self._captured:
            self._in_last_step.set()

    def _note_waiting(self, seconds: float) -> None:
        self._kept_waiting |= seconds > _KEPT_WAITING

    def _black_item(self) -> tuple[int, int, tuple[VideoFrame, int, None]] | None:
        """As one that was captured, unless one was."""
        with self._lock:
            if not self._black:
                return None
            self._black_sent = True
            now = time.monotonic_ns() // 1_000
            return 0, now, (self._black_picture(), self._alignment.align(now, now), None)

    def _black_picture(self) -> VideoFrame:
        width, height = self._whole
        chroma = 2 * ((width + 1) // 2) * ((height + 1) // 2)
        return VideoFrame(width, height, VideoBufferType.I420, bytes(width * height) + b"\x80" * chroma)

    def _send(
        self, number: int, came: int, frame: VideoFrame, timestamp_us: int, metadata: FrameMetadata | None
    ) -> None:
        """`came` is in microseconds of our clock."""
        timestamp = timestamp_us * CLOCK // 1_000_000
        due = [layer for layer in self._layers if layer.due(timestamp)]
        captured = frame.width, frame.height, self._captured
        for layer, picture in zip(due, self._fitting(frame, due, timestamp), strict=True):
            if layer is due[-1]:
                self._note_last_step(number)
            began = time.perf_counter()
            encoded = layer.encode(picture, timestamp)
            if number == 0:
                layer.forget()
            if self._closed:
                return
            if encoded is None:
                continue
            data = encoded.data
            if metadata is not None:
                data = _frame_metadata.add(data, metadata, self._codec)
            self._peer.send_frame(
                self._number,
                self._layers.index(layer),
                data,
                timestamp_us=timestamp_us,
                key=encoded.key,
                age=(time.monotonic_ns() // 1_000 - came) / 1e6,
                size=layer.size,
                seconds=time.perf_counter() - began,
                captured=captured,
            )

    def _fitting(self, frame: VideoFrame, layers: Sequence[_Layer], timestamp: int) -> list[VideoFrame]:
        """A picture for each."""
        own = frame.width, frame.height
        sizes = [layer.fitting(frame, self._whole, timestamp) for layer in layers]
        others = list(
            dict.fromkeys(size for size in sizes if size != own or frame.type != VideoBufferType.I420)
        )
        pictures = {own: frame}
        if others:
            fitted, waited = fit_video(bytes(frame._data), own, frame.type, others)
            self._note_waiting(waited)
            pictures |= {
                size: VideoFrame(*size, VideoBufferType.I420, data)
                for size, data in zip(others, fitted, strict=True)
            }
        return [pictures[size] for size in sizes]
