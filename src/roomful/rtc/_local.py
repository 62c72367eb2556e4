"""Signalling with a server in this process: its application is called as by a WebSocket server, between two
queues instead of a socket. Room and server may be on different event loops."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from roomful._core import Exchange

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Messages that wait, of either side, before the other one waits.
CAPACITY = 64
NORMAL_CLOSURE = 1000
ABNORMAL_CLOSURE = 1006

T = TypeVar("T")


class LocalServer(Protocol):
    """A `roomful.Server`."""

    def claim(self) -> asyncio.AbstractEventLoop:
        """The event loop that it runs on; if it has not started, the running one from now on."""
        ...

    @property
    def exchange(self) -> Exchange:
        """How its media is reached."""
        ...

    @property
    def asgi(self) -> Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]: ...


class Refused(Exception):
    """With an HTTP status and a text, before the WebSocket was open."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


class Closed(ConnectionError):
    """The other side has ended it."""


class Gone(Closed):
    """It is gone with its event loop, and does not come back."""

    def __init__(self) -> None:
        super().__init__("the server's event loop is closed")


class _Pipe(Generic[T]):
    """A queue from one event loop to another, or to itself."""

    def __init__(self, writer: asyncio.AbstractEventLoop, reader: asyncio.AbstractEventLoop) -> None:
        self._writer, self._reader = writer, reader
        self._items: deque[T] = deque()
        self._came = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, item: T) -> None:
        while len(self._items) >= CAPACITY:
            self._room.clear()
            # What was taken before the line above has not been told of.
            if len(self._items) >= CAPACITY:
                await self._room.wait()
        self.put_now(item)

    def put_now(self, item: T) -> None:
        """However much waits; from any thread."""
        self._items.append(item)
        _tell(self._reader, self._came)

    async def get(self) -> T:
        while not self._items:
            self._came.clear()
            if not self._items:
                await self._came.wait()
        item = self._items.popleft()
        if len(self._items) == CAPACITY - 1:
            _tell(self._writer, self._room)
        return item


def _tell(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    if asyncio._get_running_loop() is loop:
        event.set()
        return
    with contextlib.suppress(RuntimeError):  # It is closed, and nobody there waits.
        loop.call_soon_threadsafe(event.set)


class LocalSocket:
    """The client's end. What it sends in vain is lost; what it receives ends with `Closed`."""

    def __init__(self, server: LocalServer) -> None:
        self._loop = asyncio.get_running_loop()
        self._server_loop = server.claim()
        if self._server_loop.is_closed():
            raise Gone
        self._app = server.asgi
        self._to_server: _Pipe[Message] = _Pipe(self._loop, self._server_loop)
        self._to_client: _Pipe[Message] = _Pipe(self._server_loop, self._loop)
        self._task: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._closed = False

    @property
    def transport(self) -> LocalSocket:
        """What can be aborted, as of other WebSockets."""
        return self

    @classmethod
    async def open(cls, server: LocalServer, path: str, query: str, token: str) -> LocalSocket:
        """Raises Refused, Closed, Gone."""
        socket = cls(server)
        try:
            socket._begin(path, query, token)
            await socket._accepted()
        except BaseException:
            socket.abort()
            raise
        return socket

    async def send(self, frame: bytes) -> None:
        if self._closed:
            raise Closed("the connection is closed")
        await self._to_server.put({"type": "websocket.receive", "bytes": frame})

    async def recv(self) -> bytes | str:
        message = await self._to_client.get()
        if message["type"] != "websocket.send":
            self._to_client.put_now(message)  # For whoever asks again.
            self._closed = True
            raise Closed(message.get("reason") or "the server closed signalling")
        frame: bytes | str | None = message.get("bytes")
        return message["text"] if frame is None else frame

    async def close(self) -> None:
        """Returns when the server has seen the end."""
        self._leave(NORMAL_CLOSURE)
        await self._ended.wait()

    def abort(self) -> None:
        self._leave(ABNORMAL_CLOSURE)
        self._to_client.put_now({"type": "websocket.close", "reason": "connection lost"})

    def _leave(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            self._to_server.put_now({"type": "websocket.disconnect", "code": code})

    def _begin(self, path: str, query: str, token: str) -> None:
        def abort() -> None:
            self._to_client.put_now({"type": "websocket.close", "reason": "the server broke signalling off"})

        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": f"/{path}",
            "raw_path": f"/{path}".encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"authorization", f"Bearer {token}".encode())],
            "client": None,
            "server": None,
            "subprotocols": [],
            "state": {},
            "extensions": {"websocket.http.response": {}, "roomful.abort": abort, "roomful.local": {}},
        }
        self._to_server.put_now({"type": "websocket.connect"})
        if self._server_loop is self._loop:
            self._run(scope)
        else:
            try:
                self._server_loop.call_soon_threadsafe(self._run, scope)
            except RuntimeError:  # It closed in this very moment.
                raise Gone from None

    def _run(self, scope: Message) -> None:
        """On the server's loop."""

        async def serve() -> None:
            await self._app(scope, self._to_server.get, self._to_client.put)

        self._task = asyncio.get_running_loop().create_task(serve(), name="roomful signalling of a room here")
        self._task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        reason = "the server closed signalling"
        if not task.cancelled() and (error := task.exception()) is not None:
            reason = f"signalling failed: {error!r}"
            task.get_loop().call_exception_handler(
                {"message": "signalling failed", "exception": error, "task": task}
            )
        self._to_client.put_now({"type": "websocket.close", "reason": reason})
        _tell(self._loop, self._ended)

    async def _accepted(self) -> None:
        message = await self._to_client.get()
        match message["type"]:
            case "websocket.accept":
                return
            case "websocket.http.response.start":
                body = b""
                while (more := await self._to_client.get())["type"] == "websocket.http.response.body":
                    body += more.get("body", b"")
                    if not more.get("more_body"):
                        break
                raise Refused(message["status"], body.decode(errors="replace"))
        raise Closed(message.get("reason") or "the server closed signalling")
