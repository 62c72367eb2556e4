"""A participant on npm's livekit-client in Debian's Chromium, told what to do by lines on its input (see
peers.py), for where the browser has to run elsewhere. The page comes from localhost of the same network
namespace. Arguments are Chromium's."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from playwright.async_api import Error, Page, async_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from chromium import ARGUMENTS, CHROMIUM
from pages import serve_pages


async def main() -> None:
    with serve_pages() as address:
        async with async_playwright() as playwright:
            arguments = [*ARGUMENTS, *sys.argv[1:]]
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
            page = await browser.new_page()
            page.on("console", lambda message: print(f"[{message.type}] {message.text}"[:500], flush=True))
            await page.goto(address)
            await page.wait_for_function("window.peer !== undefined")
            await answer_lines(page)
            await browser.close()


async def answer_lines(page: Page) -> None:
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        request = json.loads(line)
        call = [request["method"], request["arguments"]]
        try:
            answer = {"result": await page.evaluate("([method, given]) => peer[method](...given)", call)}
        except Error as error:
            answer = {"error": error.message}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
