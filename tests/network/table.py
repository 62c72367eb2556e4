"""Writes the matrix from the records into docs/reconnecting.md, between its two marks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matrix import CLIENTS, FAULTS, MODES, Cell, load
from served import OURS, REFERENCE

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "reconnecting.md"
MARKS = "<!-- the matrix: written by `make table` -->", "<!-- end of the matrix -->"
NAMES = {"python": "PyPI `livekit`", "chromium": "livekit-client"}
#: What clients show of a full reconnect and do not of a resume.
ANEW = {"reconnecting": "chromium", "local_track_republished": "python"}
#: From what costs nobody anything to what loses all.
WAYS = ("stays", "resumes", "joins anew", "is gone")

Outcome = dict[str, Any]


def returned(client: str, events: Iterable[list[Any]]) -> str:
    """How somebody came back, by its events."""
    names = [name for name, *_ in events]
    if "disconnected" in names:
        return "is gone"
    if any(ANEW.get(name) == client for name in names):
        return "joins anew"
    return "resumes" if {"reconnecting", "signalReconnecting"} & set(names) else "stays"


def seen(events: Iterable[list[Any]]) -> str:
    """What the room saw of the client."""
    names = [name for name, *_ in events]
    if "participant_disconnected" in names:
        return "leaves, returns" if "participant_connected" in names else "leaves"
    return "nothing" if not names else "tracks change" if any("track" in name for name in names) else "states"


def row(cell: Cell, record: dict[str, list[Outcome]]) -> str:
    runs = record.get(str(cell))
    if not runs:
        return "| - " * 4
    most = {
        who: max(runs, key=lambda run, who=who: float(run[who]["still"]))[who]
        for who in ("client", "observer")
    }
    client, observer = most["client"], most["observer"]
    lost = f"{observer['lost']} / {client['lost']}"
    if doubled := observer["doubled"] + client["doubled"]:
        lost += f", {doubled} twice"
    return (
        f"| {client['still']:.1f} / {observer['still']:.1f} | {returned(cell.client, client['events'])} "
        f"| {seen(observer['events'])} | {lost} "
    )


def table() -> str:
    ours, theirs = load(OURS), load(REFERENCE)
    lines = [
        "| what happens | client | roomful: still, s | it | others see | lost | livekit-server: still, s "
        "| it | others see | lost |",
        "|---" * 10 + "|",
    ]
    for fault in FAULTS:
        for client in CLIENTS:
            for mode in MODES:
                cell = Cell(fault, client, mode)
                lines.append(f"| {fault} | {NAMES[client]}, {mode} {row(cell, ours)}{row(cell, theirs)}|")
    return "\n".join(lines)


def main() -> None:
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    PAGE.write_text(f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
