"""Compares roomful.rtc with PyPI's `livekit`: CPU, memory, joins, import, size, by turns in one run.

Writes client.md and client.json into bench/results/. Takes about ten minutes; `--only watch` measures one
load and keeps the others' figures. The server is ours, the other end of the room PyPI's SDK for both; these
two have one core and the measured program the other. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import candidates
from candidates import LOAD_CORE, SERVER_CORE
from load import Load
from process import cpu_seconds, resident_bytes
from report import machine, number
from servers import KEY, SECRET

import roomful

RESULTS = Path(__file__).resolve().parent / "results"
PROGRAM = Path(__file__).resolve().parent / "client_program.py"
OURS, THEIRS = "roomful.rtc", "livekit.rtc"
SETTLE_S, MEASURED_S = 3.0, 10.0
TRACKS, JOINS = 50, 10

Figures = dict[str, float]


class Stage:
    """A server and the programs in its one room."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self._url, self._stack = url, stack

    def enter(self, sdk: str, role: str, count: int = 1, core: int = SERVER_CORE) -> tuple[Load, int]:
        return self._stack.enter_context(self._program(sdk, role, count, core))

    @contextmanager
    def _program(self, sdk: str, role: str, count: int, core: int) -> Iterator[tuple[Load, int]]:
        builder = roomful.AccessToken(KEY, SECRET).with_identity(f"{role} on {core}").with_room("bench")
        token = builder.to_jwt()
        command = [
            "taskset",
            "--cpu-list",
            str(core),
            sys.executable,
            str(PROGRAM),
            sdk,
            role,
            self._url,
            token,
        ]
        process = subprocess.Popen(
            [*command, "--count", str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            yield Load(process), process.pid
        finally:
            process.kill()
            process.wait()


def used(pid: int) -> float:
    """Percent of a core while packets are counted."""
    time.sleep(SETTLE_S)
    before, start = cpu_seconds(pid), time.monotonic()
    time.sleep(MEASURED_S)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - start)


def receiving(stage: Stage, sdk: str, other: str, tracks: int = 1) -> Figures:
    program, pid = stage.enter(sdk, "follow", tracks, LOAD_CORE)
    program.until("listening")
    stage.enter(THEIRS if tracks == 1 else OURS, other, tracks)  # PyPI's takes minutes to publish fifty
    program.until("ready")
    time.sleep(SETTLE_S)
    program.go_on()
    cpu = used(pid)
    memory = resident_bytes(pid)
    program.go_on()
    frames = program.until("measured")["frames_per_s"]
    return {"cpu_percent": cpu, "rss_mb": memory / 1e6, "frames_per_s": frames}


def sending(stage: Stage, sdk: str, role: str) -> Figures:
    other, _ = stage.enter(THEIRS, "follow")
    other.until("listening")
    program, pid = stage.enter(sdk, role, core=LOAD_CORE)
    program.until("ready")
    other.until("ready")
    cpu = used(pid)
    return {"cpu_percent": cpu, "rss_mb": resident_bytes(pid) / 1e6}


def joining(stage: Stage, sdk: str) -> Figures:
    stage.enter(THEIRS, "speak")[0].until("ready")
    program, _ = stage.enter(sdk, "join", JOINS, LOAD_CORE)
    joins = [program.until("joined") for _ in range(JOINS)]
    return {name: median(join[name] for join in joins) for name in ("connect_ms", "first_frame_ms")}


def importing(stage: Stage, sdk: str) -> Figures:
    """CPU of a Python that imports the SDK, less that of one which does not."""

    def cost(program: str) -> float:
        timed = f"import time; {program}; print(time.process_time())"
        compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        command = [sys.executable, "-c", timed]
        return min(float(subprocess.check_output(command, text=True, env=compiled)) for _ in range(5))

    return {"import_ms": 1e3 * (cost(f"import {sdk}") - cost("pass"))}


def installed(stage: Stage, sdk: str) -> Figures:
    """What pip installs for it, with what it needs, in MB on disk."""
    name = sdk.partition(".")[0]
    return {"install_mb": sum(map(_size, _needed(name, set()))) / 1e6}


def _needed(name: str, seen: set[str]) -> set[str]:
    from packaging.requirements import Requirement

    if name not in seen:
        seen.add(name)
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                _needed(requirement.name.lower(), seen)
    return seen


def _size(name: str) -> int:
    if name == "roomful":  # Installed from here: its files are not in its list.
        home = Path(roomful.__file__).parent
        paths = [path for path in home.rglob("*") if "__pycache__" not in path.parts]
    else:
        paths = [Path(str(file.locate())) for file in metadata.files(name) or () if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.is_file())


Measure = Callable[[Stage, str], Figures]
#: name → (title, how, figure → what it is called)
LOADS: dict[str, tuple[str, Measure, dict[str, str]]] = {
    "join": (
        "connect, and hear the first frame of a track",
        joining,
        {"connect_ms": "connected, ms", "first_frame_ms": "first frame, ms"},
    ),
    "hear": (
        "read one audio track",
        lambda stage, sdk: receiving(stage, sdk, "speak"),
        {"cpu_percent": "CPU, % of a core", "rss_mb": "memory, MB"},
    ),
    "hear50": (
        f"read {TRACKS} audio tracks",
        lambda stage, sdk: receiving(stage, sdk, "speak", TRACKS),
        {"cpu_percent": "CPU, % of a core", "rss_mb": "memory, MB"},
    ),
    "watch": (
        "read a video track, VP8, 720p, 30 frames/s, 2 Mbit/s",
        lambda stage, sdk: receiving(stage, sdk, "film"),
        {"cpu_percent": "CPU, % of a core", "rss_mb": "memory, MB", "frames_per_s": "frames/s"},
    ),
    "speak": (
        "publish one audio track",
        lambda stage, sdk: sending(stage, sdk, "speak"),
        {"cpu_percent": "CPU, % of a core", "rss_mb": "memory, MB"},
    ),
    "film": (
        "publish a video track, VP8, 720p, 30 frames/s, 2 Mbit/s",
        lambda stage, sdk: sending(stage, sdk, "film"),
        {"cpu_percent": "CPU, % of a core", "rss_mb": "memory, MB"},
    ),
    "import": ("import the SDK", importing, {"import_ms": "CPU, ms"}),
    "install": ("what is installed, with all it needs", installed, {"install_mb": "MB"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each SDK; the best one counts")
    parser.add_argument("--only", action="append", choices=LOADS, help="a load by name; again for more")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()

    candidates.check_cores()
    file = options.out / "client.json"
    results: dict[str, Any] = {"machine": machine(), "when": time.strftime("%Y-%m-%d"), "turns": {}}
    if file.exists() and (earlier := json.loads(file.read_text()))["machine"] == results["machine"]:
        results["turns"] = earlier["turns"]
    for name in options.only or LOADS:
        turns: dict[str, list[Figures]] = {THEIRS: [], OURS: []}
        for turn in range(options.rounds):
            for sdk, figures in turns.items():
                with candidates.ours().running() as server, ExitStack() as stack:
                    figures.append(LOADS[name][1](Stage(server.url, stack), sdk))
                shown = ", ".join(f"{figure} {value:.4g}" for figure, value in figures[-1].items())
                print(f"{name} {turn + 1} {sdk}: {shown}", flush=True)
        results["turns"][name] = turns
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")
    page = render(results)
    (options.out / "client.md").write_text(page)
    print(page)


def render(results: dict[str, Any]) -> str:
    lines = [
        f"# roomful.rtc beside PyPI's livekit {metadata.version('livekit')}",
        "",
        f"{results['when']}, {results['machine']}.",
        "",
        "By turns, best of the turns; the server (ours) and the other end of the room (PyPI's SDK) on one",
        "core, the measured program on the other. CPU is all that the process used, kernel included.",
        "",
        "| | | livekit | roomful | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, (title, _, shown) in LOADS.items():
        turns = results["turns"].get(name)
        for figure, unit in shown.items() if turns else ():
            best = max if figure == "frames_per_s" else min
            theirs, ours = (best(turn[figure] for turn in turns[sdk]) for sdk in (THEIRS, OURS))
            lines.append(f"| {title} | {unit} | {number(theirs)} | {number(ours)} | {ours / theirs:.2f} |")
            title = ""
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
