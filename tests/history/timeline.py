"""A small picture, in text, of operations that overlap and cannot be put in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.history.recording import Operation
from tests.history.registers import Verdict

AROUND = 6
"""Operations before those that are stuck; the rest fits into their order."""
STEP = 3
"""Characters from one call or return to the next: order is drawn, not duration."""


def draw(verdict: Verdict) -> str:
    """Why there is no order: the last ones that fit, with their places in it, and those that do not, with `?`."""
    shown = [*verdict.order[-AROUND:], *verdict.stuck]
    places = {
        each.name: str(len(verdict.order) - len(verdict.order[-AROUND:]) + at + 1) for at, each in enumerate(shown)
    }
    places.update({each.name: "?" for each in verdict.stuck})
    moments = sorted(
        {moment for each in shown for moment in (each.invoked_ns, each.completed_ns) if moment is not None}
    )
    column = {moment: number * STEP for number, moment in enumerate(moments)}
    end = len(moments) * STEP
    words = [(f"{places[each.name]:>4}", each.name, describe(each)) for each in shown]
    name_width, text_width = _width(word[1] for word in words), _width(word[2] for word in words)
    lines = [
        f"{place} {name:<{name_width}} {text:<{text_width}} {_bar(each, column, end)}"
        for (place, name, text), each in sorted(zip(words, shown, strict=True), key=lambda pair: pair[1].invoked_ns)
    ]
    said = {
        "not linearizable": "no order of its operations is one of a register; the longest has",
        "unknown": "the search was given up; the longest order found has",
        "linearizable": "the order is one of a register; it has",
    }[verdict.outcome]
    head = f"register {verdict.key}: {said} {len(verdict.order)} of {len(verdict.operations)}"
    return "\n".join([head + ("; none of those with ? can be next" if verdict.stuck else ""), *lines])


def describe(operation: Operation) -> str:
    """`write 3`, `read -> 3`, `cas 3 4 -> True`."""
    if operation.f == "write":
        return f"write {operation.asked}"
    if operation.f == "read":
        return f"read -> {operation.told}"
    old, new = operation.asked
    return f"cas {old} {new} -> {operation.told if operation.outcome == 'ok' else 'not known'}"


def _width(words: Iterable[str]) -> int:
    return max(map(len, words), default=0)


def _bar(operation: Operation, column: dict[int, int], end: int) -> str:
    first = column[operation.invoked_ns]
    if operation.completed_ns is None:
        return " " * first + "|" + "-" * (end - first) + "?"
    return " " * first + "|" + "-" * (column[operation.completed_ns] - first - 1) + "|"


def draw_all(verdicts: Sequence[Verdict]) -> str:
    """The pictures of all that are not linearizable, or not known to be."""
    return "\n\n".join(draw(verdict) for verdict in verdicts if verdict.outcome != "linearizable")
