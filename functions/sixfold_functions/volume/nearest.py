"""A volume's members in the order in which a replica goes to them: the one that it follows, those of its zone, the others."""

from __future__ import annotations

from collections.abc import Container

from sixfold.bus import port
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.membership import FIRST, Membership


class Nearest:
    """The order, and the copy that is followed."""

    def __init__(self, volume: str, zone: str) -> None:
        self.followed = ""
        """Whose partition it is; empty for none yet."""
        self._zone = zone
        self._redo = layout.topics(volume).redo
        self.use(FIRST)

    def use(self, membership: Membership) -> None:
        """Go to the members of `membership` from now on; the one that is followed stays so while it is one."""
        self._partitions = {place.copy: place.partition for place in membership.places}

        def order(place: layout.Place) -> tuple[bool, bool, str]:
            return place.copy != self.followed, place.zone != self._zone, place.copy

        self.copies = [place.copy for place in sorted(membership.member_places, key=order)]

    @property
    def is_left(self) -> bool:
        """Whether the copy that is followed is no member any more."""
        return self.followed not in self.copies

    def prefer(self, answering: Container[str]) -> None:
        """Go to those first that answer."""
        self.copies.sort(key=lambda copy: copy not in answering)

    def put_last(self) -> None:
        """The first one does not serve."""
        self.copies.append(self.copies.pop(0))

    def follow(self) -> port.TopicPartition:
        """Follow the first one: its partition."""
        self.followed = self.copies[0]
        return port.TopicPartition(self._redo, self._partitions[self.followed])
