"""How far each group has come: committed offsets, and the tables of state that reflect them."""

from __future__ import annotations

from collections.abc import Sequence

from sixfold.bus.embedded import store as store_
from sixfold.bus.embedded import wire


class Progress:
    """Groups of one store. Used by the owner's thread alone."""

    def __init__(self, store: store_.Store) -> None:
        self._store = store
        self._execute = store.execute
        self._groups: dict[str, int] = {name: number for number, name in store.execute("SELECT id, name FROM groups")}

    def group_id(self, name: str) -> int:
        """Number of a group; made inside its own transaction where it is new."""
        number = self._groups.get(name)
        if number is None:
            with self._store.transaction():
                self._execute("INSERT INTO groups(name) VALUES(?)", (name,))
            number = self._groups[name] = self._store.connection.last_insert_rowid()
        return number

    def commit_offset(self, group: int, partition: int, offset: int, producer: int, sequence: int) -> None:
        """Store a group's offset."""
        self._execute(
            "INSERT OR REPLACE INTO offsets VALUES(?,?,?,?,?)", (group, partition, offset, producer, sequence)
        )

    def committed_by(self, group: str, partition: int) -> tuple[int, int, int] | None:
        """Committed offset, and the producer and sequence that committed it."""
        number = self._groups.get(group)
        return self._execute(
            "SELECT offset, producer, sequence FROM offsets WHERE grp = ? AND partition = ?", (number, partition)
        ).fetchone()

    def committed(self, group: str) -> list[tuple[int, int]]:
        """(partition, offset) of all that a group committed."""
        rows = self._execute("SELECT partition, offset FROM offsets WHERE grp = ?", (self._groups.get(group),))
        return [(partition, offset) for partition, offset in rows]

    def put_state(self, group: int, rows: Sequence[wire.State]) -> None:
        """Store or delete rows of a group's tables."""
        for row in rows:
            if row.value is None:
                self._execute(
                    "DELETE FROM state WHERE grp = ? AND name = ? AND partition = ? AND key = ?",
                    (group, row.table, row.partition, row.key),
                )
            else:
                self._execute(
                    "INSERT OR REPLACE INTO state VALUES(?,?,?,?,?)",
                    (group, row.table, row.partition, row.key, row.value),
                )

    def get_state(self, group: str, table: str, partition: int, key: bytes) -> bytes | None:
        """A stored row."""
        found = self._execute(
            "SELECT value FROM state WHERE grp = ? AND name = ? AND partition = ? AND key = ?",
            (self._groups.get(group), table, partition, key),
        ).fetchone()
        return None if found is None else found[0]

    def scan_state(
        self, group: str, table: str, partition: int, after: bytes | None, bytes_max: int
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Rows in key order with keys above `after`, and whether there are more than fit `bytes_max`."""
        rows: list[tuple[bytes, bytes]] = []
        for key, value in self._execute(
            "SELECT key, value FROM state WHERE grp = ?1 AND name = ?2 AND partition = ?3 AND (?4 IS NULL OR key > ?4)"
            " ORDER BY key",
            (self._groups.get(group), table, partition, after),
        ):
            rows.append((key, value))
            bytes_max -= len(key) + len(value)
            if bytes_max <= 0:
                return rows, True
        return rows, False
