"""Which copies a volume has, and how one is replaced: in two steps, each of which can be gone back from.

1. `replacing`: two sets of six count, the old one and the one with the new copy. Every quorum is needed in each.
2. `replaced` leaves only the new set, or `undone` only the old one.

A version is *settled* once a write quorum of each set that counts, its own and those of the version before, has stored
it and holds everything durable; only then do the sets of the version before cease to count, and only then may a next
version begin. So of two memberships that follow each other every read quorum of the one meets every write quorum of the
other, and whoever begins with an old membership hears of the next one from a read quorum of it, and so on to the newest.

A writer's word on the membership is fenced by its epoch as its records are. The same version may be said by two writers
(the first one's word reached too few); the later epoch's word is the one that counts, as for records of one LSN.
Sources: Verbitski et al., "Amazon Aurora: On Avoiding Distributed Consensus", SIGMOD 2018, section 4; Ongaro, "Raft",
2014, section 4.3 (joint consensus).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass

from sixfold_events.volume import CopyPlace, VolumeMembershipChanged
from sixfold_functions.volume.core import layout

Set = tuple[str, ...]


class MembershipError(ValueError):
    """A change that cannot begin now; the message says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Membership:
    """The copies of a volume at one version."""

    version: int = 0
    epoch: int = 0
    """Of the writer whose word it is; 0 for what every volume begins with."""
    places: tuple[layout.Place, ...] = layout.PLACES
    """Every copy that there ever was."""
    sets: tuple[Set, ...] = (layout.COPIES,)
    """One, or two: the old and the new one."""
    previous: tuple[Set, ...] = ()
    """Sets of the version before, until this one is settled."""

    @property
    def settled(self) -> bool:
        """Whether the version before counts no more."""
        return not self.previous

    @property
    def key(self) -> tuple[int, int, bool]:
        """Its order among the words on the membership."""
        return self.epoch, self.version, self.settled

    @functools.cached_property
    def counting(self) -> tuple[Set, ...]:
        """The sets of which each needs its quorum."""
        return tuple(dict.fromkeys((*self.previous, *self.sets)))

    @functools.cached_property
    def members(self) -> tuple[str, ...]:
        """Copies of the sets that count, in the order of their places."""
        counted = {copy for members in self.counting for copy in members}
        return tuple(place.copy for place in self.places if place.copy in counted)

    @property
    def member_places(self) -> tuple[layout.Place, ...]:
        """Where the members live."""
        members = self.members
        return tuple(place for place in self.places if place.copy in members)

    @property
    def change(self) -> tuple[str, str] | None:
        """(the copy that is being replaced, the one that replaces it) while two sets count; else None."""
        if len(self.sets) < 2:
            return None
        old, new = self.sets
        return next(copy for copy in old if copy not in new), next(copy for copy in new if copy not in old)

    def place(self, copy: str) -> layout.Place | None:
        """Where `copy` lives or lived; None where there never was one of that name."""
        return next((place for place in self.places if place.copy == copy), None)

    def is_removed(self, copy: str) -> bool:
        """Whether `copy` is no member any more and never will be one again."""
        return self.version > 0 and self.settled and copy not in self.members

    # -- changing --------------------------------------------------------------------------------------------------

    def replacing(self, copy: str, taken: Iterable[layout.Place] = ()) -> Membership:
        """Step 1: a new copy in the same zone beside `copy`. Raises MembershipError.

        `taken` are places that other writers may have given, so that their names and numbers are not used again.
        """
        self._check_settled()
        if self.change is not None:
            old, new = self.change
            raise MembershipError(
                f"{old} is being replaced by {new} already; wait for that (sixfold volume status), "
                f"or go back from it: sixfold volume replace {old} --undo"
            )
        (old_set,) = self.sets
        place = self.place(copy)
        if place is None or copy not in old_set:
            was = "is no member any more" if place is not None else "was never one of its copies"
            raise MembershipError(f"{copy} {was}; expected one of {', '.join(old_set)}")
        known = tuple(dict.fromkeys((*self.places, *taken)))
        added = layout.following(place.zone, known)
        new_set = tuple(added.copy if each == copy else each for each in old_set)
        return dataclasses.replace(
            self,
            version=self.version + 1,
            places=(*known, added),
            sets=(old_set, new_set),
            previous=self.sets,
        )

    def replaced(self) -> Membership:
        """Step 2: only the set with the new copy. Raises MembershipError."""
        return self._only(1)

    def undone(self) -> Membership:
        """Step 2 the other way: only the set with the old copy. Raises MembershipError."""
        return self._only(0)

    def _only(self, index: int) -> Membership:
        self._check_settled()
        if self.change is None:
            raise MembershipError("no copy is being replaced, so there is nothing to end or to go back from")
        return dataclasses.replace(self, version=self.version + 1, sets=(self.sets[index],), previous=self.sets)

    def _check_settled(self) -> None:
        if not self.settled:
            raise MembershipError(
                "a write quorum has not stored the last change yet; start the copies that are down, then try again"
            )

    def of_epoch(self, epoch: int) -> Membership:
        """The same by the word of the writer of `epoch`."""
        return dataclasses.replace(self, epoch=epoch)

    def settle(self) -> Membership:
        """The version before counts no more."""
        return dataclasses.replace(self, previous=())


FIRST = Membership()
"""What every volume begins with."""


def event_of(membership: Membership, volume: str) -> VolumeMembershipChanged:
    """`membership` as an event."""
    return VolumeMembershipChanged(
        volume=volume,
        epoch=membership.epoch,
        version=membership.version,
        places=[CopyPlace(copy=copy, zone=zone, partition=partition) for copy, zone, partition in membership.places],
        sets=[list(members) for members in membership.sets],
        previous=[list(members) for members in membership.previous],
    )


def of_event(event: VolumeMembershipChanged) -> Membership:
    """The membership that `event` tells of."""
    return Membership(
        version=event.version,
        epoch=event.epoch,
        places=tuple(layout.Place(place.copy, place.zone, place.partition) for place in event.places),
        sets=tuple(tuple(members) for members in event.sets),
        previous=tuple(tuple(members) for members in event.previous),
    )
