"""`make faults MINUTES=10 SEED=1 BUS=kafka`: real faults on the real processes of a volume, and what its clients saw.

Prints each round of faults as the seed has it, how often each fault hit, and what the checkers say. Exits with 1
where something does not hold; then the history is kept, with how to check it again. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults import cell, runner
from tests.faults.broken import MUTATIONS
from tests.support import brokers

from sixfold import clock as clocks

INSIDE = "--inside"


def main() -> int:
    """The command."""
    parser = _parser()
    chosen = parser.parse_args()
    if chosen.minutes <= 0 or (chosen.rounds is not None and chosen.rounds < 1):
        parser.error("expected a run with faults in it: --minutes 10, or --rounds 3")
    if not chosen.inside and not cell.refused():
        if chosen.bus == "kafka":
            # What Kafka's start may have to fetch cannot be had from within.
            fetched = subprocess.run(
                [brokers.LOCAL, "tool", "kafka.tools.StorageTool", "random-uuid"], capture_output=True
            )
            if fetched.returncode:
                parser.error(f"no Kafka: {fetched.stderr.decode().strip()}")
        return cell.run([sys.executable, "-m", "tests.faults", *sys.argv[1:], INSIDE])
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="sixfold-faults-"))
    options = runner.Options(
        bus=chosen.bus,
        seed=chosen.seed,
        seconds=60 * chosen.minutes,
        rounds=chosen.rounds or sys.maxsize,
        folder=folder,
        in_cell=chosen.inside,
        mutation=chosen.mutation,
        broken_clients=chosen.broken_clients,
    )
    clock = clocks.SystemClock()
    _say(f"seed {options.seed}, faults on {options.bus}, in {folder}")
    try:
        outcome = asyncio.run(runner.run(options, clock, _say))
    except brokers.NoBrokerError as error:
        parser.error(f"no Kafka: {error}")
    except AssertionError as error:
        _say(f"the volume does not come back: {error}")
        return _over(options, None, [str(error)])
    return _over(options, outcome, _violations(folder, outcome))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bus", choices=["embedded", "kafka"], default="embedded")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0, help="no round of faults begins after that")
    parser.add_argument("--rounds", type=int, help="end after so many rounds of faults")
    parser.add_argument("--folder", type=Path, help="a new folder for all of it, left where something does not hold")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), default="", help="break the volume on purpose")
    parser.add_argument("--broken-clients", action="store_true", help="or clients: stale reads, torn transactions")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    return parser


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _violations(folder: Path, outcome: runner.Outcome) -> list[str]:
    found = list(outcome.violations)
    if outcome.report.refused:
        found.append(f"the checkers refuse the history: {', '.join(outcome.report.anomalies())}")
    if outcome.report.unknown:
        found.append(f"the check was given up for {', '.join(outcome.report.unknown)}")
    found += [
        f"{each.name} ended by itself with {each.code}: {each.last_words}"
        for each in outcome.ended
        if each.code != 1  # that is an error of which its last words tell
    ]
    for log in sorted((folder / "data" / "logs").glob("*.log")):
        if "Traceback (most recent call last)" in log.read_text(errors="replace"):
            found.append(f"{log.name} has a traceback")
    return found


def _over(options: runner.Options, outcome: runner.Outcome | None, violations: list[str]) -> int:
    if outcome is not None:
        _say(outcome.report.text())
        _say("faults that hit:")
        for fault, count in sorted(outcome.hits.items()):
            _say(f"  {fault:<30} {count:>5}")
        for (name, code, words), count in collections.Counter(
            (each.name, each.code, _without_moment(each.last_words)) for each in outcome.ended
        ).items():
            _say(f"  ended by itself {count} times: {name} with {code}: {words}")
    for violation in violations[:20]:
        _say(f"does not hold: {violation}")
    if violations:
        _say(f"the history is kept; check it again: python -m tests.history {options.history}")
        _say(f"run it again: {_command(options)}")
    summary = {
        "bus": options.bus,
        "seed": options.seed,
        "rounds": outcome.rounds if outcome else 0,
        "violations": len(violations),
        "operations": outcome.report.outcomes if outcome else {},
        "anomalies": outcome.report.anomalies() if outcome else [],
        "records": outcome.records if outcome else 0,
        "hits": dict(sorted(outcome.hits.items())) if outcome else {},
        "left_out": outcome.left_out if outcome else {},
    }
    _say(json.dumps(summary))
    if not violations:
        runner.unmount(options)
        shutil.rmtree(options.folder, ignore_errors=True)
    return int(bool(violations))


def _without_moment(words: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\S+ ?| \(epoch \S+\)|, whom copy .*", "", words)


def _command(options: runner.Options) -> str:
    words = f"python -m tests.faults --bus {options.bus} --seed {options.seed} --minutes {options.seconds / 60:g}"
    words += f" --rounds {options.rounds}" if options.rounds < sys.maxsize else ""
    words += f" --mutation {options.mutation}" if options.mutation else ""
    return words + (" --broken-clients" if options.broken_clients else "")


if __name__ == "__main__":
    sys.exit(main())
