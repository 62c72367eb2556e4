"""Hostile clients against a whole server, from outside: nobody else notices, and memory stays bounded."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import os
import random
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from livekit.protocol import models, rtc
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import roomful
from roomful.server.listener import FRAME_BURST, FRAME_RATE, HEAD_TIMEOUT, MAX_REFUSED, SLICE, _WebSocket

pytestmark = pytest.mark.asyncio

Reason = rtc.RequestResponse.Reason
#: Nobody may wait longer for a pong while somebody misbehaves, in seconds. Machines that run tests are busy.
PATIENCE = 5.0


@pytest_asyncio.fixture
async def server() -> AsyncIterator[roomful.Server]:
    async with roomful.Server() as server:
        yield server


class Client:
    """A signalling connection that has joined."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.join = rtc.JoinResponse()

    async def send(self, **request: Any) -> None:
        await self.socket.send(rtc.SignalRequest(**request).SerializeToString())

    async def next(self) -> rtc.SignalResponse:
        frame = await self.socket.recv()
        assert isinstance(frame, bytes)
        return rtc.SignalResponse.FromString(frame)

    async def until(self, kind: str) -> Any:
        async with asyncio.timeout(20):
            while (response := await self.next()).WhichOneof("message") != kind:
                pass
        return getattr(response, kind)

    async def pong(self) -> float:
        """Seconds that a ping took."""
        began = time.monotonic()
        await self.send(ping=1)
        await self.until("pong")
        return time.monotonic() - began


@asynccontextmanager
async def joined(server: roomful.Server, identity: str, **grants: Any) -> AsyncIterator[Client]:
    token = server.token(identity=identity, room="demo", **grants)
    async with connect(f"{server.url}/rtc?access_token={token}", max_size=None) as socket:
        client = Client(socket)
        client.join = await client.until("join")
        yield client


def memory() -> int:
    """Resident bytes of this process."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def refused(url: str) -> tuple[int, str]:
    """What a join and its validation are both answered with."""
    with pytest.raises(InvalidStatus) as caught:
        await connect(url)
    answer = caught.value.response.status_code, bytes(caught.value.response.body).decode()
    async with httpx.AsyncClient() as client:
        validated = await client.get(f"http{url[2:].replace('/rtc?', '/rtc/validate?')}")
    assert (validated.status_code, validated.text) == answer
    return answer


async def get(server: roomful.Server, path: str, headers: str = "") -> tuple[int, str]:
    """A request that no client library would make."""
    host, port = server.url.removeprefix("ws://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
    async with asyncio.timeout(10):
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = (await reader.read(4096)).decode()
    writer.close()
    return int(answer.split()[1]), body


async def test_ten_thousand_tracks_are_answered_and_bounded(server: roomful.Server) -> None:
    async with joined(server, "greedy") as greedy, joined(server, "other") as other:
        sending = asyncio.create_task(_add_tracks(greedy, 10_000))
        # The rate of frames is bounded: not all of them are read within this test.
        published = refused = 0
        while published + refused < 1_100:
            response = await greedy.next()
            if response.WhichOneof("message") == "track_published":
                published += 1
            elif response.WhichOneof("message") == "request_response":
                assert response.request_response.reason == Reason.LIMIT_EXCEEDED
                refused += 1
            if (published + refused) % 100 == 0:
                assert await other.pong() < PATIENCE
        assert published == 256
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        greedy.socket.transport.abort()


async def _add_tracks(client: Client, count: int) -> None:
    for number in range(count):
        await client.send(add_track=rtc.AddTrackRequest(cid=str(number), type=models.TrackType.VIDEO))


async def test_ten_thousand_candidates_disturb_nobody(server: roomful.Server) -> None:
    async with joined(server, "greedy") as greedy, joined(server, "other") as other:
        before = memory()
        for number in range(1_200):
            line = f"candidate:{number} 1 udp 1 10.0.{number // 250}.{number % 250 + 1} 9 typ host"
            init = json.dumps({"candidate": line, "sdpMid": "0"})
            await greedy.send(trickle=rtc.TrickleRequest(candidateInit=init))
        assert await other.pong() < PATIENCE
        assert await greedy.pong() < 10
        assert memory() - before < 20e6


async def test_frames_without_content_are_parsed_at_a_bounded_rate(
    server: roomful.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pings, pongs and continuations never reach the application, which bounds its own."""
    parsed = 0
    handle_events = _WebSocket.handle_events

    def count(self: _WebSocket) -> None:
        nonlocal parsed
        parsed += len(self.conn.events)
        handle_events(self)

    async with joined(server, "greedy") as greedy, joined(server, "other") as other:
        monkeypatch.setattr(_WebSocket, "handle_events", count)
        mask = b"\x80\0\0\0\0"
        began = time.monotonic()
        contents = b"".join(first + mask for first in (b"\x89", b"\x8a", b"\x00")) * 100_000
        greedy.socket.transport.write(b"\x02" + mask + contents)
        while parsed < FRAME_BURST + FRAME_RATE / 2:
            assert await other.pong() < PATIENCE
        assert parsed < FRAME_BURST + FRAME_RATE * (time.monotonic() - began) + 2 * SLICE
        assert parsed < 100_000
        greedy.socket.transport.abort()


async def test_pongs_do_not_pile_up_for_a_client_that_never_reads(
    server: roomful.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What its rate lets through must not pile up either, in time.
    monkeypatch.setattr("roomful.server.listener.FRAME_RATE", 1e9)
    async with joined(server, "deaf") as deaf, joined(server, "other") as other:
        deaf.socket.transport.pause_reading()
        ping = b"\x89\xfd" + b"\0" * 4 + b"x" * 125
        assert server._listener is not None
        held = 0
        for _ in range(60):
            deaf.socket.transport.write(ping * 2_000)
            assert await other.pong() < PATIENCE
            connections = list(server._listener._connections)
            held = max(held, *(it.transport.get_write_buffer_size() for it in connections))
        assert held < 1e6
        deaf.socket.transport.abort()


async def test_large_frames_are_read_at_a_bounded_rate(server: roomful.Server) -> None:
    sids = [f"TR_{number}" for number in range(9_000)]
    frame = rtc.SignalRequest(subscription=rtc.UpdateSubscription(track_sids=sids, subscribe=True))
    raw = frame.SerializeToString()
    async with joined(server, "greedy") as greedy, joined(server, "other") as other:
        sending = asyncio.create_task(_repeat(greedy, raw, 200))
        for _ in range(20):
            assert await other.pong() < PATIENCE
        assert not sending.done(), "200 frames of 100 kB were all taken at once"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        greedy.socket.transport.abort()


async def _repeat(client: Client, frame: bytes, times: int) -> None:
    for _ in range(times):
        await client.socket.send(frame)


@asynccontextmanager
async def nobody_waits_long() -> AsyncIterator[None]:
    """The loop is never busy with one thing for more than a third of the time that all of it takes."""
    loop = asyncio.get_running_loop()
    longest, began = 0.0, loop.time()

    async def beat() -> None:
        nonlocal longest
        while True:
            before = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - before)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
    assert longest < (loop.time() - began) / 3


async def test_nobody_waits_while_an_admins_large_request_is_read(server: roomful.Server) -> None:
    body = json.dumps({"room": "demo", "track_sids": ["TR_1"] * 140_000})
    token = server.token(identity="admin", room="demo", room_admin=True)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    url = f"http{server.url[2:]}/twirp/livekit.RoomService/UpdateSubscriptions"
    async with httpx.AsyncClient(timeout=60) as client, nobody_waits_long():
        answer = await client.post(url, headers=headers, content=body)
        assert answer.json()["code"] == "not_found"
    async with httpx.AsyncClient(timeout=60) as client:
        body = json.dumps({"room": "demo", "track_sids": ["TR_1"] * 160_000})
        assert (await client.post(url, headers=headers, content=body)).json()["code"] == "malformed"


async def test_nobody_waits_while_a_large_text_frame_is_read(server: roomful.Server) -> None:
    frame = json.dumps({"subscription": {"track_sids": ["TR_1"] * 140_000}})
    async with joined(server, "ada") as ada, nobody_waits_long():
        await ada.socket.send(frame)
        while True:
            text = await ada.socket.recv()
            if isinstance(text, str) and "requestResponse" in text:
                break
        assert "lists more than" in text


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/rtc/validate?" + "a=&" * 300_000, 400, "more than 100 query parameters"),
        ("/rtc/validate?access_token=" + "." * 1_000_000, 401, "invalid authorization token"),
        ("/rtc/validate?access_token=" + "W1tb" * 100_000 + ".e30.AA", 401, "invalid authorization token"),
        ("/" + "%25" * 300_000, 400, "Invalid HTTP request received."),
    ],
    ids=["parameters", "dots", "nested", "path"],
)
async def test_monstrous_requests_cost_little(
    server: roomful.Server, path: str, status: int, text: str
) -> None:
    began = time.monotonic()
    assert await get(server, path) == (status, text)
    assert time.monotonic() - began < PATIENCE


async def test_too_many_headers_are_refused(server: roomful.Server) -> None:
    answer = await get(server, "/", "".join(f"a{number}: b\r\n" for number in range(50_000)))
    assert answer == (431, "more than 128 headers")


async def test_validate_takes_a_token_with_300_kb_of_metadata_in_its_query(server: roomful.Server) -> None:
    token = server.token(identity="ada", room="demo", metadata="m" * 300_000)
    assert await get(server, f"/rtc/validate?access_token={token}#x") == (200, "success")


async def test_nobody_without_a_token_makes_the_api_wait_for_a_body(server: roomful.Server) -> None:
    host, port = server.url.removeprefix("ws://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/json\r\nContent-Length: 9000000\r\n\r\n{"
    )
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
    writer.close()


@pytest.mark.parametrize("attributes", ["[" * 50_000, r'{"a":"\ud800"}', '{"a":' + "9" * 5_000 + "}"])
async def test_attributes_that_are_none_are_refused_not_a_fault(
    server: roomful.Server, attributes: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = base64.urlsafe_b64encode(attributes.encode()).decode()
    token = server.token(identity="ada", room="demo", can_update_own_metadata=True)
    status, body = await get(server, f"/rtc/validate?access_token={token}&attributes={text}")
    assert (status, body) == (400, "cannot decode attributes")
    async with connect(f"{server.url}/rtc?access_token={token}&attributes={text}") as socket:
        assert (await Client(socket).until("join")).participant.identity == "ada"
    assert not [it for it in caplog.records if it.levelno >= logging.ERROR]


async def test_text_frames_with_what_nothing_can_encode_end_that_client_alone(server: roomful.Server) -> None:
    for frame in (r'{"addTrack":{"cid":"\ud800"}}', '{"ping":' + "9" * 5_000 + "}", '{"offer":' * 2_000):
        async with joined(server, "odd") as odd, joined(server, "other") as other:
            await odd.socket.send(frame)
            with pytest.raises(ConnectionClosed) as closed:
                await odd.until("nothing")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.reason == "frame is not a SignalRequest"
            assert await other.pong() < PATIENCE


async def test_a_full_room_is_403_with_its_limit_from_validate_too() -> None:
    async with (
        roomful.Server({"room": {"max_participants": 2}}) as server,
        joined(server, "ada"),
        joined(server, "bob"),
    ):
        url = f"{server.url}/rtc?access_token={server.token(identity='eve', room='demo')}"
        assert await refused(url) == (403, 'room "demo" is full: max_participants 2')


async def test_node_limits_are_503_with_their_names() -> None:
    async with roomful.Server({"limit": {"num_tracks": 1}}) as server, joined(server, "ada") as ada:
        await ada.send(add_track=rtc.AddTrackRequest(cid="mic", type=models.TrackType.AUDIO))
        await ada.until("track_published")
        url = f"{server.url}/rtc?access_token={server.token(identity='eve', room='demo')}"
        assert await refused(url) == (503, "node is at its limit: limit.num_tracks 1")


async def test_joins_over_the_rate_are_503_with_the_settings_name() -> None:
    async with roomful.Server({"limit": {"joins_per_sec_per_ip": 0.2}}) as server:
        async with joined(server, "ada"), joined(server, "bob"):
            url = f"{server.url}/rtc?access_token={server.token(identity='eve', room='demo')}"
            answer = await refused(url)
        assert answer == (503, "too many joins from one address: limit.joins_per_sec_per_ip 0.2")


async def test_connections_over_the_limit_are_503_with_its_name_and_proxies_have_none() -> None:
    async with roomful.Server({"limit": {"connections_per_ip": 3}}) as server:
        port = int(server.url.rsplit(":", 1)[1])

        async def ask(address: str, opened: ExitStack) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            opened.callback(writer.close)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return await reader.readline() + await reader.readuntil(b"\r\n\r\n") + await reader.read(80)

        url = f"{server.url}/rtc?access_token={server.token(identity='ada', room='demo')}"
        with ExitStack() as opened:
            # The upgraded one counts once.
            async with connect(url, local_addr=("127.0.0.2", 0)) as ada:
                for _ in range(2):
                    assert (await ask("127.0.0.2", opened)).endswith(b"OK")
                refusal = await ask("127.0.0.2", opened)
                assert refusal.startswith(b"HTTP/1.1 503 ")
                assert refusal.endswith(b"too many connections from one address: limit.connections_per_ip 3")
                # Where a forwarded address is believed, everybody comes from one.
                for _ in range(5):
                    assert (await ask("127.0.0.1", opened)).endswith(b"OK")
                await (await ada.ping())
        # What was given back can be had again.
        with ExitStack() as opened:
            async with asyncio.timeout(10):
                while not (await ask("127.0.0.2", opened)).endswith(b"OK"):
                    pass


async def test_connections_over_the_limit_do_not_pile_up_while_they_are_told() -> None:
    async with roomful.Server({"limit": {"connections_per_ip": 1}}) as server:
        port = int(server.url.rsplit(":", 1)[1])

        async def is_told() -> bool:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
                opened.callback(writer.close)
                return (await reader.readline()).startswith(b"HTTP/1.1 503 ")
            except ConnectionResetError:
                return False

        with ExitStack() as opened, socket.socket() as first:
            first.bind(("127.0.0.2", 0))
            first.connect(("127.0.0.1", port))
            async with asyncio.timeout(HEAD_TIMEOUT - 1):
                told = await asyncio.gather(*(is_told() for _ in range(300)))
        assert MAX_REFUSED <= sum(told) < 300


async def test_a_refused_join_is_no_error_in_the_log(
    server: roomful.Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await refused(f"{server.url}/rtc?access_token=nonsense"))[0] == 401
    async with joined(server, "ada"):
        assert not [it.getMessage() for it in caplog.records if it.levelno >= logging.WARNING]


async def test_datagrams_of_strangers_get_no_answer_and_do_no_harm(server: roomful.Server) -> None:
    random_ = random.Random(7)
    (port,) = server.media_ports
    heads = [
        struct.pack(">HHI", 1, 8, 0x2112A442) + random_.randbytes(12) + b"\0\x06\0\x03a:b\0",
        bytes([22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40]),
        bytes([0x80, 96]),
        bytes([0x81, 201, 0, 7]),
        b"",
    ]
    async with joined(server, "ada") as ada:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            stranger.connect(("127.0.0.1", port))
            before = memory()
            for _ in range(200):
                for _ in range(50):
                    stranger.send(random_.choice(heads) + random_.randbytes(random_.randrange(300)))
                await asyncio.sleep(0)
            # What comes after all of them has been read: an answer of the same worker.
            await ada.send(offer=rtc.SessionDescription(type="offer", sdp="nonsense", id=1))
            assert "session description" in (await ada.until("request_response")).message
            with pytest.raises(BlockingIOError):
                stranger.recv(2048)
            assert memory() - before < 20e6


async def test_no_log_line_of_any_logger_holds_a_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ours = ("roomful", "roomful.uvicorn", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio")
    levels = {name: logging.getLogger(name).level for name in ours}
    for name in ours:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        async with roomful.Server({"logging": {"level": "debug"}}) as server:
            token = server.token(identity="ada", room="demo")
            async with joined(server, "ada") as ada:
                assert (await ada.until("refresh_token")).startswith("eyJ")
                await ada.send(offer=rtc.SessionDescription(type="offer", sdp="nonsense"))
                await ada.until("request_response")
                await ada.socket.send(b"\xff")
            await get(server, f"/rtc?access_token={token}")
            await get(
                server, f"/rtc/validate?access_token={token[:-4]}", f"Authorization: Bearer {token}\r\n"
            )
            await get(server, f"/twirp/livekit.RoomService/ListRooms?access_token={token}")
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    records = [
        it for it in caplog.records if not it.name.startswith(("httpx", "httpcore", "websockets.client"))
    ]
    assert records
    for record in records:
        assert "eyJ" not in f"{record.getMessage()} {record.exc_text or ''}", record.name


async def test_servers_that_come_and_go_leave_no_memory_behind() -> None:
    async def live() -> None:
        async with roomful.Server() as server, joined(server, "ada") as ada, joined(server, "bob"):
            await ada.send(add_track=rtc.AddTrackRequest(cid="mic", type=models.TrackType.AUDIO))
            await ada.until("track_published")

    for _ in range(15):
        await live()
    before = memory()
    for _ in range(60):
        await live()
    assert memory() - before < 12e6


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x05hello", b"\xff\xff"])
async def test_a_stream_that_is_not_ice_is_closed_at_once(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    async with roomful.Server({"rtc": {"tcp_port": port}}) as server, joined(server, "ada"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()
