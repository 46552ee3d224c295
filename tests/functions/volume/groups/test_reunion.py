"""The pure parts of a volume of several groups: where a recovery begins, what is durable, which group has what."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from sixfold_functions.volume.core import pages, parts, sequencer
from sixfold_functions.volume.core.merging import Merger
from sixfold_functions.volume.core.plan import Plan, PlanError, Stripe
from sixfold_functions.volume.core.reunion import Cut, ReunionError, Seen, Tail, reunite
from sixfold_functions.volume.core.spread import Spread

TWO = Plan(volume="orders", groups=2, stripe=1)
PLANNED = [parts.first_part(TWO) for _ in TWO.numbers]


def batches(*sizes: int) -> list[dict[int, list[bytes]]]:
    """The parts of batches of so many appends of one record each."""
    found, lsn = [], 1
    for size in sizes:
        lsns = range(lsn, lsn + size)
        batch = sequencer.Batch(lsn, 0, [b"%d" % each for each in lsns], list(lsns), [], 0)
        found.append(parts.split(TWO, batch, 0))
        lsn += size
    return found


def tails(
    held: list[dict[int, list[bytes]]], counts: tuple[int, int], settled: tuple[int, int] = (0, 0)
) -> dict[int, Tail]:
    """What the groups hold: the plan's part and the first of `counts` of `held`, from where they settled on."""
    found = {}
    for group, count, settled_lsn in zip(TWO.numbers, counts, settled, strict=True):
        lsn, seen = 0, []
        for records in [PLANNED[group - 1], *(each[group] for each in held if group in each)][:count]:
            lsn += len(records)
            if lsn >= settled_lsn:
                seen.append(Seen(parts.decode(records[-1]), lsn, 7))
        found[group] = Tail(settled_lsn, seen)
    return found


def test_every_way_in_which_parts_are_held_begins_where_the_first_hole_is() -> None:
    """Both groups have a part of each batch: the volume has as many batches as the group that has fewer."""
    held = batches(2, 4, 2)
    ends = [0, 2, 6, 8]
    for counts in itertools.product(range(5), range(5)):
        whole = min(counts)
        reunion = reunite(tails(held, counts))
        assert reunion.durable_lsn == (ends[whole - 1] if whole else -1)
        lengths = [0, 1, 3, 6, 8]
        assert reunion.cuts == {group: Cut(lengths[whole], 7 if whole else 0) for group in TWO.numbers}


def test_what_was_told_is_kept_and_not_looked_at() -> None:
    """Of what lies below where a copy settled only the label there is read."""
    held = batches(2, 4, 2)
    told = tails(held, (4, 3), settled=(3, 2))
    assert len(told[1].parts) == 3
    assert reunite(told).durable_lsn == 6
    only_one = tails(held, (4, 4), settled=(8, 0))
    assert reunite({1: only_one[1], 2: tails(held, (4, 4), settled=(0, 8))[2]}).durable_lsn == 8


def test_an_append_that_goes_on_in_the_next_batch_is_whole_or_absent() -> None:
    """The volume ends before it where its last batch is not there."""
    first = sequencer.Batch(1, 0, [b"1", b"2"], [2], [], 0)
    begun = sequencer.Batch(3, 0, [b"3", b"4"], [], [], 0)
    ended = sequencer.Batch(5, 0, [b"5", b"6"], [6], [], 0)
    held = [parts.split(TWO, batch, 0) for batch in (first, begun, ended)]
    assert reunite(tails(held, (4, 3))).durable_lsn == 2
    assert reunite(tails(held, (4, 4))).durable_lsn == 6


def test_groups_that_tell_different_histories_are_not_put_together() -> None:
    """More copies were lost than a quorum bears; nothing is guessed."""
    mixed = {1: tails(batches(2, 2), (3, 0))[1], 2: tails(batches(2, 4), (0, 3))[2]}
    with pytest.raises(ReunionError, match="different batches at volume LSN 3"):
        reunite(mixed)


def test_a_batch_is_durable_with_its_last_part_and_groups_are_told_no_more_than_that() -> None:
    """Whatever a group by itself has."""
    spread = Spread()
    spread.begin(0, {1: 1, 2: 1})
    spread.sent(2, {1: 3, 2: 3}, complete=True)
    spread.sent(3, {1: 5}, complete=False)
    spread.sent(5, {1: 7, 2: 5}, complete=True)
    assert not spread.on_durable(1, 7)
    assert (spread.durable_lsn, spread.told, spread.lagging()) == (0, {1: 1, 2: 1}, [2])
    assert spread.on_durable(2, 3)
    assert (spread.complete_lsn, spread.durable_lsn, spread.told) == (3, 2, {1: 3, 2: 3})
    assert spread.on_durable(2, 5)
    assert (spread.durable_lsn, spread.told) == (5, {1: 7, 2: 5})
    assert [spread.at(1, lsn) for lsn in (0, 1, 2, 4, 5, 9)] == [1, 1, 3, 3, 7, 7]
    assert spread.at(1, -1) is None


def test_parts_are_put_together_whatever_order_the_groups_give_them_in() -> None:
    """Each append once and in order; parts that come again change nothing."""
    given = batches(1, 3, 2, 1)
    streams = {group: [each[group] for each in given if group in each] for group in TWO.numbers}
    turns = sorted(set(itertools.permutations([1] * len(streams[1]) + [2] * len(streams[2]))))
    for order in turns:
        merger, taken, points = Merger(), {1: 0, 2: 0}, []
        for group in order:
            part = streams[group][taken[group]]
            taken[group] += 1
            points += merger.take(group, part, taken[group])
            points += merger.take(group, part, taken[group])
        assert [(point.first_lsn, point.records) for point in points] == [(lsn, [b"%d" % lsn]) for lsn in range(1, 8)]
        assert not any(merger.held.values())


def test_what_is_no_part_is_refused() -> None:
    """A volume that is no group, or a label of other records."""
    (batch,) = batches(2)
    with pytest.raises(parts.LabelError, match="no group"):
        parts.parse([b"plain"])
    with pytest.raises(parts.LabelError, match="tells of 1 records, not 2"):
        parts.parse([b"more", *batch[1]])


def test_a_plan_says_for_every_page_and_record_whose_it_is() -> None:
    """Stripes of pages begin at page 0, those of records at LSN 1; what concerns all pages goes to all groups."""
    plain = Plan(volume="orders", groups=3, stripe=2)
    assert [plain.group_of(lsn) for lsn in range(1, 9)] == [1, 1, 2, 2, 3, 3, 1, 1]
    assert plain.stripes() == [Stripe(1, 2, 1), Stripe(3, 4, 2), Stripe(5, 6, 3)]
    paged = Plan(volume="data", groups=2, stripe=2, page_bytes=512)
    change, _ = pages.change_record(2, None, bytes(512))
    assert list(paged.groups_of(9, change)) == [2]
    assert list(paged.groups_of(9, pages.size_record(5))) == [1, 2]
    with pytest.raises(pages.NotAPageRecordError):
        paged.groups_of(9, b"plain")
    assert msgspec.json.decode(msgspec.json.encode(paged), type=Plan) == paged
    for wrong in ({"groups": 0}, {"groups": 65}, {"stripe": 0}, {"page_bytes": 100}):
        with pytest.raises(PlanError, match="expected"):
            msgspec.structs.replace(paged, **wrong).check()
