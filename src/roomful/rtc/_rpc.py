"""Calls of methods at other participants, both ways.

A call is a request, its acknowledgement and a response. Version 1 has each in a packet, so that payloads are
small; version 2 has requests and successful responses as streams of text, and the rest as in version 1.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import uuid
from typing import Any

from livekit.protocol import models

from roomful.rtc._port import PacketPort
from roomful.rtc._streams import Streams
from roomful.rtc.data_stream import CHUNK_OVERHEAD, StreamError, TextStreamReader
from roomful.rtc.log import logger
from roomful.rtc.rpc import (
    RpcCallInfo,
    RpcError,
    RpcHandler,
    RpcInterceptor,
    RpcInvocationData,
    chained,
)

ErrorCode = RpcError.ErrorCode

#: `client_protocol` of participants that understand version 2.
CALLS_OVER_STREAMS = 1

MAX_PAYLOAD = 15 * 1024
"""Bytes of UTF-8 in version 1."""
MAX_STREAMED = 16 * 1024 * 1024
"""Bytes of what comes in version 2, where the protocol has no limit."""
#: Bytes of all requests that are being read or answered.
MAX_HELD = 64 * 1024 * 1024
#: Calls that are answered at once, of one caller and of all; what is more gets no acknowledgement.
MAX_ANSWERING, MAX_ANSWERING_OF_ALL = 200, 1000

#: Seconds.
RESPONSE_TIMEOUT = 15.0
MAX_ROUND_TRIP = 7.0
#: A handler has so long, or as long as its caller waits.
MIN_ANSWERING = RESPONSE_TIMEOUT - MAX_ROUND_TRIP
#: Seconds in which a request that has begun to come must be complete, if its caller waits as long.
READ_WITHIN = 60.0
#: Seconds that a cancelled handler has for its `finally`, before its caller is answered without it.
UNWINDING = 2.0
#: Seconds for telling that caller, when the connection is about to end.
SAYING_SO = 0.5

REQUEST_TOPIC = "lk.rpc_request"
RESPONSE_TOPIC = "lk.rpc_response"
REQUEST_ID = "lk.rpc_request_id"
METHOD = "lk.rpc_request_method"
TIMEOUT_MS = "lk.rpc_request_response_timeout_ms"
VERSION = "lk.rpc_request_version"


class _Held:
    """Memory for payloads, in bytes."""

    def __init__(self, limit: int) -> None:
        self.left = limit


class _Claim:
    """What one payload takes of it."""

    def __init__(self, held: _Held) -> None:
        self._held = held
        self.taken = 0

    def take(self, size: int) -> bool:
        self.taken += size
        self._held.left -= size
        return self._held.left >= 0

    def release(self) -> None:
        self._held.left += self.taken
        self.taken = 0


class _Pending:
    """A call that waits for its response."""

    def __init__(self, destination: str) -> None:
        loop = asyncio.get_running_loop()
        self.destination = destination
        self.acknowledged: asyncio.Future[None] = loop.create_future()
        self.response: asyncio.Future[str | RpcError] = loop.create_future()
        #: A stream with it has begun to come.
        self.coming = False

    def acknowledge(self) -> None:
        if not self.acknowledged.done():
            self.acknowledged.set_result(None)

    def resolve(self, response: str | RpcError) -> None:
        self.acknowledge()
        if not self.response.done():
            self.response.set_result(response)


class Rpc:
    """Calls of a room's local participant, and its methods that others call."""

    def __init__(self, port: PacketPort, streams: Streams) -> None:
        self._port = port
        self._streams = streams
        self.handlers: dict[str, RpcHandler] = {}
        self.interceptors: list[RpcInterceptor] = []
        self._pending: dict[str, _Pending] = {}
        #: By their callers.
        self._answering: dict[asyncio.Task[None], str] = {}
        self._held = _Held(MAX_HELD)
        streams.own_topics[REQUEST_TOPIC] = self._request_stream
        streams.own_topics[RESPONSE_TOPIC] = self._response_stream

    def add_interceptor(self, interceptor: RpcInterceptor) -> None:
        if not any(existing is interceptor for existing in self.interceptors):
            self.interceptors.append(interceptor)

    def remove_interceptor(self, interceptor: RpcInterceptor) -> None:
        self.interceptors = [existing for existing in self.interceptors if existing is not interceptor]

    def handle(self, packet: models.DataPacket) -> None:
        """Takes a request, an acknowledgement or a response."""
        match packet.WhichOneof("value"):
            case "rpc_ack":
                if pending := self._pending.get(packet.rpc_ack.request_id):
                    pending.acknowledge()
            case "rpc_response":
                response = packet.rpc_response
                failed = response.HasField("error")
                self._resolve(
                    response.request_id, RpcError._from_proto(response.error) if failed else response.payload
                )
            case "rpc_request":
                caller = packet.participant_identity
                if self._may_call(caller):
                    self._answer_soon(self._answer_packet(packet.rpc_request, caller), caller)

    def participant_left(self, identity: str) -> None:
        """Fails the calls to a participant that won't answer any more."""
        for pending in self._pending.values():
            if pending.destination == identity:
                pending.resolve(_built_in(ErrorCode.RECIPIENT_DISCONNECTED))

    async def close(self) -> None:
        """Before the connection ends: fails the own calls, cancels what is being answered, and says so."""
        for pending in self._pending.values():
            pending.resolve(_built_in(ErrorCode.RECIPIENT_DISCONNECTED))
        for patience in (UNWINDING + SAYING_SO, None):
            answering = list(self._answering)
            for task in answering:
                task.cancel()
            if answering:
                await asyncio.wait(answering, timeout=patience)

    # Calling.

    async def perform(
        self,
        *,
        destination_identity: str,
        method: str,
        payload: str,
        response_timeout: float | None = None,
        max_round_trip_latency: float | None = None,
    ) -> str:
        """Calls a method and returns the response's payload.

        Raises:
            RpcError: the handler's, or one of the protocol.
        """
        call = RpcCallInfo(destination_identity, method, payload, response_timeout, max_round_trip_latency)
        around = [interceptor.intercept_outgoing for interceptor in self.interceptors]
        return await chained(around, self._call)(call)

    async def _call(self, call: RpcCallInfo) -> str:
        if not _serves_calls(self._port._server_version):
            raise _built_in(ErrorCode.UNSUPPORTED_SERVER)
        recipients = self._port._recipients([call.destination_identity])
        over_streams = bool(recipients) and recipients[0].client_protocol >= CALLS_OVER_STREAMS
        if not over_streams and len(call.payload.encode()) > MAX_PAYLOAD:
            raise _built_in(ErrorCode.REQUEST_PAYLOAD_TOO_LARGE)
        timeout = RESPONSE_TIMEOUT if call.response_timeout is None else call.response_timeout
        round_trip = MAX_ROUND_TRIP if call.max_round_trip_latency is None else call.max_round_trip_latency
        # The handler should be done while its response can still arrive in time; but not be cut short for the
        # slowest of ways where its caller waits for little.
        effective_ms = int(max(timeout - round_trip, min(timeout, MIN_ANSWERING)) * 1000)
        request_id = str(uuid.uuid4())
        pending = self._pending[request_id] = _Pending(call.destination_identity)
        try:
            await self._request(call, request_id, effective_ms, over_streams)
            if not await _within(pending.acknowledged, round_trip):
                raise _built_in(ErrorCode.CONNECTION_TIMEOUT)
            if not await _within(pending.response, timeout):
                raise _built_in(ErrorCode.RESPONSE_TIMEOUT)
        finally:
            del self._pending[request_id]
        response = pending.response.result()
        if isinstance(response, RpcError):
            raise response
        return response

    async def _request(
        self, call: RpcCallInfo, request_id: str, effective_ms: int, over_streams: bool
    ) -> None:
        try:
            if over_streams:
                await self._streams.send_text(
                    call.payload,
                    topic=REQUEST_TOPIC,
                    destination_identities=[call.destination_identity],
                    attributes={
                        REQUEST_ID: request_id,
                        METHOD: call.method,
                        TIMEOUT_MS: str(effective_ms),
                        VERSION: "2",
                    },
                )
            else:
                request = models.RpcRequest(
                    id=request_id,
                    method=call.method,
                    payload=call.payload,
                    response_timeout_ms=effective_ms,
                    version=1,
                )
                await self._send(call.destination_identity, rpc_request=request)
        except Exception as error:
            raise _built_in(ErrorCode.SEND_FAILED, str(error)) from error

    def _resolve(self, request_id: str, response: str | RpcError) -> None:
        if pending := self._pending.get(request_id):
            pending.resolve(response)

    async def _response_stream(self, reader: TextStreamReader, sender: str) -> None:
        request_id = (reader.info.attributes or {}).get(REQUEST_ID, "")
        pending = self._pending.get(request_id)
        if pending is None or pending.coming:
            reader.close()
            return
        pending.coming = True
        pending.acknowledge()
        try:
            text = await _all_of(reader, ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE, _Claim(_Held(MAX_STREAMED)))
            self._resolve(request_id, text)
        except RpcError as error:
            self._resolve(request_id, error)
        except StreamError as error:
            data = f"Failed to read response stream: {error.description}"
            self._resolve(request_id, _built_in(ErrorCode.APPLICATION_ERROR, data))

    # Answering.

    def _request_stream(self, reader: TextStreamReader, caller: str) -> None:
        if self._may_call(caller):
            self._answer_soon(self._answer_stream(reader, caller), caller)
        else:
            reader.close()

    def _may_call(self, caller: str) -> bool:
        callers = self._answering.values()
        if len(callers) < MAX_ANSWERING_OF_ALL and sum(one == caller for one in callers) < MAX_ANSWERING:
            return True
        logger.warning("a call of %r is dropped, too many are being answered", caller)
        return False

    def _answer_soon(self, answer: Any, caller: str) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(answer)
        self._answering[task] = caller
        task.add_done_callback(self._answering.pop)

    async def _answer_packet(self, request: models.RpcRequest, caller: str) -> None:
        await self._try_to_send(caller, rpc_ack=models.RpcAck(request_id=request.id))
        if request.version != 1:
            await self._refuse(caller, request.id, _built_in(ErrorCode.UNSUPPORTED_VERSION))
            return
        invocation = RpcInvocationData(
            request.id, caller, request.payload, request.response_timeout_ms / 1000, request.method
        )
        try:
            self._check_method(request.method)
            if len(request.payload.encode()) > MAX_PAYLOAD:
                raise _built_in(ErrorCode.REQUEST_PAYLOAD_TOO_LARGE)
            payload = await self._result(invocation)
            if len(payload.encode()) > MAX_PAYLOAD:
                raise _built_in(ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE)
        except RpcError as error:
            await self._refuse(caller, request.id, error)
            return
        response = models.RpcResponse(request_id=request.id, payload=payload)
        await self._try_to_send(caller, rpc_response=response)

    async def _answer_stream(self, reader: TextStreamReader, caller: str) -> None:
        attributes = reader.info.attributes or {}
        request_id = attributes.get(REQUEST_ID, "")
        method = attributes.get(METHOD, "")
        await self._try_to_send(caller, rpc_ack=models.RpcAck(request_id=request_id))
        claim = _Claim(self._held)
        try:
            if attributes.get(VERSION) != "2":
                raise _built_in(ErrorCode.UNSUPPORTED_VERSION)
            self._check_method(method)
            timeout_ms = attributes.get(TIMEOUT_MS, "")
            timeout = int(timeout_ms) / 1000 if re.fullmatch(r"[0-9]{1,12}", timeout_ms) else RESPONSE_TIMEOUT
            payload = await self._read(reader, min(timeout, READ_WITHIN), claim)
            invocation = RpcInvocationData(request_id, caller, payload, timeout, method)
            response = await self._result(invocation)
            try:
                await self._streams.send_text(
                    response,
                    topic=RESPONSE_TOPIC,
                    destination_identities=[caller],
                    attributes={REQUEST_ID: request_id},
                )
            except StreamError as error:
                raise _built_in(ErrorCode.SEND_FAILED, error.description) from error
        except RpcError as error:
            await self._refuse(caller, request_id, error)
        finally:
            reader.close()
            claim.release()

    def _check_method(self, method: str) -> None:
        """An interceptor may answer what nobody else does. Raises RpcError."""
        if method not in self.handlers and not self.interceptors:
            raise _built_in(ErrorCode.UNSUPPORTED_METHOD)

    async def _read(self, reader: TextStreamReader, within: float, claim: _Claim) -> str:
        try:
            async with asyncio.timeout(within):
                return await _all_of(reader, ErrorCode.REQUEST_PAYLOAD_TOO_LARGE, claim)
        except TimeoutError:
            raise _built_in(ErrorCode.RESPONSE_TIMEOUT) from None
        except StreamError as error:
            data = f"Failed to read request stream: {error.description}"
            raise _built_in(ErrorCode.APPLICATION_ERROR, data) from error

    async def _result(self, invocation: RpcInvocationData) -> str:
        """What the interceptors and the handler return.

        Raises:
            RpcError: theirs, or APPLICATION_ERROR for whatever else they raise.
        """
        try:
            result = await self._invoke(invocation)
            if not isinstance(result, str | None):
                raise TypeError(f"a response is a str, not {type(result).__name__}")
            result = result or ""
            result.encode()  # Half of a character cannot be sent.
            return result
        except RpcError:
            raise
        except Exception as error:
            logger.exception("the handler of method %r raised", invocation.method)
            raise _built_in(ErrorCode.APPLICATION_ERROR) from error

    async def _invoke(self, invocation: RpcInvocationData) -> str | None:
        task = asyncio.get_running_loop().create_task(self._intercepted(invocation))
        reason = None
        try:
            # Not wait_for: a TimeoutError of the handler's own is its error, not the caller's timeout.
            if not await _within(task, invocation.response_timeout):
                reason = ErrorCode.RESPONSE_TIMEOUT
        except asyncio.CancelledError:  # by close(): the caller is to be told
            reason = ErrorCode.RECIPIENT_DISCONNECTED
        if reason is not None:
            await self._cancel(task, invocation, reason)
            raise _built_in(reason)
        if task.cancelled():
            logger.warning("the handler of method %r cancelled itself", invocation.method)
            raise _built_in(ErrorCode.APPLICATION_ERROR)
        return task.result()

    async def _cancel(
        self, task: asyncio.Future[str | None], invocation: RpcInvocationData, reason: ErrorCode
    ) -> None:
        invocation.cancel_reason = reason

        def seen(task: asyncio.Future[str | None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.warning("a cancelled handler of %r raised", invocation.method, exc_info=error)

        task.add_done_callback(seen)
        task.cancel()
        try:
            ended = await _within(task, UNWINDING)
        except asyncio.CancelledError:  # close() while the timeout is being unwound: the first cause stands
            ended = task.done()
        if not ended:
            logger.warning("the handler of method %r goes on although it was cancelled", invocation.method)

    async def _intercepted(self, invocation: RpcInvocationData) -> str | None:
        around = [interceptor.intercept_incoming for interceptor in self.interceptors]
        return await chained(around, self._handler)(invocation)

    async def _handler(self, invocation: RpcInvocationData) -> str | None:
        handler = self.handlers.get(invocation.method)
        if handler is None:
            raise _built_in(ErrorCode.UNSUPPORTED_METHOD)
        result = handler(invocation)
        return await result if inspect.isawaitable(result) else result

    async def _refuse(self, caller: str, request_id: str, error: RpcError) -> None:
        try:
            wire = error._to_proto()
        except (TypeError, ValueError):
            logger.exception("an error that can't be sent")
            wire = _built_in(ErrorCode.APPLICATION_ERROR)._to_proto()
        await self._try_to_send(caller, rpc_response=models.RpcResponse(request_id=request_id, error=wire))

    async def _try_to_send(self, destination: str, **value: Any) -> None:
        try:
            await self._send(destination, **value)
        except Exception as error:
            logger.warning("an answer to %r was not sent: %s", destination, error)

    async def _send(self, destination: str, **value: Any) -> None:
        await self._port._send_packet(models.DataPacket(destination_identities=[destination], **value))


def _built_in(code: ErrorCode, data: str = "") -> RpcError:
    return RpcError._built_in(code, data)


async def _all_of(reader: TextStreamReader, too_large: ErrorCode, claim: _Claim) -> str:
    """Raises StreamError; RpcError with the code `too_large`."""
    chunks: list[str] = []
    async for chunk in reader:
        if not claim.take(len(chunk) + CHUNK_OVERHEAD) or claim.taken > MAX_STREAMED:
            reader.close()
            raise _built_in(too_large)
        chunks.append(chunk)
    return "".join(chunks)


async def _within(future: asyncio.Future[Any], seconds: float) -> bool:
    """Whether it is done in time; it is neither cancelled nor is its error raised."""
    done, _ = await asyncio.wait([future], timeout=seconds)
    return bool(done)


def _serves_calls(version: str) -> bool:
    """Servers before 1.8 don't forward calls."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is None or (int(numbers[1]), int(numbers[2])) >= (1, 8)
