"""Does an append cost the same in a volume of 10 MB and in one of 2 GB?

The large one is filled once, by appends of 4 MiB in pages of 4 KiB, which take far less time than small ones. Then the
two have turns: six copies start, a writer takes over, 128 clients append. The small volume is a new one each time, so
that it is small; the large one is the same, with all its segments and its index.
"""

from __future__ import annotations

from bench.runtime import rounds
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.volume import turns
from bench.volume.measured import measured
from bench.volume.volumes import volume, volume_name

SMALL_BYTES = 10 * 1000 * 1000
LARGE_BYTES = 2 * 1000 * 1000 * 1000
CLIENTS = 128


async def flatness(lab: Lab, broker: int | None) -> Outcome:
    """Worst over best processor time of an append, that of the writer, six copies and the broker together."""
    large_bytes = round(LARGE_BYTES * min(1.0, lab.scale.share))
    async with volume(lab.bus, lab.folder, volume_name(lab, "large"), broker=broker) as large:
        await measured(large, (), fill_bytes=large_bytes)

        async def small_turn() -> dict[str, float]:
            async with volume(lab.bus, lab.folder, volume_name(lab, "small"), broker=broker) as small:
                return await measured(small, (CLIENTS,), fill_bytes=SMALL_BYTES)

        async def large_turn() -> dict[str, float]:
            return await measured(large, (CLIENTS,))

        values, missing = await turns.taken({"small": small_turn, "large": large_turn}, lab.scale.rounds)
    outcome = Outcome()
    if missing:
        outcome.lack("flat_volume", next(iter(missing.values())))
        return outcome
    cost = [values[f"{side}_cpu_us_{CLIENTS}"] for side in ("small", "large")]
    outcome.add("flat_volume", rounds.worst_over_best(cost))
    outcome.details["flat_volume"] = {name: round(rounds.figure(found).value, 4) for name, found in values.items()}
    outcome.details["flat_volume_bytes"] = [SMALL_BYTES, large_bytes]
    return outcome
