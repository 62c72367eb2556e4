"""What of a stream is read, made of what came."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator

from livekit.protocol import models

from roomful.rtc.data_stream import StreamError

#: Bytes that compressed content becomes at once.
PIECE = 1024 * 1024

_TOO_LARGE = "stream payload exceeds maximum size"
_INCOMPLETE = "stream data is incomplete"


class StreamContent:
    """Compressed content becomes what it is when it is read, a piece at a time: what waits stays as small as
    it came. The size of other content is checked as it comes."""

    def __init__(self, header: models.DataStream.Header, limit: int) -> None:
        """`limit` is in bytes, of what is read."""
        self._total = header.total_length if header.HasField("total_length") else None
        self._limit = limit
        compressed = header.compression == models.DataStream.CompressionType.DEFLATE_RAW
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if compressed else None
        # A compressed chunk, and that of a careless sender, may end in the middle of a character.
        text = header.WhichOneof("content_header") == "text_header"
        self._decoder = codecs.getincrementaldecoder("utf-8")() if text else None
        self._size = 0

    def begin(self) -> None:
        """Raises StreamError."""
        if self._total is not None and self._total > self._limit:
            raise StreamError(_TOO_LARGE)

    def came(self, content: bytes) -> None:
        """Raises StreamError."""
        if self._inflater is None:
            self._count(content)

    def ended(self) -> None:
        """All has come. Raises StreamError."""
        if self._inflater is None:
            self._check_complete()

    def pieces(self, content: bytes) -> Iterator[str | bytes]:
        """Of what came next, some of them empty. Raises StreamError."""
        for piece in self._inflated(content):
            yield piece if self._decoder is None else self._decoded(piece)

    def finish(self) -> None:
        """All has been read. Raises StreamError."""
        if self._inflater is not None:
            if not self._inflater.eof and self._size:
                raise StreamError(_INCOMPLETE)
            self._check_complete()
        if self._decoder is not None:
            self._decoded(b"", final=True)

    def _check_complete(self) -> None:
        if self._size < (self._total or 0):
            raise StreamError(_INCOMPLETE)

    def _count(self, content: bytes) -> None:
        self._size += len(content)
        if self._size > self._limit:
            raise StreamError(_TOO_LARGE)
        if self._total is not None and self._size > self._total:
            raise StreamError("read length exceeded total length specified in stream header")

    def _inflated(self, content: bytes) -> Iterator[bytes]:
        inflater = self._inflater
        if inflater is None:
            yield content
            return
        if inflater.eof and content:
            raise StreamError("data behind the end of the compressed content")
        while True:
            try:
                piece = inflater.decompress(content, PIECE)
            except zlib.error as error:
                raise StreamError("decompression failed") from error
            if inflater.unused_data:
                raise StreamError("data behind the end of the compressed content")
            self._count(piece)
            yield piece
            content = inflater.unconsumed_tail
            if not content and len(piece) < PIECE:
                return

    def _decoded(self, content: bytes, final: bool = False) -> str:
        assert self._decoder is not None
        try:
            return self._decoder.decode(content, final)
        except UnicodeDecodeError as error:
            raise StreamError(f"UTF-8 decoding error: {error}") from error
