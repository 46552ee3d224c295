"""Lanes keep what must stay in order, and let the rest run side by side. Pure: no task, no clock.

A lane is a queue whose records are handled one after another. With ordering "partition" each partition is a lane;
with "key" a key's hash picks one of many, so keys of one partition run side by side and one key never does; with
"none" there is one queue for all runners. Lanes that have work and that nobody works on are `ready`, in the order in
which they became so. With batches a lane that has less than one gathers until its window is over.
"""

from __future__ import annotations

import enum
import itertools
import zlib
from collections import deque
from collections.abc import Callable, Sequence

from sixfold.bus import port
from sixfold.function import Batch, Ordering
from sixfold.worker.partition import Partition, size_of
from sixfold.worker.state import PartitionState

LANES_PER_RUNNER = 16
"""More lanes than runners: a key that waits for its retry holds up a sixteenth of a runner's keys, not all."""

Item = tuple[port.Record, Partition]


class State(enum.Enum):
    """What a lane is doing."""

    IDLE = "idle"
    GATHERING = "gathering"
    """It has less than a batch, and its window is not over."""
    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    """Its first records wait for their next attempt."""


class Lane:
    """Records to handle one after another."""

    __slots__ = ("attempt", "bytes", "chunks", "items", "state")

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.attempt = 1
        """Number of the next attempt at the first record."""
        self.bytes = 0
        """What its records take; counted for batches only."""
        self.chunks: deque[tuple[int, int]] = deque()
        """Batches to try again: how many of the first records, and the number of the attempt."""
        self.state = State.IDLE


class Lanes:
    """All lanes of one worker. Whoever takes a lane's first record takes it out of `items`."""

    def __init__(
        self,
        ordering: Ordering,
        concurrency: int,
        batch: Batch | None = None,
        gather: Callable[[Lane], None] = lambda lane: None,
        full: Callable[[Lane], None] = lambda lane: None,
        *,
        tables: bool = False,
    ) -> None:
        """With `tables` partitions of one number share a lane: their handlers read and write the same rows.

        `gather` is told of a lane that begins to gather a batch, `full` of one that has it before its window ends."""
        self._ordering = ordering
        self._batch = batch
        self._tables = tables
        self._gather = gather
        self._full = full
        # Batches fill sooner in fewer lanes.
        per_runner = LANES_PER_RUNNER if batch is None else 1
        self._keyed = [Lane() for _ in range(concurrency * per_runner)] if ordering == "key" else []
        self._keyless = itertools.cycle(self._keyed)
        self._open = Lane()
        """With ordering "none": the one queue, which any number of runners work on at once."""
        self._by_partition: dict[Partition | PartitionState, Lane] = {}
        self.ready: deque[Lane] = deque()

    def add(self, partition: Partition, records: Sequence[port.Record]) -> None:
        """Queue `records` of `partition` in their lanes."""
        if self._ordering == "key":
            for record in records:
                key = record.key
                lane = next(self._keyless) if key is None else self._keyed[zlib.crc32(key) % len(self._keyed)]
                lane.items.append((record, partition))
                if self._batch is not None:
                    lane.bytes += size_of(record)
                self._wake(lane)
            return
        lane = self._open
        if self._ordering == "partition":
            lane = self._by_partition.setdefault(partition.state if self._tables else partition, Lane())
        lane.items.extend(zip(records, itertools.repeat(partition)))
        if self._batch is not None:
            lane.bytes += sum(map(size_of, records))
        self._wake(lane)

    @property
    def room(self) -> int:
        """How many runners find work now."""
        return len(self.ready) + (len(self._open.items) if self._batch is None else 0)

    def next(self) -> Lane:
        """The lane that has been ready longest; it is running now. There must be one."""
        lane = self.ready.popleft()
        if lane is not self._open:
            lane.state = State.RUNNING
            return lane
        lane.state = State.IDLE
        if self._batch is not None:
            # A lane of its own for this batch; the queue goes on gathering for the other runners.
            taken = Lane()
            taken.items.extend(self.take(lane, self._batch.size))
            taken.chunks.append((len(taken.items), 1))
            taken.state = State.RUNNING
            self._wake(lane)
            return taken
        # It stays ready for the other runners while it has more than one record, and for what is added later.
        if len(lane.items) > 1:
            self._wake(lane)
        return lane

    def take(self, lane: Lane, count: int) -> list[Item]:
        """The next batch of `lane`: `count` records at most, and no more bytes than a batch has, one record at least."""
        assert self._batch is not None
        taken: list[Item] = []
        size = 0
        items = lane.items
        bytes_max = self._batch.bytes_max
        while items and len(taken) < count:
            more = size_of(items[0][0])
            if taken and size + more > bytes_max:
                break
            size += more
            taken.append(items.popleft())
        lane.bytes -= size
        return taken

    def release(self, lane: Lane) -> None:
        """Nobody works on `lane` any more (it ran, or its wait is over): ready where it has records, else idle."""
        if lane.state is State.GATHERING:
            self._ready(lane)
            return
        if lane is not self._open:
            lane.state = State.IDLE
        if lane.items:
            self._wake(lane)

    def postpone(self, lane: Lane, items: Sequence[Item], attempt: int) -> Lane:
        """`items`, taken from `lane`, wait for attempt number `attempt`; returns the lane that waits.

        That is `lane` itself, or, where nothing must stay in order, a new one with just these records.
        """
        waiting = Lane() if self._ordering == "none" else lane
        waiting.items.extendleft(reversed(items))
        if self._batch is not None:
            waiting.bytes += sum(size_of(record) for record, _ in items)
        waiting.attempt = attempt
        waiting.state = State.WAITING
        return waiting

    def drop(self, partition: Partition) -> None:
        """Forget the lane of a partition that is gone; records in shared lanes are skipped when their turn comes."""
        self._by_partition.pop(partition, None)
        if not any(each.owned for each in partition.state.partitions):
            self._by_partition.pop(partition.state, None)

    def _wake(self, lane: Lane) -> None:
        if lane.state is State.IDLE:
            if lane.items and not self._has_batch(lane):
                lane.state = State.GATHERING
                self._gather(lane)
            elif lane.items:
                self._ready(lane)
        elif lane.state is State.GATHERING and self._has_batch(lane):
            self._ready(lane)
            self._full(lane)

    def _has_batch(self, lane: Lane) -> bool:
        batch = self._batch
        if batch is None or lane.chunks or batch.window_s == 0:
            return True
        return len(lane.items) >= batch.size or lane.bytes >= batch.bytes_max

    def _ready(self, lane: Lane) -> None:
        lane.state = State.READY
        self.ready.append(lane)
