"""Cycles among dependencies, named as Adya (1999) and Elle (2020) name them.

A serial execution has no cycle. The fewer and the stronger the kinds of dependencies that one needs, the worse it is:

| name | a cycle of |
|---|---|
| G0 | `ww` alone: writes are interleaved |
| G1c | `ww` and `wr`: information flows in a circle |
| G-single | those, and one `rw`: a read missed one thing and saw what came after it |
| G2-item | those, and more than one `rw` |

With `-realtime` it needs real-time edges as well: serializable, but not strictly so.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from tests.history.lists import Edge, Found, Lists, Part, Transaction

WRITES = frozenset({"ww"})
FLOWS = frozenset({"ww", "wr"})
RW = frozenset({"rw"})
REAL_TIME = frozenset({"rt"})
TRIED_MAX = 50
"""Cycles of which the shortest is told; in a large tangle looking for more takes long and says nothing new."""


class Kind(NamedTuple):
    """A kind of cycle."""

    name: str
    anywhere: frozenset[str]
    """Edges that it may consist of."""
    once: frozenset[str]
    """Edges of which one, exactly, is in it besides; empty where any number of all is allowed."""


def _kinds(real_time: frozenset[str], suffix: str) -> tuple[Kind, ...]:
    return (
        Kind(f"G0{suffix}", WRITES | real_time, frozenset()),
        Kind(f"G1c{suffix}", FLOWS | real_time, frozenset()),
        Kind(f"G-single{suffix}", FLOWS | real_time, RW),
        Kind(f"G2-item{suffix}", FLOWS | RW | real_time, frozenset()),
    )


KINDS = (*_kinds(frozenset(), ""), *_kinds(REAL_TIME, "-realtime"))
"""The worst first."""

Graph = dict[int, list[Edge]]


def graph(edges: Iterable[Edge], kinds: Collection[str], within: Collection[int] | None = None) -> Graph:
    """Edges of these kinds by where they begin."""
    found: Graph = collections.defaultdict(list)
    for edge in edges:
        if edge.kind in kinds and (within is None or (edge.before in within and edge.after in within)):
            found[edge.before].append(edge)
    return found


def components(edges: Graph) -> list[frozenset[int]]:
    """Strongly connected components of more than one node: Tarjan (1972), with a stack of our own for long histories."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[frozenset[int]] = []
    for root in list(edges):
        if root in number:
            continue
        work = [(root, 0)]
        while work:
            node, at = work.pop()
            if at == 0:
                number[node] = low[node] = len(number)
                stack.append(node)
                on_stack.add(node)
            following = edges.get(node, [])
            if at > 0:
                low[node] = min(low[node], low[following[at - 1].after])
            while at < len(following):
                after = following[at].after
                at += 1
                if after not in number:
                    work += [(node, at), (after, 0)]
                    break
                if after in on_stack:
                    low[node] = min(low[node], number[after])
            else:
                if low[node] == number[node]:
                    component = _cut(stack, node)
                    on_stack -= component
                    if len(component) > 1:
                        found.append(component)
    return found


def _cut(stack: list[int], node: int) -> frozenset[int]:
    """What lies on `stack` from `node` on, taken from it."""
    cut = [stack.pop()]
    while cut[-1] != node:
        cut.append(stack.pop())
    return frozenset(cut)


def shortest(edges: Graph, start: int, goal: int) -> list[Edge] | None:
    """The shortest way from `start` to `goal`, of one edge at least where they are the same."""
    came: dict[int, Edge] = {}
    waiting = collections.deque([start])
    while waiting:
        node = waiting.popleft()
        for edge in edges.get(node, []):
            if edge.after in came:
                continue
            came[edge.after] = edge
            if edge.after == goal:
                way = [edge]
                while way[0].before != start:
                    way.insert(0, came[way[0].before])
                return way
            waiting.append(edge.after)
    return None


def cycles(edges: Sequence[Edge]) -> list[tuple[Kind, list[Edge]]]:
    """One cycle for each tangle of transactions and each half of KINDS: the worst that is in it, as short as can be."""
    found: list[tuple[Kind, list[Edge]]] = []
    explained: set[int] = set()
    for kind in KINDS:
        for component in components(graph(edges, kind.anywhere | kind.once)):
            if component & explained:
                continue
            cycle = _cycle(kind, edges, component)
            if cycle is not None:
                explained |= component
                found.append((kind, cycle))
    return found


def _cycle(kind: Kind, edges: Sequence[Edge], component: frozenset[int]) -> list[Edge] | None:
    inside = graph(edges, kind.anywhere, component)
    if not kind.once:
        ways = (shortest(inside, node, node) for node in sorted(component))
    else:
        ways = (_closed(inside, edge) for edge in edges if edge.kind in kind.once and edge.before in component)
    found = itertools.islice((way for way in ways if way is not None), TRIED_MAX)
    return min(found, key=len, default=None)


def _closed(edges: Graph, edge: Edge) -> list[Edge] | None:
    """A cycle of `edge` and of `edges`."""
    way = shortest(edges, edge.after, edge.before)
    return None if way is None else [edge, *way]


def check(history: Sequence[Transaction]) -> list[Found]:
    """Everything that no strictly serializable execution of these transactions could have given."""
    lists = Lists(history)
    return [
        *lists.found,
        *(Found(kind.name, explain(history, cycle)) for kind, cycle in cycles(lists.edges())),
    ]


def explain(history: Sequence[Transaction], cycle: Sequence[Edge]) -> str:
    """A cycle for people: who takes part, and why each must come before the next."""
    members = [history[edge.before] for edge in cycle]
    width = max(len(each.name) for each in members)
    lines = [" -> ".join([*(each.name for each in members), members[0].name])]
    lines += [f"  {each.name:<{width}} {_parts(each.parts)}" for each in members]
    lines += [
        f"  {history[edge.before].name} before {history[edge.after].name} ({edge.kind}): {edge.why}" for edge in cycle
    ]
    return "\n".join(lines)


def _parts(parts: Iterable[Part]) -> str:
    words = [f"{part.f} {part.key} {'?' if part.value is None else part.value}" for part in parts]
    return "[" + ", ".join(words) + "]"
