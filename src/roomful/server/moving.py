"""A participant goes to another room without leaving: its connections, tracks and signalling stay."""

from __future__ import annotations

from dataclasses import replace

from livekit.protocol import models, rtc

from roomful.server import ids, tokens
from roomful.server.errors import FailedPrecondition, Unavailable
from roomful.server.node import logger
from roomful.server.participant import Participant, State
from roomful.server.room import Action, DisconnectReason, Room
from roomful.server.rooms import are_beside
from roomful.server.subscriptions import Subscriptions

#: Clients from this protocol on know room_moved.
MOVING_PROTOCOL = 16


def check(participant: Participant) -> None:
    """Raises `ControlError` for one that cannot be moved."""
    if participant.is_agent or participant.kind == models.ParticipantInfo.Kind.EGRESS:
        raise FailedPrecondition("agents and egress cannot be moved")
    if participant.session is None:
        raise Unavailable("the participant has no signal connection now: try again once it is back")


def move(participant: Participant, room: Room) -> None:
    """Moves it to `room`, where nobody has its identity.

    A client that cannot follow in its session (its protocol is too old, or the rooms are on different media
    workers) is told to join the new room from the beginning.
    """
    before = participant.room
    logger.info("participant moves", room=before.name, to=room.name, participant=participant.identity)
    if participant.protocol >= MOVING_PROTOCOL and are_beside(participant.node, before.id, room.id):
        _take_along(participant, room)
    else:
        _send_over(participant, room)


def _take_along(participant: Participant, room: Room) -> None:
    participant.room.let_go(participant, DisconnectReason.PARTICIPANT_REMOVED)
    participant.earlier_sids[participant.sid] = participant.room.name
    participant.sid = participant.node.ids.sid(ids.PARTICIPANT)
    participant.joined_at_ms = participant.node.wall_ms()
    point_to(participant, room)
    participant.room = room
    participant.subscriptions = Subscriptions(participant)
    participant.touch()
    session, participant.session = participant.session, None
    room.add(participant)
    # Of the new room it hears nothing before it knows that it is there.
    participant.session = session
    tell(participant, room)
    participant.node.media.move_participant(participant=participant.id, room=room.id, sid=participant.sid)

    room.announce(participant, to_self=False)
    if participant.state == State.ACTIVE:
        room.notify("participant_joined", participant)
    participant.publications.enter_room()
    participant.data_tracks.enter_room()
    for publication in participant.publications:
        if publication.bound:
            room.track_published(publication)
    room.tracks_known_to(participant)


def _send_over(participant: Participant, room: Room) -> None:
    """With the new room's token its client reconnects in full, and so arrives there."""
    point_to(participant, room)
    if participant.protocol >= MOVING_PROTOCOL:
        tell(participant, room)
    else:
        participant.refresh_token()
    participant.room.remove(participant, DisconnectReason.MIGRATION, action=Action.RECONNECT)


def point_to(participant: Participant, room: Room) -> None:
    """Its tokens are for the new room from now on."""
    claims = participant.claims
    assert claims.video is not None
    participant.claims = replace(claims, video=replace(claims.video, room=room.name))


def tell(participant: Participant, room: Room) -> None:
    """Its client is in `room` now, with whom it finds there."""
    moved = rtc.RoomMovedResponse(
        room=room.info,
        token=tokens.refreshed(participant) or "",
        participant=participant.info(),
        other_participants=[other.info() for other in room.visible_to(participant)],
    )
    participant.send(rtc.SignalResponse(room_moved=moved))
    # LiveKit's Rust core takes the token that it resumes with from here only.
    participant.refresh_token()
