"""What one participant receives: its wishes, and what publishers and its own permission make of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from roomful.server.media import Wish
from roomful.server.timers import Timer

if TYPE_CHECKING:
    from roomful.server.participant import Participant
    from roomful.server.publications import Publication

Reason = rtc.RequestResponse.Reason

#: Seconds that a subscription waits for its track to be published.
TRACK_TIMEOUT = 60.0
#: Wishes and settings kept for tracks that are not there.
MAX_KEPT = 1000


class Subscriptions:
    """The media plane subscribes a room's audience by itself; only what differs is said, per track."""

    def __init__(self, subscriber: Participant) -> None:
        self._subscriber = subscriber
        #: Explicit wishes by track sid.
        self._wishes: dict[str, bool] = {}
        self._waiting: dict[str, Timer] = {}
        self._settings: dict[str, rtc.UpdateTrackSettings] = {}
        #: What the media plane was told, by track number; absent: "default".
        self._told: dict[int, Wish] = {}
        #: Whether their publisher allows them, of the tracks that this client was told about.
        self._allowed: dict[str, bool] = {}
        #: Tracks being received.
        self.active: dict[int, Publication] = {}

    # What the client asks for.

    def wish(
        self, track_sids: Iterable[str], by_participant: Iterable[models.ParticipantTracks], subscribe: bool
    ) -> None:
        sids = dict.fromkeys(track_sids)
        for tracks in by_participant:
            sids.update(dict.fromkeys(tracks.track_sids))
        for sid in sids:
            if not self._wish(sid, subscribe):
                self._subscriber.refuse(Reason.LIMIT_EXCEEDED, f"at most {MAX_KEPT} tracks are waited for")
                return

    def set(self, request: rtc.UpdateTrackSettings) -> None:
        """Settings of tracks that are not there yet are kept for them."""
        for sid in dict.fromkeys(request.track_sids):
            publication = self._visible(sid)
            if publication is None and sid not in self._settings and len(self._settings) >= MAX_KEPT:
                self._subscriber.refuse(Reason.LIMIT_EXCEEDED, f"settings are kept for {MAX_KEPT} tracks")
                return
            self._settings[sid] = request
            if publication is not None:
                self._apply_settings(publication, request)

    def disable(self, sids: Iterable[str]) -> None:
        """Paused tracks, as a client lists them after it reconnected."""
        if track_sids := list(sids):
            self.set(rtc.UpdateTrackSettings(track_sids=track_sids, disabled=True))

    # What the room says.

    def expected(self, publication: Publication) -> None:
        """A track is about to be published: anything that was waiting for it, or keeps it from us."""
        sid = publication.sid
        if timer := self._waiting.pop(sid, None):
            timer.cancel()
        if settings := self._settings.get(sid):
            self._apply_settings(publication, settings)
        self._fold(publication)

    def announced(self, publication: Publication) -> None:
        """The client knows the track: it may be told that it can't have it."""
        self._tell_permission(publication)

    def permission_changed(self, publication: Publication) -> None:
        """Its publisher, or we, may do more or less now."""
        self._fold(publication)
        if publication.bound:
            self._tell_permission(publication)

    def forgotten(self, publication: Publication) -> None:
        """The track ended; sids are never used again."""
        self._wishes.pop(publication.sid, None)
        self._settings.pop(publication.sid, None)
        self._told.pop(publication.id, None)
        self._allowed.pop(publication.sid, None)

    # What the media plane says.

    def started(self, publication: Publication) -> None:
        subscriber, owner = self._subscriber, publication.owner
        if publication.id in self.active:
            return
        self.active[publication.id] = publication
        publication.subscribers.add(subscriber.id)
        subscriber.node.subscriptions += 1
        owner.audience[subscriber.id] += 1
        real = publication.original or publication
        if not subscriber.permission.hidden:
            real.owner.publications.listened_to(real)
        if owner.audience[subscriber.id] == 1:
            room = subscriber.room
            room.speakers.listens(subscriber, owner)
            room.quality.listens(subscriber, owner)

    def stopped(self, publication: Publication) -> None:
        subscriber, owner = self._subscriber, publication.owner
        if self.active.pop(publication.id, None) is None:
            return
        publication.subscribers.discard(subscriber.id)
        subscriber.node.subscriptions -= 1
        owner.audience[subscriber.id] -= 1
        if owner.audience[subscriber.id] <= 0:
            del owner.audience[subscriber.id]
            subscriber.room.speakers.unlistens(subscriber, owner)

    def failed(self, publication: Publication) -> None:
        self._subscriber.send(
            rtc.SignalResponse(
                subscription_response=rtc.SubscriptionResponse(
                    track_sid=publication.sid, err=models.SubscriptionError.SE_CODEC_UNSUPPORTED
                )
            )
        )

    def tell_again(self) -> None:
        """To a client that may have missed it."""
        for sid in self._allowed:
            if publication := self._subscriber.room.tracks.get(sid):
                self._send_permission(publication)

    def close(self) -> None:
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        for publication in list(self.active.values()):
            self.stopped(publication)

    # Inside.

    def _visible(self, sid: str) -> Publication | None:
        """A track that this participant may know of."""
        publication = self._subscriber.room.tracks.get(sid)
        if publication is None or publication.owner is self._subscriber:
            return None
        return None if publication.owner.permission.hidden else publication

    def _wish(self, sid: str, subscribe: bool) -> bool:
        """False: too many tracks are waited for already."""
        publication = self._visible(sid)
        if publication is None:
            return self._wait(sid, subscribe)
        self._wishes[sid] = subscribe
        self._fold(publication)
        return True

    def _wait(self, sid: str, subscribe: bool) -> bool:
        if not subscribe:
            self._wishes.pop(sid, None)
            if timer := self._waiting.pop(sid, None):
                timer.cancel()
            return True
        if sid in self._waiting:
            return True
        if len(self._waiting) >= MAX_KEPT:
            return False
        self._wishes[sid] = True
        self._waiting[sid] = self._subscriber.node.timers.after(TRACK_TIMEOUT, lambda: self._give_up(sid))
        return True

    def _give_up(self, sid: str) -> None:
        self._waiting.pop(sid, None)
        self._wishes.pop(sid, None)
        self._subscriber.send(
            rtc.SignalResponse(
                subscription_response=rtc.SubscriptionResponse(
                    track_sid=sid, err=models.SubscriptionError.SE_TRACK_NOTFOUND
                )
            )
        )

    def _fold(self, publication: Publication) -> None:
        """One answer from the wish, the publisher's permissions and our own."""
        subscriber = self._subscriber
        if publication.owner is subscriber:
            return
        wish = self._wishes.get(publication.sid)
        answer: Wish = "default"
        if wish is False or not publication.owner.allows(subscriber, publication.sid):
            answer = "unsubscribed"
        elif wish and subscriber.permission.can_subscribe:
            answer = "subscribed"
        if self._told.get(publication.id, "default") == answer:
            return
        self._told[publication.id] = answer
        subscriber.node.media.set_subscription(participant=subscriber.id, track=publication.id, wish=answer)

    def _tell_permission(self, publication: Publication) -> None:
        """Clients take a track for allowed until told otherwise."""
        subscriber, sid = self._subscriber, publication.sid
        if publication.owner is subscriber or publication.owner.permission.hidden:
            return
        allowed = publication.owner.allows(subscriber, sid)
        if allowed == self._allowed.get(sid, True):
            return
        self._allowed[sid] = allowed
        self._send_permission(publication)

    def _send_permission(self, publication: Publication) -> None:
        sid = publication.sid
        update = rtc.SubscriptionPermissionUpdate(
            participant_sid=publication.owner.sid, track_sid=sid, allowed=self._allowed[sid]
        )
        self._subscriber.send(rtc.SignalResponse(subscription_permission_update=update))

    def _apply_settings(self, publication: Publication, settings: rtc.UpdateTrackSettings) -> None:
        quality = settings.quality
        off = quality == models.VideoQuality.OFF
        self._subscriber.node.media.set_track_settings(
            participant=self._subscriber.id,
            track=publication.id,
            disabled=settings.disabled or off,
            quality=quality if quality in (0, 1, 2) else models.VideoQuality.HIGH,
            width=settings.width,
            height=settings.height,
            fps=settings.fps,
        )
