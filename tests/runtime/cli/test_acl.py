"""ACLs from the declarations: what each function needs, as commands, JSON and for Strimzi."""

from __future__ import annotations

import datetime
import json
import shlex
from typing import Any

import yaml
from tests.runtime.cli.commands import Sixfold

from sixfold import Context, Retry, acl, function
from sixfold.bus import port
from sixfold.bus.kafka import changelogs, transactions
from sixfold_events import Event


class In(Event, type="acl.in", topic="in"):
    name: str


class Out(Event, type="acl.out", topic="out"):
    name: str


async def handler(event: Event, ctx: Context) -> None:
    """Nothing."""


def allowed(*declared: Any, topics: tuple[str, ...] = (), **named: Any) -> dict[str, set[str]]:
    """Operations by resource, those that every function has left out."""
    made = function(name="f", on=declared, **named)(handler)
    found = acl.grants(made, topics)
    topics_of_all = ("system.processes", "system.ticks", "system.replies", "f.dlq")
    common = {("group", "f"), *(("topic", name) for name in topics_of_all)}
    return {
        f"{each.resource} {each.name}{'…' if each.pattern == 'prefixed' else ''}": set(each.operations)
        for each in found
        if (each.resource, each.name) not in common
    }


READ, WRITE = {"Read", "Describe", "DescribeConfigs"}, {"Write", "Describe", "DescribeConfigs"}
OWN = READ | WRITE | {"Create"}
TIMERS = {"topic f.sixfold-timers.changelog": OWN, "transactional-id sixfold:f:…": {"Write", "Describe"}}


def test_a_function_gets_what_it_declares_and_no_more() -> None:
    """Reading, writing, both; tables and transactions only where there can be any."""
    assert allowed(In) == {"topic in": READ}
    assert allowed(In, emits=[Out]) == {"topic in": READ, "topic out": WRITE, **TIMERS}
    assert allowed(In, emits=[In]) == {"topic in": READ | WRITE, **TIMERS}
    tables = allowed(In, tables=["rows"])
    assert tables["topic f.rows.changelog"] == OWN
    assert "topic f.sixfold-timers.changelog" not in tables
    assert "topic f.sixfold-seen.changelog" in allowed(In, delivery="effectively-once")
    exactly = allowed(In, delivery="exactly-once")
    assert exactly == {"topic in": READ, "transactional-id sixfold:f:…": {"Write", "Describe"}}
    retries = allowed(In, retry=Retry(mode="topic"))
    assert retries == {"topic in": READ, "topic f.retry": READ | {"Write"}, **TIMERS}


def test_every_function_may_park_report_and_look() -> None:
    """Its dead letters where it says, its group, what its process reports; ticks only where it runs by the clock."""
    plain = function(name="f", on=In, on_failure="failed")(handler)
    found = {(each.resource, each.name): set(each.operations) for each in acl.grants(plain, [])}
    assert found["topic", "failed"] == found["topic", "system.processes"] == WRITE
    assert found["group", "f"] == {"Read", "Describe"}
    assert found["topic", "system.ticks"] == {"Describe"}
    clocked = function(name="f", every=datetime.timedelta(seconds=5))(handler)
    found = {(each.resource, each.name): set(each.operations) for each in acl.grants(clocked, [])}
    assert found["topic", "system.ticks"] == READ | {"Write"}


def test_topic_patterns_become_prefixes_or_the_topics_that_are_known() -> None:
    """Kafka's ACLs know prefixes alone; whatever else is spelled out."""
    topics = ("eu.orders", "us.orders", "orders")
    made = function(name="f", on=In, topics=["eu.*", "*.orders", "plain"])(handler)
    found = {(each.name, each.pattern) for each in acl.grants(made, topics) if each.why == "consumes"}
    assert found == {
        ("eu.", "prefixed"),
        ("eu.orders", "literal"),
        ("us.orders", "literal"),
        ("plain", "literal"),
    }
    everything = function(name="f", on=In, topics="*")(handler)
    assert ("*", "literal") in {(each.name, each.pattern) for each in acl.grants(everything, topics)}


def test_names_are_those_that_the_bus_uses() -> None:
    """Changelogs and transactional ids of a group."""
    grants = acl.grants(function(name="f", on=In, tables=["rows"])(handler), [])
    names = {each.resource: each.name for each in grants if each.resource == "transactional-id"}
    made = transactions.transactional_id("f", port.TopicPartition("in", 3))
    assert made.startswith(names["transactional-id"])
    assert changelogs.topic_of("f", "rows") in {each.name for each in grants}


def test_commands_are_kafkas_own(sixfold: Sixfold) -> None:
    """One line a resource, quoted for a shell; the cluster's address and the administrator's file where they are given."""
    app = ("--app", str(sixfold.app))
    lines = sixfold.good(*app, "acl", "accept").splitlines()
    words = [shlex.split(line) for line in lines]
    assert all(each[:3] == ["kafka-acls.sh", "--bootstrap-server", "$KAFKA"] for each in words)
    [placed] = [each for each in words if "order.placed" in each]
    assert placed[3:] == shlex.split(
        "--add --allow-principal User:accept --operation Read --operation Describe --operation DescribeConfigs "
        "--topic order.placed --resource-pattern-type literal"
    )
    [line, *_] = sixfold.good(
        *app,
        *("--bus", "kafka://a:9092,b:9092", "acl"),
        *("--principal-template", "User:CN={function},O=My Shop", "--command-config", "admin.properties"),
    ).splitlines()
    assert line.startswith("kafka-acls.sh --bootstrap-server a:9092,b:9092 --command-config admin.properties --add")
    assert "User:CN=accept,O=My Shop" in shlex.split(line)


def test_json_and_strimzi_say_the_same(sixfold: Sixfold) -> None:
    """One user a function, with the same resources and operations."""
    app = ("--app", str(sixfold.app))
    grants = json.loads(sixfold.good(*app, "acl", "--format", "json"))
    assert sixfold.json(*app, "acl") == grants
    assert {each["function"] for each in grants} == {"accept"}
    assert all(each["why"] for each in grants)
    [user] = yaml.safe_load_all(sixfold.good(*app, "acl", "--format", "strimzi", "--cluster", "mine"))
    assert user["kind"] == "KafkaUser"
    assert user["metadata"] == {"name": "accept", "labels": {"strimzi.io/cluster": "mine"}}
    kinds = {"topic": "topic", "group": "group", "transactional-id": "transactionalId"}
    patterns = {"literal": "literal", "prefixed": "prefix"}
    assert [
        (each["resource"]["type"], each["resource"]["name"], each["resource"]["patternType"], each["operations"])
        for each in user["spec"]["authorization"]["acls"]
    ] == [(kinds[each["resource"]], each["name"], patterns[each["pattern"]], each["operations"]) for each in grants]


def test_a_wrong_name_or_template_is_said(sixfold: Sixfold) -> None:
    """With exit code 2; without names all functions are meant, of the app or of what is installed."""
    assert "did you mean" in sixfold.bad("acl", "pipeline.sorce", code=2)
    assert "User:" in sixfold.bad("acl", "--principal-template", "{function}", code=2)
    everything = {each["function"] for each in json.loads(sixfold.good("acl", "--format", "json"))}
    assert {"pipeline.source", "kms.serve", "volume.tracker"} <= everything
