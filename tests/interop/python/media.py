"""Tones and colours: made by one client, known again by another."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np

from .sdk import rtc

RATE = 48_000
#: Samples looked at together: a quarter of a second, bins of 4 Hz.
SOUND = RATE // 4
FRAME_RATE = 15

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 200, 30)


@dataclass(frozen=True)
class Tone:
    hertz: int

    async def play(self, source: rtc.AudioSource) -> None:
        """In frames of 20 ms, as fast as the source takes them."""
        at, step = 0, RATE // 50
        while True:
            wave = np.sin(2 * np.pi * self.hertz * np.arange(at, at + step) / RATE) * 8_000
            await source.capture_frame(rtc.AudioFrame(wave.astype(np.int16).tobytes(), RATE, 1, step))
            at += step


@dataclass(frozen=True)
class Sound:
    samples: np.ndarray[Any, np.dtype[np.int16]]

    def loudness(self) -> int:
        return int(self.samples.std()) if len(self.samples) else 0

    def has_faded(self) -> bool:
        """The last 20 ms are silent."""
        return int(self.samples[-RATE // 50 :].std()) < 100

    def hertz(self) -> float:
        """Of the loudest frequency, 0 when there is too little to tell or hardly any sound."""
        if len(self.samples) < SOUND or self.loudness() < 500:
            return 0.0
        spectrum = np.abs(np.fft.rfft(self.samples * np.hanning(SOUND)))
        return float(spectrum.argmax()) * RATE / SOUND


@dataclass
class Colour:
    value: tuple[int, int, int]

    async def show(self, source: rtc.VideoSource, width: int, height: int) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            pixels = bytes((*self.value, 255)) * (width * height)
            source.capture_frame(rtc.VideoFrame(width, height, rtc.VideoBufferType.RGBA, pixels))
            due = max(due + 1 / FRAME_RATE, clock())
            await asyncio.sleep(due - clock())


@dataclass(frozen=True)
class Picture:
    width: int
    height: int
    #: Of the middle quarter, its mean.
    rgb: tuple[int, int, int]

    def shows(self, rgb: tuple[int, int, int]) -> bool:
        return all(abs(one - other) <= 40 for one, other in zip(self.rgb, rgb, strict=True))


def picture_of(frame: rtc.VideoFrame) -> Picture:
    width, height = frame.width, frame.height
    pixels = np.frombuffer(frame.data, np.uint8).reshape(height, width, 4)
    middle = pixels[height // 4 : -height // 4, width // 4 : -width // 4, :3]
    red, green, blue = (int(one) for one in middle.reshape(-1, 3).mean(axis=0))
    return Picture(width, height, (red, green, blue))
