from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from ends import End, Hall
from livekit.protocol import models

from roomful.rtc import _rpc
from roomful.rtc.rpc import RpcCallInfo, RpcError, RpcInterceptor, RpcInvocationData

Code = RpcError.ErrorCode


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario, 20)

    asyncio.run(bounded(), debug=True)


async def call(end: End, payload: str = "", **options: Any) -> str:
    return await end.rpc.perform(destination_identity="ben", method="m", payload=payload, **options)


async def failure(end: End, payload: str = "", **options: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await call(end, payload, **options)
    return caught.value


def pair(protocol: int) -> tuple[End, End]:
    hall = Hall()
    return hall.enter("ada", protocol), hall.enter("ben", protocol)


V1 = ["rpc_request", "rpc_ack", "rpc_response"]


@pytest.mark.parametrize(("protocol", "kinds"), [(0, V1), (2, ["stream_header", "rpc_ack", "stream_header"])])
def test_a_call_is_answered(protocol: int, kinds: list[str]) -> None:
    async def scenario() -> None:
        ada, ben = pair(protocol)
        seen: list[RpcInvocationData] = []

        async def handler(invocation: RpcInvocationData) -> str:
            seen.append(invocation)
            return invocation.payload.upper()

        ben.rpc.handlers["m"] = handler
        assert await call(ada, "héllo", response_timeout=20) == "HÉLLO"
        assert ada.hall.kinds() == kinds
        (invocation,) = seen
        assert (invocation.caller_identity, invocation.method, invocation.response_timeout) == (
            "ada",
            "m",
            13,
        )
        assert {tuple(packet.destination_identities) for packet in ada.hall.packets} == {("ben",), ("ada",)}
        assert not ada.rpc._pending
        assert not ben.rpc._answering

        ben.rpc.handlers["m"] = lambda invocation: None
        assert await call(ada) == ""

    run(scenario())


def test_a_handler_has_as_long_as_its_caller_waits_up_to_eight_seconds() -> None:
    async def scenario() -> None:
        ada, ben = pair(2)
        given: list[float] = []
        ben.rpc.handlers["m"] = lambda invocation: str(given.append(invocation.response_timeout))
        for timeout in (0.5, 3, 8, 10, None, 20):
            await call(ada, response_timeout=timeout)
        assert given == [0.5, 3, 8, 8, 8, 13]

    run(scenario())


@pytest.mark.parametrize("protocol", [0, 1])
def test_errors_reach_the_caller(protocol: int) -> None:
    async def scenario() -> None:
        ada, ben = pair(protocol)
        error = await failure(ada)
        assert (error.code, error.message) == (1400, "Method not supported at destination")

        def refuse(invocation: RpcInvocationData) -> str:
            raise RpcError(101, "é" * 200, "x" * 20_000)

        ben.rpc.handlers["m"] = refuse
        error = await failure(ada)
        assert (error.code, error.message, error.data) == (101, "é" * 128, "x" * 15_360)

        def crash(invocation: RpcInvocationData) -> str:
            raise TimeoutError("its own")

        ben.rpc.handlers["m"] = crash
        assert (await failure(ada)).code == Code.APPLICATION_ERROR
        ben.rpc.handlers["m"] = lambda invocation: 5  # type: ignore[assignment, return-value]
        assert (await failure(ada)).code == Code.APPLICATION_ERROR

        # Half of a character: no UTF-8.
        ben.rpc.handlers["m"] = lambda invocation: "\ud83d"
        assert (await failure(ada)).code == Code.APPLICATION_ERROR

        async def cancel_itself(invocation: RpcInvocationData) -> str:
            raise asyncio.CancelledError

        ben.rpc.handlers["m"] = cancel_itself
        assert (await failure(ada)).code == Code.APPLICATION_ERROR

        def cancels(invocation: RpcInvocationData, next: Any) -> Any:
            raise asyncio.CancelledError

        interceptor = RpcInterceptor()
        interceptor.intercept_incoming = cancels  # type: ignore[method-assign]
        ben.rpc.add_interceptor(interceptor)
        assert (await failure(ada, response_timeout=0.5)).code == Code.APPLICATION_ERROR
        ben.rpc.remove_interceptor(interceptor)

        def unsendable(invocation: RpcInvocationData) -> str:
            raise RpcError(-1, "negative")

        ben.rpc.handlers["m"] = unsendable
        assert (await failure(ada)).code == Code.APPLICATION_ERROR
        assert not ada.rpc._pending

    run(scenario())


def test_errors_of_any_length_are_cut_where_they_come() -> None:
    error = RpcError._from_proto(models.RpcError(code=1, message="é" * 200, data="x" * 20_000))
    assert (error.message, error.data) == ("é" * 128, "x" * 15_360)


def test_packets_limit_payloads_and_streams_do_not() -> None:
    async def scenario() -> None:
        ada, ben = pair(0)
        ben.rpc.handlers["m"] = lambda invocation: "é" * 7681
        assert (await failure(ada, "x" * 15_361)).code == Code.REQUEST_PAYLOAD_TOO_LARGE
        assert ada.hall.packets == []
        assert (await failure(ada, "x" * 15_360)).code == Code.RESPONSE_PAYLOAD_TOO_LARGE
        ada, ben = pair(1)
        ben.rpc.handlers["m"] = lambda invocation: invocation.payload * 2
        assert await call(ada, "x" * 40_000) == "x" * 80_000

    run(scenario())


def test_no_acknowledgement_and_no_response_are_told_apart() -> None:
    async def scenario() -> None:
        ada, ben = pair(1)
        error = await failure(ada, max_round_trip_latency=0.01, response_timeout=5)
        assert error.code == Code.UNSUPPORTED_METHOD
        ben.swallow = lambda packet: packet.HasField("rpc_response")
        assert (await failure(ada, response_timeout=0.01)).code == Code.RESPONSE_TIMEOUT
        ben.swallow = lambda packet: True
        assert (await failure(ada, max_round_trip_latency=0.01)).code == Code.CONNECTION_TIMEOUT
        ada.connected = False
        error = await failure(ada)
        assert (error.code, error.data) == (Code.SEND_FAILED, "unable to send packet")
        ada._server_version = "1.7.2"
        assert (await failure(ada)).code == Code.UNSUPPORTED_SERVER
        assert not ada.rpc._pending

    run(scenario())


def test_a_response_acknowledges_too() -> None:
    async def scenario() -> None:
        ada, ben = pair(0)
        ben.rpc.handlers["m"] = lambda invocation: "here"
        ben.swallow = lambda packet: packet.HasField("rpc_ack")
        assert await call(ada) == "here"

    run(scenario())


def test_a_call_to_one_who_leaves_ends_at_once() -> None:
    async def scenario() -> None:
        ada, ben = pair(0)
        ben.swallow = lambda packet: True
        calls = [asyncio.ensure_future(failure(ada)) for _ in range(2)]
        while len(ada.hall.packets) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0)
        ada.rpc.participant_left("eve")
        ada.rpc.participant_left("ben")
        assert [error.code for error in await asyncio.gather(*calls)] == [Code.RECIPIENT_DISCONNECTED] * 2

    run(scenario())


def request(**fields: Any) -> models.DataPacket:
    return models.DataPacket(
        participant_identity="ada",
        participant_sid="PA_ada",
        rpc_request=models.RpcRequest(id="1", method="m", **fields),
    )


async def response(end: End) -> models.RpcResponse:
    await asyncio.wait(end.rpc._answering)
    return end.hall.packets[-1].rpc_response


def test_a_handler_that_takes_too_long_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rpc, "UNWINDING", 0.05)

    async def scenario() -> None:
        ben = Hall().enter("ben")
        seen: list[Any] = []

        async def slow(invocation: RpcInvocationData) -> str:
            try:
                await asyncio.sleep(60)
            finally:
                seen.append(invocation.cancel_reason)
            return ""

        ben.rpc.handlers["m"] = slow
        ben.receive(request(version=1, response_timeout_ms=10))
        assert (await response(ben)).error.code == Code.RESPONSE_TIMEOUT
        assert seen == [Code.RESPONSE_TIMEOUT]

        released = asyncio.Event()

        async def stubborn(invocation: RpcInvocationData) -> str:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await released.wait()
            raise ValueError("late")

        ben.rpc.handlers["m"] = stubborn
        ben.receive(request(version=1, response_timeout_ms=10))
        assert (await response(ben)).error.code == Code.RESPONSE_TIMEOUT
        released.set()

    run(scenario())


def test_disconnecting_cancels_what_is_being_answered_and_fails_what_was_called() -> None:
    async def scenario() -> None:
        ada, ben = pair(0)
        started = asyncio.Event()
        reasons: list[Any] = []

        async def slow(invocation: RpcInvocationData) -> str:
            started.set()
            try:
                await asyncio.sleep(60)
            finally:
                reasons.append(invocation.cancel_reason)
            return ""

        ben.rpc.handlers["m"] = slow
        calling = asyncio.ensure_future(failure(ada))
        await started.wait()
        await ben.rpc.close()
        assert (await calling).code == Code.RECIPIENT_DISCONNECTED
        assert reasons == [Code.RECIPIENT_DISCONNECTED]
        assert not ben.rpc._answering
        ben.swallow = lambda packet: True
        calling = asyncio.ensure_future(failure(ada))
        await asyncio.sleep(0)
        await ada.rpc.close()
        await ada.rpc.close()
        assert (await calling).code == Code.RECIPIENT_DISCONNECTED

    run(scenario())


def test_disconnecting_does_not_wait_for_a_channel_that_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_rpc, "UNWINDING", 0.01)
    monkeypatch.setattr(_rpc, "SAYING_SO", 0.01)

    async def scenario() -> None:
        ben = Hall().enter("ben")
        started = asyncio.Event()

        async def slow(invocation: RpcInvocationData) -> str:
            started.set()
            await asyncio.sleep(60)
            return ""

        async def full(packet: models.DataPacket, *, reliable: bool = True) -> None:
            await asyncio.Event().wait()

        ben.rpc.handlers["m"] = slow
        ben.receive(request(version=1, response_timeout_ms=60_000))
        await started.wait()
        ben._send_packet = full  # type: ignore[method-assign]
        await ben.rpc.close()
        assert not ben.rpc._answering

    run(scenario())


def test_other_versions_are_refused() -> None:
    async def scenario() -> None:
        ben = Hall().enter("ben")
        ben.rpc.handlers["m"] = lambda invocation: "never"
        ben.receive(request(version=2))
        assert (await response(ben)).error.code == Code.UNSUPPORTED_VERSION
        header = models.DataStream.Header(
            stream_id="s",
            topic=_rpc.REQUEST_TOPIC,
            inline_content=b"",
            attributes={_rpc.REQUEST_ID: "1", _rpc.METHOD: "m", _rpc.VERSION: "3"},
            text_header=models.DataStream.TextHeader(),
        )
        ben.receive(models.DataPacket(participant_identity="ada", stream_header=header))
        assert (await response(ben)).error.code == Code.UNSUPPORTED_VERSION
        for strange in (
            models.DataPacket(rpc_ack=models.RpcAck(request_id="unknown")),
            models.DataPacket(rpc_response=models.RpcResponse(request_id="unknown")),
        ):
            ben.receive(strange)

    run(scenario())


def begun(stream_id: str, method: str, **attributes: str) -> models.DataPacket:
    """The header of a request."""
    header = models.DataStream.Header(
        stream_id=stream_id,
        topic=_rpc.REQUEST_TOPIC,
        attributes={_rpc.REQUEST_ID: stream_id, _rpc.METHOD: method, _rpc.VERSION: "2", **attributes},
        text_header=models.DataStream.TextHeader(),
    )
    return models.DataPacket(participant_identity="ada", participant_sid="PA_ada", stream_header=header)


def piece(stream_id: str, index: int, content: bytes) -> models.DataPacket:
    chunk = models.DataStream.Chunk(stream_id=stream_id, chunk_index=index, content=content)
    return models.DataPacket(participant_identity="ada", participant_sid="PA_ada", stream_chunk=chunk)


def test_a_request_is_refused_before_all_of_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rpc, "MAX_STREAMED", 1000)

    async def scenario() -> None:
        ben = Hall().enter("ben")
        ben.rpc.handlers["m"] = lambda invocation: "never"
        ben.receive(begun("unknown", "x"))
        assert (await response(ben)).error.code == Code.UNSUPPORTED_METHOD
        ben.receive(begun("long", "m"))
        ben.receive(piece("long", 0, bytes(1000)))
        assert (await response(ben)).error.code == Code.REQUEST_PAYLOAD_TOO_LARGE
        ben.receive(begun("half", "m", **{_rpc.TIMEOUT_MS: "1"}))
        assert (await response(ben)).error.code == Code.RESPONSE_TIMEOUT
        ben.receive(request(version=1, payload="x" * (_rpc.MAX_PAYLOAD + 1)))
        assert (await response(ben)).error.code == Code.REQUEST_PAYLOAD_TOO_LARGE
        assert not ben.streams._open
        assert ben.rpc._held.left == _rpc.MAX_HELD

    run(scenario())


def test_calls_that_are_answered_are_bounded_for_each_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rpc, "MAX_ANSWERING", 5)

    async def scenario() -> None:
        ben = Hall().enter("ben")
        called: list[str] = []
        all_called = asyncio.Event()

        async def wait(invocation: RpcInvocationData) -> str:
            called.append(invocation.caller_identity)
            if len(called) > 5:
                all_called.set()
            await asyncio.Event().wait()
            return ""

        ben.rpc.handlers["m"] = wait
        for index in range(10):
            packet = request(version=1, response_timeout_ms=60_000)
            packet.rpc_request.id = str(index)
            ben.receive(packet)
        ben.receive(begun("one more", "m"))
        another = request(version=1, response_timeout_ms=60_000)
        another.participant_identity = "eve"
        ben.receive(another)
        await all_called.wait()
        assert (called.count("ada"), called.count("eve")) == (5, 1)
        assert not ben.streams._open
        await ben.rpc.close()
        assert not ben.rpc._answering

    run(scenario())


def test_responses_are_bounded_and_none_is_taken_that_was_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_rpc, "MAX_STREAMED", 1000)

    async def scenario() -> None:
        ada, ben = pair(2)
        ben.rpc.handlers["m"] = lambda invocation: "x" * 1000
        assert (await failure(ada)).code == Code.RESPONSE_PAYLOAD_TOO_LARGE
        header = begun("s", "m")
        header.stream_header.topic = _rpc.RESPONSE_TOPIC
        ada.receive(header)
        await asyncio.sleep(0)
        assert not ada.streams._open

    run(scenario())


class Marking(RpcInterceptor):
    def __init__(self, mark: str, seen: list[str]) -> None:
        self.mark = mark
        self.seen = seen

    def __eq__(self, other: object) -> bool:
        return True

    async def intercept_outgoing(self, call: RpcCallInfo, next: Any) -> str:
        call.payload += self.mark
        return await next(call) + self.mark

    async def intercept_incoming(self, invocation: RpcInvocationData, next: Any) -> str | None:
        try:
            return await next(invocation)
        except Exception as error:
            self.seen.append(f"{self.mark}: {error}")
            raise


def test_interceptors_are_around_calls_the_first_outermost() -> None:
    async def scenario() -> None:
        ada, ben = pair(1)
        seen: list[str] = []
        first, second = Marking("1", seen), Marking("2", seen)
        for interceptor in (first, second, first):
            ada.rpc.add_interceptor(interceptor)
            ben.rpc.add_interceptor(interceptor)
        ben.rpc.handlers["m"] = lambda invocation: f"<{invocation.payload}>"
        assert await call(ada) == "<12>21"
        del ben.rpc.handlers["m"]
        assert (await failure(ada)).code == Code.UNSUPPORTED_METHOD
        assert seen == [f"{mark}: Method not supported at destination" for mark in "21"]
        ada.rpc.remove_interceptor(first)
        ben.rpc.handlers["m"] = lambda invocation: f"<{invocation.payload}>"
        assert await call(ada) == "<2>2"

    run(scenario())
