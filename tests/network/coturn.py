"""Debian's coturn, a TURN and STUN server that is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from namespace import Side
from served import listens

PORT = 3478
START_TIMEOUT = 10.0


@asynccontextmanager
async def open_coturn(side: Side, *options: str, relay: str = "") -> AsyncIterator[None]:
    """Listens at one end and relays from the address of another."""
    process = await asyncio.create_subprocess_exec(
        *side.command("turnserver", "-n", "--no-tls", "--no-dtls", "--no-cli", "--realm=example.org"),
        *(f"--listening-ip={side.address}", f"--relay-ip={relay or side.address}"),
        *(f"--listening-port={PORT}", "--log-file=stdout", "--pidfile=", *options),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while not listens(process.pid, PORT):
                assert process.returncode is None, "coturn ended"
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
