"""Names and records of changelogs, the compacted topics that hold a group's tables. Pure.

The topic `<group>.<table>.changelog` has the partitions of the input. A record of each settle says in a header which input
positions the settle's rows reflect, so a member that starts knows how far the state already is, whatever was committed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sixfold import errors
from sixfold.bus import checking, port
from sixfold.bus.kafka import specs

REFLECTS = "sixfold-reflects"
"""Header of a changelog record: `topic:offset`, the next input record after those that its settle's rows reflect."""

_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,180}")


def group_prefix(group: str) -> str:
    """What the changelogs of a group begin with: its name, or a digest where Kafka would refuse the name in a topic."""
    if _LEGAL.fullmatch(group):
        return f"{group}."
    return f"group-{hashlib.blake2s(group.encode(), digest_size=16).hexdigest()}."


def topic_of(group: str, table: str) -> str:
    """The changelog of a table. Raises UsageError for a name that Kafka cannot carry."""
    checking.table(table)
    return f"{group_prefix(group)}{table}{specs.CHANGELOG_SUFFIX}"


def table_of(group: str, topic: str) -> str | None:
    """The table whose changelog `topic` is, if it is one of this group."""
    prefix = group_prefix(group)
    if not (topic.startswith(prefix) and topic.endswith(specs.CHANGELOG_SUFFIX)):
        return None
    name = topic[len(prefix) : -len(specs.CHANGELOG_SUFFIX)]
    try:
        checking.table(name)
    except errors.UsageError:
        return None
    return name


class Share(NamedTuple):
    """The rows of one settle that go to one partition of one changelog."""

    table: str
    log: port.TopicPartition
    rows: port.Rows
    """At least one."""
    headers: Sequence[port.Header]
    """Of the record of one row; the others have none."""
    carrier: bytes
    """That row's key, the very object among those of `rows`."""


def shares(group: str, state: port.State, offsets: Mapping[port.TopicPartition, int]) -> list[Share]:
    """The rows of a settle by where they go. Raises UsageError for a table that Kafka cannot carry."""
    headers: dict[int, list[port.Header]] = {}
    for partition, offset in offsets.items():
        headers.setdefault(partition.partition, []).append((REFLECTS, f"{partition.topic}:{offset}".encode()))
    made = []
    for (table, number), rows in state.items():
        if rows:
            # One that stays: compaction takes a tombstone after a while, but of each other key the newest record.
            carrier = next((key for key, value in rows.items() if value is not None), next(iter(rows)))
            log = port.TopicPartition(topic_of(group, table), number)
            made.append(Share(table, log, rows, headers[number], carrier))
    return made


def reflected(headers: Iterable[port.Header]) -> dict[str, int]:
    """The next input offset by topic, as a changelog record's headers tell it."""
    found = {}
    for name, value in headers:
        if name == REFLECTS:
            topic, _, offset = value.decode().rpartition(":")
            found[topic] = int(offset)
    return found
