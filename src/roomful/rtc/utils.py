"""Frames of sound joined and made."""

from __future__ import annotations

import math
from array import array
from collections.abc import AsyncIterator

from roomful.rtc.audio_frame import AudioFrame

__all__ = ["combine_audio_frames", "sine_wave_generator"]


def combine_audio_frames(buffer: AudioFrame | list[AudioFrame]) -> AudioFrame:
    """Joins frames, one after the other, into one. A single frame is given back as it is.

    Raises:
        ValueError: there is no frame, or they differ in rate or channels.

    >>> first = AudioFrame(b"\\x01\\x00\\x02\\x00", 48000, 2, 1)
    >>> second = AudioFrame(b"\\x03\\x00\\x04\\x00", 48000, 2, 1)
    >>> combine_audio_frames([first, second]).data.tolist()
    [1, 2, 3, 4]
    """
    if not isinstance(buffer, list):
        return buffer
    if not buffer:
        raise ValueError("buffer is empty")
    rate, channels = buffer[0].sample_rate, buffer[0].num_channels
    for frame in buffer:
        if frame.sample_rate != rate:
            raise ValueError(f"Sample rate mismatch: expected {rate}, got {frame.sample_rate}")
        if frame.num_channels != channels:
            raise ValueError(f"Channel count mismatch: expected {channels}, got {frame.num_channels}")
    data = bytearray().join(frame.data for frame in buffer)
    return AudioFrame(data, rate, channels, sum(frame.samples_per_channel for frame in buffer))


async def sine_wave_generator(
    freq: float,
    duration: float,
    sample_rate: int = 48000,
    amplitude: float = 0.3,
) -> AsyncIterator[AudioFrame]:
    """Mono frames of 100 ms with a tone, at once, as many as fit in `duration`.

    Args:
        freq: of the tone, in Hz.
        duration: in seconds.
        sample_rate: in Hz.
        amplitude: 0 to 1.
    """
    length = sample_rate // 10
    step = 2 * math.pi * freq / sample_rate
    for start in range(0, int((duration * sample_rate) // length) * length, length):
        samples = array(
            "h", (int(amplitude * math.sin(step * n) * 32767) for n in range(start, start + length))
        )
        yield AudioFrame(samples.tobytes(), sample_rate, 1, length)
