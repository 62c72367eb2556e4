"""The servers that are compared, each started anew for a load and pinned to one core."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import KEY, SECRET, await_port, find_reference, free_port

OURS, THEIRS = "roomful", "livekit-server"
SERVER_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True)
class Running:
    url: str
    pid: int


@dataclass(frozen=True)
class Candidate:
    """A server to measure: its name in the report and its command line up to the configuration."""

    name: str
    command: tuple[str, ...]
    options: str  #: What only this one has in its configuration's `rtc`.

    @contextmanager
    def running(self) -> Iterator[Running]:
        port, udp = free_port("127.0.0.1"), free_port("127.0.0.1")
        config = (
            f"port: {port}\nbind_addresses: [127.0.0.1]\nkeys: {{{KEY}: {SECRET}}}\n"
            "logging: {level: warn}\n"
            f"rtc: {{udp_port: {udp}, node_ip: 127.0.0.1, enable_loopback_candidate: true{self.options}}}\n"
        )
        pinned = ["taskset", "--cpu-list", str(SERVER_CORE), *self.command, "--config-body", config]
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(pinned, stdout=log, stderr=log)
            try:
                await_port("127.0.0.1", port, process)
                yield Running(f"ws://127.0.0.1:{port}", process.pid)
                if process.poll() is not None:
                    raise RuntimeError(f"{self.name} has ended by itself")
            except BaseException:
                log.seek(0)
                sys.stderr.write(f"--- {self.name} said:\n{log.read()[-4000:]}")
                raise
            finally:
                process.kill()
                process.wait(timeout=10)


def ours() -> Candidate:
    program = str(Path(sys.executable).with_name("roomful"))
    return Candidate(OURS, (program, "serve"), f", tcp_port: {free_port('127.0.0.1')}")


def reference() -> Candidate:
    return Candidate(THEIRS, (find_reference(),), f", tcp_port: {free_port('127.0.0.1')}, stun_servers: []")


def check_cores() -> None:
    cores = os.cpu_count() or 1
    if cores < 2:
        raise SystemExit("the server and the load need a core each; this machine has one")
