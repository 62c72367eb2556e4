"""Several streams of sound as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from roomful import _core
from roomful.rtc.audio_frame import SAMPLE_BYTES, AudioFrame
from roomful.rtc.log import logger

#: Once no more streams come, one that keeps the others waiting is dropped after so many timeouts.
MAX_STALLS = 10

#: Seconds between two looks for a first stream, and between two rounds that found nothing.
NO_STREAM_PAUSE = 0.01
NO_DATA_PAUSE = 0.001


class _Input:
    """A stream, what was read of it and not mixed yet, and the read under way.

    A read outlives its round: to cancel it would close a generator for good.
    """

    def __init__(self, stream: AsyncIterator[AudioFrame]) -> None:
        self.stream = stream
        self.buffer = bytearray()
        self.read: asyncio.Future[AudioFrame] | None = None
        self.stalls = 0
        self.ended = False
        self.removed = False

    def discard_read(self) -> asyncio.Future[AudioFrame] | None:
        read, self.read = self.read, None
        if read is not None:
            read.cancel()
            read.add_done_callback(_retrieved)
        return read


class AudioMixer:
    """Mixes streams into blocks of one length.

    The streams are read side by side. One that has nothing within the timeout is left out of the block, and
    one that ends is left out from then on; a sum beyond 16 bits saturates. Frames must have the mixer's rate
    and channels.

    >>> async def both(first, second):
    ...     mixer = AudioMixer(48000, 1)
    ...     mixer.add_stream(first)
    ...     mixer.add_stream(second)
    ...     mixer.end_input()
    ...     return [frame async for frame in mixer]
    """

    def __init__(
        self,
        sample_rate: int,
        num_channels: int,
        *,
        blocksize: int = 0,
        stream_timeout_ms: int = 100,
        capacity: int = 100,
    ) -> None:
        """
        Args:
            sample_rate: in Hz.
            num_channels: of every stream and of the result.
            blocksize: samples per channel of a mixed frame; 0 is 100 ms.
            stream_timeout_ms: how long a block waits for a stream.
            capacity: mixed frames kept for the reader; then mixing waits.
        """
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        self._chunk_size = blocksize if blocksize > 0 else sample_rate // 10
        self._chunk_bytes = self._chunk_size * num_channels * SAMPLE_BYTES
        self._timeout = stream_timeout_ms / 1000
        self._inputs: dict[AsyncIterator[AudioFrame], _Input] = {}
        self._queue: asyncio.Queue[AudioFrame | None] = asyncio.Queue(maxsize=capacity)
        self._ending = False
        self._mixer_task = asyncio.create_task(self._mix())

    def add_stream(self, stream: AsyncIterator[AudioFrame]) -> None:
        """Mixes `stream` in from now on.

        Raises:
            RuntimeError: after `end_input()` or `aclose()`.
        """
        if self._ending:
            raise RuntimeError("Cannot add stream after mixer has been closed")
        if stream not in self._inputs:
            self._inputs[stream] = _Input(stream)

    def remove_stream(self, stream: AsyncIterator[AudioFrame]) -> None:
        """Leaves `stream` out from now on, with what was read of it. A read under way is cancelled."""
        if (source := self._inputs.pop(stream, None)) is not None:
            source.removed = True
            source.discard_read()

    def end_input(self) -> None:
        """No more streams come: the mixer ends when those that are there have."""
        self._ending = True

    async def aclose(self) -> None:
        """Stops mixing at once; what was mixed and not read is dropped. Reads under way are cancelled and
        waited for. A reader of the mixer ends."""
        self._ending = True
        self._mixer_task.cancel()
        await asyncio.wait({self._mixer_task})
        reads = [read for source in self._inputs.values() if (read := source.discard_read()) is not None]
        self._inputs.clear()
        await asyncio.gather(*reads, return_exceptions=True)
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    def __aiter__(self) -> AudioMixer:
        return self

    async def __anext__(self) -> AudioFrame:
        frame = await self._queue.get()
        if frame is None:
            # Again for the next who asks.
            self._queue.put_nowait(None)
            raise StopAsyncIteration
        return frame

    async def _mix(self) -> None:
        while self._inputs or not self._ending:
            if not self._inputs:
                await asyncio.sleep(NO_STREAM_PAUSE)
                continue
            inputs = list(self._inputs.values())
            await asyncio.gather(*(self._fill(source) for source in inputs))
            blocks = [self._block(source) for source in inputs if source.buffer and not source.removed]
            for source in inputs:
                if source.ended and not source.buffer:
                    self.remove_stream(source.stream)
            if not blocks:
                await asyncio.sleep(NO_DATA_PAUSE)
                continue
            mixed = _core.mix(blocks)
            mixed.extend(bytes(self._chunk_bytes - len(mixed)))
            await self._queue.put(AudioFrame(mixed, self._sample_rate, self._num_channels, self._chunk_size))
        await self._queue.put(None)

    def _block(self, source: _Input) -> bytes:
        block = bytes(source.buffer[: self._chunk_bytes])
        del source.buffer[: self._chunk_bytes]
        return block

    async def _fill(self, source: _Input) -> None:
        """Reads until there is enough for a block."""
        while len(source.buffer) < self._chunk_bytes and not source.ended and not source.removed:
            if source.read is None:
                source.read = asyncio.ensure_future(_next(source.stream))
            read = source.read
            await asyncio.wait({read}, timeout=self._timeout)
            if source.read is not read:
                return  # removed meanwhile
            if not read.done():
                logger.warning("AudioMixer: stream %s timeout, ignoring", source.stream)
                source.stalls += 1
                source.ended = self._ending and source.stalls >= MAX_STALLS
                return
            source.read, source.stalls = None, 0
            try:
                source.buffer += read.result().data.cast("B")
            except StopAsyncIteration:
                source.ended = True
            except TimeoutError:
                logger.warning("AudioMixer: stream %s timeout, ignoring", source.stream)
                return
            except asyncio.CancelledError:
                source.ended = True
            except Exception:
                logger.exception("AudioMixer: stream %s raised", source.stream)
                return


async def _next(stream: AsyncIterator[AudioFrame]) -> AudioFrame:
    return await anext(stream)


def _retrieved(read: asyncio.Future[AudioFrame]) -> None:
    if not read.cancelled():
        read.exception()
