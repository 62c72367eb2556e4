"""Metadata of pictures as LiveKit's clients send it: in a trailer behind the frame, of AV1 in an OBU.

A trailer is fields of tag, length and value, each byte inverted so that no start code of H.264 comes about,
then the inverted length of all and four letters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from roomful.rtc._enums import FrameMetadata, FrameMetadataFeature

_MAGIC = b"LKTS"
_END = len(_MAGIC) + 1
#: Bytes of user_data: the length of a trailer, in which the others take 16, is a byte itself.
MOST_USER_DATA = 255 - _END - 16 - 2
_FIELDS = {
    1: (FrameMetadataFeature.FMF_USER_TIMESTAMP, "user_timestamp", 8),
    2: (FrameMetadataFeature.FMF_FRAME_ID, "frame_id", 4),
    3: (FrameMetadataFeature.FMF_USER_DATA, "user_data", None),
}
_INVERTED = bytes(255 - byte for byte in range(256))

_SEQUENCE_HEADER, _TEMPORAL_DELIMITER, _METADATA = 1, 2, 5
#: Of the metadata types that AV1 leaves to applications.
_OBU_TYPE = 31


def chosen(metadata: FrameMetadata | None, features: Collection[int]) -> FrameMetadata | None:
    """Those parts that the track has said it carries. Other clients take a number that is 0 as none."""
    carried = FrameMetadata()
    for feature, name, _ in _FIELDS.values():
        if metadata is not None and feature in features and (value := getattr(metadata, name)):
            setattr(carried, name, value)
    return carried if carried.ByteSize() else None


def add(frame: bytes, metadata: FrameMetadata, codec: str) -> bytes:
    """The frame with its metadata."""
    fields = b""
    for tag, (_, name, size) in _FIELDS.items():
        if value := getattr(metadata, name):
            value = value if size is None else value.to_bytes(size, "big")
            fields += bytes([tag, len(value)]) + value
    trailer = (fields + bytes([len(fields) + _END])).translate(_INVERTED) + _MAGIC
    if codec != "av1":
        return frame + trailer
    obu = bytes([_METADATA << 3 | 2, *_leb128(len(trailer) + 1), _OBU_TYPE]) + trailer
    place = 0
    for unit in _units(frame):
        if unit.type not in (_TEMPORAL_DELIMITER, _SEQUENCE_HEADER):
            break
        place = unit.end
    return frame[:place] + obu + frame[place:]


def take(frame: bytes, codec: str) -> tuple[bytes, FrameMetadata | None]:
    """The frame without its metadata, and these."""
    if _MAGIC not in (frame if codec == "av1" else frame[-len(_MAGIC) :]):
        return frame, None
    if codec != "av1":
        length = ~frame[-_END] & 255 if len(frame) >= _END else 0
        metadata = _read(frame[-length:]) if _END <= length <= len(frame) else None
        return (frame[:-length], metadata) if metadata is not None else (frame, None)
    for unit in _units(frame):
        payload = frame[unit.payload : unit.end]
        if unit.type == _METADATA and payload[:1] == bytes([_OBU_TYPE]):
            metadata = _read(payload[1:])
            if metadata is not None:
                return frame[: unit.start] + frame[unit.end :], metadata
    return frame, None


def _read(trailer: bytes) -> FrameMetadata | None:
    if len(trailer) < _END or trailer[-len(_MAGIC) :] != _MAGIC or ~trailer[-_END] & 255 != len(trailer):
        return None
    fields = trailer[:-_END].translate(_INVERTED)
    metadata, at = FrameMetadata(), 0
    while at + 2 <= len(fields):
        tag, length = fields[at], fields[at + 1]
        value = fields[at + 2 : at + 2 + length]
        at += 2 + length
        if at > len(fields):
            break
        _, name, size = _FIELDS.get(tag, (None, "", -1))
        if size is None:
            setattr(metadata, name, value)
        elif size == length:
            setattr(metadata, name, int.from_bytes(value, "big"))
    return metadata if metadata.ByteSize() else None


class _Unit(NamedTuple):
    """An OBU: what it is, and where it and its payload begin and end."""

    type: int
    start: int
    payload: int
    end: int


def _units(frame: bytes) -> Iterator[_Unit]:
    """As far as they are sound (AV1 5.3)."""
    at = 0
    while at < len(frame):
        start, header = at, frame[at]
        at += 2 if header & 4 else 1
        end = len(frame)
        if header & 2:
            size = shift = 0
            while True:
                if at >= len(frame) or shift > 49:
                    return
                byte = frame[at]
                size |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128:
                    break
            end = at + size
        if header & 128 or end > len(frame):
            return
        yield _Unit(header >> 3 & 15, start, at, end)
        at = end


def _leb128(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])
