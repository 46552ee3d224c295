"""Is the cost of an event the same whatever the number of partitions, functions and keys? Worst over best.

The cost is processor time of the function's process, so that what else the machine does weighs little; what follows
from the rates of the same runs stands beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping

from bench.runtime import load, rounds, sides
from bench.runtime.job import KEYS
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from sixfold.bus import TopicPartition, TopicSpec

PARTITIONS = (1, 4, 16, 64)
PARTITION_RECORDS = 240_000
FUNCTIONS = (1, 10, 50)
FUNCTION_RECORDS = 960_000
"""Handled by all functions together."""
TABLE_KEYS = (1_000, 30_000, 1_000_000)
TABLE_RECORDS = 240_000
ROWS = 6_000
"""Rows stored in one call, all partitions together: what fits into one batch of each."""
ROW = b"\x92\x01\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"
"""[1, 1.0] as MessagePack, as the function's own rows look."""


Point = Callable[[], Awaitable[sides.Run]]


async def _flat(name: str, lab: Lab, points: Mapping[str, Point]) -> Outcome:
    """Worst over best cost of the points."""
    runs: dict[str, list[sides.Run]] = {point: [] for point in points}

    def measured(point: str) -> rounds.Measure:
        async def measure() -> float:
            runs[point].append(await points[point]())
            return runs[point][-1].per_s

        return measure

    rates = await rounds.interleaved({point: measured(point) for point in points}, lab.scale.rounds)
    costs = {point: [run.cpu_s for run in found] for point, found in runs.items()}
    outcome = Outcome()
    outcome.add(name, rounds.worst_over_best(list(costs.values())))
    outcome.add(f"{name}_elapsed", rounds.worst_over_best([[1 / rate for rate in values] for values in rates.values()]))
    outcome.details[f"{name}_per_s"] = {point: round(rounds.figure(values).value) for point, values in rates.items()}
    outcome.details[f"{name}_cpu_us"] = {
        point: round(rounds.figure(values).value * 1e6, 2) for point, values in costs.items()
    }
    return outcome


async def partitions(lab: Lab) -> Outcome:
    """A no-op function over topics of 1 to 64 partitions."""
    points: dict[str, Point] = {}
    count = lab.scale.records(PARTITION_RECORDS)
    for number in PARTITIONS:
        topic = lab.name("partitions")
        await load.fill(lab.bus, topic, range(count), partitions=number)
        points[str(number)] = functools.partial(_partitions_run, lab, topic, count)
    return await _flat("flat_partitions", lab, points)


async def _partitions_run(lab: Lab, topic: str, count: int) -> sides.Run:
    return await sides.run(lab, "ours", sides.job(lab, topic, count, mode="noop"))


async def functions(lab: Lab) -> Outcome:
    """1 to 50 no-op functions in one process; together they handle as many records."""
    return await _flat(
        "flat_functions", lab, {str(number): functools.partial(_functions_run, lab, number) for number in FUNCTIONS}
    )


async def _functions_run(lab: Lab, number: int) -> sides.Run:
    """All functions run and have had a record of each partition before what is measured appears."""
    topic, each = lab.name("functions"), load.PARTITIONS + lab.scale.records(FUNCTION_RECORDS // number, 12)
    await load.fill(lab.bus, topic, range(load.PARTITIONS))
    work = sides.job(lab, topic, each * number, mode="many", warm=load.PARTITIONS * number + 1, concurrency=number)
    async with sides.started(sides.command("ours", work)) as running:
        async with load.hidden(lab.bootstrap, load.records(topic, range(load.PARTITIONS, each))):
            await running.said()
        result = await running.said()
        sides.check(work, result, numbers=number * sum(range(each)))
        for index in range(number):
            await sides.committed(lab, f"{work.group}.{index}", topic, each)
    measured = work.count - work.warm
    return sides.Run(measured / (result["last_s"] - result["first_s"]), result["cpu_s"] / measured)


async def keys(lab: Lab) -> Outcome:
    """A function with a table of 1,000 to 1,000,000 rows that reads and writes one row per event."""
    points: dict[str, Point] = {}
    for number in TABLE_KEYS:
        table = _Table(lab, number)
        await table.prepare()
        points[f"{number:,}"] = table.run
    return await _flat("flat_keys", lab, points)


class _Table:
    """A function's table that has a row for each of `keys` keys before the first event is handled."""

    def __init__(self, lab: Lab, keys: int) -> None:
        self._lab = lab
        self._keys = max(KEYS, round(keys * min(1.0, lab.scale.share)))
        self._topic = lab.name("rows")
        self._group = lab.name("table")
        self._handled = 0

    async def prepare(self) -> None:
        """Make the topic, and store the rows as the function itself would."""
        await self._lab.bus.create_topics([TopicSpec(name=self._topic, partitions=load.PARTITIONS)])
        owned = [TopicPartition(self._topic, number) for number in range(load.PARTITIONS)]
        async with self._lab.bus.assign(owned, group=self._group) as consumer:
            for start in range(0, self._keys, ROWS):
                rows: dict[tuple[str, int], dict[bytes, bytes | None]] = {}
                for number in range(start, min(start + ROWS, self._keys)):
                    sensor = load.reading(number, self._keys).sensor
                    rows.setdefault(("sums", number % load.PARTITIONS), {})[sensor.encode()] = ROW
                await consumer.settle(state=rows, offsets=dict.fromkeys(owned, 0))

    async def run(self) -> sides.Run:
        """Over events that are new to the function; reading the table back is not part of it."""
        first, count = self._handled, self._lab.scale.records(TABLE_RECORDS)
        await load.fill(self._lab.bus, self._topic, range(first, first + count), keys=self._keys, create=False)
        work = sides.job(self._lab, self._topic, count, mode="table", group=self._group)
        run = await sides.run(self._lab, "ours", work, first=first)
        self._handled += count
        return run
