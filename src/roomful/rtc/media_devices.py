"""Microphones and loudspeakers, by the `sounddevice` library, which `roomful[devices]` installs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from roomful.rtc.apm import AudioProcessingModule
from roomful.rtc.audio_frame import AudioFrame
from roomful.rtc.audio_mixer import AudioMixer
from roomful.rtc.audio_source import AudioSource
from roomful.rtc.audio_stream import AudioStream
from roomful.rtc.log import logger
from roomful.rtc.track import Track

DEFAULT_SAMPLE_RATE = 48000
DEFAULT_CHANNELS = 1
FRAME_SAMPLES = 480
"""10 ms at 48 kHz."""
BLOCKSIZE = 4800
"""Samples that a device takes or gives at once."""

#: Seconds of sound that wait for a loudspeaker, at most.
_AHEAD = 0.2
_BYTES = 2  # of a sample


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: without the PortAudio library
        raise ImportError(
            "audio devices need the sounddevice library: pip install roomful[devices]"
        ) from error
    return sounddevice


class _Delay:
    """Of the loudspeaker, in seconds, for the echo canceller at the microphone: one thread tells another."""

    seconds = 0.0


class _Frames:
    """Cuts what a device gives into frames of 10 ms."""

    def __init__(self, rate: int, channels: int) -> None:
        self._rate, self._channels = rate, channels
        self._size = rate // 100 * channels * _BYTES
        self._rest = b""

    def of(self, pcm: bytes) -> list[AudioFrame]:
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % self._size
        self._rest = pcm[whole:]
        return [
            AudioFrame(pcm[start : start + self._size], self._rate, self._channels, self._rate // 100)
            for start in range(0, whole, self._size)
        ]


@dataclass
class InputCapture:
    """A microphone that is open; publish `source` as a `LocalAudioTrack`."""

    source: AudioSource
    input_stream: Any
    """A `sounddevice.RawInputStream`."""
    task: asyncio.Task[None]
    apm: AudioProcessingModule | None
    delay_estimator: Any

    async def aclose(self) -> None:
        """Closes the microphone."""
        self.input_stream.stop()
        self.input_stream.close()
        self.task.cancel()
        await asyncio.wait([self.task])


class OutputPlayer:
    """Plays audio tracks, mixed, on a loudspeaker."""

    def __init__(
        self,
        *,
        sample_rate: int = DEFAULT_SAMPLE_RATE,
        num_channels: int = DEFAULT_CHANNELS,
        blocksize: int = BLOCKSIZE,
        apm_for_reverse: AudioProcessingModule | None = None,
        output_device: int | None = None,
        delay_estimator: Any = None,
    ) -> None:
        """
        Args:
            sample_rate: in Hz.
            num_channels: of the device.
            blocksize: samples that the device takes at once.
            apm_for_reverse: hears what is played, to take it out of what the microphone hears.
        """
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        self._apm = apm_for_reverse
        self._delay = delay_estimator
        self._reverse = _Frames(sample_rate, num_channels)
        self._buffer = bytearray()
        self._mixer: AudioMixer | None = None
        self._streams: dict[str, _Sound] = {}
        self._playing: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Set by the device's thread whenever it has taken something.
        self._room = asyncio.Event()
        self._stream = _sounddevice().RawOutputStream(
            callback=self._fill,
            dtype="int16",
            channels=num_channels,
            device=output_device,
            samplerate=sample_rate,
            blocksize=blocksize,
        )

    async def add_track(self, track: Track) -> None:
        """Plays a track too, from now on or from `start()` on.

        Raises:
            ValueError: it is played already.
        """
        if track.sid in self._streams:
            raise ValueError(f"Track {track.sid} already added to player")
        sound = _Sound(AudioStream(track, sample_rate=self._sample_rate, num_channels=self._num_channels))
        self._streams[track.sid] = sound
        self._mixed().add_stream(sound)

    async def remove_track(self, track: Track) -> None:
        """Plays a track no more; it does nothing if it isn't played."""
        sound = self._streams.pop(track.sid, None)
        if sound is not None:
            self._mixed().remove_stream(sound)
            await sound.stream.aclose()

    async def start(self) -> None:
        """Begins to play.

        Raises:
            RuntimeError: it has begun.
        """
        if self._playing is not None and not self._playing.done():
            raise RuntimeError("Playback already started")
        self._loop = asyncio.get_running_loop()
        self._playing = self._loop.create_task(self._play(self._mixed()))

    async def aclose(self) -> None:
        """Ends playing and closes the loudspeaker."""
        if self._playing is not None:
            self._playing.cancel()
            await asyncio.wait([self._playing])
        for sound in self._streams.values():
            await sound.stream.aclose()
        self._streams.clear()
        if self._mixer is not None:
            await self._mixer.aclose()
            self._mixer = None
        self._stream.close()

    def _mixed(self) -> AudioMixer:
        if self._mixer is None:
            self._mixer = AudioMixer(self._sample_rate, self._num_channels)
        return self._mixer

    async def _play(self, mixer: AudioMixer) -> None:
        ahead = int(self._sample_rate * _AHEAD) * self._num_channels * _BYTES
        self._stream.start()
        try:
            async for frame in mixer:
                self._buffer.extend(frame.data.tobytes())
                while len(self._buffer) > ahead:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._stream.stop()

    def _fill(self, outdata: Any, frames: int, time_info: Any, status: Any) -> None:
        """Of the device's thread: silence where there is nothing."""
        size = frames * self._num_channels * _BYTES
        pcm = bytes(self._buffer[:size])
        del self._buffer[: len(pcm)]
        pcm += bytes(size - len(pcm))
        outdata[:] = pcm
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._room.set)
        if self._delay is not None:
            self._delay.seconds = time_info.outputBufferDacTime - time_info.currentTime
        if self._apm is not None:
            for frame in self._reverse.of(pcm):
                self._apm.process_reverse_stream(frame)


class _Sound:
    """The frames of a stream of events."""

    def __init__(self, stream: AudioStream) -> None:
        self.stream = stream

    def __aiter__(self) -> AsyncIterator[AudioFrame]:
        return self

    async def __anext__(self) -> AudioFrame:
        return (await self.stream.__anext__()).frame


class MediaDevices:
    """The machine's microphones and loudspeakers.

    Raises:
        ImportError: from its methods, where `sounddevice` isn't installed.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        input_sample_rate: int = DEFAULT_SAMPLE_RATE,
        output_sample_rate: int = DEFAULT_SAMPLE_RATE,
        num_channels: int = DEFAULT_CHANNELS,
        blocksize: int = BLOCKSIZE,
    ) -> None:
        """
        Args:
            input_sample_rate: of microphones, in Hz.
            output_sample_rate: of loudspeakers, in Hz.
            num_channels: of both.
            blocksize: samples of a channel that a device gives or takes at once.
        """
        self._loop = loop
        self._input_rate = input_sample_rate
        self._output_rate = output_sample_rate
        self._channels = num_channels
        self._blocksize = blocksize
        self._delay: _Delay | None = None
        self._apm: AudioProcessingModule | None = None

    def list_input_devices(self) -> list[dict[str, Any]]:
        """Microphones, as `sounddevice` describes them, with their `index`."""
        return self._devices("max_input_channels")

    def list_output_devices(self) -> list[dict[str, Any]]:
        """Loudspeakers, as `sounddevice` describes them, with their `index`."""
        return self._devices("max_output_channels")

    def default_input_device(self) -> int | None:
        """Index of the microphone that is used if none is named."""
        return self._default(0)

    def default_output_device(self) -> int | None:
        """Index of the loudspeaker that is used if none is named."""
        return self._default(1)

    def open_input(
        self,
        *,
        enable_aec: bool = True,
        noise_suppression: bool = True,
        high_pass_filter: bool = True,
        auto_gain_control: bool = True,
        input_device: int | None = None,
        queue_capacity: int = 50,
        input_channel_index: int | None = None,
    ) -> InputCapture:
        """Opens a microphone.

        Args:
            enable_aec: takes out what the player of a later `open_output()` plays.
            input_device: None for the default one.
            queue_capacity: frames of 10 ms that wait to be captured; beyond it the oldest is dropped.
            input_channel_index: that channel alone, from 0.
        """
        loop = self._loop or asyncio.get_running_loop()
        picked = input_channel_index
        channels = 1 if picked is not None else self._channels
        source = AudioSource(self._input_rate, channels, loop=loop)
        apm = self._apm = (
            AudioProcessingModule(
                echo_cancellation=enable_aec,
                noise_suppression=noise_suppression,
                high_pass_filter=high_pass_filter,
                auto_gain_control=auto_gain_control,
            )
            if enable_aec or noise_suppression or high_pass_filter or auto_gain_control
            else None
        )
        delay = self._delay = _Delay() if apm is not None else None
        frames = _Frames(self._input_rate, channels)
        queue: asyncio.Queue[AudioFrame] = asyncio.Queue(queue_capacity)

        def offer(frame: AudioFrame) -> None:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(frame)

        def heard(indata: Any, count: int, time_info: Any, status: Any) -> None:
            """Of the device's thread."""
            pcm = bytes(indata)
            if picked is not None:
                pcm = memoryview(pcm).cast("h")[picked :: picked + 1].tobytes()
            if apm is not None and delay is not None:
                seconds = time_info.currentTime - time_info.inputBufferAdcTime + delay.seconds
                apm.set_stream_delay_ms(max(int(seconds * 1000), 0))
            for frame in frames.of(pcm):
                if apm is not None:
                    apm.process_stream(frame)
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(offer, frame)

        async def capture() -> None:
            while True:
                frame = await queue.get()
                try:
                    await source.capture_frame(frame)
                except Exception:
                    logger.exception("sound of a microphone was not captured")

        stream = _sounddevice().RawInputStream(
            callback=heard,
            dtype="int16",
            channels=self._channels if picked is None else picked + 1,
            device=input_device,
            samplerate=self._input_rate,
            blocksize=self._blocksize,
        )
        stream.start()
        return InputCapture(source, stream, loop.create_task(capture()), apm, delay)

    def open_output(self, *, output_device: int | None = None) -> OutputPlayer:
        """Opens a loudspeaker; the microphone of the last `open_input()` doesn't hear what it plays.

        Args:
            output_device: None for the default one.
        """
        return OutputPlayer(
            sample_rate=self._output_rate,
            num_channels=self._channels,
            blocksize=self._blocksize,
            apm_for_reverse=self._apm,
            output_device=output_device,
            delay_estimator=self._delay,
        )

    def _devices(self, channels: str) -> list[dict[str, Any]]:
        found = enumerate(_sounddevice().query_devices())
        return [{"index": index, **device} for index, device in found if device.get(channels, 0) > 0]

    def _default(self, way: int) -> int | None:
        device = _sounddevice().default.device
        try:
            index = int(device[way])
        except (TypeError, IndexError):
            return None
        return index if index >= 0 else None
