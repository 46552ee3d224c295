"""What of a repository's history of refs is not in the log yet: pure, from git's own reflog and what was published.

Git appends to a ref's reflog under the ref's lock, so the reflog is an ordered journal of every move that git itself
writes: a crash between a move and its event loses nothing, whoever moved the ref. A line is written just before the
ref takes its value, so a crash can leave a line whose move did not happen; such a line is recognised (the ref, or the
next line, goes on from somewhere else) and skipped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import msgspec

NO_COMMIT = "0" * 40
NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
"""CodeCommit's rule for repository names."""
_LINE = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) (.*) <[^>]*> (\d+) [+-]\d{4}(?:\t.*)?", re.DOTALL)


class Known(msgspec.Struct, frozen=True):
    """How far a ref's moves are in the log."""

    commit: str = NO_COMMIT
    """Value after the last published move."""
    log_bytes: int = 0
    """Bytes of the ref's reflog that are published."""
    moves: int = 0
    """Moves published so far; it makes the ids of equal moves differ."""


class Line(msgspec.Struct, frozen=True):
    """One line of a reflog."""

    old: str
    new: str
    who: str
    at_ms: int
    end: int
    """Offset in the file after it."""


class Move(msgspec.Struct, frozen=True):
    """A ref went from `old` to `new`."""

    ref: str
    old: str
    new: str
    who: str
    at_ms: int
    number: int
    """Its place among the ref's moves, 0 for the first."""


def name_problem(name: str) -> str:
    """Why `name` cannot be a repository's name; empty where it can."""
    if not NAME.fullmatch(name):
        return f"{name[:120]!r} is no repository name; expected 1 to 100 letters, digits, '.', '_' or '-'"
    if name.startswith((".", "-")):
        return f"{name!r} is no repository name; it must not begin with {name[0]!r}"
    if name.lower().endswith((".git", ".lock")):
        return f"{name!r} is no repository name; leave out its ending {name[name.rindex('.') :]!r}"
    return ""


def parse_log(data: bytes, start: int = 0) -> list[Line]:
    """The whole lines of a reflog; `start` is the offset of `data` in its file. A torn last line is left out."""
    lines = []
    for raw in data.splitlines(keepends=True):
        start += len(raw)
        found = _LINE.fullmatch(raw.rstrip(b"\n"))
        if found and raw.endswith(b"\n"):
            old, new, who, seconds = found.groups()
            lines.append(Line(old.decode(), new.decode(), who.decode(errors="replace"), int(seconds) * 1000, start))
    return lines


def moves(
    ref: str, known: Known, current: str, before: str | None, lines: Sequence[Line], now_ms: int
) -> tuple[list[Move], Known]:
    """The moves of `ref` that are not published, oldest first, and what is known once they are.

    `current` is the ref's value (NO_COMMIT for none), read before its log. `before` is the value that the log gives at
    `known.log_bytes` (None: the log is another one than before, as after a deletion), `lines` what follows there.
    """
    found: list[Move] = []
    position = known.commit

    def go(new: str, who: str = "", at_ms: int = now_ms) -> None:
        nonlocal position
        if new != position:
            found.append(Move(ref, position, new, who, at_ms, known.moves + len(found)))
            position = new

    happened = [] if current == NO_COMMIT else _happened(lines, current)
    if before is None and happened and happened[0].old != NO_COMMIT:
        # Somebody rewrote the log: what it says up to the published value was published.
        published = max((index for index, line in enumerate(happened) if line.new == known.commit), default=-1)
        happened = happened[published + 1 :]
    read = known.log_bytes if before is not None else 0
    if current == NO_COMMIT:
        read = 0  # git deletes a ref's log with the ref
    for line in happened:
        go(line.old)  # a gap: the log was deleted with the ref, or lost its tail in a power cut
        go(line.new, line.who, line.at_ms)
        read = line.end
    go(current)
    return found, Known(position, read, known.moves + len(found))


def _happened(lines: Sequence[Line], current: str) -> list[Line]:
    """The lines whose move took place: those that the next one goes on from, up to the last that gives `current`."""
    last = max((index for index, line in enumerate(lines) if line.new == current), default=-1)
    return [line for index, line in enumerate(lines[: last + 1]) if index == last or lines[index + 1].old == line.new]


def event_id(repository_id: str, move: Move) -> str:
    """The id of a move's event: the same whenever and by whomever it is published."""
    text = f"git.pushed\0{repository_id}\0{move.ref}\0{move.number}\0{move.old}\0{move.new}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
