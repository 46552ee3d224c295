"""Copies of changelogs on this machine's disk, in one LMDB file for each member of a group that runs here.

The changelog is the truth and the file may be lost at any time, so nothing of it is synced to disk, and what is stored in
quick succession waits in memory and is written together, in the order of the keys: neighbours go into the same page. A
member that is killed loses the last moment of it. The file is kept when its member ends: the next one reads only what was
added since. `TABLES/<group>.<n>.lmdb` belongs to the process that has the file `.lock` beside it locked; whoever comes
takes the lowest that is free, so a restart finds its own again.

LMDB since a row that is stored or read is dearest where there are many: a third of what SQLite takes of a million.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import lmdb

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.kafka import lmdb_file

FOLDER = "tables"
"""In the data folder."""
BYTES_MAX = 1 << 40
"""A file's limit. It is address space that is set aside, not disk nor memory."""
WRITE_S = 1.0
"""What is stored is written this long after the last write, when more comes."""
WAITING_ROWS = 4_096
"""Or when so many rows wait: the pages that they touch are in memory for a moment, 4 KiB for each at most."""
WAITING_BYTES = 8 * 1024 * 1024
"""Or so many bytes of them."""
_COPY = struct.Struct(">IQQ")
"""Number, next offset and `synced_ms`; the topic's id follows, if it has one."""
_NUMBER = struct.Struct(">I")
_OFFSET = struct.Struct(">Q")
_LAST = b"\0"
"""Under it instead of a topic's partition is the last number that was given."""


class Copy(NamedTuple):
    """A partition of a changelog as the file has it."""

    topic_id: bytes | None
    next_offset: int
    """The next changelog offset after those that it holds."""
    synced_ms: int
    """When it was last known to hold all up to there, in Unix milliseconds."""


class Part:
    """The copy of one partition of a changelog."""

    __slots__ = ("_copies", "copy", "number", "reflected", "rows")

    def __init__(self, copies: Copies, number: bytes | None) -> None:
        self._copies = copies
        self.number = number
        """Its rows in the file begin with it; None while it has none there."""
        self.copy: Copy | None = None
        """With `rows` and `reflected` what was stored and is not written yet."""
        self.rows: dict[bytes, bytes | None] = {}
        self.reflected: dict[str, int] = {}

    def get(self, key: bytes) -> bytes | None:
        """A row."""
        if key in self.rows:
            return self.rows[key]
        number = self.number
        if number is None:
            return None
        file = self._copies.file
        try:
            return file.rows.get(file.reader, number, key)
        except lmdb.Error as error:
            raise self._copies.unavailable(error) from error

    def is_written(self) -> None:
        """Nothing waits any more."""
        self.copy = None
        self.rows = {}
        self.reflected = {}


class Copies:
    """One member's file. Its calls take microseconds a row, so they need no thread of their own."""

    def __init__(self, data_dir: Path, group_prefix: str, clock: clocks.Clock, *, bytes_max: int = BYTES_MAX) -> None:
        self._clock = clock
        self._folder = data_dir / FOLDER
        self._prefix = group_prefix
        self._path = self._folder
        self._bytes_max = bytes_max
        self._open: lmdb_file.LmdbFile | None = None
        self._parts: dict[tuple[str, int], Part] = {}
        self._waiting_rows = self._waiting_bytes = 0
        self._written_s = -math.inf
        self.losses = 0
        """How often what was stored last was lost again, as the disk did not take it: then nothing read before is sure."""

    def close(self) -> None:
        """Write what waits, and let go of the file; another member may take it up."""
        if self._open is not None:
            with contextlib.suppress(port.BusUnavailableError):  # the next one reads it again
                self._write()
        file, self._open = self._open, None
        self._parts.clear()
        if file is not None:
            file.close()

    def find(self, topic: str, partition: int) -> Copy | None:
        """What there is of a partition."""
        waiting = self.part(topic, partition).copy
        if waiting is not None:
            return waiting
        with self._failing():
            found = self.file.transaction.get(_name(topic, partition), db=self.file.copies)
        if found is None:
            return None
        _, next_offset, synced_ms = _COPY.unpack_from(found)
        return Copy(found[_COPY.size :] or None, next_offset, synced_ms)

    def drop(self, topic: str, partition: int) -> None:
        """Forget what there is of a partition; `sweep` deletes its rows."""
        with self._writing() as file:
            part = self.part(topic, partition)
            if part.number is not None:
                file.transaction.put(part.number, b"", db=file.dropped)
                file.transaction.delete(_name(topic, partition), db=file.copies)
                part.number = None

    def store(
        self,
        topic: str,
        partition: int,
        copy: Copy,
        rows: Mapping[bytes, bytes | None],
        reflected: Mapping[str, int],
    ) -> None:
        """Take in rows (None deletes) and what they reflect; the copy is as `copy` says then.

        Raises BusUnavailableError where the disk does not take it; then earlier ones may be lost, too (`losses`).
        """
        part = self.part(topic, partition)
        part.copy = copy
        before = len(part.rows)
        part.rows.update(rows)
        for name, offset in reflected.items():
            part.reflected[name] = max(offset, part.reflected.get(name, 0))
        self._waiting_rows += len(part.rows) - before
        self._waiting_bytes += sum(map(len, rows)) + sum(map(len, filter(None, rows.values())))
        if (
            self._waiting_rows >= WAITING_ROWS
            or self._waiting_bytes >= WAITING_BYTES
            or self._clock.monotonic() - self._written_s >= WRITE_S
        ):
            self._write()

    def part(self, topic: str, partition: int) -> Part:
        """The copy of one partition, to read rows of; good for as long as nothing is lost."""
        part = self._parts.get((topic, partition))
        if part is None:
            with self._failing():
                found = self.file.transaction.get(_name(topic, partition), db=self.file.copies)
            number = None if found is None else found[: _NUMBER.size]
            part = self._parts[topic, partition] = Part(self, number)
        return part

    def page(self, topic: str, partition: int, after: bytes | None, count: int) -> list[tuple[bytes, bytes]]:
        """At most `count` rows in key order, those with keys above `after`."""
        self._write()
        with self._failing():
            number = self.part(topic, partition).number
            return [] if number is None else self.file.rows.page(self.file.transaction, number, after, count)

    def reflected(self, topic: str, partition: int) -> dict[str, int]:
        """The next input offset by input topic, after those that the rows reflect."""
        self._write()
        found: dict[str, int] = {}
        with self._failing():
            number = self.part(topic, partition).number
            if number is not None:
                with self.file.transaction.cursor(db=self.file.reflected) as cursor:
                    more = cursor.set_range(number)
                    while more and cursor.key().startswith(number):
                        found[cursor.key()[_NUMBER.size :].decode()] = _OFFSET.unpack(cursor.value())[0]
                        more = cursor.next()
        return found

    def sweep(self, count: int) -> bool:
        """Delete about `count` rows of copies that were dropped; true where there may be more."""
        with self._writing() as file, file.transaction.cursor(db=file.dropped) as dropped:
            if not dropped.first():
                return False
            number = dropped.key()
            if not file.rows.delete(file.transaction, number, count):
                dropped.delete()
                with file.transaction.cursor(db=file.reflected) as cursor:
                    while cursor.set_range(number) and cursor.key().startswith(number):
                        cursor.delete()
        return True

    def _write(self) -> None:
        """Have in the file what waits."""
        if any(part.copy is not None for part in self._parts.values()):
            with self._writing():
                pass

    @contextlib.contextmanager
    def _writing(self) -> Iterator[lmdb_file.LmdbFile]:
        """A change to the file, after what waits. All of it is taken or nothing; then what waited is lost."""
        with self._failing():
            file = self.file
            try:
                for (topic, partition), part in self._parts.items():
                    if part.copy is not None:
                        self._put(file, topic, partition, part, part.copy)
                yield file
                file.commit()
                self._written_s = self._clock.monotonic()
            except BaseException:
                self.losses += 1
                self._parts.clear()
                file.abort()
                raise
            finally:
                self._waiting_rows = self._waiting_bytes = 0
                for part in self._parts.values():
                    part.is_written()

    def _put(self, file: lmdb_file.LmdbFile, topic: str, partition: int, part: Part, copy: Copy) -> None:
        transaction = file.transaction
        number = part.number = part.number or self._new_number(file)
        packed = _COPY.pack(_NUMBER.unpack(number)[0], copy.next_offset, copy.synced_ms)
        transaction.put(_name(topic, partition), packed + (copy.topic_id or b""), db=file.copies)
        file.rows.put(transaction, number, part.rows)
        for name, offset in part.reflected.items():
            at = number + name.encode()
            before = transaction.get(at, db=file.reflected)
            if before is None or _OFFSET.unpack(before)[0] < offset:
                transaction.put(at, _OFFSET.pack(offset), db=file.reflected)

    @staticmethod
    def _new_number(file: lmdb_file.LmdbFile) -> bytes:
        """Never one that was given before: rows of a copy that was dropped may still be there."""
        (last,) = _NUMBER.unpack(file.transaction.get(_LAST, bytes(_NUMBER.size), db=file.copies))
        number = _NUMBER.pack(last + 1)
        file.transaction.put(_LAST, number, db=file.copies)
        return number

    @property
    def file(self) -> lmdb_file.LmdbFile:
        """The member's file, opened when it is first needed."""
        if self._open is None:
            self._open = self._take_one()
        return self._open

    def _take_one(self) -> lmdb_file.LmdbFile:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            number = 0
            while (taken := lmdb_file.take(self._path_of(number), _NUMBER.size, self._bytes_max)) is None:
                number += 1
        except OSError as error:
            raise port.BusUnavailableError(
                f"the copies of tables in {self._folder} cannot be used: {error.strerror}; check its path and permissions"
            ) from error
        self._path = self._path_of(number)
        return taken

    def _path_of(self, number: int) -> Path:
        return self._folder / f"{self._prefix}{number}.lmdb"

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: lmdb.Error) -> port.BusUnavailableError:
        """What LMDB says, and what to do."""
        return port.BusUnavailableError(
            f"the copy of tables {self._path} cannot be used: {error}. Make room where the disk is full; else stop the "
            "process and delete the file, the tables are restored from the cluster"
        )


def _name(topic: str, partition: int) -> bytes:
    return b"%b\0%d" % (topic.encode(), partition)
