from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from livekit.protocol import models, rtc

from roomful.rtc import _data_tracks
from roomful.rtc._data_track_packets import Assembler, Extensions, Packet, Packetizer
from roomful.rtc._data_tracks import DataTracks
from roomful.rtc.data_track import (
    DataTrackFrame,
    LocalDataTrack,
    PublishDataTrackError,
    PushFrameError,
    RemoteDataTrack,
    SubscribeDataTrackError,
)

Reason = rtc.RequestResponse.Reason


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario, 20)

    asyncio.run(bounded(), debug=True)


def test_a_packet_is_as_its_specification_says() -> None:
    packet = Packet(
        handle=0x1234,
        sequence=0x5678,
        frame=0x9ABC,
        timestamp=0xDEF01234,
        start=True,
        final=False,
        payload=b"load",
        extensions=Extensions(user_timestamp=7, encryption=(3, bytes(range(12)))),
    )
    assert packet.to_bytes().hex() == (
        "1400123456789abcdef012340006010d03000102030405060708090a0b02080000000000000007006c6f6164"
    )
    assert Packet.from_bytes(packet.to_bytes()) == packet
    plain = Packet(1, 0, 0, 0, True, True, b"")
    assert (len(plain.to_bytes()), Packet.from_bytes(plain.to_bytes())) == (12, plain)


def test_garbage_is_refused_and_unknown_extensions_are_passed_over() -> None:
    for garbage in (
        b"",
        bytes(11),
        b"\x20" + bytes(11),
        b"\x04" + bytes(13),
        b"\x04" + bytes(11) + b"\xff\xff",
    ):
        with pytest.raises(ValueError, match=r"packet|version"):
            Packet.from_bytes(garbage)
    header = b"\x1c" + bytes(11)
    unknown = b"\x00\x04" + b"\x09\x02ab" + b"\x02\x08" + (5).to_bytes(8, "big") + bytes(4)
    assert Packet.from_bytes(header + unknown + b"x").extensions == Extensions(user_timestamp=5)
    for _ in range(2000):
        data = random.randbytes(random.randrange(40))
        try:
            Packet.from_bytes(b"\x04" + data)
        except ValueError:
            continue


def frame_packets(size: int, packetizer: Packetizer) -> tuple[bytes, list[Packet]]:
    payload = random.Random(size).randbytes(size)
    packets = packetizer.packets(payload, Extensions(user_timestamp=size))
    assert all(len(packet) <= 16_000 for packet in packets)
    return payload, [Packet.from_bytes(packet) for packet in packets]


def test_frames_are_put_together_in_whatever_order_unless_one_is_lost() -> None:
    packetizer, assembler = Packetizer(1), Assembler()
    packetizer._sequence = packetizer._frame = 0xFFFE
    for size in (0, 1, 15_972, 15_973, 100_000):
        payload, packets = frame_packets(size, packetizer)
        middle = packets[1:-1]
        random.Random(1).shuffle(middle)
        results = [assembler.push(packet) for packet in packets[:1] + middle + middle[:1] + packets[1:][-1:]]
        assert results[-1] == (payload, Extensions(user_timestamp=size))
        assert not any(results[:-1])
        for lost in range(len(packets)):
            assert not any([assembler.push(packet) for packet in packets if packet is not packets[lost]])
    with pytest.raises(ValueError, match="frame of more than"):
        frame_packets(16_000 * 128, packetizer)


def test_frames_between_each_other_need_room_for_partial_ones() -> None:
    packetizer = Packetizer(1)
    first, a = frame_packets(40_000, packetizer)
    second, b = frame_packets(30_000, packetizer)
    for room, expected in ((1, [second]), (2, [first, second])):
        assembler = Assembler()
        assembler.max_partial_frames = room
        results = [assembler.push(packet) for packet in (a[0], b[0], *a[1:], *b[1:])]
        assert [result[0] for result in results if result] == expected
    assembler.max_partial_frames = 5
    assert [assembler.push(packet) for packet in (a[0], b[0], a[1], a[2])][-1]


class Reversing:
    """A cipher that everybody can see through."""

    def encrypt(self, payload: bytes) -> tuple[int, bytes, bytes]:
        return 3, b"iv" * 6, payload[::-1]

    def decrypt(self, identity: str, key_index: int, iv: bytes, payload: bytes) -> bytes | None:
        return payload[::-1] if (identity, key_index, iv) == ("ada", 3, b"iv" * 6) else None


class End:
    """The port of one participant, and what is asked of its server."""

    def __init__(self) -> None:
        self.identity = "me"
        self._server_version = ""
        self.asked: list[rtc.SignalRequest] = []
        self.sent: list[bytes] = []
        self.full = False
        self.connected = True
        self.events: list[tuple[str, Any]] = []
        self.tracks = DataTracks(self, lambda name, argument: self.events.append((name, argument)))

    def _signal(self, request: rtc.SignalRequest) -> None:
        if not self.connected:
            raise RuntimeError("not connected")
        self.asked.append(request)

    def _send_track_packet(self, packet: bytes) -> bool:
        self.sent.append(packet)
        return not self.full

    async def _send_packet(self, packet: models.DataPacket, *, reliable: bool = True) -> None: ...

    def _recipients(self, identities: Any = ()) -> list[models.ParticipantInfo]:
        return []

    def wanted(self) -> list[tuple[str, bool]]:
        asked, self.asked = self.asked, []
        return [
            (update.track_sid, update.subscribe)
            for request in asked
            for update in request.update_data_subscription.updates
        ]

    async def publish(self, name: str = "t", sid: str = "DTR_1") -> LocalDataTrack:
        publishing = asyncio.ensure_future(self.tracks.publish(name))
        await asyncio.sleep(0)
        request = self.asked[-1].publish_data_track_request
        self.accept(request, sid)
        return await publishing

    def accept(self, request: rtc.PublishDataTrackRequest, sid: str) -> None:
        info = models.DataTrackInfo(
            pub_handle=request.pub_handle, sid=sid, name=request.name, encryption=request.encryption
        )
        response = rtc.PublishDataTrackResponse(info=info)
        assert self.tracks.handle_response(rtc.SignalResponse(publish_data_track_response=response))

    def other(
        self, *sids: str, identity: str = "ada", handle: int = 1, encryption: int = 0, **fields: Any
    ) -> models.ParticipantInfo:
        infos = [
            models.DataTrackInfo(sid=sid, name="n", pub_handle=handle + i, encryption=encryption)  # type: ignore[arg-type]
            for i, sid in enumerate(sids)
        ]
        return models.ParticipantInfo(identity=identity, data_tracks=infos, **fields)

    def handles(self, **sids: str) -> None:
        handles = rtc.DataTrackSubscriberHandles()
        for handle, sid in sids.items():
            handles.sub_handles[int(handle[1:])].track_sid = sid
        assert self.tracks.handle_response(rtc.SignalResponse(data_track_subscriber_handles=handles))

    def remote(self, **options: Any) -> RemoteDataTrack:
        self.tracks.participants([self.other("DTR_a", **options)])
        name, track = self.events[-1]
        assert name == "data_track_published"
        return track  # type: ignore[no-any-return]

    def come(self, payload: bytes, handle: int = 5) -> None:
        for packet in Packetizer(handle).packets(payload, Extensions(user_timestamp=1)):
            self.tracks.handle(packet)


def test_a_track_is_published_pushed_to_and_unpublished() -> None:
    async def scenario() -> None:
        end = End()
        track = await end.publish("sensor")
        assert (track.info.sid, track.info.name, track.info.uses_e2ee) == ("DTR_1", "sensor", False)
        assert track.is_published()
        track.try_push(DataTrackFrame(b"x" * 20_000, user_timestamp=9))
        packets = [Packet.from_bytes(packet) for packet in end.sent]
        assert b"".join(packet.payload for packet in packets) == b"x" * 20_000
        assert {(packet.handle, packet.extensions.user_timestamp) for packet in packets} == {(1, 9)}
        assert [response.info.sid for response in end.tracks.published()] == ["DTR_1"]

        for frame in (DataTrackFrame(5), DataTrackFrame("x")):  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                track.try_push(frame)
        for timestamp in (-1, 2**64):
            with pytest.raises(ValueError, match="out of range"):
                track.try_push(DataTrackFrame(b"x", timestamp))
        end.full = True
        with pytest.raises(PushFrameError, match="queue full"):
            track.try_push(DataTrackFrame(b"x"))
        with pytest.raises(PushFrameError, match="more than"):
            track.try_push(DataTrackFrame(bytes(3_000_000)))
        await track.unpublish()
        await track.unpublish()
        assert [bool(request.unpublish_data_track_request.pub_handle) for request in end.asked] == [
            False,
            True,
        ]
        with pytest.raises(PushFrameError, match="unpublished"):
            track.try_push(DataTrackFrame(b"x"))

    run(scenario())


def test_refusals_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_data_tracks, "PUBLISH_TIMEOUT", 0.01)

    async def scenario() -> None:
        end = End()
        for reason, message in (
            (Reason.NOT_ALLOWED, "unauthorized"),
            (Reason.DUPLICATE_NAME, "already taken"),
            (Reason.INVALID_REQUEST, "as the server says"),
        ):
            publishing = asyncio.ensure_future(end.tracks.publish("t"))
            await asyncio.sleep(0)
            response = rtc.RequestResponse(
                reason=reason,
                message="as the server says",
                publish_data_track=end.asked[-1].publish_data_track_request,
            )
            assert end.tracks.handle_response(rtc.SignalResponse(request_response=response))
            with pytest.raises(PublishDataTrackError, match=message):
                await publishing
        with pytest.raises(PublishDataTrackError, match="timed-out"):
            await end.tracks.publish("t")
        late = end.asked[-1].unpublish_data_track_request.pub_handle
        end.accept(rtc.PublishDataTrackRequest(pub_handle=late), "DTR_late")
        assert end.asked[-1].unpublish_data_track_request.pub_handle == late
        end.connected = False
        with pytest.raises(PublishDataTrackError, match="disconnected"):
            await end.tracks.publish("t")
        assert not end.tracks._publishing
        assert not end.tracks.published()
        assert not end.tracks.handle_response(rtc.SignalResponse(pong=1))
        mute = rtc.RequestResponse(mute=rtc.MuteTrackRequest(sid="TR_x"))
        assert not end.tracks.handle_response(rtc.SignalResponse(request_response=mute))

    run(scenario())


def test_a_track_that_nobody_holds_is_unpublished() -> None:
    async def scenario() -> None:
        end = End()
        await end.publish()
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)
        assert end.asked[-1].HasField("unpublish_data_track_request")
        assert not end.tracks.published()

    run(scenario())


def test_own_tracks_are_published_again_in_a_new_session() -> None:
    async def scenario() -> None:
        end = End()
        track = await end.publish()
        waiting = asyncio.ensure_future(end.tracks.publish("other"))
        await asyncio.sleep(0)
        end.tracks.reconnected()
        with pytest.raises(PublishDataTrackError, match="disconnected"):
            await waiting
        with pytest.raises(PushFrameError, match="queue full"):
            track.try_push(DataTrackFrame(b"x"))
        end.accept(end.asked[-1].publish_data_track_request, "DTR_2")
        track.try_push(DataTrackFrame(b"x"))
        assert (track.info.sid, track.is_published()) == ("DTR_2", True)
        end.tracks.close()
        assert not track.is_published()

    run(scenario())


def test_frames_of_others_come_to_every_stream() -> None:
    async def scenario() -> None:
        end = End()
        track = end.remote()
        assert (track.info.sid, track.publisher_identity, track.is_published()) == ("DTR_a", "ada", True)
        first, second = track.subscribe(), track.subscribe(buffer_size=0)
        assert end.wanted() == [("DTR_a", True)]
        end.handles(h5="DTR_a")
        waiting = asyncio.ensure_future(first.__anext__())
        await asyncio.sleep(0)
        end.come(b"x" * 50_000)
        assert await waiting == DataTrackFrame(b"x" * 50_000, user_timestamp=1)
        for payload in (b"1", b"2"):
            end.come(payload)
        end.come(b"to nobody", handle=6)
        end.tracks.handle(b"garbage")
        assert [(await first.read()).payload for _ in "12"] == [b"1", b"2"]  # type: ignore[union-attr]
        assert (await second.read()).payload == b"2"  # type: ignore[union-attr]
        first.close()
        assert await first.read() is None
        assert end.wanted() == []
        await second.aclose()
        assert end.wanted() == [("DTR_a", False)]
        end.come(b"late")

    run(scenario())


def test_a_stream_ends_with_its_track() -> None:
    async def scenario() -> None:
        end = End()
        for gone in (end.other(), end.other("DTR_a", state=models.ParticipantInfo.State.DISCONNECTED)):
            stream = end.remote().subscribe()
            end.handles(h5="DTR_a")
            end.come(b"last")
            waiting = asyncio.ensure_future(stream.read())
            end.tracks.participants([gone])
            assert end.events[-1] == ("data_track_unpublished", "DTR_a")
            assert (await waiting) is not None
            assert [frame async for frame in stream] == []
        end.remote()
        end.tracks.participants([end.other(identity="ben")], all_of_them=True)
        assert end.events[-1] == ("data_track_unpublished", "DTR_a")

    run(scenario())


def test_a_subscription_that_fails_raises_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        end = End()
        track = end.remote()
        stream = track.subscribe()
        end.tracks.participant_left("ada")
        for failed in (stream, track.subscribe()):
            with pytest.raises(SubscribeDataTrackError, match="unpublished"):
                await failed.read()
            assert await failed.read() is None
        stream = end.remote().subscribe()
        end.tracks.close()
        with pytest.raises(SubscribeDataTrackError, match="disconnected"):
            await stream.read()
        monkeypatch.setattr(_data_tracks, "SUBSCRIBE_TIMEOUT", 0.01)
        track = end.remote()
        end.wanted()
        with pytest.raises(SubscribeDataTrackError, match="timed-out"):
            await track.subscribe().read()
        assert end.wanted() == [("DTR_a", True), ("DTR_a", False)]
        stream = track.subscribe()
        end.handles(h5="DTR_a")
        end.come(b"now")
        assert await stream.read()

    run(scenario())


def test_a_lost_stream_unsubscribes_and_a_waiting_one_is_not_lost() -> None:
    async def scenario() -> None:
        end = End()
        track = end.remote()
        got: list[bytes] = []

        async def collect() -> None:
            async for frame in track.subscribe():
                got.append(frame.payload)

        track.subscribe()
        gc.collect()
        await asyncio.sleep(0)
        assert end.wanted() == [("DTR_a", True), ("DTR_a", False)]
        asyncio.ensure_future(collect())  # noqa: RUF006
        await asyncio.sleep(0)
        gc.collect()
        end.handles(h5="DTR_a")
        end.come(b"x")
        await asyncio.sleep(0)
        assert got == [b"x"]
        end.tracks.close()
        await asyncio.sleep(0)

    run(scenario())


def test_streams_outlive_their_publishers_and_our_own_reconnect() -> None:
    async def scenario() -> None:
        end = End()
        track = end.remote(handle=3)
        stream = track.subscribe()
        end.handles(h5="DTR_a")
        end.wanted()
        end.tracks.participants([end.other("DTR_b", handle=3)])
        assert (track.info.sid, end.wanted(), len(end.events)) == ("DTR_b", [("DTR_b", True)], 1)
        end.tracks.reconnected()
        assert end.wanted() == [("DTR_b", True)]
        end.come(b"of the old session")
        end.handles(h9="DTR_b")
        end.come(b"x", handle=9)
        assert (await stream.read()).payload == b"x"  # type: ignore[union-attr]

    run(scenario())


def test_encrypted_frames_need_the_cipher() -> None:
    async def scenario() -> None:
        end = End()
        end.tracks.cipher = Reversing()
        own = await end.publish()
        assert own.info.uses_e2ee
        own.try_push(DataTrackFrame(b"abc"))
        packet = Packet.from_bytes(end.sent[-1])
        assert (packet.payload, packet.extensions.encryption) == (b"cba", (3, b"iv" * 6))
        stream = end.remote(encryption=1).subscribe()
        end.handles(h5="DTR_a")
        end.come(b"not encrypted")
        end.tracks.handle(Packet(5, 0, 0, 0, True, True, b"cba", packet.extensions).to_bytes())
        assert (await stream.read()).payload == b"abc"  # type: ignore[union-attr]

    run(scenario())


@pytest.mark.parametrize("told", [0, 1])
def test_a_server_that_says_otherwise_of_encryption_gets_no_frame(told: int) -> None:
    async def scenario() -> None:
        end = End()
        cipher = None if told else Reversing()
        end.tracks.cipher = cipher
        publishing = asyncio.ensure_future(end.tracks.publish("t"))
        await asyncio.sleep(0)
        request = end.asked[-1].publish_data_track_request
        assert request.encryption == 1 - told
        request.encryption = told  # type: ignore[assignment]
        end.accept(request, "DTR_1")
        with pytest.raises(PublishDataTrackError, match="encrypted"):
            await publishing
        assert end.asked[-1].unpublish_data_track_request.pub_handle == request.pub_handle

        # Nor does one that says so when it is published again.
        own = await end.publish()
        end.tracks.reconnected()
        request = end.asked[-1].publish_data_track_request
        request.encryption = told  # type: ignore[assignment]
        end.accept(request, "DTR_2")
        assert not own.is_published()
        assert end.asked[-1].unpublish_data_track_request.pub_handle == request.pub_handle
        assert not end.sent

    run(scenario())


def test_plain_frames_are_not_taken_in_an_encrypted_room() -> None:
    async def scenario() -> None:
        end = End()
        end.tracks.cipher = Reversing()
        stream = end.remote(encryption=0).subscribe()
        end.handles(h5="DTR_a")
        end.come(b"not encrypted")
        extensions = Extensions(encryption=(3, b"iv" * 6))
        end.tracks.handle(Packet(5, 0, 0, 0, True, True, b"cba", extensions).to_bytes())
        assert (await stream.read()).payload == b"abc"  # type: ignore[union-attr]

    run(scenario())
