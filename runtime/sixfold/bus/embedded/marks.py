"""Marks in the log that tell the next owner whether the last one was cut short, and who goes on under the next."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

import apsw

from sixfold.bus.embedded import store as store_

_OWNER = "owner"
_MEMBER = "member:"
"""With the number of a process that has members of groups."""


class Marks:
    """Set while an owner runs, taken away when it ends with nobody left."""

    def __init__(self, store: store_.Store) -> None:
        self._store = store
        found = {str(name) for (name,) in store.execute("SELECT name FROM marks")}
        self.owner_left = _OWNER in found
        """The last owner was killed, or other clients go on under this one: retries may come."""
        members = {name for name in found if name.startswith(_MEMBER)}
        gone = {name for name in members if not _runs(int(name.removeprefix(_MEMBER)))}
        self._members = members - gone
        self.members_left = bool(self._members)
        """A process with members of groups still runs: they come back."""
        self._change(add=[_OWNER], remove=gone)

    def members_come(self, process: int) -> None:
        """A process has a member of a group."""
        name = f"{_MEMBER}{process}"
        if name not in self._members and self._change(add=[name]):
            self._members.add(name)

    def leave(self, *, members: bool, clients: bool) -> None:
        """The owner ends; `members` of groups and other `clients` go on or not."""
        self._change(remove=[*([] if members else self._members), *([] if clients else [_OWNER])])

    def _change(self, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> bool:
        """False on a full disk: a mark is a help to the next owner, not worth refusing readers for."""
        with contextlib.suppress(apsw.FullError), self._store.transaction():
            for name in add:
                self._store.execute("INSERT OR REPLACE INTO marks VALUES(?, 1)", (name,))
            for name in remove:
                self._store.execute("DELETE FROM marks WHERE name = ?", (name,))
            return True
        return False


def _runs(process: int) -> bool:
    """True where there is such a process; one that got the number later only costs its group a short wait."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
