"""Rows of one partition's tables: what is stored, under what handlers wrote and the bus has not stored yet.

A partition's rows have one writer, the worker that owns it, so rows once read stay true until it writes them or the
partition goes away (each `PartitionState` has a `Tables` of its own): they are kept, within limits. Without that, the
second record of a batch would not see what the first one wrote.

What handlers write is gathered in one mapping, which is what the bus stores in the end: until it has, the mapping lies
over the stored rows, under those that were begun after it. So a row is not copied from one form to the next.
"""

from __future__ import annotations

from collections import deque

from sixfold.bus import port
from sixfold.context import TableReader

ROWS_MAX = 4_000
"""Rows kept for reading, of one table's partition. More of them cost more, too: a processor's caches are smaller."""
BYTES_MAX = 4_000_000
"""And bytes of their keys and values, for rows above 1 KB."""


class _Kept:
    """What is known of a table's partition that is read."""

    __slots__ = ("bytes", "earlier", "rows", "settles")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        """Those used last, as the bus has them; None is a row that is not there."""
        self.earlier: port.Rows = {}
        """Those used before; they go all at once, since one by one they would cost more than to read a few again."""
        self.bytes = 0
        """What came to `rows`; one that came again counts again."""
        self.settles = 0


class Tables:
    """Reads through to `reader`, keeps what it read, and lays unsettled writes over it."""

    def __init__(self, reader: TableReader, *, rows_max: int = ROWS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._reader = reader
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._open: dict[tuple[str, int], dict[bytes, bytes | None]] = {}
        """What was written since `take`."""
        self._taken: deque[port.State] = deque()
        """What was taken and is not settled, the oldest first."""
        self._kept: dict[tuple[str, int], _Kept] = {}

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """The row as the next handler must see it."""
        place = table, partition
        while True:
            written = self._written(place, key)
            if written is not None:
                return written[key]
            kept = self._kept.get(place)
            if kept is None:
                kept = self._kept[place] = _Kept()
            rows = kept.rows
            if key in rows:
                return rows[key]
            if key in kept.earlier:
                value = kept.earlier[key]
            else:
                settles = kept.settles
                value = await self._reader.state_get(table, partition, key)
                if kept.settles != settles or key in kept.rows or self._written(place, key) is not None:
                    continue  # it may have been written meanwhile, and even settled and dropped from memory again
                rows = kept.rows
            rows[key] = value
            kept.bytes += len(key) + (len(value) if value else 0)
            if len(rows) >= self._rows_max // 2 or kept.bytes >= self._bytes_max // 2:
                self._turn(kept)
            return value

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        """All rows of a table's partition in key order, unsettled writes included."""
        place = table, partition
        # Those that are settled while the bus reads may have come too late for it.
        layers = [*self._taken, self._open]
        rows: dict[bytes, bytes | None] = dict(await self._reader.state_scan(table, partition))
        for layer in (*layers, *self._taken, self._open):
            rows.update(layer.get(place, {}))
        return [(key, value) for key, value in sorted(rows.items()) if value is not None]

    def _written(self, place: tuple[str, int], key: bytes) -> port.Rows | None:
        """The newest of the rows that are not settled yet where this one is among them."""
        rows: port.Rows | None = self._open.get(place)
        if rows is not None and key in rows:
            return rows
        for state in reversed(self._taken):
            rows = state.get(place)
            if rows is not None and key in rows:
                return rows
        return None

    def wrote(self, state: port.State) -> None:
        """A handler returned, having written these."""
        for place, rows in state.items():
            written = self._open.get(place)
            if written is None:
                self._open[place] = dict(rows)
            else:
                written.update(rows)

    @property
    def written(self) -> bool:
        """Whether something was written since the last `take`."""
        return bool(self._open)

    def take(self) -> port.State:
        """What was written since the last call, to be stored; then `settled` is to be called, in the same order."""
        taken, self._open = self._open, {}
        self._taken.append(taken)
        return taken

    def settled(self) -> None:
        """The bus has stored what was taken first."""
        for place, rows in self._taken.popleft().items():
            kept = self._kept.get(place)
            if kept is None:
                continue  # nobody reads them
            kept.settles += 1
            kept.rows.update(rows)
            kept.bytes += sum(map(len, rows)) + sum(map(len, filter(None, rows.values())))
            if len(kept.rows) >= self._rows_max // 2 or kept.bytes >= self._bytes_max // 2:
                self._turn(kept)

    def _turn(self, kept: _Kept) -> None:
        kept.earlier, kept.rows, kept.bytes = kept.rows, {}, 0
