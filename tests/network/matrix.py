"""The kill matrix: what official clients and their room notice when the network or the server fails.

`matrix.py` plays every cell with our server, each in a network of its own, and writes record/roomful.json;
`--server livekit-server` does so with that one. Words choose cells: `matrix.py signal python`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faults
from namespace import Link, open_link
from peers import Peer, run_program
from python.sdk import VARIABLE
from served import OURS, REFERENCE, SIGNAL_PORT, TCP_PORT, TURN_PORT, Served

HERE = Path(__file__).resolve().parent
RECORD = HERE / "record"
CLIENTS = {"python": "witness.py", "chromium": "browser_witness.py"}
#: Our own client is on the same program.
OWN = "roomful"
PROGRAMS = {**CLIENTS, OWN: CLIENTS["python"]}
MODES = ("single", "dual")
#: Seconds between two numbered messages.
INTERVAL = 0.1
#: Seconds of a quiet call before a fault and after it.
BEFORE, AFTER = 2.0, 3.0
#: Seconds after the end of a fault in which all must work again, and for the last messages to come.
RECOVERY, FLUSH = 90.0, 5.0
#: What may run at once, and what a cell with that client takes of it.
AT_ONCE = 6
WEIGHT = {"python": 1, "chromium": 2, OWN: 1}
#: Clients that ended without a word: they start, join and hear each other first.
ATTEMPTS = 2


@dataclass(frozen=True, order=True)
class Cell:
    fault: str
    client: str
    mode: str

    def __str__(self) -> str:
        return f"{self.fault} {self.client} {self.mode}"


@dataclass
class Side:
    """What one of the two noticed from the fault on."""

    #: Seconds without the other's sound, in all.
    still: float
    #: In order, as [name, about, …].
    events: list[list[Any]]
    #: Of the other's reliable messages: never came, came again, came after a later one.
    lost: int
    doubled: int
    disordered: int
    #: Own messages that its client would not send.
    refused: int


@dataclass
class Outcome:
    #: Seconds from the fault until signalling and media worked both ways; None if they never did.
    recovered: float | None
    #: For how long the fault lasted: a server's own start is part of it.
    lasted: float
    client: Side
    observer: Side


@dataclass
class Play:
    """A cell that is being played."""

    link: Link
    server: Served


Fault = Callable[[Play], Awaitable[None]]


# ---- the faults


async def _reset_signal(play: Play) -> None:
    with faults.reset_tcp(play.link, SIGNAL_PORT):
        await asyncio.sleep(6)  # Longer than between two pings.


async def _refuse_signal(play: Play) -> None:
    with faults.refuse_tcp(play.link, SIGNAL_PORT):
        await asyncio.sleep(6)


async def _block_signal(play: Play) -> None:
    with faults.block_tcp(play.link, SIGNAL_PORT):
        await asyncio.sleep(30)


async def _block_media(play: Play) -> None:
    with faults.block_udp(play.link):
        await asyncio.sleep(20)


async def _lose_both(play: Play) -> None:
    with faults.refuse_tcp(play.link, SIGNAL_PORT, TCP_PORT), faults.block_udp(play.link):
        await asyncio.sleep(6)


async def _change_address(play: Play) -> None:
    faults.change_address(play.link)


async def _kill_server(play: Play) -> None:
    await play.server.kill()
    await asyncio.sleep(2)
    await play.server.start()


async def _stop_server(play: Play) -> None:
    await play.server.stop()
    await play.server.start()


async def _lose_relay(play: Play) -> None:
    with faults.block_udp(play.link, TURN_PORT):
        await asyncio.sleep(20)


def _pause(seconds: float) -> Fault:
    async def pause(play: Play) -> None:
        with faults.silence(play.link):
            await asyncio.sleep(seconds)

    return pause


RELAY = "relay gone 20 s"
FAULTS: dict[str, Fault] = {
    "signal reset": _reset_signal,
    "signal refused 6 s": _refuse_signal,
    "signal silent 30 s": _block_signal,
    "media silent 20 s": _block_media,
    "both gone 6 s": _lose_both,
    "address changed": _change_address,
    "server killed": _kill_server,
    "server stopped": _stop_server,
    RELAY: _lose_relay,
    "pause 500 ms": _pause(0.5),
    "pause 12 s": _pause(12),
    "pause 60 s": _pause(60),
}
CELLS = [Cell(*one) for one in itertools.product(FAULTS, CLIENTS, MODES)]


# ---- playing


async def play(server: str, cell: Cell) -> Outcome:
    """In a network that is there for it alone. Raises AssertionError when a client or the server fails."""
    for attempt in range(ATTEMPTS):
        with open_link() as link:
            try:
                return await break_call(
                    Served(server, link.server, relay=cell.fault == RELAY),
                    link,
                    cell,
                    FAULTS[cell.fault],
                    INTERVAL,
                )
            except (AssertionError, TimeoutError) as error:
                problem = error
                print(f"{cell}, attempt {attempt}: {error!r}", file=sys.stderr, flush=True)
    raise AssertionError(f"{cell}: {problem}")


async def break_call(server: Served, link: Link, cell: Cell, fault: Fault, interval: float) -> Outcome:
    """What comes of a fault in a call of two, who number their messages, one in so many seconds."""
    client_program = link.client.command(sys.executable, str(HERE / PROGRAMS[cell.client]), "client")
    sdk = {VARIABLE: OWN} if cell.client == OWN else {}
    observer_program = link.server.command(sys.executable, str(HERE / CLIENTS["python"]), "observer")
    async with (
        server.running(),
        run_program("observer", *observer_program) as observer,
        run_program("client", *client_program, environment=sdk) as client,
    ):
        single = cell.mode == "single"
        await observer.join(server.url, server.token("observer"), single, False)
        await client.join(server.url, server.token("client"), single, server.relay)
        await asyncio.gather(client.begin("observer"), observer.begin("client"))
        await asyncio.gather(client.number(interval), observer.number(interval))
        await asyncio.sleep(BEFORE)
        began = time.time()
        await fault(Play(link, server))
        lasted = time.time() - began
        recovered = await _recover(client, observer, began)
        await asyncio.sleep(AFTER)
        mine, theirs = await _reports(client, observer)
        return Outcome(
            recovered and round(recovered, 1),
            round(lasted, 1),
            _side(mine, theirs, began),
            _side(theirs, mine, began),
        )


async def _recover(client: Peer, observer: Peer, began: float) -> float | None:
    end = time.time() + RECOVERY
    for number in itertools.count():
        word = f"word {number}"
        if all(await asyncio.gather(client.recovers("observer", word), observer.recovers("client", word))):
            return time.time() - began
        if time.time() > end:
            return None
    raise AssertionError


async def _reports(client: Peer, observer: Peer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Once the last messages have come, or long after."""
    last = await asyncio.gather(client.settle(), observer.settle())
    end = time.time() + FLUSH
    while True:
        reports = await asyncio.gather(client.report(), observer.report())
        arrived = [report["received"][-1:] for report in reports]
        if arrived == [[last[1]], [last[0]]] or time.time() > end:
            return reports[0], reports[1]
        await asyncio.sleep(0.2)


def _side(own: dict[str, Any], other: dict[str, Any], began: float) -> Side:
    accepted = set(range(1, other["sent"] + 1)) - set(other["refused"])
    received = own["received"]
    return Side(
        still=round(sum(length for start, length in own["pauses"] if start + length > began), 1),
        events=[event for at, *event in own["events"] if at >= began],
        lost=len(accepted - set(received)),
        doubled=len(received) - len(set(received)),
        disordered=sum(after < before for before, after in itertools.pairwise(received)),
        refused=len(own["refused"]),
    )


async def play_all(
    server: str,
    wanted: Iterable[Cell],
    rounds: int = 1,
    at_once: int = AT_ONCE,
    told: Callable[[Cell, Outcome], None] = lambda cell, outcome: None,
) -> dict[Cell, list[Outcome]]:
    """Several at once; those that take long first. A cell that cannot be played says why and is missing."""
    room, due = asyncio.Condition(), at_once
    found: dict[Cell, list[Outcome]] = {}

    async def one(cell: Cell) -> None:
        nonlocal due
        weight = min(WEIGHT[cell.client], at_once)
        async with room:
            await room.wait_for(lambda: due >= weight)
            due -= weight
        try:
            outcome = await play(server, cell)
        except AssertionError as problem:
            print(problem, file=sys.stderr, flush=True)
        else:
            found.setdefault(cell, []).append(outcome)
            told(cell, outcome)
        finally:
            async with room:
                due += weight
                room.notify_all()

    longest_first = sorted(wanted, key=lambda cell: list(FAULTS).index(cell.fault), reverse=True)
    async with asyncio.TaskGroup() as tasks:
        for cell in longest_first * rounds:
            tasks.create_task(one(cell))
    return found


# ---- the record


def load(server: str) -> dict[str, list[dict[str, Any]]]:
    """By cell: what came of it each time."""
    path = RECORD / f"{server}.json"
    found: dict[str, list[dict[str, Any]]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def save(server: str, found: dict[Cell, list[Outcome]]) -> None:
    """Cells that were not played stay as they were. One event a line, to be read in a diff."""
    record = load(server) | {str(cell): [asdict(one) for one in of] for cell, of in found.items()}
    order = {str(cell): place for place, cell in enumerate(CELLS)}
    lines = [
        f"  {json.dumps(cell)}: [\n" + ",\n".join(_text(one) for one in record[cell]) + "\n  ]"
        for cell in sorted(record, key=lambda cell: order.get(cell, len(order)))
    ]
    RECORD.mkdir(exist_ok=True)
    (RECORD / f"{server}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _text(outcome: dict[str, Any]) -> str:
    parts = [f'    {{"recovered": {json.dumps(outcome["recovered"])}, "lasted": {outcome["lasted"]}']
    for who in ("client", "observer"):
        numbers = {key: value for key, value in outcome[who].items() if key != "events"}
        events = ",\n".join(f"        {json.dumps(event)}" for event in outcome[who]["events"])
        listed = f"[\n{events}\n      ]" if events else "[]"
        parts.append(f'     "{who}": {json.dumps(numbers)[:-1]}, "events": {listed}}}')
    return ",\n".join(parts) + "}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="*", help="only cells with these words, as in: signal python")
    parser.add_argument("--server", choices=[OURS, REFERENCE], default=OURS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    options = parser.parse_args()
    wanted = [cell for cell in CELLS if all(word in str(cell) for word in options.word)]

    def tell(cell: Cell, outcome: Outcome) -> None:
        print(f"{cell}: {json.dumps(asdict(outcome))}", flush=True)

    found = asyncio.run(play_all(options.server, wanted, options.rounds, options.at_once, tell))
    if not options.dry:
        save(options.server, found)
    return int(not found.keys() >= set(wanted))


if __name__ == "__main__":
    os.environ.setdefault("RUST_LOG", "error")
    sys.exit(main())
