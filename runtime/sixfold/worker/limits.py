"""Limits and intervals of a worker, in one place."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sixfold.function import Batch

FETCH_RECORDS = 2_000
"""Of one fetch for large batches: more would keep the event loop from its sockets."""


class LettingGo(NamedTuple):
    """How long each step of giving partitions up may take."""

    handlers_s: float
    """Handlers that run may finish."""
    ended_s: float
    """Those that did not were told to end; they may tidy up."""
    settle_s: float
    """What was finished is settled."""

    @classmethod
    def within(cls, handlers_s: float) -> LettingGo:
        """The deadlines where handlers get `handlers_s`."""
        return cls(handlers_s, handlers_s / 10, handlers_s / 10 + 1)


LINGER_EACH_S = 0.01
"""A commit costs us 0.2 ms of the processor, and the broker some more: a process makes 100 a second at most, whatever it
runs."""
LINGER_MAX_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a worker takes on, and how long it waits."""

    fetch_records_max: int = 100
    """Records of one fetch: as many as a lane handles before it gives way, so that they are handled at once. What Kafka
    sends in one answer waits as bytes, however much it is."""
    fetch_wait_s: float = 0.5
    """How long a fetch waits for the first record; a stop or a resumed partition is noticed this late at worst."""
    backlog_records_max: int = 2_000
    """Records fetched and not done, all partitions together: so many that lanes which run side by side never wait."""
    gathering_records_max: int = 0
    """And so many more for each partition: a batch that gathers there must not keep the others from filling theirs."""
    backlog_bytes_max: int = 16 * 1024 * 1024
    """As `backlog_records_max`, in bytes: sixteen records of the default largest size."""
    span_records_max: int = 50_000
    """A partition with so many records above its first unfinished one is paused: a crash would repeat them all."""
    unsettled_records_max: int = 5_000
    """Handlers wait while so many results are not settled: the bus is away, and memory is bounded."""
    unsettled_bytes_max: int = 64 * 1024 * 1024
    """As `unsettled_records_max`, in bytes of outputs and rows; each handler that runs may add one record's beyond."""
    settle_bytes_max: int = 8 * 1024 * 1024
    """Outputs and rows of one settle: some ten milliseconds of a disk. One record's always go together, however many."""
    result_bytes_max: int = 32 * 1024 * 1024
    """What one record's handler may emit and write. More is parked: it must go in one call, and the embedded bus takes
    calls of 64 MiB with all that surrounds the data."""
    topics_s: float = 5.0
    """How often a function looks whether it should read other topics: new ones that match, or its retry topic."""
    linger_s: float = 0.02
    """Offsets without outputs or state are committed this late, so that an idle handler costs 50 commits/s at most."""
    linger_records: int = 4_000
    """Or after so many records: more than most handlers do in that time, so that the time decides."""
    slice_s: float = 0.005
    """A lane gives way to the next one after this long, at the end of a record."""
    slice_records: int = 100
    """And after so many records: a no-op handler must not keep the event loop from its sockets."""
    drain_s: float = 20.0
    """Handlers that run get this long to finish when the process stops; Kubernetes kills after 30."""
    revoke_s: float = 30.0
    """As the bus's `revoke_timeout_s`: handlers get four fifths of it, settling the rest."""
    bus_backoff_s: float = 0.1
    """Wait before the first retry of a call that found no bus; doubles."""
    bus_backoff_max_s: float = 5.0
    stuck_s: float = 60.0
    """A worker that has work and moves nothing for so long is started afresh (`watchdog.py`)."""
    fenced_max: int = 10
    """Settles refused in a row for partitions that the bus says are ours; then the worker starts afresh."""

    def for_batches(self, batch: Batch, lanes: int, *, by_partition: bool) -> Limits:
        """Wide enough to hold a batch in each of `lanes`, and one in each partition where those gather for themselves."""
        return dataclasses.replace(
            self,
            fetch_records_max=max(self.fetch_records_max, min(batch.size, FETCH_RECORDS)),
            backlog_records_max=max(self.backlog_records_max, batch.size * lanes),
            gathering_records_max=batch.size if by_partition else 0,
            backlog_bytes_max=max(self.backlog_bytes_max, batch.bytes_max * lanes),
        )

    def shared_by(self, functions: int) -> Limits:
        """For one of so many `functions` of a process: all together they commit no more often than a few do."""
        return dataclasses.replace(self, linger_s=max(self.linger_s, min(LINGER_EACH_S * functions, LINGER_MAX_S)))

    @property
    def stop_s(self) -> float:
        """From the word to stop until a worker has let go of all its partitions, at the longest."""
        return sum(LettingGo.within(self.drain_s))


DEFAULT = Limits()
