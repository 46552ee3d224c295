"""Durable timers: events to be published at a time, as rows of a table beside the state of their partition.

A handler that returns stores its timers with its offset; the worker that owns the partition publishes each when it is
due and deletes its row in the same settle. So a timer outlives crashes and rebalances, and is late rather than lost: it
fires as soon as somebody owns its partition. On the embedded bus it fires once; on Kafka, where a settle is not one
transaction by default, a crash at that moment publishes it again with the same event id.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from sixfold.bus import port

TABLE = "sixfold-timers"
"""Name of the table; functions cannot declare it."""


class Timer(msgspec.Struct, frozen=True, array_like=True):
    """One row: what to publish, and when."""

    due_ms: int
    """Unix milliseconds."""
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None
    """Where it is published; None is the partition of its key."""

    def record(self) -> port.NewRecord:
        """What is published when it is due."""
        return port.NewRecord(
            topic=self.topic, value=self.value, key=self.key, headers=self.headers, partition=self.partition
        )


_DECODER = msgspec.msgpack.Decoder(Timer)


def of(record: port.NewRecord, *, due_ms: int) -> Timer:
    """A timer that publishes `record`."""
    return Timer(
        due_ms=due_ms,
        topic=record.topic,
        key=record.key,
        value=record.value,
        headers=list(record.headers),
        partition=record.partition,
    )


def state(partition: int, timers: Mapping[str, Timer | None]) -> port.State:
    """The rows that set these timers, each in place of one of its name; None takes it away."""
    rows = {name.encode(): None if timer is None else msgspec.msgpack.encode(timer) for name, timer in timers.items()}
    return {(TABLE, partition): rows}


def decode(value: bytes) -> Timer:
    """The timer that a row holds."""
    return _DECODER.decode(value)


class Timers:
    """The timers of one partition number, by name, and the next that are due."""

    def __init__(self) -> None:
        self._timers: dict[bytes, Timer] = {}
        self._heap: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._timers)

    def get(self, key: bytes) -> Timer | None:
        """The timer of that name."""
        return self._timers.get(key)

    def all(self) -> Iterable[Timer]:
        """Every timer."""
        return self._timers.values()

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take what is stored."""
        for key, value in rows:
            self._set(key, value)

    def wrote(self, rows: port.Rows) -> None:
        """A handler set these."""
        for key, value in rows.items():
            self._set(key, value)

    def _set(self, key: bytes, value: bytes | None) -> None:
        self._timers.pop(key, None)
        if value is None:
            return
        timer = decode(value)
        self._timers[key] = timer
        heapq.heappush(self._heap, (timer.due_ms, key))

    @property
    def next_ms(self) -> int | None:
        """When the first is due; None where there is none."""
        while self._heap:
            due_ms, key = self._heap[0]
            timer = self._timers.get(key)
            if timer is not None and timer.due_ms == due_ms:
                return due_ms
            heapq.heappop(self._heap)  # it was set anew, or taken away
        return None

    def due(self, now_ms: int) -> Iterator[tuple[bytes, Timer]]:
        """Take those that are due, the earliest first."""
        while (next_ms := self.next_ms) is not None and next_ms <= now_ms:
            _, key = heapq.heappop(self._heap)
            yield key, self._timers.pop(key)
