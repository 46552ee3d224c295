"""The contract: a call that is cancelled, or whose consumer closes, leaves nothing half done and nobody waiting."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.support import buses, naming, waiting
from tests.support.records import contents, make, numbered, values

from sixfold import errors
from sixfold.bus import port


async def test_closing_ends_a_fetch_that_waits(bus: port.Bus, names: naming.Names) -> None:
    """Soon, with nothing or an error of ours; not when its own wait is over."""
    topic = await make(bus, names("t"))
    consumer = bus.subscribe(names("g"), [topic])
    async with consumer:
        await waiting.assigned(consumer, 1)
        fetching = asyncio.create_task(consumer.fetch(wait_s=60))
        await asyncio.wait({fetching}, timeout=0.05)
    with contextlib.suppress(errors.SixfoldError):
        assert await asyncio.wait_for(fetching, 5) == {}


@pytest.mark.parametrize("member", [None, "stable"])
async def test_a_consumer_may_close_twice_and_the_group_goes_on(
    bus: port.Bus, names: naming.Names, member: str | None
) -> None:
    """Whoever cleans up need not know whether it was done."""
    topic = await make(bus, names("t"))
    await numbered(bus, topic, 0, 2)
    consumer = bus.subscribe(names("g"), [topic], member=member)
    async with consumer:
        await waiting.collect(consumer, 2)
    await consumer.__aexit__(None, None, None)
    async with bus.subscribe(names("g"), [topic], member=member) as again:
        assert values(await waiting.collect(again, 2)) == [0, 1]


async def test_joining_that_is_cancelled_leaves_no_member_behind(bus: port.Bus, names: naming.Names) -> None:
    """The next one has all partitions, without waiting for anybody's session to expire."""
    topic = await make(bus, names("t"), 2)
    for pause_s in (0, 0.005, 0.02, 0.05):
        joining = asyncio.create_task(bus.subscribe(names("g"), [topic]).__aenter__())
        await asyncio.wait({joining}, timeout=pause_s)
        joining.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await joining).__aexit__(None, None, None)
    async with bus.subscribe(names("g"), [topic]) as consumer:
        await waiting.assigned(consumer, 2, deadline_s=5)


async def test_an_atomic_settle_that_is_cancelled_leaves_all_or_nothing(bus: port.Bus, names: naming.Names) -> None:
    """At whatever step: outputs, rows and offset tell the same, and the next one goes on from there."""
    topic, output = await make(bus, names("t")), await make(bus, names("out"))
    partition = port.TopicPartition(topic, 0)
    done = 0
    for pause_s in (0, 0.001, 0.003, 0.006, 0.012, 0.025):
        async with bus.subscribe(names("g"), [topic]) as consumer:
            await waiting.assigned(consumer, 1)
            settling = asyncio.create_task(
                consumer.settle(
                    records=[port.NewRecord(output, b"%d" % done)],
                    state={("count", 0): {b"n": b"%d" % (done + 1)}},
                    offsets={partition: done + 1},
                    atomic=True,
                )
            )
            await asyncio.wait({settling}, timeout=pause_s)
            settling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await settling
        async with bus.subscribe(names("g"), [topic]) as consumer:
            await waiting.assigned(consumer, 1)
            found = int(await consumer.state_get("count", 0, b"n") or b"0")

            async def same(expected: int = found) -> bool:
                offsets = {partition: expected} if expected else {}
                outputs: list[bytes | None] = [b"%d" % number for number in range(expected)]
                return (await bus.committed(names("g")), await contents(bus, output)) == (offsets, outputs)

            await waiting.eventually(same, f"all of {found} settles, nothing of others", deadline_s=10)
            assert found in (done, done + 1)
            done = found


async def test_a_publish_that_is_cancelled_stores_its_records_once_or_not_at_all(
    bus: port.Bus, names: naming.Names
) -> None:
    """In order with what is published after it."""
    topic = await make(bus, names("t"))
    for number in range(12):
        publishing = asyncio.create_task(bus.publish([port.NewRecord(topic, b"%d" % number)]))
        for _ in range(number):
            await asyncio.sleep(0)
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
    await numbered(bus, topic, 99, 1)
    found = [int(value or b"-1") for value in await contents(bus, topic)]
    assert found == sorted(set(found))
    assert found[-1] == 99


async def test_what_was_closed_says_so(place: buses.Place, bus: port.Bus, names: naming.Names) -> None:
    """A consumer: UsageError from fetching and settling. A bus: an error from publishing, and nothing is stored."""
    topic = await make(bus, names("t"))
    partition = port.TopicPartition(topic, 0)
    consumer = bus.assign([partition], group=names("g"))
    for _ in range(2):  # before it was opened as after it was closed
        with pytest.raises(errors.UsageError):
            await consumer.fetch()
        with pytest.raises(errors.UsageError):
            await consumer.settle(offsets={partition: 1})
        async with consumer:
            pass
    async with buses.open_bus(place) as other:
        assert other.url == place.url
        await other.publish([port.NewRecord(topic, b"1")])
    with pytest.raises(errors.SixfoldError):
        await other.publish([port.NewRecord(topic, b"2")])
    with pytest.raises(errors.SixfoldError):
        await other.offsets(partition)
    assert await bus.committed(names("g")) == {}
    assert await contents(bus, topic) == [b"1"]
