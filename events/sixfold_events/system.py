"""Events of the system itself: what its processes say of their functions. The gateway folds them into metrics."""

from __future__ import annotations

import msgspec

from sixfold_events.event import Event


class FunctionReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one function in one process, all since the process started."""

    function: str
    """Its name, such as `pipeline.start`."""
    records: int = 0
    """Records done with: handled, skipped or parked."""
    skipped: int = 0
    """Records that hold no event for it: other types of the topic, tombstones."""
    attempts: int = 0
    """Calls of the handler."""
    failures: int = 0
    """Attempts that raised or took too long."""
    dead_letters: int = 0
    """Records parked in its dead-letter topic."""
    emitted: int = 0
    """Events that it emitted."""
    fenced: int = 0
    """Settles refused because a rebalance had given the partition away. Expected now and then."""
    restarts: int = 0
    """Restarts of its worker after a crash."""
    running: int = 0
    """Handlers that run now."""
    retrying: int = 0
    """Records that wait for their next attempt now."""
    duration_sum_s: float = 0.0
    """Time in attempts, in seconds."""
    duration_counts: list[int] = msgspec.field(default_factory=list)
    """Attempts by duration: one count for each of the report's `duration_bounds_s`, and one for longer ones."""
    halted: str = ""
    """Why its worker stopped for good (its code contradicts its declaration); empty while it runs."""
    topics: list[str] = msgspec.field(default_factory=list)
    """What it reads."""
    start: str = "earliest"
    """Where it begins in a partition that it has committed nothing of."""
    timeout_s: float = 0.0
    """What one call of the handler may take."""
    breaker: str = ""
    """Its circuit breaker's state, `closed`, `open` or `half-open`; empty where it has none."""
    breaker_openings: int = 0
    """How often its circuit breaker opened."""
    batch_records: int = 0
    """Records that its batches held; 0 where it takes one at a time."""
    batch_counts: list[int] = msgspec.field(default_factory=list)
    """Batches by size: one count for each of the report's `batch_bounds`, and one for larger ones."""
    standby_lag: int | None = None
    """Records that its standby copies lacked when it last looked; None where it keeps none."""


class ProcessReported(Event, topic="system.processes", key="process", version=3):
    """A process runs functions, and these are their counters.

    Sent when they changed, every few seconds at most, and every 20 seconds all the same: who is silent for long is gone.
    """

    process: str
    """Name of the process, such as `functions`."""
    pid: int
    started_at_ms: int
    """When it started, Unix milliseconds: counters begin at zero there."""
    reported_at_ms: int
    stopped: bool = False
    """True in the last report of a process that was stopped in order."""
    duration_bounds_s: list[float] = msgspec.field(default_factory=list)
    """Upper bounds of the duration histogram, in seconds."""
    batch_bounds: list[int] = msgspec.field(default_factory=list)
    """Upper bounds of the batch size histogram, in records."""
    functions: list[FunctionReport] = msgspec.field(default_factory=list)


class Tick(Event, topic="system.ticks", key="function"):
    """It is time for a function that runs by the clock; each handles its own ticks only."""

    function: str
    at_ms: int
    """The time that it is for, Unix milliseconds; it may be handled later."""


class RequestFailed(Event, topic="system.replies", key="request"):
    """A request that a function could not handle: its record is a dead letter of that function."""

    request: str
    """Id of the event that asked."""
    function: str
    error_type: str
    message: str
