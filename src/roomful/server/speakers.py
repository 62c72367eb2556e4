"""Who speaks, told to those who listen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from roomful.server.media import Event

if TYPE_CHECKING:
    from roomful.server.participant import Participant
    from roomful.server.room import Room


class Speakers:
    """Deltas only: somebody absent from a message is as before. A listener hears of those it is subscribed
    to, and of itself; nobody hears of a hidden participant."""

    def __init__(self, room: Room) -> None:
        self._room = room
        #: Level of each active speaker by participant number.
        self._levels: dict[int, float] = {}
        #: When those who spoke fell silent.
        self._silent_since: dict[int, float] = {}

    def changed(self, event: Event.Speakers) -> None:
        receivers: dict[int, list[int]] = {}
        infos: list[models.SpeakerInfo] = []
        for number, level, active in event.speakers:
            participant = self._room.by_number.get(number)
            if participant is None or not self._note(participant, level, active):
                continue
            for receiver in self._receivers(participant):
                receivers.setdefault(receiver, []).append(len(infos))
            infos.append(_info(participant, level if active else 0.0, active))
        # Most listeners hear the same: each distinct message is encoded once.
        frames: dict[tuple[int, ...], bytes] = {}
        for number, indices in receivers.items():
            key = tuple(indices)
            if key not in frames:
                frames[key] = _frame(infos[index] for index in indices)
            if receiver_ := self._room.by_number.get(number):
                receiver_.push(frames[key])

    def silence(self, participant: Participant) -> None:
        """It left, muted or unpublished: its listeners must not wait for a level that never comes."""
        if not self._end(participant):
            return
        frame = _frame([_info(participant, 0.0, False)])
        for number in self._receivers(participant):
            if receiver := self._room.by_number.get(number):
                receiver.push(frame)

    def listens(self, listener: Participant, speaker: Participant) -> None:
        level = self._levels.get(speaker.id)
        if level is not None and not speaker.permission.hidden:
            listener.push(_frame([_info(speaker, level, True)]))

    def unlistens(self, listener: Participant, speaker: Participant) -> None:
        if speaker.id in self._levels and not speaker.permission.hidden:
            listener.push(_frame([_info(speaker, 0.0, False)]))

    def catch_up(self, listener: Participant, since: float) -> None:
        """Those that `listener` is subscribed to: who speaks, and who fell silent after `since`."""
        infos = []
        for publisher in {id(it.owner): it.owner for it in listener.subscriptions.active.values()}.values():
            level = self._levels.get(publisher.id)
            if publisher.permission.hidden:
                continue
            if level is not None:
                infos.append(_info(publisher, level, True))
            elif self._silent_since.get(publisher.id, since) > since:
                infos.append(_info(publisher, 0.0, False))
        if infos:
            listener.push(_frame(infos))

    def forget(self, participant: Participant) -> None:
        self._silent_since.pop(participant.id, None)

    def simulate(self, participant: Participant) -> None:
        """For tests of clients."""
        participant.push(_frame([_info(participant, 0.9, True)]))

    def _note(self, participant: Participant, level: float, active: bool) -> bool:
        """Whether there is something to tell. A level on its way when the microphone was muted is late."""
        if active and participant.publications.has_open_microphone():
            self._levels[participant.id] = level
            return True
        return not active and self._end(participant)

    def _end(self, participant: Participant) -> bool:
        """Whether it was speaking."""
        if self._levels.pop(participant.id, None) is None:
            return False
        self._silent_since[participant.id] = self._room.node.clock()
        return True

    def _receivers(self, participant: Participant) -> Iterable[int]:
        if participant.permission.hidden:
            return (participant.id,)
        return (participant.id, *participant.audience)


def _info(participant: Participant, level: float, active: bool) -> models.SpeakerInfo:
    return models.SpeakerInfo(sid=participant.sid, level=level, active=active)


def _frame(speakers: Iterable[models.SpeakerInfo]) -> bytes:
    changed = rtc.SpeakersChanged(speakers=speakers)
    return rtc.SignalResponse(speakers_changed=changed).SerializeToString()
