"""Tracks of data: frames of bytes, delivered as soon as possible or not at all."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomful.rtc._data_tracks import Publication, Subscription

DEFAULT_BUFFER_SIZE = 16


class PublishDataTrackError(Exception):
    """A data track could not be published."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SubscribeDataTrackError(Exception):
    """A data track could not be subscribed to."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PushFrameError(Exception):
    """A frame could not be sent: its track isn't published, or there are more than the connection takes."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass
class DataTrackInfo:
    """What a track says of itself."""

    sid: str
    """Given by the server; another one after a reconnect."""

    name: str
    """Given by the publisher, one of a kind among its tracks."""

    uses_e2ee: bool
    """Its frames are encrypted from end to end."""


@dataclass
class DataTrackFrame:
    """A frame of a data track."""

    payload: bytes

    user_timestamp: int | None = None
    """64 bits, whose meaning is the program's."""


class LocalDataTrack:
    """A data track that we publish; it is unpublished when nobody holds it any more."""

    def __init__(self, publication: Publication) -> None:
        self._publication = publication

    @property
    def info(self) -> DataTrackInfo:
        """What the server says of it."""
        return self._publication.info

    def try_push(self, frame: DataTrackFrame) -> None:
        """Sends a frame to the subscribers, without waiting.

        Raises:
            PushFrameError: it isn't sent, or only in part.
            ValueError: its timestamp has more than 64 bits, or a sign.
        """
        self._publication.push(frame)

    def is_published(self) -> bool:
        """Whether it is in the room."""
        return self._publication.published

    async def unpublish(self) -> None:
        """Ends the track; it does nothing when it has ended."""
        self._publication.unpublish()

    def __del__(self) -> None:
        self._publication.abandon()

    def __repr__(self) -> str:
        return f"rtc.LocalDataTrack(sid={self.info.sid}, name={self.info.name})"


class RemoteDataTrack:
    """A data track that another participant publishes."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    @property
    def info(self) -> DataTrackInfo:
        """What the server says of it."""
        return self._subscription.info

    @property
    def publisher_identity(self) -> str:
        """Of whom it is."""
        return self._subscription.publisher_identity

    def subscribe(self, *, buffer_size: int | None = None) -> DataTrackStream:
        """A stream of the frames that come from now on; there may be several.

        Args:
            buffer_size: frames that wait to be read, at least 1; of more than that the oldest are dropped.
        """
        size = DEFAULT_BUFFER_SIZE if buffer_size is None else max(buffer_size, 1)
        return self._subscription.stream(size)

    def is_published(self) -> bool:
        """Whether it is in the room still."""
        return self._subscription.published

    def set_pipeline_options(self, *, max_partial_frames: int | None = None) -> None:
        """
        Args:
            max_partial_frames: frames that are put together at the same time, at least 1, which is the
                default; more tolerate packets of many small frames that come in disorder. None changes
                nothing.
        """
        if max_partial_frames is not None:
            self._subscription.assembler.max_partial_frames = max(max_partial_frames, 1)

    def __repr__(self) -> str:
        return (
            f"rtc.RemoteDataTrack(sid={self.info.sid}, name={self.info.name}, "
            f"publisher_identity={self.publisher_identity})"
        )


class DataTrackStream:
    """The frames of a remote data track, as they come.

    >>> async def show(track):
    ...     async for frame in track.subscribe():
    ...         print(frame.payload)

    It ends when the track is unpublished. With its last stream closed, or held by nobody, the track is no
    longer subscribed to. Where that can't be done, `SubscribeDataTrackError` is raised at its end.
    `buffer_size` frames may wait to be read, after which the oldest are dropped.
    """

    def __init__(self, subscription: Subscription, buffer_size: int) -> None:
        self._subscription = subscription
        self._frames: deque[DataTrackFrame] = deque(maxlen=buffer_size)
        self._ended = False
        self._error: SubscribeDataTrackError | None = None
        self._close_when_lost = weakref.finalize(self, subscription.stream_lost, asyncio.get_running_loop())
        self._close_when_lost.atexit = False

    async def read(self) -> DataTrackFrame | None:
        """The next frame; None at the end."""
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            return None

    def __aiter__(self) -> AsyncIterator[DataTrackFrame]:
        return self

    async def __anext__(self) -> DataTrackFrame:
        while not self._frames:
            if self._ended:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            await self._subscription.news()
        return self._frames.popleft()

    def close(self) -> None:
        """Ends the stream; what it has buffered is dropped."""
        self._frames.clear()
        self._end(None)
        if self._close_when_lost.detach() is not None:
            self._subscription.stream_closed(self)

    async def aclose(self) -> None:
        """As `close()`."""
        self.close()

    def _put(self, frame: DataTrackFrame) -> None:
        self._frames.append(frame)

    def _end(self, error: SubscribeDataTrackError | None) -> None:
        if not self._ended:
            self._ended = True
            self._error = error
