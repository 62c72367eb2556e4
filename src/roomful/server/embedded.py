"""`roomful.Server`: a whole server inside a Python program.

It takes free ports, makes a key, touches no signal handler and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from starlette.types import ASGIApp

from roomful.auth import DEFAULT_TTL, AccessToken
from roomful.config import Config, check_keys, check_turn
from roomful.server.app import App
from roomful.server.runtime import Runtime

if TYPE_CHECKING:
    from roomful._core import Exchange


class Server:
    """A server on this event loop::

        async with roomful.Server() as server:
            token = server.token(identity="ada", room="demo")
            await room.connect(server.url, token)

    Or without a port of its own, in somebody else's application: `app.mount("/calls", server.asgi)`. Rooms of
    the same program need none either: `await room.connect(server, token)`; with `listen=False` there is none.

    `config` takes LiveKit's keys, as in `Server({"room": {"max_participants": 10}})`. Ports not given are
    free ones, the address is 127.0.0.1 unless `bind_addresses` says otherwise; without `keys` one is made.
    """

    def __init__(
        self,
        config: Config | Mapping[str, Any] | None = None,
        *,
        keys: Mapping[str, str] | None = None,
        listen: bool = True,
    ) -> None:
        """Raises `ConfigError`; nothing is opened before `start`."""
        if not isinstance(config, Config):
            config = _embedded_config(config or {})
        if keys is not None:
            config = config.model_copy(update={"keys": dict(keys)})
        check_keys(config)
        check_turn(config)
        self._config = config
        self._listens = listen
        self._runtime = Runtime(config, offline=not listen)
        self._app = App(config, self._runtime)
        self._listener: Any = None
        self._port = 0

    @property
    def config(self) -> Config:
        return self._config

    @property
    def keys(self) -> dict[str, str]:
        return dict(self._config.keys)

    @property
    def url(self) -> str:
        """What clients connect to, as in ws://127.0.0.1:40123. Only with a port of its own, while it runs."""
        if not self._listens:
            raise RuntimeError("the server listens to nobody: connect rooms of this program to itself")
        if not self._port:
            raise RuntimeError("the server is not running: use `async with roomful.Server() as server`")
        return f"ws://{_reachable(self._config.bind_addresses)}:{self._port}"

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that it runs on; none before it has started."""
        return self._runtime.loop

    def claim(self) -> asyncio.AbstractEventLoop:
        """That loop, for a room that connects from any thread; the running one, where it has none."""
        return self._runtime.claim()

    @property
    def exchange(self) -> Exchange:
        """How rooms of this process reach the server's media."""
        return self._runtime.exchange

    @property
    def media_ports(self) -> list[int]:
        """UDP ports of the media plane, while it runs."""
        return self._runtime.media_ports

    @property
    def asgi(self) -> ASGIApp:
        """The application itself. It starts with the first request, on the loop that serves it; `close` the
        server when its program ends."""
        from roomful.server.listener import raise_line_limit

        raise_line_limit(self._config.limit.max_request_head_size)
        return self._app

    def token(
        self,
        *,
        identity: str,
        room: str = "",
        name: str = "",
        metadata: str = "",
        attributes: Mapping[str, str] | None = None,
        ttl: timedelta = DEFAULT_TTL,
        **grants: Any,
    ) -> str:
        """An access token of this server, from any thread.

        With `room` it joins that room. `grants` are `VideoGrant`'s fields: `can_publish=False`,
        `room_admin=True`, …
        """
        key, secret = next(iter(self._config.keys.items()))
        token = AccessToken(key, secret, ttl=ttl).with_identity(identity).with_name(name)
        token.with_metadata(metadata).with_attributes(attributes or {})
        if room:
            grants = {"room_join": True, "room": room, **grants}
        return token.with_grants(**grants).to_jwt()

    async def start(self) -> None:
        """Opens ports and starts. Raises `OSError` (`AddressInUse`) when a port is taken."""
        if not self._listens:
            await self._runtime.start()
            return
        from roomful.server.listener import Listener, open_sockets

        limit = self._config.limit
        sockets = open_sockets(self._config.bind_addresses, self._config.port)
        try:
            await self._runtime.start()
            self._listener = Listener(
                self._app,
                sockets,
                max_frame=limit.signal_message_size_limit,
                max_head=limit.max_request_head_size,
                most_of_one_address=limit.connections_per_ip,
            )
            self._listener.start()
        except BaseException:
            for listening in sockets:
                listening.close()
            await self._runtime.close()
            raise
        self._port = sockets[0].getsockname()[1]

    async def drain(self, within: float | None = None) -> None:
        """Lets calls end before a `close`.

        New joins are refused with 503; who is here goes on, and may resume. Returns when the last participant
        has left. After `within` seconds (None: no limit) those still here are sent away with SERVER_SHUTDOWN,
        to reconnect as soon as a server answers. Called again, with 0 for instance, it ends sooner.
        """
        await self._runtime.drain(within)

    async def close(self) -> None:
        """Says goodbye to everybody and frees everything, in bounded time, whatever clients do."""
        if self._listener is not None:
            await self._listener.stop_accepting()
        await self._runtime.close()
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        self._port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _reachable(addresses: Sequence[str]) -> str:
    """A host for clients on this machine, IPv4 where there is one."""
    if not addresses or any(address in ("0.0.0.0", "127.0.0.1") for address in addresses):
        return "127.0.0.1"
    host = next((address for address in addresses if ":" not in address), addresses[0])
    return f"[{'::1' if host == '::' else host}]" if ":" in host else host


def _embedded_config(data: Mapping[str, Any]) -> Config:
    defaults: dict[str, Any] = {
        "port": 0,
        "bind_addresses": ["127.0.0.1"],
        "keys": {f"API{secrets.token_hex(6)}": secrets.token_urlsafe(32)},
    }
    rtc = {"udp_port": 0, "tcp_port": 0, "enable_loopback_candidate": True, **data.get("rtc", {})}
    return Config.parse({**defaults, **data, "rtc": rtc})
