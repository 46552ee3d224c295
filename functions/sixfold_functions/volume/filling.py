"""What a replica lacks, read from a copy's log: what was written before it came, and what its partition lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from sixfold.bus import port
from sixfold_events import avro
from sixfold_events.volume import VolumeRedoBatch
from sixfold_functions.volume import errors
from sixfold_functions.volume import reader as readers

if TYPE_CHECKING:
    from sixfold_functions.volume.replica import VolumeReplica

PATIENCE_S = 0.03
"""An announcement may overtake the redo that it speaks of; a gap that is there for longer is filled."""
RETRY_S = 0.2
"""After no copy could help."""


class ReplicaOvertakenError(errors.VolumeError):
    """No copy keeps the records any more with which the replica goes on."""

    def __init__(self, volume: str, replica: str, first_lsn: int, gone: readers.RecordsGoneError) -> None:
        self.first_lsn = first_lsn
        self.floor_lsn = gone.floor_lsn
        super().__init__(
            f"volume {volume}: {replica} goes on with LSN {first_lsn}, and the copies that answer keep records from LSN "
            f"{gone.floor_lsn + 1} on. Begin anew: a replica of a volume of pages with those (begin_with_pages gives them, "
            "and the LSN to start at), one of plain records with a state at that LSN or with what is new (start_lsn=None)"
        )


class Filler:
    """`run` is a task of the replica; `look` is called when something was heard."""

    def __init__(self, replica: VolumeReplica) -> None:
        self._replica = replica
        self._lacking = asyncio.Event()

    def look(self) -> None:
        """Something may be missing now."""
        if self._replica.core.missing()[1]:
            self._lacking.set()

    async def run(self) -> None:
        """Fill gaps for ever."""
        replica = self._replica
        while True:
            await self._lacking.wait()
            first_lsn, _ = replica.core.missing()
            await replica.clock.sleep(PATIENCE_S)
            while replica.core.missing()[0] == first_lsn != 0:
                if not await self._fill():
                    await replica.clock.sleep(RETRY_S)
                first_lsn, _ = replica.core.missing()
            self._lacking.clear()
            self.look()

    async def _fill(self) -> bool:
        """Read a part of what is missing from the nearest copy that has it. False if none has.

        Raises ReplicaOvertakenError where all that answer have let go of it.
        """
        replica = self._replica
        gone: readers.RecordsGoneError | None = None
        others = False
        for copy in replica.copies:
            first_lsn, last_lsn = replica.core.missing()
            if not last_lsn:
                return True
            try:
                answer = await replica.reader.ask(
                    copy, from_lsn=first_lsn, count=last_lsn - first_lsn + 1, whole_batches=True
                )
                batches = [replica.registry.decode_as(VolumeRedoBatch, value) for value in answer.batches]
            except readers.RecordsGoneError as error:
                gone = error if gone is None or error.floor_lsn < gone.floor_lsn else gone
                continue
            except (readers.CopyUnreachableError, readers.CopyDamagedError, port.BusError, avro.DecodeError) as error:
                others = others or not isinstance(error, readers.CopyUnreachableError)
                structlog.get_logger().warning(
                    "a copy cannot serve a replica",
                    action="volume.replica.unserved",
                    volume=replica.volume,
                    replica=replica.name,
                    copy=copy,
                    error=str(error),
                )
                continue
            replica.core.on_answer(answer.status, [each for each in batches if isinstance(each, VolumeRedoBatch)])
            await replica.apply()
            if replica.core.missing()[0] != first_lsn:
                return True
            others = True
        if gone is not None and not others:
            raise ReplicaOvertakenError(replica.volume, replica.name, replica.core.missing()[0], gone)
        return False
