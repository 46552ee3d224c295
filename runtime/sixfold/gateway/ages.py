"""How old the first record is that a group has not committed, read from the bus, whether anybody consumes or not.

What lies at an offset does not change but for retention, so a timestamp is read once a minute for each position that a
group stands at. What that costs is bounded: `PARTITIONS_MAX` partitions a look, `WAIT_S` seconds, one record each.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port

PARTITIONS_MAX = 64
"""Partitions that are read in one look; the others have their turn in the next ones."""
WAIT_S = 5.0
AGAIN_S = 60.0
"""What was read holds for so long, since retention may take a record away."""
_FETCH_S = 0.5

At = tuple[port.TopicPartition, int]
"""A partition and the offset in it that a group stands at; -1 is the partition's start."""


class Ages:
    """Timestamps of first records, of all groups."""

    def __init__(self, bus: port.Bus, clock: clocks.Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._known: dict[At, tuple[float, int]] = {}

    async def first(self, wanted: Collection[At]) -> dict[At, int | None]:
        """Timestamp (Unix milliseconds) of the first record at each position or above; None where there is none.

        What could not be read within the bounds is left out.
        """
        now_s = self._clock.monotonic()
        self._known = {
            at: (read_s, stamp)
            for at, (read_s, stamp) in self._known.items()
            if at in wanted and now_s - read_s < AGAIN_S
        }
        found: dict[At, int | None] = {at: stamp for at, (_, stamp) in self._known.items()}
        missing = sorted(set(wanted) - found.keys())[:PARTITIONS_MAX]
        with contextlib.suppress(errors.SixfoldError, TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while missing:
                    # One consumer reads one position of a partition: groups that stand elsewhere in it come next.
                    now = dict(reversed(missing))
                    await self._read(now, found)
                    missing = [at for at in missing if at not in now.items()]
        self._known.update(
            {at: (now_s, stamp) for at, stamp in found.items() if at not in self._known and stamp is not None}
        )
        return found

    async def _read(self, positions: Mapping[port.TopicPartition, int], found: dict[At, int | None]) -> None:
        ends = {tp: (await self._bus.offsets(tp)).end for tp in positions}
        async with self._bus.assign(list(positions)) as consumer:
            for tp, offset in positions.items():
                if offset >= 0:
                    await consumer.seek(tp, offset)
            waiting = set(positions)
            while waiting:
                batches = await consumer.fetch(records_max=len(waiting), wait_s=_FETCH_S)
                for tp, records in batches.items():
                    if tp in waiting:
                        found[tp, positions[tp]] = records[0].timestamp_ms
                        waiting.discard(tp)
                        consumer.pause([tp])
                for tp in [tp for tp in waiting if consumer.position(tp) >= ends[tp]]:
                    found[tp, positions[tp]] = None
                    waiting.discard(tp)
