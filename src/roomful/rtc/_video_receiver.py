"""One received video: decoded in a thread of its own while there are streams of it."""

from __future__ import annotations

import threading
import weakref
from time import perf_counter
from typing import TYPE_CHECKING, Any

from roomful._core import FrameSink, fit_video
from roomful.rtc import _frame_metadata
from roomful.rtc._enums import FrameMetadata, VideoBufferType, VideoRotation
from roomful.rtc._video_codecs import CLOCK, Decoder, check_available
from roomful.rtc.log import logger
from roomful.rtc.track import Received, RemoteVideoTrack, Track
from roomful.rtc.video_frame import VideoFrame

if TYPE_CHECKING:
    from roomful.rtc.video_stream import VideoStream

#: Encoded frames that may wait for the decoder: two seconds'.
CAPACITY = 60
_ROTATIONS = {
    90: VideoRotation.VIDEO_ROTATION_90,
    180: VideoRotation.VIDEO_ROTATION_180,
    270: VideoRotation.VIDEO_ROTATION_270,
}

_receivers: weakref.WeakKeyDictionary[RemoteVideoTrack, VideoReceiver] = weakref.WeakKeyDictionary()


class VideoReceiver:
    """See the module."""

    def __init__(self, track: RemoteVideoTrack) -> None:
        self._track = weakref.ref(track)
        self._lock = threading.Lock()
        self._streams: weakref.WeakSet[VideoStream] = weakref.WeakSet()
        self._decoding: _Decoding | None = None
        track._ends.append(weakref.WeakMethod(self._track_ended))

    @classmethod
    def of(cls, track: RemoteVideoTrack) -> VideoReceiver:
        """The one of a track. Raises VideoUnavailable."""
        check_available()
        if (receiver := _receivers.get(track)) is None:
            receiver = _receivers[track] = cls(track)
        return receiver

    def add(self, stream: VideoStream) -> None:
        """From now on it gets pictures, beginning with a key frame."""
        track = self._track()
        received = track._received if track is not None else None
        if track is None or received is None:
            stream._track_ended(track)
            return
        with self._lock:
            self._streams.add(stream)
            if self._decoding is None:
                self._decoding = _Decoding(self, received)
                return
        received.want_key_frame()

    def remove(self, stream: VideoStream) -> None:
        """Without streams nothing is decoded."""
        with self._lock:
            self._streams.discard(stream)
            if self._streams:
                return
            decoding, self._decoding = self._decoding, None
        if decoding is not None:
            decoding.stop()

    def share(self) -> float:
        """How large pictures are wanted, of the whole."""
        track = self._track()
        return track._share if track is not None else 1.0

    def streams(self) -> list[VideoStream]:
        """Those who want pictures now."""
        with self._lock:
            return list(self._streams)

    def _track_ended(self, track: Track) -> None:
        decoding, self._decoding = self._decoding, None
        if decoding is not None:
            decoding.stop()
        for stream in self.streams():
            stream._track_ended(track)


class _Decoding:
    """The thread. It holds no stream, and ends when nobody holds one."""

    def __init__(self, receiver: VideoReceiver, received: Received) -> None:
        self._receiver = weakref.ref(receiver)
        self._received = received
        self._arrived = threading.Event()
        self._stopped = False
        self._sink = FrameSink(self._arrived.set, CAPACITY)
        self._key_awaited = False
        self._decoder: Decoder | None = None
        self._codec = ""
        #: Of frames in the decoder, by timestamp.
        self._metadata: dict[int, FrameMetadata] = {}
        received.attach(self._sink)
        threading.Thread(target=self._run, name="roomful video receiver", daemon=True).start()

    def stop(self) -> None:
        """Returns at once; a picture may still be on its way."""
        self._stopped = True
        self._received.detach(self._sink)
        self._sink.close()
        self._arrived.set()

    def _run(self) -> None:
        while not self._stopped:
            self._arrived.wait()
            self._arrived.clear()
            for frame in self._sink.take():
                try:
                    self._give(*frame)
                except Exception:
                    logger.exception("a picture cannot be decoded")

    def _pass(
        self,
        streams: list[VideoStream],
        share: float,
        picture: VideoFrame,
        time: int,
        metadata: FrameMetadata | None,
    ) -> None:
        """A picture as it was captured, in this process, smaller where that was asked for."""
        if share < 1:
            picture = _smaller(picture, share)
        usual = None
        for stream in streams:
            wanted = picture
            if stream._format is None and picture.type != VideoBufferType.I420:
                wanted = usual = usual or picture.convert(VideoBufferType.I420)
            stream._push(wanted, time, VideoRotation.VIDEO_ROTATION_0, metadata)

    def _give(self, data: Any, timestamp: int, key: bool, codec: str, degrees: int) -> None:
        receiver = self._receiver()
        streams = receiver.streams() if receiver is not None else []
        if not streams and not self._stopped:
            # They were let go of without being closed.
            self.stop()
        if self._stopped or (self._key_awaited and not key):
            return
        if codec == "plain":
            self._pass(streams, receiver.share() if receiver is not None else 1.0, *data)
            return
        if self._decoder is None or codec != self._codec:
            self._decoder, self._codec = Decoder(codec), codec
        self._key_awaited = False
        data, metadata = _frame_metadata.take(data, codec)
        if len(self._metadata) > CAPACITY:  # Of frames of which no picture came.
            self._metadata.clear()
        if metadata is not None:
            self._metadata[timestamp] = metadata
        rotation = _ROTATIONS.get(degrees, VideoRotation.VIDEO_ROTATION_0)
        began = perf_counter()
        try:
            for picture, time in self._decoder.decode(data, timestamp):
                self._sink.decoded(picture.width, picture.height, key, perf_counter() - began)
                metadata = self._metadata.pop(time, None)
                for stream in streams:
                    stream._push(picture, time * 1_000_000 // CLOCK, rotation, metadata)
        except ValueError as error:
            logger.debug("%s", error)
            self._key_awaited = True
            self._received.want_key_frame()


def _smaller(picture: VideoFrame, share: float) -> VideoFrame:
    """As the encoding of that size would be."""
    own = picture.width, picture.height
    size = max(round(own[0] * share / 2) * 2, 2), max(round(own[1] * share / 2) * 2, 2)
    (data,), _ = fit_video(bytes(picture._data), own, picture.type, [size])
    return VideoFrame(*size, VideoBufferType.I420, data)
