"""Streams of text and bytes to other participants, in packets of one chunk each.

A stream is a header, chunks numbered from 0 and a trailer, all over the reliable channel. Short ones may be
a header alone, with the content in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from livekit.protocol import models

from roomful.rtc._background import Background
from roomful.rtc._port import PacketPort

STREAM_CHUNK_SIZE = 15_000
"""Bytes of content in a chunk, and of a header's packet, at most."""

MAX_UNREAD = 64 * 1024 * 1024
"""Bytes that may wait to be read, of all streams of one sender."""
#: Bytes that a chunk takes beside its content.
CHUNK_OVERHEAD = 64
#: Bytes that are read before others have their turn: what is there makes nobody wait, and it may be much.
RESTS_AFTER = 1024 * 1024

_DISCONNECTED = "Disconnected while receiving"

_abandoned = Background()


class StreamError(ConnectionError):
    """A stream could not be sent, or ended before it was complete."""

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description


@dataclass
class BaseStreamInfo:
    """What a stream's header says of it."""

    stream_id: str
    mime_type: str
    topic: str
    timestamp: int
    """Milliseconds since 1970, by the sender's clock."""
    size: int | None
    """Bytes of content; 0 where the header leaves it open."""
    attributes: dict[str, str] | None
    """Those of the header, and from its end on those of the trailer."""


@dataclass
class TextStreamInfo(BaseStreamInfo):
    """What a text stream's header says of it."""

    attachments: list[str]
    """Ids of byte streams that belong to this text."""


@dataclass
class ByteStreamInfo(BaseStreamInfo):
    """What a byte stream's header says of it."""

    name: str
    """Whatever the sender says: not a path to write to unseen."""


def text_info(header: models.DataStream.Header) -> TextStreamInfo:
    return TextStreamInfo(**_common(header), attachments=list(header.text_header.attached_stream_ids))


def byte_info(header: models.DataStream.Header) -> ByteStreamInfo:
    return ByteStreamInfo(**_common(header), name=header.byte_header.name)


def _common(header: models.DataStream.Header) -> dict[str, Any]:
    return {
        "stream_id": header.stream_id,
        "mime_type": header.mime_type,
        "topic": header.topic,
        "timestamp": header.timestamp,
        "size": header.total_length,
        "attributes": dict(header.attributes),
    }


Content = TypeVar("Content", str, bytes)
Info = TypeVar("Info", bound=BaseStreamInfo)


class Readable(Protocol):
    """What chunks are, to those who read them. Both raise StreamError."""

    def pieces(self, chunk: bytes) -> Iterator[Any]: ...
    def finish(self) -> None:
        """All has been read."""
        ...


class Unread:
    """What of one sender waits to be read."""

    def __init__(self) -> None:
        self.bytes = 0


class _Reader(Generic[Content, Info]):
    """Chunks that have come and wait to be read, and how the stream ended."""

    def __init__(
        self, info: Info, on_close: Callable[[], None] | None = None, unread: Unread | None = None
    ) -> None:
        self._info = info
        self._on_close = on_close
        self._unread = unread or Unread()
        #: As they came, and the rest of the one that is being read.
        self._chunks: deque[bytes] = deque()
        self._pieces: Iterator[Content] = iter(())
        #: Since others had their turn.
        self._read = 0
        self._content: Readable | None = None
        self._end: tuple[StreamError | None, Mapping[str, str]] | None = None
        self._closed = False
        self._error: StreamError | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def info(self) -> Info:
        """What the header says; `attributes` also has the trailer's once the end has been read."""
        return self._info

    async def __anext__(self) -> Content:
        while not self._closed:
            if self._read >= RESTS_AFTER:
                self._read = 0
                await asyncio.sleep(0)
                continue
            try:
                if (piece := self._next_piece()) is not None:
                    self._read += len(piece)
                    if piece:
                        return piece
                    continue
            except StreamError as error:
                self._end = error, {}
                self._drop()
            if self._end is not None:
                self._error, attributes = self._end
                self._info.attributes = {**(self._info.attributes or {}), **attributes}
                self.close()
            else:
                waiter = asyncio.get_running_loop().create_future()
                self._waiting.add(waiter)
                try:
                    await waiter
                finally:
                    self._waiting.discard(waiter)
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def _next_piece(self) -> Content | None:
        """Of what is there; it may be empty. Raises StreamError."""
        while True:
            for piece in self._pieces:
                return piece
            if not self._chunks:
                break
            chunk = self._chunks.popleft()
            self._unread.bytes -= _weight(chunk)
            self._read += _weight(chunk)
            assert self._content is not None
            self._pieces = self._content.pieces(chunk)
        if self._end is not None and self._end[0] is None and self._content is not None:
            self._content.finish()
        return None

    def close(self) -> None:
        """Stops reading: what comes later is dropped, and whoever waits for a chunk sees the end.

        For a reader that is left before its end; it does nothing after that.
        """
        if not self._closed:
            self._closed = True
            self._drop()
            self._wake()
            if self._on_close is not None:
                self._on_close()

    async def aclose(self) -> None:
        """As `close()`."""
        self.close()

    def __del__(self) -> None:
        self._drop()

    def _drop(self) -> None:
        self._unread.bytes -= sum(map(_weight, self._chunks))
        self._chunks.clear()
        self._pieces = iter(())

    def _room(self) -> int:
        """Bytes that a chunk that comes may have."""
        return max(MAX_UNREAD - self._unread.bytes - CHUNK_OVERHEAD, 0)

    def _put(self, chunk: bytes) -> None:
        if chunk and not self._closed:
            self._chunks.append(chunk)
            self._unread.bytes += _weight(chunk)
            self._wake()

    def _finish(self, error: StreamError | None = None, attributes: Mapping[str, str] | None = None) -> None:
        """Ends the stream behind the chunks that are there."""
        if self._end is None:
            self._end = (error, dict(attributes or {}))
            self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


def _weight(chunk: bytes) -> int:
    return len(chunk) + CHUNK_OVERHEAD


class TextStreamReader(_Reader[str, TextStreamInfo]):
    """A text that comes in chunks, each of them whole characters.

    >>> async def show(reader):
    ...     async for chunk in reader:
    ...         print(chunk)

    A stream that ends before it is complete raises `StreamError` where the next chunk would be: its sender
    left or gave up, it is longer than allowed, more than 64 MiB of that sender waited to be read (as they
    came: what is compressed becomes what it is as it is read), or the
    room was disconnected. Close a reader that is left before its end, or what comes for it is kept until
    the sender is done.
    """

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def read_all(self) -> str:
        """The whole text.

        Raises:
            StreamError: it ended before it was complete.
        """
        return "".join([chunk async for chunk in self])


class ByteStreamReader(_Reader[bytes, ByteStreamInfo]):
    """Bytes that come in chunks, for example a file.

    >>> async def save(reader, file):
    ...     async for chunk in reader:
    ...         file.write(chunk)

    It ends as a `TextStreamReader` does.
    """

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self


TextStreamHandler = Callable[[TextStreamReader, str], Any]
ByteStreamHandler = Callable[[ByteStreamReader, str], Any]


class OutgoingStream:
    """The packets of one stream that we send, in their order."""

    def __init__(
        self,
        port: PacketPort,
        header: models.DataStream.Header,
        destinations: Sequence[str] = (),
        sender: str | None = None,
    ) -> None:
        self._port = port
        self._destinations = list(destinations)
        self._sender = sender or port.identity
        self.header = header
        self._next_chunk = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def fits(self) -> bool:
        """Whether the header is small enough for one packet."""
        return self._packet(stream_header=self.header).ByteSize() <= STREAM_CHUNK_SIZE

    @property
    def opened(self) -> bool:
        return self._loop is not None

    async def send_header(self) -> None:
        """Sends the header alone, for a stream that has its content in it.

        Raises:
            StreamError: too many attributes or destinations for one packet; or not sent.
        """
        if not self.fits():
            raise StreamError("stream header exceeds maximum size")
        await self._send(self._packet(stream_header=self.header))

    async def open(self) -> None:
        await self.send_header()
        self._loop = asyncio.get_running_loop()

    async def write(self, content: bytes) -> None:
        """Sends one chunk."""
        chunk = models.DataStream.Chunk(
            stream_id=self.header.stream_id, chunk_index=self._next_chunk, content=content
        )
        await self._send(self._packet(stream_chunk=chunk))
        self._next_chunk += 1

    async def close(self, reason: str = "", attributes: Mapping[str, str] | None = None) -> None:
        self._closed = True
        await self._send(self._packet(stream_trailer=self._trailer(reason, attributes)))

    def __del__(self) -> None:
        """Ends at its receivers what nobody can write to any more."""
        if self._loop is None or self._closed or self._loop.is_closed():
            return
        port, packet = self._port, self._packet(stream_trailer=self._trailer())

        async def end() -> None:
            with contextlib.suppress(Exception):
                await port._send_packet(packet)

        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(lambda: _abandoned.start(end(), "the end of a stream"))

    def _trailer(
        self, reason: str = "", attributes: Mapping[str, str] | None = None
    ) -> models.DataStream.Trailer:
        return models.DataStream.Trailer(
            stream_id=self.header.stream_id, reason=reason, attributes=attributes
        )

    def _packet(self, **value: Any) -> models.DataPacket:
        # Each packet names the destinations: the server doesn't know which stream a chunk belongs to.
        return models.DataPacket(
            participant_identity=self._sender, destination_identities=self._destinations, **value
        )

    async def _send(self, packet: models.DataPacket) -> None:
        try:
            await self._port._send_packet(packet)
        except Exception as error:
            raise StreamError("unable to send packet") from error


class _Writer:
    def __init__(self, stream: OutgoingStream) -> None:
        self._stream = stream
        self._write_lock = asyncio.Lock()
        self._closed = False

    async def _write(self, chunks: Iterator[bytes]) -> None:
        async with self._write_lock:
            if self._closed:
                raise RuntimeError("Cannot write after stream is closed")
            if not self._stream.opened:
                raise RuntimeError("Stream is not open")
            for chunk in chunks:
                await self._stream.write(chunk)

    async def aclose(self, *, reason: str = "", attributes: dict[str, str] | None = None) -> None:
        """Ends the stream; a reason says that it is not complete, and the reader raises `StreamError`.

        Args:
            attributes: added to the stream's at its readers.

        Raises:
            RuntimeError: it is closed already.
            StreamError: not sent.
        """
        async with self._write_lock:
            if self._closed:
                raise RuntimeError("Stream already closed")
            if not self._stream.opened:
                raise RuntimeError("Stream is not open")
            self._closed = True
            await self._stream.close(reason, attributes)


class TextStreamWriter(_Writer):
    """A text that is written piece by piece: `total_size` bytes of UTF-8, if that is known."""

    def __init__(
        self,
        local_participant: PacketPort,
        *,
        topic: str = "",
        attributes: dict[str, str] | None = None,
        stream_id: str | None = None,
        total_size: int | None = None,
        reply_to_id: str | None = None,
        destination_identities: list[str] | None = None,
        sender_identity: str | None = None,
    ) -> None:
        header = text_header(topic, attributes, reply_to_id=reply_to_id, stream_id=stream_id)
        super().__init__(
            OutgoingStream(local_participant, header, destination_identities or (), sender_identity)
        )
        self._info = text_info(header)
        self._info.size = total_size  # which isn't sent: a text need not know its length in bytes

    async def _send_header(self) -> None:
        await self._stream.open()
        self._info.size = self._info.size or 0

    async def write(self, text: str) -> None:
        """Sends a piece of text.

        Raises:
            RuntimeError: the stream is closed.
            StreamError: not sent.
        """
        await self._write(text_chunks(text.encode()))

    @property
    def info(self) -> TextStreamInfo:
        """What its header says."""
        return self._info


class ByteStreamWriter(_Writer):
    """Bytes that are written piece by piece: `total_size` of them, if that is known."""

    def __init__(
        self,
        local_participant: PacketPort,
        *,
        name: str,
        topic: str = "",
        attributes: dict[str, str] | None = None,
        stream_id: str | None = None,
        total_size: int | None = None,
        mime_type: str = "application/octet-stream",
        destination_identities: list[str] | None = None,
    ) -> None:
        header = byte_header(
            topic, attributes, name=name, mime_type=mime_type, stream_id=stream_id, total_length=total_size
        )
        super().__init__(OutgoingStream(local_participant, header, destination_identities or ()))
        self._info = byte_info(header)
        self._info.size = total_size

    async def _send_header(self) -> None:
        await self._stream.open()
        self._info.size = self._info.size or 0

    async def write(self, data: bytes) -> None:
        """Sends a piece of the content.

        Raises:
            RuntimeError: the stream is closed.
            StreamError: not sent.
        """
        await self._write(byte_chunks(data))

    @property
    def info(self) -> ByteStreamInfo:
        """What its header says."""
        return self._info


def text_header(
    topic: str,
    attributes: Mapping[str, str] | None,
    *,
    reply_to_id: str | None = None,
    stream_id: str | None = None,
    total_length: int | None = None,
) -> models.DataStream.Header:
    header = models.DataStream.Header(
        stream_id=_new_id(stream_id),
        timestamp=_now(),
        mime_type="text/plain",
        total_length=total_length,
        attributes=attributes,
        text_header=models.DataStream.TextHeader(reply_to_stream_id=reply_to_id),
    )
    header.topic = topic
    return header


def byte_header(
    topic: str,
    attributes: Mapping[str, str] | None,
    *,
    name: str,
    mime_type: str,
    stream_id: str | None = None,
    total_length: int | None = None,
) -> models.DataStream.Header:
    header = models.DataStream.Header(
        stream_id=_new_id(stream_id),
        timestamp=_now(),
        mime_type=mime_type,
        total_length=total_length,
        attributes=attributes,
        byte_header=models.DataStream.ByteHeader(name=name),
    )
    header.topic = topic
    return header


def text_chunks(text: bytes) -> Iterator[bytes]:
    """Pieces of UTF-8 of at most `STREAM_CHUNK_SIZE` bytes, none of which cuts a character."""
    start = 0
    while len(text) - start > STREAM_CHUNK_SIZE:
        end = start + STREAM_CHUNK_SIZE
        while text[end] & 0xC0 == 0x80:  # in the middle of a character
            end -= 1
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def byte_chunks(data: bytes) -> Iterator[bytes]:
    """Pieces of at most `STREAM_CHUNK_SIZE` bytes."""
    view = memoryview(data).cast("B")
    for start in range(0, len(view), STREAM_CHUNK_SIZE):
        yield bytes(view[start : start + STREAM_CHUNK_SIZE])


def _new_id(stream_id: str | None) -> str:
    return str(uuid.uuid4()) if stream_id is None else stream_id


def _now() -> int:
    return int(time.time() * 1000)
