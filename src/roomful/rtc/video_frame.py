"""One picture."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from roomful._core import convert_video
from roomful.rtc._enums import VideoBufferType

_PACKED = {
    VideoBufferType.RGBA: 4,
    VideoBufferType.ABGR: 4,
    VideoBufferType.ARGB: 4,
    VideoBufferType.BGRA: 4,
    VideoBufferType.RGB24: 3,
}


def plane_sizes(type: VideoBufferType.ValueType, width: int, height: int) -> Sequence[int]:
    """Bytes of each plane, without gaps; none for types whose pixels lie together."""
    luma, half = width * height, ((width + 1) // 2) * ((height + 1) // 2)
    match type:
        case VideoBufferType.I420:
            return luma, half, half
        case VideoBufferType.I420A:
            return luma, half, half, luma
        case VideoBufferType.I422:
            beside = (width + 1) // 2 * height
            return luma, beside, beside
        case VideoBufferType.I444:
            return luma, luma, luma
        case VideoBufferType.I010:
            return 2 * luma, 2 * half, 2 * half
        case VideoBufferType.NV12:
            return luma, 2 * half
    return ()


def picture_size(type: VideoBufferType.ValueType, width: int, height: int) -> int:
    """Bytes of a picture."""
    if type in _PACKED:
        return width * height * _PACKED[type]
    return sum(plane_sizes(type, width, height))


class VideoFrame:
    """A picture of `width` times `height` pixels, its planes or lines without gaps.

    RGB types are named by the order of their bytes. numpy sees the pixels without a copy:
    `np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 4)`.
    """

    def __init__(
        self,
        width: int,
        height: int,
        type: VideoBufferType.ValueType,
        data: bytes | bytearray | memoryview,
    ) -> None:
        """Raises ValueError if `data` has fewer or more bytes than such a picture, TypeError if it is not of
        bytes."""
        if isinstance(data, memoryview):
            if not data.contiguous:
                raise ValueError("memoryview must be contiguous")
        elif not isinstance(data, bytes | bytearray):
            raise TypeError(f"expected bytes, bytearray, or memoryview, got {data.__class__}")
        found = data.nbytes if isinstance(data, memoryview) else len(data)
        expected = picture_size(type, width, height)
        if found != expected:
            name = VideoBufferType.Name(type)
            raise ValueError(f"a picture of {width}x{height} in {name} takes {expected} bytes, not {found}")
        self._width = width
        self._height = height
        self._type = type
        self._data = data

    @property
    def width(self) -> int:
        """Pixels of a line."""
        return self._width

    @property
    def height(self) -> int:
        """Lines."""
        return self._height

    @property
    def type(self) -> VideoBufferType.ValueType:
        """How pixels lie in `data`."""
        return self._type

    @property
    def data(self) -> memoryview:
        """All bytes of the picture."""
        return memoryview(self._data)

    def get_plane(self, plane_nth: int) -> memoryview | None:
        """Plane number `plane_nth`, from 0; None beyond the last, and for types without planes."""
        sizes = plane_sizes(self._type, self._width, self._height)
        if plane_nth >= len(sizes):
            return None
        start = sum(sizes[:plane_nth])
        return memoryview(self._data).cast("B")[start : start + sizes[plane_nth]]

    def convert(self, type: VideoBufferType.ValueType, *, flip_y: bool = False) -> VideoFrame:
        """Another frame with the same picture as `type`, upside down if `flip_y`. Colours are BT.601, limited
        range. Other threads run meanwhile.

        >>> frame = VideoFrame(2, 2, VideoBufferType.RGB24, bytes(12))
        >>> frame.convert(VideoBufferType.I420)
        rtc.VideoFrame(width=2, height=2, type=I420)
        """
        data = convert_video(self._data, self._width, self._height, self._type, type, flip_y)
        return VideoFrame(self._width, self._height, type, data)

    def __repr__(self) -> str:
        name = VideoBufferType.Name(self._type)
        return f"rtc.VideoFrame(width={self._width}, height={self._height}, type={name})"

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        from pydantic_core import core_schema

        def validate(value: Any) -> VideoFrame:
            if isinstance(value, tuple):
                value = value[0]
            if isinstance(value, VideoFrame):
                return value
            if not isinstance(value, dict):
                raise TypeError("Invalid type for VideoFrame")
            type_ = VideoBufferType.Value(value["type"])
            return VideoFrame(value["width"], value["height"], type_, base64.b64decode(value["data"]))

        def serialize(frame: VideoFrame) -> dict[str, Any]:
            return {
                "width": frame.width,
                "height": frame.height,
                "type": VideoBufferType.Name(frame.type),
                "data": base64.b64encode(frame.data).decode(),
            }

        fields = {
            "width": core_schema.model_field(core_schema.int_schema()),
            "height": core_schema.model_field(core_schema.int_schema()),
            "type": core_schema.model_field(core_schema.str_schema()),
            "data": core_schema.model_field(core_schema.str_schema()),
        }
        plain = core_schema.no_info_plain_validator_function(validate)
        return core_schema.json_or_python_schema(
            json_schema=core_schema.chain_schema([core_schema.model_fields_schema(fields), plain]),
            python_schema=plain,
            serialization=core_schema.plain_serializer_function_ser_schema(serialize),
        )
