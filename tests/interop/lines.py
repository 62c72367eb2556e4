"""The other side of peers.run_program: a program that is told what to do by lines on its input."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Call = Callable[[str, list[Any]], Awaitable[Any]]


async def answer_lines(call: Call) -> None:
    """Calls by method and arguments, answering each by its result or its error, until the input ends."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        request = json.loads(line)
        try:
            answer = {"result": await call(request["method"], request["arguments"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=str), flush=True)


def methods_of(peer: object) -> Call:
    async def call(method: str, arguments: list[Any]) -> Any:
        return await getattr(peer, method)(*arguments)

    return call
