"""The fixture under each way of running tests, in a pytest of its own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

PREFACE = """
import asyncio
import threading
import pytest
from websockets.asyncio.client import connect

async def check(server):
    token = await asyncio.to_thread(server.token, identity="ada", room="demo")
    async with connect(f"{server.url}/rtc?access_token={token}") as client:
        assert await client.recv()
"""
STYLES = {
    "plain pytest": "def test_it(roomful_server):\n    asyncio.run(check(roomful_server))",
    "pytest-asyncio": (
        "@pytest.mark.asyncio\nasync def test_it(roomful_server):\n    await check(roomful_server)"
    ),
    "anyio": (
        "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
        "@pytest.mark.anyio\nasync def test_it(roomful_server):\n    await check(roomful_server)"
    ),
}


@pytest.mark.parametrize("style", STYLES)
def test_a_server_for_one_test(pytester: pytest.Pytester, style: str) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error")
    after = "\ndef test_nothing_is_left():\n    assert threading.active_count() == 1\n"
    pytester.makepyfile(PREFACE + STYLES[style] + after)
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(passed=2)
