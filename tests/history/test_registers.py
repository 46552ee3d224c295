"""Linearizability of registers: what is accepted, what is refused, and that trying every order says the same."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.history import registers, timeline
from tests.history.making import op, some_order_of_a_register
from tests.history.recording import Operation

GOOD = {
    "one after the other": [
        op("a", "read", None, at=(0, 1)),
        op("a", "write", 1, at=(2, 3)),
        op("b", "read", 1, at=(4, 5)),
        op("b", "cas", [1, 2], told=True, at=(6, 7)),
        op("a", "cas", [1, 3], told=False, at=(8, 9)),
        op("a", "read", 2, at=(10, 11)),
    ],
    "reads amid a write see the old value or the new one, in this order": [
        op("a", "write", 1, at=(0, 100)),
        op("b", "read", None, at=(10, 20)),
        op("c", "read", 1, at=(30, 40)),
        op("b", "read", 1, at=(50, 60)),
    ],
    "two writes at once happen in either order": [
        op("a", "write", 1, at=(0, 100)),
        op("b", "write", 2, at=(0, 100)),
        op("c", "read", 2, at=(50, 60)),
        op("c", "read", 1, at=(70, 80)),
    ],
    "a write of which nobody knows happens late": [
        op("a", "write", 1, at=(0, 1)),
        op("b", "write", 2, at=(2, 3), outcome="info"),
        op("a", "read", 1, at=(10, 20)),
        op("a", "read", 2, at=(30, 40)),
    ],
    "a write of which nobody knows never happens": [
        op("a", "write", 1, at=(0, 1)),
        op("b", "write", 2, at=(2, 3), outcome="info"),
        op("a", "read", 1, at=(10, 20)),
    ],
    "a cas of which nobody knows took": [
        op("a", "write", 1, at=(0, 1)),
        op("b", "cas", [1, 2], at=(2, 3), outcome="info"),
        op("a", "read", 2, at=(10, 20)),
    ],
    "a write that failed is nowhere": [
        op("a", "write", 1, at=(0, 1)),
        op("b", "write", 2, at=(2, 3), outcome="fail"),
        op("a", "read", 1, at=(4, 5)),
    ],
}

BAD = {
    "a stale read": [
        op("a", "write", 1, at=(0, 1)),
        op("a", "write", 2, at=(2, 3)),
        op("b", "read", 1, at=(4, 5)),
    ],
    "a lost write": [op("a", "write", 1, at=(0, 1)), op("b", "read", None, at=(2, 3))],
    "a value from nowhere": [op("a", "write", 1, at=(0, 1)), op("b", "read", 7, at=(0, 1))],
    "a value before it was written": [op("b", "read", 1, at=(0, 1)), op("a", "write", 1, at=(2, 3))],
    "the new value, then the old one": [
        op("a", "write", 1, at=(0, 100)),
        op("b", "read", 1, at=(10, 20)),
        op("c", "read", None, at=(30, 40)),
    ],
    "two cas of which only one can take": [
        op("a", "write", 1, at=(0, 1)),
        op("b", "cas", [1, 2], told=True, at=(2, 9)),
        op("c", "cas", [1, 3], told=True, at=(2, 9)),
    ],
    "a cas that should have taken": [op("a", "write", 1, at=(0, 1)), op("b", "cas", [1, 2], told=False, at=(2, 3))],
    "a write of which nobody knows, there and gone": [
        op("a", "write", 1, at=(0, 1)),
        op("b", "write", 2, at=(2, 3), outcome="info"),
        op("a", "read", 2, at=(10, 20)),
        op("a", "read", 1, at=(30, 40)),
    ],
    "a write that failed, and is there": [
        op("b", "write", 2, at=(2, 3), outcome="fail"),
        op("a", "read", 2, at=(4, 5)),
    ],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_what_a_register_can_do_is_accepted(history: list[Operation]) -> None:
    """With an order of all that certainly happened."""
    [verdict] = registers.check(history)
    assert verdict.outcome == "linearizable"
    assert {each.name for each in verdict.order} >= {each.name for each in history if each.outcome == "ok"}
    assert some_order_of_a_register(history)


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_what_no_register_does_is_refused(history: list[Operation]) -> None:
    """With the operations that cannot come next."""
    [verdict] = registers.check(history)
    assert verdict.outcome == "not linearizable"
    assert verdict.stuck
    assert not some_order_of_a_register(history)


def test_each_key_is_judged_alone() -> None:
    """A broken register does not hide that another one is whole."""
    history = [
        op("a", "write", 1, key="x", at=(0, 1)),
        op("a", "read", 1, key="y", at=(2, 3)),
        op("b", "read", 1, key="x", at=(4, 5)),
    ]
    assert {verdict.key: verdict.outcome for verdict in registers.check(history)} == {
        "x": "linearizable",
        "y": "not linearizable",
    }


def test_a_search_ends_and_says_that_it_was_given_up() -> None:
    """Nothing is claimed that was not found out."""
    history = [op(f"p{number}", "write", number, at=(0, 100)) for number in range(12)]
    history += [op("r", "read", 99, at=(200, 201))]
    [verdict] = registers.check(history, places_max=1000)
    assert verdict.outcome == "unknown"
    assert "given up" in timeline.draw(verdict)


def test_many_writes_of_which_nobody_knows_do_not_make_a_search_long() -> None:
    """Each is tried only where somebody needs it: here one was read, one kept a cas from taking."""
    history = [op("a", "write", "first", at=(0, 1))]
    history += [op(f"p{number}", "write", number, at=(2, 3), outcome="info") for number in range(40)]
    history += [op("b", "cas", ["first", "x"], told=False, at=(4, 5)), op("b", "read", 7, at=(6, 7))]
    history += [op("c", "cas", [7, "last"], told=True, at=(8, 9)), op("c", "read", "last", at=(10, 11))]
    [verdict] = registers.check(history, places_max=500)
    assert verdict.outcome == "linearizable"
    [verdict] = registers.check([*history, op("c", "read", "first", at=(12, 13))], places_max=500_000)
    assert verdict.outcome == "not linearizable"


def test_a_picture_shows_what_overlaps_and_what_cannot_be_next() -> None:
    """The last operations in order, with their places, and those that do not fit."""
    history = [
        op("a", "write", 1, at=(0, 10)),
        op("a", "write", 2, at=(20, 50), number=2),
        op("b", "read", 2, at=(30, 40)),
        op("c", "read", 1, at=(60, 70)),
    ]
    [verdict] = registers.check(history)
    assert timeline.draw(verdict).splitlines() == [
        "register x: no order of its operations is one of a register; the longest has 3 of 4; none of those with ? can be next",
        "   1 a#1 write 1   |--|",
        "   2 a#2 write 2         |--------|",
        "   3 b#1 read -> 2          |--|",
        "   ? c#1 read -> 1                   |--|",
    ]


def executed(rng: random.Random, count: int, processes: int, *, lost: float = 0.1) -> list[Operation]:
    """A history of a real register: each operation happens at one moment, and takes some time around it."""
    state: int | None = None
    free = [0] * processes
    history: list[Operation] = []
    moment = 0
    for number in range(count):
        moment += rng.randint(1, 10)
        process = rng.randrange(processes)
        begin = max(free[process], moment - rng.randint(1, 40))
        moment = max(moment, begin)
        end = moment + rng.randint(1, 40)
        free[process] = end + 1
        info = rng.random() < lost
        f = rng.choice(["read", "read", "write", "cas"])
        asked: object = None
        told: object = None
        if f == "read":
            told = state
        elif f == "write":
            asked, state = number, number
        else:
            old = state if rng.random() < 0.6 else rng.randrange(count)
            asked, told = [old, number], state == old
            state = number if told else state
        history.append(
            Operation(
                process=f"p{process}",
                number=number,
                f=f,
                key="x",
                asked=asked,
                told=None if info else told,
                invoked_ns=begin,
                completed_ns=None if info else end,
                outcome="info" if info else "ok",
            )
        )
    return history


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 120), st.integers(1, 6))
def test_what_a_register_did_is_accepted(rng: random.Random, count: int, processes: int) -> None:
    """However its operations overlap, and with answers that got lost."""
    [verdict] = registers.check(executed(rng, count, processes))
    assert verdict.outcome == "linearizable"


def overwritten_before(history: Sequence[Operation], read: Operation) -> list[object]:
    """Values of which it is certain that they were overwritten before `read` began."""
    writes = [each for each in history if each.f == "write" and each.outcome == "ok"]
    return [
        each.asked
        for each in writes
        if any(each.precedes(other) and other.precedes(read) for other in writes) and each.asked != read.told
    ]


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(20, 60), st.integers(1, 4))
def test_a_read_that_is_changed_to_an_older_value_is_refused(rng: random.Random, count: int, processes: int) -> None:
    """One stale answer among all the others is found."""
    history = executed(rng, count, processes)
    reads = [
        each for each in history if each.f == "read" and each.outcome == "ok" and overwritten_before(history, each)
    ]
    assume(reads)
    read = rng.choice(reads)
    stale = msgspec.structs.replace(read, told=rng.choice(overwritten_before(history, read)))
    [verdict] = registers.check([stale if each is read else each for each in history])
    assert verdict.outcome == "not linearizable"


@settings(max_examples=600, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_trying_every_order_says_the_same(rng: random.Random, count: int) -> None:
    """Of small histories, most of which no register can have given."""
    history = executed(rng, count, 3, lost=rng.choice([0.1, 0.5]))
    changed = [
        msgspec.structs.replace(each, told=rng.choice([None, *range(count)]))
        if each.f == "read" and each.outcome == "ok" and rng.random() < 0.5
        else each
        for each in history
    ]
    [verdict] = registers.check(changed)
    assert (verdict.outcome == "linearizable") == some_order_of_a_register(changed)
