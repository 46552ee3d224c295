"""The object store behind a port: a folder by default, S3, Google Cloud Storage or Azure by URL.

Synchronous, since whoever uses it does so in a thread. obstore's own folder store returns before anything is on the
disk, so a folder's objects are written here: a file of another name, synced, then linked to its own.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sixfold import errors, objects

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("file", "s3", "gs", "az", "memory")


class StoreError(errors.SixfoldError):
    """The object store does not do what it was asked for."""


class ObjectMissingError(StoreError):
    """There is no object of that name (any more)."""


class Item(NamedTuple):
    """An object in a listing."""

    name: str
    size: int


class Store(Protocol):
    """Objects by name, below one prefix. All methods raise StoreError, and may have done what they then fail to report.

    What `create` and `replace` returned from survives a loss of power. A listing has every object that was there when
    it began and was not deleted meanwhile.
    """

    @property
    def url(self) -> str:
        """Where it is, without credentials."""

    def names(self, prefix: str = "") -> list[Item]:
        """Objects whose names begin with a whole folder `prefix`, sorted."""

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """The object, or `size` bytes of it from `start` on, fewer at its end. Raises ObjectMissingError."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a new object, whole or not at all. False, and nothing is changed, where there is one already."""

    def replace(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all, in place of one that is there."""

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens where there is none."""


class ObjectsStore:
    """A `Store` on obstore."""

    def __init__(self, store: ObjectStore, url: str) -> None:
        self._opened = store
        self._url = url

    @property
    def _store(self) -> ObjectStore:
        return self._opened

    @property
    def url(self) -> str:
        return self._url

    def names(self, prefix: str = "") -> list[Item]:
        import obstore

        with self._failures("list", prefix):
            rows = itertools.chain.from_iterable(obstore.list(self._store, prefix=prefix or None))
            return sorted(Item(row["path"], row["size"]) for row in rows)

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        import obstore

        with self._failures("read", name):
            if size is None:
                return bytes(obstore.get(self._store, name).bytes())[start:]
            return bytes(obstore.get_range(self._store, name, start=start, length=size))

    def create(self, name: str, data: bytes) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._failures("write", name):
            try:
                obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    def replace(self, name: str, data: bytes) -> None:
        import obstore

        with self._failures("write", name):
            obstore.put(self._store, name, data, use_multipart=False)

    def delete(self, name: str) -> None:
        import obstore

        with self._failures("delete", name), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    @contextlib.contextmanager
    def _failures(self, verb: str, name: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise ObjectMissingError(f"{self._url} has no object {name}") from None
        except (BaseError, OSError, ValueError) as error:
            said = str(error).partition("\n")[0]
            raise StoreError(
                f"{self._url}: expected to {verb} {name or 'its objects'}, found: {said}. Look at the URL, the credentials "
                "in the environment and the network"
            ) from error


class FolderStore(ObjectsStore):
    """A folder of this machine; the first object that is written makes it."""

    def __init__(self, folder: Path) -> None:
        self._url = folder.as_uri()
        self._folder = folder
        self._count = itertools.count()

    @functools.cached_property
    def _store(self) -> ObjectStore:
        from obstore.store import LocalStore

        return LocalStore(self._folder)

    def names(self, prefix: str = "") -> list[Item]:
        return super().names(prefix) if self._folder.is_dir() else []

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        if not self._folder.is_dir():
            raise ObjectMissingError(f"{self.url} has no object {name}: there is no such folder")
        return super().read(name, start, size)

    def delete(self, name: str) -> None:
        if self._folder.is_dir():
            super().delete(name)

    def create(self, name: str, data: bytes) -> bool:
        with self._failures("write", name), self._written(name, data) as (written, path):
            try:
                os.link(written, path)
            except FileExistsError:
                return False
            objects.sync_folder(path.parent)
            return True

    def replace(self, name: str, data: bytes) -> None:
        with self._failures("write", name), self._written(name, data) as (written, path):
            written.replace(path)
            objects.sync_folder(path.parent)

    @contextlib.contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[tuple[Path, Path]]:
        """`data` on the disk under a name that no listing shows, and where it belongs."""
        path = self._folder / name
        for missing in reversed([each for each in path.parents if not each.exists()]):
            missing.mkdir(exist_ok=True, mode=0o700)
            objects.sync_folder(missing.parent)
        # obstore passes files of such names over, as it makes them itself.
        written = path.with_name(f"{path.name}#{os.getpid()}{next(self._count)}")
        try:
            descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            yield written, path
        finally:
            written.unlink(missing_ok=True)


def open_store(url: str) -> Store:
    """The store at `url`: a path, `file:///…`, `s3://bucket/prefix`, `gs://…`, `az://container/prefix` or `memory:///`.

    Credentials, regions and endpoints come from the environment, as each provider names them (AWS_ACCESS_KEY_ID,
    AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME …). Raises UsageError for a URL that is
    none of these.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "" or (parts.scheme == "file" and not parts.netloc):
        path = Path(urllib.parse.unquote(parts.path) if parts.scheme else url)
        return FolderStore(path.absolute())
    if parts.scheme not in SCHEMES or parts.scheme == "file":
        raise errors.UsageError(f"{_public(url)}: expected a folder or a URL of {', '.join(SCHEMES)}")
    if parts.username or parts.password:
        raise errors.UsageError(
            f"{_public(url)}: a URL of a backup holds no credentials, since it is shown and recorded; set them in the "
            "environment"
        )
    import obstore.exceptions
    from obstore.store import S3Store, from_url

    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    try:
        made = S3Store.from_url(url, client_options={"allow_http": plain}) if parts.scheme == "s3" else from_url(url)
    except (obstore.exceptions.BaseError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise errors.UsageError(f"{_public(url)} cannot be opened: {said}") from error
    return ObjectsStore(made, url)


def _public(url: str) -> str:
    """`url` without what may be a password."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


class Below:
    """A folder of a store: one volume's backup."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._folder = folder.rstrip("/") + "/"

    @property
    def url(self) -> str:
        return self._store.url

    def names(self, prefix: str = "") -> list[Item]:
        found = self._store.names(self._folder + prefix)
        return [Item(each.name.removeprefix(self._folder), each.size) for each in found]

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        return self._store.read(self._folder + name, start, size)

    def create(self, name: str, data: bytes) -> bool:
        return self._store.create(self._folder + name, data)

    def replace(self, name: str, data: bytes) -> None:
        self._store.replace(self._folder + name, data)

    def delete(self, name: str) -> None:
        self._store.delete(self._folder + name)


class MemoryStore:
    """Objects of this process, for tests and for restoring into memory."""

    url = "memory:///"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def names(self, prefix: str = "") -> list[Item]:
        folder = prefix.rstrip("/") + "/" if prefix else ""
        return sorted(Item(name, len(data)) for name, data in self.objects.items() if name.startswith(folder))

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        if name not in self.objects:
            raise ObjectMissingError(f"{self.url} has no object {name}")
        return self.objects[name][start : None if size is None else start + size]

    def create(self, name: str, data: bytes) -> bool:
        if name in self.objects:
            return False
        self.objects[name] = data
        return True

    def replace(self, name: str, data: bytes) -> None:
        self.objects[name] = data

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)
