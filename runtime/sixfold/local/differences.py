"""Comparing what a replay came to with what was recorded, or with a file that says what is expected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from sixfold import errors, timers
from sixfold.local import captures, capturing, outcomes
from sixfold.local.replaying import Reflect, Replay, essence, pending, reflected
from sixfold_events.registry import Registry

FORMAT = "sixfold-expectation"


class ExpectationError(errors.UsageError):
    """A file says nothing that can be expected."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that came out otherwise."""

    where: str
    """TOPIC:PARTITION:OFFSET of the record; empty for what is so in the end."""
    what: str
    """Such as `outputs`, `error`, `rows totals/0`."""
    expected: list[Any]
    """What is missing, or was otherwise."""
    found: list[Any]


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay must come to; one JSON document."""

    format: str = FORMAT
    function: str
    records: dict[str, outcomes.Outcome]
    """By TOPIC:PARTITION:OFFSET."""
    rows: dict[str, dict[str, Any]] = {}
    """In the end, by TABLE/PARTITION and key."""
    timers: list[dict[str, Any]] = []
    """That have not fired in the end."""


def expectation(function: str, replay: Replay) -> Expectation:
    """That it comes out like this again."""
    return Expectation(function=function, records=replay.outcomes, rows=replay.rows, timers=replay.timers)


def write(path: Path, expected: Expectation) -> None:
    """Write it so that a person can read and change it. Mode 0600: events may hold secrets."""
    path.touch(0o600)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(expected), indent=2) + b"\n")


def read(path: Path) -> Expectation:
    """What `write` wrote, or a person. Raises ExpectationError."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Expectation)
    except OSError as error:
        raise ExpectationError(f"{path} cannot be read ({error.strerror}); write it with --update") from error
    except msgspec.MsgspecError as error:
        raise ExpectationError(f"{path} is no expectation: {error}; write it anew with --update") from error
    if found.format != FORMAT:
        raise ExpectationError(f"{path} has the format {found.format!r}, expected {FORMAT!r}; write it with --update")
    return found


def with_expected(expected: Expectation, replay: Replay) -> list[Difference]:
    """Where `replay` is not what `expected` says: each record's outcome, then rows and timers in the end."""
    found: list[Difference] = []
    for where in dict.fromkeys([*expected.records, *replay.outcomes]):
        old, new = expected.records.get(where), replay.outcomes.get(where)
        if old is None or new is None:
            found.append(_difference(where, "record", [] if old is None else [old], [] if new is None else [new]))
            continue
        for name in outcomes.Outcome.__struct_fields__:
            found += _compared(where, name, _list(getattr(old, name)), _list(getattr(new, name)))
    found += _rows(expected.rows, replay.rows)
    return found + _compared("", "timers", expected.timers, replay.timers)


def with_recorded(capture: captures.Capture, replay: Replay, registry: Registry) -> tuple[list[Difference], int]:
    """Where `replay` is not what the function really did, and how many records could be compared.

    Those that it had not handled when they were captured cannot be. A record that fails here must have been parked.
    Rows and timers are compared where the captured ones reflect just the captured records. Raises ExpectationError
    for a capture of plain topics.
    """
    if capture.head.function is None:
        raise ExpectationError(
            "the capture is one of topics and holds no outputs; record a function by its name, or name a file with --expect"
        )
    committed = {(part.topic, part.partition): part.committed or 0 for part in capture.head.partitions}
    parked = {f"{each.topic}:{each.partition}:{each.offset}": each.error for each in capture.letters}
    outputs: dict[str, list[Any]] = {}
    for output in capture.outputs:
        outputs.setdefault(dict(output.headers).get("ce_causationid", b"").decode(), []).append(  # type: ignore[union-attr]
            essence(output, registry)
        )
    found: list[Difference] = []
    compared = 0
    for record in capture.records:
        where = f"{record.topic}:{record.partition}:{record.offset}"
        outcome = replay.outcomes.get(where)
        if outcome is None or record.offset >= committed[record.topic, record.partition]:
            continue
        compared += 1
        expected = [parked[where]] if where in parked else []
        # The words of an error may hold a time or an address; that it failed is what counts.
        if bool(expected) != (outcome.error is not None):
            found.append(_difference(where, "error", expected, [] if outcome.error is None else [outcome.error]))
        cause = capturing.id_of(record.read())
        found += _compared(where, "outputs", outputs.get(cause, []), replay.outputs.get(cause, []))
    return [*found, *_end(capture, replay, registry)], compared


def _end(capture: captures.Capture, replay: Replay, registry: Registry) -> list[Difference]:
    reflect = reflected(capture)
    after = {number for number, what in reflect.items() if what is Reflect.AFTER}
    others = {part.partition for part in capture.head.partitions if part.end > part.first} - after
    rows: dict[str, dict[str, Any]] = {}
    waiting = []
    for row in capture.rows:
        if row.table == timers.TABLE:
            waiting.append(timers.decode(row.value))
        elif row.partition in after:
            rows.setdefault(f"{row.table}/{row.partition}", {})[row.key.decode()] = outcomes.row(row.value)
    found = {name: each for name, each in replay.rows.items() if int(name.rpartition("/")[2]) in after}
    differences = _rows(rows, found)
    if after and not others:
        differences += _compared("", "timers", pending(waiting, registry), replay.timers)
    return differences


def _rows(expected: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]]) -> list[Difference]:
    differences = []
    for table in sorted({*expected, *found}):
        old, new = expected.get(table, {}), found.get(table, {})
        keys = [key for key in sorted({*old, *new}) if old.get(key, ...) != new.get(key, ...)]
        if keys:
            before, after = [{key: each[key] for key in keys if key in each} for each in (old, new)]
            differences.append(_difference("", f"rows {table}", _list(before), _list(after)))
    return differences


def _compared(where: str, what: str, expected: Sequence[Any], found: Sequence[Any]) -> list[Difference]:
    """What only one of them has; their order does not matter, since outputs go to several topics."""
    left, extra = list(expected), []
    for each in found:
        if each in left:
            left.remove(each)
        else:
            extra.append(each)
    return [_difference(where, what, left, extra)] if left or extra else []


def _difference(where: str, what: str, expected: Sequence[Any], found: Sequence[Any]) -> Difference:
    return Difference(where=where, what=what, expected=list(expected), found=list(found))


def _list(value: Any) -> list[Any]:
    """`value` as a list of what can be missing."""
    if isinstance(value, list):
        return value
    return [] if value in (None, False, {}) else [value]
