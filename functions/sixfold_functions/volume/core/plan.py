"""How a volume is spread over protection groups: a plan, which is data and never changes.

Each group is six copies in three zones, with redo, epochs, membership and LSNs of its own: a volume in all but name. A
record of a plain volume belongs to the group that its volume LSN's stripe is in; a change of a page to the group of its
page's stripe. How many pages there are concerns every group, so that record is in all of them.
Source: Verbitski et al., "Amazon Aurora", SIGMOD 2017, section 3.1 (protection groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from sixfold_functions.volume.core import layout, pages

GROUPS_MAX = 64
"""Each is six processes and nine topics."""
STRIPE_MAX = 1 << 30
STRIPE = 256
"""Pages or records that lie together: a megabyte of pages of 4 KiB, so that a scan asks one group for a while."""


class PlanError(ValueError):
    """A plan that cannot be; the message says what was expected."""


class Stripe(NamedTuple):
    """A stripe of pages, or of volume LSNs, and whose it is."""

    first: int
    last: int
    group: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Which group of a volume has what."""

    volume: str
    groups: int
    """How many; they are numbered from 1."""
    stripe: int = STRIPE
    """So many pages (or records, by volume LSN) that follow each other lie in one group, the next ones in the next."""
    page_bytes: int = 0
    """0 for a volume of plain records, else the size of its pages."""

    def check(self) -> Plan:
        """This plan. Raises PlanError for one that cannot be."""
        if not 1 <= self.groups <= GROUPS_MAX:
            raise PlanError(f"{self.groups} groups: expected 1 to {GROUPS_MAX}, each of six copies")
        if not 1 <= self.stripe <= STRIPE_MAX:
            raise PlanError(f"a stripe of {self.stripe}: expected 1 to {STRIPE_MAX} pages or records")
        if self.page_bytes and self.page_bytes not in pages.PAGE_BYTES:
            known = ", ".join(map(str, pages.PAGE_BYTES))
            raise PlanError(f"pages of {self.page_bytes} bytes: expected 0 for plain records, or one of {known}")
        return self

    @property
    def numbers(self) -> range:
        """The groups' numbers."""
        return range(1, self.groups + 1)

    def volume_of(self, group: int) -> str:
        """The name by which a group's topics, copies and folders are found."""
        return layout.group_name(self.volume, group)

    def group_of(self, number: int) -> int:
        """The group of a page, or of the record with this volume LSN (whose first is 1)."""
        return (number - (0 if self.page_bytes else 1)) // self.stripe % self.groups + 1

    def groups_of(self, lsn: int, record: bytes) -> Sequence[int]:
        """The groups that `record` goes to: one, or all. Raises NotAPageRecordError in a volume of pages."""
        if not self.page_bytes:
            return (self.group_of(lsn),)
        change = pages.parse(lsn, record)
        return self.numbers if change.kind is pages.Kind.SIZE else (self.group_of(change.page),)

    def stripes(self) -> list[Stripe]:
        """The first stripe of each group; they go on in the same order."""
        first = 0 if self.page_bytes else 1
        begins = [first + (group - 1) * self.stripe for group in self.numbers]
        return [Stripe(begin, begin + self.stripe - 1, self.group_of(begin)) for begin in begins]
