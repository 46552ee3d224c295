"""Rows of one partition's tables: what is stored, under what handlers wrote and the bus has not stored yet.

A partition's rows have one writer, the worker that owns it, so rows once read stay true until it writes them or the
partition goes away (each `Partition` has a `Tables` of its own): they are kept, within a limit. Without that, the
second record of a batch would not see what the first one wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from sixfold.bus import port
from sixfold.context import TableReader

ROWS_MAX = 4_000
"""Rows kept for reading, of one table's partition; at 1 KB each, 4 MB. More of them cost more, too: a processor's caches
are smaller."""


class _Share:
    """What is known of one table's partition."""

    __slots__ = ("earlier", "rows", "settles", "unsettled")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        """Those used last, as the bus has them; None is a row that is not there."""
        self.earlier: dict[bytes, bytes | None] = {}
        """Those used before; they go all at once, since one by one they would cost more than to read a few again."""
        self.unsettled: dict[bytes, port.StatePut] = {}
        """What is to be stored over both."""
        self.settles = 0


class Tables:
    """Reads through to `reader`, keeps what it read, and lays unsettled writes over it."""

    def __init__(self, reader: TableReader, *, rows_max: int = ROWS_MAX) -> None:
        self._reader = reader
        self._rows_max = rows_max
        self._shares: dict[tuple[str, int], _Share] = {}

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """The row as the next handler must see it."""
        share = self._share(table, partition)
        while True:
            put = share.unsettled.get(key)
            if put is not None:
                return put.value
            if key in share.rows:
                return share.rows[key]
            if key in share.earlier:
                value = share.earlier[key]
            else:
                settles = share.settles
                value = await self._reader.state_get(table, partition, key)
                if share.settles != settles or key in share.rows or key in share.unsettled:
                    continue  # it may have been written meanwhile, and even settled and dropped from memory again
            share.rows[key] = value
            self._trim(share)
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
            self._share(put.table, put.partition).unsettled[put.key] = put

    def settled(self, puts: Iterable[port.StatePut]) -> None:
        """The bus has stored these."""
        for (table, partition), group in groupby(puts, lambda put: (put.table, put.partition)):
            share = self._share(table, partition)
            share.settles += 1
            rows, unsettled = share.rows, share.unsettled
            for put in group:
                key = put.key
                if unsettled.get(key) is put:  # else a later handler wrote the row again meanwhile
                    del unsettled[key]
                rows[key] = put.value
            self._trim(share)

    def _share(self, table: str, partition: int) -> _Share:
        share = self._shares.get((table, partition))
        if share is None:
            share = self._shares[table, partition] = _Share()
        return share

    def _trim(self, share: _Share) -> None:
        if len(share.rows) >= self._rows_max // 2:
            share.earlier, share.rows = share.rows, {}
