"""A participant on npm's livekit-client in Debian's Chromium, told what to do by lines on its input (see
peers.py), for where the browser has to run elsewhere. The page comes from localhost of the same network
namespace. Arguments are Chromium's."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from chromium import ARGUMENTS, CHROMIUM
from lines import answer_lines
from pages import serve_pages


async def main(*options: str, script: Path | None = None, ready: str = "window.peer !== undefined") -> None:
    """With a script of its own the page is ready when that says so."""
    with serve_pages() as address:
        async with async_playwright() as playwright:
            arguments = [*ARGUMENTS, *options]
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
            page = await browser.new_page()
            page.on("console", lambda message: print(f"[{message.type}] {message.text}"[:500], flush=True))
            await page.goto(address)
            if script:
                await page.add_script_tag(path=script, type="module")
            await page.wait_for_function(ready)

            async def call(method: str, arguments: list[Any]) -> Any:
                return await page.evaluate("([method, given]) => peer[method](...given)", [method, arguments])

            await answer_lines(call)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
