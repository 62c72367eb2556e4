"""One's own tracks in a room: published, muted, taken back, and published again after a full reconnect."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from livekit.protocol import models, rtc

from roomful.rtc._connection import Connection, Left
from roomful.rtc._enums import EncryptionType, ParticipantTrackPermission, TrackKind, TrackPublishOptions
from roomful.rtc._presence import Interrupted, Presence
from roomful.rtc._proto import stats_pb2 as stats
from roomful.rtc._publishing import (
    Unsupported,
    audio_bitrate,
    audio_request,
    codec_of,
    preference_of,
    video_request,
    wanted,
)
from roomful.rtc._requests import Denied, Replaced, Requests, Unanswered
from roomful.rtc.encoded_video import EncodedVideoSource
from roomful.rtc.log import logger
from roomful.rtc.track import UNPUBLISHED, LocalAudioTrack, LocalTrack
from roomful.rtc.track_publication import LocalTrackPublication

if TYPE_CHECKING:
    from roomful.rtc._media_cipher import MediaCipher
    from roomful.rtc.participant import LocalParticipant
    from roomful.rtc.room import Room

Reason = rtc.RequestResponse.Reason
#: Where a server takes no more tracks for now: attempts, and seconds between two.
ATTEMPTS, ATTEMPT_EVERY = 6, 1.0


class Refused(Exception):
    """It cannot be done; says why."""


class Sender:
    """A track in one session. Its source, where that is of pictures, encodes them for each of its senders."""

    def __init__(self, presence: Presence, source: Any) -> None:
        self.peer = presence.peer
        self.number = presence.next_track_id()
        self._session = presence.session
        self._source = source

    def set_muted(self, muted: bool) -> None:
        self.peer.set_muted(self.number, muted)

    def statistics(self) -> list[stats.RtcStats]:
        from roomful.rtc._stats import connected, reports

        publisher, _ = self.peer.statistics()
        source = f"S{'V' if hasattr(self._source, '_use_layers') else 'A'}{self.number}"
        return reports(connected(publisher, type="outbound-rtp", mediaSourceId=source))

    def use_layers(self, qualities: set[int]) -> None:
        if hasattr(self._source, "_use_layers"):
            self._source._use_layers(self.peer, self.number, qualities)

    def peer_event(self, event: Any) -> None:
        if hasattr(self._source, "_peer_event"):
            self._source._peer_event(self.peer, event)

    def lost(self) -> None:
        """With its session."""
        if hasattr(self._source, "_stop_sending"):
            self._source._stop_sending(self.peer, self.number)

    def stop(self) -> None:
        self.lost()
        self.peer.unpublish(self.number)
        self._session.negotiate()


class Publisher:
    """`emit` takes an event of the room, `me` is who publishes."""

    def __init__(self, room: Room, requests: Requests, emit: Callable[..., None]) -> None:
        self._room = room
        self._requests = requests
        self._emit = emit
        self._senders: dict[LocalTrackPublication, Sender] = {}
        self._permissions: rtc.SubscriptionPermission | None = None
        #: Of a full reconnect: what is to be published again, by the sid it had.
        self._lost: dict[str, LocalTrackPublication] = {}
        #: Whose publications are not there yet.
        self._beginning: set[LocalTrack] = set()
        #: Kind of encryption that media has, as in the protocol.
        self.encryption = 0
        #: Where it has one.
        self.cipher: MediaCipher | None = None

    @property
    def _me(self) -> LocalParticipant:
        return self._room.local_participant

    async def publish(self, track: LocalTrack, options: TrackPublishOptions) -> LocalTrackPublication:
        """Raises Refused, Unanswered, Left."""
        kept = TrackPublishOptions()
        kept.CopyFrom(options)
        connection = self._room._connection
        if connection is None:
            raise Refused("the room is not connected")
        if self.encryption not in (EncryptionType.NONE, EncryptionType.GCM):
            raise Refused("media cannot be encrypted by a custom method")
        video = track.kind == TrackKind.KIND_VIDEO
        if self.cipher is not None and video and codec_of(options) == "av1":
            raise Refused("AV1 cannot be encrypted from end to end")
        if any(one.track is track for one in (*self._senders, *self._lost.values())):
            raise Refused("the track is published already")
        if track in self._beginning:
            raise Refused("the track is being published already")
        if track._source._closed:
            raise Refused("the track's source is closed")
        self._beginning.add(track)
        try:
            info, sender = await self._send(connection, track, kept)
        finally:
            self._beginning.remove(track)
        publication = LocalTrackPublication(info)
        publication._options = kept
        self._enter(publication, track, sender)
        # Not before whoever awaits this has the publication.
        asyncio.get_running_loop().call_soon(self._published, publication, track)
        return publication

    async def unpublish(self, sid: str) -> None:
        """Raises Refused, Left."""
        publication = self._me._track_publications.get(sid) or self._lost.get(sid)
        if publication is None:
            raise Refused(f"track not found: {sid}")
        self._withdraw(publication)

    async def heard(self) -> None:
        """Returns when the others have heard the end of what was played."""
        tracks = [publication.track for publication in self._senders]
        sources = [one._source for one in tracks if isinstance(one, LocalAudioTrack) and not one.muted]
        if (left := max((source._until_heard() for source in sources), default=0.0)) > 0:
            await asyncio.sleep(left)

    def leave(self) -> None:
        """The room, and with it all tracks."""
        self._lose_senders()
        for publication in [*self._me._track_publications.values(), *self._lost.values()]:
            self._withdraw(publication)

    def permit(self, everybody: bool, permissions: Sequence[ParticipantTrackPermission]) -> None:
        self._permissions = rtc.SubscriptionPermission(all_participants=everybody)
        for one in permissions:
            self._permissions.track_permissions.add(
                participant_identity=one.participant_identity,
                all_tracks=one.allow_all,
                track_sids=one.allowed_track_sids,
            )
        self._room._on_loop(self._send_permissions)

    def published(self) -> list[rtc.TrackPublishedResponse]:
        """For a server that is to check what it knows."""
        return [rtc.TrackPublishedResponse(track=one._info) for one in self._me._track_publications.values()]

    # ---- reconnects

    def session_lost(self) -> None:
        """With the session, all tracks are out of the room."""
        self._requests.session_ended()
        lost = dict(self._me._track_publications)
        self._me._track_publications.clear()
        self._lost.update(lost)
        for publication in lost.values():
            self._emit("local_track_unpublished", publication)
        self._lose_senders()

    def resumed(self) -> None:
        """What was said as signalling broke may not have been heard."""
        self._send_permissions()
        for publication in self._me._track_publications.values():
            self._send_muted(publication, publication.muted)

    async def publish_again(self) -> None:
        """In the new session. What was lost keeps its publication, under another sid."""
        self._send_permissions()
        async with asyncio.TaskGroup() as tasks:
            for publication in list(self._lost.values()):
                tasks.create_task(self._publish_again(publication))

    async def _publish_again(self, publication: LocalTrackPublication) -> None:
        track, before, connection = publication.track, publication.sid, self._room._connection
        if before not in self._lost or track is None or connection is None:
            return
        try:
            info, sender = await self._send(connection, track, publication._options, before)
        except Exception as error:  # Whatever it is, the other tracks come back.
            foreseen = isinstance(error, Refused | Unanswered | Left)
            logger.error(
                "cannot publish track %r again: %s", track.name, error, exc_info=None if foreseen else error
            )
            if self._lost.pop(before, None) is not None:
                if self.cipher is not None:
                    self.cipher.gone(self._me.identity, before)
                track._info.sid, track._on_muted, track._statistics = UNPUBLISHED, None, None
            return
        if self._lost.pop(before, None) is None:  # It was unpublished meanwhile.
            sender.stop()
            return
        publication._info = info
        self._enter(publication, track, sender)
        self._emit("local_track_published", publication, track)
        self._emit("local_track_republished", publication, before)

    # ---- from the server

    def unpublished(self, sid: str) -> None:
        """By the server, when the right to publish is gone."""
        if (publication := self._me._track_publications.get(sid)) is not None:
            self._withdraw(publication)

    def muted(self, request: rtc.MuteTrackRequest) -> None:
        """By the server, which has told the others."""
        publication = self._me._track_publications.get(request.sid)
        track = publication.track if publication is not None else None
        if publication is not None and track is not None and track._info.muted != request.muted:
            track._info.muted = request.muted
            self._mute(publication, request.muted)

    def subscribed(self, sid: str) -> None:
        publication = self._me._track_publications.get(sid)
        if publication is not None and publication.track is not None:
            if not publication._first_subscription.done():
                publication._first_subscription.set_result(None)
            self._emit("local_track_subscribed", publication.track)

    def wanted_layers(self, update: rtc.SubscribedQualityUpdate) -> None:
        """Dynacast: which encodings anybody takes."""
        publication = self._me._track_publications.get(update.track_sid)
        sender = self._senders.get(publication) if publication is not None else None
        if publication is not None and sender is not None:
            named = {one.codec.lower(): one.qualities for one in update.subscribed_codecs}
            qualities = named.get(codec_of(publication._options), update.subscribed_qualities)
            sender.use_layers({one.quality for one in qualities if one.enabled})

    def peer_event(self, event: Any) -> None:
        """What the connection asks of a source: a key frame, another bitrate."""
        for sender in self._senders.values():
            if sender.number == event.track:
                sender.peer_event(event)

    # ---- within

    async def _send(
        self, connection: Connection, track: LocalTrack, options: TrackPublishOptions, before: str = ""
    ) -> tuple[models.TrackInfo, Sender]:
        """Announces the track, whose sid was `before`, and begins to send it.

        Raises Refused, Unanswered, Left.
        """
        attempts = ATTEMPTS
        while True:
            presence = await connection.settled()
            cid = f"TR_{secrets.token_hex(8)}"
            request, start = self._request(track, options, cid)
            try:
                info = await self._requests.add_track(connection, request)
            except Denied as denied:
                if denied.reason == Reason.LIMIT_EXCEEDED:
                    attempts = ATTEMPTS if await self._fewer_pending(presence) else attempts - 1
                    if attempts:
                        continue
                raise Refused(f"track publication refused: {denied}") from denied
            except Unanswered as error:
                raise Unanswered(f"track publication timed out, {error}") from error
            except Replaced:
                continue
            if connection.presence is not presence:
                continue
            if info.sid in self._me._track_publications:
                raise Refused("the server gave the track the name of another")
            sender = Sender(presence, track._source)
            try:
                start(sender)
                if self.cipher is not None:
                    self.cipher.sent(sender.peer, sender.number, self._me.identity, info.sid, before)
                if track.muted:
                    sender.set_muted(True)
            except BaseException:  # What the peer has, it offers sooner or later, though it be in the clear.
                sender.stop()
                if self.cipher is not None:
                    self.cipher.gone(self._me.identity, info.sid)
                raise
            presence.session.negotiate()
            return info, sender

    async def _fewer_pending(self, presence: Presence) -> bool:
        """Servers take so many tracks at a time into a negotiation: whether one has ended. Tracks that were
        given up before theirs make way after some time."""
        answers = presence.session.answers
        try:
            await presence.until(lambda: presence.session.answers > answers, ATTEMPT_EVERY)
        except TimeoutError:
            return False
        except Interrupted:
            pass  # The next session has none yet.
        return True

    def _request(
        self, track: LocalTrack, options: TrackPublishOptions, cid: str
    ) -> tuple[rtc.AddTrackRequest, Callable[[Sender], None]]:
        """With what begins to send it."""
        source, muted = track._source, track.muted
        if track.kind == TrackKind.KIND_AUDIO:
            stereo = source.num_channels == 2
            request = audio_request(
                options, cid=cid, name=track.name, muted=muted, stereo=stereo, encryption=self.encryption
            )

            def start_audio(sender: Sender) -> None:
                sender.peer.publish_audio(
                    sender.number,
                    source._queue,
                    cid=cid,
                    stream="-",
                    bitrate=audio_bitrate(options),
                    dtx=wanted(options, "dtx", True),
                    red=not request.disable_red,
                    stereo=stereo,
                )

            return request, start_audio
        try:
            request, layers = video_request(
                options,
                cid=cid,
                name=track.name,
                muted=muted,
                width=source.width,
                height=source.height,
                encryption=self.encryption,
                encoded=isinstance(source, EncodedVideoSource),
            )
        except Unsupported as error:
            raise Refused(str(error)) from error

        def start_video(sender: Sender) -> None:
            source._send_to(
                sender.peer,
                sender.number,
                cid,
                codec_of(options),
                layers,
                frozenset(options.frame_metadata_features),
                preference_of(options),
            )

        return request, start_video

    def _lose_senders(self) -> None:
        for sender in self._senders.values():
            sender.lost()
        self._senders.clear()

    def _enter(self, publication: LocalTrackPublication, track: LocalTrack, sender: Sender) -> None:
        publication._track = track
        track._info.sid = publication.sid
        track._on_muted = lambda muted: self._room._on_loop(self._muted_here, publication, muted)
        track._statistics = sender.statistics
        self._senders[publication] = sender
        self._me._track_publications[publication.sid] = publication

    def _published(self, publication: LocalTrackPublication, track: LocalTrack) -> None:
        if self._me._track_publications.get(publication.sid) is publication:
            track._set_room(self._room)
            self._emit("local_track_published", publication, track)

    def _withdraw(self, publication: LocalTrackPublication) -> None:
        lost = self._lost.pop(publication.sid, None) is not None
        self._me._track_publications.pop(publication.sid, None)
        if self.cipher is not None:
            self.cipher.gone(self._me.identity, publication.sid)
        if (sender := self._senders.pop(publication, None)) is not None:
            sender.stop()
        track = publication.track
        if track is not None:
            track._on_muted = track._statistics = None
            track._set_room(None)
        if not lost:
            self._emit("local_track_unpublished", publication)
        publication._track = None
        publication._withdrawn()

    def _muted_here(self, publication: LocalTrackPublication, muted: bool) -> None:
        self._send_muted(publication, muted)
        self._mute(publication, muted)

    def _send_muted(self, publication: LocalTrackPublication, muted: bool) -> None:
        if self._room._connection is not None:
            mute = rtc.MuteTrackRequest(sid=publication.sid, muted=muted)
            self._room._connection.send(rtc.SignalRequest(mute=mute))

    def _mute(self, publication: LocalTrackPublication, muted: bool) -> None:
        publication._info.muted = muted
        if (sender := self._senders.get(publication)) is not None:
            sender.set_muted(muted)
        event = "track_muted" if muted else "track_unmuted"
        asyncio.get_running_loop().call_soon(self._emit, event, self._me, publication)

    def _send_permissions(self) -> None:
        if self._permissions is not None and self._room._connection is not None:
            self._room._connection.send(rtc.SignalRequest(subscription_permission=self._permissions))
