"""PyPI's `livekit` against our server, in a process of its own: the SDK may end its process on a fault."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

import roomful

CALL = Path(__file__).parent / "tone_call.py"


@pytest.mark.parametrize("mode", ["single", "dual"])
def test_one_client_hears_the_tone_and_gets_the_data_of_another(mode: str) -> None:
    async def call() -> tuple[int | None, str, str]:
        async with roomful.Server() as server:
            tokens = [server.token(identity=identity, room="call") for identity in ("speaker", "listener")]
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(CALL), server.url, *tokens, mode,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, err = await asyncio.wait_for(process.communicate(), 60)
            return process.returncode, out.decode(), err.decode()

    code, out, err = asyncio.run(call())
    assert code == 0, err
    heard = json.loads(out.splitlines()[-1])
    assert abs(heard["hz"] - 440) <= 5
    assert (heard["data"], heard["topic"]) == ("hello", "greeting")
