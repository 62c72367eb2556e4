"""Whom a publisher lets subscribe to its tracks."""

from __future__ import annotations

from livekit.protocol import rtc


class TrackPermissions:
    """Everybody not named gets nothing."""

    def __init__(self, request: rtc.SubscriptionPermission) -> None:
        self._by_sid: dict[str, set[str] | None] = {}
        self._by_identity: dict[str, set[str] | None] = {}
        for entry in request.track_permissions:
            tracks = None if entry.all_tracks else set(entry.track_sids)
            if entry.participant_sid:
                self._by_sid[entry.participant_sid] = tracks
            if entry.participant_identity:
                self._by_identity[entry.participant_identity] = tracks

    @classmethod
    def of(cls, request: rtc.SubscriptionPermission) -> TrackPermissions | None:
        return None if request.all_participants else cls(request)

    def allow(self, sid: str, identity: str, track_sid: str) -> bool:
        for entries, key in ((self._by_sid, sid), (self._by_identity, identity)):
            if key in entries:
                tracks = entries[key]
                return tracks is None or track_sid in tracks
        return False
