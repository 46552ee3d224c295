"""Snapshots of pages in a backup: every second of the window is restored as it was, and what is older goes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from tests.functions.volume.backup.making import BEGAN_MS, DAY_MS, HOUR_MS, archive_of, batches
from tests.functions.volume.backup.paged import EVERY_MS, Lived, restored
from tests.simulation.paging import applied

from sixfold import clock as clocks
from sixfold_events.volume import VolumeRestored
from sixfold_functions.volume.backup import (
    archive,
    building,
    keeping,
    past,
    references,
    restoring,
    settings,
    snapshots,
    store,
    verifying,
)
from sixfold_functions.volume.core import pages
from sixfold_functions.volume.core import snapshots as deciding
from sixfold_functions.volume.encryption.envelope import DataKey
from sixfold_functions.volume.encryption.keyring import Keyring

RETENTION_MS = 2 * HOUR_MS
WINDOW = RETENTION_MS // EVERY_MS
KEY = DataKey(kms_key="", blob=b"k", plaintext=b"k" * 32)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of forty pages has several batches, so it may have several objects."""
    monkeypatch.setattr(deciding, "BATCH_RECORDS", 4)


def collect(kept: archive.Archive, now_ms: int = 0) -> int:
    return snapshots.collect(kept, retention_ms=RETENTION_MS, now_ms=now_ms, grace_ms=0)


def compare(lived: Lived, moments: list[int]) -> None:
    """Each of them is restored as the plain model has it."""
    kept = lived.opened()
    for at_ms in moments:
        assert restored(kept, at_ms) == lived.truth(at_ms), at_ms


def window(lived: Lived) -> list[int]:
    return lived.moments(max(lived.opened().latest_ms - RETENTION_MS, BEGAN_MS))


def test_every_moment_of_the_window_is_restored_while_what_is_older_goes(tmp_path: Path) -> None:
    """Ten hours of commits, a snapshot each half hour: the store holds hours, not the life, and no gap opens."""
    kept = store.MemoryStore()
    lived = Lived(kept)
    sizes = []
    for _ in range(20):
        lived.live(30)
        lived.back_up()
        lived.snapshot(tmp_path)
        opened = lived.opened()
        opened.compact(retention_ms=DAY_MS)
        collect(opened)
        compare(lived, [*window(lived)[::7], opened.latest_ms])
        sizes.append(sum(map(len, kept.objects.values())))
    compare(lived, window(lived))
    opened = lived.opened()
    assert opened.latest_ms - opened.chain.first_ms < RETENTION_MS + 31 * EVERY_MS
    assert max(sizes[10:]) < 1.5 * max(sizes[6:10]), sizes
    assert verifying.verify(opened).findings == []
    with pytest.raises(
        building.RestoreError, match=r"earlier than its earliest restorable time, .* retention was let go"
    ):
        restoring.find(opened, opened.chain.first_ms - 1, volume="again")


class Killed(BaseException):
    """The process is gone."""


class Deadly(store.MemoryStore):
    """Ends its process before or after a call that changes something."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self.objects = dict(objects)
        self.calls_left = -1

    def _die(self) -> None:
        self.calls_left -= 1
        if self.calls_left == 0:
            raise Killed

    def create(self, name: str, data: bytes) -> bool:
        self._die()
        done = super().create(name, data)
        self._die()
        return done

    def delete(self, name: str) -> None:
        self._die()
        super().delete(name)
        self._die()


def test_a_kill_between_any_two_calls_leaves_every_moment_restorable(tmp_path: Path) -> None:
    """A snapshot in several objects and a collection: whoever comes next goes on, and ends with the same objects."""
    lived = Lived(store.MemoryStore())
    for _ in range(4):
        lived.live(60)
        lived.back_up()
        lived.snapshot(tmp_path)
    lived.live(30)
    lived.back_up()
    before = lived.store
    assert isinstance(before, store.MemoryStore)
    names: set[frozenset[str]] = set()
    kills = 0
    while True:
        kept = Deadly(before.objects)
        lived.store = kept
        kept.calls_left = kills + 1
        try:
            lived.snapshot(tmp_path, part_bytes=300)
            collect(lived.opened())
        except Killed:
            kills += 1
            compare(lived, window(lived)[:: WINDOW // 3])
            kept.calls_left = -1
            if snapshots.Maker(lived.opened(), tmp_path, part_bytes=300).make() is None:
                assert len(lived.opened().snapshots) > 1
            collect(lived.opened())
        compare(lived, window(lived)[:: WINDOW // 3])
        names.add(frozenset(kept.objects))
        if kept.calls_left > 0:
            break
    assert kills > 10
    assert len(names) == 1


def test_two_that_make_one_snapshot_write_the_same_records(tmp_path: Path) -> None:
    """However large their objects are and whether what they sort waits in files; so what one left, the other completes."""
    lived = Lived(store.MemoryStore())
    lived.live(200)
    lived.back_up()
    found = []
    for number, more in enumerate(({}, {"part_bytes": 300}, {"run_bytes": 5_000}, {"part_bytes": 900})):
        lived.store = store.MemoryStore()
        lived._taken, lived.stamps = 0, []
        lived.back_up()
        lived.snapshot(tmp_path / f"{number}", **more)
        opened = lived.opened()
        found.append(list(snapshots.read(opened, opened.snapshots[-1])))
        assert not list((tmp_path / f"{number}").glob("*"))
    assert found[0] == found[1] == found[2] == found[3]
    assert len(opened.snapshots[-1].pieces) > 1
    assert found[0][-1].last_lsn < lived.model.lsn / 2


def test_a_snapshot_is_made_of_the_one_before_and_the_log_since(tmp_path: Path) -> None:
    """As if it were made of the whole log; none where no record came."""
    lived = Lived(store.MemoryStore(), seed=4)
    for _ in range(5):
        lived.live(40)
        lived.back_up()
        lsn = lived.snapshot(tmp_path)
        opened = lived.opened()
        of_both = list(snapshots.read(opened, opened.snapshot(lsn)))
        with contextlib.ExitStack() as stack:
            at = opened.point(opened.snapshot(lsn))
            assert list(snapshots.Maker(opened, tmp_path).batches(None, at, stack)) == of_both
    assert snapshots.Maker(lived.opened(), tmp_path).make() is None


def test_a_reader_goes_on_while_its_objects_are_let_go(tmp_path: Path) -> None:
    """A restore of the window's first moment that began before a collection."""
    lived = Lived(store.MemoryStore())
    for _ in range(10):
        lived.live(30)
        lived.back_up()
        lived.snapshot(tmp_path)
    reader = lived.opened()
    first = window(lived)[0]
    origin = restoring.find(reader, first, volume="again")
    reading = building.past(origin, reader)
    begun = [next(reading)]
    assert collect(lived.opened()) > 0
    records = [payload for batch in [*begun, *reading] for payload in batch.payloads]
    assert applied(records) == lived.truth(first)


def test_a_clone_holds_what_it_reads_and_a_restored_volume_for_a_week(tmp_path: Path) -> None:
    """A collection leaves the clone's snapshot and all behind it; the clone reads its past block by block."""
    lived = Lived(store.MemoryStore())
    for _ in range(3):
        lived.live(30)
        lived.back_up()
        lived.snapshot(tmp_path)
    lived.live(5)
    lived.back_up()
    at_ms = lived.opened().latest_ms
    held = {}
    for shared, volume in ((True, "cloned"), (False, "restored")):
        origin = held[volume] = restoring.find(lived.opened(), at_ms, volume=volume, shared=shared)
        references.refer(lived.opened(), origin, now_ms=at_ms)
    for _ in range(12):
        lived.live(30)
        lived.back_up()
        lived.snapshot(tmp_path)
    assert collect(lived.opened(), now_ms=at_ms) > 0
    assert lived.opened().chain.base_lsn == held["cloned"].snapshot_lsn
    compare(lived, [at_ms])
    shared_past = past.SharedPast(lived.opened(), held["cloned"])
    records = [p for batch in shared_past.between(1, held["cloned"].last_lsn) for p in batch.payloads]
    batches_of = building.events(building.past(held["cloned"], lived.opened()), held["cloned"])
    assert records == [p for batch in batches_of for p in batch.payloads]
    middle = held["cloned"].snapshot_records + 3
    assert next(shared_past.between(middle, middle)).first_lsn <= middle
    lived.opened().store.delete(references.CLONES + "cloned")
    assert collect(lived.opened(), now_ms=at_ms) == 0  # the restored volume's copies may make their logs again
    assert collect(lived.opened(), now_ms=at_ms + 9 * DAY_MS) > 0
    assert lived.opened().store.names(references.RESTORES) == []
    compare(lived, window(lived)[::10])


def test_a_backup_of_records_keeps_its_log(tmp_path: Path) -> None:
    """There is nothing that could stand for its beginning."""
    kept = store.MemoryStore()
    made = archive_of(batches(2_000, every_ms=HOUR_MS), kept=kept)
    before = dict(kept.objects)
    chosen = settings.BackupSettings(retention_days=1, snapshot_log_bytes=1)
    keeping.Keeper(made, tmp_path, clock=clocks.SystemClock(), chosen=chosen).work()
    assert kept.objects == before


def test_the_keeper_makes_snapshots_and_lets_go_of_what_is_older(tmp_path: Path) -> None:
    """By the retention, once the log is long enough."""
    lived = Lived(store.MemoryStore())
    lived.live(30 * 60)
    lived.back_up()
    chosen = settings.BackupSettings(retention_days=1, snapshot_log_bytes=100_000)
    keeper = keeping.Keeper(lived.opened(), tmp_path, clock=clocks.SystemClock(), chosen=chosen)
    keeper.work()
    assert len(lived.opened().snapshots) == 1
    keeper.work()
    assert len(lived.opened().snapshots) == 1
    lived.live(30 * 60)
    lived.back_up()
    keeper.work()
    opened = lived.opened()
    assert opened.chain.base is not None
    assert opened.chain.base.at_ms <= opened.latest_ms - DAY_MS - deciding.GRACE_MS
    compare(lived, lived.moments(lived.opened().latest_ms - DAY_MS)[::97])


def test_an_encrypted_backup_has_encrypted_snapshots(tmp_path: Path) -> None:
    """Neither an object nor what waits in files meanwhile shows a page."""
    for keyring in (Keyring(), Keyring([KEY], current=KEY)):
        kept = store.MemoryStore()
        lived = Lived(kept, keyring=keyring)
        lived.live(100)
        lived.back_up()
        bodies = [pages.parse(1, record).body for _, records in lived.model.entries for record in records]
        bodies = [body for body in bodies if len(body) > 20]
        files: list[bytes] = []

        def going_on(files: list[bytes] = files) -> bool:
            files.extend(path.read_bytes() for path in tmp_path.rglob("*.layer"))
            return True

        assert snapshots.Maker(lived.opened(), tmp_path, run_bytes=5_000, going_on=going_on).make() is not None
        parts = [data for name, data in kept.objects.items() if "/pages/" in name]
        for found in (files, parts):
            shows = any(body in data for data in found for body in bodies)
            assert shows is (keyring.current is None)
        compare(lived, window(lived)[::20])


def test_a_volume_of_another_moment_has_another_epoch(tmp_path: Path) -> None:
    """Also where its past begins with another snapshot: the records have other numbers."""
    lived = Lived(store.MemoryStore())
    lived.live(60)
    lived.back_up()
    at_ms = lived.opened().latest_ms
    found: list[VolumeRestored] = [restoring.find(lived.opened(), at_ms, volume="again")]
    lived.snapshot(tmp_path)
    found.append(restoring.find(lived.opened(), at_ms, volume="again"))
    assert found[0].epoch != found[1].epoch
    assert (found[0].snapshot_lsn, found[0].last_lsn) == (0, lived.model.lsn)
    assert (found[1].snapshot_lsn, found[1].last_lsn) == (lived.model.lsn, found[1].snapshot_records)
