"""Quorum arithmetic of six copies in three zones, enumerated.

A write quorum of 4 and a read quorum of 3 meet in at least one copy (4 + 3 > 6), and two write quorums meet (4 + 4 > 6).
With two copies in each zone, writes survive the loss of a zone, and data that of a zone and one more copy ("AZ+1").
Source: Verbitski et al., "Amazon Aurora", SIGMOD 2017, section 2.1.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass


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

    def power(self, answering: Collection[str]) -> Power:
        """What can be done with the `answering` copies."""
        if len(answering) >= self.write:
            return Power.WRITE
        if len(answering) >= self.read:
            return Power.READ
        return Power.PARTIAL if answering else Power.NONE


FOUR_OF_SIX = Quorum()
