"""A room, as one of its participants is connected to it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

from livekit.protocol import models, rtc

from roomful.rtc._background import Background
from roomful.rtc._connection import Connection, JoinError
from roomful.rtc._data_tracks import DataTracks
from roomful.rtc._encryption import Encryption, encryption_of
from roomful.rtc._enums import (
    ConnectionState,
    DataPacketKind,
    DisconnectReason,
    EncryptionState,
    SimulateScenarioKind,
    data_packet_kind,
    moment,
)
from roomful.rtc._local import LocalServer
from roomful.rtc._options import ConnectError, DataStreamOptions, RoomOptions, RtcConfiguration, way_of
from roomful.rtc._proto import stats_pb2 as stats
from roomful.rtc._publisher import Publisher
from roomful.rtc._reception import Reception
from roomful.rtc._requests import Requests
from roomful.rtc._roster import Roster
from roomful.rtc._rpc import Rpc
from roomful.rtc._session import Arrived, Target
from roomful.rtc._strangers import Strangers
from roomful.rtc._streams import Streams
from roomful.rtc.data_stream import ByteStreamHandler, TextStreamHandler
from roomful.rtc.e2ee import E2EEManager
from roomful.rtc.event_emitter import EventEmitter
from roomful.rtc.log import logger
from roomful.rtc.participant import LocalParticipant, Participant, RemoteParticipant
from roomful.rtc.track_publication import TrackPublication
from roomful.rtc.transcription import TranscriptionSegment

EventTypes = Literal[
    "participant_connected",
    "participant_disconnected",
    "participant_active",
    "local_track_published",
    "local_track_unpublished",
    "local_track_republished",
    "local_track_subscribed",
    "track_published",
    "track_unpublished",
    "track_subscribed",
    "track_unsubscribed",
    "track_subscription_failed",
    "track_muted",
    "track_unmuted",
    "active_speakers_changed",
    "room_metadata_changed",
    "participant_metadata_changed",
    "participant_name_changed",
    "participant_attributes_changed",
    "connection_quality_changed",
    "participant_encryption_status_changed",
    "participant_permissions_changed",
    "data_received",
    "sip_dtmf_received",
    "transcription_received",
    "e2ee_state_changed",
    "connection_state_changed",
    "connected",
    "disconnected",
    "reconnecting",
    "reconnected",
    "room_updated",
    "moved",
    "token_refreshed",
    "data_track_published",
    "data_track_unpublished",
]

#: What of a Room is told of by `room_updated`.
_TOLD = (
    "name",
    "empty_timeout",
    "departure_timeout",
    "max_participants",
    "num_participants",
    "num_publishers",
    "active_recording",
)


@dataclass
class DataPacket:
    """Data that somebody sent."""

    data: bytes
    kind: DataPacketKind.ValueType
    """Reliable or lossy."""
    participant: RemoteParticipant | None
    """Who sent it; None for the server's API."""
    topic: str | None = None


@dataclass
class SipDTMF:
    """A tone of a telephone."""

    code: int
    digit: str
    participant: RemoteParticipant | None = None
    """Who sent it; None for the server's API."""


@dataclass
class RtcStats:
    """Statistics of a room's connections, as WebRTC has them."""

    publisher_stats: list[stats.RtcStats]
    subscriber_stats: list[stats.RtcStats]


class Room(EventEmitter[EventTypes]):
    """A room of a server. Events come on the loop on which it is connected, in the order of what happened.

    >>> room = rtc.Room()  # doctest: +SKIP
    >>> @room.on("track_subscribed")
    ... def on_track_subscribed(track, publication, participant): ...
    >>> await room.connect("ws://localhost:7880", token)
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """`loop` is the one to connect on, if that is known already."""
        super().__init__()
        self._loop = loop
        self._info = models.Room()
        self._state: ConnectionState.ValueType = ConnectionState.CONN_DISCONNECTED
        self._local_participant: LocalParticipant | None = None
        self._token: str | None = None
        self._server_url: str | None = None
        self._server_version = ""
        self._encryption: Encryption | None = None
        self._dynacast = False
        self._connection: Connection | None = None
        self._joining: asyncio.Task[rtc.JoinResponse] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._sid: asyncio.Future[str] | None = None
        #: Ended with the connection, and seen to their ends after it.
        self._working, self._ending = Background(), Background()
        self._text_handlers: dict[str, TextStreamHandler] = {}
        self._byte_handlers: dict[str, ByteStreamHandler] = {}
        self._roster: Roster
        self._publisher: Publisher
        self._streams: Streams
        self._rpc: Rpc
        self._data_tracks: DataTracks
        self._requests = Requests()
        self._strangers = Strangers(self._hear)
        self._restarting = False

    # ---- what it is

    @property
    async def sid(self) -> str:
        """The room's sid, once it is known.

        Raises:
            RuntimeError: the room is not connected.
        """
        if self._info.sid:
            return self._info.sid
        if self._sid is None:
            raise RuntimeError("cannot get sid of a disconnected room")
        return await asyncio.shield(self._sid)

    @property
    def local_participant(self) -> LocalParticipant:
        """Oneself.

        Raises:
            Exception: before the room is connected.
        """
        if self._local_participant is None:
            raise Exception("cannot access local participant before connecting")
        return self._local_participant

    @property
    def connection_state(self) -> ConnectionState.ValueType:
        """Disconnected, connected or reconnecting."""
        return self._state

    @property
    def remote_participants(self) -> Mapping[str, RemoteParticipant]:
        """The others, by identity."""
        return self._roster.others if self._local_participant is not None else {}

    @property
    def name(self) -> str:
        """Given by the token."""
        return self._info.name

    @property
    def metadata(self) -> str:
        """A text for the application, set through the API."""
        return self._info.metadata

    @property
    def e2ee_manager(self) -> E2EEManager:
        """Keys and state of end-to-end encryption.

        Raises:
            Exception: before the room is connected.
        """
        if self._encryption is None:
            raise Exception("cannot access e2ee manager before connecting")
        return self._encryption.manager

    @property
    def num_participants(self) -> int:
        """As the server counts them now and then."""
        return self._info.num_participants

    @property
    def num_publishers(self) -> int:
        """As the server counts them now and then."""
        return self._info.num_publishers

    @property
    def creation_time(self) -> datetime.datetime:
        """When the room was made, in UTC."""
        milliseconds = self._info.creation_time_ms or self._info.creation_time * 1000
        return moment(milliseconds)

    @property
    def is_recording(self) -> bool:
        """Whether somebody records the room."""
        return self._info.active_recording

    @property
    def departure_timeout(self) -> float:
        """Seconds for which the room stays after the last participant has left."""
        return float(self._info.departure_timeout)

    @property
    def empty_timeout(self) -> float:
        """Seconds for which the room waits for its first participant."""
        return float(self._info.empty_timeout)

    def isconnected(self) -> bool:
        """Also while it is reconnecting."""
        return self._connection is not None and self._state != ConnectionState.CONN_DISCONNECTED

    def on(self, event: EventTypes, callback: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """Adds a handler of an event; without one, a decorator. It may be a coroutine function, and may take
        fewer arguments.

        | event | arguments |
        |---|---|
        | participant_connected, participant_disconnected, participant_active | participant |
        | local_track_published | publication, track |
        | local_track_unpublished | publication |
        | local_track_republished: after a full reconnect, with another sid | publication, previous_sid |
        | local_track_subscribed | track |
        | track_published, track_unpublished | publication, participant |
        | track_subscribed, track_unsubscribed | track, publication, participant |
        | track_subscription_failed | participant, track_sid, error |
        | track_muted, track_unmuted | participant, publication |
        | active_speakers_changed | [participant], the loudest first |
        | room_metadata_changed | old, new |
        | participant_metadata_changed, participant_name_changed | participant, old, new |
        | participant_attributes_changed | {changed}, participant |
        | participant_permissions_changed | participant, permissions |
        | participant_encryption_status_changed | participant, is_encrypted |
        | connection_quality_changed | participant, quality |
        | data_received | DataPacket |
        | sip_dtmf_received | SipDTMF |
        | transcription_received | [segment], participant, publication |
        | e2ee_state_changed | participant, state |
        | connection_state_changed | state |
        | disconnected | reason |
        | reconnecting, reconnected, room_updated, moved, token_refreshed | |
        | data_track_published | track |
        | data_track_unpublished | sid |
        """
        return super().on(event, callback)

    # ---- connecting

    async def connect(
        self,
        url: str | LocalServer,
        token: str,
        options: RoomOptions = RoomOptions(),  # noqa: B008
    ) -> None:
        """Joins the room that the token names, after leaving any other. Cancelled, it leaves nothing behind.

        Instead of a URL, a `roomful.Server` in this process may be given, on this event loop or on another:
        nothing goes over a network then.

        Raises:
            ConnectError: it could not; says what failed.
            TypeError, ValueError: an option of encryption is of another type, or out of range.
            RuntimeError: it was connected on another event loop before, which runs still.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop and not self._outlive(self._loop):
            raise RuntimeError("the room belongs to another event loop")
        way = way_of(url, options)
        encryption = encryption_of(options.encryption, options.e2ee)
        if self.isconnected():
            await self.disconnect()
        if self._joining is not None or self.isconnected():
            raise ConnectError("the room is being connected already")
        self._loop, self._token = loop, token
        self._server_url = url if isinstance(url, str) else None
        connection = Connection(url, token, way, self)
        self._sid = loop.create_future()
        joining = self._joining = loop.create_task(connection.join(), name="roomful join")
        try:
            join = await joining
        except JoinError as error:
            self._forget_sid(error)
            raise ConnectError(str(error)) from error.__cause__
        except asyncio.CancelledError:
            self._forget_sid(RuntimeError("room connection was cancelled"))
            await connection.abandon()  # It may have joined in this very turn.
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            raise ConnectError("disconnected while connecting") from None
        finally:
            if self._joining is joining:
                self._joining = None
        self._connection = self._requests.connection = connection
        try:
            self._set_up(options, encryption, join)
            self._begin(join)
        except BaseException as error:  # Nobody is to stay in a room whom nobody can take out.
            self._connection = self._requests.connection = None
            self._forget_sid(RuntimeError(f"room connection failed: {error!r}"))
            await connection.abandon()
            raise
        # Whoever awaits this goes on first, then there are events.
        loop.call_soon(self._open, connection)
        connection.start()

    async def disconnect(
        self, *, reason: DisconnectReason.ValueType = DisconnectReason.CLIENT_INITIATED
    ) -> None:
        """Leaves the room, at any time and any number of times. Before that, waits a second at most until the
        server has the data that was sent, and until the end of what was played is heard (0.15 s). Returns
        when nothing of the room is left. Where it is cancelled, as handlers of calls are that leave their own
        room, the room is left all the same."""
        if self._loop is not None and self._outlive(self._loop):
            return
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.wait([self._joining])  # And connect() goes on first, if it has just joined.
        if self._connection is None:
            return
        # A task of its own, which outlives whoever asked for it.
        leaving = asyncio.get_running_loop().create_task(
            self._leave(self._connection, cast(models.DisconnectReason, reason)), name="roomful leave"
        )
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        await asyncio.shield(leaving)

    async def get_rtc_stats(self) -> RtcStats:
        """Statistics of the connections.

        Raises:
            RuntimeError: the room is not connected.
        """
        if self._connection is None or not self.isconnected():
            raise RuntimeError("the room isn't connected")
        presence = await self._connection.settled()
        return RtcStats(*presence.statistics())

    async def simulate_scenario(self, scenario: SimulateScenarioKind.ValueType) -> None:
        """Plays a fault, for tests.

        Raises:
            RuntimeError: the room is not connected.
            ValueError: there is no such fault.
        """
        if scenario not in SimulateScenarioKind.values():
            raise ValueError(f"unknown scenario: {scenario}")
        if self._connection is None or not self.isconnected():
            raise RuntimeError("simulate_scenario requires a connected room")
        await self._connection.simulate(scenario)

    # ---- streams

    def register_byte_stream_handler(self, topic: str, handler: ByteStreamHandler) -> None:
        """Streams of bytes on a topic go to `handler(reader, identity)`; one a topic.

        Raises:
            ValueError: the topic has one.
        """
        if topic in self._byte_handlers:
            raise ValueError(f"byte stream handler for topic '{topic}' already set")
        self._byte_handlers[topic] = handler

    def unregister_byte_stream_handler(self, topic: str) -> None:
        """Streams of the topic that begin from now on are passed over."""
        self._byte_handlers.pop(topic, None)

    def register_text_stream_handler(self, topic: str, handler: TextStreamHandler) -> None:
        """As `register_byte_stream_handler`, for streams of text; ValueError is raised likewise."""
        if topic in self._text_handlers:
            raise ValueError(f"text stream handler for topic '{topic}' already set")
        self._text_handlers[topic] = handler

    def unregister_text_stream_handler(self, topic: str) -> None:
        """Streams of the topic that begin from now on are passed over."""
        self._text_handlers.pop(topic, None)

    # ---- what the connection tells

    def signalled(self, response: rtc.SignalResponse) -> None:
        kind = response.WhichOneof("message")
        message = getattr(response, kind or "")
        if self._data_tracks.handle_response(response):
            return
        match kind:
            case "update":
                self._roster.update(message.participants)
                self._data_tracks.participants(self._others(message.participants))
                self._strangers.told_of(self._roster.others)
            case "room_update":
                self._update(message.room)
            case "room_moved":
                self._moved(message)
            case "speakers_changed":
                self._roster.speakers_changed(message.speakers)
            case "connection_quality":
                self._roster.quality_changed(message.updates)
            case "stream_state_update":
                self._roster.stream_states_changed(message.stream_states)
            case "subscription_response":
                self._roster.subscription_failed(message)
            case "track_published":
                self._requests.track_published(message)
            case "request_response":
                self._requests.answered(message)
            case "track_subscribed":
                self._publisher.subscribed(message.track_sid)
            case "track_unpublished":
                self._publisher.unpublished(message.track_sid)
            case "mute":
                self._publisher.muted(message)
            case "subscribed_quality_update" if self._dynacast:
                self._publisher.wanted_layers(message)
            case "refresh_token":
                self._renew(message)

    def arrived(self, media: Arrived) -> None:
        self._roster.arrived(media)

    def departed(self, target: Target, mid: str) -> None:
        self._roster.departed(target, mid)

    def packet(self, packet: models.DataPacket, reliable: bool) -> None:
        if self._encryption is not None:
            take = partial(self._opened, packet, reliable)
            known = self._sender(packet) is not None
            self._encryption.open(packet, take, known=known, start=self._working.start)

    def _opened(self, packet: models.DataPacket, reliable: bool, opened: models.DataPacket | None) -> None:
        kind, sender = packet.WhichOneof("value"), self._sender(packet)
        encrypted = kind == "encrypted_packet"
        if sender is not None and (opened is not None or not encrypted):
            self._roster.data_came(sender, kind)
        if opened is not None:
            self._take(opened, reliable, encrypted)
        else:
            logger.debug("a packet of %s is not encrypted, or by another key", packet.participant_identity)

    def _sender(self, packet: models.DataPacket) -> Participant | None:
        sender = self._roster.by_identity(packet.participant_identity)
        return sender or self._roster.by_sid(packet.participant_sid)

    def track_packet(self, packet: bytes) -> None:
        self._data_tracks.handle(packet)

    def peer_event(self, event: Any) -> None:
        match type(event).__name__:
            case "Sealing":
                self._encryption_changed(self.local_participant, event.state)
            case "Opening":
                self._encryption_changed(self._roster.sender(event.target, event.mid), event.state)
            case _:
                self._publisher.peer_event(event)

    def sync_state(self) -> rtc.SyncState:
        self._roster.resuming()
        return rtc.SyncState(
            subscription=self._roster.exceptions(),
            publish_tracks=self._publisher.published(),
            publish_data_tracks=self._data_tracks.published(),
        )

    def interrupted(self) -> None:
        if self._change_state(ConnectionState.CONN_RECONNECTING):
            self._tell("reconnecting")

    def resumed(self) -> None:
        self._roster.resumed()
        self._change_state(ConnectionState.CONN_CONNECTED)
        self._tell("reconnected")
        self._publisher.resumed()

    def restarting(self) -> None:
        self._working.cancel()
        self._restarting = True
        self._strangers.clear()
        self._roster.depart_all()
        self._publisher.session_lost()
        self.interrupted()

    def rejoined(self, join: rtc.JoinResponse) -> None:
        self._restarting = False
        if self._encryption is not None:
            self._encryption.joined(join)
        self.local_participant._info = join.participant
        self._change_state(ConnectionState.CONN_CONNECTED)
        self._tell("reconnected")
        self._server_version = join.server_info.version or join.server_version
        self._roster.update(join.other_participants)
        self._data_tracks.participants(join.other_participants, all_of_them=True)
        self._strangers.told_of(self._roster.others)
        self._update(join.room)
        if self._connection is not None and self._connection.presence is not None:
            self._connection.presence.session.release()
        self._data_tracks.reconnected()
        self._working.start(self._publisher.publish_again(), "publishing again")

    def disconnected(self, reason: models.DisconnectReason) -> None:
        self._forget_sid(RuntimeError("room disconnected before receiving sid"))
        if not self._change_state(ConnectionState.CONN_DISCONNECTED):
            return
        self.local_participant._info.disconnect_reason = reason
        self._tell("disconnected", reason)
        self._requests.session_ended()
        self._strangers.clear()
        self._working.cancel()
        lost = self._loop is not None and self._loop.is_closed()  # And who waits there cannot be woken.
        ends = (self._publisher.leave, self._streams.close, self._data_tracks.close, self._roster.fall_silent)
        for end in ends:
            with contextlib.suppress(*[RuntimeError] * lost):
                end()
        if not lost:
            self._ending.start(self._rpc.close(), "the end of calls")

    # ---- within

    def _outlive(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the loop is closed: then nothing is left of what ran there, connected or not."""
        if loop.is_closed():
            self._joining = self._sid = None
            self._leaving, self._working, self._ending = set(), Background(), Background()
            self._requests = Requests()
            if self._connection is not None:
                self._connection.abort()
        return loop.is_closed()

    async def _leave(self, connection: Connection, reason: models.DisconnectReason) -> None:
        try:
            if self.isconnected() and self._connection is connection:
                await self._rpc.close()
                self._streams.close()
                await asyncio.gather(connection.flush(), self._publisher.heard())
                self._publisher.leave()
        finally:
            await connection.leave(reason)
        while ending := self._ending.tasks:
            await asyncio.wait(ending)

    def _set_up(self, options: RoomOptions, encryption: Encryption, join: rtc.JoinResponse) -> None:
        """What lasts for as long as the room is connected."""
        self._dynacast = options.dynacast
        self._local_participant = LocalParticipant(self, join.participant)
        self._encryption = encryption
        encryption.joined(join)
        self._publisher = Publisher(self, self._requests, self._tell)
        self._publisher.cipher = encryption.media
        if (e2ee := encryption.manager.options) is not None:
            self._publisher.encryption = e2ee.encryption_type
        self._roster = Roster(
            self,
            encryption,
            self._tell,
            auto_subscribe=options.auto_subscribe,
            receive=self._receive,
            request=self._local_participant._signal,
            left=self._other_left,
        )
        limit = options.data_stream.max_payload_byte_length if options.data_stream is not None else None
        self._streams = Streams(self._local_participant, limit)
        self._streams.text_handlers = self._text_handlers
        self._streams.byte_handlers = self._byte_handlers
        self._rpc = Rpc(self._local_participant, self._streams)
        self._data_tracks = DataTracks(self._local_participant, self._tell)
        self._data_tracks.cipher = encryption.data

    def _begin(self, join: rtc.JoinResponse) -> None:
        self._server_version = join.server_info.version or join.server_version
        self._info = join.room
        self._know_sid()
        self._roster.begin(join.other_participants)
        self._state = ConnectionState.CONN_CONNECTED

    def _open(self, connection: Connection) -> None:
        """From here on there are events."""
        if connection is not self._connection or not self.isconnected():
            return
        self._tell("connection_state_changed", ConnectionState.CONN_CONNECTED)
        self._data_tracks.participants([one._info for one in self._roster.others.values()], all_of_them=True)
        if connection.presence is not None:
            connection.presence.session.release()

    def _tell(self, event: EventTypes, *arguments: Any) -> None:
        try:
            self.emit(event, *arguments)
        except TypeError:
            logger.exception("a handler of %r needs other arguments", event)

    def _change_state(self, state: ConnectionState.ValueType) -> bool:
        if state == self._state:
            return False
        self._state = state
        self._tell("connection_state_changed", state)
        return True

    def _on_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        """At once, or soon if another thread asks."""
        loop = self._loop
        if loop is None or asyncio._get_running_loop() is loop:
            call(*arguments)
        else:
            with contextlib.suppress(RuntimeError):  # The loop is closed, and with it the room.
                loop.call_soon_threadsafe(call, *arguments)

    def _receive(self, target: str, mid: str, stream: str, video: bool) -> Reception:
        assert self._connection is not None
        assert self._connection.presence is not None
        return Reception(self._connection.presence.peer, target, mid, stream=stream, video=video)

    def _other_left(self, participant: RemoteParticipant) -> None:
        self._streams.participant_left(participant.identity, participant.sid)
        self._rpc.participant_left(participant.identity)
        if self._encryption is not None:
            self._encryption.left(participant.identity)
        if not self._restarting:  # Subscriptions to data tracks outlive a full reconnect.
            self._data_tracks.participant_left(participant.identity)

    def _others(self, infos: Any) -> list[models.ParticipantInfo]:
        return [one for one in infos if one.identity != self.local_participant.identity]

    def _everybody(self) -> Iterator[Participant]:
        yield self.local_participant
        yield from self._roster.others.values()

    def _update(self, room: models.Room) -> None:
        before, self._info = self._info, room
        if not room.sid:
            room.sid = before.sid
        self._know_sid()
        if before.metadata != room.metadata:
            self._tell("room_metadata_changed", before.metadata, room.metadata)
        told = (*_TOLD, "metadata")
        if any(getattr(before, name) != getattr(room, name) for name in told):
            self._tell("room_updated")

    def _moved(self, moved: rtc.RoomMovedResponse) -> None:
        """To another room, with all connections and tracks."""
        self._renew(moved.token)
        me = self.local_participant
        if moved.HasField("participant"):
            self._roster.update([moved.participant])
            me._info = moved.participant
            if self._connection is not None and self._connection.presence is not None:
                self._connection.presence.session.join.participant.CopyFrom(moved.participant)
        self._roster.keep({one.identity for one in moved.other_participants})
        self._roster.update(moved.other_participants)
        self._data_tracks.participants(moved.other_participants, all_of_them=True)
        self._strangers.told_of(self._roster.others)
        if moved.HasField("room"):
            self._update(moved.room)
        self._tell("moved")

    def _renew(self, token: str) -> None:
        self._token = token
        if self._connection is not None:
            self._connection.token = token
        self._tell("token_refreshed")

    def _take(self, packet: models.DataPacket, reliable: bool, encrypted: bool) -> None:
        match packet.WhichOneof("value"):
            case "user" | "sip_dtmf":
                if self._sender(packet) is not None or not self._strangers.hold(packet, reliable):
                    self._hear(packet, reliable)
            case "transcription":
                self._transcribed(packet.transcription)
            case "rpc_request" | "rpc_ack" | "rpc_response":
                self._rpc.handle(packet)
            case "stream_header" | "stream_chunk" | "stream_trailer":
                self._streams.handle(packet, encrypted)

    def _hear(self, packet: models.DataPacket, reliable: bool) -> None:
        sender = self._sender(packet)
        remote = sender if isinstance(sender, RemoteParticipant) else None
        if packet.HasField("user"):
            content, kind = packet.user, data_packet_kind(reliable=reliable)
            self._tell("data_received", DataPacket(content.payload, kind, remote, content.topic))
        elif remote is not None or not packet.participant_identity:
            dtmf = packet.sip_dtmf
            self._tell("sip_dtmf_received", SipDTMF(dtmf.code, dtmf.digit, remote))

    def _transcribed(self, transcription: models.Transcription) -> None:
        who = self._roster.by_identity(transcription.transcribed_participant_identity)
        publication: TrackPublication | None = None
        if who is not None:
            publication = who.track_publications.get(transcription.track_id)
        segments = [
            TranscriptionSegment(
                id=one.id,
                text=one.text,
                start_time=one.start_time,
                end_time=one.end_time,
                language=one.language,
                final=one.final,
            )
            for one in transcription.segments
        ]
        self._tell("transcription_received", segments, who, publication)

    def _seal(self, packet: models.DataPacket) -> models.DataPacket:
        """Encrypted, if the room is."""
        return self._encryption.seal(packet) if self._encryption is not None else packet

    def _encryption_changed(self, participant: Participant | None, word: str) -> None:
        if participant is not None:
            self._tell("e2ee_state_changed", participant, EncryptionState.Value(word.upper()))

    def _know_sid(self) -> None:
        if self._info.sid and self._sid is not None and not self._sid.done():
            self._sid.set_result(self._info.sid)

    def _forget_sid(self, error: Exception) -> None:
        if self._sid is not None and not self._sid.done():
            self._sid.set_exception(error)
            self._sid.exception()  # Perhaps nobody has asked.
        self._sid = None

    def __repr__(self) -> str:
        return (
            f"rtc.Room(sid={self._info.sid or 'unknown'}, name={self.name}, metadata={self.metadata}, "
            f"connection_state={ConnectionState.Name(self._state)})"
        )


__all__ = [
    "ConnectError",
    "DataPacket",
    "DataStreamOptions",
    "EventTypes",
    "Room",
    "RoomOptions",
    "RtcConfiguration",
    "RtcStats",
    "SipDTMF",
]
