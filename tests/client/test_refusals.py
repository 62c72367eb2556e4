"""What this client can't do says so, and what to do instead."""

from __future__ import annotations

import pytest

from roomful import rtc


def test_the_platforms_audio_is_refused() -> None:
    with pytest.raises(rtc.PlatformAudioError, match="MediaDevices"):
        rtc.PlatformAudio()
    with pytest.raises(rtc.PlatformAudioError, match="AudioSource"):
        rtc.PlatformAudioSource()


def test_native_filters_are_refused() -> None:
    with pytest.raises(RuntimeError, match="FrameProcessor"):
        rtc.AudioFilter("krisp", "libkrisp.so")
