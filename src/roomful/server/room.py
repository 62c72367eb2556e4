"""A room: who is in it, what they may know of each other, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import TypeVar

from livekit.protocol import models, rtc
from livekit.protocol import room as room_protocol

from roomful.server import codecs, forwarding, frames, ids, rpc
from roomful.server.announcements import Announcements
from roomful.server.datatracks import DataTrack
from roomful.server.dispatches import Dispatches
from roomful.server.node import Node, RoomEvent, logger
from roomful.server.participant import Participant, State
from roomful.server.publications import Publication
from roomful.server.quality import Quality
from roomful.server.speakers import Speakers
from roomful.server.timers import Timer

DisconnectReason = models.DisconnectReason
Action = rtc.LeaveRequest.Action

#: Seconds between two room_updates that only carry counts.
UPDATE_INTERVAL = 5.0


class Room:
    def __init__(
        self,
        node: Node,
        number: int,
        name: str,
        settings: room_protocol.RoomConfiguration,
        on_closed: Callable[[Room], None],
    ) -> None:
        self.node = node
        self.id = number
        self.settings = settings
        self.name = name
        created_ms = node.wall_ms()
        self.info = models.Room(
            sid=node.ids.sid(ids.ROOM),
            name=name,
            empty_timeout=settings.empty_timeout,
            departure_timeout=settings.departure_timeout,
            max_participants=settings.max_participants,
            creation_time=created_ms // 1000,
            creation_time_ms=created_ms,
            enabled_codecs=codecs.room_codecs(node.config),
            metadata=settings.metadata,
        )
        self.codecs = codecs.enabled(node.config)
        self.sif_trailer = node.ids.trailer()
        self.closed = False
        #: By identity, in the order of their joins.
        self.members: dict[str, Participant] = {}
        self.by_number: dict[int, Participant] = {}
        self.tracks: dict[str, Publication] = {}
        self.data_tracks: dict[str, DataTrack] = {}
        self.speakers = Speakers(self)
        self.quality = Quality(self)
        self.announcements = Announcements(self)
        self.dispatches = Dispatches(node, name, settings.agents)
        self._on_closed = on_closed
        self._events = count(1)
        #: Numbers of those for whose sake the room is open, of publishers and of recorders.
        self._occupants: set[int] = set()
        self._publishers: set[int] = set()
        self._recorders: set[int] = set()
        self._ever_joined = False
        self._closing: Timer | None = None
        self._update: Timer | None = None
        self._last_update = float("-inf")

        audio = node.config.audio
        node.rooms[self.id] = self
        node.media.open_room(
            room=self.id,
            sid=self.info.sid,
            codecs=self.codecs,
            sync_streams=settings.sync_streams,
            active_level=audio.active_level,
            min_percentile=audio.min_percentile,
            update_interval_ms=audio.update_interval,
            smooth_intervals=audio.smooth_intervals,
        )
        self._reckon_end()
        self.notify("room_started")

    # People.

    def others(self, participant: Participant) -> Iterator[Participant]:
        return (other for other in list(self.members.values()) if other is not participant)

    def visible_to(self, participant: Participant) -> Iterator[Participant]:
        return (other for other in self.others(participant) if not other.permission.hidden)

    def is_full_for(self, identity: str) -> bool:
        """A newcomer replaces a session of its own identity."""
        old = self.members.get(identity)
        replaced = old is not None and old.id in self._occupants
        limit = self.info.max_participants
        return limit > 0 and len(self._occupants) - replaced >= limit

    def add(self, participant: Participant) -> None:
        self.members[participant.identity] = participant
        self.by_number[participant.id] = participant
        self.node.participants[participant.id] = participant
        participant.announced_from = self.announcements.joined(participant)
        if not participant.is_dependent:
            self._ever_joined = True
        self.changed(participant)
        self._reckon_end()

    def remove(
        self,
        participant: Participant,
        reason: models.DisconnectReason,
        *,
        action: rtc.LeaveRequest.Action = Action.DISCONNECT,
        say_goodbye: bool = True,
    ) -> None:
        """Ends a participant's session. Others see it leave with `reason`; a second call does nothing."""
        if participant.removed:
            return
        logger.info(
            "participant leaves",
            room=self.name,
            participant=participant.identity,
            sid=participant.sid,
            reason=DisconnectReason.Name(reason),
        )
        participant.removed = True
        participant.cancel_timers()
        rpc.disconnected(participant)
        self.hang_up(participant, frames.leave(participant.protocol, reason, action) if say_goodbye else None)
        forwarding.stop(participant)
        published = participant.publications.close()
        participant.data_tracks.close()
        participant.subscriptions.close()
        self.node.media.remove_participant(participant=participant.id)
        del self.node.participants[participant.id]
        self._left(participant, published, reason, may_wait=not published)

    def let_go(self, participant: Participant, reason: models.DisconnectReason) -> None:
        """A participant goes on in another room, as the same session. Here it is as if it left."""
        forwarding.stop(participant)
        published = participant.publications.leave_room()
        participant.data_tracks.leave_room()
        participant.subscriptions.close()
        state = participant.state
        self._left(participant, published, reason, may_wait=False)
        participant.state = state
        participant.disconnect_reason = DisconnectReason.UNKNOWN_REASON

    def _left(
        self,
        participant: Participant,
        published: list[Publication],
        reason: models.DisconnectReason,
        *,
        may_wait: bool,
    ) -> None:
        self.quality.forget(participant)
        self.speakers.forget(participant)
        was_active = participant.state == State.ACTIVE
        participant.state = State.DISCONNECTED
        participant.disconnect_reason = reason
        participant.touch()
        del self.members[participant.identity]
        del self.by_number[participant.id]
        if not participant.permission.hidden and not self.closed:
            self.announcements.left(participant, may_wait=may_wait)
        self.changed(participant)
        for publication in published:
            self.notify("track_unpublished", participant, publication.info)
        self.notify("participant_left" if was_active else "participant_connection_aborted", participant)
        self._reckon_end()
        if not self.node.participants and self.node.on_empty is not None:
            self.node.on_empty()

    def hang_up(self, participant: Participant, goodbye: bytes | None) -> None:
        """Ends its signalling connection, after `goodbye`."""
        sessions = (participant.session, participant.returning)
        participant.session = participant.returning = None
        for session in sessions:
            if session is not None:
                session.end(goodbye)

    def activated(self, participant: Participant) -> None:
        """Its primary connection is up."""
        participant.state = State.ACTIVE
        participant.touch()
        self.announce(participant, may_wait=True)
        self.notify("participant_joined", participant)

    def announce(self, participant: Participant, *, to_self: bool = True, may_wait: bool = False) -> None:
        self.announcements.tell(participant, to_self=to_self, may_wait=may_wait)

    def vanish(self, participant: Participant) -> None:
        """It becomes hidden: for the others that is as if it left."""
        left = models.ParticipantInfo(
            sid=participant.sid,
            identity=participant.identity,
            state=State.DISCONNECTED,
            version=participant.info().version,
        )
        self.speakers.silence(participant)
        for frame in frames.updates([left.SerializeToString()]):
            for other in self.others(participant):
                other.push(frame)

    def receives_anew(self, participant: Participant) -> None:
        """What it may receive changed: its wishes count anew."""
        for publication in list(self.tracks.values()):
            participant.subscriptions.permission_changed(publication)
        participant.data_tracks.permission_changed(list(self.data_tracks.values()))

    # Tracks.

    def track_expected(self, publication: Publication) -> None:
        for other in self.others(publication.owner):
            other.subscriptions.expected(publication)

    def track_published(self, publication: Publication) -> None:
        for other in self.others(publication.owner):
            other.subscriptions.announced(publication)
        self.changed(publication.owner)
        self.notify("track_published", publication.owner, publication.info)
        forwarding.track_published(publication)

    def track_unpublished(self, publication: Publication) -> None:
        self.changed(publication.owner)
        self.notify("track_unpublished", publication.owner, publication.info)

    def track_forgotten(self, publication: Publication) -> None:
        for other in self.others(publication.owner):
            other.subscriptions.forgotten(publication)

    def tracks_known_to(self, participant: Participant) -> None:
        """What a newcomer may not have of what there is, and the data tracks it has by default."""
        for publication in list(self.tracks.values()):
            if publication.owner is not participant:
                participant.subscriptions.expected(publication)
                if publication.bound:
                    participant.subscriptions.announced(publication)
        if participant.auto_subscribe_data_track:
            participant.data_tracks.subscribe(list(self.data_tracks.values()))

    def track_permissions_changed(self, publisher: Participant) -> None:
        for other in self.others(publisher):
            for publication in publisher.publications:
                other.subscriptions.permission_changed(publication)
            other.data_tracks.permission_changed(list(publisher.data_tracks.published.values()))

    # The room itself.

    def set_metadata(self, metadata: str) -> None:
        self.info.metadata = metadata
        self._send_update()

    def changed(self, participant: Participant) -> None:
        """What it counts as may have changed: told at most every 5 s, or at once when a recording starts or
        ends."""
        for numbers, counts in (
            (self._occupants, not participant.is_dependent),
            (self._publishers, participant.is_publisher),
            (self._recorders, participant.is_recorder),
        ):
            here = participant.id in self.by_number
            (numbers.add if counts and here else numbers.discard)(participant.id)
        info = self.info
        counts_before = (info.num_participants, info.num_publishers)
        recording_before = info.active_recording
        info.num_participants = len(self._occupants)
        info.num_publishers = len(self._publishers)
        info.active_recording = bool(self._recorders)
        if self.closed:
            return
        if recording_before != info.active_recording:
            self._send_update()
        elif counts_before != (info.num_participants, info.num_publishers):
            self._update_soon()

    def close(
        self, reason: models.DisconnectReason, action: rtc.LeaveRequest.Action = Action.DISCONNECT
    ) -> None:
        """Everybody leaves; nobody is told of the others."""
        if self.closed:
            return
        self.closed = True
        for timer in (self._closing, self._update):
            if timer is not None:
                timer.cancel()
        leaving = list(self.members.values())
        for participant in leaving:
            self.hang_up(participant, frames.leave(participant.protocol, reason, action))
        for participant in leaving:
            self.remove(participant, reason)
        self.announcements.close()
        self.node.media.close_room(room=self.id)
        del self.node.rooms[self.id]
        self._on_closed(self)
        self.notify("room_finished")

    def notify(
        self, name: str, participant: Participant | None = None, track: models.TrackInfo | None = None
    ) -> None:
        number = next(self._events)
        if not self.node.observers:
            return
        info = models.Room()
        info.CopyFrom(self.info)
        self.node.notify(
            RoomEvent(
                number,
                name,
                info,
                _copy(participant.info()) if participant is not None else None,
                _copy(track) if track is not None else None,
            )
        )

    # Inside.

    def _update_soon(self) -> None:
        if self._update is not None:
            return
        wait = self._last_update + UPDATE_INTERVAL - self.node.clock()
        if wait <= 0:
            self._send_update()
        else:
            self._update = self.node.timers.after(wait, self._send_update)

    def _send_update(self) -> None:
        if self._update is not None:
            self._update.cancel()
            self._update = None
        self._last_update = self.node.clock()
        frame = rtc.SignalResponse(room_update=rtc.RoomUpdate(room=self.info)).SerializeToString()
        for participant in self.members.values():
            participant.push(frame)

    def _reckon_end(self) -> None:
        """Open while anybody is there for whom it is; else until a timeout."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if self.closed or self._occupants:
            return
        wait = self.info.departure_timeout if self._ever_joined else self.info.empty_timeout
        self._closing = self.node.timers.after(wait, lambda: self.close(DisconnectReason.ROOM_CLOSED))


_Message = TypeVar("_Message", models.ParticipantInfo, models.TrackInfo)


def _copy(message: _Message) -> _Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
