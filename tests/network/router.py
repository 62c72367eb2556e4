"""A server in a private network, a client in a public one, and a router with an address in each of them."""

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
    rules = f"""
        table ip router {{
            chain mapping {{
                type nat hook prerouting priority -100
                ip daddr {outer.address} {mapped}
            }}
            chain hiding {{
                type nat hook postrouting priority 100
                ip saddr {server.address} masquerade
            }}
            chain passing {{
                type filter hook forward priority 0
                policy drop
                {back}
                ct state established accept
                ct status dnat accept
                {asking}
            }}
        }}
    """
    run(*within(outer.name, "nft", "-f", "-"), text=rules)
    try:
        yield
    finally:
        run(*within(outer.name, "nft", "delete", "table", "ip", "router"))
