"""The HTTP server under a node of its own: uvicorn's protocols on sockets that we own.

uvicorn's `Server` takes over signal handlers, polls, and waits for clients that never read; a server inside
somebody's program may do none of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import sys
from collections.abc import Iterable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from roomful.server.descriptors import describe_limit
from roomful.server.logs import get_logger
from roomful.server.rates import Holdings, network_of

#: Seconds until the kernel drops a connection whose peer acknowledges nothing.
USER_TIMEOUT = 20
#: Seconds a client may take until a request's head is there, from its connection on or from the answer to
#: the one before, however much is still to come of that one's body.
HEAD_TIMEOUT = 15.0
#: Seconds in which a client must make room for more of its answers, and take the rest of them when its
#: connection is over.
READ_TIMEOUT = 15.0
#: Requests that a client may send before the one ahead of them is answered.
MAX_PIPELINED = 32
#: Lines of a head.
MAX_HEADERS = 128
#: Longest URL that httptools parses.
MAX_PARSED_URL = 0xFFFF
PING_INTERVAL = 10.0
#: WebSocket frames of any kind that a client may send in a second for long, and at once; more are read later.
FRAME_RATE = 1000.0
FRAME_BURST = 4000.0
#: Connections of one address that wait a moment to have read why they are refused; more are dropped unread.
MAX_REFUSED = 32
#: Bytes parsed before the frames in them are counted.
SLICE = 4096
#: Seconds that clients have to take their goodbye.
CLOSE_TIMEOUT = 0.5
ACCEPTS_A_TURN = 64
#: Seconds without accepting anybody when there are no file descriptors left.
ACCEPT_PAUSE = 1.0

log = get_logger("roomful.http")
_log = logging.getLogger("roomful.uvicorn")
_log.setLevel(logging.WARNING)


class AddressInUse(OSError):
    """Another program listens there."""

    def __init__(self, port: int) -> None:
        super().__init__(errno.EADDRINUSE, f"port {port} is in use by another program")
        self.port = port


class _Config(uvicorn.Config):
    max_head: int
    #: Open connections by network address.
    held: Holdings
    #: Those that are one too many, and still there.
    refused: Holdings

    def network_of(self, client: tuple[str, int] | None) -> str:
        """Whose connection it is; empty for one that a proxy makes for others."""
        app = self.loaded_app
        proxies = app.trusted_hosts if isinstance(app, ProxyHeadersMiddleware) else ()
        if client is None or client[0] in proxies:
            return ""
        return network_of(client[0])


class _Connections(set[Any]):
    """Open connections, and a way to wait for the last to go."""

    def __init__(self) -> None:
        super().__init__()
        self.empty = asyncio.Event()
        self.empty.set()

    def add(self, element: Any) -> None:
        super().add(element)
        self.empty.clear()

    def discard(self, element: Any) -> None:
        super().discard(element)
        if not self:
            self.empty.set()

    def remove(self, element: Any) -> None:
        super().remove(element)
        if not self:
            self.empty.set()


class _Deadline:
    """Drops a connection unless it is moved or stopped in time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def set(self, transport: asyncio.Transport, seconds: float) -> None:
        self.stop()
        self._timer = self._loop.call_later(seconds, transport.abort)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Http(HttpToolsProtocol):
    """With a bound on the size of a request's head, and on every wait for the client.

    Only the application's own time has none here: it bounds what it reads of a body.
    """

    config: _Config

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _log
        self.access_log = False
        #: Bytes of the head being read; None within a body.
        self._head: int | None = 0
        #: Until a whole head is there.
        self._asking = _Deadline(self.loop)
        #: Until there is room for more of an answer.
        self._reading = _Deadline(self.loop)
        self._refused = False
        #: Whose share of connections this one is of, and in which account.
        self._network, self._account = "", self.config.held

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        network, held = self.config.network_of(self.client), self.config.held
        if network and not self._take(held, network):
            if not self._take(self.config.refused, network):
                self._refused = True
                transport.abort()
                return
            text = f"too many connections from one address: limit.connections_per_ip {held.most}"
            self._answer_head("503 Service Unavailable", text)
            return
        self._asking.set(transport, HEAD_TIMEOUT)

    def handle_websocket_upgrade(self) -> None:
        self._give_back()
        self._reading.stop()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        self._give_back()
        self._asking.stop()
        self._reading.stop()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._head is not None:
            if self._head > self.config.max_head:
                self._refuse_head()
                return
            self._head += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = self._head or 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) == MAX_HEADERS:
            self._answer_head("431 Request Header Fields Too Large", f"more than {MAX_HEADERS} headers")
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head = None
        self._asking.stop()
        if len(self.pipeline) == MAX_PIPELINED:
            self._refused = True
            self.transport.abort()
            raise ValueError("too many requests at once")
        if len(self.url) <= MAX_PARSED_URL:
            super().on_headers_complete()
            return
        whole = self.url
        self.url, _, query = whole.partition(b"?")
        super().on_headers_complete()
        self.url = whole
        self.scope["query_string"] = query.partition(b"#")[0]

    def on_response_complete(self) -> None:
        # The next request of a pipeline is the application's turn again.
        if not self.pipeline or self.transport.is_closing():
            self._asking.set(self.transport, HEAD_TIMEOUT)
        super().on_response_complete()
        if self.pipeline:
            # It reads on after any answer, and would hold whatever comes.
            self.flow.pause_reading()

    def pause_writing(self) -> None:
        self._reading.set(self.transport, READ_TIMEOUT)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._reading.stop()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        if not self._refused:
            super().send_400_response(msg)
            self._asking.set(self.transport, HEAD_TIMEOUT)

    def _refuse_head(self) -> None:
        in_url = len(self.url) > self.config.max_head // 2
        status = "414 URI Too Long" if in_url else "431 Request Header Fields Too Large"
        self._answer_head(status, f"request head is over limit.max_request_head_size {self.config.max_head}")

    def _answer_head(self, status: str, text: str) -> None:
        self._refused = True
        self.transport.write(
            f"HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {len(text)}\r\n"
            f"connection: close\r\n\r\n{text}".encode()
        )
        # Closed with bytes still coming in, the connection would be reset and the answer lost.
        self._asking.set(self.transport, 1.0)

    def _take(self, account: Holdings, network: str) -> bool:
        if not account.take(network):
            return False
        self._network, self._account = network, account
        return True

    def _give_back(self) -> None:
        if self._network:
            self._account.give_back(self._network)
            self._network = ""


class _WebSocket(WebSocketsSansIOProtocol):
    """With a bound on a client's frames, and a way for the application to drop one that does not read."""

    config: _Config

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _log
        self.conn.logger = _log
        self._unparsed = bytearray()
        #: Frames that may come now, and when that was so.
        self._allowance, self._counted_at = FRAME_BURST, self.loop.time()
        self._frames_parsed = 0
        self._wait: asyncio.TimerHandle | None = None
        self._ending = _Deadline(self.loop)
        self._network = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # What the HTTP connection that this one was gave back.
        self._network = self.config.network_of(self.client)
        if self._network:
            self.config.held.take(self._network)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent:
            # A refusal is an answer too, though uvicorn takes it for a fault of the application.
            self.handshake_complete = True

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            return
        self._unparsed += data
        if self._wait is None:
            self._parse()

    def _parse(self) -> None:
        """What came in, a slice at a time, until it is used up or holds more frames than may come now."""
        self._wait = None
        while self._unparsed:
            data = bytes(self._unparsed[:SLICE])
            del self._unparsed[:SLICE]
            self._frames_parsed = 0
            super().data_received(data)
            if self.transport.is_closing():
                self._unparsed.clear()
                return
            now = self.loop.time()
            refilled = self._allowance + (now - self._counted_at) * FRAME_RATE
            self._allowance, self._counted_at = min(FRAME_BURST, refilled) - self._frames_parsed, now
            if self._allowance < 0:
                # Nobody but us resumes reading meanwhile.
                self.read_paused = False
                self.transport.pause_reading()
                self._wait = self.loop.call_later(-self._allowance / FRAME_RATE, self._resume)
                return

    def _resume(self) -> None:
        self._parse()
        if self._wait is not None or self.transport.is_closing():
            return
        if self.queue.empty():
            self.transport.resume_reading()
        else:
            self.read_paused = True

    def handle_events(self) -> None:
        self._frames_parsed = len(self.conn.events)
        super().handle_events()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            # Who does not read gets no pong.
            self.conn.data_to_send()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        # Closing waits until everything is sent, which is for the client to decide.
        if not self.disconnected:
            self._ending.set(self.transport, READ_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ending.stop()
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        self._unparsed.clear()
        if self._network:
            self.config.held.give_back(self._network)
        super().connection_lost(exc)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions["roomful.abort"] = self.transport.abort


class Listener:
    def __init__(
        self,
        app: ASGIApp,
        sockets: Iterable[socket.socket],
        *,
        max_frame: int,
        max_head: int,
        most_of_one_address: int,
    ) -> None:
        raise_line_limit(max_head)
        self._sockets = list(sockets)
        self._config = _Config(
            app,
            http=_Http,
            ws=_WebSocket,
            ws_max_size=max_frame,
            ws_ping_interval=PING_INTERVAL,
            ws_ping_timeout=None,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            server_header=False,
        )
        self._config.max_head = max_head
        self._config.held = Holdings(most_of_one_address)
        self._config.refused = Holdings(MAX_REFUSED)
        self._config.load()
        self._state = ServerState()
        self._connections = _Connections()
        self._state.connections = self._connections
        self._accepting: list[asyncio.Task[None]] = []
        self._beginning: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._accepting = [loop.create_task(self._accept(listening)) for listening in self._sockets]

    async def _accept(self, listening: socket.socket) -> None:
        """Not by the loop's own servers: uvloop's end for good when there are no file descriptors left."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._begin(*await loop.sock_accept(listening))
                for _ in range(ACCEPTS_A_TURN):
                    self._begin(*listening.accept())
                await asyncio.sleep(0)
            except (BlockingIOError, ConnectionError):
                continue  # Nobody is left, or somebody was gone before.
            except OSError as error:
                log.error("connections cannot be accepted", reason=error.strerror, limit=describe_limit())
                await asyncio.sleep(ACCEPT_PAUSE)

    def _begin(self, connection: socket.socket, _address: object) -> None:
        connection.setblocking(False)
        task = asyncio.create_task(self._connect(connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _connect(self, connection: socket.socket) -> None:
        # It may have ended already.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        return _Http(config=self._config, server_state=self._state, app_state={})

    async def stop_accepting(self) -> None:
        """Who connects from here on is refused."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, *self._beginning, return_exceptions=True)
        self._accepting.clear()
        for listening in self._sockets:
            listening.close()

    async def close(self) -> None:
        """Ends every connection: politely for a moment, then without asking. Bounded, whatever clients do."""
        await self.stop_accepting()
        for connection in list(self._connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._connections.empty.wait()
        for connection in list(self._connections):
            connection.transport.abort()
        await self._connections.empty.wait()
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def open_sockets(addresses: Iterable[str], port: int) -> list[socket.socket]:
    """Listening sockets on `addresses` (none: all of them), all on one port; 0 takes a free one.

    Raises `AddressInUse`, or `OSError` when no address can be used.
    """
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for address in addresses or ("::", "0.0.0.0"):
            try:
                opened = _open_socket(address, port)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise AddressInUse(port) from None
                failure = error
                continue
            sockets.append(opened)
            port = opened.getsockname()[1]
    except AddressInUse:
        for opened in sockets:
            opened.close()
        raise
    if not sockets:
        raise failure or OSError("no address to listen on")
    return sockets


def _open_socket(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "linux":
            # Accepted connections inherit it.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT * 1000)
        listening.bind((address, port))
        # Now, so that a port taken by somebody who binds but not yet listens is noticed here.
        listening.listen(2048)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def raise_line_limit(limit: int) -> None:
    """Lets websockets read request lines and headers that hold a token with large metadata.

    Over its limit of 8 kB it hangs instead of answering; its environment variable counts only before import.
    """
    from websockets import http11

    # Twice: the head is checked by the chunk, and a line must never be the first to be refused.
    http11.MAX_LINE_LENGTH = max(http11.MAX_LINE_LENGTH, 2 * limit)
