from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI
from livekit.protocol import rtc
from paper import PaperControl
from websockets.asyncio.client import connect

import roomful
from roomful.server.listener import AddressInUse

pytestmark = pytest.mark.asyncio


async def join(url: str, token: str) -> str:
    async with connect(f"{url}/rtc?access_token={token}") as client:
        frame = await client.recv()
        assert isinstance(frame, bytes)
        return rtc.SignalResponse.FromString(frame).join.participant.identity


async def test_several_servers_run_in_one_process(control: PaperControl) -> None:
    async with roomful.Server() as one, roomful.Server() as two:
        assert one.url != two.url
        assert one.keys != two.keys
        assert await join(one.url, one.token(identity="ada", room="a")) == "ada"
        assert await join(two.url, two.token(identity="eve", room="a")) == "eve"


async def test_it_is_ready_in_tens_of_milliseconds(control: PaperControl) -> None:
    async with roomful.Server():
        pass
    began = time.perf_counter()
    async with roomful.Server() as server:
        assert time.perf_counter() - began < 0.1
        assert server.url


async def test_nothing_is_left_behind(control: PaperControl) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    loop = asyncio.get_running_loop()

    async def live() -> None:
        async with roomful.Server() as server:
            await join(server.url, server.token(identity="ada", room="a"))
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers

    await live()
    gc.collect()
    tasks, threads = asyncio.all_tasks(), threading.active_count()
    readers = len(loop._selector.get_map())  # type: ignore[attr-defined]
    for _ in range(5):
        await live()
    assert asyncio.all_tasks() == tasks
    assert threading.active_count() == threads
    assert len(loop._selector.get_map()) == readers  # type: ignore[attr-defined]
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is roomful.Server]


async def test_a_taken_port_is_said_to_be(control: PaperControl) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"port {port} is in use"):
            await roomful.Server({"port": port}).start()


async def test_close_may_come_twice_and_without_a_start() -> None:
    server = roomful.Server()
    await server.close()
    await server.close()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url


async def test_a_short_secret_needs_development(control: PaperControl) -> None:
    with pytest.raises(roomful.ConfigError, match="shorter than 32"):
        roomful.Server(keys={"devkey": "secret"})
    roomful.Server({"development": True}, keys={"devkey": "secret"})


async def test_tokens_may_be_made_in_any_thread(control: PaperControl) -> None:
    async with roomful.Server() as server:
        token = await asyncio.to_thread(server.token, identity="ada", room="a", can_publish=False)
        assert await join(server.url, token) == "ada"


@contextmanager
def somebodys_server(app: FastAPI, **options: str) -> Iterator[str]:
    """uvicorn as everybody runs it, in a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, **options))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.mark.parametrize("prefix", ["", "/deep/calls"])
@pytest.mark.parametrize("metadata", ["", "m" * 300_000])
async def test_it_mounts_under_a_prefix_in_fastapi_and_hides_tokens(
    control: PaperControl, caplog: pytest.LogCaptureFixture, prefix: str, metadata: str
) -> None:
    server = roomful.Server()
    app = FastAPI()
    app.mount(prefix, server.asgi)
    caplog.set_level(logging.INFO)
    with somebodys_server(app) as url:
        token = server.token(identity="ada", room="a", metadata=metadata)
        assert await join(url + prefix, token) == "ada"
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")]
    assert any("/rtc?access_token=" in line for line in lines)
    assert not any("eyJ" in line for line in lines)


async def test_a_refusal_reaches_the_client_through_somebody_elses_server(control: PaperControl) -> None:
    from websockets.exceptions import InvalidStatus

    server = roomful.Server()
    app = FastAPI()
    app.mount("/calls", server.asgi)
    with somebodys_server(app) as url, pytest.raises(InvalidStatus) as refused:
        await join(f"{url}/calls", "nonsense")
    assert refused.value.response.status_code == 401
    assert refused.value.response.body == b"invalid authorization token"
