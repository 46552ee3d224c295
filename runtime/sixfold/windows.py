"""Windows over event time, kept as rows of a function's table, so stored with the offset that they reflect.

A window spec names its table and says how values are folded; a handler adds what its event brings and gets back the
windows that this closed::

    TOTALS = Tumbling("totals", size_s=60, grace_s=5, initial=0, add=lambda total, cents: total + cents)

    @function(on=Sale, emits=[ShopTotal], tables=["totals"])
    async def total(sale: Sale, ctx: Context) -> None:
        for closed in (await ctx.window(TOTALS).add(sale.shop, sale.at_ms, sale.cents)).closed:
            ctx.emit(ShopTotal(shop=closed.key, start_ms=closed.start_ms, cents=closed.value))

Time is the events' own and moves by events only, in each partition for itself: its stream time is the latest event
time so far less `grace_s`. A window is closed, once, when stream time reaches its end; an event for a closed window is
`late` and changes nothing. So the result depends on the order of a partition's events and on no clock, and a replay
gives the same. Model: Akidau et al., "The Dataflow Model" (VLDB 2015); names as in Kafka Streams.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sixfold import errors

WINDOWS_PER_EVENT_MAX = 1_000
"""Hopping windows that one event may fall into: each is a row to write."""
_PROGRESS = "progress"
_MS = 1000


class WindowError(errors.SixfoldError, ValueError):
    """A window is declared in a way that cannot work, or an event's time is none."""


class Closed(NamedTuple):
    """A window that will not change any more: times in Unix milliseconds, `end_ms` is outside."""

    key: str
    start_ms: int
    end_ms: int
    value: Any


class Added(NamedTuple):
    """What adding a value did."""

    closed: list[Closed]
    """Windows that are complete now, of any key of the partition, in order of their ends."""
    late: bool = False
    """The value came after its window was closed (in part, for hopping windows), and was left out there."""
    value: Any = None
    """For `Sliding`: the fold over the window that ends with this event."""


class Rows(Protocol):
    """Where a window lives; `sixfold.context.Table` is one."""

    async def get(self, key: str, default: Any = None) -> Any: ...

    def put(self, key: str, value: Any) -> None: ...

    def delete(self, key: str) -> None: ...

    async def items(self) -> list[tuple[str, Any]]: ...


@dataclass(frozen=True, kw_only=True)
class _Spec:
    name: str
    """The table that keeps the windows; the function declares it in `tables=`."""
    add: Callable[[Any, Any], Any]
    """(folded so far, value) -> folded; a folded value is anything that msgspec can turn into MessagePack."""
    initial: Any = None
    """Where the fold begins."""
    grace_s: float = 0.0
    """How far events may be out of order."""

    @property
    def grace_ms(self) -> int:
        return round(self.grace_s * _MS)


@dataclass(frozen=True, kw_only=True)
class Tumbling(_Spec):
    """Windows side by side: each event falls into one."""

    size_s: float

    def __post_init__(self) -> None:
        _check(self.name, size_s=self.size_s)

    def starts(self, at_ms: int) -> list[int]:
        """Starts of the windows that an event at `at_ms` falls into."""
        return [at_ms - at_ms % self.size_ms]

    @property
    def size_ms(self) -> int:
        return round(self.size_s * _MS)


@dataclass(frozen=True, kw_only=True)
class Hopping(_Spec):
    """Windows of one size that begin every `step_s`, so that they overlap: each event falls into size / step."""

    size_s: float
    step_s: float

    def __post_init__(self) -> None:
        _check(self.name, size_s=self.size_s, step_s=self.step_s)
        if self.step_s > self.size_s:
            raise WindowError(f"{self.name}: step_s={self.step_s:g} leaves gaps between windows of {self.size_s:g} s")
        if self.size_s / self.step_s > WINDOWS_PER_EVENT_MAX:
            raise WindowError(
                f"{self.name}: each event would fall into {self.size_s / self.step_s:.0f} windows, expected "
                f"{WINDOWS_PER_EVENT_MAX} or fewer; take a longer step_s"
            )

    def starts(self, at_ms: int) -> list[int]:
        """Starts of the windows that an event at `at_ms` falls into, the earliest first."""
        last, step = at_ms - at_ms % self.step_ms, self.step_ms
        return list(range(last - (self.size_ms - 1 - at_ms % step) // step * step, last + 1, step))

    @property
    def size_ms(self) -> int:
        return round(self.size_s * _MS)

    @property
    def step_ms(self) -> int:
        return round(self.step_s * _MS)


@dataclass(frozen=True, kw_only=True)
class Sliding(_Spec):
    """The window (t - size, t] for each event at t. Nothing is closed; `Added.value` is the fold at once.

    An event that is out of order within the grace counts in its own window and in those of later events that cover it.
    """

    size_s: float

    def __post_init__(self) -> None:
        _check(self.name, size_s=self.size_s)


@dataclass(frozen=True, kw_only=True)
class Session(_Spec):
    """Events of one key that follow each other within `gap_s`. A session ends `gap_s` after its last event."""

    gap_s: float
    merge: Callable[[Any, Any], Any]
    """(earlier session's fold, later one's) -> fold, where an event out of order joins two sessions."""

    def __post_init__(self) -> None:
        _check(self.name, gap_s=self.gap_s)


Spec = Tumbling | Hopping | Sliding | Session


class Window:
    """A spec's windows of one partition, as one handler sees them."""

    def __init__(self, spec: Spec, rows: Rows) -> None:
        self._spec = spec
        self._rows = rows

    async def add(self, key: str, at_ms: int, value: Any) -> Added:
        """Fold `value` of an event that happened at `at_ms` into the windows of `key`. Raises WindowError."""
        if at_ms < 0:
            raise WindowError(f"{self._spec.name}: an event at {at_ms} ms; expected Unix milliseconds, not negative")
        latest, next_end = await self._rows.get(_PROGRESS, (0, None))
        before, latest = latest - self._spec.grace_ms, max(latest, at_ms)
        if isinstance(self._spec, Sliding):
            added, next_end = await self._slide(self._spec, key, at_ms, value, before, next_end)
        elif isinstance(self._spec, Session):
            added, next_end = await self._join(self._spec, key, at_ms, value, before, next_end)
        else:
            added, next_end = await self._fold(self._spec, key, at_ms, value, before, next_end)
        now = latest - self._spec.grace_ms
        if next_end is not None and next_end <= now:
            closed, next_end = await self._close(now)
            added.closed.extend(closed)
        self._rows.put(_PROGRESS, (latest, next_end))
        return added

    async def _fold(
        self, spec: Tumbling | Hopping, key: str, at_ms: int, value: Any, before: int, next_end: int | None
    ) -> tuple[Added, int | None]:
        late = False
        for start in spec.starts(at_ms):
            end = start + spec.size_ms
            if end <= before:
                late = True
                continue
            row = _row(end, start, key)
            self._rows.put(row, spec.add(await self._rows.get(row, spec.initial), value))
            next_end = end if next_end is None else min(end, next_end)
        return Added([], late), next_end

    async def _join(
        self, spec: Session, key: str, at_ms: int, value: Any, before: int, next_end: int | None
    ) -> tuple[Added, int | None]:
        gap = round(spec.gap_s * _MS)
        if at_ms + gap <= before:
            return Added([], late=True), next_end
        index = f"sessions/{key}"
        first, last, kept, joined = at_ms, at_ms, [], []
        for start, end in await self._rows.get(index, []):  # first and last event of each, in order
            if at_ms - gap < end and start < at_ms + gap:
                row = _row(end + gap, start, key)
                joined.append(await self._rows.get(row))
                self._rows.delete(row)
                first, last = min(first, start), max(last, end)
            else:
                kept.append((start, end))
        folded = spec.add(functools.reduce(spec.merge, joined) if joined else spec.initial, value)
        self._rows.put(_row(last + gap, first, key), folded)
        self._rows.put(index, sorted([*kept, (first, last)]))
        end_ms = last + gap
        return Added([]), end_ms if next_end is None else min(next_end, end_ms)

    async def _slide(
        self, spec: Sliding, key: str, at_ms: int, value: Any, before: int, next_end: int | None
    ) -> tuple[Added, int | None]:
        if at_ms <= before:
            return Added([], late=True), next_end
        size, row = round(spec.size_s * _MS), f"values/{key}"
        old: list[tuple[int, Any]] = await self._rows.get(row, [])
        oldest = max(before, at_ms - spec.grace_ms) - size  # no event that is still in time reaches back to it
        values = sorted([*(each for each in old if each[0] > oldest), (at_ms, value)], key=lambda each: each[0])
        self._rows.put(row, values)
        # A row that ends with the last value's reach takes the values along when it is closed.
        if old:
            self._rows.delete(_row(old[-1][0] + size, 0, key))
        end = values[-1][0] + size
        self._rows.put(_row(end, 0, key), None)
        folded = spec.initial
        for at, each in values:
            if at_ms - size < at <= at_ms:
                folded = spec.add(folded, each)
        return Added([], value=folded), end if next_end is None else min(next_end, end)

    async def _close(self, now: int) -> tuple[list[Closed], int | None]:
        """All windows that ended by `now`; the next end among those that stay."""
        closed: list[Closed] = []
        for row, value in await self._rows.items():
            if row[0].isdigit():  # in order of their ends
                end, start, key = _parsed(row)
                if end > now:
                    return closed, end
                self._rows.delete(row)
                if isinstance(self._spec, Sliding):
                    self._rows.delete(f"values/{key}")
                    continue
                if isinstance(self._spec, Session):
                    await self._forget(key, end - round(self._spec.gap_s * _MS))
                closed.append(Closed(key, start, end, value))
        return closed, None

    async def _forget(self, key: str, last: int) -> None:
        """Take the session whose last event was at `last` out of its key's list."""
        index = f"sessions/{key}"
        left = [each for each in await self._rows.get(index, []) if each[1] != last]
        if left:
            self._rows.put(index, left)
        else:
            self._rows.delete(index)


def _row(end: int, start: int, key: str) -> str:
    return f"{end:016d}/{start:016d}/{key}"


def _parsed(row: str) -> tuple[int, int, str]:
    end, start, key = row.split("/", 2)
    return int(end), int(start), key


def _check(name: str, **seconds: float) -> None:
    for what, value in seconds.items():
        if not value >= 0.001:
            raise WindowError(f"{name}: {what}={value:g}, expected 0.001 or more")
