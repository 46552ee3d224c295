"""Transactions on append-only lists: what their reads alone give away, and how they depend on one another.

After Kingsbury and Alvaro, "Elle" (2020). Every element is appended once, so a list that is read tells the whole order of
the versions of its key, and by it which transaction overwrote, read or missed which (Adya's dependencies):

- `ww`: one appended the element right after the other's,
- `wr`: one read the version that the other's append made,
- `rw`: one read a version, and the other's append made the next,
- `rt`: one was over before the other began (real time; so a cycle refutes *strict* serializability).
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.history.recording import Operation

Key = str
Element = Any


class Found(NamedTuple):
    """Something that no serial execution does."""

    anomaly: str
    text: str


class Edge(NamedTuple):
    """A dependency: `before` comes before `after` in every order that explains what was read."""

    before: int
    after: int
    kind: str
    why: str


class Part(NamedTuple):
    """A part of a transaction."""

    f: str
    """`append` or `r`."""
    key: Key
    value: Any
    """The element, or the elements read; None where a read's answer is not known."""


class Transaction(NamedTuple):
    """A transaction that happened, or may have."""

    operation: Operation
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """For people."""
        return self.operation.name

    @property
    def certain(self) -> bool:
        """Whether it is known to have happened."""
        return self.operation.outcome == "ok"

    def appends(self) -> Iterator[tuple[Key, Element]]:
        """What it appends, in its order."""
        return ((part.key, part.value) for part in self.parts if part.f == "append")

    def external_reads(self) -> Iterator[tuple[Key, list[Element]]]:
        """The version of each key that it found: its first read of it, without what it had appended itself before."""
        own: dict[Key, list[Element]] = collections.defaultdict(list)
        seen: set[Key] = set()
        for part in self.parts:
            if part.f == "append":
                own[part.key].append(part.value)
            elif part.value is not None and part.key not in seen:
                seen.add(part.key)
                mine = own[part.key]
                if not mine or part.value[-len(mine) :] == mine:
                    yield part.key, part.value[: len(part.value) - len(mine)]


def transactions(operations: Iterable[Operation]) -> list[Transaction]:
    """The transactions among `operations`, failed ones too; the parts of one that was answered are those of its answer."""
    found = []
    for each in operations:
        if each.f == "txn":
            parts = (
                each.told if each.outcome == "ok" else [[f, k, v if f == "append" else None] for f, k, v in each.asked]
            )
            found.append(Transaction(each, tuple(Part(*part) for part in parts)))
    return found


class Lists:
    """What a history's transactions say about its lists. Looks at them once, when made."""

    def __init__(self, history: Sequence[Transaction]) -> None:
        self.found: list[Found] = []
        self.appender: dict[tuple[Key, Element], int] = {}
        """Who appended an element, by its place in `history`."""
        self._appended: dict[Key, dict[Element, int]] = collections.defaultdict(dict)
        """The same by key."""
        self.versions: dict[Key, list[Element]] = {}
        """The longest version of each key that was read."""
        self._history = history
        self._reads: dict[Key, list[tuple[int, list[Element]]]] = collections.defaultdict(list)
        """Of certain transactions, from outside themselves."""
        self._collect_appends()
        self._check_inside()
        self._collect_reads()
        self._order_versions()
        self._happened = {
            number
            for number, each in enumerate(history)
            if each.certain or any(element in self.versions.get(key, ()) for key, element in each.appends())
        }
        """Whoever was read happened, whatever its client was told."""
        self._check_parts()
        self._check_elements()
        self._check_acknowledged()

    def _say(self, anomaly: str, text: str) -> None:
        self.found.append(Found(anomaly, text))

    def _collect_appends(self) -> None:
        for number, each in enumerate(self._history):
            for key, element in each.appends():
                if (key, element) in self.appender:
                    raise ValueError(
                        f"{self._name(self.appender[key, element])} and {each.name} both append {element} to {key}: "
                        "a history of lists appends each element once"
                    )
                self.appender[key, element] = self._appended[key][element] = number

    def _check_inside(self) -> None:
        """A transaction sees what it did itself, and the same of all else each time."""
        for each in self._history:
            known: dict[Key, list[Element]] = {}
            own: dict[Key, list[Element]] = collections.defaultdict(list)
            for part in each.parts:
                if part.f == "append":
                    own[part.key].append(part.value)
                    if part.key in known:
                        known[part.key] = [*known[part.key], part.value]
                elif part.value is not None:
                    mine = own[part.key]
                    expected = known.get(part.key, [*part.value[: max(len(part.value) - len(mine), 0)], *mine])
                    if part.value != expected:
                        self._say(
                            "internal", f"{each.name} read {part.key} as {part.value}, not {expected} by its own parts"
                        )
                    known[part.key] = part.value

    def _collect_reads(self) -> None:
        for number, each in enumerate(self._history):
            if each.certain:
                for key, elements in each.external_reads():
                    self._reads[key].append((number, elements))

    def _order_versions(self) -> None:
        for key, reads in self._reads.items():
            reader, longest = max(reads, key=lambda read: len(read[1]))
            self.versions[key] = longest
            for number, elements in reads:
                if elements != longest[: len(elements)]:
                    self._say(
                        "incompatible order",
                        f"{self._name(number)} read {key} as {elements}, {self._name(reader)} as {longest}: neither is "
                        "the beginning of the other",
                    )

    def _check_parts(self) -> None:
        """What a transaction appends to a list lies there in its own order."""
        for each in self._history:
            for key in {key for key, _ in each.appends()}:
                mine = [element for place, element in each.appends() if place == key]
                found = [element for element in self.versions.get(key, ()) if element in mine]
                if len(set(found)) == len(found) and found != mine[: len(found)]:
                    self._say("incompatible order", f"{each.name} appended {mine} to {key}, where they lie as {found}")

    def _check_elements(self) -> None:
        for key, reads in self._reads.items():
            for number, elements in reads:
                self._check_read(number, key, elements)

    def _check_read(self, number: int, key: Key, elements: list[Element]) -> None:
        reader = self._name(number)
        twice = [element for element, count in collections.Counter(elements).items() if count > 1]
        if twice:
            self._say("duplicate elements", f"{reader} read {key} as {elements}: {twice} more than once")
        for element in elements:
            writer = self.appender.get((key, element))
            if writer is None:
                self._say("phantom element", f"{reader} read {element} in {key}, which nobody appended")
            elif self._history[writer].operation.outcome == "fail":
                self._say(
                    "G1a", f"{reader} read {element} in {key}, which {self._name(writer)} appended, and that failed"
                )
        if elements and (last := self.appender.get((key, elements[-1]))) is not None and last != number:
            of_key = [element for place, element in self._history[last].appends() if place == key]
            if of_key[-1] != elements[-1]:
                self._say(
                    "G1b",
                    f"{reader} read {key} as {elements}, a version from the middle of {self._name(last)}, which appends "
                    f"{of_key} to it",
                )

    def _check_acknowledged(self) -> None:
        """An element whose append was over before a read began is in what that read gives."""
        for key, reads in self._reads.items():
            for number, elements in reads:
                reader, there = self._history[number].operation, set(elements)
                lost = [
                    f"{element} of {self._name(writer)}"
                    for element, writer in self._appended[key].items()
                    if element not in there
                    and self._history[writer].certain
                    and self._history[writer].operation.precedes(reader)
                ]
                if lost:
                    self._say(
                        "lost element",
                        f"{reader.name} read {key} as {elements}, after {', '.join(lost)} was acknowledged",
                    )

    def _name(self, number: int) -> str:
        return self._history[number].name

    def edges(self) -> list[Edge]:
        """How the transactions that happened depend on one another, real time included."""
        edges = [*self._data_edges(), *self._real_time(sorted(self._happened))]
        return [edge for edge in edges if edge.before != edge.after]

    def _data_edges(self) -> Iterator[Edge]:
        for key, version in self.versions.items():
            writers = [self.appender.get((key, element)) for element in version]
            for (first, one), (second, other) in zip(
                zip(version, writers, strict=True), zip(version[1:], writers[1:], strict=True), strict=False
            ):
                if one is not None and other is not None:
                    why = f"{self._name(other)} appended {second} to {key} right after {first} of {self._name(one)}"
                    yield Edge(one, other, "ww", why)
            for number, elements in self._reads[key]:
                yield from self._read_edges(key, version, writers, number, elements)
            yield from self._unread_edges(key, version, writers)

    def _read_edges(
        self, key: Key, version: list[Element], writers: list[int | None], number: int, elements: list[Element]
    ) -> Iterator[Edge]:
        if elements != version[: len(elements)]:
            return  # reported already; its place among the versions is not known
        reader = self._name(number)
        if elements and (writer := writers[len(elements) - 1]) is not None:
            yield Edge(
                writer, number, "wr", f"{reader} read {elements[-1]} in {key}, which {self._name(writer)} appended"
            )
        if len(elements) < len(version) and (writer := writers[len(elements)]) is not None:
            yield Edge(
                number,
                writer,
                "rw",
                f"{reader} read {key} as {elements}, without {version[len(elements)]} that {self._name(writer)} appended next",
            )

    def _unread_edges(self, key: Key, version: list[Element], writers: list[int | None]) -> Iterator[Edge]:
        """An element that was appended and is in no version comes after all that are: lists only grow."""
        there = set(version)
        whole = [number for number, elements in self._reads[key] if elements == version]
        for element, writer in self._appended[key].items():
            if element in there or writer not in self._happened:
                continue
            last = writers[-1] if writers else None
            if last is not None:
                after = f"{version[-1]} of {self._name(last)}"
                why = f"nobody read {element} of {self._name(writer)} in {key}, so it comes after {after}"
                yield Edge(last, writer, "ww", why)
            for number in whole:
                why = f"{self._name(number)} read {key} as {version}, without {element} of {self._name(writer)}"
                yield Edge(number, writer, "rw", why)

    def _real_time(self, numbers: Sequence[int]) -> Iterator[Edge]:
        """Only the edges that the others do not imply: from those that were over last, when one begins."""
        moments: list[tuple[int, int, int]] = []
        for number in numbers:
            operation = self._history[number].operation
            moments.append((operation.invoked_ns, 1, number))
            if operation.completed_ns is not None:
                moments.append((operation.completed_ns, 0, number))
        over_last: dict[int, None] = {}
        before: dict[int, list[int]] = {}
        for _, begins, number in sorted(moments, key=lambda moment: (moment[0], -moment[1])):
            if begins:
                before[number] = list(over_last)
                for other in over_last:
                    yield Edge(other, number, "rt", f"{self._name(other)} was over before {self._name(number)} began")
            else:
                for other in before[number]:
                    over_last.pop(other, None)
                over_last[number] = None
