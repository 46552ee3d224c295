"""Lanes keep what must stay in order, and let the rest run side by side. Pure: no task, no clock.

A lane is a queue whose records are handled one after another. With ordering "partition" each partition is a lane;
with "key" a key's hash picks one of many, so keys of one partition run side by side and one key never does; with
"none" there is one queue for all runners. Lanes that have work and that nobody works on are `ready`, in the order in which they
became so.
"""

from __future__ import annotations

import enum
import itertools
import zlib
from collections import deque
from collections.abc import Sequence

from sixfold.bus import port
from sixfold.function import Ordering
from sixfold.partition import Partition

LANES_PER_RUNNER = 16
"""More lanes than runners: a key that waits for its retry holds up a sixteenth of a runner's keys, not all."""

Item = tuple[port.Record, Partition]


class State(enum.Enum):
    """What a lane is doing."""

    IDLE = "idle"
    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    """Its first record waits for its next attempt."""


class Lane:
    """Records to handle one after another."""

    __slots__ = ("attempt", "items", "state")

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.attempt = 1
        """Number of the next attempt at the first record."""
        self.state = State.IDLE


class Lanes:
    """All lanes of one worker. Whoever takes a lane's first record takes it out of `items`."""

    def __init__(self, ordering: Ordering, concurrency: int) -> None:
        self._ordering = ordering
        self._keyed = [Lane() for _ in range(concurrency * LANES_PER_RUNNER)] if ordering == "key" else []
        self._keyless = itertools.cycle(self._keyed)
        self._open = Lane()
        """With ordering "none": the one queue, which any number of runners work on at once."""
        self._by_partition: dict[Partition, Lane] = {}
        self.ready: deque[Lane] = deque()

    def add(self, partition: Partition, records: Sequence[port.Record]) -> None:
        """Queue `records` of `partition` in their lanes."""
        if self._ordering == "key":
            for record in records:
                key = record.key
                lane = next(self._keyless) if key is None else self._keyed[zlib.crc32(key) % len(self._keyed)]
                lane.items.append((record, partition))
                self._wake(lane)
            return
        lane = self._open if self._ordering == "none" else self._by_partition.setdefault(partition, Lane())
        lane.items.extend(zip(records, itertools.repeat(partition)))
        self._wake(lane)

    @property
    def room(self) -> int:
        """How many runners find work now."""
        return len(self.ready) + len(self._open.items)

    def next(self) -> Lane:
        """The lane that has been ready longest; it is running now. There must be one."""
        lane = self.ready.popleft()
        lane.state = State.RUNNING
        if lane is self._open:
            # It stays ready for the other runners while it has more than one record, and for what is added later.
            lane.state = State.IDLE
            if len(lane.items) > 1:
                self._wake(lane)
        return lane

    def release(self, lane: Lane) -> None:
        """Nobody works on `lane` any more (it ran, or its wait is over): ready where it has records, else idle."""
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
        waiting.attempt = attempt
        waiting.state = State.WAITING
        return waiting

    def drop(self, partition: Partition) -> None:
        """Forget the lane of a partition that is gone; records in shared lanes are skipped when their turn comes."""
        self._by_partition.pop(partition, None)

    def _wake(self, lane: Lane) -> None:
        if lane.state is State.IDLE:
            lane.state = State.READY
            self.ready.append(lane)
