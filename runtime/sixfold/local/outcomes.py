"""What came of one record, as plain data: to be printed, compared and kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sixfold import timers
from sixfold.bus import port
from sixfold.local import rehearsing
from sixfold_events import Event, cloudevents

NAMED = "named/"


class Outcome(msgspec.Struct, kw_only=True):
    """One record's outcome."""

    outputs: list[dict[str, Any]] = []
    """CloudEvents in JSON, with their `topic`."""
    tables: dict[str, dict[str, Any]] = {}
    """Rows that were written, by table and key; null where one was deleted."""
    timers: list[dict[str, Any]] = []
    """`name`, `at`, `type`, `topic` and `data`; `at` is null for one that was taken away."""
    answer: dict[str, Any] | None = None
    error: str | None = None
    """Type and message of what the handler raised."""
    skipped: bool = False


def of(made: rehearsing.Made, outputs: Sequence[port.NewRecord] | None = None) -> Outcome:
    """`made` as plain data; `outputs` stand for its own where they were given other ids."""
    records = made.outputs if outputs is None else outputs
    return Outcome(
        outputs=[_cloudevent(event, record) for event, record in zip(made.emitted, records, strict=True)],
        tables=_tables(made.rows),
        timers=[_timer(name, entry) for name, entry in made.timers.items()],
        answer=None if made.answer is None else _told(made.answer),
        error=None if made.error is None else f"{type(made.error).__name__}: {made.error}",
        skipped=made.skipped,
    )


def plain(value: Any) -> Any:
    """`value` as JSON holds it; its `repr` where JSON cannot."""
    try:
        return msgspec.to_builtins(value, str_keys=True)
    except TypeError:
        return repr(value)


def row(value: bytes | None) -> Any:
    """A stored row as plain data; None for one that was deleted."""
    return None if value is None else plain(msgspec.msgpack.decode(value))


def _tables(state: port.State) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for (table, _), rows in state.items():
        if table != timers.TABLE:
            tables.setdefault(table, {}).update({key.decode(): row(value) for key, value in rows.items()})
    return tables


def _timer(key: str, entry: rehearsing.Scheduled) -> dict[str, Any]:
    name = key.removeprefix(NAMED) if key.startswith(NAMED) else None
    if entry is None:
        return {"name": name, "at": None}
    due_ms, event = entry
    return {"name": name, "at": cloudevents.rfc3339(due_ms).decode(), **_told(event)}


def _told(event: Event) -> dict[str, Any]:
    return {"type": event.__event__.type, "topic": event.__event__.topic, "data": plain(event)}


def _cloudevent(event: Event, record: port.NewRecord) -> dict[str, Any]:
    headers = {name.removeprefix("ce_"): value.decode() for name, value in record.headers if name != "content-type"}
    key = {} if record.key is None else {"partitionkey": record.key.decode(errors="replace")}
    return {**headers, **key, "datacontenttype": "application/json", "topic": record.topic, "data": plain(event)}
