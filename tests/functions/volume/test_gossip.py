"""Gossip: a copy gets what it lacks from other copies, with and without a writer; the plan, and on a real bus."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.functions.volume import inside
from tests.functions.volume.making import E1, E2, ack, batch, bump, truncation
from tests.functions.volume.test_rejoining import PATIENT, RECORDS, aged
from tests.support.waiting import eventually

from sixfold.bus import ends, port
from sixfold_events import Event
from sixfold_events.volume import VolumeReadAnswered, VolumeReadRequested, VolumeRedoBatch
from sixfold_functions.volume.client import WriterSettings
from sixfold_functions.volume.core import gossip, layout
from sixfold_functions.volume.core.node import Redo, StorageNode

PEERS = ("b1", "b2", "c1")
TIMING = gossip.Timing(patience_s=3.0, retry_s=2.0)


def plan(seed: int = 1) -> gossip.GossipPlan:
    return gossip.GossipPlan(PEERS, rng=random.Random(seed), timing=TIMING)


def own(reached: int, *, missing: int = 0, epoch: int = E1, begun: bool = True, position: int = 5) -> gossip.Own:
    return gossip.Own(position, epoch, begun, reached, missing)


def asked(made: gossip.GossipPlan, mine: gossip.Own, *, until: float, start: float = 0.0) -> tuple[float, gossip.Ask]:
    """When the first question comes, looking ten times a second; it must come before `until`."""
    for tick in range(round(start * 10), round(until * 10)):
        if (ask := made.due(mine, tick / 10)) is not None:
            return tick / 10, ask
    raise AssertionError(f"nobody was asked until {until}")


def all_silent(made: gossip.GossipPlan, mine: gossip.Own, start: float, until: float) -> list[float]:
    """When questions come that nobody answers."""
    times, now = [], start
    while now < until:
        now, ask = asked(made, mine, until=1e6, start=now)
        times.append(now)
        made.answered(ask, None, mine)
    return times


def answer(
    copy: str, lsn: int, *, epoch: int = E1, log_epoch: int | None = None, began: int = -1
) -> VolumeReadAnswered:
    return VolumeReadAnswered(
        volume="default",
        copy=copy,
        request_id="r",
        status=ack(copy, lsn, epoch=epoch, log_epoch=log_epoch),
        began_lsn=began,
        began_source_epoch=E1,
        began_upper_lsn=began + 100,
    )


def test_a_gap_that_lasts_is_asked_about_one_question_at_a_time_and_then_filled() -> None:
    """First how a peer is, then what is lacking and no more; after that nobody is asked."""
    made = plan()
    made._unheard.clear()
    at, first = asked(made, own(10, missing=20), until=7.0)
    assert at >= TIMING.patience_s
    assert (first.records, first.peer in PEERS) == (0, True)
    assert made.due(own(10, missing=20), at) is None, "one is outstanding"
    made.answered(first, ack(first.peer, 50), own(10, missing=20))
    assert made.due(own(10, missing=20), at) == (first.peer, 11, 10)
    made.answered(gossip.Ask(first.peer, 11, 10), ack(first.peer, 50), own(15, missing=20))
    assert made.due(own(15, missing=20), at) == (first.peer, 16, 5), "it goes on at once"
    made.answered(gossip.Ask(first.peer, 16, 5), ack(first.peer, 50), own(20))
    assert all(made.due(own(20 + tick), tick / 10) is None for tick in range(600)), "what flows is nobody's gap"


def test_while_the_writer_fills_nobody_is_asked() -> None:
    """Each record that comes below the gap starts the patience anew, in the middle of asking as well."""
    made = plan()
    for tick in range(300):
        assert made.due(own(10 + tick // 20, missing=100), tick / 10) is None
    at, ask = asked(made, own(24, missing=100), until=60.0, start=30.0)
    made.answered(ask, None, own(24, missing=100))
    assert made.due(own(30, missing=100), at) is None


def test_a_copy_that_lacks_much_asks_at_once() -> None:
    """The writer leaves that to it: first how a peer is, then for all of it, and again for what comes to be lacking."""
    made = plan()
    lacking = own(10, missing=10 + TIMING.much_records + 1)
    first = made.due(lacking, 0.0)
    assert first is not None
    made.answered(first, ack(first.peer, 50_000), lacking)
    assert made.due(lacking, 0.1) == (first.peer, 11, TIMING.much_records + 1)
    moved = own(5_000, missing=40_000)
    made.answered(gossip.Ask(first.peer, 11, 4_990), ack(first.peer, 50_000), moved)
    assert made.due(moved, 0.2) == (first.peer, 5_001, 35_000)
    patient = plan()
    assert patient.due(own(10, missing=10 + TIMING.much_records), 0.0) is None


def test_where_nobody_helps_questions_become_rare() -> None:
    """Backoff with jitter, up to a minute or two."""
    made = plan()
    made._unheard.clear()
    times = all_silent(made, own(10, missing=20), 0.0, 3000.0)
    rounds = times[:: len(PEERS)]
    waits = [later - earlier for earlier, later in itertools.pairwise(rounds)]
    assert 2.0 <= waits[0] <= 4.1
    assert all(60.0 <= wait <= 120.1 for wait in waits[6:])


def test_a_copy_that_starts_and_hears_nothing_asks_each_peer_once() -> None:
    """Then it costs nothing; who does not answer is asked a few more times."""
    made, mine = plan(), own(10)
    heard = []
    at = 0.0
    for _ in PEERS:
        at, ask = asked(made, mine, until=7.0, start=at)
        heard.append(ask.peer)
        made.answered(ask, ack(ask.peer, 10), mine)
    assert sorted(heard) == sorted(PEERS)
    assert all(made.due(mine, at + tick) is None for tick in range(5000))
    silent = plan()
    count = 0
    for tick in range(5000):
        while (each := silent.due(mine, float(tick))) is not None:
            count += 1
            silent.answered(each, None, mine)
    assert count == len(PEERS) * TIMING.checks_max


def test_a_copy_whose_partition_still_brings_something_asks_nobody_whether_it_is_behind() -> None:
    """The check waits for the first quiet moment."""
    made = plan()
    assert all(made.due(own(10 + tick, position=tick), tick / 10) is None for tick in range(600))
    asked(made, own(609, position=599), until=67.0, start=60.0)


def test_a_copy_that_is_behind_is_filled_from_the_peer_that_has_most() -> None:
    """Also where it learns only from the peer that there is a newer epoch, and where that began."""
    made, mine = plan(), own(10)
    _, ask = asked(made, mine, until=7.0)
    mine = own(10, epoch=E2)  # it took the beginning with the answer
    made.answered(ask, ack(ask.peer, 30, epoch=E2), mine)
    assert made.due(mine, 7.0) == (ask.peer, 11, 20)


@given(
    epoch=st.sampled_from([E1, E2]),
    log_epoch=st.sampled_from([E1, E2]),
    mine_epoch=st.sampled_from([E1, E2]),
    begun=st.booleans(),
    began=st.sampled_from([-1, 3]),
)
def test_only_what_the_epochs_writer_would_have_sent_is_taken(
    epoch: int, log_epoch: int, mine_epoch: int, begun: bool, began: int
) -> None:
    """Nothing of a peer that is behind or in a recovery; a newer epoch only with its beginning; all in that epoch's name."""
    given_answer = answer("b1", 20, epoch=epoch, log_epoch=log_epoch, began=began)
    events = gossip.taken(given_answer, [batch(11, 20, epoch=E1)], own(10, epoch=mine_epoch, begun=begun))
    leads = epoch == log_epoch >= mine_epoch
    needs_beginning = epoch > mine_epoch or not begun
    if not leads or (needs_beginning and began < 0):
        assert events == []
        return
    assert all(event.epoch == epoch for event in events)
    assert len(events) == (3 if needs_beginning else 1)
    again = events[-1]
    assert again.origin_epoch == E1  # type: ignore[union-attr]


def test_after_a_bump_without_its_truncation_nothing_is_filled() -> None:
    """The copy obeys the new writer, who will say where its volume begins; peers of the old epoch are of no use."""
    node: StorageNode[str] = StorageNode("default", "a1")
    events: list[Redo] = [bump(E1), truncation(E1, 0, source=0), batch(1, 5), batch(9, 9), bump(E2)]
    for number, event in enumerate(events):
        node.take(event, f"p{number}")
    mine = gossip.own(node, 5)
    assert (mine.epoch, mine.begun, mine.missing_last_lsn) == (E2, False, 0)
    assert gossip.taken(answer("b1", 9, began=0), [batch(6, 8)], mine) == []
    assert gossip.taken(answer("b1", 9, epoch=E2, log_epoch=E1), [batch(6, 8)], mine) == []


async def events(volume: inside.InsideVolume, partition: port.TopicPartition, start: int) -> list[Event]:
    """What lies in a partition from `start` on."""
    found = []
    end = (await volume.bus.offsets(partition)).end
    async with volume.bus.assign([partition]) as consumer:
        await consumer.seek(partition, max(start, (await volume.bus.offsets(partition)).start))
        async for records in ends.read_up_to(consumer, {partition: end}):
            found += [volume.registry.decode(record.value, record.headers) for record in records]
    return found


async def test_a_copy_that_was_down_is_level_without_a_writer(tmp_path: Path) -> None:
    """A thousand records came while it was down, its partition forgot them, and nobody writes any more."""
    async with aged(tmp_path) as volume:
        await volume.stop("b2")
        async with volume.writer(settings=PATIENT) as writer:
            for _ in range(100):
                last = await writer.append([b"meanwhile" * 10] * 10)
        await volume.start("b2")
        await eventually(lambda: volume.is_level(last.last_lsn), "the copy is level", 60.0)
        async with volume.client() as client:
            found = await client.read(1, 10_000, copy="b2", timeout_s=10.0)
        assert found.payloads == [*RECORDS, *[b"meanwhile" * 10] * 1000]


async def test_a_copy_that_lost_its_folder_is_filled_without_a_writer_and_counts_with_the_next(tmp_path: Path) -> None:
    """It holds everything, and is still joining: only a writer can say how far the volume goes."""
    async with aged(tmp_path) as volume:
        await volume.lose("c1")
        await volume.start("c1")

        async def filled() -> bool:
            async with volume.client() as client:
                copies = {copy.copy: copy for copy in (await client.status()).copies}
            return (copies["c1"].complete_lsn, copies["c1"].state) == (80, "joining")

        await eventually(filled, "the copy has everything", 60.0)
        async with volume.writer(settings=WriterSettings(takeover_timeout_s=60.0)):
            await eventually(lambda: volume.is_level(80), "it counts again")
        await volume.stop(*layout.COPIES)
        await volume.start(*layout.COPIES)
        assert await volume.is_level(80)


async def test_a_copy_that_lacks_much_gets_it_from_its_peers_and_the_end_from_the_writer(tmp_path: Path) -> None:
    """While appends go on: what a new copy lacks passes the bus once, from several peers, in partitions of its own."""
    record = b"x" * 400
    async with aged(tmp_path) as volume:
        async with volume.writer(settings=PATIENT) as writer:
            for _ in range(15):
                last = await writer.append([record] * 1000)
            await eventually(lambda: volume.is_level(last.last_lsn), "all have all")
            await volume.lose("c1")
            redo = port.TopicPartition(layout.topics("default").redo, layout.PARTITION["c1"])
            results = port.TopicPartition(layout.topics("default").read_results, 0)
            before = (await volume.bus.offsets(redo)).end, (await volume.bus.offsets(results)).end
            sent: list[int] = []

            async def going_on() -> bool:
                sent.append((await writer.append([b"meanwhile"])).last_lsn)
                return await volume.is_level(sent[-1])

            await volume.start("c1")
            await eventually(going_on, "the copy is level and counts", 60.0)
            async with volume.client() as client:
                found = await client.read(81, 1000, copy="c1", timeout_s=10.0)
            assert found.payloads == [record] * 1000
        batches = [each for each in await events(volume, redo, before[0]) if isinstance(each, VolumeRedoBatch)]
        assert sum(len(each.payloads) for each in batches) < 5_000, "it lacked 15,080 records"
        to_all = [each for each in await events(volume, results, before[1]) if isinstance(each, VolumeReadAnswered)]
        assert sum(len(batch) for each in to_all for batch in each.batches) < 2_000_000, "it lacked 6,000,000 bytes"
        asked = [
            event
            for place in layout.PLACES
            for event in await events(volume, port.TopicPartition(layout.topics("default").reads, place.partition), 0)
        ]
        answered = {event.copy for event in asked if isinstance(event, VolumeReadAnswered) and event.batches}
        assert len(answered) > 1, "several peers served"


async def test_copies_that_lack_nothing_ask_for_nothing(tmp_path: Path) -> None:
    """While appends go on: at most how the others are, each copy once after its start."""
    async with inside.opened(tmp_path) as volume:
        await volume.start(*layout.COPIES)
        async with volume.writer(settings=PATIENT) as writer:
            for _ in range(300):
                last = await writer.append([b"x"])
            await eventually(lambda: volume.is_level(last.last_lsn), "all have all")
        asked_for = [
            event
            for place in layout.PLACES
            for event in await events(volume, port.TopicPartition(layout.topics("default").reads, place.partition), 0)
        ]
        assert asked_for, "those of is_level, at least"
        assert {event.count for event in asked_for if isinstance(event, VolumeReadRequested)} == {0}


def test_a_copy_comes_back_to_peers_that_were_ahead_and_could_not_serve_what_it_lacked() -> None:
    """They had let go of it; it got pages meanwhile, and what lies above them is there to be had."""
    made, now = plan(), 0.0
    for _ in range(2 * len(PEERS)):
        now, ask = asked(made, own(0, missing=20), until=1e3, start=now)
        made.answered(ask, None if ask.records else ack(ask.peer, 50), own(0, missing=20))
    now, ask = asked(made, own(20), until=now + 60.0, start=now)
    assert ask.records == 0
    made.answered(ask, ack(ask.peer, 50), own(20))
    assert made.due(own(20), now) == gossip.Ask(ask.peer, 21, 30)
