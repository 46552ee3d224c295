"""`python -m tests.history FILE`: check a recorded history again. Exits with 1 where something cannot be explained."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.history import checking, recording, registers


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.history", description=__doc__, epilog="Example: python -m tests.history history.jsonl"
    )
    parser.add_argument("file", type=Path, help="a history, as `make faults` keeps it")
    parser.add_argument(
        "--places", type=int, default=registers.PLACES_MAX, help="places to search for each register at most"
    )
    chosen = parser.parse_args()
    try:
        report = checking.check(recording.operations(recording.read(chosen.file)), places_max=chosen.places)
    except OSError as error:
        parser.error(f"expected a readable history: {error}")
    except (recording.BrokenHistoryError, ValueError) as error:
        parser.error(str(error))
    sys.stdout.write(report.text() + "\n")
    return int(report.refused)


if __name__ == "__main__":
    sys.exit(main())
