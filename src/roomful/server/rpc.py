"""Remote procedure calls of the server's own: its API calls a method that a participant has registered.

The caller is nobody in the room: each call has an identity of its own, and what the participant sends to
that identity comes here. Small calls are packets (RPC version 1), larger ones text streams (version 2); to a
caller that it does not know a client answers by packets in either case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from livekit.protocol import models

from roomful.server.errors import ControlError, InvalidArgument, ResourceExhausted

if TYPE_CHECKING:
    from roomful.server.participant import Participant

#: Seconds until the participant must have acknowledged a call.
ACK_TIMEOUT = 2.0
#: Milliseconds for the answer, when the request does not say.
RESPONSE_TIMEOUT_MS = 10_000
#: Nobody waits longer, whatever the request says.
MAX_RESPONSE_TIMEOUT_MS = 3_600_000
#: Bytes of a method's name, as LiveKit documents it.
MAX_METHOD = 64
#: Bytes that fit a packet, and that are streamed to clients that take streams.
MAX_PACKET_PAYLOAD = 15_360
MAX_STREAM_PAYLOAD = 256 * 1024
#: Calls under way to one participant.
MAX_CALLS = 100
_CHUNK = 15_000
_STREAMED_RPC = 1  # From this client_protocol on.
_TOPIC = "lk.rpc_request"
_STREAM_VERSION = "2"


class RpcCode(IntEnum):
    UNSUPPORTED_METHOD = 1400
    RECIPIENT_NOT_FOUND = 1401
    REQUEST_PAYLOAD_TOO_LARGE = 1402
    UNSUPPORTED_SERVER = 1403
    UNSUPPORTED_VERSION = 1404
    APPLICATION_ERROR = 1500
    CONNECTION_TIMEOUT = 1501
    RESPONSE_TIMEOUT = 1502
    RECIPIENT_DISCONNECTED = 1503
    RESPONSE_PAYLOAD_TOO_LARGE = 1504
    SEND_FAILED = 1505


_TWIRP: dict[int, str] = {
    RpcCode.UNSUPPORTED_METHOD: "invalid_argument",
    RpcCode.RECIPIENT_NOT_FOUND: "not_found",
    RpcCode.REQUEST_PAYLOAD_TOO_LARGE: "invalid_argument",
    RpcCode.UNSUPPORTED_SERVER: "unimplemented",
    RpcCode.UNSUPPORTED_VERSION: "unimplemented",
    RpcCode.CONNECTION_TIMEOUT: "canceled",
    RpcCode.RESPONSE_TIMEOUT: "canceled",
    RpcCode.RECIPIENT_DISCONNECTED: "unavailable",
}


class RpcFailed(ControlError):
    """The call's own error, in the words that clients know; `code` is Twirp's for it."""

    def __init__(self, number: int, text: str, data: str = "") -> None:
        super().__init__(f"RpcError {number}: {text}" + (f": {data}" if data else ""))
        self.number = number
        self.code = _TWIRP.get(number, "internal")


class Call:
    """One call, from its request to its answer. `on_end` is called once, with the answer or the error."""

    def __init__(self, participant: Participant, caller: str, response_timeout: float) -> None:
        self.caller = caller
        self.on_end: Callable[[str | ControlError], None] = lambda _: None
        self._participant = participant
        timers = participant.node.timers
        self._ack = timers.after(
            ACK_TIMEOUT, lambda: self.fail(RpcCode.CONNECTION_TIMEOUT, "Connection timeout")
        )
        self._response = timers.after(
            response_timeout, lambda: self.fail(RpcCode.RESPONSE_TIMEOUT, "Response timeout")
        )

    def received(self, packet: bytes) -> None:
        """What the participant sent to the caller. Anything but an answer to this call is nothing."""
        try:
            content = models.DataPacket.FromString(packet)
        except DecodeError:
            return
        kind = content.WhichOneof("value")
        if kind == "rpc_ack" and content.rpc_ack.request_id == self.caller:
            self._ack.cancel()
        elif kind == "rpc_response" and content.rpc_response.request_id == self.caller:
            response = content.rpc_response
            if response.WhichOneof("value") == "error":
                self.fail(response.error.code, response.error.message, response.error.data)
            else:
                self._end(response.payload)

    def fail(self, number: int, text: str, data: str = "") -> None:
        self._end(RpcFailed(number, text, data))

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self.on_end = lambda _: None
        self._end("")

    def _end(self, answer: str | ControlError) -> None:
        if self._participant.calls.pop(self.caller, None) is None:
            return
        self._ack.cancel()
        self._response.cancel()
        self._participant.node.media.end_call(participant=self._participant.id, caller=self.caller)
        self.on_end(answer)


def perform(participant: Participant, method: str, payload: str, response_timeout_ms: int) -> Call:
    """Raises `InvalidArgument`, `RpcFailed` for a payload that is too large, `ResourceExhausted` for too many
    calls at once."""
    if len(method.encode()) > MAX_METHOD:
        raise InvalidArgument(f"method exceeds {MAX_METHOD} bytes")
    if response_timeout_ms > MAX_RESPONSE_TIMEOUT_MS:
        raise InvalidArgument(f"response_timeout_ms exceeds {MAX_RESPONSE_TIMEOUT_MS}")
    size = len(payload.encode())
    streamed = size > MAX_PACKET_PAYLOAD and participant.client.client_protocol >= _STREAMED_RPC
    if size > (MAX_STREAM_PAYLOAD if streamed else MAX_PACKET_PAYLOAD):
        raise RpcFailed(RpcCode.REQUEST_PAYLOAD_TOO_LARGE, "Request payload too large")
    if len(participant.calls) >= MAX_CALLS:
        raise ResourceExhausted(f"at most {MAX_CALLS} calls to a participant at once")
    timeout_ms = response_timeout_ms or RESPONSE_TIMEOUT_MS
    caller = participant.node.ids.uuid()
    call = participant.calls[caller] = Call(participant, caller, timeout_ms / 1000)
    packets = (
        _stream(participant, caller, method, payload, timeout_ms)
        if streamed
        else [_request(caller, method, payload, timeout_ms)]
    )
    participant.node.media.call(
        participant=participant.id,
        caller=caller,
        packets=[_from(caller, packet).SerializeToString() for packet in packets],
    )
    return call


def disconnected(participant: Participant) -> None:
    """It left: nobody will answer."""
    for call in list(participant.calls.values()):
        call.fail(RpcCode.RECIPIENT_DISCONNECTED, "Recipient disconnected")


def _from(caller: str, packet: models.DataPacket) -> models.DataPacket:
    packet.kind = models.DataPacket.RELIABLE
    packet.participant_identity = caller
    return packet


def _request(caller: str, method: str, payload: str, timeout_ms: int) -> models.DataPacket:
    request = models.RpcRequest(
        id=caller, method=method, payload=payload, response_timeout_ms=timeout_ms, version=1
    )
    return models.DataPacket(rpc_request=request)


def _stream(
    participant: Participant, caller: str, method: str, payload: str, timeout_ms: int
) -> Iterator[models.DataPacket]:
    stream = participant.node.ids.uuid()
    content = payload.encode()
    yield models.DataPacket(
        stream_header=models.DataStream.Header(
            stream_id=stream,
            timestamp=participant.node.wall_ms(),
            topic=_TOPIC,
            mime_type="text/plain",
            total_length=len(content),
            attributes={
                "lk.rpc_request_id": caller,
                "lk.rpc_request_method": method,
                "lk.rpc_request_response_timeout_ms": str(timeout_ms),
                "lk.rpc_request_version": _STREAM_VERSION,
            },
            text_header=models.DataStream.TextHeader(),
        )
    )
    for index, chunk in enumerate(_chunks(content)):
        yield models.DataPacket(
            stream_chunk=models.DataStream.Chunk(stream_id=stream, chunk_index=index, content=chunk)
        )
    yield models.DataPacket(stream_trailer=models.DataStream.Trailer(stream_id=stream))


def _chunks(content: bytes) -> Iterator[bytes]:
    """Cut between characters."""
    start = 0
    while start < len(content):
        end = min(start + _CHUNK, len(content))
        while end < len(content) and content[end] & 0xC0 == 0x80:
            end -= 1
        yield content[start:end]
        start = end
