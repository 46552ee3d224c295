"""The writer's heart: LSNs, batches, limits, who is freed when."""

from __future__ import annotations

from tests.functions.volume.making import E1

from sixfold_functions.volume.core.sequencer import Append, Batch, Limits, Request, Sequencer


def sequencer(**limits: int) -> Sequencer[str]:
    """One that begins at LSN 1."""
    made: Sequencer[str] = Sequencer(Limits(**limits))
    made.begin(E1, 0, 0)
    return made


def offer(to: Sequencer[str], name: str, *records: bytes) -> None:
    to.offer(Append(records, name))


def batches(of: Sequencer[str]) -> list[Batch]:
    """All that can be sent now."""
    found = []
    while (batch := of.next_batch()) is not None:
        found.append(batch)
    return found


def test_whatever_waits_goes_into_one_batch() -> None:
    """Each append's end is a consistency point, and LSNs have no gap."""
    made = sequencer()
    for name in "abc":
        offer(made, name, b"1", b"2")
    (batch,) = batches(made)
    assert (batch.first_lsn, batch.last_lsn, batch.consistency_points) == (1, 6, [2, 4, 6])
    assert [append.waiter for append in made.on_durable(4)] == ["a", "b"]
    assert [append.waiter for append in made.on_durable(6)] == ["c"]


def test_while_a_batch_is_on_its_way_the_next_one_gathers_until_it_is_full() -> None:
    """So a batch has the records of all who wait; one client alone never waits for another batch."""
    made = sequencer(batch_records_max=3)
    offer(made, "a", b"1")
    assert not made.gathers(), "nothing is on its way"
    assert made.next_batch() is not None
    offer(made, "b", b"2")
    offer(made, "c", b"3")
    assert made.gathers()
    offer(made, "d", b"4")
    assert not made.gathers(), "three fill a batch"
    assert made.next_batch() is not None
    offer(made, "e", b"5")
    made.on_durable(1)
    assert made.gathers(), "the other batch is on its way still"
    made.on_durable(4)
    assert not made.gathers()
    full = sequencer(batch_bytes_max=10)
    offer(full, "a", b"1")
    assert full.next_batch() is not None
    offer(full, "large", b"x" * 6, b"x" * 4)
    assert not full.gathers()


def test_a_batch_ends_at_the_end_of_an_append() -> None:
    """An append that does not fit any more begins the next batch."""
    made = sequencer(batch_records_max=5)
    offer(made, "a", *[b"x"] * 3)
    offer(made, "b", *[b"x"] * 3)
    assert [(each.first_lsn, each.last_lsn, each.consistency_points) for each in batches(made)] == [
        (1, 3, [3]),
        (4, 6, [6]),
    ]


def test_a_large_append_is_cut_and_durable_only_as_a_whole() -> None:
    """Batches within it have no consistency point, so no recovery keeps a part of it."""
    made = sequencer(batch_bytes_max=4)
    offer(made, "large", *[b"xx"] * 5)
    found = batches(made)
    assert [len(each.payloads) for each in found] == [2, 2, 1]
    assert [each.consistency_points for each in found] == [[], [], [5]]
    assert made.on_durable(4) == []
    assert [(append.first_lsn, append.last_lsn) for append in made.on_durable(5)] == [(1, 5)]


def test_no_lsn_is_given_beyond_the_limit_ahead_of_the_durable_one() -> None:
    """Back-pressure: what waits goes on as soon as the durable LSN rises."""
    made = sequencer(ahead_records_max=4)
    for name in "abc":
        offer(made, name, b"1", b"2")
    assert [each.last_lsn for each in batches(made)] == [4]
    made.on_durable(2)
    assert [each.last_lsn for each in batches(made)] == [6]


def test_payloads_in_memory_are_bounded() -> None:
    """Nothing more is sent while too many bytes are not durable."""
    made = sequencer(window_bytes_max=3, batch_bytes_max=2)
    for name in "abc":
        offer(made, name, b"xx")
    assert len(batches(made)) == 2
    made.on_durable(1)
    assert len(batches(made)) == 1


def test_an_append_without_an_lsn_can_be_withdrawn_and_another_cannot() -> None:
    """Only what was never sent is sure not to become durable."""
    made = sequencer(ahead_records_max=1)
    first, second = Append([b"x"], "first"), Append([b"x"], "second")
    made.offer(first)
    made.offer(second)
    batches(made)
    assert made.withdraw(second) is True
    assert made.withdraw(first) is False
    assert made.unfinished() == [first]


def test_the_bytes_that_wait_are_counted_until_the_whole_append_is_in_batches() -> None:
    """A cut append counts as long as a part of it waits; what is withdrawn counts no more."""
    made = sequencer(batch_bytes_max=4, window_bytes_max=4)
    cut, second = Append([b"xx"] * 3, "cut"), Append([b"yyy"], "second")
    made.offer(cut)
    made.offer(second)
    assert made.waiting() == (2, 9)
    batches(made)
    assert (cut.taken, made.waiting()) == (2, (2, 9))
    made.withdraw(second)
    assert made.waiting() == (1, 6)
    made.on_durable(2)
    batches(made)
    assert made.waiting() == (0, 0)


def test_a_request_travels_with_its_last_record() -> None:
    """Its offset is in the copies' logs with the records, so a successor knows that it was taken."""
    made = sequencer(batch_bytes_max=2)
    made.offer(Append([b"xx", b"yy"], "w", Request("r1", 5)))
    first, second = batches(made)
    assert first.requests == []
    assert second.requests == [(Request("r1", 5), 2, 2)]


def test_batches_in_memory_serve_repairs_until_they_are_durable() -> None:
    """The window is exactly what is sent and not durable."""
    made = sequencer(batch_records_max=1)
    for name in "abc":
        offer(made, name, name.encode())
    batches(made)
    assert [batch.payloads for batch in made.window(2, 3)] == [[b"b"], [b"c"]]
    made.on_durable(2)
    assert made.window_first_lsn() == 3


def test_what_cannot_be_taken_is_refused_with_the_limit() -> None:
    """Empty, too large a record, too much at once."""
    limits = Limits(record_bytes_max=10, ahead_records_max=3)
    assert "at least one" in limits.refusal([])
    assert "11 bytes" in limits.refusal([b"x" * 11])
    assert "4 records" in limits.refusal([b"x"] * 4)
    assert limits.refusal([b"x"] * 3) == ""


def test_stamps_never_go_back_and_nothing_is_stamped_below_a_promise() -> None:
    """Whatever the writer's clock does, and whatever stamps the copies had stored before it came."""
    of: Sequencer[str] = Sequencer(Limits())
    of.begin(E1, 0, 0, clock_ms=1_000)
    stamps = []
    for now_ms in (900, 1_200, 1_100):
        offer(of, "a", b"x")
        batch = of.next_batch(now_ms)
        assert batch is not None
        stamps.append(batch.committed_at_ms)
    assert stamps == [1_001, 1_200, 1_200]
    assert of.promise(1_150) == 1_200
    assert of.stamp(1_150) == 1_201
