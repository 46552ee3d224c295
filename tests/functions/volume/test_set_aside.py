"""A copy whose log does not open sets its folder aside and begins anew, where the others can bear it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.functions.volume import inside
from tests.functions.volume.test_rejoining import PATIENT
from tests.support.waiting import eventually

from sixfold_functions.volume.core import layout
from sixfold_functions.volume.rejoining import NotSetAsideError

RECORDS = [f"record {number}".encode() * 20 for number in range(40)]


async def written(volume: inside.InsideVolume) -> None:
    """All six copies have all records."""
    await volume.start(*layout.COPIES)
    async with volume.writer(settings=PATIENT) as writer:
        for record in RECORDS:
            await writer.append([record])
        await eventually(lambda: volume.is_level(len(RECORDS)), "all have all", 60.0)


def rot(folder: Path) -> bytes:
    """Damage the middle of the newest segment; what it is now."""
    path = max(folder.glob("*.seg"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    return bytes(data)


def lose_tail(folder: Path) -> None:
    """The disk did not keep the last frames: what is left looks like a torn write."""
    path = max(folder.glob("*.seg"))
    path.write_bytes(path.read_bytes()[:-200])


def aside(volume: inside.InsideVolume, copy: str) -> list[Path]:
    folder = volume.folder(copy)
    return sorted(folder.parent.glob(f"{folder.name}.damaged-*"))


@pytest.mark.parametrize("how", ["rot", "tail"])
async def test_a_damaged_copy_begins_anew_and_is_level_and_its_folder_is_kept(tmp_path: Path, how: str) -> None:
    """Bit rot, or a durable point that went back: it is a new member, which counts once it is level and admitted."""
    async with inside.opened(tmp_path) as volume:
        await written(volume)
        await volume.stop("b2")
        if how == "rot":
            rot(volume.folder("b2"))
        else:
            lose_tail(volume.folder("b2"))
        before = max(volume.folder("b2").glob("*.seg")).read_bytes()
        await volume.start("b2")
        (kept,) = aside(volume, "b2")
        assert before.startswith(max(kept.glob("*.seg")).read_bytes()), "at most its torn end was cut off"
        async with volume.client() as client:
            states = {copy.copy: copy.state for copy in (await client.status()).copies}
        assert states["b2"] == "joining", "it counts for nothing, although its partition begins with the first record"
        async with volume.writer(settings=PATIENT):
            await eventually(lambda: volume.is_level(len(RECORDS)), "it is level and counts", 60.0)
        async with volume.client() as client:
            assert (await client.read(1, 100, copy="b2", timeout_s=10.0)).payloads == RECORDS


async def test_where_too_few_others_count_a_person_is_asked(tmp_path: Path) -> None:
    """What the folder holds may be needed, so nothing is moved; the message says whom to start."""
    async with inside.opened(tmp_path) as volume:
        await written(volume)
        await volume.stop("b2", "c1", "c2")
        before = rot(volume.folder("b2"))
        with pytest.raises(
            NotSetAsideError, match=r"3 of the other copies answer and count .* sixfold volume start all"
        ):
            await volume.start("b2")
        assert aside(volume, "b2") == []
        assert max(volume.folder("b2").glob("*.seg")).read_bytes() == before


async def test_a_copy_that_is_damaged_again_is_not_moved_again(tmp_path: Path) -> None:
    """Its disk should be looked at; removing the first folder is the word that it was."""
    async with inside.opened(tmp_path) as volume:
        await written(volume)
        await volume.stop("a1")
        rot(volume.folder("a1"))
        (volume.folder("a1").parent / "a1.damaged-1").mkdir()
        with pytest.raises(NotSetAsideError, match=r"a1\.damaged-1 is still there: look at the disk"):
            await volume.start("a1")
        (volume.folder("a1").parent / "a1.damaged-1").rmdir()
        await volume.start("a1")
        assert len(aside(volume, "a1")) == 1
