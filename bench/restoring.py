"""How long it takes to restore a volume of a gigabyte: from its backup in a folder to a new volume that serves a read.

`restore_1gb_s` is what `make bench-volume` reports. The backup is made first and not counted.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sixfold import catalogue
from sixfold import clock as clocks
from sixfold.bus import open_bus
from sixfold_functions.volume.backup import archive, restoring, store
from sixfold_functions.volume.client import VolumeClient
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core.backup import OBJECT_BYTES_MAX, Batch
from sixfold_functions.volume.fleet import Fleet
from sixfold_functions.volume.reader import CopyUnreachableError

GIGABYTE = 1_000_000_000
RECORD_BYTES = 300
"""As `sixfold volume append --count` makes them; larger records cost less."""
BATCH_RECORDS = 800
BEGAN_MS = 1_764_000_000_000


def batches(payload_bytes: int, record_bytes: int) -> Iterator[Batch]:
    """Records as a busy writer batches them, a batch every 10 ms."""
    rng = random.Random(7)
    epoch, lsn = epochs.make(1, 7), 1
    filler = rng.randbytes(record_bytes)
    for number in range(payload_bytes // (record_bytes * BATCH_RECORDS)):
        records = [(lsn + index).to_bytes(8, "big") + filler[8:] for index in range(BATCH_RECORDS)]
        last_lsn = lsn + BATCH_RECORDS - 1
        yield Batch(lsn, epoch, epoch if lsn > 1 else 0, BEGAN_MS + 10 * number, [last_lsn], records)
        lsn = last_lsn + 1


async def restore_1gb_s(
    folder: Path, *, payload_bytes: int = GIGABYTE, record_bytes: int = RECORD_BYTES
) -> dict[str, float]:
    """Seconds until the six copies' logs are made (`restore_1gb_s`) and until the last record is read (`to_read_s`).

    `folder` must be empty and have room for eight times the payload; what is in it afterwards is the caller's.
    """
    clock, registry = clocks.SystemClock(), catalogue.installed().registry
    backups = store.open_store(str(folder / "backups"))
    kept = archive.Archive(backups, "big")
    kept.refresh()
    kept.add(batches(payload_bytes, record_bytes), bytes_max=OBJECT_BYTES_MAX)
    data_dir = folder / "data"
    data_dir.mkdir()
    async with open_bus("embedded:", data_dir=data_dir) as bus:
        begun = clock.monotonic()
        fresh = archive.Archive(backups, "big")
        restored = await restoring.new_volume(
            bus, fresh, None, volume="again", data_dir=data_dir, registry=registry, clock=clock
        )
        restored_s = clock.monotonic() - begun
        async with Fleet(data_dir, volume="again"), VolumeClient(bus, registry=registry, volume="again") as client:
            while True:
                try:
                    found = await client.read(restored.origin.last_lsn, 1, timeout_s=10.0)
                except CopyUnreachableError:
                    continue  # they start
                if found.payloads:
                    break
        to_read_s = clock.monotonic() - begun
    return {
        "restore_1gb_s": restored_s,
        "to_read_s": to_read_s,
        "records": float(restored.origin.last_lsn),
        "bytes": float(payload_bytes),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=".") as place:
        print(json.dumps(asyncio.run(restore_1gb_s(Path(place)))))
