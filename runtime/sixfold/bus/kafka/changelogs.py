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
    rows: Sequence[port.StatePut]
    """In their order; at least one."""
    headers: Sequence[port.Header]
    """Of the record of row `carrier`; the others have none."""
    carrier: int


def shares(group: str, rows: Sequence[port.StatePut], offsets: Mapping[port.TopicPartition, int]) -> list[Share]:
    """The rows of a settle by where they go. Raises UsageError for a table that Kafka cannot carry."""
    headers: dict[int, list[port.Header]] = {}
    for partition, offset in offsets.items():
        headers.setdefault(partition.partition, []).append((REFLECTS, f"{partition.topic}:{offset}".encode()))
    by_log: dict[tuple[str, int], list[port.StatePut]] = {}
    for row in rows:
        log = row.table, row.partition
        if log in by_log:
            by_log[log].append(row)
        else:
            by_log[log] = [row]
    made = []
    for (table, number), share in by_log.items():
        # The last one that stays: compaction takes a tombstone after a while, but of each other key the newest record.
        carrier = next((i for i in range(len(share) - 1, -1, -1) if share[i].value is not None), len(share) - 1)
        made.append(Share(table, port.TopicPartition(topic_of(group, table), number), share, headers[number], carrier))
    return made


def reflected(headers: Iterable[port.Header]) -> dict[str, int]:
    """The next input offset by topic, as a changelog record's headers tell it."""
    found = {}
    for name, value in headers:
        if name == REFLECTS:
            topic, _, offset = value.decode().rpartition(":")
            found[topic] = int(offset)
    return found
