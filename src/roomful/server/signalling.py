"""A participant's WebSocket: frames in, frames out, and never more in between than a bounded queue."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from google.protobuf.message import DecodeError
from livekit.protocol.rtc import SignalRequest, SignalResponse
from starlette.types import Receive, Scope, Send

from roomful.server import protojson
from roomful.server.logs import get_logger

log = get_logger("roomful.signalling")

#: A client that takes no byte for this long, in seconds, does not read.
WRITE_TIMEOUT = 10.0
#: Frames a second a client may send for long, and at once; a large one counts as one a kB. More are not
#: refused but read later.
FRAME_RATE = 200.0
FRAME_BURST = 1000.0
KILOBYTE = 1024
#: Frames handled before others get their turn.
FRAMES_A_TURN = 16

NORMAL_CLOSURE = 1000
INVALID_DATA = 1007
TOO_BIG = 1009


class Outbox(Protocol):
    @property
    def closed(self) -> bool: ...
    def drain(self) -> list[bytes]: ...
    async def wait(self) -> None: ...


class Session(Protocol):
    """The part of a participant's session that its socket needs."""

    @property
    def outbox(self) -> Outbox: ...
    def receive(self, request: SignalRequest) -> None: ...
    def malformed(self, reason: str) -> None: ...
    def connection_lost(self) -> None: ...


class SignalConnection:
    """Carries a session over an ASGI WebSocket until either side ends it."""

    def __init__(
        self, session: Session, scope: Scope, receive: Receive, send: Send, *, max_frame: int
    ) -> None:
        self._session = session
        self._scope = scope
        self._receive = receive
        self._send = send
        self._max_frame = max_frame
        #: Answers take the form of the last frame received, beginning with binary: some SDKs read no text.
        self._as_text = False
        self._code, self._reason = NORMAL_CLOSURE, ""
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        #: Set when `run` is over.
        self.ended = asyncio.Event()

    async def run(self) -> None:
        """Accepts the WebSocket and returns when it has ended. The session always learns of the end."""
        try:
            await self._receive()
            await self._send({"type": "websocket.accept"})
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read())
                writer = tasks.create_task(self._write())
                reader.add_done_callback(lambda _: writer.cancel())
                writer.add_done_callback(lambda _: reader.cancel())
                self._tasks = (reader, writer)
        except* (OSError, TimeoutError) as errors:
            # Starlette and servers say "gone" by an OSError.
            log.debug("signal connection ended", cause=type(errors.exceptions[0]).__name__)
        finally:
            self._session.connection_lost()
            self.ended.set()

    def abandon(self) -> None:
        """Ends it at once, whatever the client was still to be sent."""
        self._abort()
        for task in self._tasks:
            task.cancel()

    async def _read(self) -> None:
        allowance, last = FRAME_BURST, time.monotonic()
        turn = 0
        while True:
            message = await self._receive()
            if message["type"] != "websocket.receive":
                return
            data, text = message.get("bytes"), message.get("text")
            await self._handle(data, text)
            cost = 1 + len(data if data is not None else text or "") // KILOBYTE
            turn += cost
            if turn >= FRAMES_A_TURN:
                turn = 0
                await asyncio.sleep(0)
            now = time.monotonic()
            allowance = min(FRAME_BURST, allowance + (now - last) * FRAME_RATE) - cost
            last = now
            if allowance < 0:
                await asyncio.sleep(-allowance / FRAME_RATE)

    async def _handle(self, data: bytes | None, text: str | None) -> None:
        size = len(data) if data is not None else len(text or "")
        if size > self._max_frame:
            self._refuse(
                TOO_BIG, f"frame of {size} bytes is over limit.signal_message_size_limit {self._max_frame}"
            )
            return
        try:
            if data is not None:
                request = SignalRequest.FromString(data)
            else:
                request = await protojson.parse(text or "", SignalRequest())
        except (DecodeError, ValueError):
            self._refuse(INVALID_DATA, "frame is not a SignalRequest")
            return
        self._as_text = data is None
        self._session.receive(request)

    def _refuse(self, code: int, reason: str) -> None:
        self._code, self._reason = code, reason
        self._session.malformed(reason)

    async def _write(self) -> None:
        outbox = self._session.outbox
        while True:
            await outbox.wait()
            for frame in outbox.drain():
                await self._send_frame(frame)
            if outbox.closed:
                break
        async with asyncio.timeout(WRITE_TIMEOUT):
            await self._send({"type": "websocket.close", "code": self._code, "reason": self._reason[:120]})

    async def _send_frame(self, frame: bytes) -> None:
        message = {"type": "websocket.send"}
        body: dict[str, object] = {"bytes": frame}
        if self._as_text:
            body = {"text": await protojson.render(SignalResponse.FromString(frame))}
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                await self._send({**message, **body})
        except TimeoutError:
            log.warning("client does not read", after_seconds=WRITE_TIMEOUT)
            self._abort()
            raise

    def _abort(self) -> None:
        """Drops the connection with what is buffered in it, where the server lets us."""
        abort = self._scope.get("extensions", {}).get("roomful.abort")
        if abort is not None:
            abort()
