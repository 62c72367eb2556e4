"""Sound to publish, pushed frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
import time
from importlib import import_module
from typing import Any

from roomful.rtc.audio_frame import AudioFrame

#: Milliseconds of the queue of a source that asks for none.
SHORTEST_QUEUE = 20
#: Seconds for which those who hear it hold sound back, as packets may come late.
HEARD_WITHIN = 0.15
#: Bytes of a sample.
WIDTH = 2


class AudioSource:
    """A queue of sound that plays in real time, whether anybody hears it or not. It is filled in one event
    loop at a time.

    >>> source = rtc.AudioSource(48000, 1)  # doctest: +SKIP
    >>> track = rtc.LocalAudioTrack.create_audio_track("voice", source)  # doctest: +SKIP
    >>> await room.local_participant.publish_track(track)  # doctest: +SKIP
    >>> await source.capture_frame(frame)  # doctest: +SKIP
    """

    def __init__(
        self,
        sample_rate: int,
        num_channels: int,
        queue_size_ms: int = 1000,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """
        Args:
            sample_rate: in Hz, of every frame.
            num_channels: of every frame, interleaved.
            queue_size_ms: sound that may wait to be played.
            loop: not needed.
        """
        core: Any = import_module("roomful._core")
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        size = max(queue_size_ms, SHORTEST_QUEUE)
        self._queue = core.AudioQueue(sample_rate, num_channels, size)
        #: Bytes that are queued at once: of longer frames, what fits as there is room.
        self._piece = max(sample_rate * size // 2000, 1) * num_channels * WIDTH
        #: When the last of what was captured is played.
        self._played_at = 0.0
        #: In which somebody waited last.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        #: Set, and replaced, when what waits is dropped.
        self._cleared = asyncio.Event()
        self._closed = False

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self._sample_rate

    @property
    def num_channels(self) -> int:
        """Of the frames that it takes."""
        return self._num_channels

    @property
    def queued_duration(self) -> float:
        """Seconds of sound that wait to be played."""
        return 0.0 if self._closed else float(self._queue.queued)

    def clear_queue(self) -> None:
        """Drops what waits to be played. Those who wait for it go on."""
        if self.queued_duration:
            self._played_at = 0.0
        self._queue.clear()
        loop, cleared, self._cleared = self._loop, self._cleared, asyncio.Event()
        if loop is asyncio._get_running_loop():
            cleared.set()
        elif loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(cleared.set)

    async def capture_frame(self, frame: AudioFrame) -> None:
        """Queues sound. Waits while the queue is full.

        Raises:
            ValueError: the frame has another rate or other channels than the source.
            RuntimeError: somebody in another event loop waits for room.
        """
        if not frame.samples_per_channel or self._closed:
            return
        if (frame.sample_rate, frame.num_channels) != (self._sample_rate, self._num_channels):
            raise ValueError(
                f"sample_rate and num_channels don't match: a frame of {frame.sample_rate} Hz and "
                f"{frame.num_channels} channels for a source of {self._sample_rate} and {self._num_channels}"
            )
        content = memoryview(frame.data).cast("B")
        async with self._turn_here():
            cleared = self._cleared
            while content and not cleared.is_set() and not self._closed:
                if wait := self._queue.push(content[: self._piece]):
                    await _at_most(wait, cleared)
                else:
                    content = content[self._piece :]
                    self._played_at = time.monotonic() + self._queue.queued

    async def wait_for_playout(self) -> None:
        """Returns when all that was queued is played, or dropped.

        Raises:
            RuntimeError: somebody in another event loop waits for room.
        """
        self._turn_here()
        cleared = self._cleared
        while not cleared.is_set() and (queued := self.queued_duration):
            await _at_most(queued, cleared)

    def _turn_here(self) -> asyncio.Lock:
        """For the running loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._turn.locked() and self._loop is not None and self._loop.is_running():
                raise RuntimeError("the source is being filled in another event loop")
            self._loop, self._turn, self._cleared = loop, asyncio.Lock(), asyncio.Event()
        return self._turn

    def _until_heard(self) -> float:
        """Seconds until the end of what was played is heard; what still waits to be played has no end yet."""
        return 0.0 if self.queued_duration else self._played_at + HEARD_WITHIN - time.monotonic()

    async def aclose(self) -> None:
        """No sound is taken any more. Any number of times."""
        self._closed = True
        self.clear_queue()


async def _at_most(seconds: float, event: asyncio.Event) -> None:
    """Until then, or until the event."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
