"""Tracks of sound and pictures, ours and those of others."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from roomful.rtc._enums import StreamState, TrackKind
from roomful.rtc._proto import stats_pb2 as stats
from roomful.rtc.log import logger

if TYPE_CHECKING:
    from roomful._core import EncryptionKeys
    from roomful.rtc.audio_stream import AudioStream
    from roomful.rtc.room import Room

#: The sid of a track that is not published.
UNPUBLISHED = "TR_unknown"


@dataclass
class TrackInfo:
    sid: str
    name: str
    kind: TrackKind.ValueType
    stream_state: StreamState.ValueType = StreamState.STATE_ACTIVE
    muted: bool = False


class Received(Protocol):
    """Media that arrives for a track, while it does."""

    def attach(self, sink: Any) -> None: ...
    def detach(self, sink: Any) -> None: ...
    def want_key_frame(self) -> None: ...
    def decrypt(self, keys: EncryptionKeys | None, identity: str, server_trailer: bytes) -> None: ...
    def statistics(self) -> list[stats.RtcStats]: ...


class Track:
    """Sound or pictures from one source. See its kinds."""

    def __init__(self, owned_info: TrackInfo) -> None:
        self._info = owned_info
        self._room_ref: weakref.ref[Room] | None = None
        self._audio_streams: weakref.WeakSet[AudioStream] = weakref.WeakSet()

    @property
    def sid(self) -> str:
        """The server's name for it: another each time that it is published."""
        return self._info.sid

    @property
    def name(self) -> str:
        """Given by who published it."""
        return self._info.name

    @property
    def kind(self) -> TrackKind.ValueType:
        """Sound or pictures."""
        return self._info.kind

    @property
    def stream_state(self) -> StreamState.ValueType:
        """Paused while the server sends nothing of it for want of bandwidth."""
        return self._info.stream_state

    @property
    def muted(self) -> bool:
        """Whether nothing is sent for now."""
        return self._info.muted

    async def get_stats(self) -> list[stats.RtcStats]:
        """Statistics of the track, as WebRTC has them; none while it is not connected."""
        return []

    def _resolve_room(self) -> Room | None:
        return self._room_ref() if self._room_ref is not None else None

    def _set_room(self, room: Room | None) -> None:
        """Frame processors are told of the room, and when it is left."""
        before = self._resolve_room()
        if before is None and room is None:
            return
        if before is not room:
            if before is not None:
                before.off("token_refreshed", self._on_token_refreshed)
            if room is not None:
                room.on("token_refreshed", self._on_token_refreshed)
        self._room_ref = weakref.ref(room) if room is not None else None
        self._tell_processors(self._inform, room)

    def _on_token_refreshed(self) -> None:
        self._tell_processors(self._give_credentials, self._resolve_room())

    def _tell_processors(self, tell: Callable[[AudioStream, Room | None], None], room: Room | None) -> None:
        for stream in list(self._audio_streams):
            try:
                tell(stream, room)
            except (Exception, asyncio.CancelledError):  # Of the processor: a call is not cancelled.
                logger.exception("a frame processor raised")

    def _inform(self, stream: AudioStream, room: Room | None) -> None:
        processor = stream._processor
        if processor is None:
            return
        if room is None:
            processor._on_stream_info_cleared()
            processor._on_credentials_cleared()
            return
        identity = publication = ""
        for participant in room._everybody():
            if self.sid in participant.track_publications:
                identity, publication = participant.identity, self.sid
        processor._on_stream_info_updated(
            room_name=room.name, participant_identity=identity, publication_sid=publication
        )
        self._give_credentials(stream, room)

    def _give_credentials(self, stream: AudioStream, room: Room | None) -> None:
        if stream._processor is not None and room is not None and room._token and room._server_url:
            stream._processor._on_credentials_updated(token=room._token, url=room._server_url)

    def _register_audio_stream(self, stream: AudioStream) -> None:
        self._audio_streams.add(stream)
        if (room := self._resolve_room()) is not None:
            self._inform(stream, room)

    def _unregister_audio_stream(self, stream: AudioStream) -> None:
        self._audio_streams.discard(stream)


class _Local(Track):
    """A track that is fed by a source here."""

    def __init__(self, owned_info: TrackInfo, source: Any = None) -> None:
        super().__init__(owned_info)
        self._source = source
        #: While it is published.
        self._on_muted: Callable[[bool], None] | None = None
        self._statistics: Callable[[], list[stats.RtcStats]] | None = None

    def mute(self) -> None:
        """Stops sending. Others keep their subscription, and are told."""
        self._set_muted(True)

    def unmute(self) -> None:
        """Sends again. Others are told."""
        self._set_muted(False)

    async def get_stats(self) -> list[stats.RtcStats]:
        """Statistics of what is sent, as WebRTC has them; none while it is not published."""
        return self._statistics() if self._statistics is not None else []

    def _set_muted(self, muted: bool) -> None:
        if muted != self._info.muted:
            self._info.muted = muted
            if self._on_muted is not None:
                self._on_muted(muted)


class _Remote(Track):
    """A track that comes from the server, while one is subscribed to it."""

    def __init__(self, owned_info: TrackInfo, received: Received | None = None) -> None:
        super().__init__(owned_info)
        self._received = received
        #: Streams' methods, called once with the track when nothing comes any more.
        self._ends: list[weakref.WeakMethod[Callable[[Track], None]]] = []

    async def get_stats(self) -> list[stats.RtcStats]:
        """Statistics of what arrives, as WebRTC has them; none once the track has ended."""
        return self._received.statistics() if self._received is not None else []

    def _end(self) -> None:
        self._received = None
        ends, self._ends = self._ends, []
        for end in ends:
            if (method := end()) is not None:
                method(self)


class LocalAudioTrack(_Local):
    """Sound to publish."""

    def __init__(self, info: TrackInfo, source: Any = None) -> None:
        super().__init__(info, source)

    @staticmethod
    def create_audio_track(name: str, source: Any) -> LocalAudioTrack:
        """A track that sends what is captured by an AudioSource (or PlatformAudioSource).

        >>> source = rtc.AudioSource(sample_rate=48000, num_channels=1)  # doctest: +SKIP
        >>> track = rtc.LocalAudioTrack.create_audio_track("microphone", source)  # doctest: +SKIP
        """
        return LocalAudioTrack(TrackInfo(UNPUBLISHED, name, TrackKind.KIND_AUDIO), source)

    def __repr__(self) -> str:
        return f"rtc.LocalAudioTrack(sid={self.sid}, name={self.name})"


class LocalVideoTrack(_Local):
    """Pictures to publish."""

    def __init__(self, info: TrackInfo, source: Any = None) -> None:
        super().__init__(info, source)

    @staticmethod
    def create_video_track(name: str, source: Any) -> LocalVideoTrack:
        """A track that sends what is captured by a VideoSource (or EncodedVideoSource)."""
        return LocalVideoTrack(TrackInfo(UNPUBLISHED, name, TrackKind.KIND_VIDEO), source)

    def __repr__(self) -> str:
        return f"rtc.LocalVideoTrack(sid={self.sid}, name={self.name})"


class RemoteAudioTrack(_Remote):
    """Somebody's sound: hear it by an AudioStream."""

    def __init__(self, info: TrackInfo, received: Received | None = None) -> None:
        super().__init__(info, received)

    def __repr__(self) -> str:
        return f"rtc.RemoteAudioTrack(sid={self.sid}, name={self.name})"


class RemoteVideoTrack(_Remote):
    """Somebody's pictures: see them by a VideoStream."""

    def __init__(self, info: TrackInfo, received: Received | None = None) -> None:
        super().__init__(info, received)
        #: How large pictures are wanted that are passed as they are, in this process.
        self._share = 1.0

    def __repr__(self) -> str:
        return f"rtc.RemoteVideoTrack(sid={self.sid}, name={self.name})"


LocalTrack: TypeAlias = LocalVideoTrack | LocalAudioTrack
RemoteTrack: TypeAlias = RemoteVideoTrack | RemoteAudioTrack
AudioTrack: TypeAlias = LocalAudioTrack | RemoteAudioTrack
VideoTrack: TypeAlias = LocalVideoTrack | RemoteVideoTrack
