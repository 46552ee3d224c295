"""Running a function against a capture without any bus: the same records, at their own time, as often as you like.

Records are handled by time, each partition's in order; a batch function gets `Batch.size` of one partition at a time.
`ctx.clock` stands at the record's time, a sleep on it moves it on, ids derive from the records' own positions, and
timers fire when the time of a later record, or in the end that of the capture, has passed them. Nothing is tried again.

Which rows it begins with depends on what the captured ones reflect: records before the captured ones only (they are
the beginning), or just the captured ones from the start of the log (it begins with none, and they are the expected
end); where they reflect some of them, it begins with them, and says that this may show.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sixfold import timers
from sixfold.bus import port
from sixfold.function import AnyFunction
from sixfold.local import captures, outcomes, rehearsing
from sixfold.process import Process
from sixfold_events import DecodeError, cloudevents
from sixfold_events.registry import Registry


class RecordClock:
    """Stands at the time of the record that is handled."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now(self) -> float:
        return self._now_s

    def monotonic(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        """Take no time: the clock moves on."""
        self._now_s += max(0.0, seconds)
        await asyncio.sleep(0)

    def stand(self, time_ms: int) -> None:
        """Move to `time_ms`; never back, since records of different partitions may be stamped out of order."""
        self._now_s = max(self._now_s, time_ms / 1000)


class Reflect(enum.Enum):
    """What the captured rows of one partition number reflect."""

    BEFORE = "before"
    AFTER = "after"
    SOME = "some"


@dataclass(kw_only=True)
class Replay:
    """What came of a capture."""

    outcomes: dict[str, outcomes.Outcome] = field(default_factory=dict)
    """By TOPIC:PARTITION:OFFSET, in the order in which they were handled."""
    outputs: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """What was emitted, by the event id of its cause; timers that fired included."""
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the tables held in the end, by `TABLE/PARTITION` and key."""
    timers: list[dict[str, Any]] = field(default_factory=list)
    """Those that had not fired in the end."""
    notes: list[str] = field(default_factory=list)


async def replay(capture: captures.Capture, function: AnyFunction, registry: Registry) -> Replay:
    """Call `function` with the records of `capture` that it reads. `registry` learns the capture's schemas.

    Raises SchemaConflictError where an id means another schema here.
    """
    for schema in capture.schemas:
        registry.learn(schema.identifier, schema.schema)
    with tempfile.TemporaryDirectory(prefix="sixfold-replay-") as folder:
        clock = RecordClock()
        process = Process(name="replay", data_dir=Path(folder), registry=registry, clock=clock)
        try:
            return await _Replaying(capture, function, process, clock).run()
        finally:
            await process.resources.close()


def reflected(capture: captures.Capture) -> dict[int, Reflect]:
    """What the captured rows reflect, by partition number: tables are shared by all topics' partitions of it."""
    parts: dict[int, list[captures.Part]] = defaultdict(list)
    for part in capture.head.partitions:
        parts[part.partition].append(part)
    found = {}
    for number, those in parts.items():
        if all((part.committed or 0) <= part.first for part in those):
            found[number] = Reflect.BEFORE
        elif all(part.first == 0 and (part.committed or 0) == part.end for part in those):
            found[number] = Reflect.AFTER
        else:
            found[number] = Reflect.SOME
    return found


def essence(record: port.NewRecord | captures.Output, registry: Registry) -> dict[str, Any]:
    """What is compared of an output: topic, type, key and data (bytes in base64 where they cannot be decoded)."""
    headers: Any = record.headers
    kind = cloudevents.attributes_of(headers).type
    key = {} if record.key is None else {"partitionkey": record.key.decode(errors="replace")}
    try:
        data = {"data": msgspec.to_builtins(registry.decode(record.value, headers))}
    except DecodeError:
        data = {"data_base64": msgspec.to_builtins(record.value)}
    return {"topic": record.topic, "type": kind, **key, **data}


class _Replaying:
    def __init__(self, capture: captures.Capture, function: AnyFunction, process: Process, clock: RecordClock) -> None:
        self._capture = capture
        self._function = function
        self._registry = process.registry
        self._clock = clock
        self._rehearsal = rehearsing.Rehearsal(function, process)
        self._timers: dict[tuple[int, bytes], timers.Timer] = {}
        self._heap: list[tuple[int, int, bytes]] = []
        self._done = Replay()

    async def run(self) -> Replay:
        self._begin()
        for chunk in self._chunks():
            now_ms = chunk[-1].timestamp_ms
            self._fire(now_ms)
            self._clock.stand(now_ms)
            for made in await self._rehearsal.call(chunk):
                self._rehearsal.keep([made])
                self._note(made)
        self._fire(self._capture.head.captured_ms)
        for (table, number), rows in sorted(self._rehearsal.rows.written.items()):
            kept = {key.decode(): outcomes.row(value) for key, value in sorted(rows.items()) if value is not None}
            if kept and table != timers.TABLE:
                self._done.rows[f"{table}/{number}"] = kept
        self._done.timers = pending(self._timers.values(), self._registry)
        return self._done

    def _begin(self) -> None:
        reflect = reflected(self._capture)
        rows = [row for row in self._capture.rows if reflect.get(row.partition) is not Reflect.AFTER]
        state = captures.state_of(rows)
        self._rehearsal.rows.wrote(state)
        self._set(state)
        some = sorted(number for number, what in reflect.items() if what is Reflect.SOME)
        if some and self._function.tables:
            self._done.notes.append(
                f"the captured rows of partition {', '.join(map(str, some))} reflect some of the captured records already, so "
                "rows and outputs may differ; record from the start of the log, or from where the function is"
            )

    def _chunks(self) -> Iterator[Sequence[port.Record]]:
        topics = self._function.sources_among({each.topic for each in self._capture.records})
        records = [each.read() for each in self._capture.records if each.topic in topics]
        size = 1 if self._function.batch is None else self._function.batch.size
        gathered: dict[tuple[str, int], list[port.Record]] = defaultdict(list)
        for record in records:
            batch = gathered[record.topic, record.partition]
            batch.append(record)
            if len(batch) == size:
                yield list(batch)
                batch.clear()
        yield from [batch for batch in gathered.values() if batch]

    def _note(self, made: rehearsing.Made) -> None:
        record = made.record
        self._done.outcomes[f"{record.topic}:{record.partition}:{record.offset}"] = _lean(outcomes.of(made))
        self._done.outputs[made.event_id] += [essence(each, self._registry) for each in made.outputs]
        if made.error is None:
            self._set(made.rows)

    def _set(self, state: port.State) -> None:
        """Know the timers among these rows."""
        for (table, number), rows in state.items():
            for key, value in rows.items() if table == timers.TABLE else ():
                self._timers.pop((number, key), None)
                if value is not None:
                    timer = timers.decode(value)
                    self._timers[number, key] = timer
                    heapq.heappush(self._heap, (timer.due_ms, number, key))

    def _fire(self, now_ms: int) -> None:
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, number, key = heapq.heappop(self._heap)
            timer = self._timers.get((number, key))
            if timer is None or timer.due_ms != due_ms:
                continue  # it was set anew, or taken away
            del self._timers[number, key]
            self._rehearsal.rows.wrote({(timers.TABLE, number): {key: None}})
            record = timer.record()
            cause = cloudevents.attributes_of(record.headers).causation_id
            self._done.outputs[cause].append(essence(record, self._registry))


def pending(found: Iterable[timers.Timer], registry: Registry) -> list[dict[str, Any]]:
    """Timers as they are compared, the earliest first."""
    told = [{"at": cloudevents.rfc3339(each.due_ms).decode(), **essence(each.record(), registry)} for each in found]
    return sorted(told, key=lambda each: msgspec.json.encode(each, order="sorted"))


def _lean(outcome: outcomes.Outcome) -> outcomes.Outcome:
    """Without what each record's output has beside its meaning."""
    kept = ("topic", "type", "partitionkey", "data")
    outputs = [{name: each[name] for name in kept if name in each} for each in outcome.outputs]
    return msgspec.structs.replace(outcome, outputs=outputs)
