"""Data packets, streams, calls and data tracks between roomful.rtc and PyPI's `livekit`, each way.

In a process of its own, since the latter may end its process on a fault.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "beside.py"


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    ran = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("way", ["roomful to livekit", "livekit to roomful"])
def test_each_sees_of_the_other_what_it_sees_of_itself(
    seen: dict[str, Any], way: str, encrypted: bool
) -> None:
    expected = seen["livekit to livekit, plain"]
    assert len(expected) > 20
    track = expected.index(["numbers", False, "ada"])
    expected = [*expected[:track], ["numbers", encrypted, "ada"], *expected[track + 1 :]]
    assert seen[f"{way}, {'encrypted' if encrypted else 'plain'}"] == expected
