"""A server as a program of its own in a namespace, which may be killed and started again on its ports."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import yaml
from namespace import Side
from servers import KEY, SECRET, find_reference

from roomful.auth import AccessToken

SIGNAL_PORT, TCP_PORT, UDP_PORT, TURN_PORT = 7880, 7881, 7882, 3478
OURS, REFERENCE = "roomful", "livekit-server"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 30.0
#: Seconds of calls going on between a first SIGTERM and a second.
PATIENCE = 5.0


@dataclass
class Served:
    kind: str
    side: Side
    relay: bool = False
    process: asyncio.subprocess.Process | None = None
    log: IO[bytes] = field(default_factory=TemporaryFile)
    #: By section, in place of what is set by default.
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return url_of(self.side.address)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            await self.start()
            yield
        except BaseException:
            print(self.said(), file=sys.stderr)
            raise
        finally:
            await self.kill()
            self.log.close()

    def token(self, identity: str, room: str = "matrix") -> str:
        grants = {"room_join": True, "room": room, "can_update_own_metadata": True}
        return AccessToken(KEY, SECRET).with_identity(identity).with_grants(**grants).to_jwt()

    async def start(self) -> None:
        """Until it listens."""
        program = find_reference() if self.kind == REFERENCE else _roomful()
        command = [*program.split(" "), "--config-body", yaml.safe_dump(self._config())]
        self.process = await asyncio.create_subprocess_exec(
            *self.side.command(*command),
            stdout=self.log,
            stderr=self.log,
            # Its own: the namespace's programs end with it.
            start_new_session=True,
        )
        async with asyncio.timeout(START_TIMEOUT):
            while not listens(self.process.pid, SIGNAL_PORT):
                if self.process.returncode is not None:
                    raise AssertionError(f"{shlex.join(command)} ended: {self.said()}")
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and a second one if it waits for its calls to end."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._end(signal.SIGTERM)
        except TimeoutError:
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self._end(signal.SIGTERM)
            except TimeoutError:
                await self.kill()

    async def _end(self, number: signal.Signals) -> None:
        if self.process and self.process.returncode is None:
            os.kill(self.process.pid, number)
            await self.process.wait()

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()[-4000:].decode(errors="replace")

    def _config(self) -> dict[str, object]:
        turn = {"turn": {"enabled": True, "udp_port": TURN_PORT, "domain": self.side.address}}
        reference = {"stun_servers": []} if self.kind == REFERENCE else {}
        if self.kind == REFERENCE:  # Its relay leads to no private address unless told.
            turn["turn"]["allow_restricted_peer_cidrs"] = [f"{self.side.address}/24"]
        config: dict[str, Any] = {
            "port": SIGNAL_PORT,
            "bind_addresses": [self.side.address],
            "keys": {KEY: SECRET},
            "logging": {"level": "info"},
            "rtc": {
                "udp_port": UDP_PORT,
                "tcp_port": TCP_PORT,
                "node_ip": self.side.address,
                "use_external_ip": False,
                **reference,
            },
            **(turn if self.relay else {}),
        }
        return config | {name: config.get(name, {}) | own for name, own in self.settings.items()}


def url_of(address: str) -> str:
    return f"ws://[{address}]:{SIGNAL_PORT}" if ":" in address else f"ws://{address}:{SIGNAL_PORT}"


def _roomful() -> str:
    return f"{Path(sys.executable).with_name('roomful')} serve"


def listens(process: int, port: int) -> bool:
    """Whether somebody does by TCP in the network that the process is in."""
    try:
        tables = [Path(f"/proc/{process}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    except OSError:
        return False
    lines = [line.split() for table in tables for line in table.splitlines()]
    return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in lines)
