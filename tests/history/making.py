"""Histories by hand, for the tests of the checkers, and slow references that try every order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from tests.history import lists, registers
from tests.history.recording import Operation

Outcome = Literal["ok", "fail", "info"]


def op(
    process: str,
    f: str,
    value: Any = None,
    *,
    at: tuple[int, int],
    told: Any = None,
    key: str = "x",
    outcome: Outcome = "ok",
    number: int = 1,
) -> Operation:
    """An operation from `at[0]` to `at[1]`. A read's value is what it was told."""
    return Operation(
        process=process,
        number=number,
        f=f,
        key=key,
        asked=None if f == "read" else value,
        told=value if f == "read" else told,
        invoked_ns=at[0],
        completed_ns=None if outcome == "info" else at[1],
        outcome=outcome,
    )


def txn(process: str, words: str, *, at: tuple[int, int], outcome: Outcome = "ok", number: int = 1) -> Operation:
    """A transaction from words: `x+1` appends 1 to x, `x=12` read 1 and 2 in x, `y=` nothing, `y?` an unknown answer."""
    parts: list[list[Any]] = []
    for word in words.split():
        key, mark, rest = word[0], word[1], word[2:]
        elements = [int(each) for each in rest]
        parts.append(["append", key, elements[0]] if mark == "+" else ["r", key, elements if mark == "=" else None])
    return transaction(process, number, parts, at, outcome)


def transaction(process: str, number: int, parts: list[list[Any]], at: tuple[int, int], outcome: Any) -> Operation:
    """A transaction that gave these parts; `outcome` is an Outcome, drawn or not."""
    return Operation(
        process=process,
        number=number,
        f="txn",
        asked=[[f, key, value if f == "append" else None] for f, key, value in parts],
        told=parts if outcome == "ok" else None,
        invoked_ns=at[0],
        completed_ns=None if outcome == "info" else at[1],
        outcome=outcome,
    )


def serial(*transactions: str) -> list[Operation]:
    """Transactions one after the other, without overlap."""
    return [txn(f"p{number}", words, at=(10 * number, 10 * number + 5)) for number, words in enumerate(transactions)]


def together(*transactions: str) -> list[Operation]:
    """Transactions that all overlap."""
    return [txn(f"p{number}", words, at=(number, 100 + number)) for number, words in enumerate(transactions)]


def orders(operations: Sequence[Operation]) -> Iterator[tuple[Operation, ...]]:
    """Every order that agrees with real time, of all that happened and any of those that may have."""
    certain = [each for each in operations if each.outcome == "ok"]
    perhaps = [each for each in operations if each.outcome == "info"]
    for count in range(len(perhaps) + 1):
        for chosen in itertools.combinations(perhaps, count):
            for order in itertools.permutations([*certain, *chosen]):
                if not any(later.precedes(each) for at, each in enumerate(order) for later in order[at + 1 :]):
                    yield order


def some_order_of_a_register(operations: Sequence[Operation]) -> bool:
    """Whether trying every order finds one."""
    return any(_allows(order) for order in orders([each for each in operations if registers.matters(each)]))


def _allows(order: Iterable[Operation]) -> bool:
    state: Any = None
    for each in order:
        allowed, state = registers.step(state, each)
        if not allowed:
            return False
    return True


def some_order_of_lists(operations: Sequence[Operation]) -> bool:
    """Whether trying every order of the transactions finds one that gives the very reads."""
    return any(_runs(lists.transactions(order)) for order in orders(operations))


def _runs(order: Iterable[lists.Transaction]) -> bool:
    state: dict[str, list[Any]] = {}
    for transaction in order:
        for part in transaction.parts:
            if part.f == "append":
                state[part.key] = [*state.get(part.key, []), part.value]
            elif part.value is not None and part.value != state.get(part.key, []):
                return False
    return True
