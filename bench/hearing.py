"""Sound as it is heard over bad networks: roomful.rtc beside PyPI's `livekit`, at the same time.

Writes hearing.md and hearing.json into bench/results/. Takes ten minutes, and needs root for the
network: two namespaces, of which one holds the server and who speaks, the other those who listen. What comes
down to the latter is lost at random, and delayed by a relay. Each SDK listens to a speaker of each SDK.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from bisect import bisect_right
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import faults
from namespace import Side, open_link
from relay import relayed
from report import machine
from served import OURS, TCP_PORT, UDP_PORT, Served

RESULTS = Path(__file__).resolve().parent / "results"
PROGRAM = Path(__file__).resolve().parent / "hearing_program.py"
SDKS = {"livekit": "livekit.rtc", "roomful": "roomful.rtc"}
#: Percent of the datagrams, and milliseconds.
CONDITIONS = [(loss, jitter) for jitter in (0, 30) for loss in (0, 2, 10)]
JOINING_S, WARMUP_S = 12.0, 8.0

Figures = dict[str, float]


@dataclass(frozen=True)
class Condition:
    loss: int
    jitter: int

    def __str__(self) -> str:
        return f"{self.loss} % lost, jitter of {self.jitter} ms"


async def measure(condition: Condition, seconds: float) -> dict[str, dict[str, Figures]]:
    """Listener → speaker → figures."""
    async with AsyncExitStack() as stack:
        link = stack.enter_context(open_link())
        server = Served(OURS, link.server)
        await stack.enter_async_context(server.running())
        if condition.jitter:
            # It goes both ways; nobody speaks upward.
            await stack.enter_async_context(relayed(link, UDP_PORT, jitter_ms=condition.jitter))
        # Over TCP nothing is lost.
        stack.enter_context(faults.block_tcp(link, TCP_PORT))
        if condition.loss:
            some = f"meta l4proto udp numgen random mod 1000 < {condition.loss * 10}"
            stack.enter_context(faults.drop(link, downward=some, upward="meta l4proto 254"))
        whole = JOINING_S + WARMUP_S + seconds
        ends = {
            (speaker, listener): run(server, speaker, listener, link.client, seconds if listener else whole)
            for speaker in SDKS
            for listener in (None, *SDKS)
        }
        found = dict(zip(ends, await asyncio.gather(*ends.values()), strict=True))
    return {
        SDKS[listener]: {
            SDKS[speaker]: figures(found[speaker, None], found[speaker, listener]) for speaker in SDKS
        }
        for listener in SDKS
    }


async def run(
    server: Served, speaker: str, listener: str | None, client: Side, seconds: float
) -> dict[str, Any]:
    side, role = (client, "hear") if listener else (server.side, "speak")
    sdk = listener or speaker
    token = server.token(identity=f"{sdk} {role}", room=speaker)
    command = side.command(sys.executable, str(PROGRAM), sdk, role, server.url, token, str(seconds))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(seconds + 60):
            said, _ = await process.communicate()
        return dict(json.loads(said.splitlines()[-1]))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def figures(speaker: dict[str, Any], listener: dict[str, Any]) -> Figures:
    captured = speaker["captured"]
    delays = []
    for at in listener["heard"]:
        if (index := bisect_right(captured, at)) and at - captured[index - 1] < 0.9:
            delays.append((at - captured[index - 1]) * 1_000)
    buffered = listener["jitter_buffer_delay"] / max(listener["jitter_buffer_emitted_count"], 1)
    concealed = listener["concealed_samples"] / max(listener["total_samples_received"], 1)
    return {
        "heard_ms": round(median(delays), 1),
        "heard_worst_ms": round(sorted(delays)[int(len(delays) * 0.9)], 1),
        "buffered_ms": round(buffered * 1_000, 1),
        "concealed_percent": round(concealed * 100, 2),
        "tones": len(delays),
    }


def lateness(turn: dict[str, dict[str, Figures]]) -> float:
    return sum(one["heard_ms"] for listener in turn.values() for one in listener.values())


def page(results: dict[str, Any]) -> str:
    lines = [
        "# Sound over bad networks",
        "",
        f"On {results['when']}, {results['machine']}.",
        "All listeners at the same time, from one speaker of each SDK; of several turns that in which least",
        "was late. Heard: from `capture_frame` to the frame of an `AudioStream`, median of a tone a second.",
        "Concealed: of the time that was heard, by each SDK's own statistics.",
        "",
        "| lost | jitter | speaker | heard by livekit.rtc | by roomful.rtc | concealed by livekit.rtc "
        "| by roomful.rtc |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in results["conditions"]:
        theirs, ours = (one["figures"][sdk] for sdk in SDKS.values())
        for speaker in SDKS.values():
            a, b = theirs[speaker], ours[speaker]
            lines.append(
                f"| {one['loss']} % | {one['jitter']} ms | {speaker} "
                f"| {a['heard_ms']:.0f} ms | {b['heard_ms']:.0f} ms "
                f"| {a['concealed_percent']:.1f} % | {b['concealed_percent']:.1f} % |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long each condition is measured")
    parser.add_argument("--rounds", type=int, default=2, help="turns; that of the quietest machine counts")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results: dict[str, Any] = {
        "machine": machine(),
        "when": time.strftime("%Y-%m-%d"),
        "conditions": [],
    }
    for loss, jitter in CONDITIONS:
        condition = Condition(loss, jitter)
        turns = [asyncio.run(measure(condition, options.seconds)) for _ in range(options.rounds)]
        found = min(turns, key=lateness)
        print(condition, json.dumps(turns), flush=True)
        results["conditions"].append({"loss": loss, "jitter": jitter, "figures": found})
        (options.out / "hearing.json").write_text(json.dumps(results, indent=1) + "\n")
        (options.out / "hearing.md").write_text(page(results))


if __name__ == "__main__":
    main()
