"""Calling a function with one event: result, outputs and errors are shown, and nothing is changed."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sixfold import Batch, BatchContext, Context, Event, PermanentError, TemporaryError, function
from sixfold.clock import SystemClock
from sixfold.errors import UsageError
from sixfold.json_events import EventDataError
from sixfold.local.invoking import Invocation, invoke, invoke_from
from sixfold.process import Process
from sixfold.testing import Harness
from sixfold_events import avro
from sixfold_events.registry import Registry


class Bought(Event, topic="invoking.bought", key="who"):
    who: str
    cents: int


class Returned(Event, topic="invoking.bought", key="who"):
    who: str


class Thanked(Event, topic="invoking.thanked", key="who"):
    who: str
    total_cents: int


@function(on=Bought, emits=[Thanked], name="thank", tables=["totals"])
async def thank(event: Bought, ctx: Context) -> dict[str, int]:
    """Add up and thank."""
    totals = ctx.table("totals")
    total = await totals.get(event.who, 0) + event.cents
    totals.put(event.who, total)
    ctx.emit(Thanked(who=event.who, total_cents=total))
    return {"total": total}


@function(on=[Bought, Returned], name="either")
def either(event: Event, ctx: Context) -> str:
    """Say which it was."""
    return type(event).__name__


def offline() -> Process:
    """A process without a bus."""
    return Process(name="offline", data_dir=Path("/nonexistent"), registry=Registry([Bought, Returned, Thanked]))


async def test_it_shows_the_result_the_outputs_and_the_rows() -> None:
    """As plain JSON, in the shape of CloudEvents; it needs neither bus nor folder."""
    done = await invoke(thank, '{"who": "ada", "cents": 250}', process=offline())
    assert (done.result, done.error, done.verdict, done.emitted) == ({"total": 250}, None, "ack", False)
    assert done.tables == {"totals": {"ada": 250}}
    (output,) = done.outputs
    assert output["data"] == {"who": "ada", "total_cents": 250}
    assert (output["type"], output["topic"], output["source"]) == ("thanked", "invoking.thanked", "/functions/thank")
    assert output["specversion"] == "1.0"
    assert output["partitionkey"] == "ada"
    assert output["causationid"] == done.event_id
    assert json.loads(msgspec.json.encode(done))["outputs"] == done.outputs


async def test_it_changes_nothing_unless_told_to_emit() -> None:
    """Rows come from the bus and are not written back; outputs are published with `emit` only, under ids of their own."""
    async with Harness(thank) as harness:
        await harness.publish(Bought(who="ada", cents=100))
        await harness.until_idle()
        before = await harness.bus.committed("thank")
        for _ in range(2):
            done = await invoke(thank, Bought(who="ada", cents=1), process=harness.process)
            assert done.result == {"total": 101}
        assert await harness.emitted(Thanked) == [Thanked(who="ada", total_cents=100)]
        emitted = [
            await invoke(thank, Bought(who="ada", cents=1), process=harness.process, emit=True) for _ in range(2)
        ]
        assert all(done.emitted for done in emitted)
        assert len(await harness.emitted(Thanked)) == 3
        ids = {dict(record.headers)["ce_id"] for record in await harness.records("invoking.thanked")}
        assert len(ids) == 3
        assert await harness.table(thank, "totals") == {"ada": 100}
        assert await harness.bus.committed("thank") == before


async def test_emitting_without_a_bus_is_refused_before_the_handler_runs() -> None:
    """The message says what to do."""
    with pytest.raises(UsageError, match="needs a bus"):
        await invoke(thank, Bought(who="ada", cents=1), process=offline(), emit=True)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"who": "ada"}', "field cents: is required"),
        ('{"who": "ada", "cents": "two"}', "field cents: expected int"),
        ('{"who": "ada", "cents": 1, "cent": 1}', "field cent: .*did you mean cents"),
        ('{"who": "ada", "cents": 99999999999999999999}', "does not fit|expected int"),
        ('{"specversion": "1.0", "type": "bought", "data_base64": "?"}', "not an Avro body in base64"),
    ],
)
async def test_json_that_is_no_event_names_the_field(data: str, says: str) -> None:
    """The handler is not called with half an event."""
    with pytest.raises(EventDataError, match=says):
        await invoke(thank, data, process=offline())


async def test_the_type_comes_from_the_envelope_or_the_caller_where_there_are_several() -> None:
    """Plain JSON without a type is refused with the choices; a type that the function does not take too."""
    plain: dict[str, Any] = {"who": "ada"}
    envelope = {"specversion": "1.0", "id": "e-1", "source": "/x", "type": "returned", "data": plain}
    done = await invoke(either, envelope, process=offline())
    assert (done.result, done.event_id) == ("Returned", "e-1")
    assert (await invoke(either, plain, process=offline(), event_type="returned")).result == "Returned"
    body = base64.b64encode(avro.codec(Bought).encode(Bought(who="ada", cents=1))).decode()
    binary = {"specversion": "1.0", "type": "bought", "data_base64": body}
    assert (await invoke(either, binary, process=offline())).result == "Bought"
    with pytest.raises(UsageError, match="say which it is: bought, returned"):
        await invoke(either, plain, process=offline())
    with pytest.raises(UsageError, match="does not take thanked"):
        await invoke(either, plain, process=offline(), event_type="thanked")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(TemporaryError("later"), "retry"), (PermanentError("never"), "park"), (KeyError("oops"), "retry")],
)
async def test_an_error_has_lambdas_shape_and_says_what_a_worker_would_do(error: Exception, verdict: str) -> None:
    """errorMessage, errorType and stackTrace, down to the handler's line."""

    @function(on=Bought, name="failing")
    async def failing(event: Bought, ctx: Context) -> None:
        raise error

    done = await invoke(failing, Bought(who="ada", cents=1), process=offline())
    assert done.error is not None
    assert (done.error.errorType, done.error.errorMessage) == (type(error).__name__, str(error))
    assert "raise error" in done.error.stackTrace[-1]
    assert (done.verdict, done.outputs) == (verdict, [])


async def test_code_that_contradicts_its_declaration_shows_before_it_is_deployed() -> None:
    """A worker would halt."""

    @function(on=Bought, name="undeclared")
    async def undeclared(event: Bought, ctx: Context) -> None:
        ctx.emit(Thanked(who="ada", total_cents=1))

    done: Invocation = await invoke(undeclared, Bought(who="ada", cents=1), process=offline())
    assert done.verdict == "halt"
    assert done.error is not None
    assert "add it to emits=" in done.error.errorMessage


async def test_a_call_past_its_time_limit_is_ended() -> None:
    """As a worker ends it."""

    @function(on=Bought, name="sleepy", timeout_s=0.02)
    async def sleepy(event: Bought, ctx: Context) -> None:
        await asyncio.Event().wait()

    process = offline()
    process.clock = SystemClock()
    done = await invoke(sleepy, Bought(who="ada", cents=1), process=process)
    assert done.error is not None
    assert done.error.errorType == "AttemptTimeoutError"


class Reminded(Event, topic="invoking.reminded", key="who"):
    who: str


@function(on=Bought, emits=[Reminded], answers=[Thanked], name="remind")
async def remind(event: Bought, ctx: Context) -> Thanked:
    """Remind tomorrow, under a name; answer at once."""
    ctx.schedule(datetime.datetime(2014, 11, 13, tzinfo=datetime.UTC), Reminded(who=event.who), name="tomorrow")
    ctx.unschedule("yesterday")
    return Thanked(who=event.who, total_cents=event.cents)


async def test_timers_and_the_answer_are_shown_as_what_they_are() -> None:
    """Not as rows of a table that no handler declared."""
    done = await invoke(remind, Bought(who="ada", cents=5), process=offline())
    assert done.tables == {}
    reminded = {"type": "reminded", "topic": "invoking.reminded", "data": {"who": "ada"}}
    assert done.timers == [
        {"name": "tomorrow", "at": "2014-11-13T00:00:00.000Z", **reminded},
        {"name": "yesterday", "at": None},
    ]
    assert done.answer == {"type": "thanked", "topic": "invoking.thanked", "data": {"who": "ada", "total_cents": 5}}
    assert done.outputs == []


async def test_a_record_of_the_log_is_handled_as_a_worker_would_with_the_same_ids_and_no_effect() -> None:
    """Its own headers, key and position; what it would emit has the ids that the worker's outputs have."""
    async with Harness(thank) as harness:
        await harness.publish(Bought(who="ada", cents=100), Bought(who="ada", cents=20))
        await harness.until_idle()
        first, second = await harness.records("invoking.bought")
        committed = await harness.bus.committed("thank")
        real = [dict(record.headers)["ce_id"].decode() for record in await harness.records("invoking.thanked")]
        told = await invoke_from(thank, [first, second], process=harness.process)
        assert [each.position for each in told] == [f"invoking.bought:{first.partition}:{n}" for n in (0, 1)]
        assert [each.outputs[0]["id"] for each in told] == real
        assert [each.event_id for each in told] == [dict(each.headers)["ce_id"].decode() for each in (first, second)]
        assert [each.tables["totals"]["ada"] for each in told] == [220, 240], "rows begin as stored, then add up"
        assert len(await harness.records("invoking.thanked")) == 2
        assert await harness.table(thank, "totals") == {"ada": 120}
        assert await harness.bus.committed("thank") == committed
        assert (await invoke_from(thank, [first], process=harness.process, emit=True))[0].emitted
        assert len(await harness.records("invoking.thanked")) == 3


async def test_a_batch_function_is_given_the_records_as_one_batch() -> None:
    """Each record's outputs are its own, one that it called failed has its error, one of another type is skipped."""

    @function(on=Bought, emits=[Thanked], name="batched", batch=Batch(size=10))
    async def batched(events: list[Bought], ctx: BatchContext) -> int:
        for index, event in enumerate(events):
            if event.cents < 0:
                ctx.fail(index, PermanentError("below nothing"))
            else:
                ctx[index].emit(Thanked(who=event.who, total_cents=event.cents))
        return len(events)

    async with Harness(batched, events=[Returned]) as harness:
        await harness.publish(Bought(who="a", cents=1), Returned(who="a"), Bought(who="a", cents=-1))
        await harness.until_idle()
        told = await invoke_from(batched, await harness.records("invoking.bought"), process=harness.process)
        assert [(each.result, each.skipped, each.verdict) for each in told] == [
            (2, False, "ack"),
            (None, True, "ack"),
            (None, False, "park"),
        ]
        assert [len(each.outputs) for each in told] == [1, 0, 0]
        stranger = msgspec.structs.replace((await harness.records("invoking.thanked"))[0])
        with pytest.raises(UsageError, match=r"does not read the topic invoking.thanked; it reads invoking.bought"):
            await invoke_from(batched, [stranger], process=harness.process)
