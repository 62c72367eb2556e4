"""Runs livekit-server and ours by turns and says where clients see events in another order.

`compare.py` takes livekit-server's orders anew into record/, which the tests check ours against.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from python import scenarios  # noqa: F401
from python.performance import MODES, Performance, Record, perform
from python.stage import SCENARIOS
from servers import Server, find_reference, open_reference, open_server

RECORDED = [name for name, one in SCENARIOS.items() if one.recorded]
#: What varies with livekit-server shows only when a scenario is played more than once.
ROUNDS = 4


def play(server: Server, name: str, mode: str, rounds: int, at_once: int) -> list[Performance]:
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda _: perform(server, name, mode), range(rounds)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", default=RECORDED, help="default: all that are recorded")
    parser.add_argument("--record-only", action="store_true", help="do not play with ours")
    options = parser.parse_args()
    differing = 0
    with open_reference(find_reference()) as reference:
        for name in options.scenario:
            record = Record(name)
            for mode in MODES:
                for performance in play(reference, name, mode, ROUNDS, at_once=2):
                    record.add(mode, performance)
            record.save()
            if options.record_only:
                continue
            with open_server() as ours:
                found = [
                    difference
                    for mode in MODES
                    for performance in play(ours, name, mode, 1, at_once=1)
                    for difference in record.differences(mode, performance)
                ]
            differing += bool(found)
            print(f"{name}: {'differs' if found else 'as livekit-server'}", *found, sep="\n  ", flush=True)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
