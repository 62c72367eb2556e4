"""Rooms that come and go in unusual ways leave nothing behind, with all warnings as errors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lifecycle import SCENARIOS
from servers import Server, open_server

PROGRAM = Path(__file__).parent / "lifecycle.py"
#: Seconds, on a machine that is busy with other things.
LONGEST = 150


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with open_server() as server:
        yield server


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_left_behind(server: Server, name: str) -> None:
    guests = 100 if name == "a_hundred_rooms" else 6
    tokens = [server.token(identity=str(guest), room=name) for guest in range(guests)]
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", PROGRAM, name, server.url, *tokens],
        capture_output=True,
        text=True,
        timeout=LONGEST,
        # Tracebacks of crashes of the native side, too.
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
