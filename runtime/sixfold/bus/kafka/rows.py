"""Rows of many copies in one LMDB database, in the order of their keys.

LMDB takes keys of 511 bytes at most. Longer ones that begin alike share an entry, which is where their beginning alone
would be, so that the order stays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

BEGINNING = 480
"""Keys of so many bytes and more go into the entry of their beginning."""
_LENGTHS = struct.Struct(">II")


class Rows:
    """`database` of an LMDB, opened; `copy` in its calls is a prefix of fixed length, so that no two run into each other."""

    def __init__(self, database: Any, copy_bytes: int) -> None:
        self._database = database
        self._copy_bytes = copy_bytes

    def get(self, cursor: Any, copy: bytes, key: bytes) -> bytes | None:
        """A row, read by a `cursor` that stays open: rows that are read one after another are often neighbours."""
        if len(key) < BEGINNING:
            return cursor.value() if cursor.set_key(copy + key) else None
        found = cursor.value() if cursor.set_key(copy + key[:BEGINNING]) else b""
        return _unpacked(found).get(key[BEGINNING:])

    def put(self, transaction: Any, copy: bytes, rows: Mapping[bytes, bytes | None]) -> None:
        """Store rows, in the order of their keys: neighbours are found together. None deletes."""
        short = [
            (copy + key, value) for key in sorted(rows) if (value := rows[key]) is not None and len(key) < BEGINNING
        ]
        if short:
            with self.cursor(transaction) as cursor:
                cursor.putmulti(short)
        if len(short) < len(rows):
            self._put_others(transaction, copy, rows)

    def _put_others(self, transaction: Any, copy: bytes, rows: Mapping[bytes, bytes | None]) -> None:
        entries: dict[bytes, dict[bytes, bytes]] = {}
        for key, value in rows.items():
            at = copy + key[:BEGINNING]
            if len(key) < BEGINNING:
                if value is None:
                    transaction.delete(at, db=self._database)
                continue
            if at not in entries:
                entries[at] = self._entry(transaction, at)
            if value is None:
                entries[at].pop(key[BEGINNING:], None)
            else:
                entries[at][key[BEGINNING:]] = value
        for at, entry in entries.items():
            if entry:
                packed = [_LENGTHS.pack(len(rest), len(value)) + rest + value for rest, value in sorted(entry.items())]
                transaction.put(at, b"".join(packed), db=self._database)
            else:
                transaction.delete(at, db=self._database)

    def page(self, transaction: Any, copy: bytes, after: bytes | None, count: int) -> list[tuple[bytes, bytes]]:
        """At most `count` rows in key order, those with keys above `after`."""
        found: list[tuple[bytes, bytes]] = []
        with self.cursor(transaction) as cursor:
            for at, value in self._entries(cursor, copy, (after or b"")[:BEGINNING]):
                key = at[self._copy_bytes :]
                rows = [(key, value)]
                if len(key) == BEGINNING:
                    rows = [(key + rest, value) for rest, value in _unpacked(value).items()]
                found += [row for row in rows if after is None or row[0] > after]
                if len(found) >= count:
                    break
        return found[:count]

    def delete(self, transaction: Any, copy: bytes, count: int) -> bool:
        """Delete about `count` rows of a copy; true where there may be more."""
        with self.cursor(transaction) as cursor:
            for _ in range(count):
                if not cursor.set_range(copy) or not cursor.key().startswith(copy):
                    return False
                cursor.delete()
        return True

    def _entries(self, cursor: Any, copy: bytes, begin: bytes) -> Iterator[tuple[bytes, bytes]]:
        more = cursor.set_range(copy + begin)
        while more and (at := cursor.key()).startswith(copy):
            yield at, cursor.value()
            more = cursor.next()

    def _entry(self, transaction: Any, at: bytes) -> dict[bytes, bytes]:
        return _unpacked(transaction.get(at, b"", db=self._database))

    def cursor(self, transaction: Any) -> Any:
        """To read with, for as long as the transaction lasts."""
        return transaction.cursor(db=self._database)


def _unpacked(entry: bytes) -> dict[bytes, bytes]:
    """The rest of each key, and its value, in order."""
    found, at = dict[bytes, bytes](), 0
    while at < len(entry):
        key_bytes, value_bytes = _LENGTHS.unpack_from(entry, at)
        at += _LENGTHS.size
        found[entry[at : at + key_bytes]] = entry[at + key_bytes : at + key_bytes + value_bytes]
        at += key_bytes + value_bytes
    return found
