"""The servers that are compared, each started anew for a load and pinned to one core."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEY, SECRET = "devkey", "a secret of thirty-two characters"
SERVER_CORE, LOAD_CORE = 0, 1
START_TIMEOUT_S = 20.0


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
        port, udp = free_port(), free_port()
        config = (
            f"port: {port}\nbind_addresses: [127.0.0.1]\nkeys: {{{KEY}: {SECRET}}}\n"
            "logging: {level: warn}\n"
            f"rtc: {{udp_port: {udp}, node_ip: 127.0.0.1, enable_loopback_candidate: true{self.options}}}\n"
        )
        pinned = ["taskset", "--cpu-list", str(SERVER_CORE), *self.command, "--config-body", config]
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(pinned, stdout=log, stderr=log)
            try:
                _await_port(port, process)
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
    return Candidate("roomful", (str(Path(sys.executable).with_name("roomful")), "serve"), "")


def reference(binary: str) -> Candidate:
    return Candidate("livekit-server", (binary,), f", tcp_port: {free_port()}, stun_servers: []")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"does not start: {' '.join(map(str, process.args))[:200]}")  # type: ignore[arg-type]


def check_cores() -> None:
    cores = os.cpu_count() or 1
    if cores < 2:
        raise SystemExit("the server and the load need a core each; this machine has one")
