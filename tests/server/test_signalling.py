from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import socket
import time

import httpx
import pytest
from livekit.protocol import models, rtc
from paper import PaperControl
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import roomful
from roomful.server.join import Refusal
from roomful.server.signalling import FRAME_BURST, FRAME_RATE

pytestmark = pytest.mark.asyncio


def packed(request: rtc.JoinRequest, *, zipped: bool = False) -> str:
    content = request.SerializeToString()
    wrapped = rtc.WrappedJoinRequest(
        compression=rtc.WrappedJoinRequest.GZIP if zipped else rtc.WrappedJoinRequest.NONE,
        join_request=gzip.compress(content) if zipped else content,
    )
    return base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()


async def first(socket: ClientConnection) -> rtc.SignalResponse:
    frame = await socket.recv()
    assert isinstance(frame, bytes)
    return rtc.SignalResponse.FromString(frame)


async def refusal(url: str, **headers: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, additional_headers=headers)
    return caught.value.response.status_code, bytes(caught.value.response.body).decode()


async def test_the_first_frame_after_the_upgrade_is_the_join(server: roomful.Server) -> None:
    token = server.token(identity="ada", room="demo")
    async with connect(f"{server.url}/rtc?access_token={token}") as client:
        assert (await first(client)).join.participant.identity == "ada"


async def test_the_authorization_header_wins_over_the_query(server: roomful.Server) -> None:
    token = server.token(identity="ada", room="demo")
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(f"{server.url}/rtc?access_token=nonsense", additional_headers=headers) as client:
        assert (await first(client)).join.room.name == "demo"


async def test_a_header_without_bearer_is_refused_even_with_a_good_query(server: roomful.Server) -> None:
    token = server.token(identity="ada", room="demo")
    status, text = await refusal(f"{server.url}/rtc?access_token={token}", Authorization=token)
    assert (status, text) == (401, "invalid authorization header. Must start with Bearer ")


@pytest.mark.parametrize(
    "path", ["/", "/rtc", "/rtc/v1/validate", "/twirp/livekit.RoomService/ListRooms", "/nowhere"]
)
async def test_a_bad_token_is_refused_on_every_path_without_repeating_it(
    server: roomful.Server, path: str
) -> None:
    bad = roomful.AccessToken("unknown", "x" * 32).with_identity("ada").with_room("demo").to_jwt()
    async with httpx.AsyncClient() as client:
        answer = await client.get(server.url.replace("ws", "http", 1) + path, params={"access_token": bad})
    assert answer.status_code == 401
    assert answer.text == "invalid API key"
    assert answer.headers["content-type"].startswith("text/plain")


async def test_refusals_come_before_the_upgrade_and_the_same_from_validate(
    server: roomful.Server, control: PaperControl
) -> None:
    control.refusal = Refusal(403, 'room "demo" is full: max_participants 1')
    token = server.token(identity="ada", room="demo")
    assert await refusal(f"{server.url}/rtc?access_token={token}") == (403, control.refusal.text)
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http{server.url[2:]}/rtc/validate", params={"access_token": token})
    assert (answer.status_code, answer.text) == (403, control.refusal.text)
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_validate_says_success_and_nobody_joins(server: roomful.Server, control: PaperControl) -> None:
    token = server.token(identity="ada", room="demo")
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http{server.url[2:]}/rtc/validate", params={"access_token": token})
    assert (answer.status_code, answer.text) == (200, "success")
    assert not control.sessions


async def test_v1_needs_a_join_request(server: roomful.Server) -> None:
    token = server.token(identity="ada", room="demo")
    assert await refusal(f"{server.url}/rtc/v1?access_token={token}") == (400, "join_request is required")


async def test_a_join_request_selects_the_single_connection_on_either_path(
    server: roomful.Server, control: PaperControl
) -> None:
    token = server.token(identity="ada", room="demo")
    request = rtc.JoinRequest(client_info=models.ClientInfo(sdk=models.ClientInfo.RUST, protocol=17))
    for path in ("/rtc", "/rtc/v1"):
        url = f"{server.url}{path}?access_token={token}&join_request={packed(request, zipped=True)}"
        async with connect(url) as client:
            await first(client)
        params = control.sessions[-1].params
        assert params.single_peer_connection
        assert not params.auto_subscribe
        assert params.client.protocol == 17
        assert params.signal_address == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("localhost", "127.0.0.1"),
        ("example.com", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("[fe80::1%25eth0]", "127.0.0.1"),
    ],
)
async def test_in_development_a_client_says_by_which_address_it_came(
    control: PaperControl, host: str, reached: str
) -> None:
    """As a container's ports are mapped where the server does not see it."""
    for development in (True, False):
        async with roomful.Server({"development": development}) as server:
            port = int(server.url.rpartition(":")[2])
            path = f"/rtc?access_token={server.token(identity='ada', room='demo')}"
            async with connect(f"ws://{host}:{port}{path}", host="127.0.0.1", port=port) as client:
                await first(client)
        assert control.sessions[-1].params.signal_address == (reached if development else "127.0.0.1")


async def test_http_on_the_websocket_paths_is_404_without_a_body(server: roomful.Server) -> None:
    async with httpx.AsyncClient() as client:
        for path in ("/rtc", "/rtc/v1", "/settings/regions"):
            answer = await client.get(f"http{server.url[2:]}{path}")
            assert (answer.status_code, answer.content) == (404, b"")
    assert await refusal(f"{server.url}/nowhere") == (404, "")


async def test_health_answers_get_and_head_with_cors(server: roomful.Server) -> None:
    async with httpx.AsyncClient(headers={"origin": "https://example.com"}) as client:
        get = await client.get(f"http{server.url[2:]}/")
        head = await client.head(f"http{server.url[2:]}/")
        preflight = await client.options(
            f"http{server.url[2:]}/rtc/validate",
            headers={
                "access-control-request-method": "GET",
                "access-control-request-headers": "authorization",
                "access-control-request-private-network": "true",
            },
        )
    assert (get.status_code, get.text) == (200, "OK")
    assert head.status_code == 200
    for answer in (get, head, preflight):
        assert answer.headers["access-control-allow-origin"] == "https://example.com"
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-private-network"] == "true"
    assert preflight.headers["access-control-max-age"] == "86400"
    assert preflight.headers["access-control-allow-headers"] in ("*", "authorization")


async def test_a_doubled_slash_is_one(server: roomful.Server) -> None:
    token = server.token(identity="ada", room="demo")
    async with connect(f"{server.url}//rtc?access_token={token}") as client:
        assert (await first(client)).HasField("join")


@pytest.mark.parametrize("by", ["query", "header"])
async def test_a_join_with_300_kb_of_metadata(server: roomful.Server, control: PaperControl, by: str) -> None:
    metadata = "m" * 300_000
    token = server.token(identity="ada", room="demo", metadata=metadata)
    query = f"?access_token={token}" if by == "query" else ""
    headers = {"Authorization": f"Bearer {token}"} if by == "header" else {}
    async with connect(f"{server.url}/rtc{query}", additional_headers=headers) as client:
        assert (await first(client)).HasField("join")
    assert control.sessions[0].params.claims.metadata == metadata


@pytest.mark.parametrize(("by", "status"), [("query", 414), ("header", 431)])
@pytest.mark.parametrize("size", [1_100_000, 4_000_000])
async def test_a_head_over_the_limit_is_told_the_settings_name(
    server: roomful.Server, by: str, status: int, size: int
) -> None:
    host, port = server.url.removeprefix("ws://").split(":")
    filler = "x" * size
    query, header = (
        (f"?access_token={filler}", "") if by == "query" else ("", f"Authorization: Bearer {filler}\r\n")
    )
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET /rtc{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{header}"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    answer = (await asyncio.wait_for(reader.readuntil(b"max_request_head_size"), 10)).decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    writer.close()


async def test_answers_take_the_form_of_the_last_frame(server: roomful.Server) -> None:
    token = server.token(identity="ada", room="demo")
    async with connect(f"{server.url}/rtc?access_token={token}") as client:
        await first(client)
        await client.send(json.dumps({"ping": "7"}))
        assert json.loads(await client.recv()) == {"pong": "7"}
        await client.send(rtc.SignalRequest(ping=8).SerializeToString())
        assert (await first(client)).pong == 8


@pytest.mark.parametrize("frame", [b"\xff\xff\xff", "{not json", '{"ping": []}', "[" * 100_000])
async def test_a_malformed_frame_closes_with_a_reason(
    server: roomful.Server, control: PaperControl, frame: bytes | str
) -> None:
    token = server.token(identity="ada", room="demo")
    async with connect(f"{server.url}/rtc?access_token={token}") as client:
        await first(client)
        await client.send(frame)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.reason == "frame is not a SignalRequest"
    assert control.sessions[0].lost


async def test_an_oversized_frame_ends_that_connection_alone(
    server: roomful.Server, control: PaperControl
) -> None:
    token = server.token(identity="ada", room="demo")
    url = f"{server.url}/rtc?access_token={token}"
    async with connect(url) as big, connect(url) as other:
        await first(big)
        await first(other)
        sending = asyncio.create_task(big.send(b"\0" * (3 * 1024 * 1024)))
        with pytest.raises(ConnectionClosed) as closed:
            await big.recv()
        await asyncio.gather(sending, return_exceptions=True)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        await other.send(rtc.SignalRequest(ping=1).SerializeToString())
        assert (await first(other)).pong == 1


async def test_a_closed_outbox_ends_the_socket_after_its_last_frame(
    server: roomful.Server, control: PaperControl
) -> None:
    token = server.token(identity="ada", room="demo")
    async with connect(f"{server.url}/rtc?access_token={token}") as client:
        await first(client)
        outbox = control.sessions[0].outbox
        outbox.push(
            rtc.SignalResponse(leave=rtc.LeaveRequest(reason=models.DUPLICATE_IDENTITY)).SerializeToString()
        )
        outbox.close()
        assert (await first(client)).leave.reason == models.DUPLICATE_IDENTITY
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


async def test_the_session_learns_that_its_socket_is_gone(
    server: roomful.Server, control: PaperControl
) -> None:
    token = server.token(identity="ada", room="demo")
    async with connect(f"{server.url}/rtc?access_token={token}") as client:
        await first(client)
        client.transport.abort()
    async with asyncio.timeout(5):
        await control.sessions[0].lost_event.wait()


async def test_closing_is_bounded_with_a_client_that_never_reads(control: PaperControl) -> None:
    server = roomful.Server()
    await server.start()
    deaf = await deaf_client(server, "deaf")
    async with asyncio.timeout(5):
        await control.joined.wait()
    for _ in range(100):
        control.sessions[0].outbox.push(b"\0" * 65536)
    before = asyncio.all_tasks()
    async with asyncio.timeout(3):
        await server.close()
    assert control.sessions[0].lost
    assert asyncio.all_tasks() <= before
    deaf.close()


async def test_no_log_line_holds_a_token(server: roomful.Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("uvicorn.error", "uvicorn.access", "roomful.uvicorn", "websockets.server"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    token = server.token(identity="ada", room="demo")
    async with connect(f"{server.url}/rtc?access_token={token}", logger=logging.getLogger("quiet")) as client:
        await first(client)
    async with httpx.AsyncClient() as client_:
        await client_.get(f"http{server.url[2:]}/rtc/validate", headers={"Authorization": f"Bearer {token}"})
    ours = [record for record in caplog.records if not record.name.startswith(("quiet", "httpx", "httpcore"))]
    assert all(token not in record.getMessage() for record in ours)
    assert all("eyJ" not in record.getMessage() for record in ours)
    logging.getLogger("roomful.uvicorn").setLevel(logging.WARNING)


async def deaf_client(server: roomful.Server, identity: str) -> socket.socket:
    """Joins and then never reads."""
    host, port = server.url.removeprefix("ws://").split(":")
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect((host, int(port)))
    deaf.setblocking(False)
    token = server.token(identity=identity, room="demo")
    request = (
        f"GET /rtc?access_token={token} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await asyncio.get_running_loop().sock_sendall(deaf, request.encode())
    return deaf


async def test_a_client_that_never_reads_is_dropped_alone(
    server: roomful.Server, control: PaperControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomful.server.signalling.WRITE_TIMEOUT", 0.2)
    with await deaf_client(server, "deaf"):
        async with asyncio.timeout(5):
            await control.joined.wait()
        deaf = control.sessions[0]
        token = server.token(identity="ada", room="demo")
        async with connect(f"{server.url}/rtc?access_token={token}") as other:
            await first(other)
            for _ in range(100):
                deaf.outbox.push(b"\0" * 65536)
            async with asyncio.timeout(5):
                await deaf.lost_event.wait()
            await other.send(rtc.SignalRequest(ping=1).SerializeToString())
            assert (await first(other)).pong == 1


async def test_a_flood_of_frames_holds_up_nobody_else(server: roomful.Server, control: PaperControl) -> None:
    token = server.token(identity="ada", room="demo")
    url = f"{server.url}/rtc?access_token={token}"
    ping = rtc.SignalRequest(ping=1).SerializeToString()
    async with connect(url) as flooding, connect(url) as other:
        await first(flooding)
        await first(other)

        async def flood() -> None:
            for _ in range(20_000):
                await flooding.send(ping)

        began = time.monotonic()
        flooder = asyncio.create_task(flood())
        for _ in range(20):
            async with asyncio.timeout(5):
                await other.send(ping)
                await first(other)
            # Let the flood in: a turn of the loop that waits for its socket.
            await flooding.recv()
        while len(control.sessions[0].received) < FRAME_BURST + FRAME_RATE:
            await flooding.recv()
        took = time.monotonic() - began
        flooder.cancel()
        await asyncio.gather(flooder, return_exceptions=True)
        flooding.transport.abort()
    # What goes over the burst came at the rate.
    assert took > 0.9
