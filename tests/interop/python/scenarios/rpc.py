"""Remote procedure calls, their answers and their errors."""

from __future__ import annotations

import asyncio
from typing import Any

from ..sdk import rtc
from ..stage import Person, Stage, scenario

Code = rtc.RpcError.ErrorCode


async def call(
    person: Person, method: str, payload: str = "", to: str = "bob", patience: float | None = None
) -> str | int:
    """The answer, or the number of the error."""
    try:
        return await person.me.perform_rpc(
            destination_identity=to,
            method=method,
            payload=payload,
            response_timeout=patience,
            max_round_trip_latency=2.0,
        )
    except rtc.RpcError as error:
        return error.code


async def refused(person: Person, method: str) -> rtc.RpcError:
    try:
        await person.me.perform_rpc(destination_identity="bob", method=method, payload="")
    except rtc.RpcError as error:
        return error
    raise AssertionError("not refused")


def serve(person: Person) -> None:
    def register(name: str, handler: Any) -> None:
        person.me.register_rpc_method(name, handler)

    async def shout(invocation: rtc.RpcInvocationData) -> str:
        return f"{invocation.caller_identity}: {invocation.payload.upper()}"

    async def repeat(invocation: rtc.RpcInvocationData) -> str:
        return invocation.payload

    async def refuse(invocation: rtc.RpcInvocationData) -> str:
        raise rtc.RpcError(101, "not today", data="tomorrow")

    async def break_down(invocation: rtc.RpcInvocationData) -> str:
        raise ValueError("a fault of the handler")

    async def dawdle(invocation: rtc.RpcInvocationData) -> str:
        await asyncio.sleep(1.0)
        return "at last"

    for handler in (shout, repeat, refuse, break_down, dawdle):
        register(handler.__name__, handler)


@scenario()
async def calls_and_errors(stage: Stage) -> None:
    ada, bob = await stage.pair()
    serve(bob)
    assert await call(ada, "shout", "hello") == "ada: HELLO"
    assert await call(ada, "unheard of") == Code.UNSUPPORTED_METHOD
    assert await call(ada, "break_down") == Code.APPLICATION_ERROR
    refusal = await refused(ada, "refuse")
    assert (refusal.code, refusal.message, refusal.data) == (101, "not today", "tomorrow")
    assert await call(ada, "repeat", "x" * 15_360) == "x" * 15_360
    # No limit for clients that call by data streams, as these two do.
    assert await call(ada, "repeat", "x" * 15_361) == "x" * 15_361
    many = await asyncio.gather(*(call(ada, "repeat", str(number)) for number in range(50)))
    assert many == [str(number) for number in range(50)]


@scenario()
async def calls_that_are_slow(stage: Stage) -> None:
    """A timeout is an error and no more: the process goes on."""
    ada, bob = await stage.pair()
    serve(bob)
    short, shorter, long = await asyncio.gather(
        call(ada, "dawdle", patience=0.5), call(ada, "dawdle", patience=0.1), call(ada, "dawdle", patience=10)
    )
    assert short in (Code.RESPONSE_TIMEOUT, Code.CONNECTION_TIMEOUT), short
    assert shorter in (Code.RESPONSE_TIMEOUT, Code.CONNECTION_TIMEOUT), shorter
    assert long == "at last"
    assert await call(ada, "shout", "still here") == "ada: STILL HERE"


@scenario()
async def calls_to_somebody_absent(stage: Stage) -> None:
    ada, bob = await stage.pair()
    serve(bob)
    absent = asyncio.create_task(call(ada, "shout", to="nobody"))
    interrupted = asyncio.create_task(call(ada, "dawdle", to="bob"))
    assert await call(ada, "shout", "once") == "ada: ONCE"
    await bob.leave()
    assert (found := await interrupted) == Code.RECIPIENT_DISCONNECTED, found
    assert await absent in (Code.RECIPIENT_NOT_FOUND, Code.CONNECTION_TIMEOUT)
