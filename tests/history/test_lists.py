"""Transactions on lists: each anomaly of the literature by hand, and that trying every order says the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.history import cycles, lists
from tests.history.making import serial, some_order_of_lists, together, transaction, txn
from tests.history.recording import Operation

GOOD = {
    "one after the other": serial("x+1", "x=1 x+2 x=12", "y= x=12", "y+1 x+3", "x=123 y=1"),
    "all at once": together("x+1 y+1", "x=1 y=1", "x= y=", "x=1 x+2"),
    "an append of which nobody knows is read later": [
        txn("a", "x+1", at=(0, 1), outcome="info"),
        txn("b", "x=", at=(2, 3)),
        txn("c", "x=1", at=(4, 5)),
    ],
    "an append of which nobody knows is never read": [
        txn("a", "x+1", at=(0, 1), outcome="info"),
        txn("b", "x=", at=(2, 3)),
    ],
    "an append that failed is nowhere": [txn("a", "x+1", at=(0, 1), outcome="fail"), txn("b", "x=", at=(2, 3))],
    "a read whose answer got lost says nothing": [txn("a", "x+1 x?", at=(0, 1)), txn("b", "x=1", at=(2, 3))],
}

BAD = {
    # Dirty write: each appended to one list before, to the other after the other.
    "G0": together("x+1 y+1", "x+2 y+2", "x=12 y=21"),
    "G1a": [txn("a", "x+1", at=(0, 9), outcome="fail"), txn("b", "x=1", at=(0, 9))],
    "G1b": together("x+1 x+2", "x=1", "x=12"),
    # Each saw what the other had appended.
    "G1c": together("x+1 y=1", "y+1 x=1"),
    # Read skew: x before the other's append, y after it.
    "G-single": together("x+1 y+1", "x= y=1", "x=1"),
    # Write skew: each read what the other was about to append to.
    "G2-item": together("x= y+1", "y= x+1", "x=1 y=1"),
    "internal": together("x+1 x="),
    "incompatible order": together("x+1", "x+2", "x=12", "x=21"),
    "phantom element": serial("x+1", "x=17"),
    "duplicate elements": serial("x+1", "x+2", "x=121"),
    # Serializable, yet what was acknowledged is not there for whoever asks later.
    "lost element": serial("x+1", "x+2", "x=1"),
    # A write that was over before another began comes after it.
    "G0-realtime": serial("x+1", "x+2", "x=21"),
    # An element was read before its append had begun.
    "G1c-realtime": [txn("a", "x=1", at=(0, 1)), txn("b", "x+1", at=(2, 3))],
    # A stale read of a list that others had read longer already.
    "G-single-realtime": [
        txn("a", "x+1", at=(0, 9), outcome="info"),
        txn("b", "x=1", at=(10, 11)),
        txn("c", "x=", at=(12, 13)),
    ],
    # d read no x, so it comes before c, which read no y and so comes before a; but a was over before d began.
    "G2-item-realtime": [
        txn("a", "y+1", at=(0, 1)),
        txn("c", "x+1 y=", at=(0, 9)),
        txn("d", "x=", at=(2, 3)),
        txn("e", "x=1 y=1", at=(20, 21)),
    ],
}


ALSO_BAD = {
    "the parts of a transaction lie in another order": serial("x+1 x+2", "x=21"),
    "a part of a transaction of which nobody knows is missing": [
        txn("a", "x+1 x+2", at=(0, 1), outcome="info"),
        *serial("x+3", "x=13"),
    ],
    "a transaction of which nobody knows is seen in one list only": [
        txn("a", "x+1 y+1", at=(0, 1), outcome="info"),
        *serial("x=1", "y="),
    ],
}


def names(history: Sequence[Operation]) -> list[str]:
    """What is found, by name."""
    return [found.anomaly for found in cycles.check(lists.transactions(history))]


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_what_lists_can_do_is_accepted(history: list[Operation]) -> None:
    """Nothing is found where an order exists."""
    assert names(history) == []
    assert some_order_of_lists(history)


@pytest.mark.parametrize(("anomaly", "history"), BAD.items(), ids=BAD)
def test_an_anomaly_is_found_by_its_name(anomaly: str, history: list[Operation]) -> None:
    """Each has a name of its own, and no order explains it."""
    assert anomaly in names(history)
    assert not some_order_of_lists(history)


@pytest.mark.parametrize("history", ALSO_BAD.values(), ids=ALSO_BAD)
def test_a_transaction_happens_whole_or_not_at_all(history: list[Operation]) -> None:
    """Also where its client was never told."""
    assert names(history)
    assert not some_order_of_lists(history)


@pytest.mark.parametrize("anomaly", [kind.name for kind in cycles.KINDS])
def test_every_kind_of_cycle_has_its_example(anomaly: str) -> None:
    """And in it no worse one."""
    found = [name for name in names(BAD[anomaly]) if name in {kind.name for kind in cycles.KINDS}]
    assert found == [anomaly]


def test_a_cycle_is_explained_step_by_step() -> None:
    """Who takes part, what each did, and why it comes before the next."""
    [found] = cycles.check(lists.transactions(BAD["G-single"]))
    assert found.text.splitlines() == [
        "p1#1 -> p0#1 -> p1#1",
        "  p1#1 [r x [], r y [1]]",
        "  p0#1 [append x 1, append y 1]",
        "  p1#1 before p0#1 (rw): p1#1 read x as [], without 1 that p0#1 appended next",
        "  p0#1 before p1#1 (wr): p1#1 read 1 in y, which p0#1 appended",
    ]


def test_the_example_of_the_paper_is_found_as_it_says() -> None:
    """What Elle found in TiDB (Kingsbury and Alvaro, section 7.1): a transaction that was tried again over another's."""
    before = transaction("t0", 0, [["append", "34", 2], ["append", "34", 1]], (0, 1), "ok")
    retried = transaction("t1", 1, [["r", "34", [2, 1]], ["append", "36", 5], ["append", "34", 4]], (2, 9), "ok")
    overwritten = transaction("t2", 2, [["append", "34", 5]], (2, 9), "ok")
    reader = transaction("t3", 3, [["r", "34", [2, 1, 5, 4]]], (10, 11), "ok")
    [found] = cycles.check(lists.transactions([before, retried, overwritten, reader]))
    assert found.anomaly == "G-single"
    assert found.text.splitlines()[0] == "t1#1 -> t2#2 -> t1#1"


def test_a_history_that_appends_an_element_twice_cannot_be_judged() -> None:
    """The order of versions would not follow from what is read."""
    with pytest.raises(ValueError, match=r"p0#1 and p1#1 both append 1 to x"):
        names(together("x+1", "x+1"))


def test_long_chains_of_transactions_need_no_deep_stack() -> None:
    """Ten thousand, one after the other, and one cycle among them."""
    edges = [lists.Edge(number, number + 1, "ww", "") for number in range(10_000)]
    assert cycles.cycles(edges) == []
    [(kind, cycle)] = cycles.cycles([*edges, lists.Edge(7_003, 7_000, "rw", "")])
    assert kind.name == "G-single"
    assert len(cycle) == 4


def executed(rng: random.Random, count: int, processes: int, *, keys: str = "xyz") -> list[Operation]:
    """A history of real lists: each transaction happens at one moment; in the end one reads everything."""
    state: dict[str, list[int]] = {key: [] for key in keys}
    free = [0] * processes
    history: list[Operation] = []
    moment, element = 0, 0
    for number in range(count):
        moment += rng.randint(1, 10)
        process = rng.randrange(processes)
        begin = max(free[process], moment - rng.randint(1, 40))
        moment = max(moment, begin)
        end = moment + rng.randint(1, 40)
        free[process] = end + 1
        outcome = rng.choices(["ok", "info", "fail"], [8, 1, 1])[0]
        happens = outcome == "ok" or (outcome == "info" and rng.random() < 0.5)
        parts: list[list[Any]] = []
        scratch = {key: list(elements) for key, elements in state.items()}
        for _ in range(rng.randint(1, 3)):
            key = rng.choice(keys)
            if rng.random() < 0.5:
                element += 1
                scratch[key].append(element)
                parts.append(["append", key, element])
            else:
                parts.append(["r", key, list(scratch[key])])
        if happens:
            state = scratch
        history.append(transaction(f"p{process}", number, parts, (begin, end), outcome))
    last = max(free) + 1
    history.append(transaction("last", count, [["r", key, list(state[key])] for key in keys], (last, last + 1), "ok"))
    return history


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 60), st.integers(1, 6))
def test_what_lists_did_is_accepted(rng: random.Random, count: int, processes: int) -> None:
    """However its transactions overlap, and with answers that got lost."""
    assert names(executed(rng, count, processes)) == []


def with_answer(operation: Operation, at: int, elements: list[int]) -> Operation:
    """The same with another answer to its part `at`."""
    told = [[f, key, elements if number == at else value] for number, (f, key, value) in enumerate(operation.told)]
    return msgspec.structs.replace(operation, told=told)


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(10, 60), st.integers(1, 6), st.sampled_from(["less", "turned"]))
def test_one_read_that_is_changed_is_found(rng: random.Random, count: int, processes: int, how: str) -> None:
    """It misses an element that was acknowledged before, or has two in the other order."""
    history = executed(rng, count, processes)
    places = [
        (each, at)
        for each in history
        if each.outcome == "ok"
        for at, (f, key, value) in enumerate(each.told)
        if f == "r" and len(value) >= 2 and acknowledged(history, each, key, value[-2:])
    ]
    assume(places)
    changed, at = rng.choice(places)
    value = changed.told[at][2]
    other = value[:-1] if how == "less" else [*value[:-2], value[-1], value[-2]]
    assert names([with_answer(each, at, other) if each is changed else each for each in history])


def acknowledged(history: Sequence[Operation], read: Operation, key: str, elements: list[int]) -> bool:
    """Whether these were appended, in this order for certain, before `read` began."""
    first, second = (next(each for each in history if ["append", key, element] in each.asked) for element in elements)
    return second.outcome == "ok" and second.precedes(read) and (first is second or first.precedes(second))


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_trying_every_order_says_the_same(rng: random.Random, count: int) -> None:
    """Of small histories, half of which no lists can have given."""
    history = executed(rng, count, 3, keys="xy")
    changed = []
    for each in history[:-1]:
        if each.outcome == "ok":
            for at, (f, _, value) in enumerate(each.told):
                if f == "r" and rng.random() < 0.5:
                    each = with_answer(each, at, value[: rng.randint(0, len(value))])
        changed.append(each)
    changed.append(history[-1])
    assert (names(changed) == []) == some_order_of_lists(changed)
