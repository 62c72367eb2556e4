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
    #: The address of this side, where a server may listen.
    outside: str

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
        yield Namespace(name, f"{network}.1")
    finally:
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"ip {' '.join(arguments)}: {done.stderr.strip()} (a network namespace needs root)"
        )
