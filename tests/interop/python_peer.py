"""A participant on PyPI's `livekit` or on `roomful.rtc`, told what to do by lines (see peers.run_program)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import numpy as np
from lines import answer_lines, methods_of
from python.sdk import rtc

RATE = 48_000
WAIT = 20.0  # Seconds.
QUIET = 50  # Of 32,768.
COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}
CODECS = {"vp8": rtc.VideoCodec.VP8, "h264": rtc.VideoCodec.H264, "vp9": rtc.VideoCodec.VP9}
CODECS["av1"] = rtc.VideoCodec.AV1


class Peer:
    def __init__(self) -> None:
        self.room = rtc.Room()
        self.data: list[dict[str, Any]] = []
        self.events: list[tuple[str, str]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        #: Of each sender: the latest half second of sound, the latest picture's middle and the pictures seen.
        self.sound: dict[str, np.ndarray[Any, Any]] = {}
        #: Of those watched for gaps: seconds of silence now, and at most.
        self.gap: dict[str, tuple[float, float]] = {}
        self.colour: dict[str, list[int]] = {}
        self.frames: dict[str, int] = {}

    async def connect(self, url: str, token: str, relay: bool = False, key: str = "", stun: str = "") -> None:
        """`relay`: by nothing but a TURN server. `key`: of all, in a room encrypted from end to end. `stun`:
        the one server to ask."""
        room = self.room
        room.on("track_subscribed", self._subscribed)
        room.on("data_received", self._data_received)
        note = self.events.append
        room.on("track_muted", lambda who, _: note(("trackMuted", who.identity)))
        room.on(
            "track_unsubscribed",
            lambda _, it, who: note(("trackUnsubscribed", f"{who.identity} {it.sid}")),
        )
        room.on("participant_connected", lambda who: note(("participantConnected", who.identity)))
        room.on("participant_disconnected", lambda who: note(("participantDisconnected", who.identity)))
        room.on("reconnected", lambda: note(("reconnected", "")))
        room.on("disconnected", lambda reason: note(("disconnected", str(reason))))
        room.on("moved", lambda: note(("moved", "")))
        room.on("track_subscription_failed", lambda who, *_: note(("subscriptionFailed", who.identity)))
        room.on(
            "e2ee_state_changed",
            lambda who, state: note(("encryption", f"{who.identity} {rtc.EncryptionState.Name(state)}")),
        )
        room.register_text_stream_handler(
            "text", lambda reader, who: self._spawn(self._read_text(reader, who))
        )
        room.register_byte_stream_handler(
            "file", lambda reader, who: self._spawn(self._read_file(reader, who))
        )
        options = rtc.RoomOptions()
        if relay:
            options.rtc_config = rtc.RtcConfiguration(ice_transport_type=rtc.IceTransportType.TRANSPORT_RELAY)
        if stun:
            options.rtc_config = rtc.RtcConfiguration(ice_servers=[rtc.IceServer(urls=[stun])])
        if key:
            # Without a tolerance PyPI's never tells of a wrong key.
            keys = rtc.KeyProviderOptions(shared_key=key.encode(), failure_tolerance=0)
            options.encryption = rtc.E2EEOptions(key_provider_options=keys)
        await room.connect(url, token, options)

        @room.local_participant.register_rpc_method("shout")
        async def shout(call: rtc.RpcInvocationData) -> str:
            return call.payload.upper()

    async def meets(self, identity: str) -> None:
        known = self.room.remote_participants
        await self._until(f"meets {identity}", lambda: (identity in known, list(known)))

    async def die(self) -> None:
        """As by kill -9: nobody is told."""
        os.kill(os.getpid(), signal.SIGKILL)

    async def leave(self) -> None:
        await self.room.disconnect()

    # ---- publishing

    async def publishTone(self, hz: int) -> None:
        source = rtc.AudioSource(RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("tone", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self.room.local_participant.publish_track(track, options)
        self._spawn(self._play(source, hz))

    async def _play(self, source: rtc.AudioSource, hz: int) -> None:
        step, at = RATE // 100, 0
        while True:
            wave = np.sin(2 * np.pi * hz * np.arange(at, at + step) / RATE) * 8_000
            at += step
            await source.capture_frame(rtc.AudioFrame(wave.astype(np.int16).tobytes(), RATE, 1, step))

    async def publishColour(self, colour: str, codec: str = "vp8") -> None:
        width, height = 320, 180
        source = rtc.VideoSource(width, height)
        track = rtc.LocalVideoTrack.create_video_track("colour", source)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA, video_codec=CODECS[codec], simulcast=False
        )
        await self.room.local_participant.publish_track(track, options)
        self._spawn(self._show(source, width, height, colour))

    async def _show(self, source: rtc.VideoSource, width: int, height: int, colour: str) -> None:
        pixels = bytes((*COLOURS[colour], 255)) * (width * height)
        frame = rtc.VideoFrame(width, height, rtc.VideoBufferType.RGBA, pixels)
        while True:
            source.capture_frame(frame)
            await asyncio.sleep(1 / 20)

    # ---- receiving

    def _subscribed(
        self, track: rtc.Track, publication: rtc.RemoteTrackPublication, who: rtc.RemoteParticipant
    ) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self._spawn(self._listen(track, who.identity))
        else:
            self._spawn(self._watch(track, who.identity))

    async def _listen(self, track: rtc.Track, identity: str) -> None:
        sound = np.zeros(0, np.int16)
        async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1):
            sound = np.concatenate([sound, np.frombuffer(event.frame.data, np.int16)])[-RATE // 2 :]
            self.sound[identity] = sound
            if np.frombuffer(event.frame.data, np.int16).std() >= QUIET:
                self._heard(identity)

    def _heard(self, identity: str) -> None:
        now = time.monotonic()
        last, longest = self.gap.get(identity, (now, 0.0))
        self.gap[identity] = (now, max(longest, now - last))

    async def _watch(self, track: rtc.Track, identity: str) -> None:
        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.RGBA):
            frame = event.frame
            middle = (frame.height // 2 * frame.width + frame.width // 2) * 4
            self.colour[identity] = list(frame.data[middle : middle + 3])
            self.frames[identity] = self.frames.get(identity, 0) + 1

    async def hears(self, identity: str, hz: int) -> None:
        def probe() -> tuple[bool, object]:
            sound = self.sound.get(identity)
            if sound is None or len(sound) < RATE // 2:
                return False, "no sound"
            spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
            loudest = int(spectrum.argmax()) * 2  # Bins of 2 Hz.
            return abs(loudest - hz) <= 20 and sound.std() > 100, (loudest, float(sound.std()))

        await self._until(f"hears {identity} at {hz} Hz", probe)

    async def hearsAnew(self, identity: str, hz: int) -> None:
        """Not counting what was heard before."""
        self.sound.pop(identity, None)
        await self.hears(identity, hz)

    async def watchForGaps(self, identity: str) -> None:
        """From now on; `longestGap` tells."""
        self.gap[identity] = (time.monotonic(), 0.0)

    async def longestGap(self, identity: str) -> float:
        """Seconds in which nothing was heard of somebody, at most, since `watchForGaps`."""
        last, longest = self.gap[identity]
        return max(longest, time.monotonic() - last)

    async def fallsSilent(self, identity: str) -> None:
        """Since `watchForGaps`: whether as silence or without a frame."""

        def probe() -> tuple[bool, object]:
            silence = time.monotonic() - self.gap[identity][0]
            return silence > 0.5, silence

        await self._until(f"hears silence of {identity}", probe)

    async def sees(self, identity: str, colour: str) -> None:
        def probe() -> tuple[bool, object]:
            seen = self.colour.get(identity, [0, 0, 0])
            close = all(abs(a - b) <= 40 for a, b in zip(seen, COLOURS[colour], strict=True))
            return close and self.frames[identity] > 3, seen

        await self._until(f"sees {colour} of {identity}", probe)

    async def perceives(self) -> list[str]:
        """Whoever was heard or seen, were it as noise."""
        heard = {who for who, sound in self.sound.items() if sound.std() >= QUIET}
        return sorted(heard | self.frames.keys() | self.gap.keys())

    async def forgetMedia(self) -> None:
        """What is heard and seen counts from now on."""
        self.sound.clear()
        self.colour.clear()
        self.frames.clear()

    async def receives(self, wanted: dict[str, Any]) -> None:
        await self._until(
            f"receives {wanted}", lambda: (any(wanted.items() <= got.items() for got in self.data), self.data)
        )

    async def notices(self, name: str, detail: str) -> None:
        await self._until(f"notices {name}", lambda: ((name, detail) in self.events, self.events))

    # ---- data

    async def send(self, text: str, reliable: bool = True) -> None:
        await self.room.local_participant.publish_data(text, reliable=reliable)

    async def sendText(self, text: str) -> None:
        await self.room.local_participant.send_text(text, topic="text")

    async def sendFile(self, name: str, size: int) -> None:
        writer = await self.room.local_participant.stream_bytes(name, topic="file", total_size=size)
        await writer.write(bytes(size))
        await writer.aclose()

    async def request(self, identity: str, method: str, payload: str) -> str:
        return await self.room.local_participant.perform_rpc(
            destination_identity=identity, method=method, payload=payload
        )

    def _data_received(self, packet: rtc.DataPacket) -> None:
        who = packet.participant.identity if packet.participant else None
        self.data.append({"kind": "packet", "from": who, "content": packet.data.decode(errors="replace")})

    def _text_opened(self, reader: rtc.TextStreamReader, identity: str) -> None:
        self._spawn(self._read_text(reader, identity))

    def _file_opened(self, reader: rtc.ByteStreamReader, identity: str) -> None:
        self._spawn(self._read_file(reader, identity))

    async def _read_text(self, reader: rtc.TextStreamReader, identity: str) -> None:
        self.data.append({"kind": "text", "from": identity, "content": await reader.read_all()})

    async def _read_file(self, reader: rtc.ByteStreamReader, identity: str) -> None:
        size = 0
        async for chunk in reader:
            size += len(chunk)
        self.data.append({"kind": "file", "from": identity, "content": size, "name": reader.info.name})

    # ---- everything else

    async def path(self) -> list[str]:
        """By what it reaches the server, each once: "udp", "tcp", or "relay" and by what it asks one."""
        stats = await self.room.get_rtc_stats()
        found = set()
        for connection in (stats.publisher_stats, stats.subscriber_stats):
            selected = {it.transport.transport.selected_candidate_pair_id for it in connection}
            own = {it.local_candidate.rtc.id: it.local_candidate.candidate for it in connection}
            for it in connection:
                if it.HasField("candidate_pair") and it.candidate_pair.rtc.id in selected:
                    local = own[it.candidate_pair.candidate_pair.local_candidate_id]
                    relayed = local.candidate_type == rtc.stats.IceCandidateType.RELAY
                    kind = rtc.stats.IceServerTransportProtocol.Name(local.relay_protocol)
                    found.add(
                        f"relay {kind.removeprefix('TRANSPORT_').lower()}" if relayed else local.protocol
                    )
        return sorted(found)

    async def audioPackets(self) -> tuple[int, int]:
        """How many came, and how many did not."""
        stats = await self.room.get_rtc_stats()
        counted = [
            it.inbound_rtp.received
            for connection in (stats.publisher_stats, stats.subscriber_stats)
            for it in connection
            if it.HasField("inbound_rtp") and it.inbound_rtp.stream.kind == "audio"
        ]
        return sum(it.packets_received for it in counted), sum(it.packets_lost for it in counted)

    async def contents(self) -> list[str]:
        """Of the data that came."""
        return [it["content"] for it in self.data]

    async def received(self) -> list[dict[str, Any]]:
        return self.data

    async def forget(self) -> None:
        self.events.clear()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _until(self, what: str, probe: Any) -> None:
        found: object = None
        try:
            async with asyncio.timeout(WAIT):
                while True:
                    ok, found = probe()
                    if ok:
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"Never {what}. Last: {found}") from None


async def main() -> None:
    peer = Peer()
    await answer_lines(methods_of(peer))
    await peer.leave()


if __name__ == "__main__":
    asyncio.run(main())
