"""Changes of keys that the admin lane made a moment ago: a decision must see them before they are in the log."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sixfold.context import Table
from sixfold_events.kms import AliasChanged, GrantChanged, KeyChanged
from sixfold_functions.kms.deciding import Change

KEEP_MS = 10 * 60 * 1000
"""By then they are in the log, or the worker has stopped."""
_PREFIX = "recent/"
_TYPES: dict[str, type[Change]] = {cls.__name__: cls for cls in (KeyChanged, AliasChanged, GrantChanged)}


class Recent:
    """Recent changes among the rows of one partition, the newest of each entry."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def changes(self) -> list[Change]:
        """All of them."""
        rows = [row for name, row in await self._table.items() if name.startswith(_PREFIX)]
        return [msgspec.convert(data, _TYPES[kind]) for kind, _, data in rows]

    async def add(self, changes: Sequence[Change], now_ms: int) -> None:
        """Remember these, and forget those that are old."""
        for name, row in await self._table.items() if changes else ():
            if name.startswith(_PREFIX) and row[1] < now_ms - KEEP_MS:
                self._table.delete(name)
        for change in changes:
            self._table.put(_PREFIX + change.entry, (type(change).__name__, now_ms, msgspec.to_builtins(change)))
