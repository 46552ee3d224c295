"""Whether operations on registers are linearizable: each seems to happen at one moment between its call and its return.

The search is Wing and Gong's (1993): take any operation that could come next, see whether the register allows it, go on,
and back where nothing fits. As Lowe (2017) showed, a place that was visited once, that is a set of operations that were
taken and the state they led to, need never be visited again. And as Herlihy and Wing (1990) proved, a history is
linearizable if that of each key alone is; so each is looked at alone, as Porcupine does.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from tests.history.recording import Operation

PLACES_MAX = 200_000
"""Places that a search visits at most, for one key: it takes seconds, and ends."""


class Verdict(NamedTuple):
    """What was found out about one key."""

    key: str
    outcome: Literal["linearizable", "not linearizable", "unknown"]
    """Unknown where the search was given up."""
    order: tuple[Operation, ...]
    """The longest order that the register allows."""
    stuck: tuple[Operation, ...]
    """Operations one of which had to come next, and none can."""
    operations: tuple[Operation, ...]
    """All that were looked at."""


def step(state: Any, operation: Operation) -> tuple[bool, Any]:
    """Whether a register in `state` allows `operation`, and its state after it. An empty register holds None."""
    if operation.f == "write":
        return True, operation.asked
    if operation.f == "read":
        return operation.told == state, state
    old, new = operation.asked
    took = bool(state == old)
    allowed = operation.outcome != "ok" or took == operation.told
    return allowed, new if took else state


def matters(operation: Operation) -> bool:
    """Whether it says something: what failed never happened, and a read without an answer changed nothing."""
    return operation.outcome == "ok" or (operation.outcome == "info" and operation.f != "read")


def check(operations: Sequence[Operation], *, places_max: int = PLACES_MAX) -> list[Verdict]:
    """A verdict for each key."""
    keys: dict[str, list[Operation]] = collections.defaultdict(list)
    for operation in operations:
        if operation.f in ("write", "read", "cas"):
            keys[operation.key].append(operation)
    return [check_key(key, of_key, places_max=places_max) for key, of_key in sorted(keys.items())]


class _Place(NamedTuple):
    """Where a search is: which operations were taken, as bits, the state that they led to, and what led here."""

    taken: int
    state: Any
    before: _Place | None
    last: int


def check_key(key: str, operations: Sequence[Operation], *, places_max: int = PLACES_MAX) -> Verdict:
    """Search for an order of the operations on one key."""
    history = tuple(sorted(filter(matters, operations), key=lambda each: each.invoked_ns))
    required = sum(1 << number for number, each in enumerate(history) if each.outcome == "ok")
    deepest = start = _Place(0, None, None, -1)
    open_places, seen = [start], {(0, None)}
    outcome: Literal["linearizable", "not linearizable", "unknown"] = "not linearizable"
    while open_places:
        place = open_places.pop()
        if _count(place.taken & required) > _count(deepest.taken & required):
            deepest = place
        if place.taken & required == required:
            outcome, deepest = "linearizable", place
            break
        if len(seen) > places_max:
            outcome = "unknown"
            break
        for following in _following(history, place):
            if (following.taken, following.state) not in seen:
                seen.add((following.taken, following.state))
                open_places.append(following)
    next_ones = _next(history, deepest.taken)
    stuck = () if outcome == "linearizable" else tuple(history[number] for number in next_ones)
    return Verdict(key, outcome, _order(history, deepest), stuck, history)


def _count(bits: int) -> int:
    return bits.bit_count()


def _next(history: Sequence[Operation], taken: int) -> list[int]:
    """Operations that could come next: no other one that is left was over before they began."""
    found: list[int] = []
    over_ns: int | None = None
    first_left = (~taken & (taken + 1)).bit_length() - 1
    for number in range(first_left, len(history)):
        if taken >> number & 1:
            continue
        operation = history[number]
        if over_ns is not None and operation.invoked_ns > over_ns:
            break
        found.append(number)
        if operation.completed_ns is not None:
            over_ns = operation.completed_ns if over_ns is None else min(over_ns, operation.completed_ns)
    return found


def _following(history: Sequence[Operation], place: _Place) -> list[_Place]:
    """Where a search can go from `place`, the most promising last."""
    unknown: list[_Place] = []
    known: list[_Place] = []
    next_ones = _next(history, place.taken)
    for number in next_ones:
        operation = history[number]
        allowed, state = step(place.state, operation)
        if not allowed:
            continue
        following = _Place(place.taken | 1 << number, state, place, number)
        if operation.f == "read" or operation.told is False:
            # It only looks. In any order that goes on from here it may be moved to this very place, so no other way
            # need be tried.
            return [following]
        if operation.outcome == "ok":
            known.append(following)
        elif any(_needs(history[other], place.state, state) for other in next_ones if other != number):
            unknown.append(following)
    # First what certainly happened; among it what was called first.
    return [*reversed(unknown), *reversed(known)]


def _needs(operation: Operation, before: Any, after: Any) -> bool:
    """Whether a register that holds `after`, and not `before`, lets `operation` say what it said.

    An operation of which nobody knows whether it happened need be tried only right before one that needs it: in any order
    it may be moved there past those that do not, as it was never over, and where none does it may be left out.
    """
    if operation.f == "read":
        return bool(before != after == operation.told)
    if operation.f == "write":
        return False
    old = operation.asked[0]
    return bool(before != after and old == (before if operation.told is False else after))


def _order(history: Sequence[Operation], place: _Place) -> tuple[Operation, ...]:
    order = []
    at: _Place | None = place
    while at is not None and at.last >= 0:
        order.append(history[at.last])
        at = at.before
    return tuple(reversed(order))
