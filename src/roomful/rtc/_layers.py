"""The encodings of a video: sizes, bitrates and frame rates, as LiveKit's clients choose them.

Bitrates are in bit/s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

#: Names of simulcast encodings, the smallest first.
RIDS = ("q", "h", "f")
#: How much of VP8's bitrate another codec needs.
EFFICIENCY = {"vp9": 0.85, "av1": 0.7}
#: Longest sides from which on there are two and three encodings.
TWO_FROM, THREE_FROM = 480, 960
#: Of a screen's smaller encoding.
SCREEN_FRAMES, SCREEN_BITRATE = 3.0, 150_000


@dataclass(frozen=True, slots=True)
class Encoding:
    width: int
    height: int
    bitrate: int
    frames: float
    """A second, at most."""
    rid: str = ""


_WIDE = (
    Encoding(160, 90, 90_000, 15),
    Encoding(320, 180, 160_000, 15),
    Encoding(384, 216, 180_000, 15),
    Encoding(640, 360, 450_000, 20),
    Encoding(960, 540, 800_000, 25),
    Encoding(1280, 720, 1_700_000, 30),
    Encoding(1920, 1080, 3_000_000, 30),
    Encoding(2560, 1440, 5_000_000, 30),
    Encoding(3840, 2160, 8_000_000, 30),
)
_NARROW = (
    Encoding(160, 120, 80_000, 15),
    Encoding(240, 180, 100_000, 15),
    Encoding(320, 240, 150_000, 15),
    Encoding(480, 360, 225_000, 20),
    Encoding(640, 480, 300_000, 20),
    Encoding(720, 540, 450_000, 25),
    Encoding(960, 720, 1_500_000, 30),
    Encoding(1440, 1080, 2_500_000, 30),
    Encoding(1920, 1440, 3_500_000, 30),
)
_SCREEN = (
    Encoding(640, 360, 200_000, 3),
    Encoding(1280, 720, 400_000, 5),
    Encoding(1280, 720, 1_000_000, 15),
    Encoding(1920, 1080, 1_500_000, 15),
    Encoding(1920, 1080, 3_000_000, 30),
)


def encodings(
    width: int,
    height: int,
    *,
    codec: str,
    screen: bool,
    simulcast: bool,
    bitrate: int | None = None,
    frames: float | None = None,
) -> list[Encoding]:
    """Those to send, the largest first; one alone has no rid."""
    whole = _fitting(width, height, codec, screen)
    if bitrate is not None and frames is not None:
        whole = replace(whole, bitrate=bitrate, frames=frames)
    longest = max(width, height)
    if not simulcast or longest < TWO_FROM:
        return [whole]
    smaller = [_half(whole)] if screen else [_presets(width, height)[1], _presets(width, height)[3]]
    if longest < THREE_FROM:
        smaller = smaller[-1:]
    scaled = [_scaled(whole, one) for one in smaller]
    return [replace(one, rid=rid) for one, rid in zip([*scaled, whole], RIDS, strict=False)][::-1]


def _fitting(width: int, height: int, codec: str, screen: bool) -> Encoding:
    """The first preset that is wider than the video, or the last."""
    presets = _SCREEN if screen else _presets(width, height)
    longest = max(width, height)
    preset = next((one for one in presets if one.width > longest), presets[-1])
    bitrate = int(preset.bitrate * EFFICIENCY.get(codec, 1.0))
    return Encoding(width, height, bitrate, preset.frames)


def _presets(width: int, height: int) -> Sequence[Encoding]:
    ratio = max(width, height) / max(min(width, height), 1)
    return _WIDE if abs(ratio - 16 / 9) < abs(ratio - 4 / 3) else _NARROW


def _half(whole: Encoding) -> Encoding:
    less = 4 * max(int(whole.frames / SCREEN_FRAMES), 1)
    bitrate = max(SCREEN_BITRATE, whole.bitrate // less)
    return Encoding(whole.width // 2, whole.height // 2, bitrate, SCREEN_FRAMES)


def _scaled(whole: Encoding, preset: Encoding) -> Encoding:
    """`preset` in the shape of the video, as the encoder scales it by the shorter side."""
    scale = max(1.0, min(whole.width, whole.height) / max(min(preset.width, preset.height), 1))
    return replace(preset, width=int(whole.width / scale), height=int(whole.height / scale))
