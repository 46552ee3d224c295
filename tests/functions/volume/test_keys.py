"""Copies that get their data keys from the real key service, by requests through the log, in real sessions."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.functions.kms.system import System, running_system
from tests.functions.volume.inside import InsideVolume
from tests.support import buses
from tests.support.waiting import eventually

from sixfold import clock as clocks
from sixfold import errors, system
from sixfold.process import Process
from sixfold_events.volume import VolumeKeysAnswered
from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume import storage, topics
from sixfold_functions.volume.core import layout, pages, prefix
from sixfold_functions.volume.encryption import custody, envelope, inventory, settings
from sixfold_functions.volume.encryption.keyring import Keyring
from sixfold_functions.volume.pages import layer

MARK = b"secret-payload"
ALIAS = "alias/volume"


@pytest.fixture
async def kms(tmp_path: Path) -> AsyncIterator[System]:
    """The key service with one key, and a gateway that issues sessions."""
    async with running_system(buses.Place("embedded:", tmp_path)) as running:
        await running.key(ALIAS)
        yield running


@pytest.fixture
async def volume(kms: System) -> AsyncIterator[InsideVolume]:
    """Copies that do not run yet, on the same bus."""
    made = InsideVolume(kms.bus, kms.data_dir)
    made.options = {"kms-key": ALIAS, "gateway-url": kms.url}
    await kms.bus.create_topics(topics.specs())
    try:
        yield made
    finally:
        await made.close()


async def keys(volume: InsideVolume, copy: str, **asked: bool) -> VolumeKeysAnswered:
    clock = clocks.SystemClock()
    reader = readers.CopyReader(volume.bus, registry=volume.registry, clock=clock, volume=layout.DEFAULT_VOLUME)
    async with reader:
        return await reader.keys(copy, timeout_s=30.0, **asked)


def files_with(folder: Path, wanted: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and wanted in path.read_bytes()]


async def test_six_copies_are_encrypted_rotated_and_written_anew_and_no_key_lies_anywhere(
    kms: System, volume: InsideVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of the data folder is searched for every data key; the copies' own for the payload too."""
    made: list[envelope.DataKey] = []

    def recorded(*fields: Any) -> envelope.DataKey:
        made.append(envelope.DataKey(*fields))
        return made[-1]

    monkeypatch.setattr(custody, "DataKey", recorded)
    with capture_logs() as said:
        await volume.start(*layout.COPIES)
        async with volume.writer() as writer:
            last = await writer.append([MARK + b"%d" % number for number in range(50)])
            before = {copy: await keys(volume, copy) for copy in layout.COPIES}
            assert all([use.current for use in each.keys] == [True] for each in before.values())
            assert len({use.data_key for each in before.values() for use in each.keys}) == 6
            for copy in layout.COPIES:
                answer = await keys(volume, copy, rotate=True, reencrypt=True)
                assert not answer.error

            async def written(copy: str) -> bool:
                return (await keys(volume, copy)).left_files == 0

            for copy in layout.COPIES:
                await eventually(lambda copy=copy: written(copy), f"{copy} was written anew")  # type: ignore[misc]
                (use,) = (await keys(volume, copy)).keys
                assert use.current
                assert use.files == 2
                assert use.data_key != before[copy].keys[0].data_key
            last = await writer.append([MARK + b"after"])
            await volume.stop("a1")
            await volume.start("a1")
            await eventually(lambda: volume.is_level(last.last_lsn), "all six are level")
    async with volume.client() as client:
        for copy in ("a1", "c2"):
            found = await client.read(1, 100, copy=copy, timeout_s=10.0)
            assert found.payloads == [*(MARK + b"%d" % number for number in range(50)), MARK + b"after"]
    assert len(made) == 13
    assert files_with(kms.data_dir / "volume", MARK) == []
    for key in made:
        for shape in (key.plaintext, base64.b64encode(key.plaintext), key.plaintext.hex().encode()):
            assert files_with(kms.data_dir, shape) == []
        assert repr(key.plaintext) not in repr(said)
        assert repr(key.plaintext) not in repr(key)
    audited = await kms.audited("GenerateDataKey")
    assert audited["requestParameters"]["encryptionContext"]["volume"] == "default"
    assert audited["requestParameters"]["encryptionContext"]["copy"] in layout.COPIES


async def test_a_role_that_may_make_keys_and_not_open_them_starts_a_copy_once(
    kms: System, volume: InsideVolume
) -> None:
    """What the policy says counts at each start; the copy ends with what to do, and changes nothing."""
    await kms.issuer()
    await kms.role("storage", [{"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": "*"}])
    token = kms.data_dir / "storage.jwt"
    token.write_text(kms.token())
    volume.options |= {"kms-role": "storage", "kms-token-file": str(token)}
    await volume.start("a1")
    await volume.stop("a1")
    before = {path.name: path.read_bytes() for path in volume.folder("a1").iterdir()}
    with pytest.raises(custody.KeyRefusedError, match=r"copy a1 of volume default: .*AccessDenied.*kms:Decrypt"):
        await volume.start("a1")
    assert {path.name: path.read_bytes() for path in volume.folder("a1").iterdir()} == before
    allowed = {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*"}
    context = {"StringEquals": {"kms:EncryptionContext:copy": "a1"}}
    await kms.role("storage", [{**allowed, "Condition": context}])

    async def starts() -> bool:
        try:
            await volume.start("a1")
        except custody.KeyRefusedError:
            return False  # a role that was defined anew counts within a quarter of a second
        return True

    await eventually(starts, "the role may open keys now")
    with pytest.raises(custody.KeyRefusedError, match="AccessDenied"):
        await volume.start("b1")


async def test_a_copy_waits_for_the_key_service_and_says_so(kms: System, volume: InsideVolume) -> None:
    """No gateway is known at its start; it goes on by itself when there is one. One that was told to stop does."""
    del volume.options["gateway-url"]
    with capture_logs() as said:
        starting = asyncio.create_task(volume.start("a1"))
        await eventually(lambda: [each for each in said if each.get("action") == "volume.key.waiting"], "it says so")
        assert "no gateway runs on" in said[-1]["error"]
        assert not starting.done()
        system.write(kms.data_dir, system.System(pid=1, bus_url="embedded:", gateway_url=kms.url))
        await starting
    assert [use.current for use in (await keys(volume, "a1")).keys] == [True]


async def test_a_copy_that_is_stopped_while_it_waits_ends(kms: System, volume: InsideVolume) -> None:
    """SIGTERM is not waited for either."""
    process = Process(
        name="a1",
        data_dir=kms.data_dir,
        registry=volume.registry,
        bus=kms.bus,
        options={"copy": "a1", "kms-key": ALIAS},
    )
    with capture_logs() as said:
        running = asyncio.create_task(storage.run(process))
        await eventually(lambda: said, "it waits")
        process.stopping.set()
        await asyncio.wait_for(running, 10)
    assert not volume.folder("a1").exists()


async def test_a_plain_copy_is_encrypted_from_the_start_at_which_a_key_is_named(
    kms: System, volume: InsideVolume
) -> None:
    """What it had stays in plain until it is written anew; without a key it says that it has none."""
    key, volume.options = volume.options, {}
    await volume.start(*layout.COPIES)
    async with volume.writer() as writer:
        await writer.append([MARK + b"one"])
    assert files_with(volume.folder("a1"), MARK) == ["00000001.seg"]
    refused = await keys(volume, "a1", rotate=True)
    assert "is in plain, and no key is named for it" in refused.error
    assert [(use.data_key, use.current) for use in refused.keys] == [("", True)]
    await volume.stop("a1")
    volume.options = key
    await volume.start("a1")
    assert [(bool(use.data_key), use.current) for use in (await keys(volume, "a1")).keys] == [
        (False, False),
        (True, True),
    ]
    async with volume.writer() as writer:
        last = await writer.append([MARK + b"two"])
        await eventually(lambda: volume.is_level(last.last_lsn), "all six are level")
    assert files_with(volume.folder("a1"), MARK + b"two") == []
    assert files_with(volume.folder("a2"), MARK + b"two") == ["00000001.seg"]
    assert (await keys(volume, "a1", rotate=True, reencrypt=True)).left_files == 2

    async def written() -> bool:
        return (await keys(volume, "a1")).left_files == 0

    await eventually(written, "it was written anew")
    assert files_with(volume.folder("a1"), MARK) == []
    volume.options = {"gateway-url": kms.url}  # the log names its key from now on
    await volume.stop("a1")
    await volume.start("a1")
    async with volume.client() as client:
        found = await client.read(1, 10, copy="a1", timeout_s=10.0)
    assert found.payloads == [MARK + b"one", MARK + b"two"]


async def test_a_key_that_is_not_there_is_named_with_what_to_do(volume: InsideVolume) -> None:
    """At the start, and at a rotation of a copy that runs, which goes on."""
    volume.options["kms-key"] = "alias/nowhere"
    with pytest.raises(custody.KeyRefusedError, match=r"NotFoundException.*sixfold kms create-key --alias"):
        await volume.start("a1")


def test_role_and_token_belong_together() -> None:
    """Options come before the environment; half of the two is refused."""
    environment = {"SIXFOLD_VOLUME_KMS_KEY": "alias/other", "SIXFOLD_VOLUME_GATEWAY_URL": "http://gateway:6480"}
    found = settings.read({"kms-key": ALIAS}, environment)
    assert (found.kms_key, found.gateway_url, found.role) == (ALIAS, "http://gateway:6480", "")
    with pytest.raises(errors.UsageError, match=r"belong together.*found a role only"):
        settings.read({"kms-role": "storage"}, {})


async def test_the_keys_of_layers_of_pages_are_asked_for_as_well(kms: System, volume: InsideVolume) -> None:
    """A layer may be under an older data key than any segment; a start has it all the same, and `keys` counts it."""
    await volume.start("a1")
    await volume.stop("a1")
    async with kms.client(await kms.operator()) as client:
        made = await client.generate_data_key(ALIAS, {"volume": layout.DEFAULT_VOLUME, "copy": "a1"})
    older = envelope.DataKey(made.key_id, made.ciphertext_blob, made.plaintext)
    disk, folder = disks.OsDisk(), volume.folder("a1") / inventory.PAGES
    disk.make_folder(folder)
    place = layer.Place(disk, folder, f"copy a1 of volume {layout.DEFAULT_VOLUME}", Keyring(current=older))
    writer = layer.LayerWriter(place, layer.Range(0, prefix.End(), 1), 4096)
    writer.add(pages.image_of(1, 0, MARK * 100))
    writer.finish([])
    assert files_with(folder, MARK) == []
    with capture_logs():
        await volume.start("a1")
    uses = (await keys(volume, "a1")).keys
    assert {use.data_key: (use.files, use.current) for use in uses if not use.current} == {older.id: (1, False)}
    answer = await keys(volume, "a1", rotate=True, reencrypt=True)
    assert answer.left_files == 2
    assert {use.kms_key for use in answer.keys} == {made.key_id}
