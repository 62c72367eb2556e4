"""Plays scenarios in a process of their own, so that no crash of the client's library ends the tests.

Of each there is a line of output: `RESULT {"scenario": name, "people": [[identity, events], …]}`, or
`FAILED {"scenario": name, "why": traceback}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import traceback
import uuid
from typing import Any

from . import scenarios  # noqa: F401
from .stage import SCENARIOS, Stage


async def play(name: str, stage: Stage, limit: float) -> None:
    async with asyncio.timeout(limit):
        await SCENARIOS[name].play(stage)
        for person in stage.people:
            person.check()
        people = [[one.identity, one.events] for one in stage.people]
        print("RESULT", json.dumps({"scenario": name, "people": people}))
        sys.stdout.flush()
        await stage.close()


async def play_here(options: argparse.Namespace) -> bool:
    """At a server in this process."""
    import roomful

    async with roomful.Server(keys={options.key: options.secret}) as server:
        options.url = server.url
        return await play_all(options, server)


async def play_all(options: argparse.Namespace, server: Any = None) -> bool:
    """At most so many at once; whether all came to their end."""
    turns = asyncio.Semaphore(options.at_once)

    async def play_one(name: str) -> bool:
        async with turns:
            stage = Stage(
                options.url,
                options.key,
                options.secret,
                options.mode == "single",
                f"room-{uuid.uuid4().hex[:8]}",
                server,
            )
            try:
                await play(name, stage, options.limit)
            except Exception:
                print("FAILED", json.dumps({"scenario": name, "why": traceback.format_exc()}))
                return False
            return True

    return all(await asyncio.gather(*map(play_one, options.scenario)))


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("key", "secret", "mode"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--url", default="", help="of the server; without one it is in this process")
    parser.add_argument("--scenario", required=True, nargs="+")
    parser.add_argument("--limit", type=float, required=True, help="seconds, of each scenario")
    parser.add_argument("--at-once", type=int, default=1)
    code = 1
    try:
        options = parser.parse_args()
        code = 0 if asyncio.run(play_all(options) if options.url else play_here(options)) else 1
    except BaseException:
        print(traceback.format_exc())
    sys.stdout.flush()
    # Not through the interpreter's end, where the library may wait for threads of a failed connection.
    os._exit(code)


if __name__ == "__main__":
    main()
