"""Whoever plays in the matrix on PyPI's `livekit` or on ours: it publishes a tone and numbered messages and
notes, with times, what comes of the other's. Told what to do by lines on its input (see peers.run_program);
diary.js is the same for browsers."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "interop"))
from lines import answer_lines, methods_of
from python.media import RATE, SOUND, Sound
from python.sdk import rtc
from python.stage import Person

TONE = 440
#: Sound without a tone for longer is a pause; a decoder hides less than that.
PAUSE = 0.15
LOUD = 500
#: Seconds for one try of something that the network may prevent.
TRY, LOOK = 10.0, 0.1
TOPIC = "number"
#: Follow the clock or the probing rather than the fault.
UNTOLD = {
    "active_speakers_changed",
    "connection_quality_changed",
    "data_received",
    "participant_attributes_changed",
    "room_updated",
    "token_refreshed",
}


class Witness(Person):
    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self.times: list[float] = []
        self.loud_at = 0.0
        #: [when, for how long] there was no tone.
        self.pauses: list[tuple[float, float]] = []
        self.sent = 0
        self.refused: list[int] = []
        self.received: list[int] = []
        self._sending: asyncio.Task[None] | None = None
        self.room.on("data_received", self._count)

    def note(self) -> None:
        self.times += [time.time()] * (len(self.log) - len(self.times))
        super().note()

    # ---- what the runner asks for

    async def join(self, url: str, token: str, single: bool, relay: bool) -> None:
        options = rtc.RoomOptions(single_peer_connection=single)
        if relay:
            options.rtc_config = rtc.RtcConfiguration(ice_transport_type=rtc.IceTransportType.TRANSPORT_RELAY)
        await self.room.connect(url, token, options)

    async def begin(self, other: str) -> None:
        await self.meets(other)
        await self.play(TONE)
        await self.hears(other, TONE)

    async def number(self, interval: float) -> None:
        """Sends numbered messages from now on, one in so many seconds."""
        self._sending = self.spawn(self._send_numbers(interval))

    async def recovers(self, other: str, word: str) -> bool:
        """Whether signalling and media work both ways: each sets a word as attribute, reads the other's."""
        end, told = time.monotonic() + TRY, False
        while time.monotonic() < end:
            if not told:
                with suppress(Exception):
                    async with asyncio.timeout(TRY):
                        await self.me.set_attributes({"word": word})
                        told = True
            them = self.room.remote_participants.get(other)
            if told and them and them.attributes.get("word") == word and time.time() - self.loud_at < PAUSE:
                return True
            await asyncio.sleep(LOOK)
        return False

    async def settle(self) -> int:
        """Ends the sending. Returns the last number."""
        if self._sending:
            self._sending.cancel()
        return self.sent

    async def report(self) -> dict[str, Any]:
        still = time.time() - self.loud_at
        lasting = [(self.loud_at, still)] if still > PAUSE else []
        events = [
            (at, *event) for at, event in zip(self.times, self.log, strict=False) if event[0] not in UNTOLD
        ]
        return {
            "events": events,
            "pauses": self.pauses + lasting,
            "sent": self.sent,
            "refused": self.refused,
            "received": self.received,
        }

    # ---- what goes on meanwhile

    async def _send_numbers(self, interval: float) -> None:
        while True:
            self.sent += 1
            try:
                await self.me.publish_data(str(self.sent), reliable=True, topic=TOPIC)
            except Exception:
                self.refused.append(self.sent)
            await asyncio.sleep(interval)

    def _count(self, packet: rtc.DataPacket) -> None:
        if packet.topic == TOPIC:
            self.received.append(int(packet.data))

    async def _listen(self, track: rtc.Track, identity: str) -> None:
        samples = np.zeros(0, np.int16)
        async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1):
            frame = np.frombuffer(event.frame.data, np.int16)
            samples = np.concatenate([samples, frame])[-SOUND:]
            self.sounds[identity] = Sound(samples)
            if frame.std() > LOUD:
                now = time.time()
                if self.loud_at and now - self.loud_at > PAUSE:
                    self.pauses.append((self.loud_at, now - self.loud_at))
                self.loud_at = now
            self.note()


async def main() -> None:
    witness = Witness(sys.argv[1])
    await answer_lines(methods_of(witness))
    await witness.leave()


if __name__ == "__main__":
    asyncio.run(main())
