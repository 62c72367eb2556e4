"""Sound of others, heard frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self

from roomful.rtc._enums import TrackSource
from roomful.rtc.audio_frame import AudioFrame
from roomful.rtc.frame_processor import FrameProcessor
from roomful.rtc.log import logger
from roomful.rtc.participant import Participant, RemoteParticipant
from roomful.rtc.track import RemoteAudioTrack, Track

#: Frames that wait for a program that does not read, if it does not say how many; the oldest are dropped.
CAPACITY = 1_000
#: Milliseconds of a frame, if the program does not say.
FRAME_MS = 10


@dataclass
class AudioFrameEvent:
    """A frame that was heard."""

    frame: AudioFrame


@dataclass
class NoiseCancellationOptions:
    """A plug-in of LiveKit's native library, which is not there: refused by AudioStream."""

    module_id: str
    options: dict[str, Any]


class AudioStream:
    """Frames of a remote track, resampled as asked, until the track ends. Nothing is decoded for nobody.

    >>> async for event in rtc.AudioStream(track):  # doctest: +SKIP
    ...     print(event.frame.samples_per_channel)
    """

    def __init__(
        self,
        track: Track,
        loop: asyncio.AbstractEventLoop | None = None,
        capacity: int = 0,
        sample_rate: int = 48000,
        num_channels: int = 1,
        frame_size_ms: int | None = None,
        noise_cancellation: NoiseCancellationOptions | FrameProcessor[AudioFrame] | None = None,
        auto_close_noise_cancellation: bool = True,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            track: whose sound to hear; see also `from_participant`.
            loop: where the stream is read, if that is not the running loop.
            capacity: frames that may wait to be read, after which the oldest are dropped; 0 is 1,000.
            sample_rate: of the frames, in Hz.
            num_channels: of the frames.
            frame_size_ms: of the frames; 10 if None.
            noise_cancellation: a FrameProcessor, through which every frame goes.
            auto_close_noise_cancellation: whether it is closed with the stream.

        Raises:
            NotImplementedError: `noise_cancellation` is a plug-in of LiveKit's native library.
            ValueError: the track is no audio track of somebody else, or there is no such rate, number of
                channels, capacity or length of frames.
        """
        if isinstance(noise_cancellation, NoiseCancellationOptions):
            raise NotImplementedError(
                f"noise_cancellation by the module {noise_cancellation.module_id!r}: plug-ins of LiveKit's "
                "native library cannot be loaded; a FrameProcessor can be used"
            )
        self._loop = loop or asyncio.get_running_loop()
        self._track: Track | None = None
        self._participant: Participant | None = kwargs.get("participant")
        self._source: TrackSource.ValueType | None = kwargs.get("track_source")
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        self._processor = noise_cancellation
        self._closes_processor = auto_close_noise_cancellation
        self._frames: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._ended = self._closed = False
        core: Any = import_module("roomful._core")
        self._sink = core.AudioSink(
            self._waker(), sample_rate, num_channels, capacity or CAPACITY, frame_size_ms or FRAME_MS
        )
        if self._participant is not None:
            self._follow(self._participant)
        else:
            self._hear(track)

    @classmethod
    def from_track(
        cls,
        *,
        track: Track,
        loop: asyncio.AbstractEventLoop | None = None,
        capacity: int = 0,
        sample_rate: int = 48000,
        num_channels: int = 1,
        frame_size_ms: int | None = None,
        noise_cancellation: NoiseCancellationOptions | FrameProcessor[AudioFrame] | None = None,
        auto_close_noise_cancellation: bool = False,
    ) -> AudioStream:
        """The stream of a track: `capacity`, `sample_rate`, `num_channels` and `frame_size_ms` as there."""
        return cls(
            track,
            loop,
            capacity,
            sample_rate,
            num_channels,
            frame_size_ms,
            noise_cancellation,
            auto_close_noise_cancellation,
        )

    @classmethod
    def from_participant(
        cls,
        *,
        participant: Participant,
        track_source: TrackSource.ValueType,
        loop: asyncio.AbstractEventLoop | None = None,
        capacity: int = 0,
        sample_rate: int = 48000,
        num_channels: int = 1,
        frame_size_ms: int | None = None,
        noise_cancellation: NoiseCancellationOptions | FrameProcessor[AudioFrame] | None = None,
        auto_close_noise_cancellation: bool = True,
    ) -> AudioStream:
        """The stream of whatever track of that source a participant publishes, one after the other, until the
        participant leaves: `capacity`, `sample_rate`, `num_channels` and `frame_size_ms` as there."""
        return cls(
            None,  # type: ignore[arg-type]
            loop,
            capacity,
            sample_rate,
            num_channels,
            frame_size_ms,
            noise_cancellation,
            auto_close_noise_cancellation,
            participant=participant,
            track_source=track_source,
        )

    async def aclose(self) -> None:
        """Hears no more. Any number of times."""
        self._close()

    def __aiter__(self) -> AsyncIterator[AudioFrameEvent]:
        return self

    async def __anext__(self) -> AudioFrameEvent:
        while not self._frames:
            self._news.clear()
            self._frames.extend(self._sink.take() if not self._closed else ())
            if not self._frames:
                if self._ended:
                    raise StopAsyncIteration
                await self._news.wait()
        data = self._frames.popleft()
        samples = len(data) // 2 // self._num_channels
        frame = AudioFrame(data, self._sample_rate, self._num_channels, samples)
        return AudioFrameEvent(self._processed(frame))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_sink"):
            self._leave_track()

    def _processed(self, frame: AudioFrame) -> AudioFrame:
        if self._processor is None or not self._processor.enabled:
            return frame
        try:
            return self._processor._process(frame)
        except (Exception, asyncio.CancelledError):  # Of the processor: a call is not cancelled.
            logger.warning("a frame goes on unprocessed", exc_info=True)
            return frame

    def _hear(self, track: Track) -> None:
        if not isinstance(track, RemoteAudioTrack):
            raise ValueError(f"an AudioStream hears the audio tracks of others, not {track!r}")
        self._track = track
        track._register_audio_stream(self)
        if track._received is None:
            self._end(track)
            return
        track._received.attach(self._sink)
        track._ends.append(weakref.WeakMethod(self._end))

    def _follow(self, participant: Participant) -> None:
        if not isinstance(participant, RemoteParticipant):
            raise ValueError(f"an AudioStream hears others, not {participant!r}")
        participant._watch(self._take)

    def _take(self, source: TrackSource.ValueType | None, track: Track | None) -> None:
        """A track of the participant that came; None when they have left."""
        if track is None:
            self._finish()
        elif source == self._source and isinstance(track, RemoteAudioTrack) and not self._ended:
            self._leave_track()
            self._hear(track)

    def _end(self, track: Track) -> None:
        """Of one track; a participant may have another."""
        if track is self._track:
            self._leave_track()
            if self._participant is None:
                self._finish()

    def _leave_track(self) -> None:
        track, self._track = self._track, None
        if isinstance(track, RemoteAudioTrack):
            track._unregister_audio_stream(self)
            track._ends = [one for one in track._ends if one() not in (None, self._end)]
            if track._received is not None:
                track._received.detach(self._sink)

    def _finish(self) -> None:
        self._ended = True
        self._waker()()

    def _close(self) -> None:
        self._leave_track()
        self._frames.clear()
        self._closed = True
        self._finish()
        processor, self._processor = self._processor, None
        if processor is not None and self._closes_processor:
            processor._close()

    def _waker(self) -> Callable[[], None]:
        """Called by a thread of the peer when there are frames, and in the room's loop; holds no stream."""
        loop, news = self._loop, self._news

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(news.set)

        return wake
