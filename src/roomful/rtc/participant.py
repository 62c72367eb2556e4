"""Who is in a room: oneself, who acts in it, and the others."""

from __future__ import annotations

import datetime
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast, overload

from livekit.protocol import models, rtc

from roomful.rtc._connection import Left
from roomful.rtc._enums import (
    ConnectionQuality,
    DegradationPreference,
    DisconnectReason,
    EncryptionType,
    ParticipantKind,
    ParticipantKindDetail,
    ParticipantState,
    ParticipantTrackPermission,
    TrackPublishOptions,
    TrackSource,
    all_known,
    known,
    moment,
    participant_kind,
)
from roomful.rtc._publisher import Refused
from roomful.rtc._requests import Unanswered
from roomful.rtc.data_stream import (
    ByteStreamInfo,
    ByteStreamWriter,
    TextStreamInfo,
    TextStreamWriter,
)
from roomful.rtc.data_track import LocalDataTrack, PublishDataTrackError
from roomful.rtc.log import logger
from roomful.rtc.rpc import RpcHandler, RpcInterceptor
from roomful.rtc.track import LocalTrack, Track
from roomful.rtc.track_publication import LocalTrackPublication, RemoteTrackPublication, TrackPublication
from roomful.rtc.transcription import Transcription

if TYPE_CHECKING:
    from roomful.rtc.room import Room

__all__ = [
    "ConnectionQuality",
    "DegradationPreference",
    "LocalParticipant",
    "Participant",
    "PublishDTMFError",
    "PublishDataError",
    "PublishDataTrackError",
    "PublishTrackError",
    "PublishTranscriptionError",
    "RemoteParticipant",
    "UnpublishTrackError",
]

F = TypeVar("F", bound=RpcHandler)
Watcher = Callable[[TrackSource.ValueType | None, Track | None], None]

#: Bytes of a packet; servers and other clients take no more.
MAX_PACKET = 64_000
#: Bytes that its number takes, which it gets as it is sent.
SEQUENCE = 6
#: Seconds in which the connection and its channels have to come about when something is to be sent.
SEND_TIMEOUT = 15.0


class _Failure(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PublishTrackError(_Failure):
    """A track could not be published; `message` says why."""


class UnpublishTrackError(_Failure):
    """A track could not be unpublished; `message` says why."""


class PublishDataError(_Failure):
    """Data could not be sent; `message` says why."""


class PublishDTMFError(_Failure):
    """A tone could not be sent; `message` says why."""


class PublishTranscriptionError(_Failure):
    """A transcription could not be sent; `message` says why."""


class Participant(ABC):
    """Somebody in a room, as the server describes them."""

    def __init__(self, owned_info: models.ParticipantInfo) -> None:
        self._info = owned_info
        self._connection_quality = ConnectionQuality.QUALITY_UNKNOWN
        self._audio_level = 0.0
        self._speaking = False
        #: Whether their data came encrypted; None while none came.
        self._data_encrypted: bool | None = None
        self._encrypted = False

    @property
    @abstractmethod
    def track_publications(self) -> Mapping[str, TrackPublication]:
        """Their tracks in the room, by sid."""

    @property
    def _tracks_encrypted(self) -> bool:
        """Whether there are tracks, and all of them are."""
        tracks = self.track_publications.values()
        return bool(tracks) and all(one.encryption_type != EncryptionType.NONE for one in tracks)

    @property
    def sid(self) -> str:
        """The server's name for their session; another one when they come again."""
        return self._info.sid

    @property
    def name(self) -> str:
        """Their name for people."""
        return self._info.name

    @property
    def identity(self) -> str:
        """Their name for programs, of which there is one in a room: given by the token."""
        return self._info.identity

    @property
    def metadata(self) -> str:
        """A text for the application, given by the token and changed by `set_metadata`."""
        return self._info.metadata

    @property
    def attributes(self) -> dict[str, str]:
        """A copy."""
        return dict(self._info.attributes)

    @property
    def kind(self) -> ParticipantKind.ValueType:
        """A person, an agent, a telephone line, …"""
        return participant_kind(self._info.kind)

    @property
    def kind_details(self) -> list[ParticipantKindDetail.ValueType]:
        """More about the kind, for example of an agent."""
        return all_known(ParticipantKindDetail, self._info.kind_details)

    @property
    def state(self) -> ParticipantState.ValueType:
        """Joining, joined, active once media flows, or disconnected."""
        state = known(ParticipantState, self._info.state, ParticipantState.PARTICIPANT_STATE_ACTIVE)
        return cast(ParticipantState.ValueType, state)

    @property
    def joined_at(self) -> datetime.datetime | None:
        """None before they have joined."""
        milliseconds = self._info.joined_at_ms or self._info.joined_at * 1000
        return moment(milliseconds) if milliseconds else None

    @property
    def permissions(self) -> models.ParticipantPermission:
        """What they may do in the room."""
        return self._info.permission

    @property
    def connection_quality(self) -> ConnectionQuality:
        """By the latest `connection_quality_changed`; unknown before the first."""
        return self._connection_quality

    @property
    def disconnect_reason(self) -> DisconnectReason.ValueType | None:
        """Why they have left; None while they are there, or when the server did not say."""
        reason = known(DisconnectReason, self._info.disconnect_reason, DisconnectReason.UNKNOWN_REASON)
        reason = cast(DisconnectReason.ValueType, reason)
        return None if reason == DisconnectReason.UNKNOWN_REASON else reason


class LocalParticipant(Participant):
    """Oneself in a room: publishes tracks, sends data, answers calls."""

    def __init__(self, room: Room, owned_info: models.ParticipantInfo) -> None:
        super().__init__(owned_info)
        self._room = room
        self._track_publications: dict[str, LocalTrackPublication] = {}

    @property
    def track_publications(self) -> Mapping[str, LocalTrackPublication]:
        """One's own tracks in the room, by sid."""
        return self._track_publications

    # ---- tracks

    async def publish_track(
        self,
        track: LocalTrack,
        options: TrackPublishOptions = TrackPublishOptions(),  # noqa: B008
    ) -> LocalTrackPublication:
        """Publishes a track; `local_track_published` follows.

        Raises:
            PublishTrackError: the server refused it, did not answer, or is not connected; the track's source
                is closed.
        """
        try:
            return await self._room._publisher.publish(track, options)
        except (Refused, Unanswered, Left) as error:
            raise PublishTrackError(str(error)) from error

    async def unpublish_track(self, track_sid: str) -> None:
        """Takes a track out of the room.

        Raises:
            UnpublishTrackError: there is none with that sid, or no connection.
        """
        try:
            await self._room._publisher.unpublish(track_sid)
        except (Refused, Left) as error:
            raise UnpublishTrackError(str(error)) from error

    def set_track_subscription_permissions(
        self,
        *,
        allow_all_participants: bool,
        participant_permissions: list[ParticipantTrackPermission] | None = None,
    ) -> None:
        """Says who may subscribe to one's tracks: all, or whom `participant_permissions` name."""
        self._room._publisher.permit(allow_all_participants, participant_permissions or [])

    # ---- about oneself

    async def set_metadata(self, metadata: str) -> None:
        """Changes one's metadata, which takes the right `can_update_own_metadata`; returns when the server
        has answered. What it refuses is logged."""
        request = rtc.UpdateParticipantMetadata()
        request.metadata = metadata  # None is a TypeError here, and nothing at all as an argument above.
        await self._update("metadata", request)

    async def set_name(self, name: str) -> None:
        """As `set_metadata`."""
        request = rtc.UpdateParticipantMetadata()
        request.name = name
        await self._update("name", request)

    async def set_attributes(self, attributes: dict[str, str]) -> None:
        """Changes the attributes that are given, and removes those given as empty. As `set_metadata`."""
        request = rtc.UpdateParticipantMetadata()
        request.attributes.update(attributes)
        await self._update("attributes", request)

    async def _update(self, what: str, request: rtc.UpdateParticipantMetadata) -> None:
        try:
            refusal = await self._room._requests.update(request)
        except (Unanswered, Left) as error:
            refusal = str(error)
        if refusal:
            logger.warning("cannot change the %s of %s: %s", what, self.identity, refusal)

    # ---- data

    async def publish_data(
        self,
        payload: bytes | str,
        *,
        reliable: bool = True,
        destination_identities: list[str] = [],  # noqa: B006
        topic: str = "",
    ) -> None:
        """Sends data to everybody, or to those named. Waits while the channel is full.

        Raises:
            PublishDataError: it is over 64,000 bytes, or there is no connection.
        """
        packet = models.DataPacket()
        packet.user.payload = payload.encode() if isinstance(payload, str) else bytes(memoryview(payload))
        packet.user.topic = topic
        packet.destination_identities.extend(destination_identities)
        await self._send_packet(packet, reliable=reliable)

    async def publish_dtmf(self, *, code: int, digit: str) -> None:
        """Sends a tone to telephones in the room: `digit` is 0 to 9, `*`, `#` or A to D, `code` its number as
        an event (RFC 4733 3.2: 0 to 15).

        Raises:
            PublishDTMFError: there is no connection.
        """
        try:
            await self._send_packet(models.DataPacket(sip_dtmf=models.SipDTMF(code=code, digit=digit)))
        except PublishDataError as error:
            raise PublishDTMFError(error.message) from error

    async def publish_transcription(self, transcription: Transcription) -> None:
        """Sends what somebody said, as text. Servers hand it on from agents only.

        Raises:
            PublishTranscriptionError: there is no connection.
        """
        content = models.Transcription(
            transcribed_participant_identity=transcription.participant_identity,
            track_id=transcription.track_sid,
            segments=[
                models.TranscriptionSegment(
                    id=one.id,
                    text=one.text,
                    start_time=one.start_time,
                    end_time=one.end_time,
                    final=one.final,
                    language=one.language,
                )
                for one in transcription.segments
            ],
        )
        try:
            await self._send_packet(models.DataPacket(transcription=content))
        except PublishDataError as error:
            raise PublishTranscriptionError(error.message) from error

    # ---- streams and data tracks

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
        """Begins a text that is written piece by piece; for one that is whole, see `send_text`.

        Args:
            total_size: how many bytes of UTF-8 it is going to be, if that is known.

        Raises:
            StreamError: there is no connection.
        """
        return await self._room._streams.stream_text(
            destination_identities=destination_identities,
            topic=topic,
            attributes=attributes,
            stream_id=stream_id,
            reply_to_id=reply_to_id,
            total_size=total_size,
            sender_identity=sender_identity,
        )

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
        """Sends a text of any length."""
        return await self._room._streams.send_text(
            text,
            destination_identities=destination_identities,
            topic=topic,
            attributes=attributes,
            reply_to_id=reply_to_id,
            compress=compress,
        )

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
        """Begins bytes that are written piece by piece; for a file, see `send_file`.

        Args:
            total_size: how many bytes it is going to be, if that is known.

        Raises:
            StreamError: there is no connection.
        """
        return await self._room._streams.stream_bytes(
            name,
            total_size=total_size,
            mime_type=mime_type,
            attributes=attributes,
            stream_id=stream_id,
            destination_identities=destination_identities,
            topic=topic,
        )

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
        """Sends a file."""
        return await self._room._streams.send_file(
            file_path,
            topic=topic,
            destination_identities=destination_identities,
            attributes=attributes,
            stream_id=stream_id,
            compress=compress,
        )

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
        """Sends bytes of any length."""
        return await self._room._streams.send_bytes(
            data,
            topic=topic,
            name=name,
            mime_type=mime_type,
            destination_identities=destination_identities,
            attributes=attributes,
            stream_id=stream_id,
            compress=compress,
        )

    async def publish_data_track(self, *, name: str) -> LocalDataTrack:
        """Publishes a track of data frames, which others may subscribe to.

        Raises:
            PublishDataTrackError: the server refused it, did not answer, or is not connected.
        """
        connection = self._room._connection
        if connection is None:
            raise PublishDataTrackError("the room is not connected")
        try:
            await connection.opened("data_track", SEND_TIMEOUT)
        except Left as error:
            raise PublishDataTrackError(str(error)) from error
        except TimeoutError:
            raise PublishDataTrackError("no connection to send by") from None
        return await self._room._data_tracks.publish(name)

    # ---- calls

    async def perform_rpc(
        self,
        *,
        destination_identity: str,
        method: str,
        payload: str,
        response_timeout: float | None = None,
        max_round_trip_latency: float | None = None,
    ) -> str:
        """Calls a method of another participant, and returns what it answers.

        Args:
            response_timeout: seconds for the answer.
            max_round_trip_latency: seconds for the request to reach its destination and be acknowledged.

        Raises:
            RpcError: it failed there, or on its way.
        """
        return await self._room._rpc.perform(
            destination_identity=destination_identity,
            method=method,
            payload=payload,
            response_timeout=response_timeout,
            max_round_trip_latency=max_round_trip_latency,
        )

    def add_rpc_interceptor(self, interceptor: RpcInterceptor) -> None:
        """Wraps every call from and to this participant from now on, inside of those added before."""
        self._room._rpc.add_interceptor(interceptor)

    def remove_rpc_interceptor(self, interceptor: RpcInterceptor) -> None:
        """Calls under way keep it."""
        self._room._rpc.remove_interceptor(interceptor)

    @property
    def _rpc_handlers(self) -> dict[str, RpcHandler]:
        """Under the name by which livekit-agents takes them."""
        return self._room._rpc.handlers

    @overload
    def register_rpc_method(self, method_name: str, handler: F) -> F: ...
    @overload
    def register_rpc_method(self, method_name: str, handler: None = None) -> Callable[[F], F]: ...
    def register_rpc_method(self, method_name: str, handler: F | None = None) -> F | Callable[[F], F]:
        """Answers calls of a method by `handler`, a function or coroutine function that takes
        RpcInvocationData and returns the answer. Without one, a decorator.

        An RpcError that it raises goes to the caller; so does any other error, as 1500 without its text.

        >>> @room.local_participant.register_rpc_method("greet")  # doctest: +SKIP
        ... async def greet(call: rtc.RpcInvocationData) -> str:
        ...     return f"Hello, {call.caller_identity}!"
        """

        def register(function: F) -> F:
            self._room._rpc.handlers[method_name] = function
            return function

        return register if handler is None else register(handler)

    def unregister_rpc_method(self, method: str) -> None:
        """Calls of it are refused from now on; those under way are answered."""
        self._room._rpc.handlers.pop(method, None)

    # ---- what packets go through

    @property
    def _server_version(self) -> str:
        return self._room._server_version

    async def _send_packet(self, packet: models.DataPacket, *, reliable: bool = True) -> None:
        connection = self._room._connection
        if connection is None:
            raise PublishDataError("the room is not connected")
        kinds = models.DataPacket.Kind
        packet.kind = kinds.RELIABLE if reliable else kinds.LOSSY
        packet.participant_identity = packet.participant_identity or self.identity
        packet.participant_sid = self.sid
        try:
            packet = self._room._seal(packet)
        except ValueError as error:
            raise PublishDataError(str(error)) from error
        if (size := packet.ByteSize() + SEQUENCE) > MAX_PACKET:
            raise PublishDataError(f"data packet of {size} bytes is over the maximum of {MAX_PACKET}")
        try:
            await connection.send_packet(packet, reliable=reliable, within=SEND_TIMEOUT)
        except Left as error:
            raise PublishDataError(str(error)) from error
        except TimeoutError:
            raise PublishDataError("no connection to send by") from None

    def _send_track_packet(self, packet: bytes) -> bool:
        connection = self._room._connection
        return connection is not None and connection.send_track_packet(packet)

    def _signal(self, request: rtc.SignalRequest) -> None:
        if self._room._connection is not None:
            self._room._connection.send(request)

    def _recipients(self, identities: Sequence[str] = ()) -> list[models.ParticipantInfo]:
        others = self._room._roster.others
        if not identities:
            return [one._info for one in others.values()]
        return [others[identity]._info for identity in identities if identity in others]

    def __repr__(self) -> str:
        return f"rtc.LocalParticipant(sid={self.sid}, identity={self.identity}, name={self.name})"


class RemoteParticipant(Participant):
    """Somebody else in a room."""

    def __init__(self, owned_info: models.ParticipantInfo) -> None:
        super().__init__(owned_info)
        self._track_publications: dict[str, RemoteTrackPublication] = {}
        #: Sids of those that are not encrypted.
        self._plain_tracks: set[str] = set()
        #: Methods of streams that follow the participant: told the source and track of each that comes, and
        #: None, None at the end.
        self._watchers: list[weakref.WeakMethod[Watcher]] = []

    @property
    def track_publications(self) -> Mapping[str, RemoteTrackPublication]:
        """Their tracks in the room, by sid."""
        return self._track_publications

    @property
    def _tracks_encrypted(self) -> bool:
        return bool(self._track_publications) and not self._plain_tracks

    def _note_encryption(self, publication: RemoteTrackPublication) -> None:
        if publication.encryption_type == EncryptionType.NONE:
            self._plain_tracks.add(publication.sid)
        else:
            self._plain_tracks.discard(publication.sid)

    def _watch(self, watcher: Watcher) -> None:
        """Tells a stream's method, held weakly, of the tracks that are there and of those that come."""
        self._watchers.append(weakref.WeakMethod(watcher))
        for publication in self._track_publications.values():
            if publication.track is not None:
                watcher(publication.source, publication.track)

    def _announce(self, source: TrackSource.ValueType | None, track: Track | None) -> None:
        self._watchers = [one for one in self._watchers if one() is not None]
        for watcher in self._watchers:
            if (method := watcher()) is not None:
                method(source, track)

    def __repr__(self) -> str:
        return f"rtc.RemoteParticipant(sid={self.sid}, identity={self.identity}, name={self.name})"
