"""A participant's published media tracks, from AddTrack to their end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from roomful.server import codecs, forwarding, grants, ids
from roomful.server.media import Codec, Event, Kind, Layer, LayerMode

if TYPE_CHECKING:
    from roomful.server.participant import Participant

Source = models.TrackSource
Feature = models.AudioTrackFeature
Reason = rtc.RequestResponse.Reason

#: Tracks of one participant, and bytes that describe one of them: others are told of all of it.
MAX_TRACKS = 256
MAX_REQUEST_SIZE = 8 * 1024
#: Seconds after which a track that is in no offer was given up, and makes way for another.
PENDING_FOR = 4.0
#: Publishes of a cid that wait for an earlier track with it to end.
MAX_QUEUED = 3
_MAX_CODECS = 4
_MAX_LAYERS = 4

_SOURCE_LETTERS = {
    Source.CAMERA: "C",
    Source.MICROPHONE: "M",
    Source.SCREEN_SHARE: "S",
    Source.SCREEN_SHARE_AUDIO: "s",
}
_STREAMS = {
    Source.CAMERA: "camera",
    Source.MICROPHONE: "camera",
    Source.SCREEN_SHARE: "screen",
    Source.SCREEN_SHARE_AUDIO: "screen",
}
_LAYER_MODES: dict[int, LayerMode] = {
    codecs.Mode.MODE_UNUSED: "unused",
    codecs.Mode.ONE_SPATIAL_LAYER_PER_STREAM: "one_spatial_layer_per_stream",
    codecs.Mode.MULTIPLE_SPATIAL_LAYERS_PER_STREAM: "multiple_spatial_layers_per_stream",
    codecs.Mode.ONE_SPATIAL_LAYER_PER_STREAM_INCOMPLETE_RTCP_SR: "one_spatial_layer_per_stream",
}


class Publication:
    """One track. Others learn of it once it is bound to an SDP section."""

    def __init__(
        self,
        owner: Participant,
        number: int,
        cid: str,
        info: models.TrackInfo,
        original: Publication | None = None,
    ) -> None:
        self.owner = owner
        #: The track of another room that this one shows.
        self.original = original
        self.id = number
        self.cid = cid
        self.info = info
        self.bound = False
        #: When its publisher was told of it, on the node's clock.
        self.answered = 0.0
        #: Numbers of those it is forwarded to.
        self.subscribers: set[int] = set()
        #: When the publisher was told that somebody listens, on the node's clock.
        self.told_subscribed: float | None = None
        #: Layers that the publisher was last told to send.
        self.wanted: rtc.SubscribedQualityUpdate | None = None

    @property
    def sid(self) -> str:
        return self.info.sid

    @property
    def kind(self) -> Kind:
        return "audio" if self.info.type == models.TrackType.AUDIO else "video"

    @property
    def is_microphone(self) -> bool:
        return self.info.source == Source.MICROPHONE


class Publications:
    def __init__(self, owner: Participant) -> None:
        self._owner = owner
        self._by_sid: dict[str, Publication] = {}
        self._queued: dict[str, deque[rtc.AddTrackRequest]] = {}
        self._offers_in_flight = 0

    def __iter__(self) -> Iterator[Publication]:
        return iter(list(self._by_sid.values()))

    @property
    def any_bound(self) -> bool:
        return any(publication.bound for publication in self._by_sid.values())

    def has_open_microphone(self, besides: Publication | None = None) -> bool:
        """Whether the participant can be heard speaking."""
        return any(
            it.bound and it.is_microphone and not it.info.muted and it is not besides
            for it in self._by_sid.values()
        )

    def infos(self) -> list[models.TrackInfo]:
        return [publication.info for publication in self._by_sid.values() if publication.bound]

    def get(self, sid: str) -> Publication | None:
        return self._by_sid.get(sid)

    # What the client asks for.

    def add(self, request: rtc.AddTrackRequest) -> None:
        """AddTrack: answered by track_published, or by a request_response that says why not."""
        owner = self._owner
        if request.ByteSize() > MAX_REQUEST_SIZE:
            owner.refuse(Reason.LIMIT_EXCEEDED, f"a track is described in at most {MAX_REQUEST_SIZE} bytes")
        elif request.type not in (models.TrackType.AUDIO, models.TrackType.VIDEO):
            self._refuse(request, Reason.UNSUPPORTED_TYPE, "only audio and video are published by add_track")
        elif not grants.may_publish(owner.permission, request.source):
            self._refuse(request, Reason.NOT_ALLOWED, "does not have permission to publish this source")
        elif request.sid:
            self._add_codec(request)
        elif (earlier := self._with_cid(request.cid)) is None:
            self._start(request)
        elif earlier.bound or self._offers_in_flight:
            self._queue(request)
        else:
            # Given up before it was ever offered; the client asks anew.
            self._forget(earlier)
            owner.node.media.remove_track(track=earlier.id)
            self._start(request)

    def mute(self, request: rtc.MuteTrackRequest) -> None:
        publication = self._by_sid.get(request.sid)
        if publication is None:
            self._owner.reply(
                rtc.RequestResponse(reason=Reason.NOT_FOUND, message="no such track", mute=request)
            )
            return
        self.set_muted(publication, request.muted, by_server=False)

    def set_muted(self, publication: Publication, muted: bool, *, by_server: bool) -> None:
        if publication.info.muted == muted:
            return
        owner = self._owner
        publication.info.muted = muted
        owner.node.media.mute_track(track=publication.id, muted=muted)
        if by_server:
            owner.send(rtc.SignalResponse(mute=rtc.MuteTrackRequest(sid=publication.sid, muted=muted)))
        if not self.has_open_microphone():
            owner.room.speakers.silence(owner)
        self._changed(publication, to_self=by_server)

    def update_audio(self, request: rtc.UpdateLocalAudioTrack) -> None:
        publication = self._by_sid.get(request.track_sid)
        if publication is None or publication.kind != "audio":
            self._owner.reply(
                rtc.RequestResponse(
                    reason=Reason.NOT_FOUND, message="no such audio track", update_audio_track=request
                )
            )
            return
        info = publication.info
        _set_audio_features(info, set(request.features))
        self._changed(publication)

    def update_video(self, request: rtc.UpdateLocalVideoTrack) -> None:
        publication = self._by_sid.get(request.track_sid)
        if publication is None or publication.kind != "video":
            self._owner.reply(
                rtc.RequestResponse(
                    reason=Reason.NOT_FOUND, message="no such video track", update_video_track=request
                )
            )
            return
        publication.info.width, publication.info.height = request.width, request.height
        self._changed(publication)

    def update_layers(self, request: rtc.UpdateVideoLayers) -> None:
        """What clients sent before update_video_track."""
        publication = self._by_sid.get(request.track_sid)
        if publication is None or publication.kind != "video":
            self._owner.refuse(Reason.NOT_FOUND, "no such video track")
            return
        sizes = {layer.quality: layer for layer in request.layers}
        for layer in publication.info.layers:
            if new := sizes.get(layer.quality):
                layer.width, layer.height = new.width, new.height
        self._changed(publication)

    # What the media plane and the rules of the room say.

    def offer_started(self) -> None:
        self._offers_in_flight += 1

    def offer_settled(self) -> None:
        """Answered or rejected: what it did not bind, it never will."""
        self._offers_in_flight = max(0, self._offers_in_flight - 1)
        if self._offers_in_flight:
            return
        for cid in list(self._queued):
            earlier = self._with_cid(cid)
            if earlier is not None and not earlier.bound:
                self.remove(earlier, tell_publisher=False)

    def bound(self, publication: Publication, event: Event.TrackBound) -> None:
        """The track has a section: the first time others learn of it."""
        owner, info = self._owner, publication.info
        mime = codecs.spelled(event.mime)
        codec = next((it for it in info.codecs if it.mime_type.lower() == mime.lower()), None)
        if codec is None:
            codec = next((it for it in info.codecs if not it.mime_type), None)
        if codec is None:
            codec = info.codecs.add()
        codec.mime_type, codec.mid = mime, event.mid
        for rid, quality, ssrc in event.layers:
            for layer in (*codec.layers, *info.layers):
                if layer.quality == quality:
                    layer.rid, layer.ssrc = rid, ssrc
        first = not publication.bound
        if first:
            publication.bound = True
            info.mime_type, info.mid = mime, event.mid
        self._changed(publication)
        if first:
            owner.room.track_published(publication)

    def remove(self, publication: Publication, *, tell_publisher: bool) -> None:
        """Ends a track. `tell_publisher`: it was the server's decision."""
        owner = self._owner
        if self._by_sid.get(publication.sid) is not publication:
            return
        if tell_publisher:
            owner.send(
                rtc.SignalResponse(track_unpublished=rtc.TrackUnpublishedResponse(track_sid=publication.sid))
            )
        self._forget(publication)
        owner.node.media.remove_track(track=publication.id)
        if publication.bound:
            owner.touch()
            owner.room.announce(owner, to_self=tell_publisher)
            owner.room.track_unpublished(publication)
        self._next(publication.cid)

    def ended(self, publication: Publication) -> None:
        """Its section went away in the client's own SDP."""
        self.remove(publication, tell_publisher=False)

    def permission_changed(self) -> None:
        """Ends what may not be published any more."""
        owner = self._owner
        for cid, waiting in list(self._queued.items()):
            for request in [it for it in waiting if not grants.may_publish(owner.permission, it.source)]:
                waiting.remove(request)
                self._refuse(request, Reason.NOT_ALLOWED, "does not have permission to publish this source")
            if not waiting:
                del self._queued[cid]
        for publication in list(self._by_sid.values()):
            if not grants.may_publish(owner.permission, publication.info.source):
                self.remove(publication, tell_publisher=True)

    def show(self, original: Publication, number: int) -> None:
        """A track of another room is published here too."""
        owner, info = self._owner, models.TrackInfo()
        info.CopyFrom(original.info)
        publication = Publication(owner, number, "", info, original)
        publication.bound = True
        self._by_sid[info.sid] = publication
        owner.node.tracks[publication.id] = publication
        owner.room.tracks[info.sid] = publication
        owner.room.track_expected(publication)
        owner.touch()
        owner.room.announce(owner)
        owner.room.track_published(publication)

    def shown_changed(self, original: Publication) -> None:
        """What such a track is a mirror of has changed."""
        if shown := self._by_sid.get(original.sid):
            shown.info.CopyFrom(original.info)
            if shown.info.muted and not self.has_open_microphone():
                self._owner.room.speakers.silence(self._owner)
            self._changed(shown)

    def leave_room(self) -> list[Publication]:
        """The owner goes to another room with its tracks. Returns those that others knew."""
        for publication in self:
            self._withdraw(publication)
        self._owner.room.speakers.silence(self._owner)
        return [publication for publication in self if publication.bound]

    def enter_room(self) -> None:
        """They are in the owner's room, which it has just come to."""
        room = self._owner.room
        for publication in self:
            room.tracks[publication.sid] = publication
            room.track_expected(publication)

    def listened_to(self, publication: Publication) -> None:
        """Somebody subscribes; the publisher is told of the first."""
        if publication.told_subscribed is None:
            self._tell_subscribed(publication)

    def tell_again(self, missed_since: float) -> None:
        """To a client that may have missed it: tracks it waits for, that somebody listens to the others, and
        the layers wanted of them."""
        for publication in self:
            if not publication.bound:
                self._answer(publication.cid, publication)
                continue
            if publication.told_subscribed is not None and publication.told_subscribed >= missed_since:
                self._tell_subscribed(publication)
            if publication.wanted is not None:
                self._owner.send(rtc.SignalResponse(subscribed_quality_update=publication.wanted))

    def close(self) -> list[Publication]:
        """The participant leaves: forgets all, without telling anybody. Returns the tracks others knew."""
        self._queued.clear()
        publications = list(self._by_sid.values())
        for publication in publications:
            self._forget(publication)
            if publication.original is not None:
                self._owner.node.media.remove_track(track=publication.id)
        return [publication for publication in publications if publication.bound]

    # Inside.

    def _with_cid(self, cid: str) -> Publication | None:
        return next((it for it in self._by_sid.values() if it.cid == cid), None)

    def _refuse(self, request: rtc.AddTrackRequest, reason: rtc.RequestResponse.Reason, message: str) -> None:
        self._owner.reply(rtc.RequestResponse(reason=reason, message=message, add_track=request))

    def _queue(self, request: rtc.AddTrackRequest) -> None:
        waiting = self._queued.setdefault(request.cid, deque())
        if len(waiting) >= MAX_QUEUED or len(self._queued) > MAX_TRACKS:
            self._refuse(request, Reason.LIMIT_EXCEEDED, "this track is queued too often")
            return
        waiting.append(request)
        self._refuse(request, Reason.QUEUED, "published once the earlier track of this cid has ended")

    def _next(self, cid: str) -> None:
        waiting = self._queued.get(cid)
        if not waiting:
            return
        request = waiting.popleft()
        if not waiting:
            del self._queued[cid]
        self.add(request)

    def _start(self, request: rtc.AddTrackRequest) -> None:
        owner = self._owner
        if len(self._by_sid) >= MAX_TRACKS and not self._make_way():
            self._refuse(request, Reason.LIMIT_EXCEEDED, f"at most {MAX_TRACKS} tracks a participant")
            return
        info = self._describe(request)
        if info is None:
            self._refuse(request, Reason.UNSUPPORTED_TYPE, "no codec of this kind is enabled")
            return
        publication = Publication(owner, owner.node.ids.number(), request.cid, info)
        self._by_sid[info.sid] = publication
        owner.node.tracks[publication.id] = publication
        owner.room.tracks[info.sid] = publication
        self._expect(publication, request.cid, list(info.codecs))
        owner.room.track_expected(publication)
        self._answer(request.cid, publication)

    def _make_way(self) -> bool:
        """For one more track. An offer on its way may have any of those that are pending."""
        pending = [publication for publication in self if not publication.bound]
        oldest = min(pending, key=lambda publication: publication.answered, default=None)
        if oldest is None or self._offers_in_flight:
            return False
        if self._owner.node.clock() - oldest.answered < PENDING_FOR:
            return False
        self.remove(oldest, tell_publisher=True)
        return True

    def _add_codec(self, request: rtc.AddTrackRequest) -> None:
        """The backup codec of a track that is there already."""
        publication = self._by_sid.get(request.sid)
        if publication is None:
            self._refuse(request, Reason.NOT_FOUND, "no such track")
            return
        added = []
        for described in self._codecs(request, publication.kind):
            known = next((it for it in publication.info.codecs if it.mime_type == described.mime_type), None)
            if known is None:
                if len(publication.info.codecs) >= _MAX_CODECS:
                    self._refuse(request, Reason.LIMIT_EXCEEDED, f"at most {_MAX_CODECS} codecs a track")
                    return
                known = publication.info.codecs.add()
            known.CopyFrom(described)
            added.append(known)
        self._expect(publication, request.cid, added)
        self._answer(request.cid, publication)

    def _tell_subscribed(self, publication: Publication) -> None:
        publication.told_subscribed = self._owner.node.clock()
        told = rtc.TrackSubscribed(track_sid=publication.sid)
        self._owner.send(rtc.SignalResponse(track_subscribed=told))

    def _answer(self, cid: str, publication: Publication) -> None:
        publication.answered = self._owner.node.clock()
        self._owner.send(
            rtc.SignalResponse(track_published=rtc.TrackPublishedResponse(cid=cid, track=publication.info))
        )

    def _expect(self, publication: Publication, cid: str, variants: list[models.SimulcastCodecInfo]) -> None:
        owner, info = self._owner, publication.info
        owner.node.media.expect_track(
            participant=owner.id,
            track=publication.id,
            sid=info.sid,
            stream=info.stream,
            kind=publication.kind,
            cid=cid,
            codecs=[
                Codec(
                    mime=variant.mime_type.lower(),
                    cid=variant.cid,
                    layer_mode=_LAYER_MODES[variant.video_layer_mode],
                    layers=[
                        Layer(
                            quality=layer.quality,
                            rid=layer.rid,
                            width=layer.width,
                            height=layer.height,
                            bitrate=layer.bitrate,
                            ssrc=layer.ssrc,
                        )
                        for layer in variant.layers
                    ],
                )
                for variant in variants
            ],
            microphone=publication.is_microphone,
            stereo=Feature.TF_STEREO in info.audio_features,
            dtx=Feature.TF_NO_DTX not in info.audio_features,
            red=publication.kind == "audio" and not info.disable_red,
            encrypted=info.encryption != models.Encryption.NONE,
            muted=info.muted,
        )

    def _describe(self, request: rtc.AddTrackRequest) -> models.TrackInfo | None:
        kind: Kind = "audio" if request.type == models.TrackType.AUDIO else "video"
        variants = self._codecs(request, kind)
        if not variants:
            return None
        letters = kind[0].upper() + _SOURCE_LETTERS.get(request.source, "")
        info = models.TrackInfo(
            sid=self._owner.node.ids.sid(ids.TRACK + letters),
            type=request.type,
            name=request.name,
            muted=request.muted,
            source=request.source,
            disable_red=request.disable_red,
            encryption=request.encryption,
            stream=request.stream or _STREAMS.get(request.source, "unknown"),
            backup_codec_policy=request.backup_codec_policy,
            packet_trailer_features=request.packet_trailer_features,
            codecs=variants,
            mime_type=variants[0].mime_type,
        )
        info.version.unix_micro = int(self._owner.node.wall() * 1e6)
        if kind == "audio":
            features = set(request.audio_features)
            if request.stereo:
                features.add(Feature.TF_STEREO)
            if request.disable_dtx:
                features.add(Feature.TF_NO_DTX)
            _set_audio_features(info, features)
            if request.backup_codec_policy == models.BackupCodecPolicy.PREFER_REGRESSION:
                info.backup_codec_policy = models.BackupCodecPolicy.SIMULCAST
        else:
            info.width, info.height = request.width, request.height
            info.layers.extend(variants[0].layers)
            info.simulcast = len(info.layers) > 1
        return info

    def _codecs(self, request: rtc.AddTrackRequest, kind: Kind) -> list[models.SimulcastCodecInfo]:
        """The codec variants asked for, with disabled ones replaced; one without a name if none is given."""
        allowed = self._owner.room.codecs
        if not any(mime.startswith(f"{kind}/") for mime in allowed):
            return []
        asked = list(request.simulcast_codecs)[:_MAX_CODECS] or [rtc.SimulcastCodec(cid=request.cid)]
        variants: dict[str, models.SimulcastCodecInfo] = {}
        for variant in asked:
            mime = codecs.usable(codecs.mime_of(variant.codec, kind), kind, allowed)
            if mime in variants:
                continue
            layers = _layers(variant.layers or request.layers) if kind == "video" else []
            variants[mime] = models.SimulcastCodecInfo(
                mime_type=codecs.spelled(mime),
                cid=variant.cid,
                layers=layers,
                video_layer_mode=codecs.layer_mode(mime, kind, variant.video_layer_mode),
            )
        return list(variants.values())

    def _changed(self, publication: Publication, *, to_self: bool = False) -> None:
        publication.info.version.unix_micro = int(self._owner.node.wall() * 1e6)
        if publication.bound:
            self._owner.touch()
            self._owner.room.announce(self._owner, to_self=to_self)
            forwarding.track_changed(publication)

    def _forget(self, publication: Publication) -> None:
        owner = self._owner
        if not self.has_open_microphone(besides=publication):
            owner.room.speakers.silence(owner)
        self._withdraw(publication)
        self._by_sid.pop(publication.sid, None)
        owner.node.tracks.pop(publication.id, None)
        forwarding.track_ended(publication)

    def _withdraw(self, publication: Publication) -> None:
        """Nobody in the room has it any more."""
        owner = self._owner
        for number in list(publication.subscribers):
            if subscriber := owner.node.participants.get(number):
                subscriber.subscriptions.stopped(publication)
        owner.room.tracks.pop(publication.sid, None)
        owner.room.track_forgotten(publication)


def _layers(given: Iterable[models.VideoLayer]) -> list[models.VideoLayer]:
    """By quality, one each; what is no quality is left out."""
    by_quality: dict[int, models.VideoLayer] = {}
    for layer in given:
        if layer.quality in (models.VideoQuality.LOW, models.VideoQuality.MEDIUM, models.VideoQuality.HIGH):
            by_quality.setdefault(layer.quality, layer)
    ordered = [models.VideoLayer() for _ in by_quality]
    for index, (copy, quality) in enumerate(zip(ordered, sorted(by_quality), strict=True)):
        copy.CopyFrom(by_quality[quality])
        copy.spatial_layer = index
    return ordered[:_MAX_LAYERS]


def _set_audio_features(info: models.TrackInfo, features: set[models.AudioTrackFeature]) -> None:
    """With the older fields that mean the same."""
    del info.audio_features[:]
    info.audio_features.extend(sorted(features & set(Feature.values())))
    info.stereo = Feature.TF_STEREO in features
    info.disable_dtx = Feature.TF_NO_DTX in features
