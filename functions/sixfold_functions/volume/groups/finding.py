"""Finding volume LSNs in a group's log: parts come in the order of the volume, so a search by halves does it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeReadAnswered, VolumeRedoBatch
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.core import parts


class Stored(NamedTuple):
    """A part as a copy has it."""

    records: list[bytes]
    end_lsn: int
    """Of its label, in the group."""

    @property
    def label(self) -> parts.Label:
        """What it is of. Raises LabelError."""
        return parts.decode(self.records[-1])

    def parse(self) -> parts.Part:
        """Its records by volume LSN. Raises LabelError."""
        return parts.parse(self.records)


def rank(answer: VolumeReadAnswered) -> tuple[int, int]:
    """The copy that has most in the newest epoch is the highest."""
    return answer.status.log_epoch, answer.status.complete_lsn


async def stored(
    reader: readers.CopyReader, registry: Registry, copy: str, first_lsn: int, last_lsn: int
) -> AsyncIterator[Stored]:
    """The parts of `copy` that have LSNs of the group from `first_lsn` to `last_lsn`, as far as it has them."""
    lsn, records = first_lsn, list[bytes]()
    while lsn <= last_lsn:
        answer = await reader.ask(copy, from_lsn=lsn, count=last_lsn - lsn + 1, whole_batches=True)
        if not answer.batches:
            return
        for value in answer.batches:
            batch = registry.decode_as(VolumeRedoBatch, value)
            assert isinstance(batch, VolumeRedoBatch)
            end_lsn = batch.first_lsn + len(batch.payloads) - 1
            if end_lsn < lsn:
                continue  # two answers have the batch in which the one ends and the other begins
            records, lsn = [*records, *batch.payloads], end_lsn + 1
            if batch.consistency_points:
                yield Stored(records, end_lsn)
                records = []


async def place_of(reader: readers.CopyReader, registry: Registry, copy: str, settled_lsn: int, volume_lsn: int) -> int:
    """Where the last part ends that lies at or below `volume_lsn` and the group's LSN `settled_lsn`; 0 for none.

    Only what is settled is looked at: of what is above, a copy may have what was annulled. Raises CopyUnreachableError,
    CopyDamagedError, LabelError.
    """
    low, high = 0, settled_lsn + 1
    while low + 1 < high:
        middle = (low + high) // 2
        try:
            found = [each async for each in stored(reader, registry, copy, middle, middle)]
        except readers.RecordsGoneError as gone:
            low = max(middle, min(gone.floor_lsn, high - 1))
            continue
        if not found or found[0].end_lsn > settled_lsn or found[0].label.last_lsn > volume_lsn:
            high = middle
        else:
            low = found[0].end_lsn
    return low
