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
REWIND_MAX = 5_000
"""Links that one crash may repeat at most: as many results as a worker holds before they are settled."""


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
    repeated: int = 0
    """Links about a call that an earlier link is about: crashes made them (see `verify`)."""


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


class _Chain:
    """What is known of one chain: its newest links by number, several of one number where a crash repeated them."""

    def __init__(self) -> None:
        self.links: dict[int, list[tuple[str, str]]] = {0: [(GENESIS, "")]}
        """(hash, event id) by number."""
        self.top = EMPTY
        self.repeated = 0

    def add(self, found: KmsAudited, event_id: str, previous: str) -> str | None:
        """Take a link in; what is wrong with it, None where it fits."""
        before, beside = self.links.get(found.seq - 1, []), self.links.setdefault(found.seq, [])
        wrong = None
        if not any(digest == previous for digest, _ in before):
            wrong = self._misfit(found, previous)
        elif any(about != event_id for _, about in beside) or found.seq <= self.top.seq - REWIND_MAX:
            wrong = f"out of order: it stands after link {self.top.seq}"
        elif beside:
            self.repeated += 1
        beside.append((found.hash, event_id))
        if found.seq >= self.top.seq:
            self.top = Head(found.seq, found.hash)
        self.links.pop(found.seq - REWIND_MAX - 1, None)
        return wrong

    def _misfit(self, found: KmsAudited, previous: str) -> str:
        before = self.links.get(found.seq - 1)
        if before:
            digest = before[-1][0]
            return f"broken: it repeats {previous[:16]}… as the hash of link {found.seq - 1}, which is {digest[:16]}…"
        if found.seq > self.top.seq:
            return f"missing: link {found.seq - 1} should stand before it"
        return f"out of order: it stands after link {self.top.seq}"


def verify(links: Iterable[KmsAudited], expected: Mapping[str, Head] | None = None) -> Report:
    """Check every link in the order of the log; `expected` are heads that were noted before.

    A crash between some links and the note of them makes their calls be handled again: the chain goes back to where it
    was noted, and other links about the same calls, in the same order, stand after the first ones. That is no problem,
    and it is counted. The chain goes on from either of two links about one call.
    """
    chains: dict[str, _Chain] = {}
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
        chain = chains.setdefault(each.chain, _Chain())
        wrong = chain.add(each, str(record.get("eventID")), str(record["previous"]))
        if wrong:
            problems.append(Problem(each.chain, each.seq, wrong))
        noted = wanted.get(each.chain)
        if noted and noted.seq == each.seq and noted.hash == each.hash:
            del wanted[each.chain]
    problems += [
        Problem(chain, head.seq, f"missing: link {head.seq} with the noted hash {head.hash[:16]}… is not in the trail")
        for chain, head in wanted.items()
        if head.seq
    ]
    heads = {name: chain.top for name, chain in chains.items()}
    return Report(heads, count, tuple(problems), sum(chain.repeated for chain in chains.values()))


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
