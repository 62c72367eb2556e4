"""pytest plugin: the fixture `roomful_server`, a whole server on an event loop and thread of its own.

It works the same under plain pytest, pytest-asyncio and anyio, as it needs no event loop of the test's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from roomful.config import Config
    from roomful.server.embedded import Server

#: Seconds.
START_TIMEOUT = 10.0
CLOSE_TIMEOUT = 10.0


class ThreadedServer:
    """A `roomful.Server` in a thread. `url` and `token` may be used from any thread."""

    def __init__(self, config: Config | Mapping[str, Any] | None = None) -> None:
        self._config = config
        self._started: Future[Server] = Future()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="roomful-server", daemon=True)

    @property
    def server(self) -> Server:
        """Its coroutines belong to the server's own loop."""
        return self._started.result(timeout=START_TIMEOUT)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def keys(self) -> dict[str, str]:
        return self.server.keys

    def token(self, **claims: Any) -> str:
        """As `roomful.Server.token`."""
        return self.server.token(**claims)

    def start(self) -> None:
        """Returns when the server can be connected to; raises what kept it from starting."""
        self._thread.start()
        self._started.result(timeout=START_TIMEOUT)

    def close(self) -> None:
        """Returns when nothing of the server is left."""
        # A thread that has ended by itself has left the reason in `start`.
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=CLOSE_TIMEOUT)
        if self._thread.is_alive():
            raise RuntimeError(f"the server did not end within {CLOSE_TIMEOUT:.0f} s")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        from roomful.server.embedded import Server

        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with Server(self._config) as server:
                self._started.set_result(server)
                await self._stop.wait()
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)


@pytest.fixture
def roomful_server() -> Iterator[ThreadedServer]:
    """A fresh server for one test: `roomful_server.url`, `roomful_server.token(identity=…, room=…)`."""
    with ThreadedServer() as server:
        yield server
