"""Logs on the hot path: not a line per record, and what a handler logs says which record it was."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from sixfold import Batch, BatchContext, Context, Event, function
from sixfold.function import AnyFunction
from sixfold.testing import Harness


class Item(Event, topic="logs.items", key="number"):
    number: int


class Copied(Event, topic="logs.copied", key="number"):
    number: int


@function(on=Item, emits=[Copied], name="logs.single", tables=["last"])
async def single(item: Item, ctx: Context) -> None:
    """Emits and writes for every record."""
    ctx.table("last").put("n", item.number)
    ctx.emit(Copied(number=item.number))


@function(on=Item, emits=[Copied], name="logs.plain", delivery="effectively-once")
def plain(item: Item, ctx: Context) -> None:
    """As `single`, in a thread."""
    ctx.emit(Copied(number=item.number))


@function(on=Item, emits=[Copied], name="logs.batched", batch=Batch(size=10, window_s=0.01))
async def batched(items: list[Item], ctx: BatchContext) -> None:
    """As `single`, many at a time."""
    for index, item in enumerate(items):
        ctx[index].emit(Copied(number=item.number))


async def lines(each: AnyFunction, records: int) -> list[str]:
    """What is logged at info or above while `records` are handled."""
    with capture_logs() as logs:
        async with Harness(each) as harness:
            await harness.publish(*(Item(number=n) for n in range(records)))
            await harness.until_idle()
            assert len(await harness.emitted(Copied)) == records
    return [log["event"] for log in logs if log["log_level"] != "debug"]


@pytest.mark.parametrize("each", [single, plain, batched], ids=lambda each: str(each.name))
async def test_handling_records_writes_no_line_for_each(each: AnyFunction) -> None:
    """A thousand records that go well are as quiet as one: a line costs more than a record."""
    assert len(await lines(each, 1000)) <= len(await lines(each, 1)) + 2


async def test_what_a_handler_logs_has_its_record_bound() -> None:
    """Function, topic, partition, offset and correlation, without a word from the handler."""

    @function(on=Item, name="logs.talking")
    async def talking(item: Item, ctx: Context) -> None:
        ctx.log.info("seen", action="seen")

    with capture_logs() as logs:
        async with Harness(talking) as harness:
            ((topic, partition, offset),) = await harness.publish(Item(number=1), correlation_id="c-1")
            await harness.until_idle()
    (line,) = [log for log in logs if log.get("action") == "seen"]
    bound = {key: line[key] for key in ("function", "topic", "partition", "offset", "correlation")}
    assert bound == {
        "function": "logs.talking",
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "correlation": "c-1",
    }
