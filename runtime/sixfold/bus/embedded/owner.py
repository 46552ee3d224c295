"""The owner's answers: takes each request of each connection to the store, the committer, the polls or the groups.

Whatever goes wrong is answered: a request without an answer is sent again to each next owner. A log that is damaged is
not handed on: this owner keeps it and answers everybody with the damage (`damage.py`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection

import apsw
import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import port
from sixfold.bus.embedded import catalogue, committer, coordinator, damage, housekeeping, marks, polls, progress, wire
from sixfold.bus.embedded import session as session_
from sixfold.bus.embedded import settings as settings_
from sixfold.bus.embedded import store as store_

_log = structlog.get_logger(__name__)
_ROWS_BYTES_MAX = 1024 * 1024


class Owner:
    """Serves one open store. Lives in one thread; a `session.Handler`."""

    def __init__(
        self,
        store: store_.Store,
        settings: settings_.Settings,
        clock: clocks.Clock,
        *,
        loop: asyncio.AbstractEventLoop,
        stop: Callable[[], None],
    ) -> None:
        """`stop` is called when the disk failed: the owner must step down."""
        self._store = store
        self._stop = stop
        self._closed = False
        self._damage: port.BusError | None = None
        self.sessions: set[session_.Session] = set()
        self._catalogue = catalogue.Catalogue(store)
        self._polls = polls.Polls(store)
        self._progress = progress.Progress(store)
        self._marks = marks.Marks(store)
        self._coordinator = coordinator.Coordinator(
            store,
            self._progress,
            self._catalogue,
            loop,
            grace_s=settings.takeover_grace_s if self._marks.members_left else 0.0,
            broken=self._broken,
        )
        self._committer = committer.Committer(store, self._progress, loop, committed=self._wake, broken=self._broken)
        self._housekeeper = housekeeping.Housekeeper(
            store,
            self._catalogue,
            settings,
            clock,
            loop,
            # Retries of what the last owner stored find it by its batch, which must not be compacted before they come.
            first_in_s=settings.connect_timeout_s if self._marks.owner_left else settings.housekeeping_s,
            before=self._committer.flush,
            broken=self._broken,
        )
        self._answers: dict[type, Callable[[wire.Call], wire.Reply]] = {
            wire.ListTopics: self._list_topics,
            wire.CreateTopics: self._create_topics,
            wire.DeleteTopic: self._delete_topic,
            wire.AlterTopic: self._alter_topic,
            wire.GetOffsets: self._get_offsets,
            wire.OffsetAt: self._offset_at,
            wire.GetCommitted: self._get_committed,
            wire.GetState: self._get_state,
            wire.ScanState: self._scan_state,
        }

    def opened(self, session: session_.Session) -> None:
        self.sessions.add(session)

    def closed(self, session: session_.Session) -> None:
        self.sessions.discard(session)
        if self._closed or self._damage:
            return
        try:
            self._committer.flush()
            self._polls.drop(session)
            self._coordinator.drop(session)
        except Exception as error:
            self._failed(error)

    def request(self, session: session_.Session, request: wire.Request) -> None:
        if self._closed:
            return  # the next owner gets it: whoever sent it sends it again
        if self._damage:
            _refuse(session, request, self._damage)
            return
        try:
            self._take(session, request)
        except Exception as error:
            _refuse(session, request, self._failed(error))

    def _take(self, session: session_.Session, request: wire.Request) -> None:
        if isinstance(request, wire.Write):
            self._write(session, request)
        elif isinstance(request, wire.Fetch):
            self._polls.add(session, request)
        elif isinstance(request, wire.Join):
            self._committer.flush()
            self._marks.members_come(session.process)
            self._coordinator.join(session, request)
        elif isinstance(request, wire.Revoked):
            self._committer.flush()
            self._coordinator.released(session, request)
        elif isinstance(request, wire.Leave):
            self._committer.flush()
            self._polls.drop(session, request.consumer)
            self._coordinator.leave(session, request.consumer)
            session.push(wire.Done(id=request.id))
        else:
            assert not isinstance(request, wire.Hello)
            self._committer.flush()
            session.push(self._answers[type(request)](request))

    def close(self) -> None:
        """Commit what came, and leave a mark where members go on under the next owner."""
        if self._closed or self._damage:
            return
        self._committer.flush()
        self._closed = True
        self._housekeeper.close()
        others = any(session.process != os.getpid() for session in self.sessions)
        try:
            self._marks.leave(members=self._coordinator.active, clients=others)
        except apsw.Error as error:
            _log.warning("the bus's owner left no mark for the next", action="bus.owner.unmarked", error=str(error))

    def _failed(self, error: Exception) -> errors.SixfoldError:
        """What to say of `error`, once the owner has drawn its conclusions."""
        problem = committer.translate(self._store, error)
        if isinstance(error, errors.SixfoldError) or isinstance(problem, port.StorageFullError):
            return problem
        if isinstance(error, apsw.Error) or damage.found(error):
            self._broken(error)
        else:
            _log.error("a request to the bus failed", action="bus.request.failed", exc_info=error)
        return problem

    def _broken(self, error: Exception) -> None:
        if self._closed or self._damage:
            return
        self._housekeeper.close()
        if damage.found(error):
            self._damage = damage.described(self._store.path, error)
            _log.error("the bus's log is damaged", action="bus.log.damaged", error=str(self._damage))
            for session in self.sessions:
                session.push(wire.Troubled(consumer=0, kind=type(self._damage).__name__, message=str(self._damage)))
            return
        _log.error(
            "the bus's disk failed, another owner must start afresh", action="bus.owner.failed", error=str(error)
        )
        self._closed = True
        self._stop()

    def _wake(self, partitions: Collection[int]) -> None:
        """There are new records."""
        try:
            self._polls.wake(partitions)
        except Exception as error:  # those who wait must hear of it
            self._polls.refuse(self._failed(error))

    def _write(self, session: session_.Session, write: wire.Write) -> None:
        if write.retry and (bases := self._stored(write)) is not None:
            session.push(wire.Written(id=write.id, bases=bases))
            return
        for batch in write.batches:
            spec = self._catalogue.spec_of(batch.partition)
            if spec is None:
                raise port.UnknownTopicError("the topic was deleted; create it again")
            if batch.record_bytes > spec.record_bytes_max:
                raise too_large(spec, batch.record_bytes)
        for partition, _ in write.offsets:
            if partition not in self._store.logs:
                raise port.UnknownTopicError("the topic was deleted; there is nothing to commit")
            if write.consumer and not self._coordinator.owns(session, write.consumer, partition):
                log = self._store.logs[partition]
                raise port.FencedError(
                    f"{log.topic}:{log.number} is not this member's of group {write.group!r} any more: a rebalance "
                    "gave it away. Nothing was stored; whoever has it now does the work again"
                )
        self._committer.add(session, write)

    def _stored(self, write: wire.Write) -> list[int] | None:
        """Base offsets of a write that an earlier owner stored before it died."""
        self._committer.flush()
        bases: list[int] = []
        seen: dict[int, int] = {}
        for batch in write.batches:
            count = seen.get(batch.partition, 0)
            base = self._store.find(batch.partition, write.producer, write.sequence, count, write.sent_ms)
            if base is None:
                return None
            bases.append(base)
            seen[batch.partition] = count + 1
        if bases:
            return bases
        for partition, _ in write.offsets:
            found = self._progress.committed_by(write.group, partition)
            if found is not None and found[1] == write.producer and found[2] >= write.sequence:
                return []
        return None

    def _list_topics(self, request: wire.Call) -> wire.Reply:
        return wire.Topics(id=request.id, topics=list(self._catalogue.topics.values()))

    def _create_topics(self, request: wire.Call) -> wire.Reply:
        assert isinstance(request, wire.CreateTopics)
        if self._catalogue.create(request.specs):
            self._coordinator.rebalance()
        return wire.Done(id=request.id)

    def _delete_topic(self, request: wire.Call) -> wire.Reply:
        assert isinstance(request, wire.DeleteTopic)
        partitions = self._catalogue.delete(request.name)
        self._housekeeper.topic_deleted()
        self._coordinator.rebalance()
        self._polls.deleted(partitions)
        return wire.Done(id=request.id)

    def _alter_topic(self, request: wire.Call) -> wire.Reply:
        assert isinstance(request, wire.AlterTopic)
        if self._catalogue.alter(request.spec):
            self._coordinator.rebalance()
        return wire.Done(id=request.id)

    def _get_offsets(self, request: wire.Call) -> wire.Reply:
        assert isinstance(request, wire.GetOffsets)
        logs = [self._log_of(partition) for partition in request.partitions]
        return wire.Ranges(id=request.id, ranges=[(log.start, log.end) for log in logs])

    def _log_of(self, partition: int) -> store_.Log:
        log = self._store.logs.get(partition)
        if log is None:
            raise port.UnknownTopicError("the topic was deleted; create it again")
        return log

    def _offset_at(self, request: wire.Call) -> wire.Reply:
        assert isinstance(request, wire.OffsetAt)
        self._log_of(request.partition)
        return wire.Found(id=request.id, offset=self._store.offset_at(request.partition, request.timestamp_ms))

    def _get_committed(self, request: wire.Call) -> wire.Reply:
        assert isinstance(request, wire.GetCommitted)
        return wire.Committed(id=request.id, offsets=self._progress.committed(request.group))

    def _get_state(self, request: wire.Call) -> wire.Reply:
        assert isinstance(request, wire.GetState)
        value = self._progress.get_state(request.group, request.table, request.partition, request.key)
        return wire.Rows(id=request.id, rows=[] if value is None else [(request.key, value)], more=False)

    def _scan_state(self, request: wire.Call) -> wire.Reply:
        assert isinstance(request, wire.ScanState)
        rows, more = self._progress.scan_state(
            request.group, request.table, request.partition, request.after, _ROWS_BYTES_MAX
        )
        return wire.Rows(id=request.id, rows=rows, more=more)


def _refuse(session: session_.Session, request: wire.Request, error: errors.SixfoldError) -> None:
    kind, message = type(error).__name__, str(error)
    if isinstance(request, wire.Join):
        session.push(wire.Joined(consumer=request.consumer, held=[], kind=kind, message=message))
    elif isinstance(request, wire.Fetch):
        session.push(wire.Troubled(consumer=request.consumer, kind=kind, message=message))
    elif isinstance(request, wire.Call):
        session.fail(request.id, error)


def too_large(spec: port.TopicSpec, found: int) -> port.RecordTooLargeError:
    """The error for a record above its topic's limit."""
    return port.RecordTooLargeError(
        f"a record of {found} bytes with its headers; topic {spec.name!r} takes at most {spec.record_bytes_max}: "
        "put the content elsewhere and publish a reference, or raise the topic's record_bytes_max. Nothing was stored"
    )
