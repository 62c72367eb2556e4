"""Calls that are broken for long: clients come back by themselves, by what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import faults
import pytest
import trustme
from namespace import Link, open_link
from peers import run_program
from served import TCP_PORT, TURN_PORT
from test_ways import PROGRAMS, TLS_PORT, in_room, serving, talking
from together import play_together

pytestmark = pytest.mark.timeout(150)

#: Seconds.
AWAY = 12.0
#: Seconds: twice the time in which the server sees that media is gone, and what is left to begin anew.
PATIENCE = 75.0
Played = Callable[[str], tuple[list[str], str]]


@contextmanager
def no_tls(link: Link) -> Iterator[None]:
    """There is no such relay to be had yet: a client would keep a path by it for later."""
    with faults.block_tcp(link, TCP_PORT), faults.refuse_tcp(link, TLS_PORT):
        yield


@contextmanager
def all_but_tls(link: Link) -> Iterator[None]:
    with faults.block_udp(link), faults.block_tcp(link, TCP_PORT, TURN_PORT):
        yield


@contextmanager
def all_but_tcp(link: Link) -> Iterator[None]:
    with faults.block_udp(link), faults.block_tcp(link, TURN_PORT, TLS_PORT):
        yield


async def play(
    program: str,
    first: Callable[[Link], AbstractContextManager[None]],
    broken: Callable[[Link], AbstractContextManager[None]],
    left: str,
    authority: trustme.CA,
    folder: Path,
) -> tuple[list[str], str]:
    """What the client goes by in the end, once it hears and is heard, and the server's log."""
    with open_link() as link, ExitStack() as beginning:
        beginning.enter_context(first(link))
        async with (
            serving(link.server, authority, folder) as server,
            talking(server, link, program) as (ada, bob),
        ):
            assert await ada.path() == ["udp"]
            with broken(link):
                beginning.close()
                async with asyncio.timeout(PATIENCE):
                    while True:
                        if await ada.path() == [left]:
                            break
                        await asyncio.sleep(0.5)
                await asyncio.gather(bob.hearsAnew("ada", 880), ada.hears("bob", 440))
                return await ada.path(), server.said()


async def restart(authority: trustme.CA, folder: Path) -> tuple[list[str], str]:
    """The server is killed and away for longer than a client's first tries take."""
    with open_link() as link:
        async with (
            serving(link.server, authority, folder) as server,
            run_program("ada", *link.client.command(*PROGRAMS["chromium"])) as ada,
        ):
            await ada.connect(server.url, server.token("ada"))
            await ada.publishTone(880)
            await server.kill()
            await asyncio.sleep(AWAY)
            await server.start()
            # Somebody new sees her once, with her track.
            async with in_room(server, "bob", link.server.command(*PROGRAMS["python"])) as bob:
                await bob.hears("ada", 880)
                return await ada.path(), server.said()


BROKEN = {
    "livekit-client where only TLS is left": ("chromium", no_tls, all_but_tls, "relay tls"),
    "PyPI's livekit where TCP is left": ("python", nullcontext, all_but_tcp, "tcp"),
}


@pytest.fixture(scope="module")
def played(networks: None, tmp_path_factory: pytest.TempPathFactory) -> Played:
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("certificates")
    plays = {name: partial(play, *of, authority, folder) for name, of in BROKEN.items()}
    return play_together(plays | {"a restart": partial(restart, authority, folder)})


@pytest.mark.parametrize("name", BROKEN)
def test_a_call_whose_way_dies_goes_on_by_what_is_left(played: Played, name: str) -> None:
    chosen, _ = played(name)
    assert chosen == [BROKEN[name][-1]]


def test_a_client_is_led_from_way_to_way(played: Played) -> None:
    _, said = played("livekit-client where only TLS is left")
    told = [line for line in said.splitlines() if "another way to connect is preferred" in line]
    assert [line.rpartition("way=")[2] for line in told] == ["tcp", "relay"]


def test_livekit_client_comes_back_once_to_a_server_that_was_long_away(played: Played) -> None:
    chosen, said = played("a restart")
    assert chosen == ["udp"]
    since = said[said.rindex(" listening ") :]
    assert since.count("participant joins room=matrix participant=ada ") == 1
