"""A worker of livekit-agents, unchanged, with `roomful.rtc` as its `livekit.rtc` (roomful.as_livekit).

It runs where livekit-agents is installed, with the `livekit` that it asks for: in an environment of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from livekit import api
from peers import run_python
from servers import REFERENCE, Server
from setup import AGENTS

import roomful

GREETER = Path(__file__).parent / "agents" / "greeter.py"
SOURCES = Path(roomful.__file__).parent.parent


#: Where a job runs, and how its process is started.
WAYS = [("PROCESS", "forkserver"), ("PROCESS", "spawn"), ("THREAD", "spawn")]


def command(room: str) -> list[str]:
    """How it comes to a job: livekit-server sends one; ours has no workers, so that it takes one itself."""
    return ["start"] if REFERENCE else ["connect", f"--room={room}", "--participant-identity=agent"]


@asynccontextmanager
async def run_greeter(server: Server, room: str, executor: str, started: str) -> AsyncIterator[int]:
    """Its process id, once it is registered or said to be started."""
    key, secret = next(iter(server.keys.items()))
    process = await asyncio.create_subprocess_exec(
        *(str(AGENTS / "bin" / "python"), "-m", "roomful.as_livekit", str(GREETER), *command(room)),
        env={
            **os.environ,
            "PYTHONPATH": str(SOURCES),
            "LIVEKIT_URL": server.url,
            "LIVEKIT_API_KEY": key,
            "LIVEKIT_API_SECRET": secret,
            "LIVEKIT_AGENTS_PRELOAD_LOCAL_INFERENCE": "0",
            "EXECUTOR": executor,
            "STARTED": started,
            "AGENT_NAME": room,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout
    said = b""
    reading = None
    try:
        async with asyncio.timeout(60):
            while (b"registered worker" if REFERENCE else b"starting worker") not in said:
                line = await process.stdout.readline()
                assert line, said.decode()
                said += line
        reading = asyncio.create_task(process.stdout.read())
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if reading is not None:
            print((said + await reading).decode())


async def dispatch(server: Server, room: str) -> None:
    key, secret = next(iter(server.keys.items()))
    async with api.LiveKitAPI(server.url, key, secret) as admin:
        request = api.CreateAgentDispatchRequest(agent_name=room, room=room)
        await admin.agent_dispatch.create_dispatch(request)


async def meet(server: Server, executor: str, started: str) -> None:
    room = f"{executor}-{started}"
    async with run_python("ada") as ada, run_greeter(server, room, executor, started) as worker:
        await ada.connect(server.url, server.token(identity="ada", room=room))
        await ada.publishTone(440)
        if REFERENCE:
            await dispatch(server, room)
        await ada.receives({"kind": "packet", "content": "Hello, too"})
        greeting = next(it for it in await ada.received() if it["kind"] == "text")
        said, _, process = greeting["content"].rpartition(" in ")
        assert said == "Hello ada, by roomful.rtc"
        assert (int(process) == worker) == (executor == "THREAD")
        await ada.hears(greeting["from"], 660)
        await ada.sendText("echo")
        await ada.hears(greeting["from"], 440)


def test_a_worker_of_livekit_agents_runs_unchanged(server: Server) -> None:
    async def all_ways() -> None:
        async with asyncio.TaskGroup() as group:
            for executor, started in WAYS:
                group.create_task(meet(server, executor, started))

    asyncio.run(all_ways())
