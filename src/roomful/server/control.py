"""The control plane's front: what the HTTP and WebSocket shell, the API and the media plane talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

from livekit.protocol import agent_dispatch, models, rtc
from livekit.protocol import room as room_protocol

from roomful.config import Config
from roomful.server import (
    events,
    forwarding,
    frames,
    ids,
    joining,
    liveness,
    moving,
    profile,
    resuming,
    rpc,
    tokens,
)
from roomful.server.dispatches import check_dispatch
from roomful.server.errors import (
    ControlError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from roomful.server.iceservers import IceServers, Relay
from roomful.server.ids import Ids
from roomful.server.join import JoinParams
from roomful.server.media import Event, MediaPlane
from roomful.server.node import Node, RoomEvent, logger
from roomful.server.participant import Participant
from roomful.server.publications import MAX_TRACKS
from roomful.server.room import Action, DisconnectReason, Room
from roomful.server.rooms import Rooms, are_beside, configuration_of
from roomful.server.rpc import Call
from roomful.server.session import MAX_LISTED, Session
from roomful.server.sizes import check_metadata, check_room_name
from roomful.server.timers import Timers

#: Clients before this protocol know no data channels of ours to be primary; ICE lite is theirs from here on.
_ICE_LITE_PROTOCOL = 6
#: Bytes of data sent by the API: what clients can read of one packet, which has more around it.
MAX_DATA = 64_000
#: Bytes of it with topic and destinations around it: the largest message of a data channel.
MAX_PACKET = 65_535
MAX_TOPIC = 256


class ControlPlane:
    """Every rule of every room, without sockets and without a clock of its own.

    Not thread-safe: it belongs to one event loop. After each call `next_deadline` may be another.
    """

    def __init__(
        self,
        config: Config,
        media: MediaPlane,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        random: Random,
        relay: Relay | None = None,
    ) -> None:
        source = Ids(random)
        self._node = Node(
            config=config,
            media=media,
            clock=clock,
            wall=wall,
            ids=source,
            timers=Timers(clock),
            sid=source.sid(ids.NODE),
            ice_servers=IceServers(config, relay),
        )
        self._rooms = Rooms(self._node)

    @property
    def node_id(self) -> str:
        return self._node.sid

    @property
    def on_earlier_deadline(self) -> Callable[[], None] | None:
        """Called when `next_deadline` became earlier, from within whatever call made it so."""
        return self._node.timers.on_earlier

    @on_earlier_deadline.setter
    def on_earlier_deadline(self, callback: Callable[[], None] | None) -> None:
        self._node.timers.on_earlier = callback

    def observe(self, observer: Callable[[RoomEvent], None]) -> None:
        """Calls `observer` with each change of a room, in order, after the state shows it."""
        self._node.observers.append(observer)

    # Joining.

    def check_join(self, params: JoinParams) -> None:
        """Raises the `Refusal` that `join` would raise."""
        joining.check(self._node, self._rooms, params)

    def join(self, params: JoinParams) -> Session:
        """Starts a session. Its first message (join, or leave for a resume that can't be) is in its outbox.

        Raises `Refusal`."""
        self.check_join(params)
        node, claims = self._node, params.claims
        joining.count(node, params)
        if params.reconnect:
            returning = resuming.find(node, self._rooms, params)
            if returning is not None:
                return resuming.begin(node, returning, params)
            session = Session(node, None)
            session.end(
                frames.leave(params.client.protocol, DisconnectReason.STATE_MISMATCH, Action.RECONNECT)
            )
            return session
        room = self._rooms.find(params.room) or self._rooms.create(
            params.room, self._rooms.settings(claims.room_preset, claims.room_config)
        )
        old = room.members.get(claims.identity)
        if old is not None:
            room.remove(old, DisconnectReason.DUPLICATE_IDENTITY)
        participant = Participant(node, room, params)
        session = Session(node, participant)
        room.add(participant)
        # From here on it hears of the room; nothing may come before its first message.
        participant.session = session
        session.outbox.push(joining.first_message(participant))
        room.announce(participant, to_self=False, may_wait=True)
        logger.info(
            "participant joins", room=room.name, participant=participant.identity, sid=participant.sid
        )
        self._start_media(participant, params)
        room.tracks_known_to(participant)
        for request in params.add_track_requests[:MAX_TRACKS]:
            participant.publications.add(request)
        if params.publisher_offer is not None and params.publisher_offer.sdp:
            session.offer(params.publisher_offer)
        self._keep_token_fresh(participant)
        liveness.watch(participant)
        return session

    # Time and the media plane.

    def media_events(self, batch: Iterable[Event]) -> None:
        """Handles the media plane's events in order. Never raises."""
        events.handle(self._node, batch)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, on the given clock."""
        return self._node.timers.next_deadline()

    def tick(self, now: float) -> None:
        self._node.timers.run(now)

    # The end.

    def drain(self, on_empty: Callable[[], None]) -> None:
        """Takes nobody new from here on; who is here goes on, and may resume. `on_empty` is called when the
        last has left, at once if nobody is here."""
        node = self._node
        if not node.draining:
            logger.info("draining", participants=len(node.participants))
        node.draining = True
        node.on_empty = on_empty
        if not node.participants:
            on_empty()

    def shutdown(self, action: rtc.LeaveRequest.Action = Action.DISCONNECT) -> None:
        """Everybody leaves, every room closes. By `action` clients are told whether to come back."""
        self._rooms.close_all(DisconnectReason.SERVER_SHUTDOWN, action)

    # The server API. Errors are `ControlError`s.

    def create_room(self, request: room_protocol.CreateRoomRequest) -> models.Room:
        """Makes a room, or returns the one of that name as it is."""
        if request.HasField("egress"):
            raise ControlError("egress not connected (redis required)")
        check_room_name(self._node.config.limit, request.name)
        check_metadata(self._node.config.limit, request.metadata)
        for dispatch in request.agents:
            check_dispatch(self._node, dispatch)
        room = self._rooms.find(request.name)
        if room is None:
            settings = self._rooms.settings(request.room_preset, configuration_of(request))
            room = self._rooms.create(request.name, settings)
        return _copy_room(room)

    def list_rooms(self, names: Sequence[str] = ()) -> list[models.Room]:
        return [_copy_room(room) for room in self._rooms.named(names)]

    def delete_room(self, name: str) -> None:
        self._rooms.get(name).close(DisconnectReason.ROOM_DELETED)

    def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        """Hidden ones included. An unknown room has nobody in it."""
        room = self._rooms.find(name)
        return [_copy_info(participant) for participant in room.members.values()] if room else []

    def get_participant(self, name: str, identity: str) -> models.ParticipantInfo:
        return _copy_info(self._participant(name, identity))

    def remove_participant(self, name: str, identity: str) -> None:
        """One that is forwarded here stays in its own room."""
        participant = self._participant(name, identity)
        participant.room.remove(participant, DisconnectReason.PARTICIPANT_REMOVED)

    def update_participant(self, request: room_protocol.UpdateParticipantRequest) -> models.ParticipantInfo:
        participant = self._real_participant(request.room, request.identity)
        profile.update(
            participant,
            request.name,
            request.metadata,
            dict(request.attributes),
            request.permission if request.HasField("permission") else None,
        )
        return _copy_info(participant)

    def mute_published_track(self, request: room_protocol.MuteRoomTrackRequest) -> models.TrackInfo | None:
        """None for an unknown track."""
        participant = self._real_participant(request.room, request.identity)
        if not request.muted and not self._node.config.room.enable_remote_unmute:
            raise FailedPrecondition("remote unmute not enabled")
        publication = participant.publications.get(request.track_sid)
        if publication is None:
            return None
        participant.publications.set_muted(publication, request.muted, by_server=True)
        info = models.TrackInfo()
        info.CopyFrom(publication.info)
        return info

    def update_subscriptions(self, request: room_protocol.UpdateSubscriptionsRequest) -> None:
        participant = self._real_participant(request.room, request.identity)
        listed = len(request.track_sids) + sum(len(it.track_sids) for it in request.participant_tracks)
        if listed > MAX_LISTED:
            raise InvalidArgument(f"at most {MAX_LISTED} tracks in one request")
        participant.subscriptions.wish(request.track_sids, request.participant_tracks, request.subscribe)

    def update_room_metadata(self, name: str, metadata: str) -> models.Room:
        check_metadata(self._node.config.limit, metadata)
        room = self._rooms.get(name)
        room.set_metadata(metadata)
        return _copy_room(room)

    def send_data(self, request: room_protocol.SendDataRequest) -> None:
        """To those named, or to everybody; to nobody when none of those named is there."""
        if len(request.nonce) not in (0, 16):
            raise InvalidArgument(f"nonce should be 16-bytes or not present, got: {len(request.nonce)} bytes")
        if len(request.data) > MAX_DATA:
            raise InvalidArgument(f"data exceeds {MAX_DATA} bytes: no client could read it")
        if len(request.topic.encode()) > MAX_TOPIC:
            raise InvalidArgument(f"topic exceeds {MAX_TOPIC} bytes")
        if len(request.destination_identities) + len(request.destination_sids) > MAX_LISTED:
            raise InvalidArgument(f"at most {MAX_LISTED} destinations in one request")
        room = self._rooms.get(request.room)
        named = bool(request.destination_identities or request.destination_sids)
        identities, sids = set(request.destination_identities), set(request.destination_sids)
        destinations = [
            participant.id
            for participant in room.members.values()
            if participant.identity in identities or participant.sid in sids
        ]
        if named and not destinations:
            return
        user = models.UserPacket(
            payload=request.data,
            destination_sids=request.destination_sids,
            destination_identities=request.destination_identities,
            nonce=request.nonce,
        )
        if request.HasField("topic"):
            user.topic = request.topic
        packet = models.DataPacket(
            kind=request.kind, user=user, destination_identities=request.destination_identities
        )
        encoded = packet.SerializeToString()
        if len(encoded) > MAX_PACKET:
            raise InvalidArgument(
                f"data, topic and destinations exceed {MAX_PACKET} bytes together: no client could read them"
            )
        self._node.media.send_data(
            room=room.id,
            packet=encoded,
            reliable=request.kind == models.DataPacket.RELIABLE,
            destinations=destinations,
        )

    def perform_rpc(self, request: room_protocol.PerformRpcRequest) -> Call:
        """Its answer, or its error, comes to the call's `on_end`."""
        if not request.destination_identity:
            raise InvalidArgument("destination identity is required")
        participant = self._real_participant(request.room, request.destination_identity)
        return rpc.perform(participant, request.method, request.payload, request.response_timeout_ms)

    def move_participant(self, request: room_protocol.MoveParticipantRequest) -> None:
        """To a room that is made when it is not there. Whoever has the identity there is replaced."""
        participant = self._real_participant(request.room, request.identity)
        self._check_destination(request.room, request.destination_room)
        moving.check(participant)
        room = self._destination(participant, request.destination_room)
        if old := room.members.get(participant.identity):
            room.remove(old, DisconnectReason.DUPLICATE_IDENTITY)
        moving.move(participant, room)

    def forward_participant(self, request: room_protocol.ForwardParticipantRequest) -> None:
        """Its tracks are seen in a second room as well, which is made when it is not there."""
        participant = self._real_participant(request.room, request.identity)
        self._check_destination(request.room, request.destination_room)
        room = self._destination(participant, request.destination_room)
        if room.id in participant.forwarded:
            return
        if participant.identity in room.members:
            raise FailedPrecondition("the destination room has a participant of this identity")
        if not are_beside(self._node, participant.room.id, room.id):
            raise FailedPrecondition(
                "the rooms are on different media workers (each port of rtc.udp_port has one): forward to a "
                "room that does not exist yet, or configure one port"
            )
        image = Participant(self._node, room, forwarding.image_params(participant, room))
        forwarding.start(participant, image, room)

    def create_dispatch(
        self, request: agent_dispatch.CreateAgentDispatchRequest
    ) -> agent_dispatch.AgentDispatch:
        """Makes the room when it is not there, if rooms are made by themselves."""
        check_dispatch(self._node, request)
        room = self._rooms.find(request.room)
        if room is None and self._node.config.room.auto_create:
            check_room_name(self._node.config.limit, request.room)
            room = self._rooms.create(request.room, self._rooms.settings("", None))
        if room is None:
            raise NotFound("requested room does not exist")
        return room.dispatches.create(request)

    def delete_dispatch(self, name: str, dispatch_id: str) -> agent_dispatch.AgentDispatch:
        return self._rooms.get(name).dispatches.delete(dispatch_id)

    def list_dispatches(self, name: str, dispatch_id: str = "") -> list[agent_dispatch.AgentDispatch]:
        return self._rooms.get(name).dispatches.listed(dispatch_id)

    # Inside.

    def _check_destination(self, source: str, destination: str) -> None:
        if source == destination:
            raise InvalidArgument("destination room cannot be the same as source room")
        check_room_name(self._node.config.limit, destination)

    def _destination(self, participant: Participant, name: str) -> Room:
        """A room with a place for the participant, made beside its own when it is not there."""
        room = self._rooms.find(name)
        if room is None:
            return self._rooms.create(name, self._rooms.settings("", None), beside=participant.room)
        if not participant.is_dependent and room.is_full_for(participant.identity):
            raise ResourceExhausted(f'room "{name}" is full: max_participants {room.info.max_participants}')
        return room

    def _real_participant(self, name: str, identity: str) -> Participant:
        """One that is in this room itself."""
        participant = self._participant(name, identity)
        if participant.origin is not None:
            raise FailedPrecondition(
                f'the participant is forwarded from room "{participant.origin.room.name}": ask there'
            )
        return participant

    def _participant(self, name: str, identity: str) -> Participant:
        room = self._rooms.find(name)
        participant = room.members.get(identity) if room else None
        if participant is None:
            raise NotFound("participant does not exist")
        return participant

    def _start_media(self, participant: Participant, params: JoinParams) -> None:
        config, client, permission = self._node.config, participant.client, participant.permission
        disabled = participant.disabled_codecs
        lite = (
            config.rtc.use_ice_lite
            and participant.protocol >= _ICE_LITE_PROTOCOL
            and client.browser.lower() != "firefox"
            and not params.disable_ice_lite
        )
        sdk = models.ClientInfo.SDK
        reached = params.signal_address
        self._node.media.add_participant(
            participant=participant.id,
            room=participant.room.id,
            identity=participant.identity,
            sid=participant.sid,
            mode="single" if participant.single else "dual",
            subscriber_primary=participant.subscriber_primary,
            hidden=permission.hidden,
            can_publish=permission.can_publish,
            can_subscribe=permission.can_subscribe,
            can_publish_data=permission.can_publish_data,
            agent=participant.is_agent,
            auto_subscribe=params.auto_subscribe,
            adaptive_stream=params.adaptive_stream,
            ice_lite=lite,
            sdk=sdk.Name(client.sdk).lower() if client.sdk in sdk.values() else "unknown",
            protocol=max(participant.protocol, 0),
            browser=client.browser.lower(),
            disabled_publish_codecs=[codec.mime.lower() for codec in disabled.publish],
            disabled_codecs=[codec.mime.lower() for codec in disabled.codecs],
            extra_address=reached if reached and self._node.config.rtc.ips.allows(reached) else None,
            tcp_only=participant.ways.tcp_only,
            in_process=params.in_process,
        )

    def _keep_token_fresh(self, participant: Participant) -> None:
        participant.refresh_token()
        participant.start_timer("token", tokens.INTERVAL, lambda: self._keep_token_fresh(participant))


def _copy_room(room: Room) -> models.Room:
    info = models.Room()
    info.CopyFrom(room.info)
    return info


def _copy_info(participant: Participant) -> models.ParticipantInfo:
    info = models.ParticipantInfo()
    info.CopyFrom(participant.info())
    return info
