"""Fetches that wait for records: answered at once where there are some, else when a commit brings them."""

from __future__ import annotations

from collections.abc import Iterable

from sixfold import errors
from sixfold.bus.embedded import session as session_
from sixfold.bus.embedded import store as store_
from sixfold.bus.embedded import wire

_Key = tuple[int, int]


class Polls:
    """All waiting fetches, at most one a consumer. Used by the owner's thread alone."""

    def __init__(self, store: store_.Store) -> None:
        self._store = store
        self._waiting: dict[_Key, tuple[session_.Session, wire.Fetch]] = {}
        self._by_partition: dict[int, set[_Key]] = {}

    def add(self, session: session_.Session, fetch: wire.Fetch) -> None:
        """Answer `fetch`, now or later; an earlier one of the same consumer is forgotten."""
        key = (session.number, fetch.consumer)
        self._forget(key)
        gone = [partition for partition, _ in fetch.wants if partition not in self._store.logs]
        if gone:
            session.push(wire.Lost(consumer=fetch.consumer, partitions=gone))
        if not self._answer(session, fetch):
            self._waiting[key] = (session, fetch)
            for partition, _ in fetch.wants:
                self._by_partition.setdefault(partition, set()).add(key)

    def wake(self, partitions: Iterable[int]) -> None:
        """Answer those that waited for these partitions."""
        for partition in partitions:
            for key in list(self._by_partition.get(partition, ())):
                session, fetch = self._waiting[key]
                if self._answer(session, fetch):
                    self._forget(key)

    def deleted(self, partitions: Iterable[int]) -> None:
        """Tell those that wait for partitions of a deleted topic."""
        lost: dict[_Key, list[int]] = {}
        for partition in partitions:
            for key in self._by_partition.get(partition, ()):
                lost.setdefault(key, []).append(partition)
        for key, gone in lost.items():
            session, fetch = self._waiting[key]
            session.push(wire.Lost(consumer=fetch.consumer, partitions=gone))

    def refuse(self, error: errors.SixfoldError) -> None:
        """Tell all that wait that nothing will come."""
        for key, (session, fetch) in list(self._waiting.items()):
            self._forget(key)
            session.push(wire.Troubled(consumer=fetch.consumer, kind=type(error).__name__, message=str(error)))

    def drop(self, session: session_.Session, consumer: int | None = None) -> None:
        """Forget a consumer's fetch, or all of a connection."""
        for key in [key for key in self._waiting if key[0] == session.number and consumer in (None, key[1])]:
            self._forget(key)

    def _forget(self, key: _Key) -> None:
        found = self._waiting.pop(key, None)
        if found is not None:
            for partition, _ in found[1].wants:
                keys = self._by_partition[partition]
                keys.discard(key)
                if not keys:
                    del self._by_partition[partition]

    def _answer(self, session: session_.Session, fetch: wire.Fetch) -> bool:
        budget = fetch.bytes_max
        found: list[wire.Stored] = []
        for partition, offset in fetch.wants:
            log = self._store.logs.get(partition)
            if log is None or offset >= log.end:
                continue
            read = self._store.read(partition, max(offset, log.start), budget)
            if not read:  # retention took all up to the end; whoever reads must get there all the same
                read = [wire.Stored(partition, offset, log.end - 1, b"")]
            budget -= sum(len(batch.payload) for batch in read)
            found += read
            if budget <= 0:
                break
        if found:
            session.push(wire.Fetched(consumer=fetch.consumer, token=fetch.token, batches=found))
        return bool(found)
