"""The results as a page with plots: best of the turns, as ratios to livekit-server."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candidates import OURS, THEIRS
from scenarios import Figures, Scenario

#: Figures of the table, with their units; the others are in the raw results.
SHOWN = {
    "cpu_us": "CPU per delivery, µs",
    "latency_p50_ms": "latency p50, ms",
    "latency_p99_ms": "latency p99, ms",
    "lost_percent": "lost, %",
    "signal_ms": "signal join, ms",
    "first_audio_ms": "first audio, ms",
    "first_keyframe_ms": "first key frame, ms",
    "slope_kb": "memory for one more, kB",
    "full_mb": "memory when full, MB",
    "after_mb": "memory 30 s after all left, MB",
}


@dataclass
class Results:
    machine: str
    when: str
    floor: dict[str, float]
    #: scenario → server → figures of each turn.
    turns: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)

    def add(self, scenario: str, server: str, figures: Figures) -> None:
        self.turns.setdefault(scenario, {}).setdefault(server, []).append(figures)

    def best(self, scenario: str, server: str) -> Figures:
        """Each figure at its smallest: what else ran on the machine only ever adds."""
        turns = self.turns.get(scenario, {}).get(server, [])
        return {name: min(turn[name] for turn in turns) for name in (turns[0] if turns else ())}

    def keep(self, file: Path, scenarios: set[str]) -> None:
        """Takes those loads' figures from an earlier report, if it is this machine's."""
        if file.exists() and (earlier := json.loads(file.read_text()))["machine"] == self.machine:
            self.turns |= {name: turns for name, turns in earlier["turns"].items() if name in scenarios}

    def as_json(self) -> dict[str, Any]:
        return {"machine": self.machine, "when": self.when, "floor_ns": self.floor, "turns": self.turns}


def write(folder: Path, results: Results, scenarios: Sequence[Scenario]) -> None:
    lines = [
        "# roomful beside livekit-server 1.13.5",
        "",
        f"{results.when}, {results.machine}.",
        "",
        "Each server is pinned to one core and the load (`crates/load`, on str0m) to the other; by turns,",
        "best of the turns. CPU is all that the process used, kernel included, for each packet or message",
        "that reached a subscriber. Raw figures: results.json.",
        "",
        "This machine's floor, ns for a datagram of 1,200 bytes:",
        "",
        "| " + " | ".join(results.floor) + " |",
        "|" + "---|" * len(results.floor),
        "| " + " | ".join(f"{cost:,.0f}" for cost in results.floor.values()) + " |",
        "",
    ]
    for scenario in scenarios:
        lines += [f"## {scenario.title}", "", *_table(results, scenario), ""]
    plots = _plot(folder, results, scenarios)
    lines += [f"![{name}]({name})" for name in plots]
    (folder / "report.md").write_text("\n".join(lines).rstrip() + "\n")


def _table(results: Results, scenario: Scenario) -> list[str]:
    ours, theirs = results.best(scenario.name, OURS), results.best(scenario.name, THEIRS)
    lines = [f"| | {THEIRS} | {OURS} | ratio | aim |", "|---|---|---|---|---|"]
    for name, value in ours.items():
        if name not in SHOWN:
            continue
        other = theirs.get(name)
        ratio = f"{value / other:.2f}" if other else "-"
        aim = f"≤ {scenario.targets[name]:.2f}" if name in scenario.targets else ""
        lines.append(f"| {SHOWN[name]} | {number(other)} | {number(value)} | {ratio} | {aim} |")
    return lines


def machine() -> str:
    """What this machine is, as the reports say it."""
    processor = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    return f"{processor}, {os.cpu_count()} cores, Linux {platform.release()}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _plot(folder: Path, results: Results, scenarios: Sequence[Scenario]) -> list[str]:
    """A picture for each figure that has an aim: every turn as a point, the best as a bar."""
    from matplotlib.figure import Figure

    names = []
    for figure_name in sorted({name for scenario in scenarios for name in scenario.targets}):
        rows = [scenario for scenario in scenarios if figure_name in scenario.targets]
        picture = Figure(figsize=(8, 1 + 0.8 * len(rows)), layout="constrained")
        axes = picture.subplots()
        for row, scenario in enumerate(rows):
            for server, offset, colour in ((THEIRS, 0.2, "#9aa5b1"), (OURS, -0.2, "#2f6fde")):
                values = [turn[figure_name] for turn in results.turns.get(scenario.name, {}).get(server, [])]
                if values:
                    label = server if row == 0 else None
                    axes.barh(row + offset, min(values), height=0.36, color=colour, label=label)
                    axes.plot(values, [row + offset] * len(values), "k.", markersize=3)
        axes.set_yticks(range(len(rows)), [scenario.name for scenario in rows])
        axes.invert_yaxis()
        axes.set_xlabel(SHOWN[figure_name])
        axes.legend()
        picture.savefig(folder / f"{figure_name}.svg", metadata={"Date": None})
        names.append(f"{figure_name}.svg")
    return names
