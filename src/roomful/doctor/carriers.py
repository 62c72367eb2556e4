"""Sockets for a probe: datagrams, or the bytes of one stream."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, cast

from roomful._core import Probe

if TYPE_CHECKING:
    from roomful._core import ProbeState

#: From, to, bytes; no bytes: the stream has ended.
Packet = tuple[str, str, bytes]
Inbox = asyncio.Queue[Packet]

#: Seconds for a connection or a handshake.
PATIENCE = 5.0


class Carrier(Protocol):
    inbox: Inbox

    def send(self, local: str, remote: str, data: bytes) -> None: ...


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_port(text: str) -> int:
    """Raises `ValueError`."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) <= 0xFFFF):
        raise ValueError(f"{text[:20]!r} is not a port")
    return int(text)


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


async def drive(probe: Probe, carrier: Carrier, patience: float) -> tuple[ProbeState, str]:
    """Carries packets until the probe knows, or time is over: then it is still "connecting"."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        timer = probe.handle_timeout()
        flush(probe, carrier)
        progress = probe.progress()
        left = end - loop.time()
        if progress[0] != "connecting" or left <= 0:
            return progress
        try:
            async with asyncio.timeout(left if timer is None else min(timer, left)):
                local, remote, data = await carrier.inbox.get()
        except TimeoutError:
            continue
        if not data:
            return "stream", "the server closed the connection"
        probe.handle(local, remote, data)


def flush(probe: Probe, carrier: Carrier) -> None:
    for local, remote, data in probe.take():
        carrier.send(local, remote, data)


class Datagrams(asyncio.DatagramProtocol):
    """One socket a local address."""

    def __init__(self) -> None:
        self.inbox: Inbox = asyncio.Queue(1000)
        self.sockets: dict[str, asyncio.DatagramTransport] = {}

    def send(self, local: str, remote: str, data: bytes) -> None:
        if local in self.sockets:
            self.sockets[local].sendto(data, split_address(remote))


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.local = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        host, port = transport.get_extra_info("sockname")[:2]
        self.local = join_address(host, port)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if not self.inbox.full():
            self.inbox.put_nowait((self.local, join_address(*address[:2]), data))


@asynccontextmanager
async def datagrams(remotes: Iterable[str]) -> AsyncIterator[Datagrams]:
    """Sockets from which the remote addresses can be reached, each of our own addresses once."""
    loop = asyncio.get_running_loop()
    carrier = Datagrams()
    try:
        for host in dict.fromkeys(filter(None, map(_own_address, remotes))):
            transport, receiver = await loop.create_datagram_endpoint(
                lambda: _Receiver(carrier.inbox), local_addr=(host, 0)
            )
            carrier.sockets[receiver.local] = transport
        yield carrier
    finally:
        for transport in carrier.sockets.values():
            transport.close()


def _own_address(remote: str) -> str | None:
    """Our address on the way to a remote one; None: there is no way."""
    host, port = split_address(remote)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asker:
        try:
            asker.connect((host, port))
        except OSError:
            return None
        return cast("str", asker.getsockname()[0])


class Stream:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.inbox: Inbox = asyncio.Queue(1000)
        self.reader, self.writer = reader, writer
        ours, theirs = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        if ours is None or theirs is None:
            raise ConnectionResetError("closed at once")
        self.local, self.remote = join_address(*ours[:2]), join_address(*theirs[:2])

    def send(self, local: str, remote: str, data: bytes) -> None:
        self.writer.write(data)

    async def read(self) -> None:
        try:
            while data := await self.reader.read(1 << 16):
                await self.inbox.put((self.local, self.remote, data))
        except OSError:
            pass
        await self.inbox.put((self.local, self.remote, b""))


@asynccontextmanager
async def stream(host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stream]:
    """Raises OSError (ssl.SSLError is one) or TimeoutError when there is no connection."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    carrier = Stream(reader, writer)
    reading = asyncio.create_task(carrier.read())
    try:
        yield carrier
    finally:
        reading.cancel()
        writer.close()
        await asyncio.wait({reading})
