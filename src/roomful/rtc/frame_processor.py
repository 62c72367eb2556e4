"""Processing of frames, for example against noise, by a library of somebody else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from roomful.rtc.audio_frame import AudioFrame
    from roomful.rtc.video_frame import VideoFrame

T = TypeVar("T", bound="AudioFrame | VideoFrame")


class FrameProcessor(Generic[T], ABC):
    """What such a library implements; streams call the methods with an underscore."""

    @property
    @abstractmethod
    def enabled(self) -> bool:
        """Whether frames go through it; streams ask before each."""

    @enabled.setter
    @abstractmethod
    def enabled(self, value: bool) -> None: ...

    # Told where the frames come from, for those who want to know.

    def _on_stream_info_updated(
        self, *, room_name: str, participant_identity: str, publication_sid: str
    ) -> None: ...

    def _on_stream_info_cleared(self) -> None: ...

    def _on_credentials_updated(self, *, token: str, url: str) -> None: ...

    def _on_credentials_cleared(self) -> None: ...

    @abstractmethod
    def _process(self, frame: T) -> T:
        """The frame that takes the place of `frame`."""

    @abstractmethod
    def _close(self) -> None: ...
