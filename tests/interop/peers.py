"""Participants on official clients, each told what to do by the name of a method.

A method that waits for something (`hears`, `sees`, `receives`, `notices`, …) does so inside the client, for a
bounded time, and fails with a text that says what there was instead.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from python.sdk import VARIABLE
from servers import ROOM, Server

PYTHON_PEER = str(Path(__file__).with_name("python_peer.py"))

EMPTY: Mapping[str, str] = MappingProxyType({})

#: Seconds; above what any method of a client may take.
CALL_TIMEOUT = 45.0
END_TIMEOUT = 10.0

Calling = Callable[[str, list[Any]], Coroutine[Any, Any, Any]]


class Peer:
    """`await peer.hears("ada", 440)` calls `hears` of the client with these arguments."""

    def __init__(self, identity: str, calling: Calling) -> None:
        self.identity = identity
        self._calling = calling

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if method.startswith("_"):
            raise AttributeError(method)

        async def call(*arguments: Any) -> Any:
            async with asyncio.timeout(CALL_TIMEOUT):
                return await self._calling(method, list(arguments))

        return call


@asynccontextmanager
async def run_program(
    identity: str, *command: str, environment: Mapping[str, str] = EMPTY
) -> AsyncIterator[Peer]:
    """A client in a process of its own: it reads `{"method", "arguments"}` and answers `{"result"}` or
    `{"error"}`, each a line. It ends when its input does."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "RUST_LOG": "error", **environment},
        limit=1 << 20,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    writing, reading, turn = process.stdin, process.stdout, asyncio.Lock()

    async def calling(method: str, arguments: list[Any]) -> Any:
        async with turn:
            writing.write(json.dumps({"method": method, "arguments": arguments}).encode() + b"\n")
            await writing.drain()
            async for line in reading:
                if line.startswith((b'{"result":', b'{"error":')):  # The rest is what libraries print.
                    answer = json.loads(line)
                    assert "error" not in answer, f"{identity}: {answer['error']}"
                    return answer.get("result")
            raise AssertionError(f"{identity} ended: {await process.wait()}")

    try:
        yield Peer(identity, calling)
    finally:
        writing.close()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(END_TIMEOUT):
                    await process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # What it has started and not ended, too.
            await process.wait()


def run_python(identity: str, sdk: str = "livekit") -> AbstractAsyncContextManager[Peer]:
    """A client on PyPI's `livekit` or on `roomful`, not connected yet."""
    return run_program(identity, sys.executable, PYTHON_PEER, environment={VARIABLE: sdk})


@asynccontextmanager
async def two_programs(server: Server, url: str = "") -> AsyncIterator[tuple[Peer, Peer]]:
    """Ada and bob on PyPI's `livekit`, in the room: as far apart as two clients on one machine can be."""
    async with run_python("ada") as ada, run_python("bob") as bob:
        for peer in (ada, bob):
            await peer.connect(url or server.url, server.token(identity=peer.identity, room=ROOM))
        yield ada, bob
