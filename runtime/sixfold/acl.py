"""Kafka ACLs from the declarations: what each function may do, and nothing else. Pure.

A function reads its topics in its group, and writes its events, its dead letters, the logs of its tables, and what its
process says of itself. Topics must exist (`sixfold topics apply`, by somebody who may make them); only the logs of
tables it makes itself. Source: Apache Kafka documentation, Authorization and ACLs.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from sixfold import replies, timers
from sixfold.bus.kafka import changelogs
from sixfold.function import SEEN_TABLE, AnyFunction
from sixfold.telemetry import reporting
from sixfold.worker import alarms

PRINCIPAL = "User:{function}"
"""Template of a function's principal."""
TRANSACTIONS = "sixfold:{group}:"
"""What the transactional ids of a group begin with: one for each input partition."""
_READ = ("Read", "Describe", "DescribeConfigs")
_WRITE = ("Write", "Describe", "DescribeConfigs")
_OWN = ("Read", "Write", "Create", "Describe", "DescribeConfigs")
_GLOB = re.compile(r"[*?\[]")

Resource = Literal["topic", "group", "transactional-id"]
Pattern = Literal["literal", "prefixed"]


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a function may do."""

    function: str
    principal: str
    resource: Resource
    name: str
    pattern: Pattern = "literal"
    operations: tuple[str, ...]
    """As Kafka's tools spell them."""
    why: str
    """Which part of the declaration asks for it."""


def grants(function: AnyFunction, topics: Iterable[str], *, template: str = PRINCIPAL) -> list[Grant]:
    """What `function` needs; `topics` are those that its patterns may match. `{function}` in `template` is its name."""
    found: dict[tuple[Resource, str, Pattern], Grant] = {}
    principal = template.replace("{function}", function.name)

    def allow(resource: Resource, name: str, operations: Sequence[str], why: str, pattern: Pattern = "literal") -> None:
        place = resource, name, pattern
        before = found.get(place)
        merged = dict.fromkeys((*(before.operations if before else ()), *operations))
        reasons = f"{before.why}; {why}" if before and why not in before.why else why
        found[place] = Grant(
            function=function.name,
            principal=principal,
            resource=resource,
            name=name,
            pattern=pattern,
            operations=tuple(merged),
            why=reasons,
        )

    for topic in function.topics:
        allow("topic", topic, _READ, "consumes")
    for name, pattern in _matching(function.topic_patterns, topics):
        allow("topic", name, _READ, "consumes", pattern)
    allow("group", function.name, ("Read", "Describe"), "its consumer group")
    for cls in function.emits:
        allow("topic", cls.__event__.topic, _WRITE, "emits")
    if function.defers:
        allow("topic", function.retry_topic, (*_READ, "Write"), "retries")
    allow("topic", function.dead_letter_topic, _WRITE, "dead letters")
    tables = tables_of(function)
    for table in tables:
        allow("topic", changelogs.topic_of(function.name, table), _OWN, f"table {table}")
    if tables or function.delivery == "exactly-once":
        prefix = TRANSACTIONS.replace("{group}", function.name)
        allow("transactional-id", prefix, ("Write", "Describe"), "transactions", "prefixed")
    allow("topic", reporting.TOPIC.name, _WRITE, "what its process says of itself")
    allow("topic", replies.TOPIC.name, _WRITE, "its answers to requests")
    ticks = (*_READ, "Write") if function.every is not None else ("Describe",)
    allow("topic", alarms.TICKS.name, ticks, "calls by the clock" if function.every is not None else "its start")
    return list(found.values())


def tables_of(function: AnyFunction) -> tuple[str, ...]:
    """Tables that the function may write, those of the framework included."""
    found = list(function.tables)
    if function.emits or function.every is not None or function.defers:
        found.append(timers.TABLE)
    if function.delivery == "effectively-once":
        found.append(SEEN_TABLE)
    return tuple(found)


def _matching(patterns: Iterable[str], topics: Iterable[str]) -> Iterable[tuple[str, Pattern]]:
    """Kafka's patterns are prefixes; another one is spelled out over the topics that are known."""

    known = sorted(topics)
    for pattern in patterns:
        prefix = pattern.removesuffix("*")
        if not _GLOB.search(pattern):
            yield pattern, "literal"
        elif pattern == "*":
            yield "*", "literal"
        elif pattern.endswith("*") and not _GLOB.search(prefix):
            yield prefix, "prefixed"
        else:
            for name in fnmatch.filter(known, pattern):
                yield name, "literal"


def commands(found: Iterable[Grant], *, bootstrap: str, config: str = "") -> list[str]:
    """Command lines of Kafka's own tool, one a grant."""
    options = f"--bootstrap-server {_quoted(bootstrap)}" + (f" --command-config {_quoted(config)}" if config else "")
    return [
        f"kafka-acls.sh {options} --add --allow-principal {_quoted(each.principal)}"
        + "".join(f" --operation {operation}" for operation in each.operations)
        + f" --{each.resource} {_quoted(each.name)} --resource-pattern-type {each.pattern}"
        for each in dict.fromkeys(found)
    ]


def _quoted(text: str) -> str:
    """For a shell; a variable stays one."""

    return f'"{text}"' if re.fullmatch(r"\$[A-Z_]+", text) else shlex.quote(text)


_STRIMZI = {"topic": "topic", "group": "group", "transactional-id": "transactionalId"}
_NOT_IN_NAMES = re.compile(r"[^a-z0-9.-]+")


def strimzi(found: Iterable[Grant], *, cluster: str) -> list[dict[str, Any]]:
    """One KafkaUser for each principal. Source: Strimzi's KafkaUser schema, simple authorization."""
    users: dict[str, list[Grant]] = {}
    for each in found:
        users.setdefault(each.principal.removeprefix("User:"), []).append(each)
    return [
        {
            "apiVersion": "kafka.strimzi.io/v1beta2",
            "kind": "KafkaUser",
            "metadata": {
                "name": _NOT_IN_NAMES.sub("-", name.lower()).strip("-."),
                "labels": {"strimzi.io/cluster": cluster},
            },
            "spec": {
                "authentication": {"type": "scram-sha-512"},
                "authorization": {
                    "type": "simple",
                    "acls": [
                        {
                            "resource": {
                                "type": _STRIMZI[each.resource],
                                "name": each.name,
                                "patternType": "prefix" if each.pattern == "prefixed" else "literal",
                            },
                            "operations": list(each.operations),
                            "host": "*",
                        }
                        for each in grants_
                    ],
                },
            },
        }
        for name, grants_ in users.items()
    ]
