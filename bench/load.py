"""Drives `roomful-load`, which speaks JSON lines and waits for a newline between its steps."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from candidates import LOAD_CORE, SERVER_CORE
from servers import KEY, SECRET

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target" / "release" / "roomful-load"

Event = dict[str, Any]


class Load:
    """A running load; `until` reads its events, `go_on` ends its wait."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def until(self, name: str) -> Event:
        """The next event of this name."""
        assert self._process.stdout
        for line in self._process.stdout:
            event: Event = json.loads(line)
            if event["event"] == name:
                return event
        raise RuntimeError(f"the load ended before {name!r}, with code {self._process.wait()}")

    def go_on(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()


@contextmanager
def running(url: str, arguments: tuple[str, ...]) -> Iterator[Load]:
    command = ["taskset", "--cpu-list", str(LOAD_CORE), str(BINARY), f"--url={url}", f"--key={KEY}"]
    command += [f"--secret={SECRET}", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Load(process)
        if process.wait(timeout=60):
            raise RuntimeError(f"the load failed with code {process.returncode}: {' '.join(arguments)}")
    finally:
        process.kill()
        process.wait()


def build() -> None:
    targets = ["--package=roomful-load", "--package=roomful-media", "--bin=roomful-load", "--example=floor"]
    subprocess.run(["cargo", "build", "--release", "--quiet", *targets], cwd=ROOT, check=True)


def floor() -> dict[str, float]:
    """This machine's own costs in nanoseconds: a datagram by one send, by GSO, and sealing it."""
    program = ROOT / "target" / "release" / "examples" / "floor"
    answer = subprocess.run(
        ["taskset", "--cpu-list", str(SERVER_CORE), program], check=True, stdout=subprocess.PIPE, text=True
    )
    costs: dict[str, float] = json.loads(answer.stdout)
    return costs
