"""How video follows what there is room for: bits of each second after it goes from 1.5 to 0.3 Mbit/s.

Pictures move, with some grain, 30 of them a second; frame rate, size and encoder are as in a publication.
Times are those of the pictures: it takes as long as encoding them. Prints a table, in kbit/s.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np

from roomful import rtc
from roomful._core import fit_video
from roomful.rtc._enums import DegradationPreference
from roomful.rtc._layers import Encoding
from roomful.rtc._video_codecs import CLOCK
from roomful.rtc._video_sender import _Layer

CODECS = ("vp8", "vp9", "h264", "av1")
SIZES = ((640, 360), (1280, 720))
HIGH, LOW = 1_500_000, 300_000
FRAMES, SECONDS = 30, 5


class Scene:
    """A slope with blocks before it that move, and grain."""

    def __init__(self, width: int, height: int) -> None:
        random = np.random.default_rng(1)
        self._size = width, height
        self._slope = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8) // 2 + 30
        self._grain = random.integers(0, 8, (height, width), dtype=np.uint8)
        blocks = random.integers(0, 60, (height // 20, width // 20), dtype=np.uint8)
        self._blocks = blocks.repeat(20, 0).repeat(20, 1)
        self._chroma = np.full(width * height // 2, 128, np.uint8)

    def picture(self, number: int) -> rtc.VideoFrame:
        luma = np.roll(self._slope, 4 * number, 1) + np.roll(self._grain, 37 * number)
        luma += np.roll(self._blocks, (3 * number, 2 * number), (0, 1))
        data = np.concatenate([luma.ravel(), self._chroma]).tobytes()
        return rtc.VideoFrame(*self._size, rtc.VideoBufferType.I420, data)


class Publication:
    """One encoding; counts bits and pictures by second."""

    def __init__(self, codec: str, width: int, height: int) -> None:
        self._scene, self._whole = Scene(width, height), (width, height)
        self.layer = _Layer(Encoding(width, height, HIGH, FRAMES), codec, DegradationPreference.BALANCED)
        self._number = 0
        self.bits: dict[int, int] = defaultdict(int)
        self.pictures: dict[int, int] = defaultdict(int)

    def run(self, bitrate: int, seconds: int) -> list[int]:
        """kbit of each second."""
        self.layer.bitrate = bitrate
        start = self._number // FRAMES
        for _ in range(seconds * FRAMES):
            self._send(self._number * CLOCK // FRAMES)
            self._number += 1
        return [self.bits[second] // 1000 for second in range(start, start + seconds)]

    def _send(self, timestamp: int) -> None:
        if not self.layer.due(timestamp):
            return
        picture = self._scene.picture(self._number)
        size = self.layer.fitting(picture, self._whole, timestamp)
        if size != self._whole:
            (data,), _ = fit_video(bytes(picture.data), self._whole, picture.type, [size])
            picture = rtc.VideoFrame(*size, picture.type, data)
        encoded = self.layer.encode(picture, timestamp)
        if encoded is not None:
            self.bits[timestamp // CLOCK] += 8 * len(encoded.data)
            self.pictures[timestamp // CLOCK] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", action="append", choices=CODECS)
    options = parser.parse_args()
    seconds = " | ".join(f"{second}." for second in range(1, SECONDS + 1))
    print(f"| | | steady at 1500 | {seconds} second at 300 | steady at 300 | pictures then |")
    print("|---" * (SECONDS + 5) + "|")
    for size in SIZES:
        for codec in options.codec or CODECS:
            falling = Publication(codec, *size)
            high = falling.run(HIGH, SECONDS)[1:]
            low = falling.run(LOW, SECONDS)
            steady = Publication(codec, *size)
            still = steady.run(LOW, SECONDS)[1:]
            width, height = steady.layer.size
            cells = [
                codec,
                f"{size[0]}x{size[1]}",
                f"{sum(high) // len(high)}",
                *map(str, low),
                f"{sum(still) // len(still)}",
                f"{width}x{height}, {steady.pictures[SECONDS - 1]} a second",
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
