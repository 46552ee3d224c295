"""Handlers in Lambda's shape on the real worker: what they are given, and what becomes of the records."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support import lambda_app

from sixfold import Batch, Retry
from sixfold.bus import NewRecord, TopicSpec
from sixfold.clock import SystemClock
from sixfold.function import FunctionDefinitionError
from sixfold.lambdas import LambdaFunction, lambda_function
from sixfold.testing import Harness

ONE = [TopicSpec(name="orders", partitions=1)]
QUICK = Retry(attempts_max=3, backoff_s=0.1, jitter=0)
BATCH = Batch(size=4, window_s=1)


def order(n: int, out: Path | str = "", **fields: Any) -> NewRecord:
    """A record as any producer writes it: JSON, without headers of ours."""
    return NewRecord(
        topic="orders", value=json.dumps({"n": n, "out": str(out), **fields}).encode(), key=f"k{n}".encode()
    )


def named(record: dict[str, Any]) -> dict[str, Any]:
    """The identifier of a record of the event."""
    return {"itemIdentifier": {"partition": f"{record['topic']}-{record['partition']}", "offset": record["offset"]}}


def records_of(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The event's records."""
    return [record for records in event["records"].values() for record in records]


async def test_a_handler_gets_lambdas_kafka_event_and_context() -> None:
    """Field by field, bytes of every kind included: keys and values in base64, header values as lists of bytes."""
    seen: list[tuple[dict[str, Any], Any, int]] = []

    def handler(event: dict[str, Any], context: Any) -> None:
        seen.append((event, context, context.get_remaining_time_in_millis()))

    made = lambda_function(handler, topics="orders", name="orders", batch=BATCH, timeout_s=3, memory_mb=256)
    async with Harness(made, topics=ONE) as harness:
        await harness.publish_records(
            NewRecord(
                topic="orders", value=b"\xff\x00", key=b"k", headers=[("h", b"a\xfe"), ("h", b"")], timestamp_ms=7
            ),
            NewRecord(topic="orders", value=None, key=b"gone", timestamp_ms=8),
            NewRecord(topic="orders", value=b"", timestamp_ms=9),
        )
        await harness.until_idle()
    [(event, context, left_ms)] = seen
    common = {"topic": "orders", "partition": 0, "timestampType": "CREATE_TIME"}
    assert event == {
        "eventSource": "SelfManagedKafka",
        "bootstrapServers": "embedded",
        "records": {
            "orders-0": [
                {**common, "offset": 0, "timestamp": 7, "key": "aw==", "value": "/wA=", "headers": [{"h": [97, 254]}, {"h": []}]},
                {**common, "offset": 1, "timestamp": 8, "key": "Z29uZQ==", "value": None, "headers": []},
                {**common, "offset": 2, "timestamp": 9, "key": None, "value": "", "headers": []},
            ]
        },
    }  # fmt: skip
    assert left_ms == 3000
    assert context.function_name == "orders"
    assert context.function_version == "$LATEST"
    assert context.invoked_function_arn.endswith(":function:orders")
    assert context.memory_limit_in_mb == "256"
    assert len(context.aws_request_id) == 36
    assert context.log_group_name == "/aws/lambda/orders"
    assert "[$LATEST]" in context.log_stream_name
    assert context.client_context is None
    assert context.identity.cognito_identity_id is None


async def test_a_handler_from_awss_samples_runs_unchanged(tmp_path: Path) -> None:
    """It decodes, goes on after a failure and names it: the failed record is tried again and set aside, none is lost."""
    made = lambda_function(lambda_app.handler, topics=["orders"], batch=BATCH, retry=QUICK)
    async with Harness(made, topics=ONE) as harness:
        await harness.publish_records(*(order(-n if n == 6 else n, tmp_path / "out") for n in range(8)))
        await harness.until_idle()
        letters = await harness.dead_letters(made)
        lag = await harness.bus.lag(made.name, made.topics)
    calls = Counter(json.loads(line)["n"] for line in (tmp_path / "out").read_text().splitlines())
    assert calls == {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, -6: 3, 7: 3}
    assert [(each.offset, each.attempts, each.error_type.rpartition(".")[2]) for each in letters] == [
        (6, 3, "ReportedFailureError"),
        (7, 3, "BehindFailureError"),
    ]
    assert sum(lag.values()) == 0


async def test_with_bisect_only_the_record_at_fault_is_set_aside(tmp_path: Path) -> None:
    """Where a batch gets past no record it is halved: those behind the broken one are handled, as with Lambda's setting."""
    batch = Batch(size=8, window_s=1, bisect=True)
    made = lambda_function(lambda_app.handler, topics=["orders"], batch=batch, retry=QUICK)
    async with Harness(made, topics=ONE) as harness:
        await harness.publish_records(*(order(-n if n == 3 else n, tmp_path / "out") for n in range(8)))
        await harness.until_idle()
        letters = await harness.dead_letters(made)
    assert [(each.offset, each.error_type.rpartition(".")[2]) for each in letters] == [(3, "ReportedFailureError")]
    assert {json.loads(line)["n"] for line in (tmp_path / "out").read_text().splitlines()} == {0, 1, 2, -3, 4, 5, 6, 7}


async def test_powertools_batch_processor_works_on_our_event_and_we_on_its_answer(tmp_path: Path) -> None:
    """Its records decode ours, and the identifiers that it answers with are those that we look for."""
    made = lambda_function(lambda_app.powertools, topics=["orders"], batch=BATCH, retry=QUICK)
    good = [order(n, tmp_path / "out") for n in range(3)]
    with_header = NewRecord(topic="orders", value=good[0].value, key=b"k", headers=[("kind", b"retail")])
    async with Harness(made, topics=ONE) as harness:
        await harness.publish_records(with_header, good[1], good[2], order(-1, tmp_path / "out"))
        await harness.until_idle()
        [letter] = await harness.dead_letters(made)
    assert letter.offset == 3
    assert (tmp_path / "out").read_text().split("\n") == ["0 retail", "1 ", "2 ", ""]


async def test_an_answer_that_cannot_be_read_is_logged_and_its_batch_tried_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A typing error loses nothing: the whole batch is tried again and in the end set aside, with the reason."""
    calls: list[int] = []

    async def handler(event: dict[str, Any], context: Any) -> Any:
        calls.append(len(records_of(event)))
        return {"batchItemfailures": []}

    made = lambda_function(handler, topics="orders", name="typo", batch=BATCH, retry=QUICK)
    async with Harness(made, topics=ONE) as harness:
        await harness.publish_records(order(1), order(2))
        await harness.until_idle()
        letters = await harness.dead_letters(made)
    assert calls == [2, 2, 2]
    assert [each.offset for each in letters] == [0, 1]
    assert "found 'batchItemfailures'; the case of letters matters" in letters[0].error_message
    assert "lambda.malformed_answer" in capsys.readouterr().out


async def test_without_failure_reports_only_an_error_is_a_failure() -> None:
    """As an event source mapping without FunctionResponseTypes: what the handler returns does not matter."""
    calls: list[int] = []

    def handler(event: dict[str, Any], context: Any) -> str:
        calls.append(len(records_of(event)))
        if len(calls) == 1:
            raise RuntimeError("once")
        return "OK"

    made = lambda_function(handler, topics="orders", name="loose", batch=BATCH, retry=QUICK, report_failures=False)
    async with Harness(made, topics=ONE) as harness:
        await harness.publish_records(order(1), order(2))
        await harness.until_idle()
        assert await harness.dead_letters(made) == []
    assert calls == [2, 2]


async def test_async_handlers_run_side_by_side_with_any_ordering() -> None:
    """With ordering "none" batches overlap, and an answer still fails just the partitions that it names."""
    calls: Counter[int] = Counter()
    running = 0
    most = 0

    async def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        failed = []
        for record in records_of(event):
            n = json.loads(base64.b64decode(record["value"]))["n"]
            calls[n] += 1
            if n == 5 and calls[n] == 1:
                failed.append(named(record))
        running -= 1
        return {"batchItemFailures": failed}

    made = lambda_function(
        handler, topics="orders", name="wide", batch=BATCH, retry=QUICK, ordering="none", concurrency=4
    )
    async with Harness(made, topics=[TopicSpec(name="orders", partitions=3)]) as harness:
        await harness.publish_records(*(order(n) for n in range(40)))
        await harness.until_idle()
        assert await harness.dead_letters(made) == []
    assert set(calls) == set(range(40))
    assert calls[5] == 2
    assert most > 1


async def test_a_cpu_bound_handler_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The module holds nothing but the handler, as it was written for AWS; its failures come back."""
    made = lambda_function(lambda_app.handler, topics="orders", batch=BATCH, retry=QUICK, cpu_bound=True)
    async with Harness(made, topics=ONE, clock=SystemClock()) as harness:
        await harness.publish_records(
            order(1, tmp_path / "out"), order(2, tmp_path / "out"), order(-3, tmp_path / "out")
        )
        await harness.until_idle(60)
        [letter] = await harness.dead_letters(made)
    assert (letter.offset, letter.error_type.rpartition(".")[2]) == (2, "ReportedFailureError")
    assert os.getpid() not in {json.loads(line)["pid"] for line in (tmp_path / "out").read_text().splitlines()}


async def test_a_filter_reads_the_value_as_json_or_as_text() -> None:
    """Records that it keeps away are done, and the handler never sees them."""
    seen: list[str] = []

    def handler(event: dict[str, Any], context: Any) -> None:
        seen.extend(base64.b64decode(record["value"]).decode() for record in records_of(event))

    wanted: list[dict[str, Any]] = [{"value": {"n": [{"numeric": [">", 5]}]}}, {"value": [{"prefix": "plain"}]}]
    made = lambda_function(handler, topics="orders", name="some", batch=BATCH, filter=wanted)
    async with Harness(made, topics=ONE) as harness:
        await harness.publish_records(order(1), order(9, x=1), NewRecord(topic="orders", value=b"plain text"))
        await harness.publish_records(NewRecord(topic="orders", value=b"\xff"), NewRecord(topic="orders", value=None))
        await harness.until_idle()
        assert sum((await harness.bus.lag(made.name, made.topics)).values()) == 0
    assert seen == [json.dumps({"n": 9, "out": "", "x": 1}), "plain text"]


def test_a_declaration_is_an_ordinary_function_that_still_can_be_called() -> None:
    """Its name is Lambda's own kind of name; what is no handler(event, context) is refused."""
    made = lambda_function(lambda_app.handler, topics=["orders", "returns"])
    assert isinstance(made, LambdaFunction)
    assert (made.name, made.topics, made.on) == ("lambda-app.handler", ("orders", "returns"), ())
    assert made({"records": {}}, None) == {"batchItemFailures": []}
    for wrong in (42, lambda event: None):
        with pytest.raises(FunctionDefinitionError, match=r"handler\(event, context\)"):
            lambda_function(wrong, topics="orders")  # type: ignore[arg-type]
    with pytest.raises(FunctionDefinitionError, match="would come back for ever"):
        lambda_function(lambda_app.handler, topics="orders", on_failure="orders")
