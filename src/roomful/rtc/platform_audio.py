"""The operating system's own audio devices, which this client doesn't drive.

The names are here so that programs can import them; using them says what to use instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

_INSTEAD = (
    "PlatformAudio isn't available in roomful.rtc: capture and play with roomful.rtc.MediaDevices, "
    "or push frames into an AudioSource and read them from an AudioStream"
)


class PlatformAudioError(Exception):
    """The platform's audio can't be used."""


@dataclass
class AudioDeviceInfo:
    """A microphone or a loudspeaker."""

    index: int
    name: str
    id: str


@dataclass
class PlatformAudioOptions:
    """What is done to what a microphone hears."""

    echo_cancellation: bool = True
    noise_suppression: bool = True
    auto_gain_control: bool = True
    prefer_hardware: bool = False


class PlatformAudioSource:
    """A microphone of the platform, as a source of a track. There is none: raises PlatformAudioError."""

    def __init__(self) -> None:
        raise PlatformAudioError(_INSTEAD)

    def close(self) -> None:
        """Releases the microphone."""


class PlatformAudio:
    """The platform's microphones and loudspeakers.

    Raises:
        PlatformAudioError: always; it says what to use instead.
    """

    def __init__(self) -> None:
        raise PlatformAudioError(_INSTEAD)

    def recording_devices(self) -> list[AudioDeviceInfo]:
        """Raises PlatformAudioError."""
        self._refuse()

    def playout_devices(self) -> list[AudioDeviceInfo]:
        """Raises PlatformAudioError."""
        self._refuse()

    def set_recording_device(self, device_id: str) -> None:
        """Raises PlatformAudioError."""
        self._refuse()

    def set_playout_device(self, device_id: str) -> None:
        """Raises PlatformAudioError."""
        self._refuse()

    def create_audio_source(self, options: PlatformAudioOptions | None = None) -> PlatformAudioSource:
        """Raises PlatformAudioError."""
        self._refuse()

    def close(self) -> None:
        """Releases the devices."""

    def _refuse(self) -> NoReturn:
        raise PlatformAudioError(_INSTEAD)
