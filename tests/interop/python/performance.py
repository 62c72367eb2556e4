"""Runs scenarios against a server, each in a process of its own, and knows the recorded order of events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from livekit.rtc import DisconnectReason
from servers import Server

from .sdk import VARIABLE

HERE = Path(__file__).resolve().parent
RECORDS = HERE.parent / "record"
MODES = ("single", "dual")
#: Seconds for a scenario, and for its process to end besides.
LIMIT, ENDING = 40.0, 20.0

Event = list[Any]
#: By person: what they saw, in order. Whoever comes a second time under the same identity is "bob 2".
Performance = dict[str, list[Event]]

#: livekit-server tells nobody why somebody was replaced under the same identity.
UNTOLD = ["participant_disconnected", "UNKNOWN_REASON"]
#: May come earlier: livekit-server announces who publishes nothing after three seconds, ours at once, so
#: that one may also see somebody become active whom livekit-server announces as active already.
ARRIVALS = ("participant_connected", "participant_active")


def perform(server: Server, name: str, mode: str, limit: float = LIMIT) -> Performance:
    """Raises AssertionError with all that the client said when the scenario does not come to its end."""
    outcomes, log = perform_all(server, [name], mode, limit=limit)
    outcome = outcomes.get(name, "no word of it")
    if isinstance(outcome, str):
        raise AssertionError(f"{name} ({mode}) failed\n{outcome}\n--- the client's log\n{log[-3000:]}")
    return outcome


def perform_all(
    server: Server | None,
    names: Sequence[str],
    mode: str,
    *,
    sdk: str = "livekit",
    limit: float = LIMIT,
    at_once: int = 1,
) -> tuple[dict[str, Performance | str], str]:
    """What was seen in each scenario, or why it failed, and the client's log. All are in one process, and the
    server too if none is given."""
    keys = {"key": "a secret of this process alone, long enough"} if server is None else server.keys
    key, secret = next(iter(keys.items()))
    arguments = {
        "url": server.url if server is not None else "",
        "key": key,
        "secret": secret,
        "mode": mode,
        "limit": limit,
        "at-once": at_once,
    }
    given = (f"--{k}={v}" for k, v in arguments.items())
    command = [sys.executable, "-m", "python.play", *given, "--scenario", *names]
    try:
        done = subprocess.run(
            command,
            cwd=HERE.parent,
            env={**os.environ, VARIABLE: sdk},
            capture_output=True,
            timeout=limit * len(names) / at_once + ENDING,
            check=False,
        )
        out, err = done.stdout, done.stderr
    except subprocess.TimeoutExpired as expired:
        out, err = expired.stdout or b"", expired.stderr or b""
    outcomes: dict[str, Performance | str] = {}
    for line in out.decode(errors="replace").splitlines():
        word, _, content = line.partition(" ")
        if word == "RESULT":
            result = json.loads(content)
            outcomes.setdefault(result["scenario"], _performance(result["people"]))
        elif word == "FAILED":
            failure = json.loads(content)
            outcomes[failure["scenario"]] = failure["why"]
    return outcomes, err.decode(errors="replace")


def _performance(people: list[tuple[str, list[Event]]]) -> Performance:
    seen: Counter[str] = Counter()
    performance: Performance = {}
    for identity, events in people:
        seen[identity] += 1
        performance[identity if seen[identity] == 1 else f"{identity} {seen[identity]}"] = events
    return performance


class Record:
    """Each order of events that each person saw with livekit-server; where it varies, there are several."""

    def __init__(self, name: str) -> None:
        self.path = RECORDS / f"{name}.json"
        self._orders: dict[str, dict[str, list[list[Event]]]] = {}

    @classmethod
    def load(cls, name: str) -> Record:
        record = cls(name)
        record._orders = json.loads(record.path.read_text())
        return record

    def add(self, mode: str, performance: Performance) -> None:
        for person, events in performance.items():
            orders = self._orders.setdefault(mode, {}).setdefault(person, [])
            if events not in orders:
                orders.append(events)

    def save(self) -> None:
        """One event a line, to be read in a diff."""
        lines = []
        for mode, people in sorted(self._orders.items()):
            of_people = []
            for person, orders in people.items():
                of_orders = [
                    "[\n" + ",\n".join(f"        {json.dumps(event)}" for event in order) + "\n      ]"
                    for order in sorted(orders, key=json.dumps)
                ]
                of_people.append(f"    {json.dumps(person)}: [" + ", ".join(of_orders) + "]")
            lines.append(f"  {json.dumps(mode)}: {{\n" + ",\n".join(of_people) + "\n  }")
        self.path.write_text("{\n" + ",\n".join(lines) + "\n}\n")

    def differences(self, mode: str, performance: Performance) -> list[str]:
        """What a person saw in an order that nobody saw with livekit-server."""
        recorded = self._orders[mode]
        found = []
        if performance.keys() != recorded.keys():
            found.append(f"people {sorted(performance)} instead of {sorted(recorded)}")
        for person, events in performance.items():
            orders = recorded.get(person, [])
            if not any(_agrees(events, order) for order in orders):
                was = "\n    or ".join(_text(order) for order in orders)
                found.append(f"{mode}, {person} saw\n    {_text(events)}\n    instead of\n    {was}")
        return found


def _agrees(events: list[Event], recorded: list[Event]) -> bool:
    """The same events in the same order, but for the differences above."""
    here, there = _without_arrivals(events), _without_arrivals(recorded)
    if len(here) != len(there) or not all(map(_same, here, there)):
        return False
    due = _arrivals(recorded)
    for arrival, places in _arrivals(events).items():
        for before in places:
            if due.get(arrival):
                if before > due[arrival].pop(0):
                    return False
            elif "participant_active" not in arrival:
                return False
    return not any(due.values())


def _without_arrivals(events: list[Event]) -> list[Event]:
    """Nor the news that oneself has left, which the client does not always give before it ends."""
    own_leaving = ["disconnected", DisconnectReason.CLIENT_INITIATED]
    return [event for event in events if event[0] not in ARRIVALS and event != own_leaving]


def _same(event: Event, recorded: Event) -> bool:
    untold = recorded[::2] == UNTOLD and event[:2] == recorded[:2]
    return untold or event == recorded


def _arrivals(events: list[Event]) -> dict[str, list[int]]:
    """How many other events came before each arrival."""
    places: dict[str, list[int]] = {}
    before = 0
    for event in events:
        if event[0] in ARRIVALS:
            places.setdefault(json.dumps(event), []).append(before)
        else:
            before += 1
    return places


def _text(events: list[Event]) -> str:
    return " → ".join(" ".join(str(part) for part in event) for event in events)
