"""The addresses that a server offers for media, as its configuration has them."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import pytest
from livekit.protocol import rtc
from websockets.asyncio.client import connect

import roomful

pytestmark = pytest.mark.asyncio

_COOKIE = 0x2112A442


async def offered(**settings: Any) -> list[tuple[str, str]]:
    """Protocol and address of each candidate in the first offer, to somebody who came by 127.0.0.1."""
    async with roomful.Server({"rtc": settings}) as server:
        token = server.token(identity="ada", room="demo")
        async with connect(f"{server.url}/rtc?access_token={token}&protocol=17") as signal:
            while True:
                frame = await signal.recv()
                assert isinstance(frame, bytes)
                response = rtc.SignalResponse.FromString(frame)
                if response.HasField("offer"):
                    break
    lines = [line.split() for line in response.offer.sdp.splitlines() if line.startswith("a=candidate:")]
    return list(dict.fromkeys((fields[2], fields[4]) for fields in lines))


@contextmanager
def stun_server(answer: str) -> Iterator[str]:
    """Tells everybody that it is seen as `answer`. On a thread, as a server that starts waits for it."""
    serving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    serving.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            question, sender = serving.recvfrom(100)
            if not question:
                return
            address = struct.pack(
                "!BBHI", 0, 1, 1 ^ _COOKIE >> 16, int(ipaddress.IPv4Address(answer)) ^ _COOKIE
            )
            attribute = struct.pack("!HH", 0x0020, len(address)) + address
            serving.sendto(struct.pack("!HH", 0x0101, len(attribute)) + question[4:20] + attribute, sender)

    thread = threading.Thread(target=serve)
    thread.start()
    host, port = serving.getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        serving.sendto(b"", (host, port))
        thread.join()
        serving.close()


async def test_networks_and_interfaces_are_chosen() -> None:
    everything = await offered()
    assert ("udp", "127.0.0.1") in everything
    assert await offered(ips={"includes": ["127.0.0.0/8"]}) == [("udp", "127.0.0.1")]
    loopback = await offered(interfaces={"includes": ["lo"]})
    assert ("udp", "127.0.0.1") in loopback
    assert all(ipaddress.ip_address(address).is_loopback for _, address in loopback)


async def test_an_address_that_is_excluded_is_not_offered_to_who_came_by_it() -> None:
    assert ("udp", "127.0.0.1") not in await offered(ips={"excludes": ["127.0.0.0/8"]})


async def test_both_protocols_have_the_same_addresses() -> None:
    only = {"includes": ["127.0.0.1"]}
    assert await offered(ips=only, tcp_port=free_port()) == [("udp", "127.0.0.1"), ("tcp", "127.0.0.1")]
    assert await offered(ips=only, tcp_port=free_port(), force_tcp=True) == [("tcp", "127.0.0.1")]


async def test_the_external_address_stands_first() -> None:
    with stun_server("203.0.113.9") as asked:
        # 127.0.0.1 is there for who came by it.
        assert await offered(
            ips={"includes": ["127.0.0.1"]},
            use_external_ip=True,
            skip_external_ip_validation=True,
            stun_servers=[asked],
        ) == [("udp", "203.0.113.9"), ("udp", "127.0.0.1")]


async def test_others_go_on_while_stun_servers_are_asked() -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        asked = [f"127.0.0.1:{silent.getsockname()[1]}"] * 3
        ips = {"includes": ["127.0.0.1"]}
        server = roomful.Server({"rtc": {"ips": ips, "use_external_ip": True, "stun_servers": asked}})
        beating = asyncio.create_task(beat())
        await server.start()
        beating.cancel()
        await server.close()
    # They are waited for more than a second.
    assert beats > 20


async def test_without_an_answer_the_log_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        asked = f"127.0.0.1:{silent.getsockname()[1]}"
        addresses = await offered(ips={"includes": ["127.0.0.1"]}, use_external_ip=True, stun_servers=[asked])
    assert addresses == [("udp", "127.0.0.1")]
    assert f"{asked} did not tell" in caplog.text
    assert "rtc.node_ip" in caplog.text


async def test_a_stun_server_that_cannot_be_asked_is_warned_of_once() -> None:
    lines: Queue[str] = Queue()
    handler = logging.Handler()
    handler.emit = lambda record: lines.put(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("roomful.media")
    logger.addHandler(handler)
    try:
        await offered(
            ips={"includes": ["127.0.0.1"]},
            use_external_ip=True,
            stun_servers=["nowhere.invalid:3478", "[::1]:3478"],
        )
        warned: list[str] = []
        # They come in their order, and the last says that none answered.
        while not any("did not tell" in line for line in warned):
            warned.append(await asyncio.to_thread(lines.get, timeout=20))
    finally:
        logger.removeHandler(handler)
    of = [line for line in warned if "STUN server" in line]
    assert len(of) == 2, of
    assert "nowhere.invalid:3478: " in of[0]
    assert "[::1]:3478: it has no address that can be asked" in of[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
