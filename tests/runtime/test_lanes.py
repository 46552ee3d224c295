"""Lanes keep the order that a function asked for, and nothing more."""

from __future__ import annotations

import random
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from sixfold.bus import port
from sixfold.function import Ordering
from sixfold.worker.lanes import Item, Lane, Lanes
from sixfold.worker.partition import Partition


class NoRows:
    """A table reader without rows."""

    async def state_get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """Nothing."""

    async def state_scan(self, table: str, partition: int) -> list[tuple[bytes, bytes]]:
        """Nothing."""
        return []


def partition(number: int) -> Partition:
    """An assigned partition."""
    return Partition(port.TopicPartition("t", number), NoRows())


def record(number: int, offset: int, key: bytes | None = None) -> port.Record:
    """A record without content."""
    return port.Record("t", number, offset, 0, key, b"v", ())


@given(
    keys=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([b"a", b"b", b"c", b"d", None])), max_size=80),
    ordering=st.sampled_from(get_args(Ordering)),
    concurrency=st.integers(1, 4),
    seed=st.integers(),
)
def test_every_record_runs_once_and_in_the_order_that_was_asked_for(
    keys: list[tuple[int, bytes | None]], ordering: Ordering, concurrency: int, seed: int
) -> None:
    """Any interleaving of arrivals, runners, slices and retries."""
    rng = random.Random(seed)
    partitions = [partition(n) for n in range(3)]
    # Records of one key are of one partition, as a bus has them.
    records = [(number if key is None else key[0] % 3, offset, key) for offset, (number, key) in enumerate(keys)]
    lanes = Lanes(ordering, concurrency)
    arriving = [(partitions[n], record(n, offset, key)) for n, offset, key in records]
    running: list[tuple[Lane, Item, int]] = []
    waiting: list[Lane] = []
    done: list[port.Record] = []
    while arriving or running or waiting or lanes.ready:
        choice = rng.randrange(4)
        if choice == 0 and arriving:
            owner, one = arriving.pop(0)
            lanes.add(owner, [one])
        elif choice == 1 and lanes.ready and len(running) < concurrency:
            lane = lanes.next()
            if lane.items:
                running.append((lane, lane.items.popleft(), lane.attempt))
                lane.attempt = 1
            else:
                lanes.release(lane)
        elif choice == 2 and waiting:
            lanes.release(waiting.pop(rng.randrange(len(waiting))))
        elif choice == 3 and running:
            lane, item, attempt = running.pop(rng.randrange(len(running)))
            if attempt == 1 and rng.random() < 0.3:
                postponed = lanes.postpone(lane, [item], attempt=2)
                waiting.append(postponed)
                if postponed is not lane:
                    lanes.release(lane)
            else:
                done.append(item[0])
                lanes.release(lane)
    assert sorted(one.offset for one in done) == list(range(len(keys)))
    groups = {
        "partition": lambda one: one.partition,
        "key": lambda one: one.key,
        "none": lambda one: one.offset,  # a group of one: any order
    }
    for group in {groups[ordering](one) for one in done} - {None}:
        offsets = [one.offset for one in done if groups[ordering](one) == group]
        assert offsets == sorted(offsets)


def test_keys_of_one_partition_run_side_by_side() -> None:
    """Concurrency goes beyond the number of partitions."""
    lanes, owner = Lanes("key", 8), partition(0)
    lanes.add(owner, [record(0, n, b"key-%d" % n) for n in range(100)])
    assert len(lanes.ready) > 8


def test_a_retry_holds_up_its_own_lane_only() -> None:
    """The other partition's lane is next while the first one waits."""
    lanes, first, second = Lanes("partition", 1), partition(0), partition(1)
    lanes.add(first, [record(0, 0), record(0, 1)])
    lane = lanes.next()
    assert lanes.postpone(lane, [lane.items.popleft()], attempt=2) is lane
    lanes.add(first, [record(0, 2)])
    lanes.add(second, [record(1, 0)])
    assert [item[0].partition for ready in lanes.ready for item in ready.items] == [1]


def test_without_order_a_retry_waits_alone() -> None:
    """The records behind it go on at once, for as many runners as there are."""
    lanes, owner = Lanes("none", 3), partition(0)
    lanes.add(owner, [record(0, n) for n in range(40)])
    lane = lanes.next()
    waiting = lanes.postpone(lane, [lane.items.popleft()], attempt=2)
    assert waiting is not lane
    assert [item[0].offset for item in waiting.items] == [0]
    assert lanes.next() is lane
    assert lanes.next() is lane
    assert lanes.room == 40
