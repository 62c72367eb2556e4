"""Data tracks: what a participant publishes, and the handles under which it receives those of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from roomful.server import ids

if TYPE_CHECKING:
    from roomful.server.participant import Participant

Reason = rtc.RequestResponse.Reason

MAX_HANDLE = 65_535
#: Bytes.
MAX_NAME = 256
MAX_TRACKS = 256


class DataTrack:
    def __init__(self, owner: Participant, number: int, info: models.DataTrackInfo) -> None:
        self.owner = owner
        self.id = number
        self.info = info
        self.subscribers: set[int] = set()

    @property
    def sid(self) -> str:
        return self.info.sid


class DataTracks:
    def __init__(self, owner: Participant) -> None:
        self._owner = owner
        #: Own tracks by the handle in our packets.
        self.published: dict[int, DataTrack] = {}
        #: Others' tracks by the handle we receive them under.
        self._received: dict[int, DataTrack] = {}
        self._wanted: set[str] = set()
        self._next_handle = 1

    def infos(self) -> list[models.DataTrackInfo]:
        return [track.info for track in self.published.values()]

    # As a publisher.

    def publish(self, request: rtc.PublishDataTrackRequest) -> None:
        owner = self._owner
        if refusal := self._reason_to_refuse(request):
            reason, message = refusal
            owner.reply(
                rtc.RequestResponse(reason=reason, message=message, publish_data_track=_short(request))
            )
            return
        info = models.DataTrackInfo(
            pub_handle=request.pub_handle,
            sid=owner.node.ids.sid(ids.DATA_TRACK),
            name=request.name,
            encryption=request.encryption,
        )
        if request.HasField("frame_encoding"):
            info.frame_encoding.CopyFrom(request.frame_encoding)
        if request.HasField("schema"):
            info.schema.CopyFrom(request.schema)
        track = DataTrack(owner, owner.node.ids.number(), info)
        self.published[request.pub_handle] = track
        owner.room.data_tracks[info.sid] = track
        owner.node.media.publish_data_track(
            participant=owner.id, track=track.id, sid=info.sid, publisher_handle=request.pub_handle
        )
        owner.send(rtc.SignalResponse(publish_data_track_response=rtc.PublishDataTrackResponse(info=info)))
        owner.touch()
        owner.room.announce(owner, to_self=False)
        self._offer([track])
        owner.room.changed(owner)

    def unpublish(self, request: rtc.UnpublishDataTrackRequest) -> None:
        track = self.published.get(request.pub_handle)
        if track is None:
            self._owner.reply(
                rtc.RequestResponse(
                    reason=Reason.NOT_FOUND, message="no such data track", unpublish_data_track=request
                )
            )
            return
        self._end(track)
        self._owner.touch()
        self._owner.room.announce(self._owner, to_self=False)
        self._owner.room.changed(self._owner)

    def unpublish_all(self) -> None:
        """The right to publish data was taken away."""
        for track in list(self.published.values()):
            self._end(track)

    # As a subscriber.

    def update(self, request: rtc.UpdateDataSubscription) -> None:
        wanted: list[DataTrack] = []
        unknown: list[str] = []
        for update in request.updates:
            track = self._owner.room.data_tracks.get(update.track_sid)
            visible = track is not None and track.owner is not self._owner
            if track is None or not visible or track.owner.permission.hidden:
                unknown.append(update.track_sid)
            elif not update.subscribe:
                self._wanted.discard(track.sid)
                self.unsubscribe(track)
            elif not self._may_receive(track):
                self._owner.refuse(Reason.NOT_ALLOWED, f"may not subscribe to {track.sid}")
            else:
                wanted.append(track)
        for sid in unknown[:MAX_TRACKS]:
            self._owner.refuse(Reason.NOT_FOUND, f"no such data track: {sid[:64]}")
        if wanted:
            self.subscribe(wanted)

    def subscribe(self, tracks: list[DataTrack]) -> None:
        """The client learns of a handle before packets with it come."""
        fresh: dict[int, DataTrack] = {}
        for track in tracks:
            self._wanted.add(track.sid)
            if self._owner.id in track.subscribers or not self._may_receive(track):
                continue
            if handle := self._free_handle():
                fresh[handle] = self._received[handle] = track
                track.subscribers.add(self._owner.id)
        if not fresh:
            return
        self._send_handles()
        for handle, track in fresh.items():
            self._owner.node.media.set_data_subscription(
                participant=self._owner.id, track=track.id, handle=handle
            )

    def unsubscribe(self, track: DataTrack) -> None:
        handle = next((handle for handle, it in self._received.items() if it is track), None)
        if handle is None:
            return
        del self._received[handle]
        track.subscribers.discard(self._owner.id)
        self._owner.node.media.set_data_subscription(participant=self._owner.id, track=track.id, handle=None)
        self._send_handles()

    def permission_changed(self, tracks: list[DataTrack]) -> None:
        """These may be allowed or not allowed any more."""
        for track in tracks:
            if self._owner.id in track.subscribers and not self._may_receive(track):
                self.unsubscribe(track)
        self.subscribe([track for track in tracks if track.sid in self._wanted])

    def tell_again(self) -> None:
        """To a client that may have missed it."""
        if self._received:
            self._send_handles()

    def leave_room(self) -> None:
        """The owner goes to another room with its tracks."""
        owner = self._owner
        for track in self._received.values():
            track.subscribers.discard(owner.id)
        self._received.clear()
        self._wanted.clear()
        for track in self.published.values():
            owner.room.data_tracks.pop(track.sid, None)
            self._withdraw(track)

    def enter_room(self) -> None:
        """They are in the owner's room, which it has just come to."""
        owner = self._owner
        for track in self.published.values():
            owner.room.data_tracks[track.sid] = track
        self._offer(list(self.published.values()))

    def close(self) -> None:
        for track in self._received.values():
            track.subscribers.discard(self._owner.id)
        self._received.clear()
        for track in list(self.published.values()):
            self._end(track, tell_publisher=False)

    # Inside.

    def _reason_to_refuse(
        self, request: rtc.PublishDataTrackRequest
    ) -> tuple[rtc.RequestResponse.Reason, str] | None:
        config = self._owner.node.config
        names = {track.info.name for track in self.published.values()}
        longest = config.limit.max_data_track_custom_encoding_length
        custom = (request.frame_encoding.custom, request.schema.encoding.custom)
        if not config.enable_data_tracks:
            return Reason.NOT_ALLOWED, "data tracks are disabled"
        if not self._owner.permission.can_publish_data:
            return Reason.NOT_ALLOWED, "does not have permission to publish data"
        if not 0 < request.pub_handle <= MAX_HANDLE:
            return Reason.INVALID_HANDLE, f"a handle is 1 to {MAX_HANDLE}"
        if not 0 < len(request.name.encode()) <= MAX_NAME:
            return Reason.INVALID_NAME, f"a name has 1 to {MAX_NAME} bytes"
        if len(request.schema.name.encode()) > MAX_NAME or any(len(it) > longest for it in custom):
            return Reason.INVALID_REQUEST, "the encoding or schema name is too long"
        if request.pub_handle in self.published:
            return Reason.DUPLICATE_HANDLE, "this handle is in use"
        if request.name in names:
            return Reason.DUPLICATE_NAME, "this name is in use"
        if len(self.published) >= MAX_TRACKS:
            return Reason.LIMIT_EXCEEDED, f"at most {MAX_TRACKS} data tracks a participant"
        return None

    def _may_receive(self, track: DataTrack) -> bool:
        owner = self._owner
        return (
            owner.permission.can_subscribe
            and not track.owner.permission.hidden
            and track.owner.allows(owner, track.sid)
        )

    def _end(self, track: DataTrack, *, tell_publisher: bool = True) -> None:
        owner = self._owner
        self.published.pop(track.info.pub_handle, None)
        owner.room.data_tracks.pop(track.sid, None)
        owner.node.media.unpublish_data_track(track=track.id)
        if tell_publisher:
            owner.send(
                rtc.SignalResponse(
                    unpublish_data_track_response=rtc.UnpublishDataTrackResponse(info=track.info)
                )
            )
        self._withdraw(track)

    def _offer(self, tracks: list[DataTrack]) -> None:
        """To those who take data tracks by default."""
        owner = self._owner
        if tracks and not owner.permission.hidden:
            for other in owner.room.others(owner):
                if other.auto_subscribe_data_track:
                    other.data_tracks.subscribe(tracks)

    def _withdraw(self, track: DataTrack) -> None:
        for other in self._owner.room.others(self._owner):
            other.data_tracks._wanted.discard(track.sid)
            if other.id in track.subscribers:
                other.data_tracks.unsubscribe(track)

    def _free_handle(self) -> int | None:
        """Handles go round, so that a late packet of an old track is not taken for a new one's."""
        for _ in range(MAX_HANDLE):
            handle = self._next_handle
            self._next_handle = handle % MAX_HANDLE + 1
            if handle not in self._received:
                return handle
        return None

    def _send_handles(self) -> None:
        handles = rtc.DataTrackSubscriberHandles()
        for handle, track in self._received.items():
            entry = handles.sub_handles[handle]
            entry.publisher_identity = track.owner.identity
            entry.publisher_sid = track.owner.sid
            entry.track_sid = track.sid
        self._owner.send(rtc.SignalResponse(data_track_subscriber_handles=handles))


def _short(request: rtc.PublishDataTrackRequest) -> rtc.PublishDataTrackRequest:
    """What the client needs to know its request again, however large the rest was."""
    return rtc.PublishDataTrackRequest(pub_handle=request.pub_handle, name=request.name[:MAX_NAME])
