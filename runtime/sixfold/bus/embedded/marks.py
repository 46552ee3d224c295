"""Marks in the log that tell the next owner whether the last one was cut short, and who goes on under the next."""

from __future__ import annotations

import contextlib

import apsw

from sixfold.bus.embedded import store as store_

_OWNER = "owner"
_MEMBERS = "members"


class Marks:
    """Set while an owner runs, taken away when it ends with nobody left."""

    def __init__(self, store: store_.Store) -> None:
        self._store = store
        found = {str(name) for (name,) in store.execute("SELECT name FROM marks")}
        self.owner_left = _OWNER in found
        """The last owner was killed, or other clients go on under this one: retries may come."""
        self.members_left = _MEMBERS in found
        """Members of groups may come back."""
        self._members = self.members_left
        if not self.owner_left:
            self._set(_OWNER)

    def members_come(self) -> None:
        """A group has a member."""
        if not self._members:
            self._members = self._set(_MEMBERS)

    def leave(self, *, members: bool, clients: bool) -> None:
        """The owner ends; `members` of groups and other `clients` go on or not."""
        gone = ([] if members else [_MEMBERS]) + ([] if clients else [_OWNER])
        with contextlib.suppress(apsw.FullError), self._store.transaction():
            for name in gone:
                self._store.execute("DELETE FROM marks WHERE name = ?", (name,))

    def _set(self, name: str) -> bool:
        """False on a full disk: a mark is a help to the next owner, not worth refusing readers for."""
        try:
            with self._store.transaction():
                self._store.execute("INSERT OR REPLACE INTO marks VALUES(?, 1)", (name,))
        except apsw.FullError:
            return False
        return True
