"""Calls of methods at other participants: what handlers and callers see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, TypeVar

from livekit.protocol import models

#: Bytes of UTF-8 of an error, beyond which it is cut.
MAX_MESSAGE = 256
MAX_DATA = 15 * 1024


class RpcError(Exception):
    """An error of a call, which its caller receives as the handler raised it.

    Codes 1001 to 1999 are of the protocol, see `ErrorCode`.
    """

    class ErrorCode(IntEnum):
        APPLICATION_ERROR = 1500
        CONNECTION_TIMEOUT = 1501
        RESPONSE_TIMEOUT = 1502
        RECIPIENT_DISCONNECTED = 1503
        RESPONSE_PAYLOAD_TOO_LARGE = 1504
        SEND_FAILED = 1505

        UNSUPPORTED_METHOD = 1400
        RECIPIENT_NOT_FOUND = 1401
        REQUEST_PAYLOAD_TOO_LARGE = 1402
        UNSUPPORTED_SERVER = 1403
        UNSUPPORTED_VERSION = 1404

    ErrorMessage: ClassVar[dict[ErrorCode, str]] = {
        ErrorCode.APPLICATION_ERROR: "Application error in method handler",
        ErrorCode.CONNECTION_TIMEOUT: "Connection timeout",
        ErrorCode.RESPONSE_TIMEOUT: "Response timeout",
        ErrorCode.RECIPIENT_DISCONNECTED: "Recipient disconnected",
        ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE: "Response payload too large",
        ErrorCode.SEND_FAILED: "Failed to send",
        ErrorCode.UNSUPPORTED_METHOD: "Method not supported at destination",
        ErrorCode.RECIPIENT_NOT_FOUND: "Recipient not found",
        ErrorCode.REQUEST_PAYLOAD_TOO_LARGE: "Request payload too large",
        ErrorCode.UNSUPPORTED_SERVER: "RPC not supported by server",
        ErrorCode.UNSUPPORTED_VERSION: "Unsupported RPC version",
    }

    def __init__(self, code: int | RpcError.ErrorCode, message: str, data: str | None = None) -> None:
        """
        Args:
            code: one of `ErrorCode`, or any of the application's own.
            message: at most 256 bytes of UTF-8 are sent.
            data: anything more, for example JSON; at most 15 KiB are sent.
        """
        super().__init__(message)
        self._code = code
        self._message = message
        self._data = data

    @property
    def code(self) -> int:
        """What went wrong: one of `ErrorCode`, or of the application."""
        return self._code

    @property
    def message(self) -> str:
        """The same for people."""
        return self._message

    @property
    def data(self) -> str | None:
        """More, as the application has it."""
        return self._data

    @classmethod
    def _built_in(cls, code: RpcError.ErrorCode, data: str | None = None) -> RpcError:
        return cls(code, cls.ErrorMessage[code], data)

    @classmethod
    def _from_proto(cls, error: models.RpcError) -> RpcError:
        return cls(error.code, _cut(error.message, MAX_MESSAGE), _cut(error.data, MAX_DATA))

    def _to_proto(self) -> models.RpcError:
        return models.RpcError(
            code=self._code, message=_cut(self._message, MAX_MESSAGE), data=_cut(self._data or "", MAX_DATA)
        )


@dataclass
class RpcInvocationData:
    """A call that has come, as its handler gets it."""

    request_id: str
    """The same on both sides."""
    caller_identity: str
    payload: str
    response_timeout: float
    """Seconds after which the caller stops waiting."""
    method: str = ""
    cancel_reason: RpcError.ErrorCode | None = None
    """Why the handler was cancelled, set just before that: RESPONSE_TIMEOUT or RECIPIENT_DISCONNECTED."""


@dataclass
class RpcCallInfo:
    """A call that is made, as interceptors get it; they may pass on another."""

    destination_identity: str
    method: str
    payload: str
    response_timeout: float | None = None
    """Seconds; None for 15."""
    max_round_trip_latency: float | None = None
    """Seconds until the call must be acknowledged; None for 7."""


RpcHandler = Callable[[RpcInvocationData], Awaitable[str | None] | str | None]
OutgoingRpcNext = Callable[[RpcCallInfo], Awaitable[str]]
IncomingRpcNext = Callable[[RpcInvocationData], Awaitable[str | None]]


class RpcInterceptor:
    """Sees or changes the calls that a participant makes and answers.

    Each method gets the call and `next`, which goes on with it, and returns or raises what `next` does, or
    something else. The one that was added first is the outermost. What a handler raises is seen as it is;
    only behind the last interceptor does it become APPLICATION_ERROR.

    >>> class Counting(RpcInterceptor):
    ...     calls = 0
    ...
    ...     async def intercept_outgoing(self, call, next):
    ...         self.calls += 1
    ...         return await next(call)
    """

    async def intercept_outgoing(self, call: RpcCallInfo, next: OutgoingRpcNext) -> str:
        """Around a call that is made; returns the response's payload."""
        return await next(call)

    async def intercept_incoming(self, invocation: RpcInvocationData, next: IncomingRpcNext) -> str | None:
        """Around the handling of a call that has come; returns the response's payload.

        It is cancelled when the caller's `response_timeout` has passed or the room is disconnected.
        """
        return await next(invocation)


Call = TypeVar("Call")
Result = TypeVar("Result")
Next = Callable[[Call], Awaitable[Result]]


def chained(
    around: Sequence[Callable[[Call, Next[Call, Result]], Awaitable[Result]]], end: Next[Call, Result]
) -> Next[Call, Result]:
    """`end` with each of `around` outside of it, the first outermost."""

    def bound(
        outer: Callable[[Call, Next[Call, Result]], Awaitable[Result]], inner: Next[Call, Result]
    ) -> Next[Call, Result]:
        return lambda call: outer(call, inner)

    for outer in reversed(around):
        end = bound(outer, end)
    return end


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
