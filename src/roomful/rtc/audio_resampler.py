"""Conversion between sampling rates."""

from __future__ import annotations

from enum import Enum, unique

from roomful import _core
from roomful.rtc.audio_frame import SAMPLE_BYTES, AudioFrame


@unique
class AudioResamplerQuality(str, Enum):  # noqa: UP042 - prints as in LiveKit's SDK
    """What a resampler spends on sound near the upper end of the band. `QUICK` doesn't filter at all."""

    QUICK = "quick"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    VERY_HIGH = "very_high"


class AudioResampler:
    """Converts one stream of sound to another sampling rate.

    In all, a stream keeps its length: 44,100 samples at 44.1 kHz become 48,000 at 48 kHz, the first of them
    where the first was.
    """

    def __init__(
        self,
        input_rate: int,
        output_rate: int,
        *,
        num_channels: int = 1,
        quality: AudioResamplerQuality = AudioResamplerQuality.MEDIUM,
    ) -> None:
        """
        Args:
            input_rate: in Hz, 8,000 to 192,000.
            output_rate: in Hz, 8,000 to 192,000.
            num_channels: of what is pushed and of what comes out.
            quality: the better, the more it computes.

        Raises:
            ValueError: a rate or a number of channels that can't be.
        """
        self._output_rate = output_rate
        self._num_channels = num_channels
        self._resampler = _core.Resampler(
            input_rate, output_rate, channels=num_channels, quality=AudioResamplerQuality(quality).value
        )

    def push(self, data: bytearray | AudioFrame) -> list[AudioFrame]:
        """Takes sound, and gives what is ready: at most one frame.

        Args:
            data: a frame, or the bytes of its samples.
        """
        samples = data.data if isinstance(data, AudioFrame) else memoryview(data)
        samples = samples.cast("B")
        return self._frames(self._resampler.push(samples)) if samples else []

    def flush(self) -> list[AudioFrame]:
        """Ends the stream and gives the rest of it: at most one frame. What is pushed after that is a new
        stream."""
        return self._frames(self._resampler.flush())

    def _frames(self, data: bytearray) -> list[AudioFrame]:
        length = len(data) // (self._num_channels * SAMPLE_BYTES)
        return [AudioFrame(data, self._output_rate, self._num_channels, length)] if length else []
