"""One partition for as long as this worker has it: which records are under way, and how far they are done.

A partition that comes back after a rebalance is a new `Partition`, so nothing of an earlier assignment can be settled
in the name of a later one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sixfold import gaps
from sixfold.bus import port
from sixfold.context import TableReader
from sixfold.worker.state import PartitionState
from sixfold.worker.watermark import Watermark

RECORD_BYTES = 200
"""What a record counts for beside its value: a guess at its key, its headers and the objects that hold it."""


class Partition:
    """An assignment of one partition to this worker."""

    __slots__ = (
        "_done",
        "accepting",
        "alone",
        "backlog_bytes",
        "backlog_records",
        "base",
        "highest",
        "moved",
        "next_offset",
        "owned",
        "paused",
        "rested",
        "running",
        "seen",
        "state",
        "tables",
        "tp",
        "watermark",
    )

    def __init__(
        self,
        tp: port.TopicPartition,
        reader: TableReader,
        *,
        state: PartitionState | None = None,
        base: int = 0,
        note: str = "",
    ) -> None:
        """`state` is shared by the worker's partitions of its number; `base` is where reading begins, `note` was
        committed with it."""
        self.tp = tp
        self.alone = (self,)
        """Just this one, for whoever takes several."""
        self.state = PartitionState(tp.partition, reader) if state is None else state
        self.state.partitions.append(self)
        self.tables = self.state.tables
        self.seen = self.state.seen
        self._done = deque(gaps.decode(base, note))
        self.base = base
        """Where reading began: what is committed, or may be."""
        self.accepting = True
        """False once it is being given up: no further record of it is begun."""
        self.owned = True
        """False once it is another's: nothing of it may be settled."""
        self.paused = False
        self.watermark = Watermark()
        self.next_offset = 0
        self.highest = -1
        """Offset of the furthest record that a handler was called for."""
        self.running = 0
        self.backlog_records = 0
        """Fetched and not done yet."""
        self.backlog_bytes = 0
        self.moved = False
        """Whether it may be committed further than what waits to be settled says."""
        self.rested = False
        """Whether records were finished above one that is not, since something was handed out to be settled."""

    def take_in(self, records: Sequence[port.Record]) -> Sequence[port.Record]:
        """Begin `records`; returns those that had not been given before."""
        if records and records[0].offset < self.next_offset:
            records = [record for record in records if record.offset >= self.next_offset]
        if not records:
            return records
        self.next_offset = records[-1].offset + 1
        self.watermark.begin([record.offset for record in records])
        if self._done:
            records = self._without_done(records)
        self.backlog_records += len(records)
        self.backlog_bytes += sum([size_of(record) for record in records])
        return records

    def _without_done(self, records: Sequence[port.Record]) -> Sequence[port.Record]:
        """Those of `records` that no earlier owner finished; the others are finished at once."""
        fresh = []
        for record in records:
            while self._done and self._done[0][1] <= record.offset:
                self._done.popleft()
            if self._done and self._done[0][0] <= record.offset:
                self._finish(record.offset)
            else:
                fresh.append(record)
        return fresh

    def made(self, outputs: Sequence[port.NewRecord], rows: port.State, size_bytes: int) -> None:
        """A record came to these: the next handler sees the rows, a settle stores all of it. Call `finish` after it."""
        self.state.made(outputs, rows, size_bytes)

    def finish(self, record: port.Record) -> None:
        """`record` is done: its offset may be settled as soon as all before it are."""
        value = record.value
        self.backlog_records -= 1
        self.backlog_bytes -= RECORD_BYTES if value is None else len(value) + RECORD_BYTES  # size_of, without its call
        if self.watermark.finish(record.offset):
            self.moved = True
        else:
            self.rested = True

    def _finish(self, offset: int) -> None:
        if self.watermark.finish(offset):
            self.moved = True
        else:
            self.rested = True

    @property
    def position(self) -> int:
        """The offset that may be committed: every record below it is finished, or was before."""
        return self.base if self.watermark.position is None else self.watermark.position

    @property
    def gap(self) -> bool:
        """Whether a record is undone below one that was handled: letting go now would have the latter done again."""
        lowest = self.watermark.lowest
        return lowest is not None and lowest <= self.highest

    def closes_gap(self, record: port.Record, attempt: int) -> bool:
        """Whether a partition that is being given up should still handle `record`: to close its gap, and in time."""
        if attempt > 1:
            self.leave_gap()
        return record.offset <= self.highest

    def leave_gap(self) -> None:
        """A record of the gap waits for its retry, so the gap cannot be closed before the partition goes."""
        self.highest = -1


def size_of(record: port.Record) -> int:
    """What a record counts for in the backlog: its value's bytes and a guess at the rest."""
    value = record.value
    return RECORD_BYTES if value is None else len(value) + RECORD_BYTES
