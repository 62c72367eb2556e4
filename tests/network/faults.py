"""What can happen to a network, each as a context: it is so inside, and as before afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from namespace import Link, Side, run, within

_numbers = itertools.count()


@contextmanager
def rules(side: Side, *, into: str = "", outof: str = "") -> Iterator[None]:
    """nftables' rules for what comes in and what goes out at the interface of one side."""
    table = f"inet fault{next(_numbers)}"
    text = f"table {table} {{\n"
    for hook, match, rule in (("input", "iifname", into), ("output", "oifname", outof)):
        if rule:
            chain = f"type filter hook {hook} priority 0\n{match} {side.interface} {rule}\n"
            text += f"chain {hook} {{\n{chain}}}\n"
    run(*within(side.name, "nft", "-f", "-"), text=text + "}\n")
    try:
        yield
    finally:
        run(*within(side.name, "nft", "delete", "table", *table.split()))


@contextmanager
def drop(link: Link, downward: str = "", upward: str = "") -> Iterator[None]:
    """What matches is gone where it arrives: dropped where it is sent, the sender's socket would be told."""
    with rules(link.client, into=f"{downward} drop"), rules(link.server, into=f"{upward} drop"):
        yield


@contextmanager
def silence(link: Link) -> Iterator[None]:
    """Nothing passes, and nobody is told."""
    with drop(link):
        yield


@contextmanager
def block_udp(link: Link, *ports: int) -> Iterator[None]:
    """To and from all ports of the server, or only these."""
    into, outof = (_ports(f"udp {word}", ports) for word in ("sport", "dport"))
    with drop(link, downward=into, upward=outof):
        yield


@contextmanager
def block_tcp(link: Link, *ports: int) -> Iterator[None]:
    into, outof = (_ports(f"tcp {word}", ports) for word in ("sport", "dport"))
    with drop(link, downward=into, upward=outof):
        yield


@contextmanager
def refuse_tcp(link: Link, *ports: int) -> Iterator[None]:
    """Connections are reset at their next segment, new ones refused."""
    into, outof = (_ports(f"tcp {word}", ports) for word in ("sport", "dport"))
    reset = "reject with tcp reset"
    with rules(link.client, into=f"{into} {reset}", outof=f"{outof} {reset}"):
        yield


@contextmanager
def reset_tcp(link: Link, port: int) -> Iterator[None]:
    """The connections that there are end at their next segment; new ones pass."""
    those = ("state", "established", "dport", "=", f":{port}")
    listed = run(*within(link.client.name, "ss", "-Htn", *those))
    if not listed:
        yield
        return
    # Columns: two queues, the own address, the peer's.
    own = ", ".join(line.split()[2].rpartition(":")[2] for line in listed.splitlines())
    reset = "reject with tcp reset"
    with rules(
        link.client,
        into=f"tcp sport {port} tcp dport {{ {own} }} {reset}",
        outof=f"tcp dport {port} tcp sport {{ {own} }} {reset}",
    ):
        yield


@contextmanager
def lose(link: Link, per_mille: int) -> Iterator[None]:
    """That many of a thousand datagrams each way, at random."""
    some = f"meta l4proto udp numgen random mod 1000 < {per_mille}"
    with drop(link, downward=some, upward=some):
        yield


@contextmanager
def narrow(side: Side, kbit: int, queue_ms: int = 100) -> Iterator[None]:
    """What that side sends passes at a rate; what would wait longer than the queue is lost."""
    qdisc = ("qdisc", "add", "dev", side.interface, "root", "tbf", "rate", f"{kbit}kbit", "burst", "5kb")
    run(*within(side.name, "tc", *qdisc, "latency", f"{queue_ms}ms"))
    try:
        yield
    finally:
        run(*within(side.name, "tc", "qdisc", "delete", "dev", side.interface, "root"))


def change_address(link: Link) -> None:
    """As between Wi-Fi and mobile. For good."""
    side = link.client
    # The old one first: the kernel takes later addresses of a network along with its first.
    for action, address in (("delete", side.address), ("add", link.another_address)):
        run("ip", "-n", side.name, "address", action, f"{address}/24", "dev", side.interface)
    # The route went with the old address.
    run("ip", "-n", side.name, "route", "replace", "default", "via", link.server.address)


def _ports(match: str, ports: tuple[int, ...]) -> str:
    if not ports:
        return f"meta l4proto {match.split()[0]}"
    return f"{match} {{ {', '.join(map(str, ports))} }}"
