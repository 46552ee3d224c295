"""The root key: the one secret that lies on disk, in `kms/root` of the data folder, 0600.

Either the file holds the key itself (the first start makes it and announces it), or the key sealed by a passphrase
(Argon2id and AES-256-GCM). Everything else is derived from it. Whatever is odd about the file (its mode, its owner,
its content, a wrong passphrase) means that nothing opens: there is no way around a root key that cannot be read.

Sources: RFC 9106 (Argon2id); NIST SP 800-38D.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Literal

import msgspec
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from sixfold import errors

KEY_BYTES = 32
FORMAT: Literal["sixfold-root-v1"] = "sixfold-root-v1"
PASSPHRASE_FILE = "SIXFOLD_KMS_PASSPHRASE_FILE"  # noqa: S105 (the name of a variable that holds a path)
"""Environment variable: the path of the file that holds the passphrase."""
PASSPHRASE_CHARS_MIN = 12


class RootKeyError(errors.SixfoldError):
    """The root key cannot be opened or made; the message says why and what to do. Nothing is decrypted until then."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one guess of the passphrase costs."""

    memory_kib: int = 256 * 1024
    """256 MiB: about a second a guess on a small machine."""
    iterations: int = 3
    lanes: int = 4


MEMORY_KIB_MAX, ITERATIONS_MAX, LANES_MAX = 1024 * 1024, 16, 16
"""A file that asks for more than this is refused instead of exhausting the machine."""


class Root:
    """An opened root key. Gives out what is derived from it, never itself."""

    __slots__ = ("_key", "id")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.id = hmac.digest(key, b"sixfold root v1 id", "sha256")[:8].hex()
        """A fingerprint that says which root key something was wrapped under."""

    def derive(self, purpose: str) -> bytes:
        """The 32-byte key of one purpose, such as `sts`."""
        return hmac.digest(self._key, b"sixfold root v1 derive\0" + purpose.encode(), "sha256")

    def __repr__(self) -> str:
        return f"Root({self.id})"


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What `kms/root` holds."""

    format: Literal["sixfold-root-v1"] = FORMAT
    seal: Literal["none", "passphrase"]
    key: str = ""
    """With seal `none`: the key, base64."""
    cost: Cost | None = None
    salt: str = ""
    iv: str = ""
    sealed: str = ""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a root key without opening it."""

    path: str
    exists: bool
    seal: str = ""
    problem: str = ""


def path_of(data_dir: Path) -> Path:
    """Where the root key lies."""
    return data_dir / "kms" / "root"


def status(data_dir: Path) -> Status:
    """What is known of the root key of `data_dir` without opening it."""
    path = path_of(data_dir)
    try:
        if not _exists(path):
            return Status(path=str(path), exists=False)
        return Status(path=str(path), exists=True, seal=_load(path).seal)
    except RootKeyError as error:
        return Status(path=str(path), exists=True, problem=str(error))


def create(data_dir: Path, *, passphrase: str | None = None, cost: Cost | None = None) -> Path:
    """Make a root key, sealed by `passphrase` if one is given.

    Raises RootKeyExistsError where there is one already, RootKeyError where it cannot be written.
    """
    key = secrets.token_bytes(KEY_BYTES)
    if passphrase is None:
        content = _File(seal="none", key=_text(key))
    else:
        if len(passphrase) < PASSPHRASE_CHARS_MIN:
            raise RootKeyError(
                f"the passphrase has {len(passphrase)} characters, expected {PASSPHRASE_CHARS_MIN} or more"
            )
        cost, salt, iv = cost or Cost(), secrets.token_bytes(16), secrets.token_bytes(12)
        sealed = AESGCM(_stretch(passphrase, salt, cost)).encrypt(iv, key, FORMAT.encode())
        content = _File(seal="passphrase", cost=cost, salt=_text(salt), iv=_text(iv), sealed=_text(sealed))
    path = path_of(data_dir)
    _write_new(path, msgspec.json.encode(content) + b"\n")
    return path


def open_or_create(data_dir: Path) -> Root:
    """The root key; the first start makes an unsealed one and announces where it lies. Raises RootKeyError."""
    path = path_of(data_dir)
    if not _exists(path):
        try:
            create(data_dir)
        except RootKeyExistsError:
            return open_root(data_dir)  # another process of the same first start was quicker
        structlog.get_logger().warning(
            "a new root key was made: back this file up, whoever has it has every key",
            action="kms.root.created",
            path=str(path),
        )
    return open_root(data_dir)


def open_root(data_dir: Path, *, passphrase: str | None = None) -> Root:
    """Open the root key; a sealed one by `passphrase`, or by the file that the environment names.

    Raises RootKeyError on whatever is not as it should be.
    """
    path = path_of(data_dir)
    content = _load(path)
    if content.seal == "none":
        return Root(_bytes(path, content.key, KEY_BYTES))
    passphrase = passphrase if passphrase is not None else _passphrase_from_environment(path)
    cost = content.cost or Cost()
    if not (
        8 * cost.lanes <= cost.memory_kib <= MEMORY_KIB_MAX
        and 1 <= cost.iterations <= ITERATIONS_MAX
        and 1 <= cost.lanes <= LANES_MAX
    ):
        raise RootKeyError(f"{path}: it asks for {cost}, which is out of bounds; restore the file from its backup")
    stretched = _stretch(passphrase, _bytes(path, content.salt, 16), cost)
    try:
        sealed = _bytes(path, content.sealed, KEY_BYTES + 16)
        return Root(AESGCM(stretched).decrypt(_bytes(path, content.iv, 12), sealed, FORMAT.encode()))
    except InvalidTag as error:
        raise RootKeyError(f"{path}: the passphrase does not open it, or the file was changed") from error


def read_passphrase(path: Path) -> str:
    """The passphrase in a file of which only the owner may read. Raises RootKeyError."""
    try:
        _check_private(path)
        passphrase = path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RootKeyError(f"{path}: the passphrase cannot be read: {error}") from error
    return passphrase


def _passphrase_from_environment(path: Path) -> str:
    named = os.environ.get(PASSPHRASE_FILE)
    if not named:
        raise RootKeyError(
            f"{path} is sealed by a passphrase; name a 0600 file that holds it in {PASSPHRASE_FILE}, then start again"
        )
    return read_passphrase(Path(named))


class RootKeyExistsError(RootKeyError):
    """There is a root key already; another would make every key under it unreadable."""


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that nobody sees half-written, and never over another. Raises RootKeyError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            _link_new(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise RootKeyError(
            f"{path} cannot be written: {error.strerror}; it needs room, and a folder that this user may write to"
        ) from error


def _link_new(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError as error:
        raise RootKeyExistsError(f"{path} exists already; nothing was changed") from error


def _exists(path: Path) -> bool:
    """Whether there is a root key. What cannot be looked at may be one, so it is no reason to make another."""
    try:
        return path.exists()
    except OSError as error:
        raise RootKeyError(
            f"{path} cannot be looked at: {error.strerror}; this user needs to read its folder"
        ) from error


def _load(path: Path) -> _File:
    try:
        _check_private(path)
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError as error:
        raise RootKeyError(
            f"{path} is missing; restore it from its backup, or `sixfold kms init` for a new one"
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise RootKeyError(f"{path} cannot be read as a root key: {error}; restore it from its backup") from error


def _check_private(path: Path) -> None:
    found = path.stat()
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise RootKeyError(f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, expected 0600: chmod 600 {path}")
    if found.st_uid != os.geteuid():
        raise RootKeyError(f"{path} belongs to user {found.st_uid}, expected {os.geteuid()}, who runs this process")


def _stretch(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    function = Argon2id(
        salt=salt, length=KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    )
    # A passphrase of any length is one block for Argon2id, so its own limits never show.
    return function.derive(hashlib.sha512(passphrase.encode()).digest())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(path: Path, text: str, length: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != length:
        raise RootKeyError(f"{path}: a field is not {length} bytes of base64; restore the file from its backup")
    return data
