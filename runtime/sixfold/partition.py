"""One partition for as long as this worker has it: which records are under way, and what waits to be settled.

A partition that comes back after a rebalance is a new `Partition`, so nothing of an earlier assignment can be settled
in the name of a later one.
"""

from __future__ import annotations

from collections.abc import Sequence

from sixfold.bus import port
from sixfold.context import TableReader
from sixfold.tables import Tables
from sixfold.watermark import Watermark


class Partition:
    """An assignment of one partition to this worker."""

    __slots__ = (
        "accepting",
        "backlog_bytes",
        "backlog_records",
        "highest",
        "next_offset",
        "outputs",
        "owned",
        "paused",
        "running",
        "state",
        "tables",
        "tp",
        "unsettled_offset",
        "watermark",
    )

    def __init__(self, tp: port.TopicPartition, reader: TableReader) -> None:
        self.tp = tp
        self.tables = Tables(reader)
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
        self.outputs: list[port.NewRecord] = []
        self.state: dict[tuple[str, bytes], port.StatePut] = {}
        self.unsettled_offset: int | None = None

    def take_in(self, records: Sequence[port.Record]) -> Sequence[port.Record]:
        """Begin `records`; returns those that had not been given before."""
        if records and records[0].offset < self.next_offset:
            records = [record for record in records if record.offset >= self.next_offset]
        if not records:
            return records
        self.next_offset = records[-1].offset + 1
        self.watermark.begin([record.offset for record in records])
        self.backlog_records += len(records)
        self.backlog_bytes += sum([size_of(record) for record in records])
        return records

    def wrote(self, puts: Sequence[port.StatePut]) -> None:
        """A handler wrote these rows: the next handler sees them, the next settle stores them."""
        self.tables.wrote(puts)
        for put in puts:
            self.state[put.table, put.key] = put

    def finish(self, record: port.Record) -> None:
        """`record` is done: its offset may be settled as soon as all before it are."""
        self.backlog_records -= 1
        self.backlog_bytes -= size_of(record)
        if self.watermark.finish(record.offset):
            self.unsettled_offset = self.watermark.position

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

    @property
    def dirty(self) -> bool:
        """Whether something waits to be settled."""
        return self.unsettled_offset is not None or bool(self.outputs)


def size_of(record: port.Record) -> int:
    """What a record counts for in the backlog: its value's bytes and a guess at the rest."""
    value = record.value
    return 200 if value is None else len(value) + 200
