"""A participant on npm's livekit-client in Debian's Firefox, told what to do by lines on its input (see
peers.py). WebDriver BiDi drives Firefox; the page comes from localhost of the same network namespace."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lines import answer_lines
from pages import serve_pages

START_TIMEOUT = 60.0
PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.audio.fake_frequency": 880,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    # Addresses as they are: nobody answers for mDNS names here.
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    # Nothing is fetched from the internet.
    "media.gmp-manager.updateEnabled": False,
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
}


class Firefox:
    """One page, by BiDi."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = ""

    async def open(self, address: str) -> None:
        await self._command("session.new", capabilities={})
        tree = await self._command("browsingContext.getTree", maxDepth=0)
        self._context = tree["contexts"][0]["context"]
        await self._command("browsingContext.navigate", context=self._context, url=address, wait="complete")

    async def call(self, method: str, arguments: list[Any]) -> Any:
        """What the page's `peer` answers."""
        done = await self._command(
            "script.callFunction",
            functionDeclaration=(
                "async (call) => { const [method, given] = JSON.parse(call);"
                " return JSON.stringify(await peer[method](...given)) ?? 'null'; }"
            ),
            arguments=[{"type": "string", "value": json.dumps([method, arguments])}],
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        if done["type"] == "exception":
            raise RuntimeError(done["exceptionDetails"]["text"])
        return json.loads(done["result"]["value"])

    async def _command(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(await self._socket.recv())
            if answer.get("id") == number:
                if answer["type"] == "error":
                    raise RuntimeError(f"{method}: {answer['error']}: {answer['message']}")
                return answer["result"]


def make_profile(directory: str) -> None:
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()]
    Path(directory, "user.js").write_text("".join(lines))


async def main() -> None:
    with serve_pages() as address, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        make_profile(profile)
        process = await asyncio.create_subprocess_exec(
            *("firefox-esr", "--headless", "--no-remote", "--profile", profile),
            *("--remote-debugging-port", "0", "about:blank"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr
        try:
            async with asyncio.timeout(START_TIMEOUT):
                endpoint = await find_endpoint(process.stderr)
            errors = asyncio.create_task(drain(process.stderr))
            async with connect(f"{endpoint}/session", max_size=None) as socket:
                firefox = Firefox(socket)
                await firefox.open(address)
                await answer_lines(firefox.call)
            errors.cancel()
        finally:
            process.kill()


async def find_endpoint(stream: asyncio.StreamReader) -> str:
    async for line in stream:
        if b"WebDriver BiDi listening on" in line:
            return line.decode().split()[-1]
    raise RuntimeError("Firefox ended")


async def drain(stream: asyncio.StreamReader) -> None:
    async for _ in stream:
        pass


if __name__ == "__main__":
    asyncio.run(main())
