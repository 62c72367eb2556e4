"""A client's media against a real server: just enough signalling, and what comes of it."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from array import array
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count, pairwise
from typing import Literal, TypeAlias, TypeVar

import pytest
from livekit.protocol import models, rtc
from websockets.asyncio.client import ClientConnection, connect

import roomful
from roomful._core import AudioQueue, AudioSink, FrameSink, Peer, PeerEvent

T = TypeVar("T", bound=PeerEvent)
#: How a member connects: by datagrams if not told, or by nothing but this.
Way: TypeAlias = Literal["", "tcp", "turn/udp", "turn/tcp", "turn/tls"]
RELAYS = ("turn/udp", "turn/tcp", "turn/tls")
#: Seconds that anything may take on a loaded machine.
PATIENCE = 20.0


def target_of(signal: int) -> Literal["publisher", "subscriber"]:
    return "subscriber" if signal == rtc.SignalTarget.SUBSCRIBER else "publisher"


class Member:
    """Somebody in a room: signalling without rules around a `Peer`."""

    def __init__(self, socket: ClientConnection, single: bool, way: Way = "") -> None:
        self.socket = socket
        self.way = way
        loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()
        self.peer = Peer(single=single, wake=lambda: loop.call_soon_threadsafe(self.take))
        self.events: list[PeerEvent] = []
        self.outbox: asyncio.Queue[rtc.SignalRequest] = asyncio.Queue()
        self.peer.open_channels()
        if single:
            self.peer.add_receivers(3, 3)
        self.peer.negotiate()

    def take(self) -> None:
        for event in self.peer.take_events():
            self.events.append(event)
            match event:
                case PeerEvent.Description("publisher", kind, sdp, id):
                    offer = rtc.SessionDescription(type=kind, sdp=self.without_datagrams(sdp), id=id)
                    self.outbox.put_nowait(rtc.SignalRequest(offer=offer))
                case PeerEvent.Description(_, kind, sdp, id):
                    answer = rtc.SessionDescription(type=kind, sdp=sdp, id=id)
                    self.outbox.put_nowait(rtc.SignalRequest(answer=answer))
        self.changed.set()

    async def send(self) -> None:
        while True:
            await self.socket.send((await self.outbox.get()).SerializeToString())

    async def receive(self) -> None:
        async for frame in self.socket:
            assert isinstance(frame, bytes)
            message = rtc.SignalResponse.FromString(frame)
            match message.WhichOneof("message"):
                case "join" if self.way in RELAYS:
                    servers = [
                        (self.relays(server.urls), server.username, server.credential)
                        for server in message.join.ice_servers
                    ]
                    self.peer.set_ice_servers(servers, relay_only=True)
                case "answer":
                    answer = message.answer
                    sdp = self.without_datagrams(answer.sdp)
                    self.peer.remote_description("publisher", "answer", sdp, answer.id)
                case "offer":
                    offer = message.offer
                    self.peer.remote_description("subscriber", "offer", offer.sdp, offer.id)
                case "trickle":
                    line = json.loads(message.trickle.candidateInit).get("candidate", "")
                    if self.passes(line):
                        self.peer.remote_candidate(target_of(message.trickle.target), line)
                case "media_sections_requirement":
                    wanted = message.media_sections_requirement
                    self.peer.add_receivers(wanted.num_audios, wanted.num_videos)
                    self.peer.negotiate()

    def relays(self, urls: Iterable[str]) -> list[str]:
        """Those for the way; the server listens for streams where it does for datagrams."""
        if self.way == "turn/tls":
            return [url for url in urls if url.startswith("turns:")]
        transport = self.way.replace("turn/", "transport=")
        return [url.replace("transport=udp", transport) for url in urls if url.startswith("turn:")]

    def passes(self, candidate: str) -> bool:
        return self.way != "tcp" or " udp " not in candidate

    def without_datagrams(self, sdp: str) -> str:
        lines = sdp.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("a=candidate:") or self.passes(line))

    async def until(self, found: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not found():
                self.changed.clear()
                await self.changed.wait()

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    async def ready(self) -> None:
        await self.until(lambda: len(self.of(PeerEvent.ChannelOpen)) == 3)

    def announce(self, track: int) -> None:
        request = rtc.AddTrackRequest(
            cid=f"cid-{track}",
            name="voice",
            type=models.TrackType.AUDIO,
            source=models.TrackSource.MICROPHONE,
        )
        self.outbox.put_nowait(rtc.SignalRequest(add_track=request))

    async def frames(self, track: PeerEvent.Track, count: int) -> list[bytes]:
        """The first frames of a received track, as they were encoded."""
        loop, frames = asyncio.get_running_loop(), list[bytes]()

        def take() -> None:
            frames.extend(data for data, *_ in sink.take())
            self.changed.set()

        sink = FrameSink(lambda: loop.call_soon_threadsafe(take), 100)
        self.peer.see(track.target, track.mid, sink)
        await self.until(lambda: len(frames) >= count)
        self.peer.stop(track.target, track.mid, sink)
        return frames

    async def listen(self, track: PeerEvent.Track, seconds: float, rate: int) -> array[int]:
        """What is heard of a track from its first sound on."""
        loop, heard = asyncio.get_running_loop(), array("h")

        def take() -> None:
            for frame in sink.take():
                if heard or any(frame):
                    heard.frombytes(frame)
            self.changed.set()

        sink = AudioSink(lambda: loop.call_soon_threadsafe(take), rate, 1, 500)
        self.peer.hear(track.target, track.mid, sink)
        # Asked for twice it is heard once.
        self.peer.hear(track.target, track.mid, sink)
        await self.until(lambda: len(heard) >= seconds * rate)
        self.peer.stop(track.target, track.mid, sink)
        return heard


@asynccontextmanager
async def join(server: roomful.Server, identity: str, single: bool, way: Way = "") -> AsyncIterator[Member]:
    token = server.token(identity=identity, room="room")
    request = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk=models.ClientInfo.PYTHON, protocol=17),
        connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
    )
    wrapped = rtc.WrappedJoinRequest(join_request=request.SerializeToString())
    query = (
        f"/rtc/v1?join_request={base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()}"
        if single
        else "/rtc?protocol=17&auto_subscribe=1&sdk=python"
    )
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(server.url + query, additional_headers=headers) as socket:
        member = Member(socket, single, way)
        tasks = [asyncio.create_task(member.send()), asyncio.create_task(member.receive())]
        try:
            yield member
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            member.peer.close()


async def meet(server: roomful.Server, single: bool) -> None:
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(join(server, "alice", single))
        bob = await stack.enter_async_context(join(server, "bob", single))
        await alice.ready()
        await bob.ready()

        packet = models.DataPacket(user=models.UserPacket(payload=b"hello"))
        assert alice.peer.send("reliable", packet.SerializeToString())
        await bob.until(lambda: bob.of(PeerEvent.Data))
        (message,) = bob.of(PeerEvent.Data)
        received = models.DataPacket.FromString(message.data)
        assert (received.user.payload, received.participant_identity) == (b"hello", "alice")

        alice.announce(7)
        alice.peer.publish_opus(7, cid="cid-7", stream="voice", red=False)
        alice.peer.negotiate()
        async with asyncio.TaskGroup() as tasks:
            speaking = tasks.create_task(speak(alice, 7))
            await bob.until(lambda: bob.of(PeerEvent.Track))
            (track,) = bob.of(PeerEvent.Track)
            assert (track.kind, track.mime) == ("audio", "audio/opus")
            frames = await bob.frames(track, 10)
            speaking.cancel()
        numbers = [int.from_bytes(frame[1:5]) for frame in frames]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

        alice.peer.unpublish(7)
        alice.peer.negotiate()
        await bob.until(lambda: bob.of(PeerEvent.TrackEnded))
        assert not alice.of(PeerEvent.Rejected) + bob.of(PeerEvent.Rejected)


async def speak(member: Member, track: int) -> None:
    """Opus frames of 20 ms that hold their numbers."""
    number = 0
    while True:
        payload = b"\xfc" + number.to_bytes(4) + bytes(40)
        member.peer.send_opus(track, payload, timestamp=number * 960, level=20, voice=True)
        number += 1
        await asyncio.sleep(0.02)


@pytest.mark.asyncio
@pytest.mark.parametrize("single", [True, False])
async def test_two_clients_hear_each_other_and_exchange_data(single: bool) -> None:
    async with roomful.Server() as server:
        await meet(server, single)


@pytest.mark.asyncio
async def test_queued_sound_is_heard_in_the_time_that_it_takes() -> None:
    async with roomful.Server() as server, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(join(server, "alice", True))
        bob = await stack.enter_async_context(join(server, "bob", True))
        await alice.ready()
        await bob.ready()
        queue = AudioQueue(24_000, 1, 1_000)
        alice.announce(3)
        alice.peer.publish_audio(3, queue, cid="cid-3", stream="voice")
        alice.peer.negotiate()
        async with asyncio.TaskGroup() as tasks:
            whistling = tasks.create_task(whistle(queue, 24_000))
            await bob.until(lambda: bob.of(PeerEvent.Track))
            (track,) = bob.of(PeerEvent.Track)
            began = asyncio.get_running_loop().time()
            heard = await bob.listen(track, 1.0, 16_000)
            took = asyncio.get_running_loop().time() - began
            whistling.cancel()
        assert 0.9 < took < 3.0
        # The tone crosses zero twice a period; the beginning may be soft.
        settled = heard[4_000:14_000]
        crossings = sum((a < 0) != (b < 0) for a, b in pairwise(settled))
        assert abs(crossings / 2 / (len(settled) / 16_000) - 440) < 20
        assert max(settled) > 4_000


async def whistle(queue: AudioQueue, rate: int) -> None:
    """440 Hz, as fast as the queue takes it."""
    period = [int(8_000 * math.sin(math.tau * 440 * index / rate)) for index in range(rate)]
    piece = rate // 50
    for start in count(0, piece):
        samples = array("h", (period[(start + index) % rate] for index in range(piece)))
        while (wait := queue.push(samples.tobytes())) > 0:  # noqa: ASYNC110 - it says how long
            await asyncio.sleep(wait)


@pytest.mark.asyncio
async def test_a_closed_peer_takes_calls_and_does_nothing() -> None:
    peer = Peer(single=True, wake=lambda: None)
    peer.close()
    peer.close()
    peer.open_channels()
    peer.negotiate()
    assert not peer.send("reliable", b"late")
    assert peer.take_events() == []


def test_a_description_is_shown_without_its_passwords() -> None:
    event = PeerEvent.Description("publisher", "offer", "a=ice-pwd:secret\r\n", 7)
    assert event.sdp.startswith("a=ice-pwd")
    assert "publisher" in repr(event)
    assert "secret" not in repr(event)
