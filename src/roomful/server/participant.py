"""One session of one participant in a room. It outlives its signalling connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from livekit.protocol import models, rtc

from roomful.auth import Claims
from roomful.server import codecs, grants, ids, tokens
from roomful.server.datatracks import DataTracks
from roomful.server.fallback import Ways
from roomful.server.node import Node
from roomful.server.permissions import TrackPermissions
from roomful.server.publications import Publications
from roomful.server.subscriptions import Subscriptions
from roomful.server.timers import Timer

if TYPE_CHECKING:
    from roomful.server.join import JoinParams
    from roomful.server.room import Room
    from roomful.server.rpc import Call
    from roomful.server.session import Session

State = models.ParticipantInfo.State
Reason = rtc.RequestResponse.Reason


class Participant:
    def __init__(self, node: Node, room: Room, params: JoinParams) -> None:
        claims = params.claims
        #: The address by which it reaches this node, where that is known.
        self.reached = params.signal_address
        assert claims.video is not None
        self.node = node
        self.room = room
        self.id = node.ids.number()
        self.sid = node.ids.sid(ids.PARTICIPANT)
        self.claims: Claims = claims
        self.identity = claims.identity
        self.name = claims.name
        self.metadata = params.metadata or claims.metadata
        self.attributes = joined_attributes(params)
        self.kind = claims.kind_number
        self.permission = grants.permission_of(claims.video)

        self.client = params.client
        self.disabled_codecs = codecs.disabled_for(params.client)
        self.protocol = params.client.protocol
        self.ways = Ways(node.preferences, room.name, self.identity, params.client)
        self.single = params.single_peer_connection
        self.subscriber_primary = not self.single and self.protocol > 2 and self.permission.can_subscribe
        self.auto_subscribe_data_track = params.auto_subscribe_data_track

        self.state: models.ParticipantInfo.State = State.JOINED
        self.joined_at_ms = node.wall_ms()
        self.disconnect_reason: models.DisconnectReason = models.DisconnectReason.UNKNOWN_REASON
        self.removed = False
        #: Place in the room's order of announcements: what came before is in the join.
        self.announced_from = 0
        #: The signalling connection, while there is one.
        self.session: Session | None = None
        #: The one that takes its place as soon as the media plane knows of it.
        self.returning: Session | None = None
        #: For tests of clients: the next resume ends before or after its messages.
        self.broken_resume: Literal["before", "after"] | None = None

        self.publications = Publications(self)
        self.subscriptions = Subscriptions(self)
        self.data_tracks = DataTracks(self)
        #: In the room's place of somebody in another room, whose tracks it shows; it has no connection.
        self.origin: Participant | None = None
        #: Those that show our tracks, by the number of their room.
        self.forwarded: dict[int, Participant] = {}
        #: Our sids in the rooms that we were in before; clients may still name them.
        self.earlier_sids: dict[str, str] = {}
        #: Not so when its client lost its connection while the participant was moved.
        self.knows_room = True
        #: The server's own calls that it has not answered, by the caller's identity.
        self.calls: dict[str, Call] = {}
        #: Whom this participant lets subscribe; None: everybody.
        self.track_permissions: TrackPermissions | None = None
        #: Subscriber number → how many of our media tracks it is subscribed to.
        self.audience: Counter[int] = Counter()

        #: When the last signal frame came, and the last media packet as far as the media plane told.
        self.last_signal = node.clock()
        self.last_media = float("-inf")
        self.media_alive = False
        self.media_closed = False
        self.connected = False
        #: When it last took up its session on another connection.
        self.resumed_at = float("-inf")
        #: Its client shows by pings that signalling lives.
        self.pings = False
        #: The media plane keeps reliable packets of it because one before them did not come.
        self.data_missing = False
        self.timers: dict[str, Timer] = {}

        self._version = 1
        self._info: models.ParticipantInfo | None = None
        self._encoded: bytes | None = None

    @property
    def is_dependent(self) -> bool:
        return grants.is_dependent(self.kind, self.permission)

    @property
    def is_recorder(self) -> bool:
        return grants.is_recorder(self.kind, self.permission)

    @property
    def is_agent(self) -> bool:
        return self.kind == models.ParticipantInfo.Kind.AGENT or self.permission.agent

    @property
    def is_publisher(self) -> bool:
        return self.publications.any_bound or bool(self.data_tracks.published)

    @property
    def primary_target(self) -> str:
        return "subscriber" if self.subscriber_primary else "publisher"

    def touch(self) -> None:
        """Something that others see changed: a new version."""
        self._version += 1
        self._info = None
        self._encoded = None

    def info(self) -> models.ParticipantInfo:
        """Not to be changed by the caller."""
        if self._info is None:
            gone = self.state == State.DISCONNECTED
            self._info = models.ParticipantInfo(
                sid=self.sid,
                identity=self.identity,
                state=self.state,
                tracks=[] if gone else self.publications.infos(),
                metadata=self.metadata,
                joined_at=self.joined_at_ms // 1000,
                joined_at_ms=self.joined_at_ms,
                name=self.name,
                version=self._version,
                permission=self.permission,
                region=self.node.config.region,
                is_publisher=self.is_publisher,
                kind=self.kind,  # type: ignore[arg-type]
                attributes=self.attributes,
                disconnect_reason=self.disconnect_reason,
                kind_details=self.claims.kind_detail_numbers,  # type: ignore[arg-type]
                data_tracks=[] if gone else self.data_tracks.infos(),
                client_protocol=self.client.client_protocol,
                capabilities=self.client.capabilities,
            )
        return self._info

    def encoded(self) -> bytes:
        """`info()` on the wire, made once per version."""
        if self._encoded is None:
            self._encoded = self.info().SerializeToString()
        return self._encoded

    def push(self, frame: bytes) -> None:
        if self.session is not None:
            self.session.outbox.push(frame)

    def send(self, response: rtc.SignalResponse) -> None:
        if self.session is not None:
            self.session.outbox.push(response.SerializeToString())

    def reply(self, response: rtc.RequestResponse) -> None:
        """Old Rust clients don't know request_response and take it for an error of the connection."""
        if self.client.sdk == models.ClientInfo.RUST and self.protocol < 10:
            return
        self.send(rtc.SignalResponse(request_response=response))

    def refuse(self, reason: rtc.RequestResponse.Reason, message: str, request_id: int = 0) -> None:
        self.reply(rtc.RequestResponse(request_id=request_id, reason=reason, message=message))

    def refresh_token(self) -> None:
        if token := tokens.refreshed(self):
            self.send(rtc.SignalResponse(refresh_token=token))

    def allows(self, subscriber: Participant, track_sid: str) -> bool:
        """Whether this publisher lets `subscriber` have one of its tracks."""
        if self.track_permissions is None or subscriber.is_recorder:
            return True
        return self.track_permissions.allow(subscriber.sid, subscriber.identity, track_sid)

    def start_timer(self, name: str, delay: float, action: Callable[[], None]) -> None:
        """One timer of each name at a time; the newest counts. They end with the session."""
        self.stop_timer(name)
        self.timers[name] = self.node.timers.after(delay, action)

    def stop_timer(self, name: str) -> None:
        if timer := self.timers.pop(name, None):
            timer.cancel()

    def cancel_timers(self) -> None:
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()


def joined_attributes(params: JoinParams) -> dict[str, str]:
    """The token's attributes, with those given at the join over them. An empty one there says nothing."""
    given = {key: value for key, value in params.attributes.items() if value}
    return {**params.claims.attributes, **given}
