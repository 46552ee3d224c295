"""The quorum tracker: from acknowledgements to the durable LSN.

VDL is the fourth-highest consistency point that copies of the current epoch hold on disk. Rounding down to a
consistency point keeps the order of LSNs, so the fourth-highest of the rounded is the rounded fourth-highest. A copy
that lost its log and is being filled does not count.

The writer runs one for its appends; the tracker function runs another for status. Both see the same events.
"""

from __future__ import annotations

import enum

from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX, Quorum


class Standing(enum.Enum):
    """Where a copy is, seen from an epoch."""

    UNKNOWN = "not heard of"
    BEHIND = "in an older epoch"
    FILLING = "getting what the epoch began with"
    CURRENT = "in the epoch"
    AHEAD = "in a newer epoch"


def standing(ack: VolumeCopyAcknowledged | None, epoch: int) -> Standing:
    """How the copy that sent `ack` stands to `epoch`."""
    if ack is None:
        return Standing.UNKNOWN
    if ack.epoch != epoch:
        return Standing.AHEAD if ack.epoch > epoch else Standing.BEHIND
    return Standing.CURRENT if ack.log_epoch == epoch else Standing.FILLING


class QuorumTracker:
    """Knows the newest acknowledgement of each copy, and what they make durable."""

    def __init__(self, quorum: Quorum = FOUR_OF_SIX, epoch: int = 0) -> None:
        self.quorum = quorum
        self.epoch = epoch
        self.durable_lsn = 0
        """VDL; it never goes back within an epoch."""
        self.copies: dict[str, VolumeCopyAcknowledged] = {}

    def begin(self, epoch: int) -> None:
        """Count for `epoch` from now on; what is durable must be acknowledged in it anew."""
        self.epoch, self.durable_lsn = epoch, 0

    def on_ack(self, ack: VolumeCopyAcknowledged) -> bool:
        """Take an acknowledgement. True if the durable LSN advanced."""
        known = self.copies.get(ack.copy)
        if known is not None and (ack.incarnation, ack.sequence) < (known.incarnation, known.sequence):
            return False  # a late word, overtaken by a newer one
        self.copies[ack.copy] = ack
        return self._advance()

    def _advance(self) -> bool:
        durable = self.quorum.durable_lsn(
            ack.consistent_lsn
            for ack in self.copies.values()
            if ack.epoch == self.epoch == ack.log_epoch and not ack.joining
        )
        if durable <= self.durable_lsn:
            return False
        self.durable_lsn = durable
        return True

    def restore(self, acks: list[VolumeCopyAcknowledged], durable_lsn: int) -> None:
        """Take up stored state again."""
        self.copies = {ack.copy: ack for ack in acks}
        self.durable_lsn = durable_lsn

    def current(self) -> list[str]:
        """Copies that count in the epoch."""
        return sorted(
            copy
            for copy, ack in self.copies.items()
            if standing(ack, self.epoch) is Standing.CURRENT and not ack.joining
        )

    def joining(self) -> list[str]:
        """Copies that lost their logs and do not count yet."""
        return sorted(copy for copy, ack in self.copies.items() if ack.joining)

    def established(self) -> bool:
        """Whether a write quorum holds all that the epoch began with."""
        return len(self.current()) >= self.quorum.write

    def newest(self) -> VolumeCopyAcknowledged | None:
        """The acknowledgement with the newest epoch."""
        return max(self.copies.values(), key=lambda ack: ack.epoch, default=None)
