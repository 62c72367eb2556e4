"""The networks do what the tests of servers take them to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import faults
import pytest
from namespace import Link, Side
from relay import relayed

PORT = 7882
#: Sends back what comes, by UDP and by TCP.
ECHO = f"""
import socket, sys, threading
def udp(sock):
    while True:
        data, source = sock.recvfrom(2048)
        sock.sendto(data, source)
def tcp(sock):
    while True:
        each, _ = sock.accept()
        each.sendall(each.recv(10))
each = socket.socket(type=socket.SOCK_DGRAM)
each.bind((sys.argv[1], {PORT}))
listening = socket.create_server((sys.argv[1], {PORT}))
threading.Thread(target=udp, args=(each,), daemon=True).start()
print("ready", flush=True)
tcp(listening)
"""
#: Sends numbered datagrams and says how many came back, and after how many milliseconds the median did.
ASK = f"""
import select, socket, statistics, sys, time
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.connect((sys.argv[1], {PORT}))
count, size, sent, took = int(sys.argv[2]), int(sys.argv[3]), {{}}, {{}}
end = time.monotonic() + 3
def receive(until):
    while len(took) < count and select.select([sock], [], [], max(until - time.monotonic(), 0))[0]:
        number = int(sock.recv(2048)[:8])
        took[number] = time.monotonic() - sent[number]
for number in range(count):
    sent[number] = time.monotonic()
    sock.send(b"%08d" % number + bytes(size - 8))
    receive(sent[number] + 0.001)
receive(end)
print(len(took), statistics.median(took.values()) * 1000 if took else -1)
"""
#: "open", "refused" or "silent".
CONNECT = f"""
import socket, sys
try:
    socket.create_connection((sys.argv[1], {PORT}), timeout=0.5).close()
    print("open")
except TimeoutError:
    print("silent")
except ConnectionRefusedError:
    print("refused")
"""


async def run_python(side: Side, program: str, *arguments: object) -> str:
    process = await asyncio.create_subprocess_exec(
        *side.command(sys.executable, "-c", program, *map(str, arguments)), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode().strip()


async def ask(link: Link, count: int, size: int = 100) -> tuple[int, float]:
    came, took = (await run_python(link.client, ASK, link.server.address, count, size)).split()
    return int(came), float(took)


async def connect(link: Link) -> str:
    return await run_python(link.client, CONNECT, link.server.address)


@asynccontextmanager
async def echoing(link: Link) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *link.server.command(sys.executable, "-c", ECHO, link.server.address),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        await process.stdout.readline()
        yield
    finally:
        process.kill()
        await process.wait()


@pytest.mark.asyncio
async def test_blocked_is_silent_and_refused_is_told(link: Link) -> None:
    async with echoing(link):
        with faults.block_udp(link, PORT):
            assert (await ask(link, 1))[0] == 0
            assert await connect(link) == "open"
        with faults.block_tcp(link, PORT):
            assert await connect(link) == "silent"
            assert (await ask(link, 1))[0] == 1
        with faults.refuse_tcp(link, PORT):
            assert await connect(link) == "refused"
        with faults.silence(link):
            assert await connect(link) == "silent"
        assert await connect(link) == "open"


@pytest.mark.asyncio
async def test_another_address_takes_the_place_of_the_first(link: Link) -> None:
    async with echoing(link):
        faults.change_address(link)
        assert (await ask(link, 1))[0] == 1


@pytest.mark.asyncio
async def test_some_of_a_thousand_are_lost_at_random(link: Link) -> None:
    async with echoing(link):
        with faults.lose(link, per_mille=100):
            came, _ = await ask(link, 1000)
        assert 700 < came < 900  # Each way loses a tenth: 810, with a deviation of 12.


@pytest.mark.asyncio
async def test_a_narrow_link_lets_through_what_its_rate_allows(link: Link) -> None:
    async with echoing(link):
        with faults.narrow(link.client, kbit=400):
            came, took = await ask(link, 200, size=1000)
        # In the 0.2 s of sending and the 0.1 s of queue, 15 kB of 200 and the first burst.
        assert 5 <= came < 40
        assert took > 20


@pytest.mark.asyncio
async def test_a_relay_delays_both_ways_and_gathers_bursts(link: Link) -> None:
    async with echoing(link):
        async with relayed(link, PORT, delay_ms=40, jitter_ms=10):
            came, took = await ask(link, 100)
            assert came == 100
            assert 80 <= took <= 150
        async with relayed(link, PORT, burst_ms=100):
            came, took = await ask(link, 50)
            assert came == 50
            assert took > 50
