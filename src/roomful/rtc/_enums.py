"""Enumerations and messages as programs see them, and their numbers on the wire where these differ.

They are those of protobuf: enumerations are ints with `Name()`, `Value()`, `items()` and so on. What isn't
translated here has the same numbers in `livekit.protocol`.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterable
from typing import Any

from livekit.protocol import models, rtc

from roomful.rtc._proto import room_pb2
from roomful.rtc._proto.e2ee_pb2 import EncryptionState, EncryptionType, KeyDerivationFunction
from roomful.rtc._proto.participant_pb2 import (
    DisconnectReason,
    ParticipantKind,
    ParticipantKindDetail,
    ParticipantPermission,
    ParticipantState,
)
from roomful.rtc._proto.room_pb2 import (
    AudioEncoding,
    ConnectionState,
    ContinualGatheringPolicy,
    DataPacketKind,
    IceServer,
    IceTransportType,
    SimulateScenarioKind,
    TrackPublishOptions,
    VideoEncoderBackend,
    VideoEncoding,
)
from roomful.rtc._proto.track_pb2 import (
    AudioTrackFeature,
    FrameMetadataFeature,
    ParticipantTrackPermission,
    StreamState,
    TrackKind,
    TrackSource,
)
from roomful.rtc._proto.track_publication_pb2 import VideoQuality
from roomful.rtc._proto.video_frame_pb2 import (
    EncodedFrameType,
    FrameMetadata,
    VideoBufferType,
    VideoCodec,
    VideoRotation,
)

__all__ = [
    "AudioEncoding",
    "AudioTrackFeature",
    "ConnectionQuality",
    "ConnectionState",
    "ContinualGatheringPolicy",
    "DataPacketKind",
    "DegradationPreference",
    "DisconnectReason",
    "EncodedFrameType",
    "EncryptionState",
    "EncryptionType",
    "FrameMetadata",
    "FrameMetadataFeature",
    "IceServer",
    "IceTransportType",
    "KeyDerivationFunction",
    "ParticipantKind",
    "ParticipantKindDetail",
    "ParticipantPermission",
    "ParticipantState",
    "ParticipantTrackPermission",
    "SimulateScenarioKind",
    "StreamState",
    "TrackKind",
    "TrackPublishOptions",
    "TrackSource",
    "VideoBufferType",
    "VideoCodec",
    "VideoEncoderBackend",
    "VideoEncoding",
    "VideoQuality",
    "VideoRotation",
    "all_known",
    "data_packet_kind",
    "known",
    "moment",
    "participant_kind",
    "stream_state",
    "track_kind",
    "track_type",
]


class ConnectionQuality(enum.IntEnum):
    """How well a participant is connected."""

    QUALITY_UNKNOWN = -1
    """Nobody has said yet."""
    QUALITY_POOR = room_pb2.QUALITY_POOR
    QUALITY_GOOD = room_pb2.QUALITY_GOOD
    QUALITY_EXCELLENT = room_pb2.QUALITY_EXCELLENT
    QUALITY_LOST = room_pb2.QUALITY_LOST


class DegradationPreference(enum.IntEnum):
    """What an encoder gives up first when there is too little bandwidth or time."""

    BALANCED = room_pb2.DEGRADATION_PREFERENCE_BALANCED
    MAINTAIN_FRAMERATE = room_pb2.DEGRADATION_PREFERENCE_MAINTAIN_FRAMERATE
    """Give up resolution."""
    MAINTAIN_RESOLUTION = room_pb2.DEGRADATION_PREFERENCE_MAINTAIN_RESOLUTION
    """Give up frame rate."""
    MAINTAIN_FRAMERATE_AND_RESOLUTION = room_pb2.DEGRADATION_PREFERENCE_MAINTAIN_FRAMERATE_AND_RESOLUTION
    """Give up neither; frames may be dropped before they are encoded."""


_PARTICIPANT_KINDS = {
    models.ParticipantInfo.STANDARD: ParticipantKind.PARTICIPANT_KIND_STANDARD,
    models.ParticipantInfo.INGRESS: ParticipantKind.PARTICIPANT_KIND_INGRESS,
    models.ParticipantInfo.EGRESS: ParticipantKind.PARTICIPANT_KIND_EGRESS,
    models.ParticipantInfo.SIP: ParticipantKind.PARTICIPANT_KIND_SIP,
    models.ParticipantInfo.AGENT: ParticipantKind.PARTICIPANT_KIND_AGENT,
    models.ParticipantInfo.CONNECTOR: ParticipantKind.PARTICIPANT_KIND_CONNECTOR,
    models.ParticipantInfo.BRIDGE: ParticipantKind.PARTICIPANT_KIND_BRIDGE,
}

_TRACK_KINDS = {
    models.TrackType.AUDIO: TrackKind.KIND_AUDIO,
    models.TrackType.VIDEO: TrackKind.KIND_VIDEO,
}

_TRACK_TYPES = {kind: type_ for type_, kind in _TRACK_KINDS.items()}

_STREAM_STATES = {
    rtc.StreamState.ACTIVE: StreamState.STATE_ACTIVE,
    rtc.StreamState.PAUSED: StreamState.STATE_PAUSED,
}


def known(kind: Any, number: int, otherwise: int) -> Any:
    """A number from the wire if programs know it as one of `kind`, whose `Name()` raises for others."""
    return number if number in kind.values() else otherwise


def all_known(kind: Any, numbers: Iterable[int]) -> list[Any]:
    """Those of the numbers that programs know."""
    values = kind.values()
    return [number for number in numbers if number in values]


def moment(milliseconds: int) -> datetime.datetime:
    """A time from the wire, since 1970; one that no calendar has is 1970."""
    try:
        return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.datetime.fromtimestamp(0, datetime.UTC)


def participant_kind(kind: models.ParticipantInfo.Kind) -> ParticipantKind.ValueType:
    """A participant's kind; one that is newer than this list is a standard one."""
    return _PARTICIPANT_KINDS.get(kind, ParticipantKind.PARTICIPANT_KIND_STANDARD)


def track_kind(type_: models.TrackType) -> TrackKind.ValueType:
    """A track's kind by the type in its TrackInfo."""
    return _TRACK_KINDS.get(type_, TrackKind.KIND_UNKNOWN)


def track_type(kind: TrackKind.ValueType) -> models.TrackType:
    """The type in a TrackInfo of a track of this kind.

    Raises:
        KeyError: neither audio nor video.
    """
    return _TRACK_TYPES[kind]


def stream_state(state: rtc.StreamState) -> StreamState.ValueType:
    """Whether the server sends a track or has paused it."""
    return _STREAM_STATES.get(state, StreamState.STATE_UNKNOWN)


def data_packet_kind(*, reliable: bool) -> DataPacketKind.ValueType:
    """The kind of a data packet by the channel that it came over."""
    return DataPacketKind.KIND_RELIABLE if reliable else DataPacketKind.KIND_LOSSY
