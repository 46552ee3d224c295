"""Handling events: ours beside each peer, in turn."""

from __future__ import annotations

import functools
from typing import NamedTuple

from bench.runtime import load, rounds
from bench.runtime.lab import Lab
from bench.runtime.outcome import Outcome
from bench.runtime.sides import consuming_rate

KEYED_CONCURRENCY = 600
"""Handlers at once on our side: 10 ms each make 60,000/s, so that the worker, not the number, is the limit."""
OURS = 400_000
OURS_KEYED = 120_000


class Peer(NamedTuple):
    """A peer's side of one ratio, with as many records as it handles in five to ten seconds."""

    side: str
    mode: str
    records: int


NOOP = {
    "noop_vs_bare": Peer("bare", "noop", 600_000),
    "noop_vs_quix": Peer("quix.quix_app", "noop", 360_000),
    "noop_vs_faststream": Peer("faststream.faststream_app", "noop", 120_000),
    "noop_vs_faust": Peer("faust.faust_app", "noop", 60_000),
    "noop_vs_faststream_ack": Peer("faststream.faststream_app", "noop_ack", 12_000),
}
BATCH = Peer("bare", "batch", 600_000)
KEYED = {
    "faststream": Peer("faststream.faststream_app", "keyed", 9_600),
    "faust": Peer("faust.faust_app", "keyed", 9_600),
    "bare_by_hand": Peer("bare", "keyed", 120_000),
}
BY_HAND = "bare_by_hand"
"""Lanes written by hand are no setting of a peer; its figure is shown beside the others and is not one of them."""


async def noop(lab: Lab) -> Outcome:
    """A no-op async handler, one event at a time."""
    outcome = Outcome()
    for name, peer in NOOP.items():
        if lab.scale.wants(name):
            outcome.merge(await _against(lab, name, peer, mode="noop"))
    return outcome


async def batch(lab: Lab) -> Outcome:
    """A no-op async handler, many events at a time."""
    return await _against(lab, "batch_vs_bare", BATCH, mode="batch")


async def _against(lab: Lab, name: str, peer: Peer, *, mode: str) -> Outcome:
    """Ours and `peer` in turn."""
    topic, count = await lab.readings(OURS)
    their_topic, their_count = await lab.readings(peer.records)
    rates = await rounds.interleaved(
        {
            "ours": functools.partial(consuming_rate, lab, "ours", topic, count, mode=mode),
            peer.side: functools.partial(consuming_rate, lab, peer.side, their_topic, their_count, mode=peer.mode),
        },
        lab.scale.rounds,
    )
    outcome = Outcome()
    outcome.add_ratio(name, rates["ours"], rates[peer.side])
    return outcome


async def keyed(lab: Lab) -> Outcome:
    """10 ms awaited per event, the order of each key kept, against the best of the peers' settings that keep it."""
    topic, count = await lab.readings(OURS_KEYED)
    sides = {
        "ours": functools.partial(
            consuming_rate, lab, "ours", topic, count, mode="keyed", concurrency=KEYED_CONCURRENCY
        )
    }
    for name, peer in KEYED.items():
        their_topic, their_count = await lab.readings(peer.records)
        sides[name] = functools.partial(
            consuming_rate, lab, peer.side, their_topic, their_count, mode="keyed", concurrency=load.PARTITIONS
        )
    rates = await rounds.interleaved(sides, lab.scale.rounds)
    best = max((name for name in KEYED if name != BY_HAND), key=lambda name: rounds.figure(rates[name]).value)
    outcome = Outcome()
    outcome.add_ratio("keyed_io_vs_best_peer", rates["ours"], rates[best])
    outcome.details["keyed_io_best_peer"] = best
    outcome.details["keyed_io_per_s"] = {name: round(rounds.figure(values).value) for name, values in rates.items()}
    return outcome
