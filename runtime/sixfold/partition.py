"""One partition for as long as this worker has it: which records are under way, and what waits to be settled.

A partition that comes back after a rebalance is a new `Partition`, so nothing of an earlier assignment can be settled
in the name of a later one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sixfold import gaps
from sixfold.bus import port
from sixfold.context import TableReader
from sixfold.limits import DEFAULT
from sixfold.tables import Tables
from sixfold.timers import Timers
from sixfold.watermark import Watermark

if TYPE_CHECKING:
    from sixfold.seen import Seen


@dataclass(slots=True, eq=False)
class Share:
    """What a partition brings to one settle: results of whole records, and how far they let it be committed."""

    partition: Partition
    outputs: list[port.NewRecord] = field(default_factory=list)
    state: dict[tuple[str, bytes], port.StatePut] = field(default_factory=dict)
    offset: int | None = None
    """Outputs and rows of every record below it are in this share or in an earlier one."""
    resting: int | None = None
    """Without an `offset` how far the partition was committed, or may be: rows and notes need an offset beside them."""
    note: str = ""
    """Offsets finished above the committed one (`gaps.py`)."""
    size_bytes: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to settle."""
        return self.offset is None and self.resting is None and not self.outputs


class Partition:
    """An assignment of one partition to this worker."""

    __slots__ = (
        "_done",
        "_on_timer",
        "_share",
        "_share_bytes_max",
        "_shares",
        "accepting",
        "alone",
        "backlog_bytes",
        "backlog_records",
        "base",
        "highest",
        "next_offset",
        "owned",
        "paused",
        "reader",
        "running",
        "seen",
        "tables",
        "timers",
        "tp",
        "watermark",
    )

    def __init__(
        self,
        tp: port.TopicPartition,
        reader: TableReader,
        *,
        share_bytes_max: int = DEFAULT.settle_bytes_max,
        base: int = 0,
        note: str = "",
        on_timer: Callable[[], None] = lambda: None,
    ) -> None:
        """`base` is where reading begins, `note` was committed with it, `on_timer` is called when a timer was set. A share is closed before it grows beyond `share_bytes_max`; one record's results are never divided."""
        self.tp = tp
        self.alone = (self,)
        """Just this one, for whoever takes several."""
        self.reader = reader
        self.tables = Tables(reader)
        self.timers = Timers(tp)
        self.seen: Seen | None = None
        """With delivery "effectively-once": the events that were handled."""
        self._on_timer = on_timer
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
        self._share_bytes_max = share_bytes_max
        self._shares: list[Share] = []
        self._share = Share(self)

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

    def made(self, outputs: Sequence[port.NewRecord], puts: Sequence[port.StatePut], size_bytes: int) -> None:
        """A record came to these: the next handler sees the rows, a settle stores all of it. Call `finish` after it."""
        share = self._share
        if share.size_bytes and share.size_bytes + size_bytes > self._share_bytes_max:
            self._shares.append(share)
            share = self._share = Share(self)
        share.size_bytes += size_bytes
        share.outputs += outputs
        if puts:
            self._rest(share)
            self.tables.wrote(puts)
            if self.timers.wrote(puts):
                self._on_timer()
            for put in puts:
                share.state[put.table, put.key] = put

    def finish(self, record: port.Record) -> None:
        """`record` is done: its offset may be settled as soon as all before it are."""
        self.backlog_records -= 1
        self.backlog_bytes -= size_of(record)
        if self.watermark.finish(record.offset):
            self._share.offset = self.watermark.position
        else:
            self._rest(self._share)

    def _finish(self, offset: int) -> None:
        if self.watermark.finish(offset):
            self._share.offset = self.watermark.position
        else:
            self._rest(self._share)

    def _rest(self, share: Share) -> None:
        if share.resting is None:
            share.resting = self.base if self.watermark.position is None else self.watermark.position

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
        return bool(self._shares) or not self._share.empty

    def take_shares(self) -> list[Share]:
        """Hand out what waits to be settled; it must be settled in this order."""
        if not self._share.empty:
            if self.watermark.gapped:
                position = self.base if self.watermark.position is None else self.watermark.position
                self._share.note = gaps.encode(position, self.watermark.ranges())
            self._shares.append(self._share)
            self._share = Share(self)
        shares, self._shares = self._shares, []
        return shares


def size_of(record: port.Record) -> int:
    """What a record counts for in the backlog: its value's bytes and a guess at the rest."""
    value = record.value
    return 200 if value is None else len(value) + 200
