"""Windows over event time, against a plain model that looks at all events at once."""

from __future__ import annotations

import operator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixfold.windows import Closed, Hopping, Session, Sliding, Spec, Tumbling, Window, WindowError


class Rows:
    """A table in memory that stores bytes, as a real one does."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}

    async def get(self, key: str, default: Any = None) -> Any:
        return msgspec.msgpack.decode(self.rows[key]) if key in self.rows else default

    def put(self, key: str, value: Any) -> None:
        self.rows[key] = msgspec.msgpack.encode(value)

    def delete(self, key: str) -> None:
        self.rows.pop(key, None)

    async def items(self) -> list[tuple[str, Any]]:
        return [(key, msgspec.msgpack.decode(value)) for key, value in sorted(self.rows.items())]


async def feed(spec: Spec, events: list[tuple[str, int, int]]) -> tuple[list[Closed], int, list[Any], Rows]:
    """Closed windows, how many events were late, the values that `Sliding` gave, and the table."""
    rows, closed, late, values = Rows(), [], 0, []
    for key, at_ms, value in events:
        added = await Window(spec, rows).add(key, at_ms, value)
        closed += added.closed
        late += added.late
        values.append(None if added.late else added.value)
    return closed, late, values, rows


TUMBLING = Tumbling(name="w", size_s=10, grace_s=5, initial=0, add=operator.add)


async def test_a_window_closes_once_when_stream_time_reaches_its_end() -> None:
    """Stream time is the latest event less the grace; the end is outside."""
    closed, late, _, _ = await feed(TUMBLING, [("a", 1000, 1), ("a", 9999, 2), ("a", 10_000, 4), ("a", 14_999, 8)])
    assert (closed, late) == ([], 0)
    closed, _, _, rows = await feed(TUMBLING, [("a", 1000, 1), ("b", 9999, 2), ("a", 10_000, 4), ("a", 15_000, 8)])
    assert closed == [Closed("a", 0, 10_000, 1), Closed("b", 0, 10_000, 2)]
    assert len(rows.rows) == 2, "what is closed is gone: the open window and the progress stay"


async def test_an_event_out_of_order_counts_within_the_grace_and_is_late_after_it() -> None:
    """A late event changes nothing and is told."""
    events = [("a", 1000, 1), ("a", 14_000, 4), ("a", 2000, 2), ("a", 15_000, 8), ("a", 3000, 16), ("a", 99_000, 0)]
    closed, late, _, _ = await feed(TUMBLING, events)
    assert closed == [Closed("a", 0, 10_000, 3), Closed("a", 10_000, 20_000, 12)]
    assert late == 1


async def test_hopping_windows_overlap() -> None:
    """An event falls into every window that covers it."""
    spec = Hopping(name="w", size_s=10, step_s=5, initial=0, add=operator.add)
    closed, _, _, _ = await feed(spec, [("a", 7000, 1), ("a", 12_000, 2), ("a", 100_000, 0)])
    assert closed == [Closed("a", 0, 10_000, 1), Closed("a", 5000, 15_000, 3), Closed("a", 10_000, 20_000, 2)]


async def test_a_sliding_window_is_what_lies_behind_each_event() -> None:
    """(t - size, t], at once, for each key alone."""
    spec = Sliding(name="w", size_s=10, grace_s=5, initial=0, add=operator.add)
    events = [("a", 1000, 1), ("b", 2000, 64), ("a", 10_999, 2), ("a", 11_000, 4), ("a", 8000, 8), ("a", 12_000, 16)]
    _, late, values, rows = await feed(spec, [*events, ("a", 5000, 32)])
    assert values == [1, 64, 3, 6, 9, 30, None]
    assert late == 1
    await Window(spec, rows).add("a", 1_000_000, 0)
    assert await rows.get("values/a") == [[1_000_000, 0]], "what no window covers any more is gone"
    assert not [row for row in rows.rows if row.endswith("/b")], "and so is a key that nobody sends any more"


async def test_sessions_join_when_an_event_falls_between_them() -> None:
    """Two sessions and the event that bridges them are one, the earlier one's fold first."""
    spec = Session(name="w", gap_s=10, grace_s=60, initial="", add=operator.add, merge=operator.add)
    events = [("a", 0, "1"), ("a", 15_000, "3"), ("a", 8000, "2"), ("a", 30_000, "4"), ("b", 3000, "x")]
    closed, _, _, rows = await feed(spec, [*events, ("c", 200_000, "")])  # type: ignore[list-item]
    assert closed == [
        Closed("b", 3000, 13_000, "x"),
        Closed("a", 0, 25_000, "132"),
        Closed("a", 30_000, 40_000, "4"),
    ]
    assert not [row for row in rows.rows if row.endswith(("/a", "/b"))]


EVENTS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60_000), st.integers(1, 9)), max_size=40)


def in_time(events: list[tuple[str, int, int]], grace_ms: int) -> list[tuple[int, tuple[str, int, int]]]:
    """Each event with the stream time before it."""
    latest, found = 0, []
    for event in events:
        found.append((latest - grace_ms, event))
        latest = max(latest, event[1])
    return found


@given(events=EVENTS, step_s=st.sampled_from([2, 5, 10]), grace_s=st.sampled_from([0, 3, 30]))
async def test_fixed_windows_agree_with_the_model(events: Any, step_s: int, grace_s: int) -> None:
    """Every window holds exactly the events that fall into it and were not late, and is closed once."""
    spec = Hopping(name="w", size_s=10, step_s=step_s, grace_s=grace_s, initial=0, add=operator.add)
    model: dict[tuple[str, int], int] = {}
    for now, (key, at, value) in in_time(events, grace_s * 1000):
        for start in range(-10_000, 70_000, step_s * 1000):
            if start <= at < start + 10_000 and start + 10_000 > now:
                model[key, start] = model.get((key, start), 0) + value
    closed, _, _, _ = await feed(spec, [*events, ("z", 10**9, 0)])
    assert [(each.key, each.start_ms) for each in closed] == sorted(
        {(each.key, each.start_ms) for each in closed}, key=lambda each: (each[1], each[0])
    ) or grace_s == 0
    assert {(each.key, each.start_ms): each.value for each in closed if each.key != "z"} == model
    assert len(closed) == len(model)


@given(events=EVENTS, gap_s=st.sampled_from([1, 5, 20]))
async def test_sessions_agree_with_the_model_when_nothing_is_late(events: Any, gap_s: int) -> None:
    """Whatever the order, the sessions are those of the sorted events."""
    spec = Session(name="w", gap_s=gap_s, grace_s=1000, initial=0, add=operator.add, merge=operator.add)
    model: list[Closed] = []
    for key in "ab":
        for _, at, value in sorted(event for event in events if event[0] == key):
            if model and model[-1].key == key and at < model[-1].end_ms:
                model[-1] = Closed(key, model[-1].start_ms, at + gap_s * 1000, model[-1].value + value)
            else:
                model.append(Closed(key, at, at + gap_s * 1000, value))
    closed, late, _, _ = await feed(spec, [*events, ("z", 10**9, 0)])
    assert late == 0
    assert sorted(closed) == sorted(model)


@given(events=EVENTS)
async def test_sliding_windows_agree_with_the_model(events: Any) -> None:
    """The fold over all events of the key so far that lie within the size before it."""
    spec = Sliding(name="w", size_s=10, grace_s=8, initial=0, add=operator.add)
    expected = []
    for index, (now, (key, at, _)) in enumerate(in_time(events, 8000)):
        kept = [e for before, e in in_time(events, 8000)[: index + 1] if e[1] > before]
        inside = [value for other, when, value in kept if other == key and at - 10_000 < when <= at]
        expected.append(None if at <= now else sum(inside))
    _, _, values, _ = await feed(spec, events)
    assert values == expected


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: Tumbling(name="w", size_s=0, add=operator.add), "w: size_s=0, expected 0.001 or more"),
        (lambda: Hopping(name="w", size_s=1, step_s=2, add=operator.add), "leaves gaps between windows"),
        (lambda: Hopping(name="w", size_s=3600, step_s=1, add=operator.add), "would fall into 3600 windows"),
        (lambda: Session(name="w", gap_s=-1, add=operator.add, merge=operator.add), "gap_s=-1"),
    ],
)
def test_a_window_that_cannot_work_is_refused_when_it_is_declared(declare: Any, message: str) -> None:
    """WindowError names the window, what it says and what is expected."""
    with pytest.raises(WindowError, match=message):
        declare()


async def test_an_event_before_the_epoch_is_refused() -> None:
    """A negative time would sort wrongly; it is an error, not a wrong answer."""
    with pytest.raises(WindowError, match="an event at -1 ms"):
        await Window(TUMBLING, Rows()).add("a", -1, 1)
