"""Peers on npm's livekit-client in Debian's Chromium."""

from __future__ import annotations

from typing import Any

from peers import Peer
from playwright.async_api import Browser, BrowserContext, Error, Page, WebSocket
from servers import ROOM, Server

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-pings",
]


class Chromium:
    """One browser; each peer is a page in a profile of its own."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser = browser
        self.address = address
        self.signal_paths: list[str] = []
        self._contexts: list[BrowserContext] = []

    async def open(self, address: str, **options: Any) -> Page:
        context = await self.browser.new_context(**options)
        self._contexts.append(context)
        page = await context.new_page()
        page.on("console", lambda message: print(f"[{message.type}] {message.text}"[:500]))
        page.on("pageerror", lambda error: print(f"[error] {error}"))
        page.on("websocket", self._notice_signalling)
        await page.goto(address)
        return page

    async def join(
        self, server: Server, identity: str, *, single: bool = True, room: str = ROOM, **options: Any
    ) -> Peer:
        """Joins by /rtc/v1 with a single peer connection, or by /rtc with two."""
        grants = options.pop("grants", {})
        token = server.token(identity=identity, room=room, **grants)
        peer = await self.open_peer(identity)
        await peer.connect(server.url, token, {"singlePeerConnection": single, **options})
        return peer

    async def open_peer(self, identity: str) -> Peer:
        """A page that has not joined yet."""
        page = await self.open(self.address)
        await page.wait_for_function("window.peer !== undefined")

        async def calling(method: str, arguments: list[Any]) -> Any:
            try:
                return await page.evaluate("([method, given]) => peer[method](...given)", [method, arguments])
            except Error as error:
                raise AssertionError(f"{identity}: {error.message}") from None

        return Peer(identity, calling)

    def _notice_signalling(self, socket: WebSocket) -> None:
        self.signal_paths.append(socket.url.split("?")[0].split("/", 3)[3])

    async def close_pages(self) -> None:
        for context in self._contexts:
            await context.close()
        self._contexts.clear()
        self.signal_paths.clear()
