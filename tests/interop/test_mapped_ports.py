"""A development server in a container, of which only two ports are mapped to this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from namespace import Namespace, map_ports, open_namespace
from peers import two_programs
from servers import REFERENCE, free_port, open_command

pytestmark = pytest.mark.skipif(bool(REFERENCE), reason="of our command")


@pytest.fixture
def container() -> Iterator[Namespace]:
    with open_namespace() as namespace:
        yield namespace


@pytest.mark.parametrize("named", ["by address", "localhost"])
def test_clients_meet_through_mapped_ports(container: Namespace, named: str) -> None:
    """Clients are told the address by which they came, as none that the server has itself can be reached."""
    tcp, udp = free_port(container.outside), free_port(container.outside)
    host, address = {"localhost": ("localhost", "127.0.0.1")}.get(
        named, (container.outside, container.outside)
    )

    async def meet() -> None:
        async with two_programs(server, f"ws://{host}:{tcp}") as (ada, bob):
            await asyncio.gather(ada.publishTone(440), bob.meets("ada"))
            await bob.hears("ada", 440)

    options = ["--bind=0.0.0.0", f"--port={tcp}", f"--rtc.udp_port={udp}"]
    with (
        open_command(*options, within=container.command()) as server,
        map_ports(container, address, tcp, udp),
    ):
        asyncio.run(meet())
