"""The key that signs commands: made once, kept 0600 in `<data_dir>/deploy`; agents hold its public half alone."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sixfold.errors import SixfoldError
from sixfold.process import Process

PRIVATE_NAME = "signing.key"
PUBLIC_NAME = "signing.pub"


class SigningKeyError(SixfoldError):
    """A key file is not what it should be."""


def ensure(data_dir: Path) -> Path:
    """Make the key pair where there is none yet; the public key's file. Safe for several processes at once."""
    folder = data_dir / "deploy"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private_path, public_path = folder / PRIVATE_NAME, folder / PUBLIC_NAME
    if not private_path.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write_new(private_path, pem)
    if not public_path.exists():
        pem = (
            private_key(private_path)
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        _write_new(public_path, pem)
    return public_path


def _write_new(path: Path, data: bytes) -> None:
    """Whole, durable and 0600, or not at all; the first of several writers wins."""
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)


def private_key(path: Path) -> Ed25519PrivateKey:
    """The private key in `path`. Raises SigningKeyError where it is open to others, or no Ed25519 key."""
    if path.stat().st_mode & 0o077:
        raise SigningKeyError(f"{path} can be read by others; run `chmod 600 {path}`")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except ValueError as error:
        raise SigningKeyError(f"{path} is no private key: {error}; delete it to have a new one made") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{path} holds a {type(key).__name__}, expected an Ed25519 private key")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """The public key in `path`. Raises SigningKeyError where it holds none."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except ValueError as error:
        raise SigningKeyError(f"{path} is no public key: {error}; copy signing.pub from the system again") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError(f"{path} holds a {type(key).__name__}, expected an Ed25519 public key")
    return key


def open_signer(process: Process) -> Ed25519PrivateKey:
    """The system's signing key: `await ctx.resource(signing.open_signer)` in a handler."""
    ensure(process.data_dir)
    return private_key(process.data_dir / "deploy" / PRIVATE_NAME)
