"""The audit trail's links: CloudTrail's record, its canonical JSON, and the chain of hashes. Pure.

A chain belongs to one partition of the calls, so it has one writer. A link repeats the hash of the link before it:
a changed, dropped or swapped link is found by whoever holds the records. What was cut off the end is found with a
head that was noted before (`verify --head`).

Sources: AWS CloudTrail record contents; RFC 8785 (JSON Canonicalization Scheme); RFC 6962 (leaf hash).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sixfold_events.kms import KmsAudited

GENESIS = "0" * 64
"""What the first link repeats."""


class Head(NamedTuple):
    """The end of a chain."""

    seq: int
    hash: str


EMPTY = Head(0, GENESIS)


class Problem(NamedTuple):
    """What is wrong with a trail."""

    chain: str
    seq: int
    message: str


class Report(NamedTuple):
    """What verifying found: the head of every chain, and everything that is wrong."""

    heads: Mapping[str, Head]
    links: int
    problems: tuple[Problem, ...]


def canonical(value: Any) -> str:
    """`value` as RFC 8785's JSON; of numbers only integers below 2^53 occur here."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # Python sorts by code points, which is the order of UTF-16 unless a character lies beyond the first plane.
    return text if max(text) <= "\uffff" else _sorted(value)


def _sorted(value: Any) -> str:
    if isinstance(value, Mapping):
        # RFC 8785 3.2.3: names are sorted by their UTF-16 code units.
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{_sorted(value[name])}" for name in names) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_sorted(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def leaf(record: str) -> str:
    """The hash of one record, hex."""
    return hashlib.sha256(b"\0" + record.encode()).hexdigest()


def link(chain: str, head: Head, record: Mapping[str, Any]) -> KmsAudited:
    """The next link of `chain` after `head`."""
    text = canonical({**record, "chain": chain, "seq": head.seq + 1, "previous": head.hash})
    return KmsAudited(
        chain=chain,
        seq=head.seq + 1,
        event_name=str(record["eventName"]),
        error_code=str(record.get("errorCode") or ""),
        record=text,
        hash=leaf(text),
    )


def verify(links: Iterable[KmsAudited], expected: Mapping[str, Head] | None = None) -> Report:
    """Check every link in the order of the log; `expected` are heads that were noted before.

    A crash between a link and the note of it makes its call be handled again, and a second link stands beside the
    first, about the same call: that is no problem, and the chain goes on from either of the two.
    """
    tips: dict[str, list[tuple[Head, str, str]]] = {}
    problems: list[Problem] = []
    wanted = dict(expected or {})
    count = 0
    for each in links:
        count += 1
        record = _record(each)
        if record is None or each.hash != leaf(each.record):
            problems.append(
                Problem(each.chain, each.seq, "changed: its hash or its fields are not those of its record")
            )
            continue
        known = tips.get(each.chain, [])
        event_id, previous = str(record.get("eventID")), str(record["previous"])
        entry = (Head(each.seq, each.hash), event_id, previous)
        ends = known or [(EMPTY, "", "")]
        if any(head.seq + 1 == each.seq and head.hash == previous for head, _, _ in ends):
            tips[each.chain] = [entry]
        elif any(head.seq == each.seq and about == event_id and before == previous for head, about, before in known):
            known.append(entry)
        else:
            problems.append(Problem(each.chain, each.seq, _misfit(ends[0][0], each, previous)))
            tips[each.chain] = [entry]
        noted = wanted.get(each.chain)
        if noted and noted.seq == each.seq and noted.hash == each.hash:
            del wanted[each.chain]
    problems += [
        Problem(chain, head.seq, f"missing: link {head.seq} with the noted hash {head.hash[:16]}… is not in the trail")
        for chain, head in wanted.items()
        if head.seq
    ]
    return Report({chain: known[-1][0] for chain, known in tips.items()}, count, tuple(problems))


def _misfit(head: Head, found: KmsAudited, previous: str) -> str:
    if found.seq > head.seq + 1:
        return f"missing: link {head.seq + 1} should stand before it"
    if found.seq <= head.seq:
        return f"out of order: it stands after link {head.seq}"
    return f"broken: it repeats {previous[:16]}… as the hash of link {head.seq}, which is {head.hash[:16]}…"


def _record(each: KmsAudited) -> dict[str, Any] | None:
    """The record, None where it does not say what the link's fields say."""
    try:
        record = json.loads(each.record)
        same = (
            record["chain"] == each.chain
            and record["seq"] == each.seq
            and record["eventName"] == each.event_name
            and str(record.get("errorCode") or "") == each.error_code
            and isinstance(record["previous"], str)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if same else None
