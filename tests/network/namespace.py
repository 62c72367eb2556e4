"""Networks that a test makes and removes: namespaces joined by pairs of virtual interfaces. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


class NotAllowed(RuntimeError):
    """This user may make no networks."""


@dataclass(frozen=True)
class Namespace:
    name: str
    #: The interface and the address of the other side, where a server may listen.
    interface: str
    outside: str
    #: The address inside.
    inside: str

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a program inside."""
        return within(self.name, *arguments)


@dataclass(frozen=True)
class Side:
    """One end of a link: a namespace of its own with one interface."""

    name: str
    interface: str
    address: str

    def command(self, *arguments: str) -> list[str]:
        return within(self.name, *arguments)


@dataclass(frozen=True)
class Link:
    """Two namespaces and nothing else: this machine's own network has no part in it."""

    server: Side
    client: Side

    @property
    def another_address(self) -> str:
        """One that the client has not yet."""
        return self.client.address.rpartition(".")[0] + ".3"


def within(name: str, *arguments: str) -> list[str]:
    return ["ip", "netns", "exec", name, *arguments]


@contextmanager
def open_namespace() -> Iterator[Namespace]:
    """A network of this machine's side and a namespace. Nothing of it is left afterwards."""
    with numbered("roomful") as (number, name):
        outer, inner = f"rf{number}a", f"rf{number}b"
        network = f"10.213.{number}"
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        _ip("address", "add", f"{network}.1/24", "dev", outer)
        _ip("link", "set", outer, "up")
        _ip("-n", name, "address", "add", f"{network}.2/24", "dev", inner)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", inner, "up")
        _ip("-n", name, "route", "add", "default", "via", f"{network}.1")
        yield Namespace(name, outer, f"{network}.1", f"{network}.2")


@contextmanager
def open_link(*, ipv6: bool = False) -> Iterator[Link]:
    """A network of two namespaces, a server's and a client's, of IPv4 or of IPv6 alone."""
    with numbered("roomful-s") as (number, server), named(f"roomful-c{number}") as client:
        network, length = (f"fd00:214:{number}::", 64) if ipv6 else (f"10.214.{number}.", 24)
        sides = Side(server, "veth", f"{network}1"), Side(client, "veth", f"{network}2")
        _ip("-n", server, "link", "add", "veth", "type", "veth", "peer", "name", "veth", "netns", client)
        for side in sides:
            address = ("address", "add", f"{side.address}/{length}", "dev", side.interface)
            # Nobody else can have it: there is nothing to wait for.
            _ip("-n", side.name, *address, *(["nodad"] if ipv6 else []))
            for interface in ("lo", side.interface):
                _ip("-n", side.name, "link", "set", interface, "up")
        for side, other in (sides, sides[::-1]):
            _ip("-n", side.name, "route", "add", "default", "via", other.address)
        yield Link(*sides)


@contextmanager
def map_ports(namespace: Namespace, address: str, tcp: int, udp: int) -> Iterator[None]:
    """As a container's ports are: from an address of this machine to the same ports inside. There is no other
    way in or out."""
    name, interface, inside = namespace.name, namespace.interface, namespace.inside
    rules = f"""
        table ip {name} {{
            chain mapping {{
                type nat hook output priority -100
                ip daddr {address} tcp dport {tcp} dnat to {inside}
                ip daddr {address} udp dport {udp} dnat to {inside}
            }}
            chain hiding {{
                type nat hook postrouting priority 100
                oifname {interface} ip saddr 127.0.0.1 snat to {namespace.outside}
            }}
            chain into {{
                type filter hook output priority 0
                oifname {interface} ct status & dnat == 0 drop
            }}
            chain outof {{
                type filter hook input priority 0
                iifname {interface} ct state != established drop
            }}
        }}
    """
    run("nft", "-f", "-", text=rules)
    try:
        with open(f"/proc/sys/net/ipv4/conf/{interface}/route_localnet", "w") as setting:
            setting.write("1")
        yield
    finally:
        run("nft", "delete", "table", "ip", name)


def run(*command: str, text: str = "") -> str:
    """What it says. Raises RuntimeError with what it complains of."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def numbered(prefix: str) -> Iterator[tuple[int, str]]:
    """A namespace with the first number that is free: many tests, and many processes, make some at once."""
    for number in range(1, 255):
        name = f"{prefix}{number}"
        if not os.path.exists(f"/run/netns/{name}"):
            try:
                _ip("netns", "add", name)
            except FileExistsError:
                continue  # Somebody else was quicker.
            with _removed(name):
                yield number, name
            return
    raise RuntimeError("too many network namespaces")


@contextmanager
def named(name: str) -> Iterator[str]:
    _ip("netns", "add", name)
    with _removed(name):
        yield name


@contextmanager
def _removed(name: str) -> Iterator[None]:
    try:
        yield
    finally:
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    command: Sequence[str] = ("ip", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.returncode:
        return
    problem = f"{' '.join(command)}: {done.stderr.strip()}"
    if "File exists" in done.stderr:
        raise FileExistsError(problem)
    if os.geteuid() != 0 or "Operation not permitted" in done.stderr:
        raise NotAllowed(f"{problem} (a network namespace needs root)")
    raise RuntimeError(problem)
