"""Thresholds, drawn: each row is a state of the six copies, `#` answers, `.` does not."""

from __future__ import annotations

import itertools

import pytest

from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.membership import FIRST
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


JOINT = [
    # zone a                      zone b  zone c   while a3 replaces a2
    # a1   a2, replaced   a3, new
    ("#    #              #       ##      ##", Power.WRITE),
    ("#    .              #       ##      ##", Power.WRITE),  # the old copy is gone: why it is replaced
    ("#    #              .       ##      ##", Power.WRITE),  # the new one does not count yet
    ("#    .              .       ##      ##", Power.WRITE),  # both: four of five in each set, with one to spare
    (".    #              #       ##      ##", Power.WRITE),
    (".    .              .       ##      ##", Power.WRITE),  # the whole zone
    ("#    .              .       .#      ##", Power.WRITE),
    (".    #              .       .#      ##", Power.READ),  # four of the old set, three of the new one
    (".    .              #       .#      ##", Power.READ),
    (".    .              .       .#      ##", Power.READ),  # AZ+1
    ("#    #              #       ..      .#", Power.READ),  # all of zone a, three of each set with c2
    ("#    .              #       ..      .#", Power.PARTIAL),  # three of the new set, two of the old one
    ("#    #              .       ..      .#", Power.PARTIAL),
    (".    .              #       ..      ..", Power.PARTIAL),
    (".    .              .       ..      ..", Power.NONE),
]


@pytest.mark.parametrize(("drawing", "power"), JOINT)
def test_what_a_volume_can_do_while_a_copy_is_replaced(drawing: str, power: Power) -> None:
    """Whatever needs a quorum needs one in the old set and one in the new one."""
    names = ("a1", "a2", "a3", "b1", "b2", "c1", "c2")
    answering = [copy for copy, mark in zip(names, drawing.replace(" ", ""), strict=True) if mark == "#"]
    assert FOUR_OF_SIX.power(answering, FIRST.replacing("a2").counting) is power


@pytest.mark.parametrize(
    ("a1", "a2", "a3", "rest", "durable"),
    [
        (9, 9, 9, (9, 9, 9, 9), 9),
        (9, 9, 0, (9, 9, 5, 5), 5),  # four of the old set hold 9, of the new one only three
        (9, 0, 9, (9, 9, 5, 5), 5),
        (9, 9, 9, (9, 9, 5, 5), 9),
        (9, None, None, (9, 9, 7, 7), 7),
    ],
)
def test_the_durable_lsn_of_two_sets_is_the_lower_one(
    a1: int, a2: int | None, a3: int | None, rest: tuple[int, ...], durable: int
) -> None:
    """Each set has its fourth-highest."""
    lsns = {"a1": a1, "a2": a2, "a3": a3, **dict(zip(("b1", "b2", "c1", "c2"), rest, strict=True))}
    held = {copy: lsn for copy, lsn in lsns.items() if lsn is not None}
    assert FOUR_OF_SIX.joint_durable_lsn(held, FIRST.replacing("a2").counting) == durable


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
