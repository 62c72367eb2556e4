"""A client that comes back on another signalling connection, in the session that it has.

Nobody else sees anything of it. The client is told what it may have missed: everything that is sent as a
whole is sent again, and those who left meanwhile are named.
"""

from __future__ import annotations

from livekit.protocol import models, rtc

from roomful.server import fallback, joining, liveness, moving
from roomful.server.clients import version_of
from roomful.server.join import JoinParams
from roomful.server.node import Node, logger
from roomful.server.participant import Participant
from roomful.server.rooms import Rooms
from roomful.server.session import Session

#: livekit-client before this takes a reconnect for an unknown first message.
_JS_WITH_RECONNECT = (1, 6, 3)


def find(node: Node, rooms: Rooms, params: JoinParams) -> Participant | None:
    """Who comes back, by the token's identity; None when there is nothing left to come back to.

    A session that was replaced must not take over its successor, so a sid has to be one of its own.
    """
    room = rooms.find(params.room)
    participant = room.members.get(params.claims.identity) if room else None
    if participant is None:
        participant = _moved_meanwhile(node, params)
    if participant is None or participant.media_closed or participant.origin is not None:
        return None
    sid = params.participant_sid
    if sid and sid != participant.sid and sid not in participant.earlier_sids:
        return None
    if participant.room.announcements.has_forgotten(participant.last_signal):
        return None
    return participant


def _moved_meanwhile(node: Node, params: JoinParams) -> Participant | None:
    """Its client lost the connection before it heard of the new room: its token is for the one it left."""
    identity, sid = params.claims.identity, params.participant_sid
    for participant in node.participants.values():
        if participant.identity == identity and participant.earlier_sids.get(sid) == params.room:
            return participant
    return None


def begin(node: Node, participant: Participant, params: JoinParams) -> Session:
    """Takes the place of the old connection. The media plane says first how far its data came."""
    session = Session(node, participant)
    if participant.broken_resume == "before":
        participant.broken_resume = None
        session.end(None)
        return session
    participant.room.hang_up(participant, None)
    participant.claims = params.claims
    participant.reached = params.signal_address
    if participant.ways.returned(params.reconnect_reason):
        fallback.apply(participant)
    if params.room != participant.room.name:
        moving.point_to(participant, participant.room)
        participant.knows_room = False
    participant.returning = session
    node.media.resume(participant=participant.id)
    return session


def complete(participant: Participant, last_sequence: int) -> None:
    """The connection is the participant's own from here on."""
    session, participant.returning = participant.returning, None
    if session is None:
        return
    missed_since = participant.last_signal
    participant.session = session
    node, room = participant.node, participant.room
    logger.info("participant resumes", room=room.name, participant=participant.identity, sid=participant.sid)
    if _knows_reconnect(participant.client):
        response = rtc.ReconnectResponse(
            ice_servers=joining.ice_servers(participant),
            client_configuration=joining.client_configuration(participant),
            server_info=joining.server_info(node),
            last_message_seq=last_sequence,
        )
        participant.send(rtc.SignalResponse(reconnect=response))
    if participant.knows_room:
        room.announcements.catch_up(participant, missed_since)
    else:
        participant.knows_room = True
        moving.tell(participant, room)
    participant.send(rtc.SignalResponse(room_update=rtc.RoomUpdate(room=room.info)))
    if not participant.single:
        node.media.restart_ice(participant=participant.id, target="subscriber")
    participant.publications.tell_again(missed_since)
    participant.subscriptions.tell_again()
    participant.data_tracks.tell_again()
    room.speakers.catch_up(participant, missed_since)
    room.quality.catch_up(participant)
    participant.refresh_token()
    liveness.resumed(participant)
    if participant.broken_resume == "after":
        participant.broken_resume = None
        room.hang_up(participant, None)
        liveness.signal_lost(participant)


def _knows_reconnect(client: models.ClientInfo) -> bool:
    if client.sdk != models.ClientInfo.JS:
        return True
    version = version_of(client)
    return version is None or version >= _JS_WITH_RECONNECT
