"""Telling a room of its participants: at once, or gathered where a room is large."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from roomful.server import frames
from roomful.server.timers import Timer

if TYPE_CHECKING:
    from roomful.server.participant import Participant
    from roomful.server.room import Room

#: Up to this many participants everybody is announced at once.
LARGE = 50
#: Seconds that a large room gathers those who publish nothing.
GATHER = 1.0
#: Seconds before the last frame of a client in which what was sent to it may not have arrived.
IN_FLIGHT = 5.0
#: Departures are remembered for this many seconds, and longer while somebody may resume.
KEPT_DEPARTURES = 60.0
#: So many are not looked through, and more than these are not kept for anybody.
FEW_DEPARTURES, MOST_DEPARTURES = 100, 5000


class _Departure(NamedTuple):
    at: float
    identity: str
    info: bytes


class Announcements:
    def __init__(self, room: Room) -> None:
        self._room = room
        self._order = count(1)
        #: By sid, in the order of their latest change.
        self._gathered: dict[str, tuple[int, Participant]] = {}
        self._timer: Timer | None = None
        self._departures: deque[_Departure] = deque()
        self._forgotten_until = float("-inf")

    def joined(self, participant: Participant) -> int:
        """A newcomer has seen all that was announced before its join. Returns its place in the order."""
        return next(self._order)

    def tell(self, participant: Participant, *, to_self: bool, may_wait: bool = False) -> None:
        if to_self:
            for frame in frames.updates([participant.encoded()]):
                participant.push(frame)
        if participant.permission.hidden:
            return
        self.tell_others(participant, may_wait=may_wait)

    def tell_others(self, participant: Participant, *, may_wait: bool = False) -> None:
        self._gathered.pop(participant.sid, None)
        if may_wait and len(self._room.members) > LARGE and not participant.is_publisher:
            self._gathered[participant.sid] = (next(self._order), participant)
            if self._timer is None:
                self._timer = self._room.node.timers.after(GATHER, self.flush)
            return
        if any(other.identity == participant.identity for _, other in self._gathered.values()):
            # Its older session is still to be seen leaving.
            self.flush()
        target = self._room.node.config.room.update_batch_target_size
        for frame in frames.updates([participant.encoded()], target):
            for other in self._room.others(participant):
                other.push(frame)

    def left(self, participant: Participant, *, may_wait: bool) -> None:
        """Somebody is gone. Those without a signalling connection are told when they resume."""
        self.tell_others(participant, may_wait=may_wait)
        if len(self._departures) >= FEW_DEPARTURES:
            self._forget_departures()
        self._departures.append(
            _Departure(self._room.node.clock(), participant.identity, participant.encoded())
        )

    def catch_up(self, participant: Participant, since: float) -> None:
        """Tells one who resumes of those who left meanwhile, then of everybody who is here."""
        members = self._room.members
        gone = [
            it.info
            for it in self._departures
            # Who came back under the same identity is told of by the new entry.
            if it.at >= since - IN_FLIGHT and it.identity not in members
        ]
        here = [other.encoded() for other in self._room.visible_to(participant)]
        own = [] if participant.permission.hidden else [participant.encoded()]
        participant.announced_from = next(self._order)
        for frame in (*frames.updates(gone), *frames.updates(here + own)):
            participant.push(frame)

    def has_forgotten(self, since: float) -> bool:
        """Whether somebody's leaving after `since` is not known any more."""
        return since - IN_FLIGHT < self._forgotten_until

    def _forget_departures(self) -> None:
        """Keeps what somebody without a signalling connection may still have to be told."""
        now = self._room.node.clock()
        away = [
            it.last_signal for it in self._room.members.values() if it.session is None and it.origin is None
        ]
        keep_from = min([now, *away]) - KEPT_DEPARTURES
        while self._departures and (
            self._departures[0].at < keep_from or len(self._departures) >= MOST_DEPARTURES
        ):
            self._forgotten_until = self._departures.popleft().at

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered = [entry for entry in self._gathered.values() if not entry[1].permission.hidden]
        self._gathered.clear()
        if not gathered:
            return
        target = self._room.node.config.room.update_batch_target_size
        first = gathered[0][0]
        everything = frames.updates((it.encoded() for _, it in gathered), target)
        for receiver in self._room.members.values():
            if receiver.announced_from < first:
                mine = everything
            else:
                # Older entries are in its join already, and an old session's leaving would be taken for that
                # of the new one it was told of.
                mine = frames.updates(
                    (it.encoded() for order, it in gathered if order > receiver.announced_from), target
                )
            for frame in mine:
                receiver.push(frame)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
