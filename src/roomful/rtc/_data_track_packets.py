"""Frames of data tracks on the wire: one or more packets each, loosely after RTP.

A packet is a header of 12 bytes (version and flags, handle, sequence, frame number, 90 kHz timestamp, big
endian), extensions if its flag is set, and a piece of the frame. Packets may be lost or come in any order.
"""

from __future__ import annotations

import secrets
import struct
import time
from dataclasses import dataclass, replace

MAX_PACKET = 16_000
"""Bytes of a packet that we send, so that no data channel refuses it."""
MAX_PACKETS = 128
"""Packets of a frame, with which receivers stop to wait for more."""

_HEADER = struct.Struct("!BxHHHI")
_START, _FINAL, _EXTENDED = 0x10, 0x08, 0x04
_ENCRYPTION_TAG, _ENCRYPTION = 1, struct.Struct("!B12s")
_TIMESTAMP_TAG, _TIMESTAMP = 2, struct.Struct("!Q")
_CLOCK_RATE = 90_000


@dataclass(frozen=True)
class Extensions:
    """What comes with a frame beside its payload."""

    user_timestamp: int | None = None
    """64 bits, whose meaning is the program's."""
    encryption: tuple[int, bytes] | None = None
    """Index of the key, and the IV."""


@dataclass(frozen=True)
class Packet:
    handle: int
    sequence: int
    frame: int
    timestamp: int
    start: bool
    final: bool
    payload: bytes
    extensions: Extensions = Extensions()

    def to_bytes(self) -> bytes:
        extensions = _extension_bytes(self.extensions)
        flags = (_START if self.start else 0) | (_FINAL if self.final else 0)
        flags |= _EXTENDED if extensions else 0
        header = _HEADER.pack(flags, self.handle, self.sequence, self.frame, self.timestamp)
        return header + extensions + self.payload

    @classmethod
    def from_bytes(cls, data: bytes) -> Packet:
        """
        Raises:
            ValueError: it is none, or of another version.
        """
        if len(data) < _HEADER.size:
            raise ValueError("a data track packet is longer")
        flags, handle, sequence, frame, timestamp = _HEADER.unpack_from(data)
        if flags >> 5:
            raise ValueError("an unknown version of data track packets")
        extensions, payload = Extensions(), data[_HEADER.size :]
        if flags & _EXTENDED:
            length = 4 * (int.from_bytes(payload[:2], "big") + 1)
            if len(payload) < length:
                raise ValueError("extensions that end behind the packet")
            extensions, payload = _parse_extensions(payload[2:length]), payload[length:]
        start, final = bool(flags & _START), bool(flags & _FINAL)
        return cls(handle, sequence, frame, timestamp, start, final, payload, extensions)


def _extension_bytes(extensions: Extensions) -> bytes:
    listed = b""
    if extensions.encryption is not None:
        listed += bytes((_ENCRYPTION_TAG, _ENCRYPTION.size)) + _ENCRYPTION.pack(*extensions.encryption)
    if extensions.user_timestamp is not None:
        listed += bytes((_TIMESTAMP_TAG, _TIMESTAMP.size)) + _TIMESTAMP.pack(extensions.user_timestamp)
    if not listed:
        return b""
    listed += bytes(-(2 + len(listed)) % 4)
    return ((2 + len(listed)) // 4 - 1).to_bytes(2, "big") + listed


def _parse_extensions(data: bytes) -> Extensions:
    extensions = Extensions()
    while len(data) >= 2 and data[0] != 0:  # behind a tag of 0 is padding alone
        tag, content, data = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
        if tag == _ENCRYPTION_TAG and len(content) == _ENCRYPTION.size:
            extensions = replace(extensions, encryption=_ENCRYPTION.unpack(content))
        elif tag == _TIMESTAMP_TAG and len(content) == _TIMESTAMP.size:
            extensions = replace(extensions, user_timestamp=_TIMESTAMP.unpack(content)[0])
    return extensions


class Packetizer:
    """Cuts the frames of one track into packets."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._sequence = 0
        self._frame = 0
        self._clock_offset = secrets.randbits(32)

    def packets(self, payload: bytes, extensions: Extensions) -> list[bytes]:
        """
        Raises:
            ValueError: the frame needs more packets than receivers put together.
        """
        room = MAX_PACKET - _HEADER.size - len(_extension_bytes(extensions))
        pieces = [payload[start : start + room] for start in range(0, len(payload), room)] or [b""]
        if len(pieces) > MAX_PACKETS:
            raise ValueError(f"a frame of more than {room * MAX_PACKETS} bytes")
        timestamp = (self._clock_offset + int(time.monotonic() * _CLOCK_RATE)) & 0xFFFF_FFFF
        packets = []
        for index, piece in enumerate(pieces):
            packets.append(
                Packet(
                    handle=self._handle,
                    sequence=self._sequence,
                    frame=self._frame,
                    timestamp=timestamp,
                    start=index == 0,
                    final=index == len(pieces) - 1,
                    payload=piece,
                    extensions=extensions,
                ).to_bytes()
            )
            self._sequence = (self._sequence + 1) & 0xFFFF
        self._frame = (self._frame + 1) & 0xFFFF
        return packets


class _Partial:
    """A frame of which the first packet has come."""

    def __init__(self, first: Packet) -> None:
        self.first = first
        self.pieces = {first.sequence: first.payload}

    def whole(self, last: int) -> bytes | None:
        count = ((last - self.first.sequence) & 0xFFFF) + 1
        sequences = [(self.first.sequence + index) & 0xFFFF for index in range(min(count, MAX_PACKETS + 1))]
        if count != len(self.pieces) or any(sequence not in self.pieces for sequence in sequences):
            return None
        return b"".join(self.pieces[sequence] for sequence in sequences)


class Assembler:
    """Puts the packets of one track together to frames.

    A frame is given up when its last packet comes before all others have, or when there are newer ones
    than `max_partial_frames`.
    """

    def __init__(self) -> None:
        self.max_partial_frames = 1
        self._partials: dict[int, _Partial] = {}

    def push(self, packet: Packet) -> tuple[bytes, Extensions] | None:
        """A frame with its extensions, if this was the last of its packets."""
        if packet.start:
            surplus = len(self._partials) + 1 - self.max_partial_frames
            for frame in list(self._partials)[: max(surplus, 0)]:
                del self._partials[frame]
            if packet.final:
                return packet.payload, packet.extensions
            self._partials[packet.frame] = _Partial(packet)
            return None
        partial = self._partials.get(packet.frame)
        if partial is None:
            return None
        partial.pieces[packet.sequence] = packet.payload
        if packet.final or len(partial.pieces) > MAX_PACKETS:
            del self._partials[packet.frame]
        if packet.final and (payload := partial.whole(packet.sequence)) is not None:
            return payload, partial.first.extensions
        return None
