"""Encryption at rest: what lies in a copy's folder says nothing, and whoever changes or moves it is found out."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.functions.volume.encrypted import (
    A1,
    LABEL,
    MARK,
    content,
    grown,
    log,
    restart,
    rewrite_all,
    rotate,
)
from tests.functions.volume.test_checkpoints import boundaries, payloads
from tests.simulation.keys import ARN, Keys, data_key
from tests.simulation.lossy import LossyDisk
from tests.simulation.world import World

from sixfold_functions.volume import files, frames, segments
from sixfold_functions.volume.encryption import chunked, envelope
from sixfold_functions.volume.encryption.envelope import DataKey, FileCipher
from sixfold_functions.volume.encryption.keyring import KeyMissingError, Keyring, KeyWrongError
from sixfold_functions.volume.encryption.rewriting import Rewriter


def test_no_file_of_a_copy_holds_a_payload_and_readers_get_all() -> None:
    """Searched byte by byte, before and after everything was written anew; a copy in plain shows that it would be found."""
    assert any(MARK in data for data in content(grown(encrypted=False).disks["a1"]).values())
    world = grown()
    before = payloads(world, "a1")
    assert len(before) == 60
    for _ in range(2):
        found = content(world.disks["a1"])
        assert len(found) > 5
        for name, data in found.items():
            assert MARK not in data, name
            assert not any(key.plaintext in data for key in world.keys["a1"].made), name
        rotate(world)
        assert rewrite_all(world) > 3
        restart(world)
        assert payloads(world, "a1") == before


def test_a_flipped_bit_anywhere_is_found_and_never_read_as_something_else() -> None:
    """Each bit of a frame, with its CRC made right again, as one who wants it unseen would."""
    disk, keys = LossyDisk(), Keys(1)
    made = log(disk, keys.keyring())
    list(made.replay())
    location = made.next_location()
    made.append([frames.Entry(frames.Kind.BATCH, 7, MARK)])
    path = disk.segments()[0]
    whole = disk.open(path).read_at(0, disk.size(path))
    frame = frames.decode(whole, location.position)
    assert frame is not None
    sealed = frame.entries[0].data
    for position in range(len(sealed)):
        changed = sealed[:position] + bytes([sealed[position] ^ 1 << position % 8]) + sealed[position + 1 :]
        forged = frames.encode(frame.sequence, [frame.entries[0]._replace(data=changed)])
        disk.write(path, whole[: location.position] + forged)
        with pytest.raises(files.LogDamagedError, match=r"was not written there with this segment's key"):
            log_read(disk, keys, location)
    for position in range(location.position, len(whole)):  # and the head, without care for the CRC
        disk.write(path, whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        with pytest.raises(files.LogDamagedError):
            log_read(disk, keys, location)


def log_read(disk: LossyDisk, keys: Keys, location: segments.Location) -> frames.Frame:
    return log(disk, keys.keyring()).read(location)


def moved_frame(disk: LossyDisk) -> None:
    """The second frame in the place of the third, which is as long."""
    path = disk.segments()[2]
    starts = boundaries(disk, path)
    data = disk.open(path).read_at(0, disk.size(path))
    second, third = frames.decode(data, starts[1]), frames.decode(data, starts[2])
    assert second is not None
    assert third is not None
    forged = frames.encode(third.sequence, second.entries)
    disk.write(path, data[: starts[2]] + forged + data[starts[2] + third.size :])


def plain_frame(disk: LossyDisk) -> None:
    """A frame in clear, as anybody can make one."""
    path = disk.segments()[2]
    starts = boundaries(disk, path)
    data = disk.open(path).read_at(0, disk.size(path))
    frame = frames.decode(data, starts[1])
    assert frame is not None
    forged = frames.encode(frame.sequence, [frames.Entry(frames.Kind.BATCH, 1, b"forged")])
    disk.write(path, data[: starts[1]] + forged + data[starts[1] + frame.size :])


@pytest.mark.parametrize("forge", [moved_frame, plain_frame])
def test_a_frame_that_was_moved_or_made_by_somebody_else_is_refused(forge: Callable[[LossyDisk], None]) -> None:
    """By the reader of the whole log, with its segment's name."""
    disk = grown().disks["a1"]
    forge(disk)
    with pytest.raises(files.LogDamagedError, match=r"00000003\.seg: the frame at byte \d+ was not written there"):
        list(log(disk, Keys(3).keyring()).replay(whole=True))


def test_a_chunk_or_a_segment_that_was_moved_is_refused(full: World) -> None:
    """Two files change places, and with them what is bound to their names."""
    disk = full.disks["a1"]
    one, other = disk.segments()[1:3]
    first, second = (disk.open(path).read_at(0, disk.size(path)) for path in (one, other))
    disk.write(one, second)
    disk.write(other, first)
    with pytest.raises(KeyWrongError, match=r"segment 2 of copy a1.*it was changed, or moved here"):
        log(disk, full.keys["a1"].keyring()).read(segments.Location(2, 0))


def test_damage_in_chunks_is_found_by_whoever_reads_it_and_is_mended_in_place() -> None:
    """A chunk that does not open shows zeros; what is written in its place is encrypted anew."""
    disk, keys = LossyDisk(), Keys(1)
    data = random.Random(5).randbytes(1000)
    path = A1 / "00000001.seg"
    file = disk.open(path, create=True)
    writer = chunked.Writer(file, 1, LABEL, keys.keyring(), len(data), 256)
    for start in range(0, len(data), 256):
        writer.add(data[start : start + 256])
    shown = chunked.opened(file, 1, LABEL, keys.keyring())
    assert shown.read_at(0, 5000) == data
    assert [shown.read_at(start, 300) for start in (0, 200, 900)] == [data[:300], data[200:500], data[900:]]
    for position in range(disk.size(path) - 1000, disk.size(path), 7):
        shown = chunked.opened(file, 1, LABEL, keys.keyring())
        disk.damage(path, position)
        found = shown.read_at(0, 1000)
        wrong = [start for start in range(0, 1000, 256) if found[start : start + 256] != data[start : start + 256]]
        assert len(wrong) == 1
        assert set(found[wrong[0] : wrong[0] + 256]) == {0}
        shown.write_at(wrong[0], data[wrong[0] : wrong[0] + 256])
        assert chunked.opened(file, 1, LABEL, keys.keyring()).read_at(0, 1000) == data


def test_a_wrong_key_opens_nothing_and_a_missing_one_is_named() -> None:
    """Neither reads anything, nor changes a byte."""
    disk = grown().disks["a1"]
    before = content(disk)
    true = data_key(0)
    with pytest.raises(KeyWrongError, match="does not open with data key"):
        list(log(disk, Keyring([DataKey(ARN, true.blob, bytes(32))])).replay())
    with pytest.raises(KeyMissingError, match=rf"under data key {true.id} of {ARN}, which this process does not hold"):
        list(log(disk, Keyring()).replay())
    assert content(disk) == before


# -- nonces -----------------------------------------------------------------------------------------------------------


class Recorded:
    """Every key and nonce that anything is encrypted with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used: list[tuple[bytes, bytes]] = []
        real, used = AESGCM, self.used

        class Cipher:
            def __init__(self, key: bytes) -> None:
                self._key = key
                self._cipher = real(key)
                self.decrypt = self._cipher.decrypt

            def encrypt(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
                used.append((self._key, nonce))
                return self._cipher.encrypt(nonce, data, bound)

        monkeypatch.setattr(envelope, "AESGCM", Cipher)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


STEPS = st.lists(st.sampled_from(["write", "write", "write", "lose power", "kill", "rotate", "rewrite"]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 1 << 30), size=st.sampled_from([300, 1500, 1 << 20]))
def test_no_nonce_is_used_twice_under_one_key_whatever_crashes(steps: list[str], seed: int, size: int) -> None:
    """Torn frames are cut off and others written in their place; each has a nonce of its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        recorded, rng = Recorded(monkeypatch), random.Random(seed)
        disk, keys = LossyDisk(), Keys(seed)
        made, keyring = log(disk, keys.keyring(), size=size), keys.keyring()

        def start() -> segments.SegmentLog:
            nonlocal keyring
            keyring = keys.keyring(reencrypt=True)
            opened = log(disk, keyring, size=size)
            list(opened.replay())
            return opened

        made = start()
        for step in steps:
            if step == "write":
                made.next_location()
                made.append([frames.Entry(frames.Kind.BATCH, 1, rng.randbytes(rng.randrange(200)))])
            elif step == "rotate":
                keyring.use(keys.fresh(), reencrypt=True)
                made.roll()
            elif step == "rewrite":
                rewriter = Rewriter(disk, A1, made, label=LABEL, keyring=keyring)
                for held in rewriter.stale():
                    for _ in rewriter.rewrite(held.segment):
                        pass
            else:
                if step == "lose power":
                    # a frame was on its way: any beginning of it may be on the disk
                    disk.open(disk.segments()[-1]).append(rng.randbytes(rng.randrange(90)))
                    disk.lose_power(rng)
                made = start()
        assert len(recorded.used) == len(set(recorded.used))


def test_a_session_key_counts_to_its_end_and_then_there_is_another(recorded: Recorded) -> None:
    """The counter has 32 bits; no message is encrypted beyond."""
    cipher = FileCipher(bytes(32), "a file", random.Random(1).randbytes)
    first = cipher.seal(b"frame", 0, 1, 0, b"one")
    cipher._count = envelope.COUNTS_MAX - 1
    last, following = (cipher.seal(b"frame", 0, 1, 0, data) for data in (b"last", b"following"))
    assert first[:16] == last[:16] != following[:16]
    assert [cipher.open(b"frame", 0, 1, 0, sealed) for sealed in (first, last, following)] == [
        b"one",
        b"last",
        b"following",
    ]
    assert len(set(recorded.used)) == 3
    assert cipher.open(b"chunk", 0, 1, 0, first) is None
    assert cipher.open(b"frame", 0, 1, 0, first[:20]) is None
