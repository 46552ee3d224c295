"""The tracker function: status from acknowledgements, kept in its table."""

from __future__ import annotations

from tests.functions.volume.making import E1, E2, ack

from sixfold.testing import Harness
from sixfold_events.volume import VolumeStatusChanged
from sixfold_functions.volume.handler import track

COPIES = ("a1", "a2", "b1", "b2", "c1", "c2")


async def test_the_tracker_publishes_what_is_durable_and_where_each_copy_is() -> None:
    """Status shows the durable LSN of the newest epoch and the last word of every copy."""
    async with Harness(track) as harness:
        for index, copy in enumerate(COPIES):
            await harness.publish(ack(copy, 9 - index))
            await harness.until_idle()
            await harness.advance(1.0)
        status = (await harness.emitted(VolumeStatusChanged))[-1]
        assert (status.epoch, status.durable_lsn) == (E1, 6)
        assert {copy.copy: copy.complete_lsn for copy in status.copies} == dict(
            zip(COPIES, range(9, 3, -1), strict=True)
        )


async def test_a_new_epoch_must_be_acknowledged_anew() -> None:
    """The durable LSN of a new writer is shown only once four copies are with it; a late word changes nothing."""
    async with Harness(track) as harness:
        for copy in COPIES:
            await harness.publish(ack(copy, 5))
        await harness.publish(ack("a1", 5, epoch=E2, log_epoch=E1, sequence=2))
        await harness.publish(ack("a1", 4, sequence=1))
        await harness.until_idle()
        row = (await harness.table(track, "volumes"))["default"]
        assert (row["epoch"], row["durable_lsn"]) == (E2, 0)
        assert row["copies"]["a1"]["ack"]["epoch"] == E2


async def test_status_is_not_published_for_every_acknowledgement() -> None:
    """Under load a view now and then is enough."""
    async with Harness(track) as harness:
        for lsn in range(50):
            await harness.publish(ack("a1", lsn, sequence=lsn + 1))
        await harness.until_idle()
        assert len(await harness.emitted(VolumeStatusChanged)) == 1
