"""A piece of sound."""

from __future__ import annotations

import base64
import io
import wave
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

SAMPLE_BYTES = 2


class AudioFrame:
    """Samples as 16-bit integers, interleaved by channel, with their rate and number."""

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        sample_rate: int,
        num_channels: int,
        samples_per_channel: int,
        *,
        userdata: dict[str, Any] | None = None,
    ) -> None:
        """`data` is kept, not copied, unless it is a view of a part of something.

        Args:
            data: at least `num_channels * samples_per_channel` samples of two bytes.
            sample_rate: in Hz.
            num_channels: 1 is mono, 2 is stereo.
            samples_per_channel: the frame's length.
            userdata: whatever should go along with the frame in this process.

        Raises:
            ValueError: `data` is too short, not a whole number of samples or not contiguous.
            TypeError: `data` is something else.
        """
        self._data = _kept(data)
        if len(self._data) < num_channels * samples_per_channel * SAMPLE_BYTES:
            raise ValueError("data length must be >= num_channels * samples_per_channel * sizeof(int16)")
        if len(self._data) % SAMPLE_BYTES:
            raise ValueError("data length must be a multiple of sizeof(int16)")
        self._sample_rate = sample_rate
        self._num_channels = num_channels
        self._samples_per_channel = samples_per_channel
        self._userdata = {} if userdata is None else userdata

    @staticmethod
    def create(sample_rate: int, num_channels: int, samples_per_channel: int) -> AudioFrame:
        """A frame of silence, to be filled by writing to its `data`: `samples_per_channel` samples of each of
        `num_channels`, at a `sample_rate` in Hz."""
        data = bytearray(num_channels * samples_per_channel * SAMPLE_BYTES)
        return AudioFrame(data, sample_rate, num_channels, samples_per_channel)

    @property
    def userdata(self) -> dict[str, Any]:
        """What goes along with the frame in this process."""
        return self._userdata

    @property
    def data(self) -> memoryview:
        """The samples, as 16-bit integers, without a copy; writable if what the frame was made of is."""
        return memoryview(self._data).cast("B").cast("h")

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self._sample_rate

    @property
    def num_channels(self) -> int:
        """Whose samples are interleaved."""
        return self._num_channels

    @property
    def samples_per_channel(self) -> int:
        """The duration in samples, of `sample_rate` a second."""
        return self._samples_per_channel

    @property
    def duration(self) -> float:
        """In seconds."""
        return self.samples_per_channel / self.sample_rate

    def to_wav_bytes(self) -> bytes:
        """The content of a WAV file with this sound."""
        with io.BytesIO() as file:
            with wave.open(file, "wb") as wav:
                wav.setnchannels(self.num_channels)
                wav.setsampwidth(SAMPLE_BYTES)
                wav.setframerate(self.sample_rate)
                wav.writeframes(self._data)
            return file.getvalue()

    def _writable(self) -> memoryview:
        """The bytes of `data`, which are copied once if they can't be written to."""
        if memoryview(self._data).readonly:
            self._data = bytearray(self._data)
        return memoryview(self._data).cast("B")

    def __getstate__(self) -> dict[str, Any]:
        # A memoryview can't be pickled.
        return {**self.__dict__, "_data": bytes(self._data)}

    def __repr__(self) -> str:
        return (
            f"rtc.AudioFrame(sample_rate={self.sample_rate}, num_channels={self.num_channels}, "
            f"samples_per_channel={self.samples_per_channel}, duration={self.duration:.3f})"
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        """As a field of a pydantic model: an object with the samples in base64."""
        from pydantic_core import core_schema

        fields = {
            "data": core_schema.str_schema(),
            "sample_rate": core_schema.int_schema(),
            "num_channels": core_schema.int_schema(),
            "samples_per_channel": core_schema.int_schema(),
        }
        shape = core_schema.typed_dict_schema(
            {name: core_schema.typed_dict_field(schema) for name, schema in fields.items()},
            cls_name="AudioFrame",
        )
        taken = core_schema.no_info_plain_validator_function(_from_fields)
        return core_schema.json_or_python_schema(
            json_schema=core_schema.chain_schema([shape, taken]),
            python_schema=taken,
            serialization=core_schema.plain_serializer_function_ser_schema(_to_fields),
        )


def _kept(data: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview:
    if isinstance(data, memoryview):
        if not data.c_contiguous:
            raise ValueError("memoryview must be contiguous")
        data = data.cast("B")
        whole = memoryview(data.obj).nbytes
        return data if data.nbytes == whole else bytes(data) if data.readonly else bytearray(data)
    if not isinstance(data, bytes | bytearray):
        raise TypeError(f"expected bytes, bytearray, or memoryview, got {type(data)}")
    return data


def _to_fields(frame: AudioFrame) -> dict[str, Any]:
    return {
        "data": base64.b64encode(frame.data).decode("ascii"),
        "sample_rate": frame.sample_rate,
        "num_channels": frame.num_channels,
        "samples_per_channel": frame.samples_per_channel,
    }


def _from_fields(value: Any) -> AudioFrame:
    if isinstance(value, AudioFrame):
        return value
    if isinstance(value, dict):
        return AudioFrame(
            base64.b64decode(value["data"]),
            value["sample_rate"],
            value["num_channels"],
            value["samples_per_channel"],
        )
    raise TypeError("Invalid type for AudioFrame")
