from __future__ import annotations

import pytest
from livekit.protocol import models, rtc
from livekit.protocol.room import PerformRpcRequest

from roomful.server.errors import ControlError, ResourceExhausted
from roomful.server.media import Event
from roomful.server.rpc import MAX_CALLS, RpcFailed

from .world import Client, World


class Calling:
    """A call to `ada`, and what came of it."""

    def __init__(self, world: World, ada: Client, **request: object) -> None:
        self.world, self.ada = world, ada
        self.ended: list[str | ControlError] = []
        self.call = world.control.perform_rpc(
            PerformRpcRequest(room="demo", destination_identity="ada", method="m", **request)  # type: ignore[arg-type]
        )
        self.call.on_end = self.ended.append
        self.command = world.media.named("call")[-1]
        self.packets = [models.DataPacket.FromString(it) for it in self.command["packets"]]

    def answers(self, **packet: object) -> None:
        content = models.DataPacket(**packet)  # type: ignore[arg-type]
        self.world.events(
            Event.Answered(self.ada.number, self.command["caller"], content.SerializeToString())
        )

    def acknowledges(self) -> None:
        self.answers(rpc_ack=models.RpcAck(request_id=self.command["caller"]))

    def responds(self, **response: object) -> None:
        self.answers(rpc_response=models.RpcResponse(request_id=self.command["caller"], **response))  # type: ignore[arg-type]

    @property
    def error(self) -> tuple[str, str]:
        (error,) = self.ended
        assert isinstance(error, ControlError)
        return error.code, error.text


@pytest.fixture
def ada(world: World) -> Client:
    client = models.ClientInfo(sdk=models.ClientInfo.JS, protocol=17, client_protocol=1)
    return world.join("ada", client=client).connect()


def test_a_call_is_a_packet_of_an_identity_of_its_own(world: World, ada: Client) -> None:
    first, second = Calling(world, ada, payload="p"), Calling(world, ada, payload="p")
    (packet,) = first.packets
    caller = first.command["caller"]
    assert (packet.participant_identity, packet.rpc_request.id) == (caller, caller)
    assert caller != second.command["caller"]
    request = packet.rpc_request
    assert (request.method, request.payload, request.version) == ("m", "p", 1)
    assert request.response_timeout_ms == 10_000
    first.acknowledges()
    world.pass_time(5)
    first.responds(payload="answer")
    assert first.ended == ["answer"]
    first.responds(payload="another")
    assert len(first.ended) == 1
    assert {"participant": ada.number, "caller": caller} in world.media.named("end_call")


def test_an_answer_without_acknowledgement_counts_too(world: World, ada: Client) -> None:
    call = Calling(world, ada)
    call.responds(payload="")
    world.pass_time(60)
    assert call.ended == [""]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (1400, "invalid_argument"),
        (1404, "unimplemented"),
        (1500, "internal"),
        (1504, "internal"),
        (7, "internal"),
    ],
)
def test_the_participants_errors_have_their_codes(world: World, ada: Client, number: int, code: str) -> None:
    call = Calling(world, ada)
    call.responds(error=models.RpcError(code=number, message="why", data="d"))
    assert call.error == (code, f"RpcError {number}: why: d")


def test_timeouts(world: World, ada: Client) -> None:
    deaf = Calling(world, ada)
    world.pass_time(1.9)
    assert deaf.ended == []
    world.pass_time(0.2)
    assert deaf.error == ("canceled", "RpcError 1501: Connection timeout")
    slow = Calling(world, ada, response_timeout_ms=3000)
    slow.acknowledges()
    world.pass_time(2.9)
    assert slow.ended == []
    world.pass_time(0.2)
    assert slow.error == ("canceled", "RpcError 1502: Response timeout")
    short = Calling(world, ada, response_timeout_ms=100)
    world.pass_time(0.2)
    assert short.error[1].startswith("RpcError 1502")


def test_a_recipient_that_leaves_ends_the_call_at_once(world: World, ada: Client) -> None:
    call = Calling(world, ada)
    ada.send(leave=rtc.LeaveRequest())
    assert call.error == ("unavailable", "RpcError 1503: Recipient disconnected")


def test_larger_payloads_are_streamed_to_clients_that_take_streams(world: World, ada: Client) -> None:
    payload = "a" + "é" * 15_000
    call = Calling(world, ada, payload=payload)
    header, *chunks, trailer = call.packets
    attributes = dict(header.stream_header.attributes)
    assert attributes == {
        "lk.rpc_request_id": call.command["caller"],
        "lk.rpc_request_method": "m",
        "lk.rpc_request_response_timeout_ms": "10000",
        "lk.rpc_request_version": "2",
    }
    assert (header.stream_header.topic, header.stream_header.total_length) == ("lk.rpc_request", 30_001)
    contents = [it.stream_chunk.content.decode() for it in chunks]
    assert "".join(contents) == payload
    assert max(len(it.encode()) for it in contents) <= 15_000
    assert trailer.stream_trailer.stream_id == header.stream_header.stream_id
    assert {it.participant_identity for it in call.packets} == {call.command["caller"]}


def test_refusals(world: World, ada: Client) -> None:
    world.join("old", client=models.ClientInfo(protocol=17)).connect()

    def refused(**request: object) -> ControlError:
        with pytest.raises(ControlError) as error:
            world.control.perform_rpc(PerformRpcRequest(**{"room": "demo", **request}))  # type: ignore[arg-type]
        return error.value

    assert refused().code == "invalid_argument"
    assert refused(destination_identity="nobody").code == "not_found"
    for wrong in ({"method": "m" * 65}, {"response_timeout_ms": 3_600_001}):
        error = refused(destination_identity="ada", **wrong)
        assert error.code == "invalid_argument"
        assert next(iter(wrong)) in error.text
    large = refused(destination_identity="old", payload="p" * 15_361)
    assert isinstance(large, RpcFailed)
    assert (large.number, large.code) == (1402, "invalid_argument")
    assert refused(destination_identity="ada", payload="p" * 300_000).code == "invalid_argument"
    for _ in range(MAX_CALLS):
        Calling(world, ada)
    assert isinstance(refused(destination_identity="ada"), ResourceExhausted)


def test_a_call_that_nobody_waits_for_ends(world: World, ada: Client) -> None:
    call = Calling(world, ada)
    call.call.cancel()
    call.responds(payload="late")
    world.pass_time(20)
    assert call.ended == []
    assert len(world.media.named("end_call")) == 1


def test_what_is_no_answer_is_ignored(world: World, ada: Client) -> None:
    call = Calling(world, ada)
    call.answers(user=models.UserPacket(payload=b"x"))
    call.answers(rpc_response=models.RpcResponse(request_id="another", payload="x"))
    world.events(Event.Answered(ada.number, call.command["caller"], b"\xff"))
    world.events(Event.Answered(ada.number, "nobody", b""))
    assert call.ended == []
