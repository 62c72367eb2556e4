"""Reliable data while signalling and media break at random, together and each alone."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from random import Random

import faults
import pytest
from matrix import Cell, Outcome, Play, break_call
from namespace import open_link
from served import OURS, SIGNAL_PORT, Served
from table import returned

#: Seconds between two messages, and how long it goes on, so that there are a thousand each way.
INTERVAL, BREAKING = 0.02, 20.0
#: Seconds of one break, and between two. A media connection is not given up so soon.
BREAK, PAUSE = (0.2, 4.0), (0.5, 2.0)
CELLS = [Cell("breaks at random", "python", "dual"), Cell("breaks at random", "chromium", "single")]


async def break_at_random(play: Play) -> None:
    random = Random(5)
    loop = asyncio.get_running_loop()
    end = loop.time() + BREAKING
    while loop.time() < end:
        kinds = random.choice((("media",), ("signal",), ("media", "signal")))
        with ExitStack() as broken:
            if "media" in kinds:
                broken.enter_context(faults.block_udp(play.link))
            if "signal" in kinds:
                broken.enter_context(faults.reset_tcp(play.link, SIGNAL_PORT))
            await asyncio.sleep(random.uniform(*BREAK))
        await asyncio.sleep(random.uniform(*PAUSE))


async def break_calls() -> dict[Cell, Outcome]:
    """At once, each in a network of its own."""
    with ExitStack() as networks:
        links = [networks.enter_context(open_link()) for _ in CELLS]
        outcomes = await asyncio.gather(
            *(
                break_call(Served(OURS, link.server), link, cell, break_at_random, INTERVAL)
                for cell, link in zip(CELLS, links, strict=True)
            )
        )
    return dict(zip(CELLS, outcomes, strict=True))


@pytest.fixture(scope="module")
def outcomes(networks: None) -> dict[Cell, Outcome]:
    return asyncio.run(break_calls())


@pytest.mark.timeout(150)
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_thousand_messages_each_way_come_once_and_in_order(
    outcomes: dict[Cell, Outcome], cell: Cell
) -> None:
    outcome = outcomes[cell]
    assert returned(cell.client, outcome.client.events) == "resumes"
    assert outcome.observer.events == []
    for side in (outcome.client, outcome.observer):
        assert (side.lost, side.doubled, side.disordered, side.refused) == (0, 0, 0, 0)
