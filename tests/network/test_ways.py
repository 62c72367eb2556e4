"""The ways to connect, each proven with everything above it in the list blocked."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

import faults
import pytest
import trustme
from namespace import Link
from peers import PYTHON_PEER, Peer, run_program
from servers import CACHE, ROOM, ServerProcess, open_command

from roomful.config import DEV_KEY, DEV_SECRET

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

PORT, TCP_PORT, UDP_PORT, TURN_PORT, TLS_PORT = 7880, 7881, 7882, 3478, 5349
CHROMIUM_PEER = str(Path(__file__).resolve().parent.parent / "interop" / "browser" / "chromium_peer.py")
GO_PEER = str(CACHE / "go-peer")
Blocking = Callable[[Link], AbstractContextManager[None]]


@contextmanager
def only_turn_over_udp(link: Link) -> Iterator[None]:
    with faults.block_udp(link, UDP_PORT), faults.block_tcp(link, TCP_PORT):
        yield


@contextmanager
def only_turn_over_tls(link: Link) -> Iterator[None]:
    with faults.block_udp(link), faults.block_tcp(link, TCP_PORT, TURN_PORT):
        yield


#: What is blocked, and what the client then says of the pair that it has chosen.
UDP = pytest.param(nullcontext, "udp", id="over UDP")
TURN_UDP = pytest.param(only_turn_over_udp, "relay udp", id="by TURN over UDP")
TCP = pytest.param(faults.block_udp, "tcp", id="over TCP")
TURN_TLS = pytest.param(only_turn_over_tls, "relay tls", id="by TURN over TLS")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def serving(link: Link, authority: trustme.CA, folder: Path, *more: str) -> Iterator[ServerProcess]:
    """A server with all ways open, in its namespace."""
    certificate = authority.issue_cert(link.server.address)
    chain, key = folder / "chain.pem", folder / "key.pem"
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    certificate.private_key_pem.write_to_path(key)
    options = [
        *(f"--port={PORT}", f"--bind={link.server.address}", "--turn.enabled=true"),
        *(f"--turn.udp_port={TURN_PORT}", f"--turn.tls_port={TLS_PORT}"),
        *more,
        *(f"--turn.domain={link.server.address}", f"--turn.cert_file={chain}", f"--turn.key_file={key}"),
    ]
    with open_command(*options, within=link.server.command()):
        yield ServerProcess(f"ws://{link.server.address}:{PORT}", DEV_KEY, DEV_SECRET)


@asynccontextmanager
async def in_room(server: ServerProcess, identity: str, *command: str) -> AsyncIterator[Peer]:
    async with run_program(identity, *command) as peer:
        await peer.connect(server.url, server.token(identity=identity, room=ROOM))
        yield peer


@asynccontextmanager
async def talking(
    server: ServerProcess, ada: Sequence[str], bob: Sequence[str]
) -> AsyncIterator[tuple[Peer, Peer]]:
    """The two, by these programs, once each hears the other."""
    async with in_room(server, "ada", *ada) as one, in_room(server, "bob", *bob) as other:
        await one.publishTone(440)
        await other.publishTone(880)
        await asyncio.gather(one.hears("bob", 880), other.hears("ada", 440))
        yield one, other


async def test_forced_tcp_is_used_where_nothing_is_blocked(
    link: Link, authority: trustme.CA, tmp_path: Path
) -> None:
    program = link.client.command(sys.executable, PYTHON_PEER)
    with serving(link, authority, tmp_path, "--rtc.force_tcp=true") as server:
        async with talking(server, program, program) as (ada, bob):
            assert await ada.path() == await bob.path() == ["tcp"]


@pytest.mark.parametrize(("blocked", "chosen"), [UDP, TURN_UDP, TCP])
async def test_programs_on_pypis_livekit_hear_each_other(
    link: Link, authority: trustme.CA, tmp_path: Path, blocked: Blocking, chosen: str
) -> None:
    program = link.client.command(sys.executable, PYTHON_PEER)
    with serving(link, authority, tmp_path) as server, blocked(link):
        async with talking(server, program, program) as (ada, bob):
            assert await ada.path() == await bob.path() == [chosen]


@pytest.mark.parametrize(("blocked", "chosen"), [UDP, TURN_UDP, TCP, TURN_TLS])
async def test_a_browser_hears_and_is_heard(
    link: Link, authority: trustme.CA, tmp_path: Path, blocked: Blocking, chosen: str
) -> None:
    # Its TURN clients know the authorities that browsers do.
    browser = link.client.command(sys.executable, CHROMIUM_PEER, "--ignore-certificate-errors")
    program = link.server.command(sys.executable, PYTHON_PEER)
    with serving(link, authority, tmp_path) as server, blocked(link):
        async with talking(server, browser, program) as (ada, _):
            assert await ada.path() == [chosen]


async def test_a_client_that_checks_certificates_is_relayed_over_tls(
    link: Link, authority: trustme.CA, tmp_path: Path
) -> None:
    """Go's SDK trusts the authorities that it is told."""
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(bundle)
    program = link.server.command(sys.executable, PYTHON_PEER)
    with serving(link, authority, tmp_path) as server, only_turn_over_tls(link):
        token = server.token(identity="go", room=ROOM)
        go = link.client.command("env", f"SSL_CERT_FILE={bundle}", GO_PEER, server.url, token)
        async with in_room(server, "ada", *program) as ada, run_program("go", *go):
            await ada.publishTone(440)
            await ada.hears("go", 440)
