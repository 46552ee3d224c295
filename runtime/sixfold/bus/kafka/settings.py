"""What can be tuned about the Kafka bus, with the reason for each default."""

from __future__ import annotations

import dataclasses

from sixfold.bus.kafka import security as kafka_security


@dataclasses.dataclass(frozen=True, kw_only=True)
class KafkaSettings:
    """How the bus talks to its brokers."""

    security: kafka_security.Security = kafka_security.OPEN
    """How it gets in; an open cluster by default."""
    compression: str | None = None
    """Of what is published; none by default, since most events are small and both sides must have the library."""
    rack: str | None = None
    """The zone that consumers stand in: they read from a replica there where the brokers choose one for them."""

    connect_timeout_s: float = 3.0
    """How long opening may take before `BusUnavailableError`: a person is waiting for the message."""
    request_timeout_s: float = 15.0
    """One request to a broker. Shorter than aiokafka's 40 s, so that a broker that is gone is noticed."""
    publish_timeout_s: float = 30.0
    """A publish over all its retries: long enough for a broker to restart and a leader to move."""
    topic_age_s_max: float = 1.0
    """A publish to several topics looks again for those that were last seen longer ago: if one was deleted, nothing is
    stored. One request a second at most, and it takes the time of one."""
    retry_backoff_ms: int = 50
    """Between retries. aiokafka's 100 ms is felt in the first publish after a leader moved."""
    linger_ms: int = 0
    """Extra wait for a fuller batch. Zero: while one request to a broker is under way the next batch fills by itself."""
    batch_bytes: int = 256 * 1024
    """Largest batch of records for one partition; aiokafka's 16 KiB halves the rate of big publishes."""
    session_timeout_s: float = 10.0
    """A member that is silent for so long is taken for dead. Kafka's own floor is 6 s."""
    heartbeat_s: float = 0.5
    """How soon a member hears of a rebalance, so how long partitions stand still when another joins."""
    fetch_wait_ms: int = 250
    """A broker holds an empty fetch for so long, longer where one process has many consumers (`patience.py`). What resumes
    or seeks waits for it; new records end it at once."""
    fetch_partition_bytes: int = 1024 * 1024
    """Most bytes of one partition in one fetch; a larger record still comes, alone."""
    transaction_timeout_s: float = 30.0
    """The broker aborts a transaction that was left open for so long, which readers of its partitions wait for."""
    transaction_backoff_ms: int = 10
    """Between retries inside a transaction: the first produce of the next one is refused until the last one's markers
    are written, some milliseconds later."""
    segment_ms_max: int = 24 * 3600 * 1000
    """Retention and compaction only touch closed segments; a topic's are closed after this at the latest."""
    compaction_ms: int = 10 * 60 * 1000
    """How soon segments of compacted topics are closed, so that compaction sees them."""
    compaction_dirty_ratio: float = 0.2
    """Part of a compacted log that may be stale before it is cleaned; less than Kafka's 0.5, for faster restores."""
    delete_retention_ms: int = 24 * 3600 * 1000
    """How long a tombstone stays readable in a compacted topic, Kafka's default."""
    standby_s: float = 5.0
    """How long a standby rests between its looks at the changelogs: what a takeover reads is what came since the last.
    A look takes a few requests a broker, and a connection where there is something to read."""
    small_batch_bytes: int = 48_000
    """Batches for topics whose limit is below `batch_bytes`: a broker judges the batch, not the record."""


CONNECT_ATTEMPT_S = 0.2
"""Pause between attempts to reach a broker while `connect_timeout_s` lasts."""
