"""`roomful doctor` against our own server, over loopback."""

from __future__ import annotations

import socket

import pytest

import roomful
from roomful.doctor import Examination, Way, examination, examine
from roomful.doctor.advice import Trouble


def free_udp_socket() -> socket.socket:
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    return silent


async def examine_server(server: roomful.Server) -> Examination:
    return await examine(server.url, lambda way: server.token(identity=f"doctor {way.value}", room="ward"))


def troubles(found: Examination) -> dict[Way, Trouble | None]:
    return {finding.way: finding.trouble for finding in found.findings}


@pytest.mark.asyncio
async def test_open_ways_work_and_absent_ones_are_named() -> None:
    async with roomful.Server({"rtc": {"tcp_port": 0}, "turn": {"enabled": False}}) as server:
        found = await examine_server(server)
    assert troubles(found) == {
        Way.UDP: None,
        Way.TCP: Trouble.NOT_OFFERED,
        Way.TURN_UDP: Trouble.NOT_OFFERED,
        Way.TURN_TLS: Trouble.NOT_OFFERED,
    }
    assert found.healthy


@pytest.mark.asyncio
async def test_a_turn_server_that_is_silent_and_one_that_is_not_there_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(examination, "PATIENCE", 1.0)
    with free_udp_socket() as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        tls_port = closed.getsockname()[1]
        closed.close()
        turn = [
            {"host": "127.0.0.1", "port": silent.getsockname()[1], "protocol": "udp", "credential": "x"},
            {"host": "127.0.0.1", "port": tls_port, "protocol": "tls", "credential": "x"},
        ]
        config = {"rtc": {"turn_servers": turn, "tcp_port": 0}, "turn": {"enabled": False}}
        async with roomful.Server(config) as server:
            found = await examine_server(server)
    by_way = {finding.way: finding for finding in found.findings}
    assert not found.healthy
    assert by_way[Way.TURN_UDP].trouble is Trouble.NO_CONNECTION
    assert "no answer" in by_way[Way.TURN_UDP].cause
    assert by_way[Way.TURN_TLS].trouble is Trouble.NO_CONNECTION
    assert str(tls_port) in by_way[Way.TURN_TLS].remedy(found.udp)
