"""Topics and their partitions, kept in the log's file."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sixfold.bus import checking, port
from sixfold.bus.embedded import store as store_
from sixfold.bus.embedded import wire

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(port.TopicSpec)


class Catalogue:
    """The topics of one store. Used by the owner's thread alone."""

    def __init__(self, store: store_.Store) -> None:
        self._store = store
        self.topics: dict[str, wire.Topic] = {}
        for number, blob in store.execute("SELECT id, spec FROM topics").fetchall():
            assert isinstance(blob, bytes)
            spec = _decoder.decode(blob)
            rows = store.execute("SELECT id FROM partitions WHERE topic = ? ORDER BY number", (number,))
            self.topics[spec.name] = wire.Topic(spec, tuple(row[0] for row in rows))

    def spec_of(self, partition: int) -> port.TopicSpec | None:
        """The topic that a partition belongs to; None where it is gone."""
        log = self._store.logs.get(partition)
        return None if log is None else self.topics[log.topic].spec

    def create(self, specs: Sequence[port.TopicSpec]) -> bool:
        """Make those that do not exist; true where any was made. Raises TopicConflictError, then none is made."""
        new: dict[str, port.TopicSpec] = {}
        for spec in specs:
            checking.topic(spec)
            existing = self.topics[spec.name].spec if spec.name in self.topics else new.get(spec.name)
            if existing is None:
                new[spec.name] = spec
            elif not checking.fits(spec, existing.partitions):
                raise port.TopicConflictError(
                    f"topic {spec.name!r} exists with {existing.partitions} partitions, {spec.partitions} were "
                    "declared; declare as many as it has, or delete it first"
                )
        made: list[tuple[wire.Topic, list[store_.Log]]] = []
        if not new:
            return False
        with self._store.transaction():
            for spec in new.values():
                self._store.execute("INSERT INTO topics(name, spec) VALUES(?,?)", (spec.name, _encoder.encode(spec)))
                number = self._store.connection.last_insert_rowid()
                logs = []
                for index in range(spec.partitions):
                    self._store.execute("INSERT INTO partitions(topic, number) VALUES(?,?)", (number, index))
                    identity = self._store.connection.last_insert_rowid()
                    logs.append(store_.Log(identity, spec.name, index, 0, 0, 0, 0, 0))
                made.append((wire.Topic(spec, tuple(log.id for log in logs)), logs))
        for topic, logs in made:
            self.topics[topic.spec.name] = topic
            self._store.logs.update((log.id, log) for log in logs)
        return True

    def alter(self, spec: port.TopicSpec) -> bool:
        """Give a topic new settings; true where it has more partitions now. Raises as `port.Bus.alter_topic` does."""
        checking.topic(spec)
        topic = self.topics.get(spec.name)
        if topic is None:
            raise unknown(spec.name)
        count = len(topic.partitions)
        if spec.partitions < count:
            raise port.TopicConflictError(
                f"topic {spec.name!r} has {count} partitions, {spec.partitions} were declared; partitions are not taken "
                "away: declare as many as it has, or use another name"
            )
        kept = {"replication": topic.spec.replication, "replica_zones": topic.spec.replica_zones}
        spec = msgspec.structs.replace(spec, **kept)
        logs = []
        with self._store.transaction():
            self._store.execute("UPDATE topics SET spec = ? WHERE name = ?", (_encoder.encode(spec), spec.name))
            for index in range(count, spec.partitions):
                self._store.execute(
                    "INSERT INTO partitions(topic, number) SELECT id, ? FROM topics WHERE name = ?", (index, spec.name)
                )
                logs.append(store_.Log(self._store.connection.last_insert_rowid(), spec.name, index, 0, 0, 0, 0, 0))
        self.topics[spec.name] = wire.Topic(spec, (*topic.partitions, *(log.id for log in logs)))
        self._store.logs.update((log.id, log) for log in logs)
        return bool(logs)

    def delete(self, name: str) -> tuple[int, ...]:
        """Delete a topic; its partitions' ids. Their batches are swept away later. Raises UnknownTopicError."""
        topic = self.topics.get(name)
        if topic is None:
            raise unknown(name)
        with self._store.transaction():
            for partition in topic.partitions:
                self._store.execute("DELETE FROM offsets WHERE partition = ?", (partition,))
                self._store.execute("DELETE FROM partitions WHERE id = ?", (partition,))
                self._store.execute("INSERT INTO trash VALUES(?)", (partition,))
            self._store.execute("DELETE FROM topics WHERE name = ?", (name,))
        del self.topics[name]
        for partition in topic.partitions:
            del self._store.logs[partition]
        return topic.partitions


def unknown(name: str) -> port.UnknownTopicError:
    """The error for a topic that does not exist."""
    return port.UnknownTopicError(f"no topic {name!r}; create it, or check its name with `sixfold topics`")
