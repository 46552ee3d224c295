"""Group commit: every write that came in while the last group was being committed goes into the next, with one fsync.

The owner's thread reads all sockets that have something, then commits what came, then answers: the disk sets the
pace, and there is no second thread to hand over to.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Collection
from typing import NamedTuple

import apsw

from sixfold import errors
from sixfold.bus import port
from sixfold.bus.embedded import damage, wire
from sixfold.bus.embedded import progress as progress_
from sixfold.bus.embedded import session as session_
from sixfold.bus.embedded import store as store_


class _Waiting(NamedTuple):
    session: session_.Session
    write: wire.Write
    group: int


class Committer:
    """Collects writes and commits them. Used by the owner's thread alone."""

    def __init__(
        self,
        store: store_.Store,
        progress: progress_.Progress,
        loop: asyncio.AbstractEventLoop,
        *,
        committed: Callable[[Collection[int]], None],
        broken: Callable[[Exception], None],
    ) -> None:
        """`committed` is told the partitions that got records, `broken` that the disk failed and no commit is safe."""
        self._store = store
        self._progress = progress
        self._loop = loop
        self._committed = committed
        self._broken = broken
        self._waiting: list[_Waiting] = []

    def add(self, session: session_.Session, write: wire.Write) -> None:
        """Commit `write` with the next group. Raises what makes it impossible; then nothing of it is stored."""
        group = self._progress.group_id(write.group) if write.group else 0
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(_Waiting(session, write, group))

    def flush(self) -> None:
        """Commit all that waits, answer, and tell of the partitions that got records."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        touched: set[int] = set()
        if not self._try(waiting, touched):
            # Alone, each fails or passes on its own account: a full disk may still take the small ones.
            for one in waiting:
                self._try([one], touched, last=True)
        if touched:
            self._committed(touched)
        if self._store.checkpoint_due:
            self._loop.call_later(0.001, self._checkpoint)

    def _checkpoint(self) -> None:
        if self._store.checkpoint_due:
            try:
                self._store.checkpoint()
            except apsw.Error as error:
                self._broken(error)

    def _try(self, group: list[_Waiting], touched: set[int], *, last: bool = False) -> bool:
        answers: list[list[int]] = []
        try:
            with self._store.transaction():
                for one in group:
                    answers.append(self._apply(one))
        except Exception as error:  # whatever it is, those who wait must hear of it
            if damage.found(error) or (isinstance(error, apsw.IOError) and not _is_full(self._store, error)):
                # After a failed fsync the kernel may have dropped what it could not write (fsyncgate): nothing that is
                # written on top of it can be trusted. The owner gives up; the next one starts from what is readable.
                problem = translate(self._store, error)
                for one in group:
                    one.session.fail(one.write.id, problem)
                self._broken(error)
                return True
            if last or len(group) == 1:
                group[0].session.fail(group[0].write.id, translate(self._store, error))
                return True
            return False
        for one, bases in zip(group, answers, strict=True):
            one.session.push(wire.Written(id=one.write.id, bases=bases))
            touched.update(batch.partition for batch in one.write.batches)
        return True

    def _apply(self, one: _Waiting) -> list[int]:
        store, write = self._store, one.write
        bases = [store.append(batch, write.producer, write.sequence) for batch in write.batches]
        self._progress.put_state(one.group, write.state)
        for partition, offset in write.offsets:
            self._progress.commit_offset(one.group, partition, offset, write.producer, write.sequence)
        return bases


def _is_full(store: store_.Store, error: apsw.Error) -> bool:
    # A delayed allocation may report the full disk only at fsync; what SQLite then knows is the system's error.
    return isinstance(error, apsw.FullError) or store.connection.system_errno in (errno.ENOSPC, errno.EDQUOT)


def translate(store: store_.Store, error: Exception) -> errors.SixfoldError:
    """The bus's word for what went wrong in the store."""
    if isinstance(error, errors.SixfoldError):
        return error
    if damage.found(error):
        return damage.described(store.path, error)
    if isinstance(error, apsw.Error) and _is_full(store, error):
        return port.StorageFullError(
            f"the disk under {store.path} is full: nothing of this call was stored; make room and try again"
        )
    if isinstance(error, apsw.IOError):
        return port.BusError(f"the disk under {store.path} failed: {error}")
    return port.BusError(f"the log {store.path} failed: {type(error).__name__}: {error}")
