"""A server and peers that do as a test says: signalling is real, media is not."""

from __future__ import annotations

import asyncio
import base64
import gzip
import http
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from livekit.protocol import models, rtc
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

Info = models.ParticipantInfo


@dataclass
class Description:
    target: str
    kind: str
    sdp: str
    id: int


@dataclass
class Candidate:
    target: str
    candidate: str
    mid: str
    mline: int


@dataclass
class Connection:
    target: str
    state: str
    detail: str = ""


@dataclass
class ChannelOpen:
    channel: str


@dataclass
class Data:
    channel: str
    data: bytes


@dataclass
class BufferLow:
    channel: str


@dataclass
class Flushed:
    pass


@dataclass
class Track:
    target: str
    mid: str
    kind: str
    stream: str
    track: str
    mime: str = "audio/opus"


@dataclass
class TrackEnded:
    target: str
    mid: str


@dataclass
class Opening:
    target: str
    mid: str
    state: str


@dataclass
class Rejected:
    target: str
    id: int
    reason: str


@dataclass
class Fault:
    detail: str


#: In the place of `_core.PeerEvent`.
EVENTS = SimpleNamespace(
    **{
        one.__name__: one
        for one in (
            *(Description, Candidate, Connection, ChannelOpen, Data, BufferLow, Flushed),
            *(Track, TrackEnded, Opening, Rejected, Fault),
        )
    }
)


class PaperPeer:
    """In the place of `_core.Peer`: connects as soon as it is answered, and notes all that it is told."""

    made: ClassVar[list[PaperPeer]] = []
    #: Of peers to come: whether they connect.
    connects = True
    #: Whether what it sends arrives.
    acknowledged = True

    def __init__(self, *, single: bool, wake: Callable[[], None]) -> None:
        self.single, self.wake = single, wake
        self.calls: list[tuple[Any, ...]] = []
        self.events: deque[Any] = deque()
        self.sent: dict[str, list[bytes]] = {"reliable": [], "lossy": [], "data_track": []}
        self.full = False
        self.closed = False
        self._ids = count(1)
        self._connected: set[str] = set()
        PaperPeer.made.append(self)

    def emit(self, *events: Any) -> None:
        self.events.extend(events)
        self.wake()

    def take_events(self) -> list[Any]:
        taken, self.events = list(self.events), deque()
        return taken

    def close(self) -> None:
        self.closed = True

    def negotiate(self) -> None:
        self._offer()

    def restart_ice(self, target: str) -> None:
        self.calls.append(("restart_ice", target))
        self._offer()

    def remote_description(self, target: str, kind: str, sdp: str, id: int) -> None:
        self.calls.append(("remote_description", target, kind, id))
        if kind == "offer":
            self.emit(Description(target, "answer", "v=0 an answer", id))
        if self.connects and target not in self._connected:
            self._connected.add(target)
            self.emit(Connection(target, "connected"))
            if target == "publisher":
                self.emit(*(ChannelOpen(channel) for channel in self.sent))

    def send(self, channel: str, message: bytes) -> bool:
        if not self.full:
            self.sent[channel].append(message)
        return not self.full

    def buffered(self, channel: str) -> int:
        return 0

    def flush(self) -> None:
        self.calls.append(("flush",))
        if self.acknowledged:
            self.emit(Flushed())

    def packets(self, channel: str = "reliable") -> list[models.DataPacket]:
        return [models.DataPacket.FromString(one) for one in self.sent[channel]]

    def called(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]

    def _offer(self) -> None:
        self.emit(Description("publisher", "offer", "v=0 an offer", next(self._ids)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **options: self.calls.append((name, *args, *options.items()))


@dataclass
class Seat:
    """A client's connection, as the server has it."""

    socket: ServerConnection
    path: str
    query: dict[str, str]
    join: rtc.JoinRequest
    received: list[rtc.SignalRequest] = field(default_factory=list)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def resumes(self) -> bool:
        return self.join.reconnect or self.query.get("reconnect") == "1"

    async def send(self, **message: Any) -> None:
        await self.socket.send(rtc.SignalResponse(**message).SerializeToString())

    def kinds(self) -> list[str]:
        return [str(one.WhichOneof("message")) for one in self.received]

    async def hears(self, kind: str, nth: int = 1) -> Any:
        """The content of a request of that kind, once it comes."""
        async with asyncio.timeout(5):
            while True:
                found = [getattr(one, kind) for one in self.received if one.WhichOneof("message") == kind]
                if len(found) >= nth:
                    return found[nth - 1]
                self.arrival.clear()
                await self.arrival.wait()


@dataclass
class ScriptedServer:
    """Lets everybody in. What else it does may be replaced."""

    server: Server | None = None
    seats: list[Seat] = field(default_factory=list)
    others: list[Info] = field(default_factory=list)
    #: (status, text) instead of letting in, for as many as there are; and of validate.
    refusals: deque[tuple[int, str]] = field(default_factory=deque)
    validations: deque[tuple[int, str]] = field(default_factory=deque)
    #: Instead of the first message.
    first: deque[rtc.SignalResponse] = field(default_factory=deque)
    subscriber_primary: bool = False
    ping: tuple[int, int] = (5, 15)
    #: What it does not answer.
    deaf_to: set[str] = field(default_factory=set)
    last_message_seq: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _sids: Any = field(default_factory=lambda: count(1))

    @property
    def url(self) -> str:
        assert self.server
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    @property
    def seat(self) -> Seat:
        return self.seats[-1]

    async def seat_of(self, nth: int) -> Seat:
        async with asyncio.timeout(5):
            while len(self.seats) < nth:
                self.arrived.clear()
                await self.arrived.wait()
        return self.seats[nth - 1]

    def refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        validates = urlsplit(request.path).path.endswith("/validate")
        refusals = self.validations if validates else self.refusals
        if refusals:
            status, text = refusals.popleft()
            return connection.respond(http.HTTPStatus(status), text)
        return connection.respond(http.HTTPStatus.OK, "success") if validates else None

    async def serve(self, socket: ServerConnection) -> None:
        assert socket.request
        parts = urlsplit(socket.request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        seat = Seat(socket, parts.path, query, _join_request(query.get("join_request", "")))
        self.seats.append(seat)
        self.arrived.set()
        try:
            await self.greet(seat)
            async for frame in socket:
                assert isinstance(frame, bytes)
                request = rtc.SignalRequest.FromString(frame)
                seat.received.append(request)
                seat.arrival.set()
                await self.answer(seat, request)
        except ConnectionClosed:
            pass

    async def greet(self, seat: Seat) -> None:
        if self.first:
            await seat.socket.send(self.first.popleft().SerializeToString())
            return
        if seat.resumes:
            await seat.send(reconnect=rtc.ReconnectResponse(last_message_seq=self.last_message_seq))
            await seat.send(update=rtc.ParticipantUpdate(participants=[me(), *self.others]))
            return
        number = next(self._sids)
        join = rtc.JoinResponse(
            room=models.Room(name="demo", sid="RM_demo"),
            participant=me(f"PA_ada{number}"),
            other_participants=self.others,
            server_version="1.13.5",
            subscriber_primary=self.subscriber_primary,
            ping_interval=self.ping[0],
            ping_timeout=self.ping[1],
        )
        await seat.send(join=join)
        if seat.join.HasField("publisher_offer"):
            await self.answer(seat, rtc.SignalRequest(offer=seat.join.publisher_offer))
        if self.subscriber_primary:
            await seat.send(offer=rtc.SessionDescription(type="offer", sdp="v=0", id=7))

    async def answer(self, seat: Seat, request: rtc.SignalRequest) -> None:
        kind = str(request.WhichOneof("message"))
        if kind in self.deaf_to:
            return
        if kind == "offer":
            await seat.send(answer=rtc.SessionDescription(type="answer", sdp="v=0", id=request.offer.id))
        elif kind == "ping_req":
            await seat.send(pong_resp=rtc.Pong(last_ping_timestamp=request.ping_req.timestamp))
        elif kind == "add_track":
            asked = request.add_track
            track = models.TrackInfo(sid=f"TR_{next(self._sids)}", name=asked.name, type=asked.type)
            track.source, track.muted = asked.source, asked.muted
            await seat.send(track_published=rtc.TrackPublishedResponse(cid=asked.cid, track=track))
        elif kind == "update_metadata":
            reply = rtc.RequestResponse(request_id=request.update_metadata.request_id)
            await seat.send(request_response=reply)
        elif kind == "leave":
            await seat.socket.close()


@asynccontextmanager
async def open_scripted(tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
    script = ScriptedServer()
    async with serve(
        script.serve,
        "127.0.0.1",
        0,
        process_request=script.refuse,
        compression=None,
        ping_interval=None,
        ssl=tls,
    ) as server:
        script.server = server
        yield script


def me(sid: str = "PA_ada1") -> Info:
    return Info(sid=sid, identity="ada", state=Info.JOINED)


def other(identity: str = "bob", *tracks: models.TrackInfo, **fields: Any) -> Info:
    return Info(**{"sid": f"PA_{identity}", "state": Info.ACTIVE, **fields}, identity=identity, tracks=tracks)


def microphone(sid: str = "TR_mic", **fields: Any) -> models.TrackInfo:
    fields = {"source": models.TrackSource.MICROPHONE, "name": "microphone", **fields}
    return models.TrackInfo(sid=sid, type=models.TrackType.AUDIO, **fields)


def _join_request(text: str) -> rtc.JoinRequest:
    if not text:
        return rtc.JoinRequest()
    wrapped = rtc.WrappedJoinRequest.FromString(base64.urlsafe_b64decode(text))
    return rtc.JoinRequest.FromString(gzip.decompress(wrapped.join_request))
