"""Topics of a cluster: made, found, described, deleted; and the committed offsets of groups, which live beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.metadata import MetadataRequest

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import checking, port
from sixfold.bus.kafka import bootstrap, connecting, failures, identities, lifecycle, specs
from sixfold.bus.kafka import settings as kafka_settings

_T = TypeVar("_T")

SETTLED_S = 0.5
"""How long a topic that a broker does not know is asked for again: brokers hear of a new topic one after the other."""
CREATED_S = 15.0
"""How long a new topic may take to have leaders, a deleted one to be gone."""
POLL_S = 0.02
STOP_S = 5.0
"""How long disconnecting may take."""


class Topic(NamedTuple):
    """What a publisher or a reader must know of a topic."""

    partitions: int
    record_bytes_max: int
    compacted: bool
    seen_s: float
    """When the cluster last had it so, on the monotonic clock."""


class Committed(NamedTuple):
    """A group's committed offset and the note that was left with it."""

    offset: int
    note: str


class TopicAdmin:
    """The administrative connection of one bus. Use between `open` and `close`."""

    def __init__(self, servers: str, clock: clocks.Clock, settings: kafka_settings.KafkaSettings) -> None:
        self._bootstrap = servers
        self._clock = clock
        self._settings = settings
        self._client: Any = None
        self._known: dict[str, Topic] = {}

    async def open(self) -> None:
        """Connect. Raises BusUnavailableError when no broker answers within `connect_timeout_s`, BusRefusedError when one
        refuses us."""
        servers = await bootstrap.answering(self._bootstrap, self._settings.connect_timeout_s)
        deadline = self._clock.monotonic() + self._settings.connect_timeout_s
        while True:
            client = AIOKafkaAdminClient(
                bootstrap_servers=servers,
                request_timeout_ms=int(self._settings.request_timeout_s * 1000),
                retry_backoff_ms=self._settings.retry_backoff_ms,
                **connecting.options(self._settings),
            )
            try:
                await lifecycle.start(client, max(0.1, deadline - self._clock.monotonic()))
            except asyncio.CancelledError:
                await self._stop(client)
                raise
            except (kafka.KafkaError, TimeoutError, OSError) as error:
                await self._stop(client)
                refusal = await connecting.refusal(self._bootstrap, self._settings, self._settings.connect_timeout_s)
                if refusal is not None and refusal.is_final:
                    raise port.BusRefusedError(refusal.text) from error
                if self._clock.monotonic() + kafka_settings.CONNECT_ATTEMPT_S >= deadline:
                    if refusal is not None:
                        raise port.BusUnavailableError(refusal.text) from error
                    raise failures.unavailable(self._bootstrap, "connecting") from error
                await self._clock.sleep(kafka_settings.CONNECT_ATTEMPT_S)
                servers = await bootstrap.answering(self._bootstrap, self._settings.connect_timeout_s)
            else:
                self._client = client
                return

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await self._stop(client)

    async def _stop(self, client: Any) -> None:
        await lifecycle.stop(client.close(), client._client, STOP_S)

    async def call(self, doing: str, request: Callable[[Any], Awaitable[_T]]) -> _T:
        """Send a request that may be sent twice, again while brokers come and go, until `request_timeout_s` is over."""
        if self._client is None:
            raise errors.UsageError(f"the bus is not open while {doing}; use it inside `async with`")
        deadline = self._clock.monotonic() + self._settings.request_timeout_s
        while True:
            try:
                async with asyncio.timeout(max(0.1, deadline - self._clock.monotonic())):
                    return await request(self._client)
            except (kafka.KafkaError, TimeoutError, OSError) as error:
                passing = isinstance(error, (TimeoutError, OSError)) or error.retriable
                if not passing or self._clock.monotonic() >= deadline:
                    raise failures.unavailable(self._bootstrap, doing, repr(error)) from error
            await self._clock.sleep(self._settings.retry_backoff_ms / 1000)
            async with asyncio.timeout(self._settings.request_timeout_s):
                await self._client._client.force_metadata_update()

    async def describe(self, names: Sequence[str] | None) -> dict[str, dict[str, Any]]:
        """Topics by name as the cluster's metadata has them; those that do not exist are left out. None is all."""
        listed = await self.call("describing topics", lambda client: client.describe_topics(names and list(names)))
        return {entry["topic"]: entry for entry in listed if entry["error_code"] == 0}

    async def ids(self, names: Iterable[str]) -> dict[str, bytes]:
        """The cluster's ids of topics by name; none from brokers older than 2.8, which have no ids."""
        request = identities.TopicIdsRequest(list(names))
        try:
            return identities.ids(await self.call("describing topics", lambda client: client._send_request(request)))
        except NotImplementedError:
            return {}

    async def configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """Settings of topics by name."""
        if not names:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        answers = await self.call("reading topic settings", lambda client: client.describe_configs(resources))
        return {
            resource[3]: {entry[0]: entry[1] for entry in resource[4]}
            for answer in answers
            for resource in answer.resources
            if resource[0] == 0
        }

    async def find(self, name: str) -> Topic:
        """The topic, from memory where it was met before. Raises UnknownTopicError."""
        known = self._known.get(name)
        if known is not None:
            return known
        deadline = self._clock.monotonic() + SETTLED_S
        while not (entry := (await self.describe([name])).get(name)):
            if self._clock.monotonic() >= deadline:
                raise failures.unknown_topic(name)
            await self._clock.sleep(POLL_S)
        entries = (await self.configs([name])).get(name, {})
        compacted = "compact" in entries.get("cleanup.policy", "")
        topic = Topic(len(entry["partitions"]), specs.record_bytes_max(entries), compacted, self._clock.monotonic())
        self._known[name] = topic
        return topic

    async def again(self, name: str) -> Topic:
        """The topic as it is now, whatever is remembered of it. Raises UnknownTopicError."""
        self.forget(name)
        return await self.find(name)

    async def check(self, partition: port.TopicPartition) -> None:
        """Raise UsageError where the topic does not have the partition, UnknownTopicError where there is no topic."""
        if partition.partition >= (await self.find(partition.topic)).partitions:
            self.forget(partition.topic)  # it may have got more meanwhile
        count = (await self.find(partition.topic)).partitions
        if not 0 <= partition.partition < count:
            raise checking.no_partition(partition.topic, partition.partition, count)

    def known(self, name: str) -> Topic | None:
        """The topic if `find` met it before."""
        return self._known.get(name)

    async def confirm(self, names: Iterable[str]) -> None:
        """Forget those of these topics that are gone, or were made again with other partitions, since they were met."""
        now_s = self._clock.monotonic()
        met = {name: self._known[name] for name in names if name in self._known}
        old = [name for name, topic in met.items() if now_s - topic.seen_s >= self._settings.topic_age_s_max]
        described = await self.describe(old) if old else {}
        for name in old:
            if name in described and len(described[name]["partitions"]) == met[name].partitions:
                self._known[name] = met[name]._replace(seen_s=now_s)
            else:
                self.forget(name)

    def forget(self, name: str) -> None:
        """Ask the cluster again next time: it may have been deleted."""
        self._known.pop(name, None)

    async def create(self, declared: Sequence[port.TopicSpec]) -> None:
        """Make the topics that do not exist and wait until they have leaders. Raises TopicConflictError."""
        for spec in declared:
            checking.topic(spec)
        existing = await self.describe([spec.name for spec in declared]) if declared else {}
        counts = {name: len(found["partitions"]) for name, found in existing.items()}
        new_specs: dict[str, port.TopicSpec] = {}
        for spec in declared:
            if not checking.fits(spec, counts.setdefault(spec.name, spec.partitions)):
                raise specs.conflict(spec, counts[spec.name])
            if spec.name not in existing:
                new_specs.setdefault(spec.name, spec)
        missing = list(new_specs.values())
        if not missing:
            return
        racks = await self.racks() if any(spec.replica_zones for spec in missing) else {}
        new = [self._new_topic(spec, specs.place(spec, racks)) for spec in missing]
        answer = await self.call("creating topics", lambda client: client.create_topics(new))
        for name, code, *message in answer.topic_errors:
            error = kafka.for_code(code)
            if error not in (kafka.NoError, kafka.TopicAlreadyExistsError):
                detail = message[0] if message and message[0] else error.__name__
                raise errors.UsageError(f"topic {name!r} cannot be created: {detail}")
        await self._await_leaders(missing)

    def _new_topic(self, spec: port.TopicSpec, placed: dict[int, list[int]]) -> Any:
        entries = specs.configs(spec, self._settings)
        if placed:
            if len(placed[0]) == 1:
                entries["min.insync.replicas"] = "1"
            return NewTopic(spec.name, -1, -1, replica_assignments=placed, topic_configs=entries)
        if spec.replication == 1:
            entries["min.insync.replicas"] = "1"
        new = NewTopic(spec.name, spec.partitions, spec.replication or 1, topic_configs=entries)
        if spec.replication is None:
            new.replication_factor = -1  # the cluster's default; aiokafka's constructor does not know it
        return new

    async def racks(self) -> dict[int, str]:
        """The brokers' zones by node id."""
        cluster = await self.call("describing the cluster", lambda client: client.describe_cluster())
        return {broker["node_id"]: broker["rack"] for broker in cluster["brokers"] if broker["rack"]}

    async def _await_leaders(self, created: Sequence[port.TopicSpec]) -> None:
        declared = {spec.name: spec for spec in created}
        deadline = self._clock.monotonic() + CREATED_S
        while True:
            waiting: set[str] = set()
            for view in await self._views(list(declared)):
                led = {name for name, entry in view.items() if all(p["leader"] >= 0 for p in entry["partitions"])}
                waiting |= set(declared) - led
                for name, entry in view.items():
                    if len(entry["partitions"]) != declared[name].partitions:
                        raise specs.conflict(declared[name], len(entry["partitions"]))
            if not waiting:
                return
            if self._clock.monotonic() >= deadline:
                raise failures.unavailable(self._bootstrap, f"waiting for leaders of {', '.join(sorted(waiting))}")
            await self._clock.sleep(POLL_S)

    async def _views(self, names: Sequence[str]) -> list[dict[str, dict[str, Any]]]:
        """`describe` as each broker that answers sees it: they hear of a change one after the other."""

        async def ask(client: Any) -> list[Any]:
            nodes = [broker.nodeId for broker in client._client.cluster.brokers()]
            answers = await asyncio.gather(
                *(client._send_request(MetadataRequest(list(names)), node) for node in nodes), return_exceptions=True
            )
            answered = [answer for answer in answers if not isinstance(answer, BaseException)]
            if not answered:
                raise kafka.NodeNotReadyError("no broker answers")
            return answered

        return [
            {entry["topic"]: entry for entry in answer.to_object()["topics"] if entry["error_code"] == 0}
            for answer in await self.call("describing topics", ask)
        ]

    async def await_partitions(self, name: str, count: int) -> None:
        """Return when every broker knows so many partitions of the topic, each with a leader."""
        deadline = self._clock.monotonic() + CREATED_S
        while True:
            entries = [view[name]["partitions"] for view in await self._views([name]) if name in view]
            if entries and all(len(each) == count and all(p["leader"] >= 0 for p in each) for each in entries):
                return
            if self._clock.monotonic() >= deadline:
                raise failures.unavailable(self._bootstrap, f"waiting for {count} partitions of {name}")
            await self._clock.sleep(POLL_S)

    async def list(self) -> dict[str, port.TopicSpec]:
        """Every topic that is not internal, with the spec that its settings stand for."""
        described = {name: entry for name, entry in (await self.describe(None)).items() if not specs.is_internal(name)}
        entries = await self.configs(list(described))
        return {
            name: specs.spec_of(
                name, len(entry["partitions"]), len(entry["partitions"][0]["replicas"]), entries.get(name, {})
            )
            for name, entry in sorted(described.items())
            if entry["partitions"]
        }

    async def delete(self, name: str) -> None:
        """Delete the topic and wait until it is gone. Raises UnknownTopicError."""
        answer = await self.call("deleting a topic", lambda client: client.delete_topics([name]))
        for _, code, *_ in answer.topic_error_codes:
            error = kafka.for_code(code)
            if error is kafka.UnknownTopicOrPartitionError:
                raise failures.unknown_topic(name)
            if error is not kafka.NoError:
                raise failures.unavailable(self._bootstrap, f"deleting topic {name!r}", error.__name__)
        self.forget(name)
        deadline = self._clock.monotonic() + CREATED_S
        while any(name in view for view in await self._views([name])):
            if self._clock.monotonic() >= deadline:
                raise failures.unavailable(self._bootstrap, f"waiting until topic {name!r} is gone")
            await self._clock.sleep(POLL_S)

    async def committed(self, group: str) -> dict[port.TopicPartition, Committed]:
        """A group's committed offsets."""
        found = await self.call(
            "reading committed offsets", lambda client: client.list_consumer_group_offsets(group, None)
        )
        return {
            port.TopicPartition(partition.topic, partition.partition): Committed(entry.offset, entry.metadata or "")
            for partition, entry in found.items()
            if entry.offset >= 0
        }


def kafka_partition(partition: port.TopicPartition) -> Any:
    """The same partition in aiokafka's words."""
    return KafkaPartition(partition.topic, partition.partition)
