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
        if self._levels.pop(participant.id, None) is None:
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

    def simulate(self, participant: Participant) -> None:
        """For tests of clients."""
        participant.push(_frame([_info(participant, 0.9, True)]))

    def _note(self, participant: Participant, level: float, active: bool) -> bool:
        """Whether there is something to tell. A level on its way when the microphone was muted is late."""
        if active and participant.publications.has_open_microphone():
            self._levels[participant.id] = level
            return True
        return not active and self._levels.pop(participant.id, None) is not None

    def _receivers(self, participant: Participant) -> Iterable[int]:
        if participant.permission.hidden:
            return (participant.id,)
        return (participant.id, *participant.audience)


def _info(participant: Participant, level: float, active: bool) -> models.SpeakerInfo:
    return models.SpeakerInfo(sid=participant.sid, level=level, active=active)


def _frame(speakers: Iterable[models.SpeakerInfo]) -> bytes:
    changed = rtc.SpeakersChanged(speakers=speakers)
    return rtc.SignalResponse(speakers_changed=changed).SerializeToString()
