"""A capture holds what a function was given and made of it; a replay of it shows what another version makes."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path
from typing import Any

import pytest

from sixfold import Batch, BatchContext, Context, Event, Function, PermanentError, function
from sixfold.bus import TopicPartition
from sixfold.local import captures, differences
from sixfold.local.capturing import capture, sources_of
from sixfold.local.replaying import Replay, replay
from sixfold.testing import Harness
from sixfold_events.registry import Registry


class Paid(Event, topic="replaying.paid", key="who"):
    who: str
    cents: int


class Summed(Event, topic="replaying.summed", key="who"):
    who: str
    cents: int


class Dunned(Event, topic="replaying.dunned", key="who"):
    who: str


def summing(*, factor: int = 1, forgiving: bool = False, delay_s: float = 60) -> Function[..., Any]:
    """One version of a function with a table, outputs, and a timer."""

    @function(on=Paid, emits=[Summed, Dunned], name="summing", tables=["sums"])
    async def handler(event: Paid, ctx: Context) -> None:
        if event.cents < 0 and not forgiving:
            raise PermanentError("below nothing")
        table = ctx.table("sums")
        total = await table.get(event.who, 0) + event.cents * factor
        table.put(event.who, total)
        ctx.emit(Summed(who=event.who, cents=total))
        if event.cents == 5:
            ctx.schedule(datetime.timedelta(seconds=delay_s), Dunned(who=event.who), name=event.who)

    return handler


def registry() -> Registry:
    return Registry([Paid, Summed, Dunned])


async def captured(harness: Harness, each: Function[..., Any], first: int = 0) -> captures.Capture:
    """From offset `first` of every partition."""
    starts = dict.fromkeys(await sources_of(harness.bus, each), first)
    return await capture(harness.process, each, starts)


async def differ(found: captures.Capture, each: Function[..., Any]) -> tuple[list[differences.Difference], int]:
    return differences.with_recorded(found, await replay(found, each, registry()), registry())


async def test_the_same_function_comes_to_the_same_outputs_rows_and_timers() -> None:
    """Timers that fired and one that waits, a record that was parked, and rows of all of it."""
    async with Harness(summing()) as harness:
        await harness.publish(Paid(who="a", cents=5), Paid(who="a", cents=-1), Paid(who="b", cents=7))
        await harness.until_idle()
        await harness.advance(61)
        await harness.publish(Paid(who="c", cents=5))
        await harness.until_idle()
        assert await harness.emitted(Dunned) == [Dunned(who="a")]
        found = await captured(harness, summing())
    assert (len(found.records), len(found.outputs), len(found.letters)) == (4, 4, 1)
    assert await differ(found, summing()) == ([], 4)


async def test_a_version_that_does_otherwise_differs_in_outputs_rows_and_errors() -> None:
    """Each difference says where, what was expected and what was found."""
    async with Harness(summing()) as harness:
        await harness.publish(Paid(who="a", cents=3), Paid(who="a", cents=-1))
        await harness.until_idle()
        found = await captured(harness, summing())
    number = found.records[0].partition
    changed, _ = await differ(found, summing(factor=2))
    assert [(each.where, each.what) for each in changed] == [
        (f"replaying.paid:{number}:0", "outputs"),
        ("", f"rows sums/{number}"),
    ]
    assert [each["data"] for each in (*changed[0].expected, *changed[0].found)] == [
        {"who": "a", "cents": 3},
        {"who": "a", "cents": 6},
    ]
    assert (changed[1].expected, changed[1].found) == ([{"a": 3}], [{"a": 6}])
    forgiving, _ = await differ(found, summing(forgiving=True))
    assert [each.what for each in forgiving] == ["error", "outputs", f"rows sums/{number}"]
    assert forgiving[0].expected == ["PermanentError: below nothing"]


async def test_a_timer_that_is_set_for_another_time_is_a_difference() -> None:
    """Of those that wait, and of those that fired while the records were captured."""
    async with Harness(summing()) as harness:
        await harness.publish(Paid(who="a", cents=5))
        await harness.until_idle()
        waits = await captured(harness, summing())
        await harness.advance(61)
        fired = await captured(harness, summing())
    assert [each.what for each in (await differ(waits, summing(delay_s=90)))[0]] == ["timers"]
    assert {each.what for each in (await differ(fired, summing(delay_s=90)))[0]} == {"outputs", "timers"}


async def test_records_not_handled_yet_begin_with_the_captured_rows_and_are_not_compared() -> None:
    """What the function would make of them is told by an expectation."""
    async with Harness(summing()) as harness:
        await harness.publish(Paid(who="a", cents=3))
        await harness.until_idle()
        await harness.stop()
        await harness.publish(Paid(who="a", cents=4))
        starts: dict[TopicPartition, int] = dict.fromkeys(await sources_of(harness.bus, summing()), 0)
        starts.update(await harness.bus.committed("summing"))
        found = await capture(harness.process, summing(), starts)
    done = await replay(found, summing(), registry())
    [outcome] = done.outcomes.values()
    assert outcome.tables == {"sums": {"a": 7}}
    assert differences.with_recorded(found, done, registry()) == ([], 0)


async def test_an_expectation_is_kept_in_a_file_and_compared_record_by_record(tmp_path: Path) -> None:
    """Outputs, rows, timers and errors of each record."""
    async with Harness(summing()) as harness:
        await harness.publish(Paid(who="a", cents=5), Paid(who="a", cents=-1))
        await harness.until_idle()
        found = await captured(harness, summing())
    path = tmp_path / "expected.json"
    done = await replay(found, summing(), registry())
    differences.write(path, differences.expectation("summing", done))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    expected = differences.read(path)
    assert differences.with_expected(expected, await replay(found, summing(), registry())) == []
    changed = differences.with_expected(expected, await replay(found, summing(factor=2, delay_s=1), registry()))
    assert {each.what for each in changed if each.where} == {"outputs", "tables", "timers"}
    path.write_text("{}")
    with pytest.raises(differences.ExpectationError, match="write it anew with --update"):
        differences.read(path)


async def test_a_batch_function_is_replayed_in_batches_at_the_records_own_time() -> None:
    """Of one partition each, with the time of their last record."""
    calls: list[tuple[int, float]] = []

    @function(on=Paid, emits=[Summed], name="batched", batch=Batch(size=2))
    async def batched(events: list[Paid], ctx: BatchContext) -> None:
        calls.append((len(events), ctx.clock.now()))
        for index, event in enumerate(events):
            ctx[index].emit(Summed(who=event.who, cents=event.cents))

    async with Harness(batched) as harness:
        for cents in range(3):
            await harness.publish(Paid(who="a", cents=cents))
            await harness.advance(10)
        found = await captured(harness, batched)
    _, second, third = (record.timestamp_ms / 1000 for record in found.records)
    calls.clear()
    assert await differ(found, batched) == ([], 3)
    assert calls == [(2, second), (1, third)]


async def test_a_capture_outlives_its_file_with_its_schemas_and_is_the_owners_alone(tmp_path: Path) -> None:
    """It is written once, and a reader notices what is missing."""
    async with Harness(summing()) as harness:
        await harness.publish(Paid(who="a", cents=5))
        await harness.until_idle()
        found = await captured(harness, summing())
    path = tmp_path / "capture.ndjson"
    assert captures.write(found, path) == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = captures.read(path)
    assert list(again.lines()) == list(found.lines())
    assert len(again.schemas) == 2, "of the record and of its output"
    with pytest.raises(captures.CaptureError, match="never written over"):
        captures.write(found, path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    with pytest.raises(captures.CaptureError, match="cut off"):
        captures.read(path)
    path.write_bytes(lines[0] + b"{}\n")
    with pytest.raises(captures.CaptureError, match="line 2: not a line of a capture"):
        captures.read(path)


async def test_a_record_of_an_older_schema_is_read_by_the_captures_own_schemas() -> None:
    """The reader's registry never saw the writer's version."""

    class Older(Event, topic="replaying.paid", type="paid", key="who"):
        who: str
        cents: int
        note: str = ""

    async with Harness(summing(), events=[Older]) as harness:
        await harness.publish(Older(who="a", cents=3, note="n"))
        await harness.until_idle()
        found = await captured(harness, summing())
    assert await differ(found, summing()) == ([], 1)
    found.schemas = ()
    done: Replay = await replay(found, summing(), registry())
    [outcome] = done.outcomes.values()
    assert outcome.error is not None
    assert "written with schema id" in outcome.error


async def test_a_capture_of_a_topic_can_only_be_compared_with_an_expectation() -> None:
    """The message says how."""
    async with Harness(summing()) as harness:
        await harness.publish(Paid(who="a", cents=3))
        starts = dict.fromkeys(await sources_of(harness.bus, summing()), 0)
        found = await capture(harness.process, None, starts)
    with pytest.raises(differences.ExpectationError, match="--expect"):
        await differ(found, summing())
