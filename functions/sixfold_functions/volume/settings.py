"""How a writer behaves, and what an append gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sixfold_functions.volume.core import sequencer

TICK_S = 0.05


@dataclass(frozen=True, kw_only=True)
class WriterSettings:
    """How a writer behaves."""

    limits: sequencer.Limits = field(default_factory=sequencer.Limits)
    append_timeout_s: float = 10.0
    """An append that is not durable by then fails, its outcome unknown."""
    takeover_timeout_s: float = 30.0
    """Entering the writer fails if it has not got the volume by then."""
    grace_s: float = 0.3
    """Recovery waits this long for copies beyond the third; each that comes saves records sent again."""
    idle_s: float = 0.1
    """After this long without appends the copies are told the durable LSN by an empty batch."""
    heartbeat_s: float = 3.0
    """A quiet writer promises so often that nothing came until now; the latest restorable time depends on it. Each
    costs every copy one fsync and about 150 bytes (4 MB a day)."""
    waiting_max: int = 20_000
    """Appends in the queue; more wait before they enter it, and fail with QuorumLostError at their timeout."""
    waiting_bytes_max: int = 67_108_864
    """Bytes in the queue, as many as may be sent and not durable (`Limits.window_bytes_max`): while the quorum is lost
    a writer holds twice that, and the one append that goes beyond it."""


class AppendResult(NamedTuple):
    """Where an append's records lie, durable on four copies at least."""

    first_lsn: int
    last_lsn: int
