"""SignalResponses as bytes. What goes to many is encoded once and joined by hand.

A protobuf message is the concatenation of its fields, so a list of participants that are encoded already
becomes an update without decoding any of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import models, rtc

#: Updates are cut into messages of about this size.
TARGET_SIZE = 128 * 1024

# (field number << 3) | 2: a length-delimited field.
_RESPONSE_JOIN = b"\x0a"
_RESPONSE_UPDATE = b"\x2a"
_UPDATE_PARTICIPANTS = b"\x0a"
_JOIN_OTHER_PARTICIPANTS = b"\x1a"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(tag: bytes, value: bytes) -> bytes:
    return tag + _varint(len(value)) + value


def updates(infos: Iterable[bytes], target_size: int = TARGET_SIZE) -> list[bytes]:
    """Messages that tell of encoded ParticipantInfos, in order."""
    frames: list[bytes] = []
    entries: list[bytes] = []
    size = 0
    for info in infos:
        entry = _field(_UPDATE_PARTICIPANTS, info)
        if entries and size + len(entry) > target_size:
            frames.append(_field(_RESPONSE_UPDATE, b"".join(entries)))
            entries, size = [], 0
        entries.append(entry)
        size += len(entry)
    if entries:
        frames.append(_field(_RESPONSE_UPDATE, b"".join(entries)))
    return frames


def join(response: rtc.JoinResponse, others: Iterable[bytes]) -> bytes:
    """The first message of a session; `others` are encoded ParticipantInfos."""
    parts = [response.SerializeToString()]
    parts.extend(_field(_JOIN_OTHER_PARTICIPANTS, info) for info in others)
    return _field(_RESPONSE_JOIN, b"".join(parts))


def leave(
    protocol: int,
    reason: models.DisconnectReason,
    action: rtc.LeaveRequest.Action = rtc.LeaveRequest.DISCONNECT,
) -> bytes:
    """Clients before protocol 13 know no action, only whether to come back."""
    if protocol >= 13:
        message = rtc.LeaveRequest(reason=reason, action=action)
    else:
        message = rtc.LeaveRequest(reason=reason, can_reconnect=action != rtc.LeaveRequest.DISCONNECT)
    return rtc.SignalResponse(leave=message).SerializeToString()
