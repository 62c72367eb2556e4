from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from chromium import ARGUMENTS, CHROMIUM, Chromium
from pages import serve_pages
from playwright.async_api import async_playwright


@pytest.fixture(scope="session")
def page_address() -> Iterator[str]:
    with serve_pages() as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(page_address: str) -> AsyncIterator[Chromium]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield Chromium(launched, page_address)
        await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def chromium(browser: Chromium) -> AsyncIterator[Chromium]:
    """The module's browser, without pages of another test."""
    yield browser
    await browser.close_pages()
