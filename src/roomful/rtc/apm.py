"""What is done to a captured voice before it is sent."""

from __future__ import annotations

from roomful import _core
from roomful.rtc.audio_frame import AudioFrame


class AudioProcessingModule:
    """WebRTC's audio processing: echo cancellation, noise suppression, a high-pass filter, gain control."""

    #: Programs of LiveKit's SDK print it; there is no handle here.
    _ffi_handle: None = None

    def __init__(
        self,
        *,
        echo_cancellation: bool = False,
        noise_suppression: bool = False,
        high_pass_filter: bool = False,
        auto_gain_control: bool = False,
    ) -> None:
        """
        Args:
            echo_cancellation: remove from the captured stream what is heard of the played one.
            noise_suppression: damp steady noise.
            high_pass_filter: remove rumble.
            auto_gain_control: bring voices to an even level.
        """
        self._processor = _core.AudioProcessor(
            echo_cancellation=echo_cancellation,
            noise_suppression=noise_suppression,
            high_pass_filter=high_pass_filter,
            auto_gain_control=auto_gain_control,
        )

    def process_stream(self, data: AudioFrame) -> None:
        """Processes captured sound; the frame is changed in place.

        Raises:
            ValueError: the frame is not of 10 ms, or a multiple.
        """
        self._processor.process_stream(data._writable(), data.sample_rate, data.num_channels)

    def process_reverse_stream(self, data: AudioFrame) -> None:
        """Takes note of sound that is about to be played, whose echo is to be cancelled.

        Raises:
            ValueError: the frame is not of 10 ms, or a multiple.
        """
        self._processor.process_reverse_stream(data._writable(), data.sample_rate, data.num_channels)

    def set_stream_delay_ms(self, delay_ms: int) -> None:
        """Tells how long after a frame is given to `process_reverse_stream` its echo is given to
        `process_stream`, as `delay_ms`: the time until it is played plus the time since it was captured.

        Raises:
            RuntimeError: the delay is not between 0 and 500; the nearest is taken.
        """
        self._processor.set_stream_delay_ms(delay_ms)
