"""All data tracks of a room: those that we publish, and those that others do."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from livekit.protocol import models, rtc

from roomful.rtc._data_track_packets import Assembler, Extensions, Packet, Packetizer
from roomful.rtc._port import PacketPort
from roomful.rtc.data_track import (
    DataTrackFrame,
    DataTrackInfo,
    DataTrackStream,
    LocalDataTrack,
    PublishDataTrackError,
    PushFrameError,
    RemoteDataTrack,
    SubscribeDataTrackError,
)
from roomful.rtc.log import logger

#: Seconds.
PUBLISH_TIMEOUT = 10.0
SUBSCRIBE_TIMEOUT = 10.0

MAX_HANDLE = 0xFFFF

DISOWNED = "The server says of an encrypted track that it is not, or the other way round"

_Reason = rtc.RequestResponse.Reason
_REFUSALS = {
    _Reason.NOT_ALLOWED: "Data track publishing unauthorized",
    _Reason.DUPLICATE_NAME: "Track name already taken",
    _Reason.INVALID_NAME: "Track name invalid",
    _Reason.LIMIT_EXCEEDED: "Data track publication limit reached",
}


class FrameCipher(Protocol):
    """Encrypts frames from end to end."""

    def encrypt(self, payload: bytes) -> tuple[int, bytes, bytes]:
        """The index of the key, the IV and the encrypted payload; raises ValueError without a key."""
        ...

    def decrypt(self, identity: str, key_index: int, iv: bytes, payload: bytes) -> bytes | None:
        """The payload; None if it can't be decrypted."""
        ...


class DataTracks:
    """Data tracks of a room, over reconnects."""

    def __init__(self, port: PacketPort, emit: Callable[..., None]) -> None:
        self.port = port
        self.emit = emit
        #: Set while the room is encrypted from end to end.
        self.cipher: FrameCipher | None = None
        self._own: dict[int, Publication] = {}
        self._publishing: dict[int, asyncio.Future[Publication]] = {}
        self._last_handle = 0
        #: Of others, by sid.
        self._others: dict[str, Subscription] = {}
        #: Their sids in order, by who publishes them.
        self._sids: dict[str, dict[str, None]] = {}
        #: Sids, by the handle in packets that come.
        self._handles: dict[int, str] = {}

    # Publishing.

    async def publish(self, name: str) -> LocalDataTrack:
        """
        Raises:
            PublishDataTrackError: the server refuses or doesn't answer, or there is no connection.
        """
        handle = self._free_handle()
        answer: asyncio.Future[Publication] = asyncio.get_running_loop().create_future()
        self._publishing[handle] = answer
        try:
            self._ask_to_publish(handle, name, self.cipher is not None)
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                return LocalDataTrack(await answer)
        except TimeoutError:
            self._give_up(handle)
            raise PublishDataTrackError("Publish data track timed-out") from None
        except asyncio.CancelledError:
            self._give_up(handle)
            raise
        finally:
            del self._publishing[handle]

    def published(self) -> list[rtc.PublishDataTrackResponse]:
        """Our tracks, as the server is told when a session is resumed."""
        return [
            rtc.PublishDataTrackResponse(
                info=models.DataTrackInfo(
                    pub_handle=handle,
                    sid=track.info.sid,
                    name=track.info.name,
                    encryption=_encryption(track.info.uses_e2ee),
                )
            )
            for handle, track in self._own.items()
        ]

    def _free_handle(self) -> int:
        for _ in range(MAX_HANDLE):
            self._last_handle = self._last_handle % MAX_HANDLE + 1
            if self._last_handle not in self._own and self._last_handle not in self._publishing:
                return self._last_handle
        raise PublishDataTrackError("Data track publication limit reached")

    def _ask_to_publish(self, handle: int, name: str, encrypted: bool) -> None:
        request = rtc.PublishDataTrackRequest(pub_handle=handle, name=name, encryption=_encryption(encrypted))
        try:
            self.port._signal(rtc.SignalRequest(publish_data_track_request=request))
        except Exception as error:
            raise PublishDataTrackError("Room disconnected") from error

    def _ask_to_unpublish(self, handle: int) -> None:
        request = rtc.UnpublishDataTrackRequest(pub_handle=handle)
        with contextlib.suppress(Exception):  # without a connection there is nothing to unpublish
            self.port._signal(rtc.SignalRequest(unpublish_data_track_request=request))

    def _give_up(self, handle: int) -> None:
        self._own.pop(handle, None)
        self._ask_to_unpublish(handle)

    def withdraw(self, publication: Publication) -> None:
        if self._own.pop(publication.handle, None) is not None:
            self._ask_to_unpublish(publication.handle)

    # Answers of the server.

    def handle_response(self, message: rtc.SignalResponse) -> bool:
        """Takes what concerns data tracks; False for anything else."""
        match message.WhichOneof("message"):
            case "publish_data_track_response":
                self._published(message.publish_data_track_response.info)
            case "unpublish_data_track_response":
                track = self._own.pop(message.unpublish_data_track_response.info.pub_handle, None)
                if track is not None:
                    track.published = False
            case "data_track_subscriber_handles":
                handles = message.data_track_subscriber_handles.sub_handles
                self._handles = {handle: track.track_sid for handle, track in handles.items()}
                for sid in self._handles.values():
                    if sid in self._others:
                        self._others[sid].has_handle()
            case "request_response":
                response = message.request_response
                match response.WhichOneof("request"):
                    case "publish_data_track":
                        self._refused(response)
                    case "unpublish_data_track":
                        pass  # it had ended
                    case _:
                        return False
            case _:
                return False
        return True

    def _published(self, info: models.DataTrackInfo) -> None:
        handle = info.pub_handle
        disowned = _info(info).uses_e2ee != (self.cipher is not None)
        if (answer := self._publishing.get(handle)) is not None:
            if answer.done():
                return
            if disowned:
                self._ask_to_unpublish(handle)
                answer.set_exception(PublishDataTrackError(DISOWNED))
            else:
                self._own[handle] = Publication(self, handle, info)
                answer.set_result(self._own[handle])
        elif (track := self._own.get(handle)) is not None:
            if disowned:
                logger.warning("the data track %r is not published again: %s", track.info.name, DISOWNED)
                track.unpublish()
                return
            track.info.sid = info.sid
            track.republishing = False
        else:
            self._ask_to_unpublish(handle)

    def _refused(self, response: rtc.RequestResponse) -> None:
        handle = response.publish_data_track.pub_handle
        reason = _REFUSALS.get(response.reason) or response.message or "Data track publishing refused"
        if (answer := self._publishing.get(handle)) is not None:
            if not answer.done():
                answer.set_exception(PublishDataTrackError(reason))
        elif (track := self._own.pop(handle, None)) is not None:
            track.published = False
            logger.warning("the data track %r is not published again: %s", track.info.name, reason)

    # Others' tracks.

    def participants(self, infos: Sequence[models.ParticipantInfo], *, all_of_them: bool = False) -> None:
        """Takes an update of others.

        Args:
            all_of_them: who isn't in it has left, as in the answer to a join.
        """
        if all_of_them:
            there = {info.identity for info in infos}
            for identity in self._sids.keys() - there:
                self.participant_left(identity)
        for info in infos:
            if info.state == models.ParticipantInfo.State.DISCONNECTED:
                self.participant_left(info.identity)
            else:
                self._update(info.identity, info.data_tracks)

    def participant_left(self, identity: str) -> None:
        self._update(identity, ())

    def _update(self, identity: str, infos: Iterable[models.DataTrackInfo]) -> None:
        now = {info.sid: info for info in infos}
        before = self._sids.pop(identity, {})
        there = {sid: None for sid in before if sid in now}
        gone = {self._others[sid].likeness: sid for sid in before if sid not in there}
        for sid, info in now.items():
            if sid in self._others:
                continue
            there[sid] = None
            # A publisher that had to connect anew has its tracks again under the same handles.
            old = gone.pop(_likeness(info), None)
            if old is not None:
                track = self._others[sid] = self._others.pop(old)
                track.reassigned(sid)
            else:
                track = self._others[sid] = Subscription(self, identity, info)
                self.emit("data_track_published", RemoteDataTrack(track))
        if there:
            self._sids[identity] = there
        for sid in before:
            if sid not in there and (ended := self._others.pop(sid, None)) is not None:
                ended.unpublished()
                self.emit("data_track_unpublished", sid)

    def handle(self, packet: bytes) -> None:
        """Takes a packet of the data track channel."""
        try:
            parsed = Packet.from_bytes(packet)
        except ValueError as error:
            logger.debug("a packet is dropped: %s", error)
            return
        track = self._others.get(self._handles.get(parsed.handle, ""))
        if track is not None:
            track.receive(parsed)

    def subscribe(self, sid: str, wanted: bool) -> None:
        update = rtc.UpdateDataSubscription.Update(track_sid=sid, subscribe=wanted)
        request = rtc.UpdateDataSubscription(updates=[update])
        with contextlib.suppress(Exception):  # without a connection it is asked for when there is one
            self.port._signal(rtc.SignalRequest(update_data_subscription=request))

    # Connections.

    def reconnected(self) -> None:
        """A new session has begun: publishes and subscribes again what was."""
        self._handles.clear()
        self._fail_publishing()
        for handle, track in list(self._own.items()):
            track.republishing = True
            try:
                self._ask_to_publish(handle, track.info.name, track.info.uses_e2ee)
            except PublishDataTrackError:
                logger.warning("the data track %r is not published again", track.info.name)
        for sid, subscription in self._others.items():
            if subscription.subscribed:
                self.subscribe(sid, True)

    def close(self) -> None:
        """The room is disconnected: all tracks end."""
        self._fail_publishing()
        for publication in self._own.values():
            publication.published = False
        for subscription in self._others.values():
            subscription.unpublished("Cannot subscribe to data track when disconnected")
        self._own.clear()
        self._others.clear()
        self._sids.clear()
        self._handles.clear()

    def _fail_publishing(self) -> None:
        for answer in self._publishing.values():
            if not answer.done():
                answer.set_exception(PublishDataTrackError("Room disconnected"))


class Publication:
    """A track that we publish."""

    def __init__(self, tracks: DataTracks, handle: int, info: models.DataTrackInfo) -> None:
        self.handle = handle
        self.info = _info(info)
        self.published = True
        #: Published as far as the program is concerned, but the server hasn't answered yet.
        self.republishing = False
        self._tracks = tracks
        self._packetizer = Packetizer(handle)
        self._loop = asyncio.get_running_loop()

    def push(self, frame: DataTrackFrame) -> None:
        if not self.published:
            raise PushFrameError("Failed to publish frame: track unpublished")
        if self.republishing:
            raise PushFrameError("Failed to publish frame: queue full")
        payload, encryption, timestamp = bytes(memoryview(frame.payload)), None, frame.user_timestamp
        if timestamp is not None and not 0 <= timestamp < 2**64:
            raise ValueError(f"user_timestamp is out of range: {timestamp}")
        if (cipher := self._tracks.cipher) is not None:
            try:
                key_index, iv, payload = cipher.encrypt(payload)
            except ValueError as error:
                raise PushFrameError(f"Failed to publish frame: {error}") from error
            encryption = (key_index, iv)
        try:
            packets = self._packetizer.packets(payload, Extensions(timestamp, encryption))
        except ValueError as error:
            raise PushFrameError(f"Failed to publish frame: {error}") from error
        for packet in packets:
            if not self._tracks.port._send_track_packet(packet):
                raise PushFrameError("Failed to publish frame: queue full")

    def unpublish(self) -> None:
        self.published = False
        self._tracks.withdraw(self)

    def abandon(self) -> None:
        """Its track is held by nobody; in whatever thread that was noticed."""
        if self.published:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.unpublish)


class Subscription:
    """A track of another participant, which may be subscribed to."""

    def __init__(self, tracks: DataTracks, publisher_identity: str, info: models.DataTrackInfo) -> None:
        self.publisher_identity = publisher_identity
        self.info = _info(info)
        self.published = True
        self.assembler = Assembler()
        # Weak: a stream that nobody holds is closed.
        self.streams: weakref.WeakSet[DataTrackStream] = weakref.WeakSet()
        #: What is the same when it is published again.
        self.likeness = _likeness(info)
        self._tracks = tracks
        # Held here while a stream waits, since the loop doesn't hold whoever waits for it.
        self._waiting: set[asyncio.Future[None]] = set()
        self._timeout: asyncio.TimerHandle | None = None
        self.subscribed = False

    def stream(self, buffer_size: int) -> DataTrackStream:
        stream = DataTrackStream(self, buffer_size)
        if not self.published:
            stream._end(SubscribeDataTrackError("The track has been unpublished and is no longer available"))
            return stream
        if not self.subscribed:
            self.subscribed = True
            self._timeout = asyncio.get_running_loop().call_later(SUBSCRIBE_TIMEOUT, self._timed_out)
            self._tracks.subscribe(self.info.sid, True)
        self.streams.add(stream)
        return stream

    def stream_closed(self, stream: DataTrackStream) -> None:
        self._wake()
        if stream in self.streams:
            self.streams.discard(stream)
            self._perhaps_unsubscribe()

    def stream_lost(self, loop: asyncio.AbstractEventLoop) -> None:
        """One was held by nobody; in whatever thread that was noticed."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._perhaps_unsubscribe)

    async def news(self) -> None:
        """Until a stream may have a frame or its end."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    def receive(self, packet: Packet) -> None:
        frame = self.assembler.push(packet)
        if frame is None:
            return
        payload, extensions = frame
        if self.info.uses_e2ee or self._tracks.cipher is not None:
            decrypted = self._decrypted(payload, extensions)
            if decrypted is None:
                return
            payload = decrypted
        for stream in self.streams:
            stream._put(DataTrackFrame(payload, extensions.user_timestamp))
        self._wake()

    def has_handle(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def reassigned(self, sid: str) -> None:
        self.info.sid = sid
        if self.subscribed:
            self._tracks.subscribe(sid, True)

    def unpublished(self, error_while_subscribing: str | None = None) -> None:
        self.published = False
        subscribing, message = self._timeout is not None, error_while_subscribing
        self._end(
            SubscribeDataTrackError(message or "The track has been unpublished and is no longer available")
            if subscribing
            else None
        )

    def _timed_out(self) -> None:
        self._end(SubscribeDataTrackError("Request to subscribe to data track timed-out"))
        self._unsubscribe()

    def _end(self, error: SubscribeDataTrackError | None) -> None:
        self.has_handle()
        for stream in self.streams:
            stream._end(error)
        self.streams.clear()
        self._wake()

    def _perhaps_unsubscribe(self) -> None:
        if self.published and not self.streams:
            self._unsubscribe()

    def _unsubscribe(self) -> None:
        self.has_handle()
        if self.subscribed:
            self.subscribed = False
            self._tracks.subscribe(self.info.sid, False)

    def _decrypted(self, payload: bytes, extensions: Extensions) -> bytes | None:
        cipher = self._tracks.cipher
        if cipher is None or extensions.encryption is None:
            return None
        return cipher.decrypt(self.publisher_identity, *extensions.encryption, payload)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


def _likeness(info: models.DataTrackInfo) -> tuple[int, str, bool]:
    return info.pub_handle, info.name, info.encryption != models.Encryption.Type.NONE


def _info(info: models.DataTrackInfo) -> DataTrackInfo:
    return DataTrackInfo(info.sid, info.name, info.encryption != models.Encryption.Type.NONE)


def _encryption(encrypted: bool) -> models.Encryption.Type:
    return models.Encryption.Type.GCM if encrypted else models.Encryption.Type.NONE
