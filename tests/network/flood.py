"""A participant with a token of its own that does what it can against its server; run in a namespace.

What it has signed itself goes out again and again from other ports, beside what strangers may send."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress

from roomful._core import Probe
from roomful.doctor import carriers, signalling
from roomful.doctor.examination import TurnUrl

PORTS = range(10_000, 30_000)
BINDING, ALLOCATE = b"\x00\x01", b"\x00\x03"
COOKIE = b"\x21\x12\xa4\x42"
#: Bytes of an Allocate with credentials; one without has fewer.
SIGNED = 80
#: Connections that are opened and say nothing, to each port.
SILENT = 500


class Capturing:
    """A carrier that keeps what a probe signs."""

    def __init__(self, carrier: carriers.Datagrams, kind: bytes) -> None:
        self.carrier, self.kind = carrier, kind
        self.inbox = carrier.inbox
        self.captured: tuple[str, bytes] | None = None

    def send(self, local: str, remote: str, data: bytes) -> None:
        if data.startswith(self.kind) and len(data) > SIGNED:
            self.captured = remote, data
        self.carrier.send(local, remote, data)


async def capture(url: str, token: str, kind: bytes) -> tuple[str, bytes]:
    """A signed request of that kind, and where it goes, of a connection that works."""
    async with signalling.join(url, token) as signal:
        probe = Probe()
        answer = await signal.negotiate(probe.offer)
        host = carriers.split_address(url.partition("//")[2])[0]
        async with carriers.datagrams([f"{host}:1"]) as sockets:
            carrier, (local,) = Capturing(sockets, kind), sockets.sockets
            if kind == BINDING:
                probe.begin_udp(answer, [local])
            else:
                (told,) = signal.joined.ice_servers
                turn = TurnUrl(told.urls[0], told.username, told.credential)
                server = carriers.join_address(*turn.address)
                probe.begin_relay(
                    answer, local, server, stream=False, username=turn.username, password=turn.credential
                )
            for line in dict.fromkeys(signal.candidates):
                probe.add_candidate(line)
            state, text = await carriers.drive(probe, carrier, 10)
            assert state == "connected", (state, text)
            assert carrier.captured
            # While it is in the room: afterwards nobody would know its name.
            await replay(local, *carrier.captured)
            return carrier.captured


async def replay(local: str, remote: str, request: bytes) -> None:
    """From twenty thousand ports."""
    host, to = carriers.split_address(local)[0], carriers.split_address(remote)
    for port in PORTS:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, suppress(OSError):
            sender.bind((host, port))
            sender.sendto(request, to)
        if port % 100 == 0:
            await asyncio.sleep(0)


def strange(remotes: Iterable[tuple[str, int]]) -> None:
    """Questions that anybody may ask."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(10_000):
            for remote in remotes:
                for kind in (BINDING, ALLOCATE):
                    sender.sendto(kind + b"\0\0" + COOKIE + os.urandom(12), remote)


async def main(url: str, token: str) -> None:
    remotes = [(await capture(url, token, kind))[0] for kind in (BINDING, ALLOCATE)]
    udp, turn = map(carriers.split_address, remotes)
    strange([udp, turn])
    silent = []
    for host, port in ((udp[0], 7881), turn):
        for _ in range(SILENT):
            with suppress(OSError):
                silent.append(socket.create_connection((host, port), timeout=0.2))
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
