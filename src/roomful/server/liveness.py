"""Who is still there: by signal frames and by media, whichever came last."""

from __future__ import annotations

from livekit.protocol import models, rtc

from roomful.server import fallback, frames
from roomful.server.media import Event
from roomful.server.participant import Participant, State

DisconnectReason = models.DisconnectReason
Action = rtc.LeaveRequest.Action

#: Seconds after the last sign of life on either channel.
VANISHED_AFTER = 15.0
#: Seconds from the join in which the primary connection must come up.
JOIN_TIMEOUT = 60.0
#: Seconds in which a client must resume when it is asked to, and media be back when it did.
RESUME_TIMEOUT = 15.0


def watch(participant: Participant) -> None:
    """From the join on."""
    participant.start_timer("join", JOIN_TIMEOUT, lambda: _join_timeout(participant))
    _look_again(participant)


def media_event(participant: Participant, event: Event.Liveness) -> None:
    if event.alive:
        participant.media_alive = True
        participant.stop_timer("resumed")
        return
    participant.last_media = participant.node.clock() - VANISHED_AFTER
    participant.media_alive = False
    _ask_to_resume(participant)
    _look_again(participant)


def resumed(participant: Participant) -> None:
    """Its signalling is back; media follows, or the client must begin anew."""
    participant.last_signal = participant.resumed_at = participant.node.clock()
    _await_media(participant)


def connected(participant: Participant) -> None:
    participant.connected = True
    participant.media_alive = True
    participant.media_closed = False


def activated(participant: Participant) -> None:
    participant.stop_timer("join")


def media_failed(participant: Participant) -> None:
    """A transport will not come back by itself. With fresh candidates it may."""
    participant.media_alive = False
    if participant.connected:
        _ask_to_resume(participant)
    elif participant.session is not None:
        participant.room.remove(participant, DisconnectReason.CONNECTION_TIMEOUT, action=Action.RECONNECT)
    _look_again(participant)


def media_closed(participant: Participant) -> None:
    """The client closed its primary connection in good order."""
    participant.media_closed = True
    participant.media_alive = False
    participant.last_media = participant.node.clock()
    if participant.session is None:
        participant.room.remove(participant, DisconnectReason.CLIENT_INITIATED)
    else:
        _look_again(participant)


def signal_lost(participant: Participant) -> None:
    """The socket closed without a leave. With media up the client may come back."""
    participant.stop_timer("answer")
    if not participant.connected:
        participant.room.remove(participant, DisconnectReason.SIGNAL_CLOSE)
    elif participant.media_closed:
        participant.room.remove(participant, DisconnectReason.CLIENT_INITIATED)
    else:
        _look_again(participant)


def _look_again(participant: Participant) -> None:
    """Armed only while media is no sign of life; frames just move `last_signal`."""
    if participant.removed or participant.media_alive or "vanished" in participant.timers:
        return
    last = max(participant.last_signal, participant.last_media)
    wait = last + VANISHED_AFTER - participant.node.clock()
    participant.start_timer("vanished", max(wait, 0), lambda: _check(participant))


def _check(participant: Participant) -> None:
    participant.timers.pop("vanished", None)
    if participant.removed or participant.media_alive:
        return
    last = max(participant.last_signal, participant.last_media)
    if participant.node.clock() - last >= VANISHED_AFTER:
        participant.room.remove(participant, DisconnectReason.CONNECTION_TIMEOUT, action=Action.RECONNECT)
    else:
        _look_again(participant)


def _ask_to_resume(participant: Participant) -> None:
    """Signalling lives and media does not: the client must look for another way, and keeps its session.

    It closes the connection itself: closed by us, LiveKit's Rust core takes that for a second failure and
    reconnects in full.
    """
    if participant.session is not None and "resumed" not in participant.timers:
        participant.push(
            frames.leave(participant.protocol, DisconnectReason.CONNECTION_TIMEOUT, Action.RESUME)
        )
        _await_media(participant)


def _await_media(participant: Participant) -> None:
    participant.start_timer("resumed", RESUME_TIMEOUT, lambda: _resume_timeout(participant))


def _resume_timeout(participant: Participant) -> None:
    participant.timers.pop("resumed", None)
    if not participant.media_alive and participant.session is not None:
        fallback.media_stayed_away(participant)
        participant.room.remove(participant, DisconnectReason.CONNECTION_TIMEOUT, action=Action.RECONNECT)


def _join_timeout(participant: Participant) -> None:
    if participant.state != State.ACTIVE:
        participant.room.remove(participant, DisconnectReason.JOIN_FAILURE)
