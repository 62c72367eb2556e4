"""What a client is still to be sent: a bounded queue between the control plane and one socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: A client that lets more than this wait for it does not read.
MAX_BYTES = 8 * 1024 * 1024
MAX_FRAMES = 4096


class Outbox:
    """Encoded SignalResponses in order. Pushing never blocks and never raises.

    The socket's task loops: `await wait()`, send what `drain()` returns, and close the socket once `closed`
    is true and nothing is left. A queue over its bound is emptied and closed; no other client is affected.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, max_frames: int = MAX_FRAMES) -> None:
        self.closed = False
        self.overflowed = False
        #: Called once, from within `push`, when the client turns out not to read.
        self.on_overflow: Callable[[], None] | None = None
        self._frames: list[bytes] = []
        self._size = 0
        self._max_bytes = max_bytes
        self._max_frames = max_frames
        self._ready = asyncio.Event()

    def push(self, frame: bytes) -> None:
        if self.closed:
            return
        # The first frame always fits: a join into a large room is large.
        if self._frames and (
            self._size + len(frame) > self._max_bytes or len(self._frames) >= self._max_frames
        ):
            self.overflowed = True
            self._frames.clear()
            self.close()
            if self.on_overflow is not None:
                self.on_overflow()
            return
        self._frames.append(frame)
        self._size += len(frame)
        self._ready.set()

    def close(self) -> None:
        """Ends the queue after what is in it. Later pushes are dropped."""
        self.closed = True
        self._ready.set()

    def drain(self) -> list[bytes]:
        frames, self._frames = self._frames, []
        self._size = 0
        if not self.closed:
            self._ready.clear()
        return frames

    async def wait(self) -> None:
        """Returns when there are frames, or at once when closed."""
        await self._ready.wait()
