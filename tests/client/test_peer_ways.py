"""A client's media by the ways that are left when datagrams do not pass."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trustme
from test_peer import RELAYS, Member, Way, join

import roomful
from roomful._core import PeerEvent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


async def connected(member: Member) -> PeerEvent.Connection:
    """How the connection came to be."""

    def up() -> list[PeerEvent.Connection]:
        return [event for event in member.of(PeerEvent.Connection) if event.state == "connected"]

    await member.ready()
    return up()[0]


@pytest.mark.asyncio
async def test_passive_candidates_are_connected_to_where_datagrams_fail() -> None:
    rtc = {"tcp_port": free_port()}
    async with roomful.Server({"rtc": rtc}) as server, join(server, "alice", True, "tcp") as alice:
        assert (await connected(alice)).way == "tcp"


@pytest.mark.asyncio
@pytest.mark.parametrize("way", RELAYS)
async def test_relays_alone_connect_over_each_transport(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, chain, key = trustme.CA(), tmp_path / "chain.pem", tmp_path / "key.pem"
    issued = authority.issue_cert("localhost")
    key.write_bytes(issued.private_key_pem.bytes())
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    # The system's certificates are read once, by the first client that needs them: no other test does.
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    turn = {
        "enabled": True,
        "udp_port": free_port(),
        "tls_port": free_port(),
        "domain": "localhost",
        "cert_file": str(chain),
        "key_file": str(key),
    }
    async with roomful.Server({"turn": turn}) as server, join(server, "alice", True, way) as alice:
        assert (await connected(alice)).way == "relay"
