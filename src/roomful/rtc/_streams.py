"""All streams of a room: those that come, and those that are sent in one go."""

from __future__ import annotations

import asyncio
import inspect
import mimetypes
import os
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from livekit.protocol import models

from roomful.rtc._background import Background
from roomful.rtc._port import PacketPort
from roomful.rtc._stream_content import StreamContent
from roomful.rtc.data_stream import (
    STREAM_CHUNK_SIZE,
    ByteStreamHandler,
    ByteStreamInfo,
    ByteStreamReader,
    ByteStreamWriter,
    OutgoingStream,
    StreamError,
    TextStreamHandler,
    TextStreamInfo,
    TextStreamReader,
    TextStreamWriter,
    Unread,
    byte_chunks,
    byte_header,
    byte_info,
    text_chunks,
    text_header,
    text_info,
)
from roomful.rtc.log import logger

Header = models.DataStream.Header

DEFAULT_MAX_PAYLOAD = 5_000_000_000
"""Bytes of a stream that comes, after decompression."""

#: `client_protocol` of participants that understand content in the header.
INLINE_CONTENT = 2

#: Bytes of a file that are read at once, and content above which compressing leaves the event loop.
FILE_PIECE = 256 * 1024

#: Streams that a sender may have open, and all senders together.
MAX_OPEN = 256
MAX_OPEN_OF_ALL = 4096

_UNREAD = "more than 64 MiB of the sender's streams wait to be read"


class Streams:
    """Streams of a room: handlers of those that come by topic, and the sending of complete ones."""

    def __init__(self, port: PacketPort, max_payload: int | None = None) -> None:
        self._port = port
        self._max_payload = DEFAULT_MAX_PAYLOAD if max_payload is None else max_payload
        self.text_handlers: dict[str, TextStreamHandler] = {}
        self.byte_handlers: dict[str, ByteStreamHandler] = {}
        #: Topics that the client uses itself: no program sees their streams.
        self.own_topics: dict[str, TextStreamHandler] = {}
        # By the session that sends and the id that it chose: nobody can write into another's stream.
        self._open: dict[tuple[str, str], _Incoming] = {}
        self._unread: weakref.WeakValueDictionary[str, Unread] = weakref.WeakValueDictionary()
        self._background = Background()

    # Those that come.

    def handle(self, packet: models.DataPacket, encrypted: bool = False) -> None:
        """Takes a header, chunk or trailer.

        Args:
            encrypted: it came in an encrypted packet; a stream is encrypted as a whole or not at all.
        """
        if packet.HasField("stream_header"):
            self._header(packet, encrypted)
            return
        if packet.HasField("stream_chunk"):
            key = (packet.participant_sid, packet.stream_chunk.stream_id)
        else:
            key = (packet.participant_sid, packet.stream_trailer.stream_id)
        stream = self._open.get(key)
        if stream is None:
            return
        try:
            if encrypted != stream.encrypted:
                raise StreamError("encryption type mismatch")
            if packet.HasField("stream_chunk"):
                stream.chunk(packet.stream_chunk)
            else:
                del self._open[key]
                stream.trailer(packet.stream_trailer)
        except StreamError as error:
            self._open.pop(key, None)
            stream.fail(error, packet.stream_trailer.attributes)

    def participant_left(self, identity: str, sid: str = "") -> None:
        """Ends what a participant was sending."""
        reason = f"Participant {identity} unexpectedly disconnected in the middle of sending data"
        for key, stream in list(self._open.items()):
            if stream.identity == identity or (sid and key[0] == sid):
                del self._open[key]
                stream.fail(StreamError(f"stream closed abnormally: {reason}"))

    def close(self) -> None:
        """Ends everything that is still coming: the room is disconnected."""
        for stream in self._open.values():
            stream.fail(StreamError("Disconnected while receiving"))
        self._open.clear()

    def _header(self, packet: models.DataPacket, encrypted: bool) -> None:
        header = packet.stream_header
        key = (packet.participant_sid, header.stream_id)
        if key in self._open:
            logger.warning("a stream %r is open already, its second header is dropped", header.stream_id)
            return
        if header.compression not in models.DataStream.CompressionType.values():
            logger.warning("a stream in an unknown compression is dropped")
            return
        open_of_sender = sum(sid == packet.participant_sid for sid, _ in self._open)
        if open_of_sender >= MAX_OPEN or len(self._open) >= MAX_OPEN_OF_ALL:
            logger.warning("a stream of %r is dropped, too many are open", packet.participant_identity)
            return
        unread = self._unread.setdefault(packet.participant_sid, Unread())
        opened = self._reader(header, packet.participant_identity, lambda: self._forget(key, stream), unread)
        if opened is None:
            return
        reader, handler = opened
        content = reader._content = StreamContent(header, self._max_payload)
        stream = _Incoming(reader, content, packet.participant_identity, encrypted)
        try:
            content.begin()
            self._open[key] = stream
            if header.HasField("inline_content"):
                stream.content(header.inline_content)
                del self._open[key]
                stream.end()
        except StreamError as error:
            self._open.pop(key, None)
            stream.fail(error)
        try:
            result = handler(reader, packet.participant_identity)
        except (Exception, asyncio.CancelledError):  # Of the handler: a call is not cancelled.
            logger.exception("the handler of streams with topic %r raised", header.topic)
            return
        if inspect.iscoroutine(result):
            self._background.start(result, f"the handler of streams with topic {header.topic!r}")

    def _reader(
        self, header: Header, identity: str, on_close: Callable[[], None], unread: Unread
    ) -> tuple[TextStreamReader | ByteStreamReader, Callable[[Any, str], Any]] | None:
        kind = header.WhichOneof("content_header")
        handler: TextStreamHandler | ByteStreamHandler | None
        if kind == "text_header":
            handler = self.own_topics.get(header.topic) or self.text_handlers.get(header.topic)
            if handler is not None:
                return TextStreamReader(text_info(header), on_close, unread), handler
        elif kind == "byte_header":
            handler = self.byte_handlers.get(header.topic)
            if handler is not None:
                return ByteStreamReader(byte_info(header), on_close, unread), handler
        else:
            logger.warning("a stream from %r that is neither text nor bytes is dropped", identity)
            return None
        logger.info("no handler for streams with topic %r", header.topic)
        return None

    def _forget(self, key: tuple[str, str], stream: _Incoming) -> None:
        if self._open.get(key) is stream:
            del self._open[key]

    # Those that are sent.

    async def stream_text(
        self,
        *,
        destination_identities: list[str] | None = None,
        topic: str = "",
        attributes: dict[str, str] | None = None,
        stream_id: str | None = None,
        reply_to_id: str | None = None,
        total_size: int | None = None,
        sender_identity: str | None = None,
    ) -> TextStreamWriter:
        """Opens a text that is written piece by piece."""
        writer = TextStreamWriter(
            self._port,
            topic=topic,
            attributes=attributes,
            stream_id=stream_id,
            total_size=total_size,
            reply_to_id=reply_to_id,
            destination_identities=destination_identities,
            sender_identity=sender_identity,
        )
        await writer._send_header()
        return writer

    async def stream_bytes(
        self,
        name: str,
        *,
        total_size: int | None = None,
        mime_type: str = "application/octet-stream",
        attributes: dict[str, str] | None = None,
        stream_id: str | None = None,
        destination_identities: list[str] | None = None,
        topic: str = "",
    ) -> ByteStreamWriter:
        """Opens bytes that are written piece by piece."""
        writer = ByteStreamWriter(
            self._port,
            name=name,
            topic=topic,
            attributes=attributes,
            stream_id=stream_id,
            total_size=total_size,
            mime_type=mime_type,
            destination_identities=destination_identities,
        )
        await writer._send_header()
        return writer

    async def send_text(
        self,
        text: str,
        *,
        destination_identities: list[str] | None = None,
        topic: str = "",
        attributes: dict[str, str] | None = None,
        reply_to_id: str | None = None,
        compress: bool = True,
    ) -> TextStreamInfo:
        """Sends a complete text, in one packet where it fits and all who get it understand that."""
        content = text.encode()
        header = text_header(topic, attributes, reply_to_id=reply_to_id, total_length=len(content))
        await self._send(header, content, destination_identities or (), compress)
        return text_info(header)

    async def send_bytes(
        self,
        data: bytes,
        *,
        topic: str = "",
        name: str | None = None,
        mime_type: str | None = None,
        destination_identities: list[str] | None = None,
        attributes: dict[str, str] | None = None,
        stream_id: str | None = None,
        compress: bool = True,
    ) -> ByteStreamInfo:
        """Sends complete bytes, in one packet where they fit and all who get them understand that."""
        content = bytes(memoryview(data))
        header = byte_header(
            topic,
            attributes,
            name="unknown" if name is None else name,
            mime_type="application/octet-stream" if mime_type is None else mime_type,
            stream_id=stream_id,
            total_length=len(content),
        )
        await self._send(header, content, destination_identities or (), compress)
        return byte_info(header)

    async def send_file(
        self,
        file_path: str,
        *,
        topic: str = "",
        destination_identities: list[str] | None = None,
        attributes: dict[str, str] | None = None,
        stream_id: str | None = None,
        compress: bool = True,
    ) -> ByteStreamInfo:
        """Sends a file, of which a few chunks at a time are in memory."""
        try:
            size = (await asyncio.to_thread(os.stat, file_path)).st_size
            header = byte_header(
                topic,
                attributes,
                name=os.path.basename(file_path),
                mime_type=mimetypes.guess_type(file_path)[0] or "application/octet-stream",
                stream_id=stream_id,
                total_length=size,
            )
            destinations = destination_identities or ()
            deflater = None
            if compress and self._understood_by(destinations)[1]:
                header.compression = models.DataStream.CompressionType.DEFLATE_RAW
                deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            stream = OutgoingStream(self._port, header, destinations)
            with await asyncio.to_thread(open, file_path, "rb") as file:
                await stream.open()
                pending = b""
                while piece := await asyncio.to_thread(file.read, FILE_PIECE):
                    pending += (
                        piece if deflater is None else await asyncio.to_thread(deflater.compress, piece)
                    )
                    whole = len(pending) - len(pending) % STREAM_CHUNK_SIZE
                    for chunk in byte_chunks(pending[:whole]):
                        await stream.write(chunk)
                    pending = pending[whole:]
            for chunk in byte_chunks(pending if deflater is None else pending + deflater.flush()):
                await stream.write(chunk)
            await stream.close()
        except StreamError:
            raise
        except OSError as error:
            raise StreamError(f"I/O error: {error}") from error
        return byte_info(header)

    async def _send(
        self, header: Header, content: bytes, destinations: Sequence[str], compress: bool
    ) -> None:
        inline, deflate = self._understood_by(destinations)
        chunks: Iterator[bytes] = (
            text_chunks(content) if header.HasField("text_header") else byte_chunks(content)
        )
        if compress and deflate:
            if len(content) > FILE_PIECE:
                smaller = await asyncio.to_thread(_deflate, content)
            else:
                smaller = _deflate(content)
            if len(smaller) < len(content):
                header.compression = models.DataStream.CompressionType.DEFLATE_RAW
                content, chunks = smaller, byte_chunks(smaller)
        stream = OutgoingStream(self._port, header, destinations)
        if inline and len(content) <= STREAM_CHUNK_SIZE:
            header.inline_content = content
            if stream.fits():
                await stream.send_header()
                return
            header.ClearField("inline_content")
        await stream.open()
        for chunk in chunks:
            await stream.write(chunk)
        await stream.close()

    def _understood_by(self, destinations: Sequence[str]) -> tuple[bool, bool]:
        """Whether all who get it understand content in the header, and compression too."""
        recipients = self._port._recipients(destinations)
        inline = len(recipients) >= len(set(destinations)) and all(
            recipient.client_protocol >= INLINE_CONTENT for recipient in recipients
        )
        deflate = models.ClientInfo.Capability.CAP_COMPRESSION_DEFLATE_RAW
        return inline, inline and all(deflate in recipient.capabilities for recipient in recipients)


class _Incoming:
    """One stream that is coming: checks its packets and gives their content to the reader."""

    def __init__(
        self,
        reader: TextStreamReader | ByteStreamReader,
        content: StreamContent,
        identity: str,
        encrypted: bool,
    ) -> None:
        self.identity = identity
        self.encrypted = encrypted
        self._reader = reader
        self._content = content
        self._next_chunk = 0

    def chunk(self, chunk: models.DataStream.Chunk) -> None:
        if chunk.chunk_index < self._next_chunk:
            return  # again, after a reconnect
        if chunk.chunk_index > self._next_chunk:
            raise StreamError("expected chunk index to be exactly one more than the previous")
        self._next_chunk += 1
        self.content(chunk.content)

    def content(self, content: bytes) -> None:
        if len(content) > self._reader._room():
            raise StreamError(_UNREAD)
        self._content.came(content)
        self._reader._put(content)

    def trailer(self, trailer: models.DataStream.Trailer) -> None:
        self._content.ended()
        if trailer.reason:
            raise StreamError(f"stream closed abnormally: {trailer.reason}")
        self._reader._finish(None, trailer.attributes)

    def end(self) -> None:
        """Without a trailer."""
        self._content.ended()
        self._reader._finish()

    def fail(self, error: StreamError, attributes: Mapping[str, str] | None = None) -> None:
        self._reader._finish(error, attributes)


def _deflate(content: bytes) -> bytes:
    return zlib.compress(content, wbits=-zlib.MAX_WBITS)
