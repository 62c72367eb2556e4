"""A private network, a public one, and a router with an address in each of them: the server is in the private
one and the client outside, or the other way round."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from namespace import Side, named, numbered, run, within

#: Nobody else is in these networks, so that many tests may use the same at once.
INNER, OUTER = "192.168.7", "203.0.113"


@dataclass(frozen=True)
class Crossing:
    server: Side
    #: The router's two ends.
    inner: Side
    outer: Side
    client: Side


@contextmanager
def open_crossing() -> Iterator[Crossing]:
    """Nothing passes the router yet."""
    with (
        numbered("roomful-r") as (number, router),
        named(f"roomful-i{number}") as server,
        named(f"roomful-o{number}") as client,
    ):
        sides = {}
        for network, host, interface in ((INNER, server, "inner"), (OUTER, client, "outer")):
            run(
                "ip", "-n", router, "link", "add", interface, "type", "veth", *("peer", "veth", "netns", host)
            )
            for name, end, last in ((router, interface, 1), (host, "veth", 2)):
                side = Side(name, end, f"{network}.{last}")
                run("ip", "-n", name, "address", "add", f"{side.address}/24", "dev", end)
                for one in ("lo", end):
                    run("ip", "-n", name, "link", "set", one, "up")
                sides[interface, last] = side
        run("ip", "-n", server, "route", "add", "default", "via", f"{INNER}.1")
        run(*within(router, "tee", "/proc/sys/net/ipv4/ip_forward"), text="1")
        yield Crossing(sides["inner", 2], sides["inner", 1], sides["outer", 1], sides["outer", 2])


@contextmanager
def translate(
    crossing: Crossing, *, tcp: int, udp: int | None = None, stun: int | None = None, hairpin: bool = True
) -> Iterator[None]:
    """Ports of the router's outer address are the server's; from inside only questions to a `stun` port get
    out, under the outer address. `hairpin`: what the server itself sends to the outer address comes back."""
    server, inner, outer = crossing.server, crossing.inner, crossing.outer
    mapped = f"tcp dport {tcp} dnat to {server.address}"
    if udp:
        mapped += f"\nip daddr {outer.address} udp dport {udp} dnat to {server.address}"
    asking = f"iifname {inner.interface} udp dport {stun} accept" if stun else ""
    back = "" if hairpin else f"iifname {inner.interface} oifname {inner.interface} drop"
    with _rules(crossing, f"ip daddr {outer.address} {mapped}", back, asking):
        yield


@contextmanager
def hide(crossing: Crossing, *, tcp: int, stun: int) -> Iterator[None]:
    """Inside is somebody whose datagrams leave under the router's outer address, and get out as questions to
    a `stun` port alone; what comes to that address for a port of theirs comes in."""
    inside, inner, outer = crossing.server, crossing.inner, crossing.outer
    mapped = f"iifname {outer.interface} meta l4proto udp dnat to {inside.address}"
    asking = [
        f"iifname {inner.interface} {kind} accept" for kind in (f"tcp dport {tcp}", f"udp dport {stun}")
    ]
    with _rules(crossing, mapped, *asking):
        yield


@contextmanager
def _rules(crossing: Crossing, mapped: str, *passing: str) -> Iterator[None]:
    passes = "\n".join(passing)
    rules = f"""
        table ip router {{
            chain mapping {{
                type nat hook prerouting priority -100
                {mapped}
            }}
            chain hiding {{
                type nat hook postrouting priority 100
                ip saddr {crossing.server.address} masquerade
            }}
            chain passing {{
                type filter hook forward priority 0
                policy drop
                {passes}
                ct state established accept
                ct status dnat accept
            }}
        }}
    """
    router = crossing.outer.name
    run(*within(router, "nft", "-f", "-"), text=rules)
    try:
        yield
    finally:
        run(*within(router, "nft", "delete", "table", "ip", "router"))
