"""What a worker holds of one partition number: rows, timers, and what waits to be settled.

A function that reads several topics gets their partitions of one number together, as one member of its group always
does. Its tables belong to the number, so their rows are shared by those partitions: one cache, one order of writes,
one series of settles. With a cache for each topic, the handler of one would not see what another's wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sixfold import gaps, timers
from sixfold.bus import port
from sixfold.context import TableReader
from sixfold.function import SEEN_TABLE
from sixfold.worker.limits import DEFAULT
from sixfold.worker.outputs import rows_bytes
from sixfold.worker.tables import Tables

if TYPE_CHECKING:
    from sixfold.worker.partition import Partition
    from sixfold.worker.seen import Seen


@dataclass(slots=True, eq=False)
class Share:
    """What partitions of one number bring to one settle: results of whole records, and how far they may be committed."""

    owner: PartitionState
    outputs: list[port.NewRecord] = field(default_factory=list)
    state: port.State = field(default_factory=dict)
    offsets: dict[port.TopicPartition, int] = field(default_factory=dict)
    """Outputs and rows of every record below these are in this share or in an earlier one."""
    notes: dict[port.TopicPartition, str] = field(default_factory=dict)
    """Offsets finished above the committed ones (`gaps.py`)."""
    size_bytes: int = 0


class PartitionState:
    """The partitions of one number that a worker has, and what they share."""

    def __init__(
        self,
        number: int,
        reader: TableReader,
        *,
        share_bytes_max: int = DEFAULT.settle_bytes_max,
        on_timer: Callable[[], None] = lambda: None,
    ) -> None:
        """A share is closed before it grows beyond `share_bytes_max`; one record's results are never divided.

        `on_timer` is called when a timer was set.
        """
        self.number = number
        self.reader = reader
        self.tables = Tables(reader)
        self.timers = timers.Timers()
        self.seen: Seen | None = None
        """With delivery "effectively-once": the events that were handled."""
        self.partitions: list[Partition] = []
        """Those that are this worker's; the group gives and takes them together."""
        self._share_bytes_max = share_bytes_max
        self._on_timer = on_timer
        self._shares: list[Share] = []
        self._share = Share(self)

    @property
    def owned(self) -> bool:
        """False once the partitions are another's: nothing of them may be settled."""
        return any(partition.owned for partition in self.partitions)

    def made(self, outputs: Sequence[port.NewRecord], rows: port.State, size_bytes: int) -> None:
        """A record came to these: the next handler sees the rows, a settle stores all of it."""
        share = self._share
        if share.size_bytes and share.size_bytes + size_bytes > self._share_bytes_max:
            self._close()
            share = self._share
        share.size_bytes += size_bytes
        share.outputs += outputs
        if rows:
            self.tables.wrote(rows)
            if (timers.TABLE, self.number) in rows:
                self.timers.wrote(rows[timers.TABLE, self.number])
                self._on_timer()

    @property
    def dirty(self) -> bool:
        """Whether something waits to be settled."""
        share = self._share
        return bool(
            self._shares
            or share.outputs
            or self.tables.written
            or any(each.moved or each.rested for each in self.partitions)
        )

    def take_shares(self) -> list[Share]:
        """Hand out what waits to be settled; it must be settled in this order."""
        if self.dirty:
            last = self._close()
            for each in self.partitions:
                if each.watermark.gapped:
                    last.offsets.setdefault(each.tp, each.position)
                    last.notes[each.tp] = gaps.encode(each.position, each.watermark.ranges())
        shares, self._shares = self._shares, []
        return shares

    def _close(self) -> Share:
        """End the share, with how far what was finished lets its partitions be committed. Rows need an offset too."""
        share = self._share
        share.state = self.tables.take()
        if self.seen is not None and (digests := self.seen.take()):
            share.state = {**share.state, (SEEN_TABLE, self.number): digests}
            share.size_bytes += rows_bytes(digests)
        for each in self.partitions:
            if each.moved or each.rested:
                share.offsets[each.tp] = each.position
                each.moved = each.rested = False
        if share.state and not share.offsets and self.partitions:
            share.offsets[self.partitions[0].tp] = self.partitions[0].position
        self._shares.append(share)
        self._share = Share(self)
        return share
