"""Quorum arithmetic of six copies in three zones, enumerated.

A write quorum of 4 and a read quorum of 3 meet in at least one copy (4 + 3 > 6), and two write quorums meet (4 + 4 > 6).
With two copies in each zone, writes survive the loss of a zone, and data that of a zone and one more copy ("AZ+1").
While a copy is being replaced, two sets of six count: whatever needs a quorum needs one in each of them.
Sources: Verbitski et al., "Amazon Aurora", SIGMOD 2017, section 2.1; SIGMOD 2018, section 4.1 (membership changes).
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sixfold_functions.volume.core import layout

Sets = Sequence[Sequence[str]]
"""Sets of six copies that count: one, or two while a copy is being replaced."""


class Power(enum.Enum):
    """What a volume can do with the copies that answer."""

    WRITE = "writes and reads"
    READ = "reads, and recovery of everything durable; no writes"
    PARTIAL = "reads of what the answering copies hold; no recovery"
    NONE = "nothing"


@dataclass(frozen=True)
class Quorum:
    """How many copies make a write durable, and how many a recovery must hear."""

    copies: int = 6
    write: int = 4
    read: int = 3

    def is_safe(self) -> bool:
        """Whether every recovery hears of every durable write, and two writers can never both write."""
        return self.write + self.read > self.copies and 2 * self.write > self.copies

    def durable_lsn(self, lsns: Iterable[int]) -> int:
        """The highest LSN that a write quorum holds: the fourth-highest of the copies' LSNs; 0 where fewer answer."""
        ranked = sorted(lsns, reverse=True)
        return ranked[self.write - 1] if len(ranked) >= self.write else 0

    def joint_durable_lsn(self, lsns: Mapping[str, int], sets: Sets) -> int:
        """The highest LSN that a write quorum of each set holds, from the LSNs of the copies that count."""
        return min(self.durable_lsn(lsns[copy] for copy in members if copy in lsns) for members in sets)

    def writes(self, copies: Collection[str], sets: Sets) -> bool:
        """Whether `copies` have a write quorum of each set."""
        return all(sum(copy in copies for copy in members) >= self.write for members in sets)

    def reads(self, copies: Collection[str], sets: Sets) -> bool:
        """Whether `copies` have a read quorum of each set."""
        return all(sum(copy in copies for copy in members) >= self.read for members in sets)

    def power(self, answering: Collection[str], sets: Sets = (layout.COPIES,)) -> Power:
        """What can be done with the `answering` copies."""
        if self.writes(answering, sets):
            return Power.WRITE
        if self.reads(answering, sets):
            return Power.READ
        return Power.PARTIAL if any(copy in answering for members in sets for copy in members) else Power.NONE


FOUR_OF_SIX = Quorum()
