"""`restore_1gb_s`, beside the other results: a volume of a gigabyte from its backup alone (`bench/restoring.py`)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import restoring
from bench.runtime import rounds
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome

RESULTS = ("restore_1gb_s",)


async def restored(lab: Lab, broker: int | None) -> Outcome:
    """Seconds of one restore; on the embedded bus, since next to nothing of it passes a bus."""
    payload_bytes = round(restoring.GIGABYTE * min(lab.scale.share, 1.0))
    with tempfile.TemporaryDirectory(dir=lab.folder) as folder:
        found = await restoring.restore_1gb_s(Path(folder), payload_bytes=payload_bytes)
    outcome = Outcome()
    outcome.add("restore_1gb_s", rounds.figure([found.pop("restore_1gb_s")]))
    outcome.details["restore"] = found
    return outcome
