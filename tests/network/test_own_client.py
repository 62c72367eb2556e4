"""Faults of network and server under our own client, with PyPI's `livekit` at the other end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from matrix import OWN, Cell, Outcome, play_all
from served import OURS

AT_ONCE = 4
#: What it is told of, by fault: by a resume, of which nobody else sees anything, or by a new beginning.
SILENT: list[list[Any]] = [["reconnected"]]
NOTICED: list[list[Any]] = [
    ["connection_state_changed", 2],
    ["reconnecting"],
    ["connection_state_changed", 1],
    ["reconnected"],
]
RESUMED = {
    "signal reset": [SILENT],
    "both gone 6 s": [SILENT, NOTICED],
    "address changed": [SILENT, NOTICED],
}
CELLS = [Cell(fault, OWN, mode) for fault in RESUMED for mode in ("single", "dual")]


@pytest.fixture(scope="module")
def outcomes(networks: None) -> dict[Cell, Outcome]:
    found = asyncio.run(play_all(OURS, CELLS, at_once=AT_ONCE))
    return {cell: of[0] for cell, of in found.items()}


@pytest.mark.timeout(330)
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_session_outlives_a_fault(outcomes: dict[Cell, Outcome], cell: Cell) -> None:
    outcome = outcomes[cell]
    assert outcome.recovered is not None
    # After a resume somebody's listening is told again: it may not have come.
    events = [it for it in outcome.client.events if it[0] != "local_track_subscribed"]
    assert events in RESUMED[cell.fault]
    assert outcome.observer.events == []
    for side in (outcome.client, outcome.observer):
        assert (side.lost, side.doubled, side.disordered, side.refused) == (0, 0, 0, 0)
