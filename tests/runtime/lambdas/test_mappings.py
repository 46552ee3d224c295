"""Event source mappings: boto3 makes them, and a worker does what they say."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.runtime.lambdas import invoked_app as app
from tests.runtime.lambdas.conftest import Served
from tests.support.waiting import eventually

from sixfold import dead_letter
from sixfold.bus import NewRecord, TopicSpec
from sixfold.bus.port import EARLIEST, LATEST, Start
from sixfold.lambdas import mappings
from sixfold.lambdas.failures import ApiError
from sixfold.lambdas.mapped import Mapped, function_of

NOW_MS = 1_415_811_600_000
BODY: dict[str, Any] = {"Topics": ["orders"], "StartingPosition": "TRIM_HORIZON"}


def created(**fields: Any) -> Any:
    """What a request with these fields makes."""
    return mappings.created(
        {**BODY, **fields}, uuid="u-1", function="echo", topics=["orders"], servers="a:9092,b:9092", now_ms=NOW_MS
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"Topics": []}, "Topics"),
        ({"Topics": ["orders", "more"]}, "Topics"),
        ({"Topics": ["nothing"]}, "no topic 'nothing'"),
        ({"EventSourceArn": "arn:aws:kafka:x"}, "EventSourceArn"),
        ({"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["c:9092"]}}}, "a:9092,b:9092"),
        ({"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": ""}}, "ConsumerGroupId"),
        ({"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "x" * 201}}, "ConsumerGroupId"),
        ({"StartingPosition": "EARLIEST"}, "StartingPosition"),
        ({"StartingPosition": "AT_TIMESTAMP"}, "StartingPositionTimestamp"),
        ({"StartingPositionTimestamp": 1}, "only then"),
        ({"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": NOW_MS / 1000 + 1}, "future"),
        ({"BatchSize": 0}, "1 to 10000"),
        ({"BatchSize": 10_001}, "1 to 10000"),
        ({"BatchSize": True}, "1 to 10000"),
        ({"MaximumBatchingWindowInSeconds": 301}, "0 to 300"),
        ({"BatchSize": 11, "MaximumBatchingWindowInSeconds": 0}, "1 or more"),
        ({"MaximumRetryAttempts": -2}, "-1 or 0 to 10000"),
        ({"MaximumRetryAttempts": 10_001}, "-1 or 0 to 10000"),
        ({"MaximumRecordAgeInSeconds": 59}, "-1 or 60 to 604800"),
        ({"MaximumRecordAgeInSeconds": 604_801}, "-1 or 60 to 604800"),
        ({"BisectBatchOnFunctionError": "yes"}, "true or false"),
        ({"FunctionResponseTypes": ["reportbatchitemfailures"]}, "ReportBatchItemFailures"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{"}]}}, "FilterCriteria"),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"data": {"a": [1]}}'}]}}, "no field of a record"),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"value": {"a": [1]}}'}] * 11}}, "at most 10"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "x" * 4097}]}}, "4096"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:x"}}}, "expected a topic"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "kafka://orders"}}}, "come back for ever"),
        ({"DestinationConfig": {"OnSuccess": {"Destination": "kafka://done"}}}, "OnFailure alone"),
        ({"ParallelizationFactor": 2}, "not supported"),
    ],
)  # fmt: skip
def test_what_awss_limits_do_not_allow_is_refused(fields: dict[str, Any], why: str) -> None:
    """Each with the field's name and what was expected."""
    with pytest.raises(ApiError) as caught:
        created(**fields)
    assert caught.value.code == "InvalidParameterValueException"
    assert why in str(caught.value)


def test_defaults_are_awss_and_every_setting_reaches_the_function() -> None:
    """-1 is no limit, ten attempts where failures have somewhere to go; each field does what its name says."""
    plain = function_of(created(), app.echo)
    assert (plain.name, plain.topics, plain.start) == ("u-1", ("orders",), EARLIEST)
    assert plain.batch is not None
    assert (plain.batch.size, plain.batch.window_s, plain.batch.bisect) == (100, 0.5, False)
    assert plain.retry.attempts_max > 2**30
    assert plain.retry.age_max_s is None
    assert plain.dead_letter_topic == "lambda.u-1.dlq"
    failed = {"OnFailure": {"Destination": "kafka://failed"}}
    assert function_of(created(DestinationConfig=failed), app.echo).retry.attempts_max == 10
    assert function_of(created(StartingPosition="LATEST"), app.echo).start == LATEST
    full = function_of(
        created(
            StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=1.5, BatchSize=7, MaximumBatchingWindowInSeconds=9,
            MaximumRetryAttempts=2, MaximumRecordAgeInSeconds=60, BisectBatchOnFunctionError=True,
            DestinationConfig=failed, SelfManagedKafkaEventSourceConfig={"ConsumerGroupId": "mine"},
            SelfManagedEventSource={"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["b:9092"]}},
            FilterCriteria={"Filters": [{"Pattern": '{"value": {"a": [1]}}'}]},
        ),
        app.echo,
    )  # fmt: skip
    assert full.batch is not None
    assert (full.batch.size, full.batch.window_s, full.batch.bisect) == (7, 9.0, True)
    assert (full.retry.attempts_max, full.retry.age_max_s, full.dead_letter_topic) == (3, 60, "failed")
    assert (full.name, full.start, full.filter) == ("mine", Start("timestamp", 1500), ({"value": {"a": [1]}},))


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    """Lists and destinations can be taken away again; where it began cannot be changed."""
    failed = {"OnFailure": {"Destination": "kafka://failed"}}
    filtered = {"Filters": [{"Pattern": '{"value": {"a": [1]}}'}]}
    before = created(
        BatchSize=5, DestinationConfig=failed, FilterCriteria=filtered, FunctionResponseTypes=[mappings.REPORT]
    )
    after = mappings.updated(before, {"MaximumRetryAttempts": 1}, function=None, now_ms=NOW_MS)
    assert (after.batch_size, after.on_failure, after.retry_attempts) == (5, "failed", 1)
    taken = {"DestinationConfig": {"OnFailure": {}}, "FilterCriteria": {}, "FunctionResponseTypes": []}
    after = mappings.updated(after, taken, function="other", now_ms=NOW_MS)
    assert (after.on_failure, after.filters, after.report_failures, after.function) == ("", [], False, "other")
    for name in mappings.ONLY_ON_CREATE:
        with pytest.raises(ApiError, match=name):
            mappings.updated(before, {name: BODY.get(name, 1)}, function=None, now_ms=NOW_MS)


async def test_boto3_creates_lists_changes_and_deletes_mappings(served: Served) -> None:
    """Each answer has AWS's fields and each refusal AWS's code, until it is gone."""
    await served.bus.create_topics([TopicSpec(name=name, partitions=1) for name in ("orders", "returns")])
    source = {"StartingPosition": "TRIM_HORIZON"}
    first = await served.call("create_event_source_mapping", FunctionName="echo", Topics=["orders"], **source)
    assert (first["State"], first["ResponseMetadata"]["HTTPStatusCode"]) == ("Creating", 202)
    group = {"ConsumerGroupId": "mine"}
    at = datetime.datetime(2014, 11, 13, 17, tzinfo=datetime.UTC)
    second = await served.call(
        "create_event_source_mapping", FunctionName=first["FunctionArn"], Topics=["returns"], Enabled=False,
        StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=at, SelfManagedKafkaEventSourceConfig=group,
        SelfManagedEventSource={"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["embedded"]}},
        DestinationConfig={"OnFailure": {"Destination": "kafka://failed"}},
    )  # fmt: skip
    got = await served.call("get_event_source_mapping", UUID=second["UUID"])
    assert (got["State"], got["Topics"], got["StartingPositionTimestamp"]) == ("Disabled", ["returns"], at)
    assert got["SelfManagedKafkaEventSourceConfig"] == group
    assert got["DestinationConfig"] == {"OnFailure": {"Destination": "kafka://failed"}}
    assert isinstance(got["LastModified"], datetime.datetime)
    for clash in (
        {"Topics": ["orders"]},
        {"Topics": ["kms.keys"], "SelfManagedKafkaEventSourceConfig": group},
        {"Topics": ["kms.keys"], "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "pipeline.source"}},
    ):
        await served.refused(
            "ResourceConflictException", "create_event_source_mapping", FunctionName="echo", **source, **clash
        )
    await served.refused(
        "ResourceNotFoundException", "create_event_source_mapping", FunctionName="no", Topics=["orders"], **source
    )
    assert "Lambda's shape" in await served.refused(
        "InvalidParameterValueException",
        "create_event_source_mapping",
        FunctionName="greet",
        Topics=["orders"],
        **source,
    )
    page = await served.call("list_event_source_mappings", MaxItems=1)
    rest = await served.call("list_event_source_mappings", FunctionName="echo", Marker=page["NextMarker"])
    found = {each["UUID"] for each in (*page["EventSourceMappings"], *rest["EventSourceMappings"])}
    assert found == {first["UUID"], second["UUID"]}
    assert "NextMarker" not in rest
    changed = await served.call("update_event_source_mapping", UUID=second["UUID"], Enabled=True, BatchSize=7)
    assert (changed["State"], changed["BatchSize"]) == ("Updating", 7)
    assert (await served.call("get_event_source_mapping", UUID=second["UUID"]))["State"] == "Enabled"
    assert (await served.call("delete_event_source_mapping", UUID=second["UUID"]))["State"] == "Deleting"
    for operation in ("get_event_source_mapping", "update_event_source_mapping", "delete_event_source_mapping"):
        await served.refused("ResourceNotFoundException", operation, UUID=second["UUID"])


@contextlib.asynccontextmanager
async def working(served: Served) -> AsyncIterator[None]:
    """The part of the process of all functions that runs mappings."""
    stopping = asyncio.Event()
    work = asyncio.create_task(Mapped(served.process, {"worked": app.worked}).run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await work


def order(n: int, **fields: Any) -> NewRecord:
    """A record as any producer writes it."""
    return NewRecord(topic="orders", value=json.dumps({"n": n, **fields}).encode(), partition=0)


async def test_a_mapping_really_runs_and_follows_its_changes(served: Served) -> None:
    """Filtered batches reach the handler; it is paused, changed, goes on where it was, and ends when it is deleted."""
    app.seen.clear()
    await served.bus.create_topics([TopicSpec(name="orders", partitions=1)])
    await served.bus.publish([order(n) for n in range(4)])

    def numbers() -> list[int]:
        return [json.loads(base64.b64decode(record["value"]))["n"] for record in app.seen]

    async with working(served):
        made = await served.call(
            "create_event_source_mapping", FunctionName="worked", Topics=["orders"], StartingPosition="TRIM_HORIZON",
            BatchSize=2, FilterCriteria={"Filters": [{"Pattern": '{"value": {"n": [{"numeric": [">", 1]}]}}'}]},
            FunctionResponseTypes=["ReportBatchItemFailures"], MaximumRetryAttempts=0,
            DestinationConfig={"OnFailure": {"Destination": "kafka://failed"}},
        )  # fmt: skip
        await eventually(lambda: numbers() == [2, 3], "both records that the filter lets through were handled")
        assert app.names == {"worked"}
        await served.call("update_event_source_mapping", UUID=made["UUID"], Enabled=False)
        await served.bus.publish([order(-9), order(4)])
        await served.call(
            "update_event_source_mapping", UUID=made["UUID"], Enabled=True, FilterCriteria={}, BatchSize=1
        )
        await eventually(lambda: numbers() == [2, 3, -9, 4], "it went on where it was, without its filter")

        async def failed() -> list[Any]:
            return await served.records("failed")

        [letter] = await eventually(failed, "what the handler named went to the destination")
        assert (dead_letter.read(letter).offset, dead_letter.read(letter).attempts) == (4, 1)
        await served.call("delete_event_source_mapping", UUID=made["UUID"])
        again = await served.call(
            "create_event_source_mapping", FunctionName="worked", Topics=["orders"], StartingPosition="LATEST"
        )
        assert again["UUID"] != made["UUID"]
    async with working(served):  # another process finds what is, and not what was deleted

        async def joined() -> bool:
            await served.bus.publish([order(7)])
            return 7 in numbers()

        await eventually(joined, "the mapping that is left runs after a restart")
    assert numbers()[:4] == [2, 3, -9, 4]
    assert set(numbers()[4:]) == {7}
