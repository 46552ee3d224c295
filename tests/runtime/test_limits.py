"""What a worker takes on, where that depends on what runs beside it and on how it is called."""

from __future__ import annotations

from sixfold import Batch
from sixfold.worker.limits import DEFAULT, LINGER_MAX_S


def test_functions_of_a_process_share_how_often_they_commit() -> None:
    """One alone commits at its own pace; fifty together no more often than a few; none is held up for long."""
    assert DEFAULT.shared_by(1) == DEFAULT.shared_by(0) == DEFAULT
    assert [DEFAULT.shared_by(count).linger_s for count in (10, 50)] == [0.1, 0.5]
    assert DEFAULT.shared_by(10_000).linger_s == LINGER_MAX_S


def test_a_batch_that_gathers_in_each_partition_has_room_there() -> None:
    """With lanes of their own partitions fill side by side; lanes that they share are counted once."""
    batch = Batch(size=2_000)
    wide = DEFAULT.for_batches(batch, 2, by_partition=True)
    assert (wide.fetch_records_max, wide.backlog_records_max, wide.gathering_records_max) == (2_000, 4_000, 2_000)
    assert wide.backlog_bytes_max >= 2 * batch.bytes_max
    assert DEFAULT.for_batches(batch, 2, by_partition=False).gathering_records_max == 0
    assert DEFAULT.for_batches(Batch(size=10), 2, by_partition=True).fetch_records_max == DEFAULT.fetch_records_max
