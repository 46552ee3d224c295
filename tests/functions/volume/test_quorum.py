"""Thresholds, drawn: each row is a state of the six copies, `#` answers, `.` does not."""

from __future__ import annotations

import itertools

import pytest

from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.quorum import FOUR_OF_SIX, Power, Quorum

DRAWING = [
    # zone a  zone b  zone c   what can be done
    ("##      ##      ##", Power.WRITE),  # no fault
    (".#      ##      ##", Power.WRITE),  # one copy
    ("..      ##      ##", Power.WRITE),  # a zone
    (".#      .#      ##", Power.WRITE),  # two copies in different zones
    ("..      .#      ##", Power.READ),  # a zone and one more: AZ+1
    (".#      .#      .#", Power.READ),  # one copy in every zone
    ("..      ..      ##", Power.PARTIAL),  # two zones
    ("..      .#      .#", Power.PARTIAL),
    ("..      ..      .#", Power.PARTIAL),
    ("..      ..      ..", Power.NONE),
]


@pytest.mark.parametrize(("drawing", "power"), DRAWING)
def test_what_a_volume_can_do_with_the_copies_that_answer(drawing: str, power: Power) -> None:
    """Writes need four copies, recovery three, reads one."""
    marks = drawing.replace(" ", "")
    answering = [copy for copy, mark in zip(layout.COPIES, marks, strict=True) if mark == "#"]
    assert FOUR_OF_SIX.power(answering) is power


@pytest.mark.parametrize(
    ("lsns", "durable"),
    [
        ([9, 9, 9, 9, 9, 9], 9),
        ([9, 9, 9, 9, 0, 0], 9),
        ([9, 9, 9, 7, 7, 0], 7),
        ([9, 8, 7, 6, 5, 4], 6),
        ([9, 9, 9], 0),
        ([], 0),
    ],
)
def test_the_durable_lsn_is_the_fourth_highest(lsns: list[int], durable: int) -> None:
    """What fewer than four copies hold is not durable, whatever their order."""
    assert {FOUR_OF_SIX.durable_lsn(order) for order in itertools.permutations(lsns)} == {durable}


def test_every_read_quorum_meets_every_write_quorum_and_write_quorums_meet() -> None:
    """All 15 write quorums and 20 read quorums, enumerated; and a volume without a zone and one more copy has one left."""
    writes = [set(each) for each in itertools.combinations(layout.COPIES, FOUR_OF_SIX.write)]
    reads = [set(each) for each in itertools.combinations(layout.COPIES, FOUR_OF_SIX.read)]
    assert all(write & read for write in writes for read in reads)
    assert all(one & other for one in writes for other in writes)
    for zone in layout.ZONES:
        left = set(layout.COPIES) - set(layout.expand(zone))
        assert len(left) == FOUR_OF_SIX.write
        assert all(left - {one} in reads for one in left)


def test_a_write_quorum_of_three_is_known_to_be_unsafe() -> None:
    """The check that the mutation test relies on tells a broken quorum from a sound one."""
    assert FOUR_OF_SIX.is_safe()
    assert not Quorum(write=3).is_safe()
    assert not Quorum(read=2).is_safe()


def test_a_copy_has_its_partition_for_ever() -> None:
    """Copies and partitions are one to one, two copies to a zone."""
    assert [place.partition for place in layout.PLACES] == list(range(6))
    assert {zone: len(names) for zone, names in layout.by_zone(layout.COPIES).items()} == {"a": 2, "b": 2, "c": 2}
