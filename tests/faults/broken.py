"""Processes of a volume that is broken on purpose: `python -m tests.faults.broken MUTATION …` in place of `python -m sixfold …`.

What a bus that loses nothing hides is for the simulation: there a quorum of three, or copies that obey any writer, are
found out; here every copy reads every record sooner or later, in the same order.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

from sixfold.cli.main import main
from sixfold_functions.volume import requests, succession
from sixfold_functions.volume.writer import VolumeWriter

FORGOTTEN = 100


def forget_requests() -> None:
    """A writer does not know of its predecessor's last requests, nor that their time is over: it appends them again."""
    succeed = succession.succeed

    async def forgetting(writer: VolumeWriter) -> int:
        return max(await succeed(writer) - FORGOTTEN, 0)

    succession.succeed = forgetting
    vars(requests)["clocks"] = types.SimpleNamespace(now_ms=lambda clock: 0)


MUTATIONS: dict[str, Callable[[], None]] = {"forget-requests": forget_requests}


if __name__ == "__main__":
    MUTATIONS[sys.argv.pop(1)]()
    main()
