"""A network of two: this machine's side and a namespace, joined by a pair of virtual interfaces."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Namespace:
    name: str
    #: The interface and the address of this side, where a server may listen.
    interface: str
    outside: str
    #: The address inside.
    inside: str

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a program inside."""
        return ["ip", "netns", "exec", self.name, *arguments]


@contextmanager
def open_namespace() -> Iterator[Namespace]:
    """Needs root. Nothing of it is left afterwards."""
    number = os.getpid() % 250 + 1
    name, outer, inner = f"roomful-{number}", f"rf{number}a", f"rf{number}b"
    network = f"10.213.{number}"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        _ip("address", "add", f"{network}.1/24", "dev", outer)
        _ip("link", "set", outer, "up")
        _ip("-n", name, "address", "add", f"{network}.2/24", "dev", inner)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", inner, "up")
        _ip("-n", name, "route", "add", "default", "via", f"{network}.1")
        yield Namespace(name, outer, f"{network}.1", f"{network}.2")
    finally:
        _ip("netns", "delete", name)


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
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        with open(f"/proc/sys/net/ipv4/conf/{interface}/route_localnet", "w") as setting:
            setting.write("1")
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "ip", name], check=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"ip {' '.join(arguments)}: {done.stderr.strip()} (a network namespace needs root)"
        )
