"""Making the logs of a new volume's copies from a backup: all of them on one machine at once, or one copy's own.

A copy's log is made in a folder beside its own and renamed when it is whole, so a copy is there with all that its
volume begins with, or not at all.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sixfold import errors
from sixfold_events import avro
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeRedoBatch, VolumeRestored
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume.backup import archive, snapshots
from sixfold_functions.volume.core import restore
from sixfold_functions.volume.core.backup import Batch
from sixfold_functions.volume.core.node import Redo
from sixfold_functions.volume.encryption.keyring import Keyring

GROUP_BYTES = 8 * 1024 * 1024
"""Records that share one frame and one fsync, as in a running copy."""


class RestoreError(errors.SixfoldError):
    """A new volume cannot be made."""


class _Making:
    """One copy's log on its way."""

    def __init__(
        self, folder: Path, volume: str, name: str, registry: Registry, keyring: Keyring | None, now_ms: int
    ) -> None:
        self._folder = folder
        self._beside = folder.with_name(f".restoring-{name}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = disks.OsDisk().lock(folder.with_name(f".restoring-{name}.lock"))
        except BlockingIOError:
            raise RestoreError(f"another process makes {folder} just now; wait for it") from None
        shutil.rmtree(self._beside, ignore_errors=True)
        self.copy = copies.Copy(
            disks.OsDisk(), self._beside, volume=volume, name=name, registry=registry, keyring=keyring
        )
        self.copy.open(now_ms)

    def finish(self) -> None:
        """Everything is in it: it becomes the copy's folder."""
        self.copy.close()
        disk = disks.OsDisk()
        disk.sync_folder(self._beside)
        shutil.rmtree(self._folder, ignore_errors=True)
        os.rename(self._beside, self._folder)
        disk.sync_folder(self._folder.parent)
        self._lock.close()

    def give_up(self) -> None:
        self.copy.close()
        shutil.rmtree(self._beside, ignore_errors=True)
        self._lock.close()


def build(
    folders: dict[str, Path],
    origin: VolumeRestored,
    source: archive.Archive,
    *,
    registry: Registry,
    keyring: Keyring | None = None,
    now_ms: int,
    progress: Callable[[int], None] = lambda last_lsn: None,
) -> None:
    """Make the logs of the copies in `folders`, each a name with its folder, which must hold nothing of worth.

    With a `keyring`, of one copy, its log is encrypted. `progress` is called with LSNs. Raises RestoreError, StoreError, ObjectDamagedError and the segment log's errors;
    none of the folders is there then, unless all of its records were.
    """
    making = [_Making(folder, origin.volume, name, registry, keyring, now_ms) for name, folder in folders.items()]
    try:
        with concurrent.futures.ThreadPoolExecutor(len(making), thread_name_prefix="volume-restore") as pool:
            for group in groups(origin, source):
                for each in [pool.submit(one.copy.learn, *group) for one in making]:
                    each.result()
                last = group[0][-1]
                if isinstance(last, VolumeRedoBatch):
                    progress(last.first_lsn + len(last.payloads) - 1)
        for one in making:
            if one.copy.node.settled_lsn != origin.last_lsn:
                raise RestoreError(
                    f"{origin.url}: expected records of volume {origin.source} up to LSN {origin.last_lsn}, found them up "
                    f"to LSN {one.copy.node.settled_lsn}; see: sixfold volume verify --from {origin.url}"
                )
    except BaseException:
        for one in making:
            one.give_up()
        raise
    for one in making:
        one.finish()


def groups(origin: VolumeRestored, source: archive.Archive) -> Iterator[tuple[list[Redo], list[bytes]]]:
    """What each copy of the new volume learns in turn, and how it is stored.

    Raises StoreError, ObjectDamagedError, BackupError.
    """
    yield [origin], [avro.codec(VolumeRestored).encode(origin)]
    if origin.shared:
        return
    encode = avro.codec(VolumeRedoBatch).encode
    group: list[Redo] = []
    values: list[bytes] = []
    size = 0
    for event in events(past(origin, source), origin):
        group.append(event)
        values.append(encode(event))
        size += len(values[-1])
        if size >= GROUP_BYTES:
            yield group, values
            group, values, size = [], [], 0
    if group:
        yield group, values


def past(origin: VolumeRestored, source: archive.Archive) -> Iterator[Batch]:
    """All that the new volume begins with, as it is numbered there. Raises StoreError, ObjectDamagedError, BackupError."""
    lsns = restore.shift(origin)
    if origin.snapshot_lsn:
        yield from snapshots.read(source, source.snapshot(origin.snapshot_lsn))
    for batch in source.batches(origin.snapshot_lsn + 1, origin.last_lsn - lsns):
        yield restore.moved(batch, lsns) if lsns else batch


def events(batches: Iterable[Batch], origin: VolumeRestored) -> Iterator[VolumeRedoBatch]:
    """What a copy of the new volume stores of `batches`."""
    for batch in batches:
        event = restore.redo(batch, origin)
        if event is not None:
            yield event
