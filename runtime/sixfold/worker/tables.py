"""Rows of one partition's tables: what is stored, under what handlers wrote and the bus has not stored yet.

A partition's rows have one writer, the worker that owns it, so rows once read stay true until it writes them or the
partition goes away (each `Partition` has a `Tables` of its own): they are kept, within a limit. Without that, the
second record of a batch would not see what the first one wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from sixfold.bus import port
from sixfold.context import TableReader

ROWS_MAX = 10_000
"""Rows kept for reading, of one table's partition; at 1 KB each, 10 MB."""
DROPPED = 10
"""One of so many goes when there are too many, the oldest ones: one by one they would be ever slower to find."""


class _Share:
    """What is known of one table's partition."""

    __slots__ = ("rows", "unsettled")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        """As the next handler must see them; None is a row that is not there."""
        self.unsettled: dict[bytes, port.StatePut] = {}
        """Those that the bus has not stored yet; `rows` has them, too."""


class Tables:
    """Reads through to `reader`, keeps what it read, and lays unsettled writes over it."""

    def __init__(self, reader: TableReader, *, rows_max: int = ROWS_MAX) -> None:
        self._reader = reader
        self._rows_max = rows_max
        self._shares: dict[tuple[str, int], _Share] = {}

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """The row as the next handler must see it."""
        share = self._share(table, partition)
        if key in share.rows:
            return share.rows[key]
        value = await self._reader.state_get(table, partition, key)
        if key in share.rows:  # another handler wrote or read it meanwhile
            return share.rows[key]
        self._keep(share, key, value)
        return value

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        """All rows of a table's partition in key order, unsettled writes included."""
        rows: dict[bytes, bytes | None] = dict(await self._reader.state_scan(table, partition))
        for key, put in self._share(table, partition).unsettled.items():
            rows[key] = put.value
        return [(key, value) for key, value in sorted(rows.items()) if value is not None]

    def wrote(self, puts: Iterable[port.StatePut]) -> None:
        """A handler returned, having written these."""
        for put in puts:
            share = self._share(put.table, put.partition)
            share.unsettled[put.key] = put
            self._keep(share, put.key, put.value)

    def settled(self, puts: Iterable[port.StatePut]) -> None:
        """The bus has stored these."""
        for put in puts:
            unsettled = self._share(put.table, put.partition).unsettled
            if unsettled.get(put.key) is put:  # else a later handler wrote the row again meanwhile
                del unsettled[put.key]

    def _share(self, table: str, partition: int) -> _Share:
        share = self._shares.get((table, partition))
        if share is None:
            share = self._shares[table, partition] = _Share()
        return share

    def _keep(self, share: _Share, key: bytes, value: bytes | None) -> None:
        rows = share.rows
        rows[key] = value
        if len(rows) > self._rows_max:
            for each in list(islice(rows, self._rows_max // DROPPED + 1)):
                kept = rows.pop(each)
                if each in share.unsettled:
                    rows[each] = kept  # to the end, so that it does not keep those behind it from going
