"""Connection quality, told to oneself and to those who subscribe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from roomful.server.media import Event

if TYPE_CHECKING:
    from roomful.server.participant import Participant
    from roomful.server.room import Room


class Quality:
    """Gathers what one batch of media events changes into one message for each receiver."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._current: dict[int, tuple[models.ConnectionQuality, float]] = {}
        self._pending: dict[int, dict[int, None]] = {}

    def changed(self, participant: Participant, event: Event.Quality) -> None:
        if event.quality not in models.ConnectionQuality.values():
            return
        self._current[participant.id] = (event.quality, event.score)  # type: ignore[assignment]
        receivers = (
            [participant.id] if participant.permission.hidden else [participant.id, *participant.audience]
        )
        for receiver in receivers:
            self._pending.setdefault(receiver, {})[participant.id] = None

    def listens(self, listener: Participant, publisher: Participant) -> None:
        if publisher.id in self._current and not publisher.permission.hidden:
            self._pending.setdefault(listener.id, {})[publisher.id] = None

    def catch_up(self, listener: Participant) -> None:
        """To one that may have missed what changed."""
        for publication in listener.subscriptions.active.values():
            self.listens(listener, publication.owner)

    def forget(self, participant: Participant) -> None:
        self._current.pop(participant.id, None)
        self._pending.pop(participant.id, None)

    def flush(self) -> None:
        pending, self._pending = self._pending, {}
        for number, subjects in pending.items():
            receiver = self._room.by_number.get(number)
            if receiver is None or receiver.protocol < 5:
                continue
            update = rtc.ConnectionQualityUpdate()
            for subject in subjects:
                participant = self._room.by_number.get(subject)
                if participant is None or subject not in self._current:
                    continue
                quality, score = self._current[subject]
                if quality == models.ConnectionQuality.LOST and receiver.protocol < 11:
                    quality = models.ConnectionQuality.POOR
                update.updates.add(participant_sid=participant.sid, quality=quality, score=score)
            if update.updates:
                receiver.send(rtc.SignalResponse(connection_quality=update))
