"""Plays one scenario in a process of its own, so that no crash of the client's library ends the tests.

Its last line of output is `RESULT {"people": [[identity, events], …]}`, or `FAILED` with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import traceback
import uuid

from . import scenarios  # noqa: F401
from .stage import SCENARIOS, Stage


async def play(name: str, stage: Stage, limit: float) -> None:
    async with asyncio.timeout(limit):
        await SCENARIOS[name].play(stage)
        for person in stage.people:
            person.check()
        print("RESULT", json.dumps({"people": [[one.identity, one.events] for one in stage.people]}))
        sys.stdout.flush()
        await stage.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("url", "key", "secret", "mode", "scenario"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--limit", type=float, required=True, help="seconds")
    options = parser.parse_args()
    stage = Stage(
        options.url, options.key, options.secret, options.mode == "single", f"room-{uuid.uuid4().hex[:8]}"
    )
    code = 0
    try:
        asyncio.run(play(options.scenario, stage, options.limit))
    except BaseException:
        print("FAILED", traceback.format_exc())
        code = 1
    sys.stdout.flush()
    # Not through the interpreter's end, where the library may wait for threads of a failed connection.
    os._exit(code)


if __name__ == "__main__":
    main()
