"""Networks that let a call begin and then treat it badly: clients are led to what is left, by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import faults
import pytest
import trustme
from namespace import Link, open_link
from served import TCP_PORT, TURN_PORT
from test_ways import serving, talking
from together import play_together

pytestmark = pytest.mark.timeout(150)

#: Seconds: twice the time in which the server sees that media is gone, and what is left to begin anew.
PATIENCE = 75.0
Played = Callable[[str], tuple[list[str], str]]


@contextmanager
def all_but_tls(link: Link) -> Iterator[None]:
    with faults.block_udp(link), faults.block_tcp(link, TCP_PORT, TURN_PORT):
        yield


async def play(
    program: str,
    broken: Callable[[Link], AbstractContextManager[None]],
    left: str,
    authority: trustme.CA,
    folder: Path,
) -> tuple[list[str], str]:
    """What the client goes by in the end, once it hears and is heard, and the server's log."""
    with open_link() as link:
        async with (
            serving(link.server, authority, folder) as server,
            talking(server, link, program) as (ada, bob),
        ):
            assert await ada.path() == ["udp"]
            with broken(link):
                async with asyncio.timeout(PATIENCE):
                    while True:
                        if await ada.path() == [left]:
                            break
                        await asyncio.sleep(0.5)
                await asyncio.gather(bob.hearsAnew("ada", 880), ada.hears("bob", 440))
                return await ada.path(), server.said()


PLAYS = {
    "livekit-client where only TLS is left": ("chromium", all_but_tls, "relay tls"),
    "livekit-client where TCP is left": ("chromium", faults.block_udp, "tcp"),
    "PyPI's livekit where TCP is left": ("python", faults.block_udp, "tcp"),
}


@pytest.fixture(scope="module")
def played(networks: None, tmp_path_factory: pytest.TempPathFactory) -> Played:
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("certificates")
    return play_together({name: partial(play, *of, authority, folder) for name, of in PLAYS.items()})


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("livekit-client where only TLS is left", ["tcp", "relay"]),
        ("livekit-client where TCP is left", ["tcp"]),
        ("PyPI's livekit where TCP is left", ["tcp"]),
    ],
)
def test_a_call_whose_way_dies_goes_on_by_the_next(played: Played, name: str, ways: list[str]) -> None:
    chosen, said = played(name)
    assert chosen == [PLAYS[name][2]]
    told = [line for line in said.splitlines() if "another way to connect is preferred" in line]
    assert [line.rpartition("way=")[2] for line in told] == ways
