"""The others in a room and what they publish: news of the server in, events of the room out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from livekit.protocol import models, rtc

from roomful.rtc._encryption import Encryption
from roomful.rtc._enums import ConnectionQuality, EncryptionType, TrackKind, stream_state
from roomful.rtc._session import Arrived, Target
from roomful.rtc.e2ee import ENCRYPTED_KINDS
from roomful.rtc.participant import Participant, RemoteParticipant
from roomful.rtc.track import Received, RemoteAudioTrack, RemoteVideoTrack, TrackInfo
from roomful.rtc.track_publication import RemoteTrackPublication

if TYPE_CHECKING:
    from roomful.rtc.room import Room
    from roomful.rtc.track_publication import VideoQuality

State = models.ParticipantInfo.State
#: Media that arrived before its publication was told of.
MAX_EARLY = 100
#: Seconds after which a server that still sends what it was asked to end is taken not to have heard of it.
ENDED_WITHIN = 3.0
_ERRORS = {
    models.SubscriptionError.SE_CODEC_UNSUPPORTED: "codec not supported",
    models.SubscriptionError.SE_TRACK_NOTFOUND: "track not found",
}


class Roster:
    """`emit` takes an event of the room; `receive` gives the media that a section has (video or audio), and
    `request` sends a request to the server."""

    def __init__(
        self,
        room: Room,
        encryption: Encryption,
        emit: Callable[..., None],
        *,
        auto_subscribe: bool,
        receive: Callable[[str, str, str, bool], Received],
        request: Callable[[rtc.SignalRequest], None],
        left: Callable[[RemoteParticipant], None],
    ) -> None:
        self._room = room
        self._encryption = encryption
        self._emit = emit
        self._auto_subscribe = auto_subscribe
        self._receive = receive
        self._request = request
        self._left = left
        #: By identity.
        self.others: dict[str, RemoteParticipant] = {}
        self._by_sid: dict[str, RemoteParticipant] = {}
        #: Publications and whose they are, by sid.
        self._published: dict[str, tuple[RemoteParticipant, RemoteTrackPublication]] = {}
        #: Publications whose subscription is wanted or unwanted against the rule of the room, by sid.
        self._wishes: dict[str, bool] = {}
        self._early: dict[str, Arrived] = {}
        #: Which publication a section carries, whether it is wanted or not.
        self._sections: dict[tuple[Target, str], RemoteTrackPublication] = {}
        #: The section that a publication's track is of, by sid.
        self._playing: dict[str, tuple[Target, str]] = {}
        #: Publications, by sid, that the server was asked to send no more and has not ended yet. Who wants
        #: one again asks for it then: a server that hears both at once may end it or not.
        self._ending: dict[str, asyncio.TimerHandle] = {}
        #: Who was told of since a resume began; None while there is none.
        self._seen: set[str] | None = None

    # ---- who is there

    def begin(self, infos: Iterable[models.ParticipantInfo]) -> None:
        """Those who are there already, of whom no event tells."""
        for info in infos:
            participant = self._enter(info)
            for track in info.tracks:
                self._publish(participant, track)
            self._check_encryption(participant, silently=True)

    def update(self, infos: Iterable[models.ParticipantInfo]) -> None:
        me = self._room.local_participant
        for info in infos:
            if self._seen is not None:
                self._seen.add(info.identity)
            if info.identity == me.identity or info.sid == me.sid:
                self._describe(me, info)
            else:
                self._update_other(info)

    def resuming(self) -> None:
        self._seen = set()

    def resumed(self) -> None:
        """Who was not told of since the resume began has left meanwhile."""
        seen, self._seen = self._seen, None
        if seen:
            self.keep(seen)

    def keep(self, identities: Collection[str]) -> None:
        for participant in list(self.others.values()):
            if participant.identity not in identities:
                self.depart(participant)

    def depart_all(self) -> None:
        for participant in list(self.others.values()):
            self.depart(participant)
        self._early.clear()
        self._sections.clear()
        self._wishes.clear()

    def fall_silent(self) -> None:
        """The room is left: no track goes on, though all that was known stays."""
        for participant in self.others.values():
            for publication in participant._track_publications.values():
                if publication.track is not None:
                    publication.track._end()
            participant._announce(None, None)
        for sid in list(self._ending):
            self._no_longer_ending(sid)

    def depart(self, participant: RemoteParticipant) -> None:
        for publication in list(participant._track_publications.values()):
            self._unpublish(participant, publication)
        del self.others[participant.identity]
        if self._by_sid.get(participant.sid) is participant:
            del self._by_sid[participant.sid]
        participant._info.state = State.DISCONNECTED
        participant._announce(None, None)
        self._left(participant)
        self._emit("participant_disconnected", participant)

    def by_sid(self, sid: str) -> Participant | None:
        """Oneself, too."""
        me = self._room.local_participant
        if sid == me.sid:
            return me
        return self._by_sid.get(sid)

    def by_identity(self, identity: str) -> Participant | None:
        me = self._room.local_participant
        return me if identity and identity == me.identity else self.others.get(identity)

    # ---- what the server says of them

    def speakers_changed(self, speakers: Iterable[models.SpeakerInfo]) -> None:
        """Those who are not named go on as they were."""
        for speaker in speakers:
            if (participant := self.by_sid(speaker.sid)) is not None:
                participant._speaking = speaker.active
                participant._audio_level = speaker.level
        everybody: list[Participant] = [self._room.local_participant, *self.others.values()]
        active = [one for one in everybody if one._speaking]
        self._emit("active_speakers_changed", sorted(active, key=lambda one: -one._audio_level))

    def quality_changed(self, updates: Iterable[rtc.ConnectionQualityInfo]) -> None:
        for update in updates:
            participant = self.by_sid(update.participant_sid)
            if participant is not None and update.quality in models.ConnectionQuality.values():
                participant._connection_quality = ConnectionQuality(update.quality)
                self._emit("connection_quality_changed", participant, participant._connection_quality)

    def stream_states_changed(self, states: Iterable[rtc.StreamStateInfo]) -> None:
        for state in states:
            _, publication = self._find(state.track_sid)
            if publication is not None and publication.track is not None:
                publication.track._info.stream_state = stream_state(state.state)

    def subscription_failed(self, response: rtc.SubscriptionResponse) -> None:
        participant, _ = self._find(response.track_sid)
        if participant is not None:
            error = _ERRORS.get(response.err, "unknown error")
            self._emit("track_subscription_failed", participant, response.track_sid, error)

    def data_came(self, participant: Participant, kind: str | None) -> None:
        """Who has once sent data in the clear is not taken for encrypted again."""
        encrypted = kind == "encrypted_packet"
        if not encrypted and kind not in ENCRYPTED_KINDS:
            return
        if participant._data_encrypted is not False and participant._data_encrypted != encrypted:
            participant._data_encrypted = encrypted
            self._check_encryption(participant)

    # ---- media

    def arrived(self, media: Arrived) -> None:
        participant, publication = self._find(media.sid)
        if publication is None or participant is None:
            self._early[media.sid] = media
            if len(self._early) > MAX_EARLY:
                del self._early[next(iter(self._early))]
            return
        self._sections[media.target, media.mid] = publication
        if self._wishes.get(media.sid) is False or media.sid in self._ending:
            return
        encrypted = publication.encryption_type != EncryptionType.NONE
        if (reason := self._encryption.refusal(encrypted)) is not None:
            self.subscribe(publication, False)
            self._emit("track_subscription_failed", participant, publication.sid, reason)
            return
        if publication.track is not None:
            self._unsubscribe(participant, publication)
        self._playing[media.sid] = media.target, media.mid
        video = publication.kind == TrackKind.KIND_VIDEO
        # A camera's and its microphone's are the same, and so are a screen's.
        stream = f"{participant.sid}|{publication._info.stream}"
        received = self._receive(media.target, media.mid, stream, video)
        info = TrackInfo(publication.sid, publication.name, publication.kind, muted=publication.muted)
        made = RemoteVideoTrack if video else RemoteAudioTrack
        track = made(info, received)
        if isinstance(track, RemoteVideoTrack):
            track._share = publication._share
        if self._encryption.media is not None:
            self._encryption.media.received(received, participant.identity, publication.sid)
        publication._track = track
        publication._subscribed = True
        track._set_room(self._room)
        participant._announce(publication.source, track)
        self._emit("track_subscribed", track, publication, participant)

    def sender(self, target: Target, mid: str) -> RemoteParticipant | None:
        """Whose track comes in a section."""
        publication = self._sections.get((target, mid))
        return self._find(publication.sid)[0] if publication is not None else None

    def departed(self, target: Target, mid: str) -> None:
        publication = self._sections.pop((target, mid), None)
        self._early = {sid: one for sid, one in self._early.items() if (one.target, one.mid) != (target, mid)}
        if publication is not None:
            participant, known = self._find(publication.sid)
            if participant is not None and known is publication:
                if self._playing.get(publication.sid) == (target, mid):
                    self._unsubscribe(participant, publication)
                self._ended(participant, publication)

    # ---- what the program wants

    def subscribe(self, publication: RemoteTrackPublication, wanted: bool) -> None:
        self._room._on_loop(self._subscribe, publication, wanted)

    def _subscribe(self, publication: RemoteTrackPublication, wanted: bool) -> None:
        participant, known = self._find(publication.sid)
        if participant is None or known is not publication:
            return
        self._wishes[publication.sid] = wanted
        if not wanted and publication.track is not None:
            # After the caller, as all that comes of the network.
            asyncio.get_running_loop().call_soon(self._unsubscribe_if, participant, publication)
        if publication.sid in self._ending:
            return
        self._ask(participant, publication, wanted)
        if wanted:
            self._take_up(participant, publication)
        elif publication in self._sections.values():
            loop = asyncio.get_running_loop()
            self._ending[publication.sid] = loop.call_later(
                ENDED_WITHIN, self._ended, participant, publication
            )

    def choose(self, publication: RemoteTrackPublication, quality: VideoQuality.ValueType) -> None:
        setting = rtc.UpdateTrackSettings(
            track_sids=[publication.sid], quality=models.VideoQuality.Name(quality)
        )
        self._room._on_loop(self._request, rtc.SignalRequest(track_setting=setting))
        publication._quality = quality
        if isinstance(publication.track, RemoteVideoTrack):
            publication.track._share = publication._share

    def exceptions(self) -> rtc.UpdateSubscription:
        """The subscriptions that differ from the rule of the room, for a server that is to check them."""
        sids = [sid for sid, wanted in self._wishes.items() if wanted != self._auto_subscribe]
        return rtc.UpdateSubscription(track_sids=sids, subscribe=not self._auto_subscribe)

    # ---- within

    def _update_other(self, info: models.ParticipantInfo) -> None:
        known = self.others.get(info.identity)
        if known is not None and known.sid != info.sid:
            if info.state == State.DISCONNECTED:
                return  # Of an earlier session of theirs.
            self.depart(known)
            known = None
        if info.state == State.DISCONNECTED:
            if known is not None:
                known._info.disconnect_reason = info.disconnect_reason
                self.depart(known)
            return
        if known is None:
            self._arrive(info)
        elif info.version >= known._info.version:
            was_active = known._info.state == State.ACTIVE
            self._describe(known, info)
            self._update_tracks(known, info.tracks)
            if not was_active and info.state == State.ACTIVE:
                self._emit("participant_active", known)

    def _arrive(self, info: models.ParticipantInfo) -> None:
        participant = self._enter(info)
        self._emit("participant_connected", participant)
        if info.state == State.ACTIVE:
            self._emit("participant_active", participant)
        self._update_tracks(participant, info.tracks)

    def _enter(self, info: models.ParticipantInfo) -> RemoteParticipant:
        participant = self.others[info.identity] = self._by_sid[info.sid] = RemoteParticipant(info)
        return participant

    def _describe(self, participant: Participant, info: models.ParticipantInfo) -> None:
        """Each change is told of as it is made, the names before the rights."""
        current, emit = participant._info, self._emit
        if current.name != info.name:
            before, current.name = current.name, info.name
            emit("participant_name_changed", participant, before, info.name)
        if current.metadata != info.metadata:
            before, current.metadata = current.metadata, info.metadata
            emit("participant_metadata_changed", participant, before, info.metadata)
        if changed := _changed(dict(current.attributes), dict(info.attributes)):
            current.attributes.clear()
            current.attributes.update(info.attributes)
            emit("participant_attributes_changed", changed, participant)
        permitted = current.permission != info.permission
        participant._info = info
        if permitted:
            emit("participant_permissions_changed", participant, info.permission)

    def _update_tracks(self, participant: RemoteParticipant, tracks: Iterable[models.TrackInfo]) -> None:
        there = set()
        for info in tracks:
            there.add(info.sid)
            publication = participant._track_publications.get(info.sid)
            if publication is None:
                publication = self._publish(participant, info)
                self._check_encryption(participant)
                self._emit("track_published", publication, participant)
                if (early := self._early.pop(info.sid, None)) is not None:
                    self.arrived(early)
                continue
            muted, publication._info = publication._info.muted, info
            participant._note_encryption(publication)
            if muted != info.muted:
                if publication.track is not None:
                    publication.track._info.muted = info.muted
                self._emit("track_muted" if info.muted else "track_unmuted", participant, publication)
        for publication in list(participant._track_publications.values()):
            if publication.sid not in there:
                self._unpublish(participant, publication)

    def _publish(self, participant: RemoteParticipant, info: models.TrackInfo) -> RemoteTrackPublication:
        publication = RemoteTrackPublication(info, self)
        participant._track_publications[info.sid] = publication
        participant._note_encryption(publication)
        self._published[info.sid] = participant, publication
        return publication

    def _unpublish(self, participant: RemoteParticipant, publication: RemoteTrackPublication) -> None:
        if publication.track is not None:
            self._unsubscribe(participant, publication)
        del participant._track_publications[publication.sid]
        participant._plain_tracks.discard(publication.sid)
        if self._find(publication.sid)[1] is publication:
            del self._published[publication.sid]
        self._wishes.pop(publication.sid, None)
        self._no_longer_ending(publication.sid)
        self._check_encryption(participant)
        self._emit("track_unpublished", publication, participant)

    def _ask(self, participant: RemoteParticipant, publication: RemoteTrackPublication, wanted: bool) -> None:
        sids = [publication.sid]
        wish = rtc.UpdateSubscription(track_sids=sids, subscribe=wanted)
        wish.participant_tracks.add(participant_sid=participant.sid, track_sids=sids)
        self._request(rtc.SignalRequest(subscription=wish))

    def _ended(self, participant: RemoteParticipant, publication: RemoteTrackPublication) -> None:
        """By the server, as it was asked to, or it never will."""
        if self._no_longer_ending(publication.sid) and self._wishes.get(publication.sid):
            self._ask(participant, publication, True)
            self._take_up(participant, publication)

    def _no_longer_ending(self, sid: str) -> bool:
        """Whether it was."""
        timer = self._ending.pop(sid, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _take_up(self, participant: RemoteParticipant, publication: RemoteTrackPublication) -> None:
        """What is wanted and comes already."""
        for (target, mid), carried in list(self._sections.items()):
            if carried is publication and publication.track is None:
                self.arrived(Arrived(target, mid, participant.sid, publication.sid))

    def _unsubscribe_if(self, participant: RemoteParticipant, publication: RemoteTrackPublication) -> None:
        if self._wishes.get(publication.sid) is False and publication.track is not None:
            self._unsubscribe(participant, publication)

    def _unsubscribe(self, participant: RemoteParticipant, publication: RemoteTrackPublication) -> None:
        track = publication.track
        publication._track = None
        publication._subscribed = False
        self._playing.pop(publication.sid, None)
        if track is not None:
            track._set_room(None)
            track._end()
            if self._encryption.media is not None:
                self._encryption.media.gone(participant.identity, publication.sid)
            self._emit("track_unsubscribed", track, publication, participant)

    def _find(self, sid: str) -> tuple[RemoteParticipant | None, RemoteTrackPublication | None]:
        """A publication and whose it is."""
        return self._published.get(sid, (None, None))

    def _check_encryption(self, participant: Participant, silently: bool = False) -> None:
        encrypted = participant._tracks_encrypted and participant._data_encrypted is not False
        if encrypted != participant._encrypted:
            participant._encrypted = encrypted
            if not silently:
                self._emit("participant_encryption_status_changed", participant, encrypted)


def _changed(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """Attributes with another value, empty for those that are gone."""
    keys: Any = {**before, **after}
    return {key: after.get(key, "") for key in keys if before.get(key) != after.get(key)}
