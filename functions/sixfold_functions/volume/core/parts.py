"""Parts: what one group has of one batch of a volume that is spread over several groups.

A volume's batch is whole or absent over all groups, in its recovery as in the durable LSN. Each group that has records of
it gets them as one append of its own, whose last record is the part's *label*: which batch it is of, which of its LSNs
are here, which other groups have the rest. An append is one consistency point and no batch of a group has two of them,
so where a group's volume is cut, it is cut behind a label.

    label: magic "S6PT" | MessagePack array of `Label`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from sixfold_functions.volume.core import pages, sequencer
from sixfold_functions.volume.core.plan import Plan

_MAGIC = b"S6PT"
LABEL_BYTES_MAX = 600_000
"""Of 2,048 requests with the longest ids, and as many runs."""


class LabelError(ValueError):
    """What should be a label is none: the group was written to by something else than its volume's writer."""


class Result(NamedTuple):
    """An append request whose last record is in the batch."""

    request_id: str
    last_lsn: int
    """Volume LSN."""
    size: int
    offset: int
    """In the volume's topic of append requests."""


class Label(msgspec.Struct, array_like=True, frozen=True):
    """What a part is of. All LSNs are volume LSNs."""

    first_lsn: int
    last_lsn: int
    """Of the volume's batch; below `first_lsn` for the one that says only the plan."""
    groups: list[int]
    """Those that have a part of it."""
    runs: list[tuple[int, int]]
    """LSNs of this part's records: the first of some that follow each other, counted from `first_lsn`, and how many."""
    ends: list[int]
    """Consistency points of the batch, counted from `first_lsn`; the last record's, unless an append goes on."""
    append_offset: int = 0
    """Next offset of the append requests after those of all batches up to this one."""
    results: list[Result] = []
    """Of the batch; in the part of its first group only."""
    plan: Plan | None = None
    """In each group's first part."""

    @property
    def is_complete(self) -> bool:
        """Whether the volume is consistent after the batch."""
        return self.last_lsn < self.first_lsn or (bool(self.ends) and self.ends[-1] == self.last_lsn - self.first_lsn)

    def lsns(self) -> Iterator[int]:
        """Of the part's records, in order."""
        for begin, count in self.runs:
            yield from range(self.first_lsn + begin, self.first_lsn + begin + count)


def encode(label: Label) -> bytes:
    """The record that ends a part."""
    return _MAGIC + msgspec.msgpack.encode(label)


def decode(record: bytes) -> Label:
    """The label in a part's last record. Raises LabelError."""
    try:
        if record[:4] == _MAGIC:
            return msgspec.msgpack.decode(record[4:], type=Label)
    except msgspec.DecodeError:
        pass
    raise LabelError(f"expected a part's label, found {record[:16]!r}…: this volume is no group of another one")


def first_part(plan: Plan) -> list[bytes]:
    """What each group begins with: the plan, behind the format where the volume is one of pages."""
    label = Label(1, 0, list(plan.numbers), [], [], plan=plan)
    return [*([pages.format_record(plan.page_bytes)] if plan.page_bytes else []), encode(label)]


def split(plan: Plan, batch: sequencer.Batch, append_offset: int) -> dict[int, list[bytes]]:
    """The parts of a volume's batch, by group. Raises NotAPageRecordError in a volume of pages."""
    records: dict[int, list[bytes]] = {}
    runs: dict[int, list[tuple[int, int]]] = {}
    for index, payload in enumerate(batch.payloads):
        for group in plan.groups_of(batch.first_lsn + index, payload):
            records.setdefault(group, []).append(payload)
            known = runs.setdefault(group, [])
            if known and sum(known[-1]) == index:
                known[-1] = (known[-1][0], known[-1][1] + 1)
            else:
                known.append((index, 1))
    groups = sorted(records)
    ends = [point - batch.first_lsn for point in batch.consistency_points]
    results = [Result(request.request_id, last, size, request.offset) for request, last, size in batch.requests]
    for group in groups:
        label = Label(batch.first_lsn, batch.last_lsn, groups, runs[group], ends, append_offset, results)
        records[group].append(encode(label))
        results = []
    return records


class Part(NamedTuple):
    """What one group has of one batch."""

    label: Label
    records: Mapping[int, bytes]
    """By volume LSN."""


def parse(records: Sequence[bytes]) -> Part:
    """The part that one of a group's appends is. Raises LabelError."""
    label = decode(records[-1])
    payloads = records[:-1] if label.plan is None else []
    lsns = list(label.lsns())
    if len(lsns) != len(payloads):
        raise LabelError(
            f"the label of LSN {label.first_lsn} to {label.last_lsn} tells of {len(lsns)} records, not {len(payloads)}"
        )
    return Part(label, dict(zip(lsns, payloads, strict=True)))
