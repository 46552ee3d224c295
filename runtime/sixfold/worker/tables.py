"""Rows of one partition's tables: what is stored, under what handlers wrote and the bus has not stored yet.

A partition's rows have one writer, the worker that owns it, so rows once read stay true until it writes them or the
partition goes away (each `Partition` has a `Tables` of its own): they are kept, within a limit. Without that, the
second record of a batch would not see what the first one wrote.
"""

from __future__ import annotations

from collections.abc import Iterable

from sixfold.bus import port
from sixfold.context import TableReader

ROWS_MAX = 10_000
"""Rows kept for reading; at 1 KB each, 10 MB a partition."""

Row = tuple[str, int, bytes]


class Tables:
    """Reads through to `reader`, keeps what it read, and lays unsettled writes over it."""

    def __init__(self, reader: TableReader, *, rows_max: int = ROWS_MAX) -> None:
        self._reader = reader
        self._rows_max = rows_max
        self._clean: dict[Row, bytes | None] = {}
        self._dirty: dict[Row, port.StatePut] = {}

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """The row as the next handler must see it."""
        row = (table, partition, key)
        written = self._dirty.get(row)
        if written is not None:
            return written.value
        if row in self._clean:
            return self._clean[row]
        value = await self._reader.state_get(table, partition, key)
        self._keep(row, value)
        return value

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        """All rows of a table's partition in key order, unsettled writes included."""
        rows: dict[bytes, bytes | None] = dict(await self._reader.state_scan(table, partition))
        for (name, number, key), put in self._dirty.items():
            if (name, number) == (table, partition):
                rows[key] = put.value
        return [(key, value) for key, value in sorted(rows.items()) if value is not None]

    def wrote(self, puts: Iterable[port.StatePut]) -> None:
        """A handler returned, having written these."""
        for put in puts:
            self._dirty[put.table, put.partition, put.key] = put

    def settled(self, puts: Iterable[port.StatePut]) -> None:
        """The bus has stored these."""
        for put in puts:
            row = (put.table, put.partition, put.key)
            if self._dirty.get(row) is put:
                del self._dirty[row]
                self._keep(row, put.value)
            # Else a later handler wrote the row again meanwhile; that write stays on top.

    def _keep(self, row: Row, value: bytes | None) -> None:
        self._clean.pop(row, None)
        self._clean[row] = value
        if len(self._clean) > self._rows_max:
            del self._clean[next(iter(self._clean))]
