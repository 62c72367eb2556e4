"""The TURN server of a whole server, by its sockets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from livekit.protocol import rtc
from websockets.asyncio.client import ClientConnection, connect

import roomful

pytestmark = pytest.mark.asyncio

NAME = "turn.example.com"
PATIENCE = 10.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def write(authority: trustme.CA, chain: Path, key: Path) -> None:
    issued = authority.issue_cert(NAME)
    key.write_bytes(issued.private_key_pem.bytes())
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def asks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The type of the answer to a STUN binding request."""
    writer.write(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + os.urandom(12))
    async with asyncio.timeout(PATIENCE):
        head = await reader.readexactly(20)
        await reader.readexactly(int.from_bytes(head[2:4], "big"))
    return head[:2]


async def test_a_certificate_is_replaced_while_connections_go_on(tmp_path: Path) -> None:
    first, second = trustme.CA(), trustme.CA()
    chain, key, port = tmp_path / "chain.pem", tmp_path / "key.pem", free_port()
    write(first, chain, key)
    turn = {"enabled": True, "tls_port": port, "domain": NAME, "cert_file": str(chain), "key_file": str(key)}
    async with roomful.Server({"turn": turn}):

        async def connect(authority: trustme.CA) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.open_connection(
                    "127.0.0.1", port, ssl=trusting(authority), server_hostname=NAME
                )

        old = await connect(first)
        assert await asks(*old) == b"\x01\x01"

        chain.write_text("not a certificate")
        still = await connect(first)

        write(second, chain, key)
        new = await connect(second)
        for connection in (old, still, new):
            assert await asks(*connection) == b"\x01\x01"
            connection[1].close()


@pytest.mark.parametrize("missing", ["cert_file", "key_file"])
async def test_a_file_that_cannot_be_read_is_named_at_the_start(tmp_path: Path, missing: str) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    write(trustme.CA(), chain, key)
    files = {"cert_file": str(chain), "key_file": str(key), missing: str(tmp_path / "absent.pem")}
    turn = {"enabled": True, "tls_port": free_port(), "domain": NAME, **files}
    with pytest.raises(OSError, match=f"turn.{missing}.*absent.pem"):
        async with roomful.Server({"turn": turn}):
            pass


async def test_a_stream_that_is_not_turn_is_closed_at_once() -> None:
    port = free_port()
    async with roomful.Server({"turn": {"enabled": True, "udp_port": port}}):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()


async def test_a_stranger_gets_a_short_answer_and_no_allocation() -> None:
    port = free_port()
    async with roomful.Server({"turn": {"enabled": True, "udp_port": port}}):
        allocate = b"\x00\x03\x00\x08\x21\x12\xa4\x42" + os.urandom(12) + b"\x00\x19\x00\x04\x11\x00\x00\x00"
        with socket.socket(type=socket.SOCK_DGRAM) as asker:
            asker.setblocking(False)
            asker.connect(("127.0.0.1", port))
            asker.send(allocate)
            async with asyncio.timeout(PATIENCE):
                answer = await asyncio.get_running_loop().sock_recv(asker, 2048)
    assert answer[:2] == b"\x01\x13"
    assert b"\x00\x09\x00" in answer  # ERROR-CODE
    assert len(answer) <= 100


class Relayed:
    """A TURN client over UDP that asks as it is told (RFC 8656)."""

    def __init__(self, port: int, server: rtc.ICEServer) -> None:
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1", port))
        self.username = server.username
        self.key = hashlib.md5(f"{server.username}:livekit:{server.credential}".encode()).digest()
        self.nonce = b""

    async def allocate(self) -> int:
        """0, or the code that it is refused with."""
        return await self._ask(0x0003, _attribute(0x0019, b"\x11\x00\x00\x00"))

    async def refresh(self, lifetime: int) -> int:
        return await self._ask(0x0004, _attribute(0x000D, lifetime.to_bytes(4, "big")))

    async def _ask(self, method: int, attributes: bytes) -> int:
        if not self.nonce:
            assert await self._exchange(method, attributes, signed=False) == 401
        return await self._exchange(method, attributes, signed=True)

    async def _exchange(self, method: int, attributes: bytes, *, signed: bool) -> int:
        header = b"\x21\x12\xa4\x42" + os.urandom(12)
        if signed:
            attributes += _attribute(0x0006, self.username.encode())
            attributes += _attribute(0x0014, b"livekit") + _attribute(0x0015, self.nonce)
            # The length is that with the signature, which is 24 octets long.
            start = struct.pack("!HH", method, len(attributes) + 24) + header + attributes
            attributes += _attribute(0x0008, hmac.digest(self.key, start, "sha1"))
        self.socket.send(struct.pack("!HH", method, len(attributes)) + header + attributes)
        async with asyncio.timeout(PATIENCE):
            answer = await asyncio.get_running_loop().sock_recv(self.socket, 2048)
        assert answer[4:20] == header
        found = _attributes(answer)
        self.nonce = found.get(0x0015, self.nonce)
        return found[0x0009][2] * 100 + found[0x0009][3] if 0x0009 in found else 0


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def _attributes(message: bytes) -> dict[int, bytes]:
    found, rest = {}, message[20:]
    while rest:
        kind, length = struct.unpack_from("!HH", rest)
        found[kind] = rest[4 : 4 + length]
        rest = rest[4 + length + -length % 4 :]
    return found


async def test_what_a_participant_has_allocated_ends_with_its_session() -> None:
    port = free_port()
    async with roomful.Server({"turn": {"enabled": True, "udp_port": port}}) as server:

        @asynccontextmanager
        async def joined() -> AsyncIterator[tuple[ClientConnection, rtc.JoinResponse]]:
            token = server.token(identity="ada", room="demo")
            async with connect(f"{server.url}/rtc?access_token={token}") as signal:
                first = await signal.recv()
                assert isinstance(first, bytes)
                yield signal, rtc.SignalResponse.FromString(first).join

        async with joined() as (replaced, join):
            held = Relayed(port, join.ice_servers[0])
            assert await held.allocate() == 0
            assert await held.refresh(3600) == 0
            # A full reconnect: the same identity, with credentials of another session.
            async with joined() as (signal, join):
                async with asyncio.timeout(PATIENCE):
                    await replaced.wait_closed()
                assert await held.refresh(3600) == 401
                new = Relayed(port, join.ice_servers[0])
                assert await new.allocate() == 0
                assert await new.refresh(3600) == 0

                await signal.send(rtc.SignalRequest(leave=rtc.LeaveRequest()).SerializeToString())
                async with asyncio.timeout(PATIENCE):
                    await signal.wait_closed()
        for client in (held, new):
            assert await client.refresh(3600) == 401
            client.socket.close()
