"""Audio and video that belong together, captured in step."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, Protocol

from roomful.rtc.audio_frame import AudioFrame
from roomful.rtc.log import logger

#: Seconds; sound that comes later than this after the end of what was before leaves a gap, what comes sooner
#: catches up.
LATEST = 0.08


class _Audio(Protocol):
    """What is needed of an AudioSource."""

    @property
    def queued_duration(self) -> float: ...

    async def capture_frame(self, frame: AudioFrame) -> None: ...

    async def wait_for_playout(self) -> None: ...

    def clear_queue(self) -> None: ...


class _Video(Protocol):
    """What is needed of a VideoSource."""

    def capture_frame(self, frame: Any) -> None: ...


class AVSynchronizer:
    """Captures video frames at their rate while audio frames set the pace of whoever pushes.

    Push the frames in the order of their time: audio waits while its source's queue is full, video while
    more than `video_queue_size_ms` wait to be shown.

    >>> async def play(frames, audio_source, video_source):
    ...     synchronizer = AVSynchronizer(audio_source=audio_source, video_source=video_source, video_fps=30)
    ...     async for video, audio in frames:
    ...         await synchronizer.push(video)
    ...         await synchronizer.push(audio)
    ...     await synchronizer.wait_for_playout()
    ...     await synchronizer.aclose()
    """

    def __init__(
        self,
        *,
        audio_source: _Audio,
        video_source: _Video,
        video_fps: float,
        video_queue_size_ms: float = 100,
        _max_delay_tolerance_ms: float = 300,
    ) -> None:
        """
        Args:
            video_fps: pictures a second.
            video_queue_size_ms: how much of pictures may wait for their turn, in milliseconds.
            _max_delay_tolerance_ms: by how much pictures may be late before their clock is set anew.
        """
        self._audio_source = audio_source
        self._video_source = video_source
        self._last_video_time = 0.0
        self._last_audio_time = 0.0
        #: When all sound that was pushed has been played.
        self._sound_ends: float | None = None
        size = max(1, int(video_fps * video_queue_size_ms / 1000)) if video_queue_size_ms > 0 else 0
        self._video_queue: asyncio.Queue[tuple[Any, float | None]] = asyncio.Queue(size)
        self._beat = _Beat(video_fps, _max_delay_tolerance_ms / 1000)
        self._closed = False
        self._capturing = asyncio.get_running_loop().create_task(self._capture_video())

    async def push(self, frame: Any, timestamp: float | None = None) -> None:
        """Captures a frame in its turn.

        Args:
            timestamp: seconds, for `last_video_time` and `last_audio_time`; of an audio frame its end.
        """
        if isinstance(frame, AudioFrame):
            self._beat.follow(self._gap_before(frame))
            await self._audio_source.capture_frame(frame)
            if timestamp is not None:
                self._last_audio_time = timestamp
        elif self._closed:
            await asyncio.sleep(0)  # Whoever pushes without end does not keep the loop.
        else:
            await self._video_queue.put((frame, timestamp))

    async def clear_queue(self) -> None:
        """Drops what waits to be heard and seen."""
        self._audio_source.clear_queue()
        self._sound_ends = None
        self._drop_pictures()

    async def wait_for_playout(self) -> None:
        """Until everything that was pushed has been heard and seen."""
        await asyncio.gather(self._audio_source.wait_for_playout(), self._video_queue.join())

    def reset(self) -> None:
        """Begins the beat anew, after a pause."""
        self._sound_ends = None
        self._beat.reset()

    async def aclose(self) -> None:
        """Captures no more pictures: those that wait are dropped, and those that are pushed yet."""
        self._closed = True
        self._capturing.cancel()
        await asyncio.wait([self._capturing])
        while not self._video_queue.empty():
            self._drop_pictures()
            await asyncio.sleep(0)  # There is room now for those that waited for it.

    @property
    def actual_fps(self) -> float:
        """Frames a second, over the last second."""
        return self._beat.rate

    @property
    def last_video_time(self) -> float:
        """Timestamp of the video frame that was captured last."""
        return self._last_video_time

    @property
    def last_audio_time(self) -> float:
        """Timestamp of what is heard now."""
        return self._last_audio_time - self._audio_source.queued_duration

    def _drop_pictures(self) -> None:
        while not self._video_queue.empty():
            self._video_queue.get_nowait()
            self._video_queue.task_done()

    def _gap_before(self, frame: AudioFrame) -> float:
        """Seconds without sound, by which it is later than it was to be."""
        now = time.perf_counter()
        ends = now if self._sound_ends is None else self._sound_ends
        gap = now - ends if now - ends > LATEST else 0.0
        self._sound_ends = ends + gap + frame.samples_per_channel / frame.sample_rate
        return gap

    async def _capture_video(self) -> None:
        while True:
            frame, timestamp = await self._video_queue.get()
            try:
                await self._beat.wait()
                self._video_source.capture_frame(frame)
                if timestamp is not None:
                    self._last_video_time = timestamp
            except Exception:
                logger.exception("a video frame was not captured")
            finally:
                self._beat.done()
                self._video_queue.task_done()


class _Beat:
    """Even intervals, on average: a late frame makes the next one wait less."""

    def __init__(self, rate: float, tolerance: float) -> None:
        self._interval = 1 / rate
        self._tolerance = tolerance
        self._next: float | None = None
        self._times: deque[float] = deque(maxlen=max(2, int(rate)))

    async def wait(self) -> None:
        now = time.perf_counter()
        if self._next is None:
            self._next = now
        if self._next > now:
            await asyncio.sleep(self._next - now)
        elif now - self._next > self._tolerance:
            logger.warning("video frames are %d ms late", (now - self._next) * 1000)
            self._next = now

    def follow(self, gap: float) -> None:
        """Sound is later by so much."""
        if self._next is not None and gap:
            self._next = max(self._next, min(self._next + gap, time.perf_counter()))

    def done(self) -> None:
        now = time.perf_counter()
        self._times.append(now)
        self._next = (now if self._next is None else self._next) + self._interval

    def reset(self) -> None:
        self._next = None
        self._times.clear()

    @property
    def rate(self) -> float:
        if len(self._times) < 2:
            return 0
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])
