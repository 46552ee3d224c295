"""The object store's promises (`sixfold.objects.Objects`), kept by the folder store."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sixfold import objects

BIG = bytes(range(256)) * 4096  # 1 MiB: several chunks


@pytest.fixture
def store(tmp_path: Path) -> objects.FolderObjects:
    return objects.FolderObjects(tmp_path / "artifacts")


async def stream(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "small", "big"])
async def test_bytes_a_file_and_a_stream_of_the_same_content_are_one_object(
    store: objects.FolderObjects, tmp_path: Path, data: bytes
) -> None:
    """An object's name is the SHA-256 of its bytes, however they came; all ways to read give them back."""
    file = tmp_path / "source"
    file.write_bytes(data)
    digests = {await store.put(data), await store.put(file), await store.put(stream(data))}
    assert digests == {hashlib.sha256(data).hexdigest()}
    digest = digests.pop()
    assert await store.get(digest) == data
    assert b"".join([chunk async for chunk in store.open(digest)]) == data
    assert await store.save(digest, tmp_path / "copy") == len(data)
    assert (tmp_path / "copy").read_bytes() == data
    assert [path.name for path in store.folder.iterdir()] == [digest]


async def test_a_changed_object_is_never_given_out(store: objects.FolderObjects, tmp_path: Path) -> None:
    """Every way to read checks the digest; the last chunk of a changed object is withheld and no file is left."""
    digest = await store.put(BIG)
    (store.folder / digest).write_bytes(BIG[:-1] + b"!")
    with pytest.raises(objects.CorruptObjectError, match="changed or damaged"):
        await store.get(digest)
    given: list[int] = []

    async def read() -> None:
        async for chunk in store.open(digest):
            given.append(len(chunk))

    with pytest.raises(objects.CorruptObjectError):
        await read()
    assert 0 < sum(given) < len(BIG)
    with pytest.raises(objects.CorruptObjectError):
        await store.save(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


async def test_a_stream_that_breaks_off_stores_nothing(store: objects.FolderObjects) -> None:
    """Half an object is never seen under any name."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await store.put(broken())
    assert list(store.folder.iterdir()) == []


async def test_a_limit_on_size_holds(store: objects.FolderObjects) -> None:
    """`bytes_max` refuses more, on the way in and on the way out, and leaves nothing."""
    with pytest.raises(objects.ObjectTooLargeError):
        await store.put(stream(BIG), bytes_max=10)
    with pytest.raises(objects.ObjectTooLargeError):
        await store.put(BIG, bytes_max=10)
    assert list(store.folder.iterdir()) == []
    digest = await store.put(BIG)
    with pytest.raises(objects.ObjectTooLargeError):
        await store.get(digest, bytes_max=10)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
async def test_only_a_digest_can_name_an_object(store: objects.FolderObjects, name: str) -> None:
    """A name from an event or a request can never become a path outside the store."""
    with pytest.raises(objects.ObjectNotFoundError, match="64 lower-case hex digits"):
        await store.get(name)


async def test_an_object_that_is_not_there_says_so(store: objects.FolderObjects) -> None:
    """Reading what was never put raises ObjectNotFoundError; `exists` is False."""
    assert not await store.exists("0" * 64)
    with pytest.raises(objects.ObjectNotFoundError, match="no object"):
        await store.get("0" * 64)


async def test_the_same_object_put_by_many_at_once_is_whole(store: objects.FolderObjects) -> None:
    """Writers of one object do not disturb each other."""
    digests = await asyncio.gather(*(store.put(BIG) for _ in range(8)))
    assert len(set(digests)) == 1
    assert await store.get(digests[0]) == BIG
    assert len(list(store.folder.iterdir())) == 1
