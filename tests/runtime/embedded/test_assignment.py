"""Properties of the assignment of partitions to members."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sixfold.bus.embedded.assignment import assign

TOPICS = ("a", "b", "c")


@st.composite
def topics(draw: st.DrawFn) -> dict[str, list[int]]:
    """Partition ids of some topics."""
    found: dict[str, list[int]] = {}
    next_id = 1
    for name in TOPICS[: draw(st.integers(1, 3))]:
        count = draw(st.integers(1, 8))
        found[name] = list(range(next_id, next_id + count))
        next_id += count
    return found


@st.composite
def groups(draw: st.DrawFn, *, alike: bool) -> tuple[dict[int, frozenset[str]], dict[str, list[int]], dict[int, int]]:
    """Members, partitions and who has what now; `alike` when all subscribe to all topics."""
    partitions = draw(topics())
    every = frozenset(partitions)
    subscription = st.just(every) if alike else st.frozensets(st.sampled_from(sorted(every)), min_size=1)
    members = {number: draw(subscription) for number in range(1, draw(st.integers(1, 6)) + 1)}
    ids = [identity for found in partitions.values() for identity in found]
    current = draw(st.dictionaries(st.sampled_from(ids), st.integers(1, 9)))
    return members, partitions, current


Case = tuple[dict[int, frozenset[str]], dict[str, list[int]], dict[int, int]]


@given(groups(alike=False))
def test_every_partition_goes_to_a_member_that_subscribes_to_its_topic(case: Case) -> None:
    """Each partition whose topic anybody wants has exactly one member, who wants it; others have none."""
    members, partitions, current = case
    given_ = assign(members, partitions, current)
    for topic, ids in partitions.items():
        takers = {member for member, wanted in members.items() if topic in wanted}
        for identity in ids:
            assert given_.get(identity) in takers if takers else identity not in given_


def shares_of(
    members: dict[int, frozenset[str]], partitions: dict[str, list[int]]
) -> dict[tuple[frozenset[int], int], list[int]]:
    """Partition ids of one number, of topics that the same members subscribe to."""
    found: dict[tuple[frozenset[int], int], list[int]] = {}
    for topic, ids in partitions.items():
        takers = frozenset(member for member, wanted in members.items() if topic in wanted)
        for number, identity in enumerate(ids if takers else []):
            found.setdefault((takers, number), []).append(identity)
    return found


@given(groups(alike=False))
def test_partitions_of_one_number_meet_at_one_member(case: Case) -> None:
    """A table belongs to a partition's number: topics that the same members read share its writer."""
    members, partitions, current = case
    given_ = assign(members, partitions, current)
    for ids in shares_of(members, partitions).values():
        assert len({given_[identity] for identity in ids}) == 1


@given(groups(alike=True))
def test_members_of_one_subscription_differ_by_one_share_at_most(case: Case) -> None:
    """Balanced: no member has two partition numbers more than another."""
    members, partitions, current = case
    given_ = assign(members, partitions, current)
    load = Counter(given_[ids[0]] for ids in shares_of(members, partitions).values())
    counts = [load[member] for member in members]
    assert max(counts) - min(counts) <= 1


@given(groups(alike=True))
def test_no_more_shares_move_than_balance_needs(case: Case) -> None:
    """Sticky: of what members have as a whole, only what is above their fair share moves."""
    members, partitions, current = case
    shares = list(shares_of(members, partitions).values())
    before = {tuple(ids): assigned for ids in shares if (assigned := keeper(ids, members, current)) is not None}
    whole = {identity: member for ids, member in before.items() for identity in ids}
    after = assign(members, partitions, whole)
    moved = sum(1 for ids, member in before.items() if after[ids[0]] != member)
    held = sorted(Counter(dict.fromkeys(members, 0) | Counter(before.values())).values(), reverse=True)
    share, extra = divmod(len(shares), len(members))
    fair = [share + 1] * extra + [share] * (len(members) - extra)
    assert moved == sum(max(0, have - may) for have, may in zip(held, fair, strict=True))


def keeper(ids: list[int], members: dict[int, frozenset[str]], current: dict[int, int]) -> int | None:
    """Any member that has one of these now."""
    return next((current[identity] for identity in ids if current.get(identity) in members), None)


@given(groups(alike=False))
def test_a_settled_assignment_stays_as_it_is(case: Case) -> None:
    """Assigning again what was assigned moves nothing: rebalances come to rest."""
    members, partitions, current = case
    once = assign(members, partitions, current)
    assert assign(members, partitions, once) == once
