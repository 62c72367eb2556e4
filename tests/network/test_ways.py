"""The ways to connect, each proven with everything above it in the list blocked."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faults
import pytest
import trustme
from namespace import Link, Side, open_link
from peers import PYTHON_PEER, Peer, run_program
from served import OURS, TCP_PORT, TURN_PORT, UDP_PORT, Served
from servers import CACHE
from together import play_together

pytestmark = pytest.mark.timeout(300)

TLS_PORT = 5349
BROWSERS = Path(__file__).resolve().parent.parent / "interop" / "browser"
PROGRAMS = {
    "python": [sys.executable, PYTHON_PEER],
    # Its TURN clients know the authorities that browsers do.
    "chromium": [sys.executable, str(BROWSERS / "chromium_peer.py"), "--ignore-certificate-errors"],
    "firefox": [sys.executable, str(BROWSERS / "firefox_peer.py")],
}
#: What follows the token for a client that may use nothing but relays.
RELAY_ALONE: dict[str, list[Any]] = {
    "python": [True],
    "chromium": [{}, {"rtcConfig": {"iceTransportPolicy": "relay"}}],
}
Blocking = Callable[[Link], AbstractContextManager[None]]


@contextmanager
def only_turn_over_udp(link: Link) -> Iterator[None]:
    with faults.block_udp(link, UDP_PORT), faults.block_tcp(link, TCP_PORT, TURN_PORT, TLS_PORT):
        yield


@contextmanager
def only_turn_over_tls(link: Link) -> Iterator[None]:
    with faults.block_udp(link), faults.block_tcp(link, TCP_PORT, TURN_PORT):
        yield


@asynccontextmanager
async def serving(side: Side, authority: trustme.CA, folder: Path, **rtc: Any) -> AsyncIterator[Served]:
    """A server with all ways open."""
    certificate = authority.issue_cert(side.address)
    chain, key = (folder / f"{side.name} {what}.pem" for what in ("chain", "key"))
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    turn = {"tls_port": TLS_PORT, "cert_file": str(chain), "key_file": str(key)}
    server = Served(OURS, side, relay=True, settings={"rtc": {"node_ip": "", **rtc}, "turn": turn})
    async with server.running():
        yield server


@asynccontextmanager
async def in_room(server: Served, identity: str, command: list[str], *options: Any) -> AsyncIterator[Peer]:
    async with run_program(identity, *command) as peer:
        await peer.connect(server.url, server.token(identity), *options)
        yield peer


@asynccontextmanager
async def talking(
    server: Served, link: Link, program: str, *options: Any
) -> AsyncIterator[tuple[Peer, Peer]]:
    """A client and somebody beside the server, once each hears the other."""
    ada, bob = link.client.command(*PROGRAMS[program]), link.server.command(*PROGRAMS["python"])
    async with in_room(server, "ada", ada, *options) as one, in_room(server, "bob", bob) as other:
        # Firefox's fake microphone has that tone.
        await (one.publishMicrophone() if program == "firefox" else one.publishTone(880))
        await other.publishTone(440)
        await asyncio.gather(one.hears("bob", 440), other.hears("ada", 880))
        yield one, other


@dataclass(frozen=True)
class Way:
    program: str
    blocked: Blocking
    #: What the client says of the pair that it has chosen; "relay" for any, where it has the choice.
    chosen: str
    ipv6: bool = False
    relay_alone: bool = False
    force_tcp: bool = False

    async def play(self, authority: trustme.CA, folder: Path) -> list[str]:
        options = RELAY_ALONE[self.program] if self.relay_alone else []
        with open_link(ipv6=self.ipv6) as link:
            async with serving(link.server, authority, folder, force_tcp=self.force_tcp) as server:
                with self.blocked(link):
                    async with talking(server, link, self.program, *options) as (ada, _):
                        way: list[str] = await ada.path()
                        return way


UDP, TURN_UDP = (nullcontext, "udp"), (only_turn_over_udp, "relay udp")
TCP, TURN_TLS = (faults.block_udp, "tcp"), (only_turn_over_tls, "relay tls")
WAYS = {
    "PyPI's livekit over UDP": Way("python", *UDP),
    "PyPI's livekit by TURN over UDP": Way("python", *TURN_UDP),
    "PyPI's livekit over TCP": Way("python", *TCP),
    "PyPI's livekit by relays alone": Way("python", nullcontext, "relay", relay_alone=True),
    "Chromium over UDP": Way("chromium", *UDP),
    "Chromium by TURN over UDP": Way("chromium", *TURN_UDP),
    "Chromium over TCP": Way("chromium", *TCP),
    "Chromium by TURN over TLS": Way("chromium", *TURN_TLS),
    "Chromium by relays alone": Way("chromium", nullcontext, "relay", relay_alone=True),
    "Firefox over UDP": Way("firefox", *UDP),
    "Firefox over TCP": Way("firefox", *TCP),
    "IPv6 alone, over UDP": Way("python", *UDP, ipv6=True),
    "IPv6 alone, by TURN over UDP": Way("python", *TURN_UDP, ipv6=True),
    "IPv6 alone, over TCP that is forced": Way("python", nullcontext, "tcp", ipv6=True, force_tcp=True),
    "IPv6 alone, by TURN over TLS": Way("chromium", *TURN_TLS, ipv6=True),
}
GO = "Go's SDK by TURN over TLS"


async def relay_go(authority: trustme.CA, folder: Path) -> list[str]:
    """Go's SDK checks certificates, by the authorities that it is told."""
    bundle = folder / "authority.pem"
    authority.cert_pem.write_to_path(bundle)
    with open_link() as link:
        async with serving(link.server, authority, folder) as server:
            with only_turn_over_tls(link):
                go = [
                    "env",
                    f"SSL_CERT_FILE={bundle}",
                    str(CACHE / "go-peer"),
                    server.url,
                    server.token("go"),
                ]
                program = link.server.command(*PROGRAMS["python"])
                async with (
                    in_room(server, "ada", program) as ada,
                    run_program("go", *link.client.command(*go)),
                ):
                    await ada.publishTone(440)
                    await ada.hears("go", 440)
                    return ["relay tls"]  # There is no other.


@pytest.fixture(scope="module")
def played(networks: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    plays = {name: way.play for name, way in WAYS.items()} | {GO: relay_go}
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("certificates")
    return play_together({name: partial(play, authority, folder) for name, play in plays.items()})


@pytest.mark.parametrize(
    ("name", "chosen"), [(name, way.chosen) for name, way in WAYS.items()] + [(GO, "relay tls")]
)
def test_a_client_hears_and_is_heard_on(played: Callable[[str], list[str]], name: str, chosen: str) -> None:
    (way,) = played(name)
    assert way == chosen or (chosen == "relay" and way.startswith("relay "))
