"""`Server.drain`: calls end by themselves, or at the deadline with a word that brings clients back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from livekit.protocol import models, rtc
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import roomful

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server() -> AsyncIterator[roomful.Server]:
    async with roomful.Server() as server:
        yield server


@pytest_asyncio.fixture
async def ada(server: roomful.Server) -> AsyncIterator[ClientConnection]:
    """Has joined."""
    token = server.token(identity="ada", room="demo")
    async with connect(f"{server.url}/rtc?access_token={token}&protocol=17") as socket:
        assert (await next_frame(socket)).HasField("join")
        yield socket


async def next_frame(socket: ClientConnection) -> rtc.SignalResponse:
    frame = await socket.recv()
    assert isinstance(frame, bytes)
    return rtc.SignalResponse.FromString(frame)


async def goodbye(socket: ClientConnection) -> rtc.LeaveRequest:
    """The leave and, after it, a close in good order."""
    async with asyncio.timeout(5):
        while not (frame := await next_frame(socket)).HasField("leave"):
            pass
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000
    return frame.leave


async def started(draining: asyncio.Task[None]) -> None:
    """Gives it the turn in which it begins."""
    await asyncio.sleep(0)
    assert not draining.done()


async def test_it_returns_when_the_last_has_left(server: roomful.Server, ada: ClientConnection) -> None:
    draining = asyncio.create_task(server.drain())
    await started(draining)
    await ada.send(rtc.SignalRequest(leave=rtc.LeaveRequest()).SerializeToString())
    async with asyncio.timeout(5):
        await draining


async def test_meanwhile_joins_are_refused_and_health_is_good(
    server: roomful.Server, ada: ClientConnection
) -> None:
    """The process is well, and must not be ended for an answer to a probe while calls go on."""
    draining = asyncio.create_task(server.drain())
    await started(draining)
    token = server.token(identity="bob", room="demo")
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{server.url}/rtc?access_token={token}")
    http = server.url.replace("ws", "http", 1)
    async with httpx.AsyncClient() as client:
        validated = await client.get(f"{http}/rtc/validate", params={"access_token": token})
        health = await client.get(http)
    response = refused.value.response
    assert (response.status_code, bytes(response.body).decode()) == (validated.status_code, validated.text)
    assert validated.status_code == 503
    assert validated.text.startswith("draining")
    assert health.status_code == 200
    await server.drain(0)
    await draining


async def test_who_is_here_resumes_meanwhile(server: roomful.Server, ada: ClientConnection) -> None:
    draining = asyncio.create_task(server.drain())
    await started(draining)
    token = server.token(identity="ada", room="demo")
    async with connect(f"{server.url}/rtc?access_token={token}&protocol=17&reconnect=1") as back:
        assert (await next_frame(back)).HasField("reconnect")
        await server.drain(0)
        assert (await goodbye(back)).action == rtc.LeaveRequest.RECONNECT
    await draining


async def test_at_the_deadline_clients_are_told_to_reconnect(
    server: roomful.Server, ada: ClientConnection
) -> None:
    leaving = asyncio.create_task(goodbye(ada))
    await server.drain(0.05)
    leave = await leaving
    assert leave.reason == models.DisconnectReason.SERVER_SHUTDOWN
    assert leave.action == rtc.LeaveRequest.RECONNECT


async def test_a_shorter_deadline_ends_a_longer_one(server: roomful.Server, ada: ClientConnection) -> None:
    draining = asyncio.create_task(server.drain(3600))
    await started(draining)
    async with asyncio.timeout(5):
        await server.drain(0)
        await draining


async def test_closing_ends_it_too(server: roomful.Server, ada: ClientConnection) -> None:
    draining = asyncio.create_task(server.drain())
    await started(draining)
    leaving = asyncio.create_task(goodbye(ada))
    async with asyncio.timeout(5):
        await server.close()
        await draining
        assert (await leaving).action == rtc.LeaveRequest.DISCONNECT


async def test_a_server_to_which_nobody_came_takes_nobody() -> None:
    server = roomful.Server()
    await server.drain()
    transport = httpx.ASGITransport(server.asgi)
    token = server.token(identity="ada", room="demo")
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/rtc/validate", params={"access_token": token})
    assert answer.status_code == 503
    await server.close()
