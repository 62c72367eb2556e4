"""Clients that make the server wait: each wait ends by itself, and the server goes on."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from livekit.protocol import rtc

import roomful
from roomful.server import listener, signalling

pytestmark = pytest.mark.asyncio

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
#: Seconds that a wait has in these tests, and within which it must be over on a busy machine.
SHORT, PATIENCE = 0.3, 10.0


@pytest_asyncio.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[roomful.Server]:
    monkeypatch.setattr(listener, "HEAD_TIMEOUT", SHORT)
    monkeypatch.setattr(listener, "READ_TIMEOUT", SHORT)
    monkeypatch.setattr(signalling, "WRITE_TIMEOUT", SHORT)
    async with roomful.Server() as server:
        assert server._listener is not None
        for listening in server._listener._sockets:
            # Connections inherit it: little is on its way to who does not read.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield server


def port_of(server: roomful.Server) -> int:
    return int(server.url.rpartition(":")[2])


async def reads_until_the_end(reader: asyncio.StreamReader) -> bytes:
    """Whether it was closed or reset is all the same."""
    data = b""
    async with asyncio.timeout(PATIENCE):
        try:
            while more := await reader.read(1 << 16):
                data += more
        except ConnectionError:
            pass
    return data


async def drip(writer: asyncio.StreamWriter, byte: bytes) -> None:
    while not writer.is_closing():
        writer.write(byte)
        await asyncio.sleep(SHORT / 10)


@pytest.mark.parametrize(
    ("said", "byte", "answered"),
    [
        (b"", b"", 0),
        (b"G", b"", 0),
        (b"", b"\r", 0),
        (HALF, b"", 0),
        (HALF, b"a", 0),
        (GET, b"", 1),
        (GET, b"\r", 1),
        (GET + HALF, b"a", 1),
        (POST, b"", 1),
        (POST, b"x", 1),
        (GET + GET + GET + HALF, b"a", 3),
    ],
    ids=[
        "silence",
        "a byte",
        "an empty line at times",
        "half a head",
        "a head that drips",
        "idle after an answer",
        "empty lines after an answer",
        "another head that drips",
        "a body that does not come",
        "a body that drips",
        "a pipeline that drips",
    ],
)
async def test_whoever_does_not_go_on_is_dropped(
    server: roomful.Server, said: bytes, byte: bytes, answered: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    writer.write(said)
    dripping = asyncio.create_task(drip(writer, byte)) if byte else None
    answer = await reads_until_the_end(reader)
    assert answer.count(b"HTTP/1.1 200") == answered
    if dripping is not None:
        dripping.cancel()
    writer.close()


async def test_who_asks_in_time_goes_on(server: roomful.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEAD_TIMEOUT", PATIENCE)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    for _ in range(3):
        writer.write(GET)
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"OK")
    writer.close()


async def test_who_takes_no_answers_is_dropped(
    server: roomful.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second answer of a pipeline waits for room that the first has taken."""
    monkeypatch.setattr(listener, "HEAD_TIMEOUT", 10 * PATIENCE)
    loop = asyncio.get_running_loop()
    create = json.dumps({"name": "demo", "metadata": "m" * 400_000})
    async with httpx.AsyncClient() as admin:
        made = await admin.post(
            f"http://127.0.0.1:{port_of(server)}/twirp/livekit.RoomService/CreateRoom",
            headers={"authorization": f"Bearer {server.token(identity='', room_create=True)}"}
            | {"content-type": "application/json"},
            content=create,
        )
        assert made.status_code == 200
    token = server.token(identity="", room_list=True)
    question = (
        "POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: 2\r\n\r\n{{}}"
    ).encode()
    assert server._listener is not None
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port_of(server)))
        await loop.sock_sendall(client, question * 2)
        assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(PATIENCE):
            await server._listener._connections.empty.wait()


async def test_who_asks_and_asks_without_waiting_for_answers_is_dropped(server: roomful.Server) -> None:
    """Each request that waits is held in memory, and whoever asks needs no token."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    writer.write(GET * 10_000)
    answers = await reads_until_the_end(reader)
    assert answers.count(b"HTTP/1.1 200") <= listener.MAX_PIPELINED
    writer.close()


async def test_a_pipeline_within_the_bound_is_answered(server: roomful.Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    writer.write(GET * listener.MAX_PIPELINED)
    async with asyncio.timeout(PATIENCE):
        for _ in range(listener.MAX_PIPELINED):
            await reader.readuntil(b"OK")
    writer.close()


async def test_a_websocket_that_does_not_take_its_goodbye_is_dropped(server: roomful.Server) -> None:
    """Removed, it has a megabyte to read before its connection can close in good order."""
    loop = asyncio.get_running_loop()
    token = server.token(identity="deaf", room="demo")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port_of(server)))
        head = (
            f"GET /rtc?access_token={token} HTTP/1.1\r\nHost: x\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await loop.sock_sendall(client, head.encode())
        assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 101")
        assert server._listener is not None
        (deaf,) = server._listener._connections
        deaf.transport.write(b"\0" * (1 << 20))
        leave = rtc.SignalRequest(leave=rtc.LeaveRequest()).SerializeToString()
        await loop.sock_sendall(client, bytes([0x82, 0x80 | len(leave), 0, 0, 0, 0]) + leave)
        # Not closed by the client, and not read.
        async with asyncio.timeout(PATIENCE):
            await server._listener._connections.empty.wait()
