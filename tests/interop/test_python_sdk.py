"""PyPI's `livekit`, unchanged, with itself: media by what is heard and seen, data, calls, rights, rooms.

Each scenario (python/scenarios) runs in a process of its own, for the client may end its process on a fault.
"""

from __future__ import annotations

import asyncio
import time

import pytest
from peers import run_python, two_programs
from python import scenarios  # noqa: F401
from python.performance import MODES, Record, perform
from python.stage import SCENARIOS, Scenario
from servers import REFERENCE, ROOM, Server, free_port, open_command, open_server

PLAYED = {name: one for name, one in SCENARIOS.items() if not (one.alone or (REFERENCE and one.ours))}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("name", "scenario"), PLAYED.items(), ids=PLAYED)
def test_clients_meet(name: str, scenario: Scenario, mode: str) -> None:
    with open_server(scenario.config) as server:
        performance = perform(server, name, mode)
    if scenario.recorded:
        assert not (differences := Record.load(name).differences(mode, performance)), "\n".join(differences)


def test_two_programs_meet() -> None:
    async def meet(server: Server) -> None:
        async with two_programs(server) as (ada, bob):
            await asyncio.gather(ada.publishTone(440), ada.publishColour("blue", "vp8"), bob.meets("ada"))
            await ada.send("hello")
            await bob.receives({"from": "ada", "content": "hello"})
            await bob.hears("ada", 440)
            await bob.sees("ada", "blue")

    with open_server() as server:
        asyncio.run(meet(server))


@pytest.mark.skipif(bool(REFERENCE), reason="of our texts")
def test_who_is_refused_for_load_is_told_the_status_and_the_limit() -> None:
    async def crowd(server: Server) -> None:
        async with run_python("ada") as ada, run_python("eve") as eve:
            await ada.connect(server.url, server.token(identity="ada", room=ROOM))
            await ada.publishTone(440)
            with pytest.raises(AssertionError, match=r"503 .*limit\.num_tracks 1"):
                await eve.connect(server.url, server.token(identity="eve", room=ROOM))

    with open_server({"limit": {"num_tracks": 1}}) as server:
        asyncio.run(crowd(server))


@pytest.mark.skipif(bool(REFERENCE), reason="livekit-server takes five seconds more")
def test_who_is_killed_is_gone_15_seconds_later() -> None:
    async def vanish(server: Server) -> float:
        async with two_programs(server) as (ada, bob):
            await asyncio.gather(ada.publishTone(440), bob.meets("ada"))
            await bob.hears("ada", 440)
            with pytest.raises(AssertionError, match="ada ended: -9"):
                await ada.die()
            began = time.monotonic()
            await bob.notices("participantDisconnected", "ada")
            return time.monotonic() - began

    with open_server() as server:
        # The last packet came at the end; the rest is what a busy machine may need to notice.
        assert 14.5 < asyncio.run(vanish(server)) < 18


@pytest.mark.skipif(bool(REFERENCE), reason="of our command")
def test_the_command_serves_clients() -> None:
    port, udp = free_port("127.0.0.1"), free_port("127.0.0.1")
    with open_command(f"--port={port}", "--bind=127.0.0.1", f"--rtc.udp_port={udp}") as server:
        perform(server, "everything_both_ways", "single")
