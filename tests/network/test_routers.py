"""Servers and clients with a router between them: address translation, and TURN servers that are not ours."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from coturn import PORT, open_coturn
from peers import PYTHON_PEER, run_program
from python.sdk import VARIABLE
from router import Crossing, hide, open_crossing, translate
from served import OURS, SIGNAL_PORT, TCP_PORT, UDP_PORT, Served, url_of
from together import play_together

pytestmark = pytest.mark.timeout(120)

OUTER, OUTSIDE = "203.0.113.1", "203.0.113.2"
STUN = {"use_external_ip": True, "stun_servers": [f"{OUTSIDE}:{PORT}"]}
MISSED = "no connection for media"
USER, CREDENTIAL, SECRET = "roomful", "correct horse", "battery staple"


@dataclass(frozen=True)
class Outcome:
    #: By what each of two clients outside reached the server.
    ways: list[str]
    #: The server's log.
    said: str


@dataclass(frozen=True)
class Translated:
    """The server's ports are the router's, and outside is a STUN server."""

    rtc: dict[str, Any]
    hairpin: bool = True

    async def play(self) -> Outcome:
        with (
            open_crossing() as crossing,
            translate(crossing, tcp=SIGNAL_PORT, udp=UDP_PORT, stun=PORT, hairpin=self.hairpin),
        ):
            async with open_coturn(crossing.client, "--stun-only"):
                return await meet(crossing, self.rtc)


@dataclass(frozen=True)
class OnlyCoturn:
    """The router passes signalling, and coturn on it relays."""

    protocol: str
    options: Sequence[str]
    credentials: dict[str, Any]

    async def play(self) -> Outcome:
        told = {"host": OUTER, "port": PORT, "protocol": self.protocol, **self.credentials}
        with open_crossing() as crossing, translate(crossing, tcp=SIGNAL_PORT):
            async with open_coturn(crossing.outer, *self.options, relay=crossing.inner.address):
                return await meet(crossing, {"turn_servers": [told]})


@dataclass(frozen=True)
class Hidden:
    """Our own client is inside and the server outside: no check of the client's comes out, and the server's
    come in where the router sees the client's questions to a STUN server come from."""

    async def play(self) -> Outcome:
        with open_crossing() as crossing, hide(crossing, tcp=SIGNAL_PORT, stun=PORT):
            async with open_coturn(crossing.client, "--stun-only"):
                return await reach(crossing)


@dataclass(frozen=True)
class Nothing:
    """The router passes signalling alone."""

    async def play(self) -> Outcome:
        with open_crossing() as crossing, translate(crossing, tcp=SIGNAL_PORT):
            return await miss(crossing)


CHECKED, UNCHECKED, BY_NODE_IP = (
    "an external address",
    "one that is not checked",
    "node_ip, as the check fails",
)
COTURN_UDP, COTURN_TCP, HIDDEN, NEVER = "coturn over UDP", "coturn over TCP", "by STUN", "nothing"
PLAYS: dict[str, Translated | OnlyCoturn | Hidden | Nothing] = {
    CHECKED: Translated(
        {
            **STUN,
            "node_ip": "198.51.100.1",
            "interfaces": {"includes": ["veth"]},
            "ips": {"excludes": ["::/0"]},
        }
    ),
    UNCHECKED: Translated({**STUN, "skip_external_ip_validation": True}, hairpin=False),
    BY_NODE_IP: Translated({**STUN, "node_ip": OUTER}, hairpin=False),
    COTURN_UDP: OnlyCoturn(
        "udp",
        ["--lt-cred-mech", f"--user={USER}:{CREDENTIAL}"],
        {"username": USER, "credential": CREDENTIAL},
    ),
    COTURN_TCP: OnlyCoturn(
        "tcp", ["--use-auth-secret", f"--static-auth-secret={SECRET}"], {"secret": SECRET, "ttl": 600}
    ),
    HIDDEN: Hidden(),
    NEVER: Nothing(),
}


def served(crossing: Crossing, rtc: dict[str, Any]) -> Served:
    return Served(OURS, crossing.server, settings={"rtc": {"node_ip": "", **rtc}})


async def meet(crossing: Crossing, rtc: dict[str, Any]) -> Outcome:
    """Two clients, until they hear each other."""
    program, url = crossing.client.command(sys.executable, PYTHON_PEER), url_of(OUTER)
    server = served(crossing, rtc)
    async with (
        server.running(),
        run_program("ada", *program) as ada,
        run_program("bob", *program) as bob,
    ):
        await asyncio.gather(*(peer.connect(url, server.token(peer.identity)) for peer in (ada, bob)))
        await asyncio.gather(ada.publishTone(440), bob.publishTone(880))
        await asyncio.gather(ada.hears("bob", 880), bob.hears("ada", 440))
        return Outcome([*await ada.path(), *await bob.path()], server.said())


async def reach(crossing: Crossing) -> Outcome:
    """Our own client inside, and PyPI's beside the server, until they hear each other."""
    own, other = (side.command(sys.executable, PYTHON_PEER) for side in (crossing.server, crossing.client))
    server, url = Served(OURS, crossing.client), url_of(OUTSIDE)
    async with (
        server.running(),
        run_program("ada", *own, environment={VARIABLE: "roomful"}) as ada,
        run_program("bob", *other) as bob,
    ):
        await ada.connect(url, server.token("ada"), False, "", f"stun:{OUTSIDE}:{PORT}")
        await bob.connect(url, server.token("bob"))
        await asyncio.gather(ada.publishTone(440), bob.publishTone(880))
        await asyncio.gather(ada.hears("bob", 880), bob.hears("ada", 440))
        return Outcome(await ada.path(), server.said())


async def miss(crossing: Crossing) -> Outcome:
    """A client that gets no connection for media, until the server says so."""
    program, server = crossing.client.command(sys.executable, PYTHON_PEER), served(crossing, {})
    async with server.running(), run_program("ada", *program) as ada:
        connecting = asyncio.create_task(ada.connect(url_of(OUTER), server.token("ada")))
        async with asyncio.timeout(40):
            while MISSED not in server.said():
                assert not connecting.done()
                await asyncio.sleep(0.2)
        connecting.cancel()
        return Outcome([], server.said())


Played = Callable[[str], Outcome]


@pytest.fixture(scope="module")
def played(networks: None) -> Played:
    return play_together({name: it.play for name, it in PLAYS.items()})


@pytest.mark.parametrize("name", [CHECKED, UNCHECKED, BY_NODE_IP])
def test_a_server_behind_address_translation_is_reached_by(played: Played, name: str) -> None:
    assert played(name).ways == ["udp", "udp"]


@pytest.mark.parametrize(("name", "way"), [(COTURN_UDP, "relay udp"), (COTURN_TCP, "relay tcp")])
def test_clients_that_nothing_else_lets_through_connect_by(played: Played, name: str, way: str) -> None:
    assert played(name).ways == [way, way]


def test_our_own_client_is_reached_by_the_address_that_a_stun_server_sees(played: Played) -> None:
    assert played(HIDDEN).ways == ["udp"]


def test_the_log_says_why_an_external_address_is_not_used(played: Played) -> None:
    said = played(BY_NODE_IP).said
    assert f"{OUTER} is not used: what is sent to it from here does not come back" in said
    assert "rtc.skip_external_ip_validation" in said
    assert "is not used" not in played(CHECKED).said


def test_the_log_says_what_was_offered_tried_and_heard_and_what_mends_it(played: Played) -> None:
    said = played(NEVER).said
    (line,) = (line for line in said.splitlines() if MISSED in line)
    for part in (
        "participant=ada",
        f"offered Udp/192.168.7.2:{UDP_PORT} Tcp/192.168.7.2:{TCP_PORT};",
        "0 STUN received",
        f"no answer from {OUTSIDE}:",
        "Probably nothing of the client came",
        "rtc.node_ip or rtc.use_external_ip",
        "rtc.tcp_port and turn are other ways",
    ):
        assert part in line
