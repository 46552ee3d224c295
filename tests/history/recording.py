"""Histories: what clients asked for, and what they were told, as it happened.

Each event is one line of JSON, written by one `write` to a file opened for appending: several processes may share it, and
one that is killed loses nothing but an event that it has not begun to write. Times are the machine's monotonic clock,
which all its processes share. An outcome is `ok`, `fail` (it did not happen, and never will) or `info` (nobody knows); an
operation that is never completed is `info` too, as its process was killed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from sixfold import clock as clocks


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that a client did, or learned."""

    type: Literal["invoke", "ok", "fail", "info"]
    process: str
    """Who; a process has one operation at a time."""
    number: int
    """Which of the process's operations."""
    at_ns: int
    f: str
    """`write`, `read` or `cas` of a register, `txn` on lists."""
    key: str = ""
    """The register."""
    value: Any = None
    """What is written, or was read; of a txn its parts: `["append", key, element]` and `["r", key, elements]`."""
    detail: dict[str, Any] = msgspec.field(default_factory=dict)
    """More than the checkers here want to know."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation from its invocation to what became of it."""

    process: str
    number: int
    f: str
    key: str = ""
    asked: Any = None
    """The value of its invocation."""
    told: Any = None
    """The value that came back; None where none did."""
    invoked_ns: int
    completed_ns: int | None = None
    """None while nobody knows: it may still happen at any time."""
    outcome: Literal["ok", "fail", "info"] = "info"
    detail: dict[str, Any] = msgspec.field(default_factory=dict)
    """Of both its events."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.process}#{self.number}"

    def precedes(self, other: Operation) -> bool:
        """Whether this one was over before `other` began."""
        return self.completed_ns is not None and self.completed_ns < other.invoked_ns


class BrokenHistoryError(Exception):
    """A file is not a history; the message says where."""


class Recorder:
    """Writes the events of one process's lanes. Use as a context manager."""

    def __init__(self, path: Path, clock: clocks.Clock) -> None:
        self._path = path
        self._clock = clock
        self._file = -1
        self._numbers: dict[str, Iterator[int]] = {}

    def __enter__(self) -> Self:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def invoke(self, process: str, f: str, key: str = "", value: Any = None, **detail: Any) -> Event:
        """`process` begins an operation; give what this returns to `complete`."""
        number = next(self._numbers.setdefault(process, itertools.count(1)))
        return self._write(
            Event(
                type="invoke",
                process=process,
                number=number,
                at_ns=self._now_ns(),
                f=f,
                key=key,
                value=value,
                detail=detail,
            )
        )

    def complete(
        self, invoked: Event, outcome: Literal["ok", "fail", "info"], value: Any = None, **detail: Any
    ) -> Event:
        """What became of it."""
        return self._write(
            msgspec.structs.replace(invoked, type=outcome, at_ns=self._now_ns(), value=value, detail=detail)
        )

    def _now_ns(self) -> int:
        return int(self._clock.monotonic() * 1e9)

    def _write(self, event: Event) -> Event:
        line = encode(event)
        written = os.write(self._file, line)
        assert written == len(line), "a regular file takes a line whole, or raises"
        return event


def encode(event: Event) -> bytes:
    """An event as its line."""
    return msgspec.json.encode(event) + b"\n"


def read(path: Path) -> list[Event]:
    """The events of a file. A last line that was cut off is left out. Raises BrokenHistoryError."""
    events = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # behind the last newline there is nothing, or a part of a line
        try:
            events.append(msgspec.json.decode(line, type=Event))
        except msgspec.DecodeError as error:
            raise BrokenHistoryError(f"{path}, line {number}: expected an event of a history: {error}") from None
    return events


def operations(events: Iterable[Event]) -> list[Operation]:
    """Events put together, by invocation. Raises BrokenHistoryError where they contradict one another."""
    begun: dict[tuple[str, int], Operation] = {}
    under_way: dict[str, Operation] = {}
    for event in sorted(events, key=lambda event: event.at_ns):
        place = (event.process, event.number)
        if event.type == "invoke":
            if place in begun or event.process in under_way:
                raise BrokenHistoryError(f"{event.process} begins #{event.number} amid another operation, or again")
            begun[place] = under_way[event.process] = Operation(
                process=event.process,
                number=event.number,
                f=event.f,
                key=event.key,
                asked=event.value,
                invoked_ns=event.at_ns,
                detail=event.detail,
            )
            continue
        found = under_way.pop(event.process, None)
        if found is None or found.number != event.number:
            raise BrokenHistoryError(f"{event.process} completes #{event.number}, which it has not begun")
        begun[place] = msgspec.structs.replace(
            found,
            told=event.value,
            completed_ns=None if event.type == "info" else event.at_ns,
            outcome=event.type,
            detail={**found.detail, **event.detail},
        )
    return sorted(begun.values(), key=lambda each: (each.invoked_ns, each.process))
