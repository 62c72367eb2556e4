"""The page of `roomful dev`: two tabs on its link see, hear and chat with each other."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from chromium import Chromium
from playwright.async_api import Page
from servers import free_port

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

#: Where a picture of the page goes, to be looked at.
PICTURES = os.environ.get("ROOMFUL_PICTURES", "")
PERMISSIONS = ["camera", "microphone", "clipboard-read", "clipboard-write"]
START_TIMEOUT = 20.0
WAIT = 20_000.0  # Milliseconds.

#: The one other participant's video plays.
SEES = """
() => {
  const videos = [...document.querySelectorAll('[data-lk-local-participant="false"] video')];
  const plays = (video) =>
    !video.paused && video.videoWidth > 0 && video.getVideoPlaybackQuality().totalVideoFrames > 5;
  return videos.length === 1 && videos.every(plays);
}
"""
#: What an audio element plays is louder than -60 dB just now.
HEARS = """
() => {
  const [element] = [...document.querySelectorAll("audio")].filter((audio) => !audio.paused);
  if (!element) return false;
  if (!window.analyser) {
    const context = new AudioContext();
    window.analyser = new AnalyserNode(context);
    context.createMediaStreamSource(element.srcObject).connect(window.analyser);
  }
  const levels = new Float32Array(window.analyser.frequencyBinCount);
  window.analyser.getFloatFrequencyData(levels);
  return Math.max(...levels) > -60;
}
"""


@pytest_asyncio.fixture(loop_scope="module")
async def link() -> AsyncIterator[str]:
    """The link that `roomful dev` prints."""
    port, media = free_port("127.0.0.1"), free_port("127.0.0.1")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from roomful.cli import main; main()"),
        *("dev", "--port", str(port), "--rtc.udp_port", str(media)),
        env={**os.environ, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout
    try:
        async with asyncio.timeout(START_TIMEOUT):
            found = await _find_link(process.stdout)
        rest = asyncio.create_task(process.stdout.read())
        yield found
        process.terminate()
        async with asyncio.timeout(START_TIMEOUT):
            await process.wait()
        assert b"Traceback" not in await rest
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _find_link(output: asyncio.StreamReader) -> str:
    said = b""
    async for line in output:
        said += line
        if found := re.search(rb"http://localhost:\d+/\S*", line):
            return found[0].decode()
    raise AssertionError(f"roomful dev printed no link: {said.decode()}")


async def _join(chromium: Chromium, link: str, name: str) -> Page:
    page = await chromium.open(link, permissions=PERMISSIONS, viewport={"width": 1280, "height": 800})
    await page.get_by_placeholder("Username").fill(name)
    await page.get_by_role("button", name=re.compile("^Join")).click()
    await page.locator('[role=status][data-state="connected"]').wait_for(timeout=WAIT)
    return page


async def _picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=Path(PICTURES, f"{name}.png"))


async def test_two_tabs_see_hear_and_chat(chromium: Chromium, link: str) -> None:
    ada = await _join(chromium, link, "Ada")
    bob = await _join(chromium, link, "Bob")
    for page in (ada, bob):
        await page.wait_for_function(SEES, timeout=WAIT)
        await page.wait_for_function(HEARS, timeout=WAIT, polling=50)
    await _picture(bob, "grid")

    for page in (ada, bob):
        await page.get_by_role("button", name="Chat").click()
    for writer, reader, text in ((ada, bob, "hello Bob"), (bob, ada, "hello Ada")):
        await writer.locator(".lk-chat-form-input").fill(text)
        await writer.locator(".lk-chat-form-input").press("Enter")
        await reader.locator(".lk-message-body", has_text=text).wait_for(timeout=WAIT)
    await _picture(bob, "chat")

    await ada.get_by_role("button", name="Microphone").first.click()
    muted = '.lk-participant-tile[data-lk-local-participant="false"] [data-lk-muted="true"]'
    await bob.locator(muted).first.wait_for(timeout=WAIT, state="attached")

    await ada.get_by_role("button", name="Share screen").click()
    shared = '.lk-participant-tile[data-lk-local-participant="false"][data-lk-source="screen_share"] video'
    await bob.wait_for_function(
        "(shared) => document.querySelector(shared)?.getVideoPlaybackQuality().totalVideoFrames > 1",
        arg=shared,
        timeout=WAIT,
    )
    await _picture(bob, "screen")

    await ada.get_by_role("button", name="Leave").click()
    await ada.get_by_placeholder("Username").wait_for(timeout=WAIT)
    await bob.locator('.lk-participant-tile[data-lk-local-participant="false"]').wait_for(
        timeout=WAIT, state="detached"
    )


async def test_a_name_in_the_link_joins_at_once(chromium: Chromium, link: str) -> None:
    separator = "&" if "?" in link else "?"
    page = await chromium.open(f"{link}{separator}name=Ada", permissions=PERMISSIONS)
    await page.locator('[role=status][data-state="connected"]').wait_for(timeout=WAIT)
