"""Carrying out repairs: what a copy sends is taken only while it obeys the writer that asked."""

from __future__ import annotations

from typing import Any

from tests.functions.volume.making import E1, E2, ack, batch

from sixfold import catalogue
from sixfold import clock as clocks
from sixfold_events import avro
from sixfold_events.volume import VolumeReadAnswered, VolumeRedoBatch
from sixfold_functions.volume import repairer
from sixfold_functions.volume.core import sequencer
from sixfold_functions.volume.core.tracker import QuorumTracker


class Reader:
    """A copy that has the record at LSN 1."""

    def __init__(self, epoch: int, log_epoch: int) -> None:
        self._status = ack("a1", 1, epoch=epoch, log_epoch=log_epoch)

    async def ask(self, copy: str, **asked: Any) -> VolumeReadAnswered:
        value = avro.codec(VolumeRedoBatch).encode(batch(1, 1))
        return VolumeReadAnswered(volume="default", copy=copy, request_id="r", status=self._status, batches=[value])


async def read(epoch: int, log_epoch: int) -> list[VolumeRedoBatch]:
    """What a writer of epoch 1 gets from a copy that answers in these epochs."""
    made = repairer.Repairer(
        Reader(epoch, log_epoch),  # type: ignore[arg-type]
        QuorumTracker(epoch=E1),
        registry=catalogue.installed().registry,
        clock=clocks.SystemClock(),
        outlet=None,  # type: ignore[arg-type]
        limits=sequencer.Limits(),
    )
    return await made.read("a1", 1, 1)


async def test_a_copy_that_obeys_a_newer_writer_by_now_is_no_source() -> None:
    """Its records may be the newer writer's; sent on as ours they would contradict what others hold of our epoch."""
    assert await read(E1, E1) == [batch(1, 1)]
    assert await read(E2, E1) == []
    assert await read(E2, E2) == []
