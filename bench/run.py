"""Compares roomful with livekit-server 1.13.5: CPU, latency, memory and joins, by turns in one run.

Writes report.md, plots and results.json into bench/results/. Takes about half an hour;
`make bench BENCH="--only video"` measures one load and keeps the others' figures, if they are this machine's.
The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import candidates
import load
import report
from scenarios import all_scenarios

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server; the best one counts")
    parser.add_argument("--seconds", type=int, default=10, help="how long packets are counted")
    parser.add_argument("--only", action="append", default=[], help="a load by name; again for more")
    parser.add_argument("--alone", action="store_true", help="ours only, without livekit-server")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()

    candidates.check_cores()
    load.build()
    compared = [candidates.ours()]
    if not options.alone:
        compared.insert(0, candidates.reference())
    every = all_scenarios(options.seconds)
    scenarios = [one for one in every if not options.only or one.name in options.only]
    results = report.Results(
        machine=report.machine(),
        when=time.strftime("%Y-%m-%d"),
        floor=load.floor(),
    )
    kept = {one.name for one in every} - {one.name for one in scenarios}
    results.keep(options.out / "results.json", kept)
    for scenario in scenarios:
        for turn in range(options.rounds):
            for candidate in compared:
                with candidate.running() as server:
                    figures = scenario.measure(server, scenario.arguments)
                results.add(scenario.name, candidate.name, figures)
                shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                print(f"{scenario.name} {turn + 1} {candidate.name}: {shown}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results.as_json(), indent=1) + "\n")
    report.write(options.out, results, [one for one in every if one.name in results.turns])
    print((options.out / "report.md").read_text())


if __name__ == "__main__":
    main()
