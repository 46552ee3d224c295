"""`make simulate SEEDS=500`: lives of a volume, one for each seed, as many side by side as there are processors.

Prints how often each fault hit and, for a life in which something did not hold, the shortest like it that was found.
Exits with 1 where one was found, or with `--mutation`, which breaks the volume on purpose, where none was.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator

from tests.simulation import life, shortening
from tests.simulation.mutations import MUTATIONS

from sixfold import clock as clocks

TOLD_AFTER_S = 2.0
CHUNK = 4


def main() -> int:
    """The command."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # nothing may depend on it; if something did, a seed would not replay
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    arguments = _arguments()
    chosen = arguments.parse_args()
    if min(chosen.seeds, chosen.processes) < 1 or chosen.first < 0:
        arguments.error("expected at least one seed and one process, and a first seed of 0 or more: --seeds 500")
    plans = [life.Plan(seed, chosen.mutation) for seed in range(chosen.first, chosen.first + chosen.seeds)]
    _say(f"{chosen.seeds:,} seeds from {chosen.first}, mutation {chosen.mutation or 'none'}")
    clock = clocks.SystemClock()
    begun_s, total, violated = clock.monotonic(), _Total(), None
    for outcome in _lives(plans, chosen.processes, clock):
        total.add(outcome)
        if outcome.violation:
            violated = outcome
            break
    seconds = clock.monotonic() - begun_s
    total.show(seconds)
    if violated is not None:
        _show(violated)
    _say(
        json.dumps(
            {
                "seeds": total.lives,
                "violations": int(violated is not None),
                "mutation": chosen.mutation,
                "seed": violated.plan.seed if violated else None,
                "invariant": violated.invariant if violated else None,
                "virtual_s": round(total.virtual_s),
                "appends": total.appends,
                "hits": dict(sorted(total.hits.items())),
                "seconds": round(seconds, 1),
            }
        )
    )
    return int((violated is not None) != bool(chosen.mutation))


def _say(line: str, *, progress: bool = False) -> None:
    stream = sys.stderr if progress else sys.stdout
    stream.write(line + "\n")
    stream.flush()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=500, help="how many lives (default: 500)")
    parser.add_argument("--first", type=int, default=0, help="the first seed; replays one with --seeds 1")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), default="", help="break the volume on purpose")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="lives side by side")
    return parser


def _lives(plans: list[life.Plan], processes: int, clock: clocks.Clock) -> Iterator[life.Outcome]:
    begun_s = told_s = clock.monotonic()
    done = 0
    with multiprocessing.get_context("spawn").Pool(processes, life.be_quiet) as pool:
        for outcome in pool.imap(life.live, plans, chunksize=CHUNK):
            yield outcome
            done += 1
            if clock.monotonic() - told_s > TOLD_AFTER_S:
                told_s = clock.monotonic()
                left_s = (told_s - begun_s) / done * (len(plans) - done)
                _say(f"  {done:,} of {len(plans):,} lives, about {left_s:.0f} s left", progress=True)


class _Total:
    def __init__(self) -> None:
        self.lives = self.appends = self.acknowledged = 0
        self.virtual_s = 0.0
        self.hits: Counter[str] = Counter()
        self.hit_lives: Counter[str] = Counter()

    def add(self, outcome: life.Outcome) -> None:
        self.lives += 1
        self.appends += outcome.appends
        self.acknowledged += outcome.acknowledged
        self.virtual_s += outcome.seconds
        self.hits += outcome.hits
        self.hit_lives.update(fault for fault, count in outcome.hits.items() if count)

    def show(self, seconds: float) -> None:
        _say(
            f"{self.lives:,} lives in {seconds:.0f} s: {self.virtual_s:,.0f} virtual seconds, {self.appends:,} appends, "
            f"{self.acknowledged:,} records acknowledged"
        )
        for fault, count in sorted(self.hits.items()):
            _say(f"  {fault:<28} {count:>12,} times, in {self.hit_lives[fault]:,} lives")


def _show(outcome: life.Outcome) -> None:
    _say(f"seed {outcome.plan.seed}: {outcome.violation}")
    shorter = shortening.shorten(outcome)
    happened = [
        f"{number} {name}" for number, name in enumerate(shorter.steps, 1) if number not in shorter.plan.left_out
    ]
    _say(f"shortened to {len(happened)} of {len(outcome.steps)} steps, {shorter.violation}")
    _say("  " + ", ".join(happened))
    _say(f"  again: make simulate SEEDS=1 FIRST={outcome.plan.seed} MUTATION={outcome.plan.mutation}")


if __name__ == "__main__":
    sys.exit(main())
