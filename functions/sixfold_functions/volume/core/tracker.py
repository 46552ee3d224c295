"""The quorum tracker: from acknowledgements to the durable LSN.

VDL is the fourth-highest consistency point that copies of the current epoch hold on disk. Rounding down to a
consistency point keeps the order of LSNs, so the fourth-highest of the rounded is the rounded fourth-highest. A copy
that is new or lost its log and is being filled does not count. While a copy is being replaced, two sets of six count,
and VDL is the lower of what each gives; copies that are in no set are not heard.

The writer runs one for its appends; the tracker function runs another for status. Both see the same events.
"""

from __future__ import annotations

import enum
from collections.abc import Collection

from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume.core.membership import FIRST, Membership
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX, Quorum, Sets


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

    def __init__(self, quorum: Quorum = FOUR_OF_SIX, epoch: int = 0, membership: Membership = FIRST) -> None:
        self.quorum = quorum
        self.epoch = epoch
        self.durable_lsn = 0
        """VDL; it never goes back within an epoch."""
        self.copies: dict[str, VolumeCopyAcknowledged] = {}
        """The newest word of each member."""
        self.use(membership)

    def use(self, membership: Membership) -> None:
        """Count for `membership` from now on."""
        self.membership = membership
        self._sets = membership.counting
        self._members = frozenset(membership.members)
        self.copies = {copy: ack for copy, ack in self.copies.items() if copy in self._members}

    def begin(self, epoch: int) -> None:
        """Count for `epoch` from now on; what is durable must be acknowledged in it anew."""
        self.epoch, self.durable_lsn = epoch, 0

    def on_ack(self, ack: VolumeCopyAcknowledged) -> bool:
        """Take an acknowledgement. True if the durable LSN advanced."""
        if ack.copy not in self._members:
            return False
        known = self.copies.get(ack.copy)
        if known is not None and (ack.incarnation, ack.sequence) < (known.incarnation, known.sequence):
            return False  # a late word, overtaken by a newer one
        self.copies[ack.copy] = ack
        return self.advance()

    def advance(self) -> bool:
        """Count anew. True if the durable LSN advanced."""
        lsns = {copy: ack.consistent_lsn for copy, ack in self.counted().items()}
        durable = self.quorum.joint_durable_lsn(lsns, self._sets)
        if durable <= self.durable_lsn:
            return False
        self.durable_lsn = durable
        return True

    def counted(self) -> dict[str, VolumeCopyAcknowledged]:
        """Members that hold all that the epoch began with, and their words."""
        return {
            copy: ack
            for copy, ack in self.copies.items()
            if ack.epoch == self.epoch == ack.log_epoch and not ack.joining
        }

    def holds_all(self, copies: Collection[str], sets: Sets | None = None) -> bool:
        """Whether those of `copies` that hold everything durable are a write quorum of each set that counts."""
        counted = self.counted()
        level = [copy for copy in copies if copy in counted and counted[copy].consistent_lsn >= self.durable_lsn]
        return self.quorum.writes(level, self._sets if sets is None else sets)

    def restore(self, acks: list[VolumeCopyAcknowledged], durable_lsn: int) -> None:
        """Take up stored state again."""
        self.copies = {ack.copy: ack for ack in acks}
        self.durable_lsn = durable_lsn

    def current(self) -> list[str]:
        """Copies that count in the epoch."""
        return sorted(self.counted())

    def joining(self) -> list[str]:
        """Copies that are new or lost their logs and do not count yet."""
        return sorted(copy for copy, ack in self.copies.items() if ack.joining)

    def established(self) -> bool:
        """Whether a write quorum of each set holds all that the epoch began with."""
        return self.quorum.writes(self.counted(), self._sets)

    def newest(self) -> VolumeCopyAcknowledged | None:
        """The acknowledgement with the newest epoch."""
        return max(self.copies.values(), key=lambda ack: ack.epoch, default=None)
