"""The signalling connection: a WebSocket with `SignalRequest`s one way and `SignalResponse`s the other.

A server refuses a join before the WebSocket opens, with an HTTP status and a text that says why.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import logging
import platform
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import SplitResult, urlencode, urlsplit

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from roomful.rtc._local import Closed, Gone, LocalServer, LocalSocket, Refused
from roomful.rtc.log import logger

if TYPE_CHECKING:
    # A quarter of the time that it takes to import a client, and needed by the first connection only.
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import InvalidStatus

#: Of signalling that this client speaks.
PROTOCOL = 17
#: What other clients may expect of this one: data streams whose content may be in their header.
CLIENT_PROTOCOL = 2
CAPABILITIES = (
    models.ClientInfo.Capability.CAP_PACKET_TRAILER,  # Without it, servers take metadata out of pictures.
    models.ClientInfo.Capability.CAP_COMPRESSION_DEFLATE_RAW,
)
SDK = "python"

#: Seconds.
VALIDATE_TIMEOUT = 3.0
CLOSE_TIMEOUT = 1.0
#: Bytes of a frame; a server that has many participants splits what it tells of them.
MAX_FRAME = 16 * 1024 * 1024
#: Frames that wait to be read, before the server has to wait.
MAX_FRAMES = 4
#: Bytes that wait for a server that does not read, before it is given up.
MAX_UNSENT = 16 * 1024 * 1024
#: Bytes of a refusal that are read, and characters of it that are told.
MAX_REFUSAL, TOLD_OF_REFUSAL = 64 * 1024, 500

#: The one 404 by which a server with single-connection signalling refuses a room.
NO_SUCH_ROOM = "requested room does not exist"

#: The WebSocket's own lines would show the token, and what is signalled.
_silent = logging.getLogger("roomful.rtc.websocket")
_silent.setLevel(logging.WARNING)

#: What failed.
Part = Literal["address", "TLS", "token", "room", "server", "signalling", "client"]


class SignalError(Exception):
    """A signalling connection that did not come about, or that the server ended as it began."""

    def __init__(
        self, part: Part, message: str, *, status: int = 0, leave: rtc.LeaveRequest | None = None
    ) -> None:
        super().__init__(f"{part}: {message}")
        self.part = part
        self.status = status
        #: With which the server answered instead of letting in.
        self.leave = leave

    @property
    def is_final(self) -> bool:
        """Whether trying again cannot help."""
        if self.leave is not None:
            return self.leave.action == rtc.LeaveRequest.Action.DISCONNECT
        refused = 400 <= self.status < 500 and self.status != HTTPStatus.TOO_MANY_REQUESTS
        return refused or (self.part in ("address", "TLS", "token") and not self.status)

    @property
    def is_forbidden(self) -> bool:
        """Whether the server said that this token does not open this room."""
        return self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class ServerGone(SignalError):
    """The server was in this process, and is gone for good."""

    @property
    def is_final(self) -> bool:
        return True


class NoSinglePath(SignalError):
    """The server knows signalling with two peer connections only."""


@dataclass(frozen=True, slots=True)
class Join:
    """What a client says as it connects."""

    single: bool
    auto_subscribe: bool = True
    #: Of the session to resume.
    sid: str = ""
    offer: rtc.SessionDescription | None = None
    version: str = ""

    def path(self) -> str:
        return "rtc/v1" if self.single else "rtc"

    def query(self) -> str:
        return urlencode({"join_request": self._join_request()} if self.single else self._parameters())

    def _join_request(self) -> str:
        request = rtc.JoinRequest(
            client_info=models.ClientInfo(
                sdk=models.ClientInfo.SDK.PYTHON,
                version=self.version,
                protocol=PROTOCOL,
                os=platform.system(),
                os_version=platform.release(),
                client_protocol=CLIENT_PROTOCOL,
                capabilities=CAPABILITIES,
            ),
            connection_settings=rtc.ConnectionSettings(auto_subscribe=self.auto_subscribe),
            reconnect=bool(self.sid),
            participant_sid=self.sid,
            publisher_offer=self.offer,
        )
        wrapped = rtc.WrappedJoinRequest(
            compression=rtc.WrappedJoinRequest.Compression.GZIP,
            join_request=gzip.compress(request.SerializeToString(), mtime=0),
        )
        return base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()

    def _parameters(self) -> dict[str, str]:
        parameters = {
            "sdk": SDK,
            "version": self.version,
            "os": platform.system(),
            "os_version": platform.release(),
            "protocol": str(PROTOCOL),
            "client_protocol": str(CLIENT_PROTOCOL),
            "capabilities": ",".join(map(models.ClientInfo.Capability.Name, CAPABILITIES)),
            "auto_subscribe": str(int(self.auto_subscribe)),
            "adaptive_stream": "0",
        }
        return parameters | ({"reconnect": "1", "sid": self.sid} if self.sid else {})


class Link:
    """One open WebSocket, from its first message on. Once started, a task reads it and another writes."""

    def __init__(self, socket: ClientConnection | LocalSocket) -> None:
        self._socket = socket
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unsent = asyncio.Event()
        self._written = asyncio.Event()
        self._on_response: Callable[[rtc.SignalResponse], None] | None = None
        self._on_lost: Callable[[str], None] | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, url: str | LocalServer, token: str, join: Join, *, within: float
    ) -> tuple[Self, rtc.SignalResponse]:
        """Connects, and returns the link with the server's first message.

        `within` is in seconds, for the connection and for the message. Raises SignalError.
        """
        socket: ClientConnection | LocalSocket
        if isinstance(url, str):
            socket = await _connect(url, token, join, within)
        else:
            socket = await _connect_here(url, token, join, within)
        from websockets.exceptions import ConnectionClosed

        try:
            async with asyncio.timeout(within):
                frame = await socket.recv()
            return cls(socket), rtc.SignalResponse.FromString(frame if isinstance(frame, bytes) else b"")
        except TimeoutError:
            why = f"the server said nothing within {within:g} s"
        except (ConnectionClosed, OSError) as error:
            why = _why_closed(error)
        except DecodeError:
            why = "the server does not speak LiveKit's protocol"
        except BaseException:
            socket.transport.abort()
            raise
        socket.transport.abort()
        raise SignalError("signalling", why)

    def start(
        self, on_response: Callable[[rtc.SignalResponse], None], on_lost: Callable[[str], None]
    ) -> None:
        """`on_response` is called with each further message, and `on_lost` once with the reason when the
        WebSocket ends. Neither is called after `close`."""
        self._on_response, self._on_lost = on_response, on_lost
        self._task = asyncio.get_running_loop().create_task(self._run(), name="roomful signalling")

    def send(self, request: rtc.SignalRequest) -> None:
        """Never waits. What is sent on a link that is lost is lost."""
        message = request.SerializeToString()
        self._waiting_bytes += len(message)
        if self._waiting_bytes > MAX_UNSENT:
            logger.warning("the server does not read what it is told")
            self.abort()
            return
        self._waiting.append(message)
        self._written.clear()
        self._unsent.set()

    def abort(self) -> None:
        """Ends the WebSocket at once, and is told of by `on_lost` as any other end."""
        self._socket.transport.abort()

    async def break_off(self) -> None:
        """As `abort`, once what waits is sent."""
        if self._waiting:
            await self._written.wait()
        self.abort()

    async def close(self, grace: float = CLOSE_TIMEOUT) -> None:
        """Sends what waits and says goodbye, if that takes no more than `grace` seconds. Leaves nothing."""
        self._on_response = self._on_lost = None
        try:
            if grace and self._task is not None and not self._task.done():
                async with asyncio.timeout(grace):
                    if self._waiting:
                        await self._written.wait()
                    await self._socket.close()
        except (TimeoutError, OSError):
            pass
        finally:
            self._socket.transport.abort()
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])

    async def _run(self) -> None:
        from websockets.exceptions import ConnectionClosed

        why = "cancelled"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(), name="roomful signalling out")
                await self._read()
        except* (ConnectionClosed, OSError) as errors:
            why = _why_closed(errors.exceptions[0])
        finally:
            self._socket.transport.abort()
            self._written.set()
            if self._on_lost is not None:
                self._on_lost(why)

    async def _read(self) -> None:
        while True:
            frame = await self._socket.recv()
            if isinstance(frame, str):
                continue  # Servers answer in the form in which they are asked.
            try:
                response = rtc.SignalResponse.FromString(frame)
            except DecodeError:
                logger.warning("the server sent a frame of %d bytes that is no SignalResponse", len(frame))
                continue
            if self._on_response is not None:
                try:
                    self._on_response(response)
                except Exception:
                    logger.exception("a %s of the server failed", response.WhichOneof("message"))

    async def _write(self) -> None:
        while True:
            await self._unsent.wait()
            while self._waiting:
                message = self._waiting.popleft()
                await self._socket.send(message)
                self._waiting_bytes -= len(message)
            self._unsent.clear()
            self._written.set()


def signal_url(url: str, path: str, *, http: bool = False) -> str:
    """Of `path` at a server, whose URL may be of HTTP or WebSocket and have a path itself."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SignalError("address", f"{url!r} is no URL: {error}") from None
    secure = {"ws": False, "http": False, "wss": True, "https": True}.get(parts.scheme)
    if secure is None or not host:
        raise SignalError("address", f"{url!r} is no URL of a server: ws://, wss://, http:// or https://")
    scheme = ("http" if http else "ws") + "s" * secure
    return SplitResult(scheme, parts.netloc, f"{parts.path.rstrip('/')}/{path}", "", "").geturl()


def _check_token(token: str) -> None:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SignalError("token", "it is empty or has characters that no token has")


async def _connect_here(server: LocalServer, token: str, join: Join, within: float) -> LocalSocket:
    """To a server in this process."""
    _check_token(token)
    try:
        async with asyncio.timeout(within):
            return await LocalSocket.open(server, join.path(), join.query(), token)
    except TimeoutError:
        raise SignalError("server", f"it does not answer within {within:g} s") from None
    except Refused as refused:
        raise _refused(refused.status, refused.text, token) from None
    except Gone as gone:
        raise ServerGone("server", str(gone)) from None
    except Closed as closed:
        raise SignalError("server", str(closed)) from None


async def _connect(url: str, token: str, join: Join, within: float) -> ClientConnection:
    address = signal_url(url, join.path())
    _check_token(token)
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

    try:
        return await connect(
            f"{address}?{join.query()}",
            additional_headers=_authorization(token),
            user_agent_header=None,
            compression=None,
            open_timeout=within,
            ping_interval=None,  # Signalling has pings of its own.
            max_size=MAX_FRAME,
            max_queue=MAX_FRAMES,
            logger=_silent,
        )
    except TimeoutError:
        raise SignalError("server", f"{_host(address)} does not answer within {within:g} s") from None
    except InvalidStatus as error:
        raise await _refusal(url, token, join, error) from None
    except InvalidURI as error:
        raise SignalError("address", str(error)) from None
    except ssl.SSLError as error:
        raise SignalError("TLS", f"{_host(address)}: {_text(error)}") from None
    except socket.gaierror as error:
        raise SignalError("address", f"{_host(address)} is not known: {error.strerror}") from None
    except ConnectionResetError:
        hint = ": does it serve TLS?" if address.startswith("wss") else ""
        raise SignalError("server", f"{_host(address)} broke the connection off{hint}") from None
    except OSError as error:
        raise SignalError("server", f"{_host(address)} cannot be reached: {_text(error)}") from None
    except InvalidHandshake as error:
        raise SignalError("server", f"{_host(address)} is no LiveKit server: {error}") from None


async def _refusal(url: str, token: str, join: Join, error: InvalidStatus) -> SignalError:
    """Why the server refused: what it says of the same join without joining, else its refusal's status."""
    status = error.response.status_code
    text = bytes(error.response.body or b"").decode(errors="replace").strip()
    if status == HTTPStatus.NOT_FOUND and join.single and text != NO_SUCH_ROOM:
        return NoSinglePath("server", "404", status=status)
    import httpx  # Takes as long to import as all the rest, and is for failures only.

    # Without the offer: httpx logs what it asks for.
    query = replace(join, offer=None).query()
    address = f"{signal_url(url, join.path(), http=True)}/validate?{query}"
    try:
        async with (
            asyncio.timeout(VALIDATE_TIMEOUT),
            httpx.AsyncClient(timeout=VALIDATE_TIMEOUT) as client,
            client.stream("GET", address, headers=_authorization(token)) as answer,
        ):
            if answer.is_error:
                status, text = answer.status_code, await _beginning(answer.aiter_raw())
    except (httpx.HTTPError, OSError):
        pass  # The status that is known stands.
    return _refused(status, text, token)


def _refused(status: int, text: str, token: str) -> SignalError:
    # Some servers repeat the token, which belongs into no log.
    text = text.replace(token, "(the token)")[:TOLD_OF_REFUSAL]
    parts: dict[int, Part] = {401: "token", 403: "room", 404: "room"}
    return SignalError(parts.get(status, "server"), f"{status} {_phrase(status)}: {text}", status=status)


async def _beginning(body: AsyncIterator[bytes]) -> str:
    read = b""
    async for piece in body:
        read += piece
        if len(read) > MAX_REFUSAL:
            break
    return read[:MAX_REFUSAL].decode(errors="replace").strip()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _host(address: str) -> str:
    return urlsplit(address).netloc.rpartition("@")[2]


def _text(error: OSError) -> str:
    return getattr(error, "verify_message", "") or error.strerror or str(error) or type(error).__name__


def _why_closed(error: BaseException) -> str:
    if received := getattr(error, "rcvd", None):
        return f"the server closed signalling: {received}"
    return f"signalling broke: {_text(error) if isinstance(error, OSError) else 'connection lost'}"
