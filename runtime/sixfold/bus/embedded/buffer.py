"""What a consumer has fetched of one partition and not yet given out."""

from __future__ import annotations

from collections import deque

import msgspec

from sixfold.bus import port
from sixfold.bus.embedded import batches, wire


class Buffer:
    """Batches wait encoded and are decoded when their records are asked for."""

    def __init__(self, partition: port.TopicPartition, identity: int, offset: int) -> None:
        self.partition = partition
        self.id = identity
        self.next = offset
        """Offset to fetch next."""
        self.bytes = 0
        """Waiting, encoded."""
        self.paused = False
        self.active = True
        """False while it is being given or revoked: nothing is fetched or given out."""
        self.revoking = False
        self.told = False
        """The listener knows of it."""
        self._batches: deque[wire.Stored] = deque()
        self._records: list[port.Record] = []
        self._given = 0
        self._from = offset

    @property
    def position(self) -> int:
        """Offset of the next record to give out, or to fetch where none waits."""
        if self._given < len(self._records):
            return self._records[self._given].offset
        return max(self._batches[0].base_offset, self._from) if self._batches else self.next

    def add(self, batch: wire.Stored) -> None:
        """Take what was fetched from `next`; a batch that lies before it is dropped."""
        if batch.last_offset >= self.next:
            self._batches.append(batch)
            self.bytes += len(batch.payload)
            self.next = batch.last_offset + 1

    def take(self, records_max: int) -> list[port.Record]:
        """Up to `records_max` records, in order. Raises BusError for a batch that is damaged, each time."""
        taken: list[port.Record] = []
        while len(taken) < records_max:
            left = len(self._records) - self._given
            if left == 0:
                if not self._batches:
                    break
                try:
                    self._decode(self._batches[0])
                except msgspec.DecodeError as error:
                    if taken:
                        break  # it stays the next one, so that the damage is met, not skipped
                    raise self._damaged(self._batches[0], error) from error
                self._batches.popleft()
                continue
            room = records_max - len(taken)
            if self._given == 0 and left <= room:
                taken = taken + self._records if taken else self._records
                self._records = []
            else:
                taken = taken + self._records[self._given : self._given + room]
                self._given += min(room, left)
        return taken

    def _decode(self, batch: wire.Stored) -> None:
        # No payload: the owner says that up to there nothing is left to read.
        self._records = batches.records(batch.payload, batch.base_offset, self.partition) if batch.payload else []
        self.bytes -= len(batch.payload)
        self._given = 0
        if batch.base_offset < self._from:
            self._records = [record for record in self._records if record.offset >= self._from]

    def _damaged(self, batch: wire.Stored, error: Exception) -> port.BusError:
        topic, number = self.partition
        return port.BusError(
            f"the log is damaged: {topic}:{number} cannot be read from offset {batch.base_offset} to {batch.last_offset} "
            f"({error}). Restore log.sqlite from a copy, or seek to {batch.last_offset + 1} to go on without these records"
        )

    def clear(self) -> None:
        """Drop what waits."""
        self._batches.clear()
        self._records = []
        self._given = 0
        self.bytes = 0

    def seek(self, offset: int) -> None:
        """Drop what waits and go on at `offset`."""
        self.clear()
        self.next = self._from = offset
