"""What runs side by side and what stays in order, on the real worker and bus."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import threading

from tests.support.waiting import eventually

from sixfold import Context, Event, Retry, TemporaryError, function
from sixfold.bus import NewRecord, TopicPartition, TopicSpec
from sixfold.clock import SystemClock
from sixfold.testing import LIMITS, Harness
from sixfold_events import cloudevents


class Job(Event, topic="order.jobs", key="key"):
    key: str
    number: int


ONE = TopicSpec(name="order.jobs", partitions=1)
TWO = TopicSpec(name="order.jobs", partitions=2)


def pinned(partition: int, number: int, key: str = "") -> NewRecord:
    """A job on a partition of the test's choice."""
    message = cloudevents.encode(
        Job(key=key or f"p{partition}", number=number),
        cloudevents.Attributes(id=f"{partition}-{number}", type="job", source="/test"),
    )
    return NewRecord(
        topic=message.topic, value=message.value, key=message.key, headers=message.headers, partition=partition
    )


async def test_key_order_is_kept_with_more_handlers_than_partitions() -> None:
    """Eight handlers share one partition; the records of each key are handled in order and never two at once."""
    running: set[str] = set()
    most = 0
    order: dict[str, list[int]] = collections.defaultdict(list)

    @function(on=Job, name="by-key", ordering="key", concurrency=8)
    async def by_key(job: Job, ctx: Context) -> None:
        nonlocal most
        assert job.key not in running
        running.add(job.key)
        most = max(most, len(running))
        for _ in range(job.number % 5):
            await asyncio.sleep(0)
        order[job.key].append(job.number)
        running.discard(job.key)

    async with Harness(by_key, topics=[ONE]) as harness:
        await harness.publish(*(Job(key=f"k{n % 40}", number=n) for n in range(800)))
        await harness.until_idle()
        assert await harness.dead_letters(by_key) == []
    assert most > 1
    assert order == {f"k{k}": list(range(k, 800, 40)) for k in range(40)}


async def test_partition_order_is_kept_through_retries() -> None:
    """A failing record is tried again before the next one of its partition begins."""
    order: list[int] = []
    failed: set[int] = set()

    @function(on=Job, name="in-order", concurrency=4, retry=Retry(backoff_s=5))
    async def in_order(job: Job, ctx: Context) -> None:
        if job.number % 3 == 0 and job.number not in failed:
            failed.add(job.number)
            raise TemporaryError
        order.append(job.number)

    async with Harness(in_order, topics=[ONE]) as harness:
        await harness.publish(*(Job(key=f"k{n}", number=n) for n in range(30)))
        await harness.until_idle()
    assert order == list(range(30))


async def test_a_retry_of_one_partition_holds_up_no_other_even_with_a_full_backlog() -> None:
    """The waiting partition fills the backlog, is paused, and the other one is handled to its end meanwhile."""
    handled: collections.Counter[int] = collections.Counter()
    other_done = asyncio.Event()

    @function(on=Job, name="blocked", retry=Retry(backoff_s=3600, backoff_max_s=3600))
    async def blocked(job: Job, ctx: Context) -> None:
        if ctx.record.partition == 0 and not other_done.is_set():
            raise TemporaryError
        handled[ctx.record.partition] += 1
        if handled[1] == 500:
            other_done.set()

    limits = dataclasses.replace(LIMITS, backlog_records_max=40, fetch_records_max=20)
    async with Harness(blocked, topics=[TWO], limits=limits, clock=SystemClock()) as harness:
        await harness.publish_records(*(pinned(0, n) for n in range(500)))
        await harness.publish_records(*(pinned(1, n) for n in range(500)))
        await asyncio.wait_for(other_done.wait(), 20)
        assert 0 < harness.worker(blocked).backlog()[TopicPartition("order.jobs", 0)] <= 60
        assert handled[0] == 0


async def test_records_wait_in_memory_up_to_a_limit_in_bytes_while_a_handler_is_slow() -> None:
    """30 MB are there to read: no more than the limit and one fetch are taken in, while the other partition goes on."""
    size, limit, one_fetch = 100_000, 2_000_000, 2_000_000
    gate = asyncio.Event()
    handled: collections.Counter[int] = collections.Counter()

    @function(on=Job, name="slow", ordering="partition", concurrency=2)
    async def slow(job: Job, ctx: Context) -> None:
        if ctx.record.partition == 0:
            await gate.wait()
        handled[ctx.record.partition] += 1

    limits = dataclasses.replace(LIMITS, backlog_bytes_max=limit)
    async with Harness(slow, topics=[TWO], limits=limits, clock=SystemClock()) as harness:
        large = [pinned(0, n, "k" * size) for n in range(300)]
        for start in range(0, 300, 50):
            await harness.publish_records(*large[start : start + 50])

        def waiting() -> int:
            return size * harness.worker(slow).backlog().get(TopicPartition("order.jobs", 0), 0)

        await eventually(lambda: waiting() >= limit, "the limit is reached")
        for number in range(1, 6):  # each was fetched after that, so what could be fetched of the other was, too
            await harness.publish_records(pinned(1, number))
            await eventually(lambda: handled[1] == number, "the other partition goes on")  # noqa: B023 - awaited here
            assert waiting() <= limit + one_fetch
        gate.set()
        await eventually(lambda: handled[0] == 300, "all are handled")


async def test_the_offset_committed_stays_below_an_unfinished_record() -> None:
    """Out of order completion of other keys commits nothing past the one that waits."""
    gate = asyncio.Event()
    others = asyncio.Event()
    count = 0

    @function(on=Job, name="gated", ordering="none", concurrency=4)
    async def gated(job: Job, ctx: Context) -> None:
        nonlocal count
        if job.number == 5:
            await gate.wait()
        count += 1
        if count == 99:
            others.set()

    async with Harness(gated, topics=[ONE]) as harness:
        await harness.publish(*(Job(key="k", number=n) for n in range(100)))
        await asyncio.wait_for(others.wait(), 20)

        async def committed() -> bool:
            return sum((await harness.bus.committed("gated")).values()) == 5

        await eventually(committed, "the five records before the open one are committed")
        gate.set()
        await harness.until_idle()
        assert sum((await harness.bus.committed("gated")).values()) == 100


async def test_a_plain_handler_runs_in_a_thread_and_may_emit() -> None:
    """The event loop goes on while it runs."""
    threads: set[int] = set()

    class Done(Event, topic="order.done"):
        number: int

    @function(on=Job, emits=[Done], name="plain", ordering="key", concurrency=3)
    def plain(job: Job, ctx: Context) -> None:
        threads.add(threading.get_ident())
        ctx.emit(Done(number=job.number))

    async with Harness(plain) as harness:
        await harness.publish(*(Job(key=f"k{n}", number=n) for n in range(60)))
        await harness.until_idle()
        assert sorted(event.number for event in await harness.emitted(Done)) == list(range(60))
    assert threading.get_ident() not in threads
    assert len(threads) <= 3
