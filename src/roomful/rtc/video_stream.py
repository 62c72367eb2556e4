"""Pictures of others, seen one after another."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

from roomful.rtc._enums import FrameMetadata, TrackSource, VideoBufferType, VideoRotation
from roomful.rtc._video_receiver import VideoReceiver
from roomful.rtc.participant import Participant, RemoteParticipant
from roomful.rtc.track import RemoteVideoTrack, Track
from roomful.rtc.video_frame import VideoFrame

#: Pictures that wait for a program that does not read, if it does not say how many; the oldest are dropped.
CAPACITY = 30
#: Bytes of pictures that wait, of which there is always one.
MAX_WAITING = 256 * 1024 * 1024


@dataclass
class VideoFrameEvent:
    """A picture that was seen."""

    frame: VideoFrame
    timestamp_us: int
    """When it was captured, in microseconds on a clock of the track's own."""
    rotation: VideoRotation.ValueType
    """By how much it is to be turned clockwise before it is shown."""
    metadata: FrameMetadata | None = None


class VideoStream:
    """Pictures of a remote track until it ends. A track is decoded once for all its streams, in a thread of
    its own, and not at all without any.

    >>> async for event in rtc.VideoStream(track):  # doctest: +SKIP
    ...     print(event.frame)
    """

    def __init__(
        self,
        track: Track,
        loop: asyncio.AbstractEventLoop | None = None,
        capacity: int = 0,
        format: VideoBufferType.ValueType | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            track: whose pictures to see; see also `from_participant`.
            loop: where the stream is read, if that is not the running loop.
            capacity: pictures that may wait to be read, after which the oldest are dropped; 0 is 30.
            format: of the pictures; I420 if None.

        Raises VideoUnavailable without `roomful[video]`.
        """
        self._loop = loop or asyncio.get_running_loop()
        self._format = format
        self._participant: Participant | None = kwargs.get("participant")
        self._source: TrackSource.ValueType | None = kwargs.get("track_source")
        self._events: deque[VideoFrameEvent] = deque(maxlen=capacity or CAPACITY)
        self._news = asyncio.Event()
        self._ended = False
        self._receiver: VideoReceiver | None = None
        if self._participant is not None:
            self._follow(self._participant)
        else:
            self._see(track)

    @classmethod
    def from_participant(
        cls,
        *,
        participant: Participant,
        track_source: TrackSource.ValueType,
        loop: asyncio.AbstractEventLoop | None = None,
        format: VideoBufferType.ValueType | None = None,
        capacity: int = 0,
    ) -> VideoStream:
        """The stream of whatever track of that source a participant publishes, one after the other, until the
        participant leaves, `capacity` as there."""
        return cls(
            None,  # type: ignore[arg-type]
            loop,
            capacity,
            format,
            participant=participant,
            track_source=track_source,
        )

    @classmethod
    def from_track(
        cls,
        *,
        track: Track,
        loop: asyncio.AbstractEventLoop | None = None,
        format: VideoBufferType.ValueType | None = None,
        capacity: int = 0,
    ) -> VideoStream:
        """The stream of a track, `capacity` as there."""
        return cls(track, loop, capacity, format)

    async def aclose(self) -> None:
        """Sees no more. Any number of times."""
        self._leave_track()
        self._participant = None
        self._events.clear()
        self._finish()

    def __aiter__(self) -> AsyncIterator[VideoFrameEvent]:
        return self

    async def __anext__(self) -> VideoFrameEvent:
        while True:
            # Before the look: a picture that comes after it wakes the wait.
            self._news.clear()
            if self._events:
                return self._events.popleft()
            if self._ended:
                raise StopAsyncIteration
            await self._news.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_receiver"):
            self._leave_track()

    def _see(self, track: Track) -> None:
        if not isinstance(track, RemoteVideoTrack):
            raise ValueError(f"a VideoStream sees the video tracks of others, not {track!r}")
        self._receiver = VideoReceiver.of(track)
        self._receiver.add(self)

    def _follow(self, participant: Participant) -> None:
        if not isinstance(participant, RemoteParticipant):
            raise ValueError(f"a VideoStream sees others, not {participant!r}")
        participant._watch(self._take)

    def _take(self, source: TrackSource.ValueType | None, track: Track | None) -> None:
        """A track of the participant that came; None when they have left."""
        if track is None:
            self._finish()
        elif source == self._source and isinstance(track, RemoteVideoTrack) and not self._ended:
            self._leave_track()
            self._see(track)

    def _track_ended(self, track: Track | None) -> None:
        """A participant may have another."""
        self._receiver = None
        if self._participant is None:
            self._finish()

    def _leave_track(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.remove(self)

    def _finish(self) -> None:
        self._ended = True
        self._wake()

    def _push(
        self,
        frame: VideoFrame,
        timestamp_us: int,
        rotation: VideoRotation.ValueType,
        metadata: FrameMetadata | None,
    ) -> None:
        """In the receiver's thread."""
        if self._ended:
            return
        if self._format is not None and frame.type != self._format:
            frame = frame.convert(self._format)
        with contextlib.suppress(IndexError):  # They are being read.
            for _ in range(len(self._events) - MAX_WAITING // max(len(frame.data), 1) + 1):
                self._events.popleft()
        self._events.append(VideoFrameEvent(frame, timestamp_us, rotation, metadata))
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self._news.set)
