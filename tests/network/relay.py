"""A relay on the way of UDP datagrams that delays them, by a varying time, and lets them through in bursts.

It stands in the server's namespace: what comes in for the server's port is led to it, and it hands it on
from a port for each client. The kernel that the tests run on has no netem.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import faults
from namespace import Link, run, within

#: The class of service of datagrams that went past the relay.
PAST = "cs1"
Address = tuple[str, int]


class Way:
    """One direction. Datagrams keep their order, as those on one path do."""

    def __init__(self, delay_ms: float, jitter_ms: float, burst_ms: float, chance: random.Random) -> None:
        self._delay, self._jitter, self._burst = delay_ms / 1e3, jitter_ms / 1e3, burst_ms / 1e3
        self._chance = chance
        self._last = 0.0

    def due(self, now: float) -> float:
        """When a datagram that comes now goes on; seconds of the same clock."""
        at = now + self._delay + self._chance.uniform(0, self._jitter)
        if self._burst:
            at = (at // self._burst + 1) * self._burst
        self._last = max(at, self._last)
        return self._last


class Port(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay, client: Address | None = None) -> None:
        self.relay, self.client = relay, client

    def datagram_received(self, data: bytes, source: Address) -> None:
        if self.client is None:
            self.relay.to_server(data, source)
        else:
            self.relay.to_client(data, self.client)


class Relay:
    def __init__(self, server: Address, ways: tuple[Way, Way]) -> None:
        self._server = server
        self._upward, self._downward = ways
        self._loop = asyncio.get_running_loop()
        self._front: asyncio.DatagramTransport | None = None
        self._backs: dict[Address, asyncio.Task[asyncio.DatagramTransport]] = {}

    async def listen(self, address: str) -> int:
        """On a port that is free, which it returns."""
        self._front, _ = await self._loop.create_datagram_endpoint(
            lambda: Port(self), local_addr=(address, 0)
        )
        return int(self._front.get_extra_info("sockname")[1])

    def to_server(self, data: bytes, client: Address) -> None:
        if client not in self._backs:
            self._backs[client] = self._loop.create_task(self._open(client))
        back = self._backs[client]

        def send() -> None:
            if back.done():
                back.result().sendto(data, self._server)

        self._loop.call_at(self._upward.due(self._loop.time()), send)

    def to_client(self, data: bytes, client: Address) -> None:
        front = self._front
        if front:
            self._loop.call_at(self._downward.due(self._loop.time()), lambda: front.sendto(data, client))

    async def _open(self, client: Address) -> asyncio.DatagramTransport:
        back, _ = await self._loop.create_datagram_endpoint(
            lambda: Port(self, client), local_addr=(self._server[0], 0)
        )
        return back


@asynccontextmanager
async def relayed(
    link: Link, port: int, *, delay_ms: float = 0, jitter_ms: float = 0, burst_ms: float = 0, seed: int = 1
) -> AsyncIterator[None]:
    """All between the client and that UDP port of the server's goes through a relay."""
    side = link.server
    numbers = [str(one) for one in (port, delay_ms, jitter_ms, burst_ms, seed)]
    process = await asyncio.create_subprocess_exec(
        *side.command(sys.executable, str(Path(__file__)), side.address, *numbers),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        with detour(link, port, int(await process.stdout.readline())):
            yield
    finally:
        process.kill()
        await process.wait()


@contextmanager
def detour(link: Link, port: int, front: int) -> Iterator[None]:
    """What comes in goes to the relay; what the server sends past it is gone where it arrives, so that
    it is told nothing."""
    side = link.server
    rules = f"""
        table ip relay {{
            chain detour {{
                type nat hook prerouting priority -100
                iifname {side.interface} udp dport {port} dnat to {side.address}:{front}
            }}
            chain past {{
                type filter hook output priority -300
                oifname {side.interface} udp sport {port} ip dscp set {PAST} notrack
            }}
        }}
    """
    run(*within(side.name, "nft", "-f", "-"), text=rules)
    try:
        with faults.rules(link.client, into=f"ip dscp {PAST} udp sport {port} drop"):
            yield
    finally:
        run(*within(side.name, "nft", "delete", "table", "ip", "relay"))


async def main(address: str, port: str, delay: str, jitter: str, burst: str, seed: str) -> None:
    chance = random.Random(int(seed))
    ways = [Way(float(delay), float(jitter), float(burst), chance) for _ in range(2)]
    relay = Relay((address, int(port)), (ways[0], ways[1]))
    print(await relay.listen(address), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
