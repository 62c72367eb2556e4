"""Metadata of pictures in the form of LiveKit's clients, and frames that only look as if they had some."""

from __future__ import annotations

import pytest

from roomful.rtc import FrameMetadata
from roomful.rtc._frame_metadata import MOST_USER_DATA, add, chosen, take

ALL = (0, 1, 2)
WHOLE = FrameMetadata(user_timestamp=1, frame_id=0x01020304, user_data=b"\x00\xff")
#: Each byte inverted, but for the letters: tag, length, value; at last the length of all.
TRAILER = bytes.fromhex("fef7fffffffffffffffe fdfbfefdfcfb fcfdff00 e6") + b"LKTS"
DELIMITER, SEQUENCE, PICTURE = b"\x12\x00", b"\x0a\x03abc", b"\x32\x01x"


@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264"])
def test_it_stands_behind_the_frame(codec: str) -> None:
    assert add(b"frame", WHOLE, codec) == b"frame" + TRAILER
    assert take(b"frame" + TRAILER, codec) == (b"frame", WHOLE)


def test_in_av1_it_is_a_unit_behind_the_sequence_header() -> None:
    unit = bytes([0x2A, len(TRAILER) + 1, 31]) + TRAILER
    for head in (DELIMITER + SEQUENCE, b""):
        assert add(head + PICTURE, WHOLE, "av1") == head + unit + PICTURE
        assert take(head + unit + PICTURE, "av1") == (head + PICTURE, WHOLE)
    long = FrameMetadata(user_timestamp=1, frame_id=1, user_data=bytes(range(MOST_USER_DATA)))
    assert take(add(SEQUENCE + PICTURE, long, "av1"), "av1") == (SEQUENCE + PICTURE, long)


def test_only_what_the_track_says_it_carries_is_sent() -> None:
    assert chosen(WHOLE, ALL) == WHOLE
    assert chosen(WHOLE, [1]) == FrameMetadata(frame_id=0x01020304)
    assert chosen(WHOLE, ()) is chosen(FrameMetadata(frame_id=0), ALL) is chosen(None, ALL) is None


@pytest.mark.parametrize(
    "frame",
    [
        b"LKTS",
        b"\xfaLKTS",  # No field.
        b"\x00LKTS",  # Longer than the frame.
        b"\xff" + b"LKTS",  # Of no length.
        b"\x05\xfe\xf8LKTS",  # A field that is longer than the trailer.
        TRAILER[1:],
        TRAILER[:-1],
        bytes.fromhex("00ff f8") + b"LKTS",  # A tag that nobody knows.
    ],
)
def test_other_frames_stay_as_they_are(frame: bytes) -> None:
    for codec in ("vp8", "av1"):
        assert take(frame, codec) == (frame, None)
    unit = bytes([0x2A, len(frame) + 1, 31]) + frame
    assert take(unit, "av1") == (unit, None)
    for cut in range(12):
        unit = DELIMITER + bytes([0x2A, 200, 31]) + frame
        assert take(unit[:cut], "av1") == (unit[:cut], None)
