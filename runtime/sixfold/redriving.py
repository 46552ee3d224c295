"""Taking records back from the dead letters: to the one function that could not handle them, or away for good.

A dead-letter topic is a log, so which letters are handled is what a group of its own has committed there: up to an
offset, and beyond it the gaps that lie beside it (`gaps.py`). A redrive publishes the letter to the function's retry
topic and marks it in one settle; the function's workers find that topic by themselves within `Limits.topics_s`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field

from sixfold import clock as clocks
from sixfold import dead_letter, errors, gaps, retries
from sixfold.bus import ends, port
from sixfold.function import AnyFunction

REDRIVES_MAX = 3
"""A letter that came back so often is not sent round again unless it is asked for by force."""
RATE_PER_S = 50.0
CHUNK_S = 0.1
"""Letters are sent in chunks of so much time."""


class TooManyGapsError(errors.SixfoldError):
    """So many separate letters were taken out of order that no more can be remembered."""


@dataclass(frozen=True)
class Letter:
    """A dead letter that nobody has taken back yet."""

    number: int
    """Its offset in the dead-letter topic: its number on the command line."""
    letter: dead_letter.DeadLetter


@dataclass
class Redriven:
    """What a redrive did, by numbers of letters."""

    sent: list[int] = field(default_factory=list)
    looping: list[int] = field(default_factory=list)
    """Left alone: they came back `redrives_max` times before."""


class DeadLetters:
    """The dead letters of one function. Use as an async context manager; one user at a time."""

    def __init__(self, bus: port.Bus, function: AnyFunction, *, clock: clocks.Clock | None = None) -> None:
        self._bus = bus
        self._function = function
        self._clock = clock or clocks.SystemClock()
        self._tp = port.TopicPartition(function.dead_letter_topic, 0)
        self._stack = contextlib.AsyncExitStack()
        self._consumer: port.Consumer | None = None
        self._handled: set[int] = set()
        self._base = 0

    async def __aenter__(self) -> DeadLetters:
        if self._tp.topic in await self._bus.topics():
            group = f"{self._tp.topic}.handled"
            self._consumer = await self._stack.enter_async_context(self._bus.assign([self._tp], group=group))
            self._base = (await self._bus.committed(group)).get(self._tp, 0)
            found = gaps.decode(self._base, await self._consumer.note(self._tp))
            self._handled = {number for first, end in found for number in range(first, end)}
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._stack.aclose()

    async def letters(self, *, handled: bool = False) -> AsyncIterator[Letter]:
        """Those that nobody has taken back, oldest first; with `handled` all that the topic still holds."""
        if self._consumer is None:
            return
        start = (await self._bus.offsets(self._tp)).start if handled else self._base
        await self._consumer.seek(self._tp, max(start, (await self._bus.offsets(self._tp)).start))
        async for records in ends.read_up_to(self._consumer, await ends.of(self._bus, [self._tp])):
            for record in records:
                if handled or not self._is_handled(record.offset):
                    yield Letter(record.offset, dead_letter.read(record))

    def _is_handled(self, number: int) -> bool:
        return number < self._base or number in self._handled

    async def redrive(
        self,
        numbers: Collection[int] | None,
        *,
        rate_per_s: float = RATE_PER_S,
        redrives_max: int = REDRIVES_MAX,
        progress: Callable[[int], None] = lambda count: None,
    ) -> Redriven:
        """Send letters back to the function: those of `numbers`, or all; not faster than `rate_per_s`.

        Each begins with its first attempt and is as young as its redrive. `progress` is told how many were sent.
        Raises TooManyGapsError, and what the bus raises; letters that were sent are marked then.
        """
        done = Redriven()
        chunk: list[Letter] = []
        specs = await self._bus.topics()
        if self._function.retry_topic not in specs:
            await self._bus.create_topics([retries.topic_spec(self._function, specs)])
            specs = await self._bus.topics()
        partitions = specs[self._function.retry_topic].partitions
        size = max(1, round(rate_per_s * CHUNK_S))
        async for each in self._chosen(numbers):
            if each.letter.redrives >= redrives_max:
                done.looping.append(each.number)
                continue
            chunk.append(each)
            if len(chunk) >= size:
                await self._send(chunk, partitions)
                done.sent += [letter.number for letter in chunk]
                progress(len(done.sent))
                await self._clock.sleep(len(chunk) / rate_per_s)
                chunk = []
        if chunk:
            await self._send(chunk, partitions)
            done.sent += [letter.number for letter in chunk]
            progress(len(done.sent))
        return done

    async def drop(self, numbers: Collection[int] | None) -> list[int]:
        """Mark letters as handled without sending them: those of `numbers`, or all. Their bytes stay in the topic."""
        dropped = [each.number async for each in self._chosen(numbers)]
        if dropped:
            await self._mark(dropped, [])
        return dropped

    async def _chosen(self, numbers: Collection[int] | None) -> AsyncIterator[Letter]:
        found = [each async for each in self.letters() if numbers is None or each.number in numbers]
        for each in found:
            yield each

    async def _send(self, letters: Sequence[Letter], partitions: int) -> None:
        records = []
        for each in letters:
            letter = each.letter
            original = port.Record(
                topic=letter.topic,
                partition=letter.partition,
                offset=letter.offset,
                timestamp_ms=letter.timestamp_ms,
                key=letter.key,
                value=letter.value,
                headers=letter.headers,
            )
            returned = retries.Returned(original, 1, letter.redrives + 1)
            # The partition of its number: the function's tables for it belong there.
            number = letter.partition if 0 <= letter.partition < partitions else None
            records.append(retries.back(self._function, returned, number))
        await self._mark([each.number for each in letters], records)

    async def _mark(self, numbers: Sequence[int], records: Sequence[port.NewRecord]) -> None:
        assert self._consumer is not None
        handled, base = self._handled.union(numbers), self._base
        while base in handled:
            handled.discard(base)
            base += 1
        ranges = _ranges(handled)
        note = gaps.encode(base, ranges)
        if list(gaps.decode(base, note)) != ranges:
            raise TooManyGapsError(
                f"{self._tp.topic}: {len(ranges):,} separate letters were taken out of order; take the oldest first, from "
                f"number {base} on"
            )
        await self._consumer.settle(records=records, offsets={self._tp: base}, notes={self._tp: note}, atomic=True)
        self._handled, self._base = handled, base


def _ranges(numbers: Collection[int]) -> list[gaps.Range]:
    ranges: list[gaps.Range] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number:
            ranges[-1] = (ranges[-1][0], number + 1)
        else:
            ranges.append((number, number + 1))
    return ranges
