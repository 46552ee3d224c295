"""What a backup takes from: the copies of a running volume, asked as any reader asks them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sixfold_events import avro
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeCopyAcknowledged, VolumeReadAnswered, VolumeRedoBatch
from sixfold_functions.volume import reader as readers

Unreadable = (readers.CopyUnreachableError, readers.CopyDamagedError, avro.DecodeError)


def batches_in(answer: VolumeReadAnswered, registry: Registry) -> list[VolumeRedoBatch]:
    """The stored batches in a copy's answer. Raises DecodeError."""
    found = (registry.decode_as(VolumeRedoBatch, value) for value in answer.batches)
    return [batch for batch in found if isinstance(batch, VolumeRedoBatch)]


class Source:
    """The copies behind a reader."""

    def __init__(self, reader: readers.CopyReader, registry: Registry) -> None:
        self._reader = reader
        self._registry = registry

    async def words(self) -> list[VolumeCopyAcknowledged]:
        """How the copies that answer are, the one that knows most to be durable first."""
        answers = await self._reader.ask_all(timeout_s=2.0)
        return sorted((answer.status for answer in answers.values()), key=lambda ack: -ack.settled_lsn)

    async def batches(self, copy: str, first_lsn: int, last_lsn: int) -> AsyncIterator[list[VolumeRedoBatch]]:
        """What `copy` has stored from the batch with `first_lsn` on, an answer at a time. Raises what Unreadable lists."""
        lsn = first_lsn
        while lsn <= last_lsn:
            answer = await self._reader.ask(
                copy, from_lsn=lsn, count=last_lsn - lsn + 1, whole_batches=True, timeout_s=10.0
            )
            found = batches_in(answer, self._registry)
            if not found:
                return
            yield found
            lsn = found[-1].first_lsn + len(found[-1].payloads)
