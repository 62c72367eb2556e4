"""Tracks as they are published in a room, subscribed to or not."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from livekit.protocol import models

from roomful.rtc._enums import (
    AudioTrackFeature,
    EncryptionType,
    FrameMetadataFeature,
    TrackKind,
    TrackPublishOptions,
    TrackSource,
    VideoQuality,
    all_known,
    known,
    track_kind,
)
from roomful.rtc.track import LocalTrack, RemoteTrack, Track

__all__ = ["LocalTrackPublication", "RemoteTrackPublication", "TrackPublication", "VideoQuality"]


class TrackPublication:
    """What the server says of a published track. See its kinds."""

    def __init__(self, owned_info: models.TrackInfo) -> None:
        self._info = owned_info
        self._track: Track | None = None

    @property
    def track(self) -> Track | None:
        """What is published, where it is there."""
        return self._track

    @property
    def sid(self) -> str:
        """The server's name for it: another each time that it is published."""
        return self._info.sid

    @property
    def name(self) -> str:
        """Given by its publisher."""
        return self._info.name

    @property
    def kind(self) -> TrackKind.ValueType:
        """Sound or pictures."""
        return track_kind(self._info.type)

    @property
    def source(self) -> TrackSource.ValueType:
        """A camera, a microphone, a screen, …"""
        return cast(TrackSource.ValueType, known(TrackSource, self._info.source, TrackSource.SOURCE_UNKNOWN))

    @property
    def simulcasted(self) -> bool:
        """Whether there are several encodings to choose from."""
        info = self._info
        return info.simulcast or len(info.layers) > 1 or any(len(one.layers) > 1 for one in info.codecs)

    @property
    def width(self) -> int:
        """Pixels of the largest encoding; 0 for sound."""
        return self._info.width

    @property
    def height(self) -> int:
        """Pixels of the largest encoding; 0 for sound."""
        return self._info.height

    @property
    def mime_type(self) -> str:
        """Of the codec, for example `video/VP8`."""
        return self._info.mime_type

    @property
    def muted(self) -> bool:
        """Whether its publisher sends nothing for now."""
        return self._info.muted

    @property
    def encryption_type(self) -> EncryptionType.ValueType:
        """How it is encrypted from end to end."""
        encryption = known(EncryptionType, self._info.encryption, EncryptionType.CUSTOM)
        return cast(EncryptionType.ValueType, encryption)

    @property
    def audio_features(self) -> list[AudioTrackFeature.ValueType]:
        """What its publisher says of its sound: stereo, no DTX, …"""
        return all_known(AudioTrackFeature, self._info.audio_features)

    @property
    def frame_metadata_features(self) -> list[FrameMetadataFeature.ValueType]:
        """What metadata its pictures may carry."""
        return all_known(FrameMetadataFeature, self._info.packet_trailer_features)


class LocalTrackPublication(TrackPublication):
    """A track of ours in the room. After a full reconnect it is the same, with another sid."""

    def __init__(self, owned_info: models.TrackInfo) -> None:
        super().__init__(owned_info)
        self._options = TrackPublishOptions()
        self._first_subscription: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def track(self) -> LocalTrack | None:
        """What is published; None once it is unpublished."""
        return cast("LocalTrack | None", self._track)

    async def wait_for_subscription(self) -> None:
        """Returns when somebody has subscribed, which may be long ago.

        Raises:
            RuntimeError: nobody has, and the track is not published any more.
        """
        await asyncio.shield(self._first_subscription)

    def _withdrawn(self) -> None:
        if not self._first_subscription.done():
            self._first_subscription.set_exception(
                RuntimeError("the track was unpublished before anybody subscribed")
            )
            self._first_subscription.exception()  # Perhaps nobody waits.

    def __repr__(self) -> str:
        return (
            f"rtc.LocalTrackPublication(sid={self.sid}, name={self.name}, kind={self.kind}, "
            f"source={self.source})"
        )


class Subscriber(Protocol):
    """Who subscribes for a publication."""

    def subscribe(self, publication: RemoteTrackPublication, wanted: bool) -> None: ...
    def choose(self, publication: RemoteTrackPublication, quality: VideoQuality.ValueType) -> None: ...


class RemoteTrackPublication(TrackPublication):
    """Somebody's track in the room. It has a `track` while one is subscribed to it."""

    def __init__(self, owned_info: models.TrackInfo, subscriber: Subscriber | None = None) -> None:
        super().__init__(owned_info)
        self._subscriber = subscriber
        self._subscribed = False
        self._quality: int | None = None

    @property
    def track(self) -> RemoteTrack | None:
        """What is heard or seen; None while one is not subscribed to it."""
        return cast("RemoteTrack | None", self._track)

    @property
    def _share(self) -> float:
        """How large the wanted encoding is, of the whole."""
        for layer in self._info.layers:
            if layer.quality == self._quality and 0 < layer.width < self._info.width:
                return layer.width / self._info.width
        return 1.0

    @property
    def subscribed(self) -> bool:
        """Whether the track is there, not only asked for."""
        return self._subscribed

    def set_subscribed(self, subscribed: bool) -> None:
        """Asks for the track, or for no more of it. An event tells when it comes."""
        if self._subscriber is not None:
            self._subscriber.subscribe(self, subscribed)

    def set_video_quality(self, quality: VideoQuality.ValueType) -> None:
        """Asks for one of the encodings of a simulcasted video.

        Raises:
            ValueError: it is no video, or has one encoding only.
        """
        if self.kind != TrackKind.KIND_VIDEO:
            raise ValueError(f"set_video_quality is only for video publications (sid={self.sid})")
        if not self.simulcasted:
            raise ValueError(f"set_video_quality needs a simulcasted publication (sid={self.sid})")
        if self._subscriber is not None:
            self._subscriber.choose(self, quality)

    def __repr__(self) -> str:
        return (
            f"rtc.RemoteTrackPublication(sid={self.sid}, name={self.name}, kind={self.kind}, "
            f"source={self.source})"
        )
