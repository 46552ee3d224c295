"""Who may call the gateway: random tokens in files of their owners, their hashes in records of the gateway.

A credential is two files in `<data_dir>/credentials` (0700): `<kind>-<name>.token` (0600) holds the token, for the
one who calls; `<kind>-<name>.json` its SHA-256, for the one who checks. A token has 256 random bits, so a plain hash
keeps it. Deleting the record takes the access away.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
from pathlib import Path

from sixfold import clock as clocks
from sixfold import errors
from sixfold.gateway.route import Principal

FOLDER = "credentials"
BOOTSTRAP = "bootstrap.token"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KIND = re.compile(r"[a-z]{1,16}")
_TOKEN_BYTES = 32
_TOKEN_CHARS_MAX = 256
# A folder's modification time is coarse: what was read this soon after a change may miss the next one.
_SETTLED_S = 1.0


class CredentialError(errors.SixfoldError):
    """A credential cannot be made or read; the message says which file and what to do."""


def create(data_dir: Path, *, kind: str, name: str) -> Path:
    """Make the credential of `name` unless it exists; returns the path of its token (0600)."""
    if not _KIND.fullmatch(kind):
        raise CredentialError(f"credential kind {kind!r}: expected lower-case letters, at most 16")
    if not _NAME.fullmatch(name):
        raise CredentialError(f"credential name {name!r}: expected letters, digits, '.', '_' and '-', at most 64")
    return _create(data_dir, f"{kind}-{name}", Principal(kind, name))


def bootstrap(data_dir: Path) -> Path:
    """Make the operator's credential unless it exists; returns the path of its token (0600)."""
    return _create(data_dir, BOOTSTRAP.removesuffix(".token"), Principal("operator", "bootstrap"))


def token(path: Path) -> str:
    """The token in a credential's file. Raises CredentialError where there is none."""
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise CredentialError(
            f"no credential at {path} ({error.strerror}); the first `sixfold up` makes it, or check --data-dir"
        ) from error
    if not text:
        raise CredentialError(f"{path} is empty; delete it, and the next `sixfold up` makes a new one")
    return text


def _create(data_dir: Path, stem: str, principal: Principal) -> Path:
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{stem}.token"
    if not path.exists():
        _place(path, secrets.token_urlsafe(_TOKEN_BYTES) + "\n", replace=False)
    record = {"kind": principal.kind, "name": principal.name, "sha256": _digest(token(path))}
    record_path = folder / f"{stem}.json"
    if not record_path.exists() or _read(record_path) != record:
        _place(record_path, json.dumps(record) + "\n", replace=True)
    return path


def _place(path: Path, text: str, *, replace: bool) -> None:
    """Write a 0600 file that appears whole or not at all; without `replace` the first of several writers wins."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _read(path: Path) -> dict[str, str] | None:
    try:
        record = json.loads(path.read_text())
        return {field: str(record[field]) for field in ("kind", "name", "sha256")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Verifier:
    """Says whose token it is; sees credentials that are made or deleted while it runs."""

    def __init__(self, data_dir: Path, clock: clocks.Clock | None = None) -> None:
        self._folder = data_dir / FOLDER
        self._clock = clock or clocks.SystemClock()
        self._records: list[tuple[bytes, Principal]] = []
        self._seen_ns = -1
        self._settled = False

    def principal(self, token: str) -> Principal | None:
        """The owner of `token`, None where nobody is. Compares with every record, in constant time each."""
        if not token or len(token) > _TOKEN_CHARS_MAX:
            return None
        self._refresh()
        offered = _digest(token).encode()
        found: Principal | None = None
        for digest, principal in self._records:
            if hmac.compare_digest(digest, offered):
                found = principal
        return found

    def signer(self, access_key: str) -> tuple[str, Principal] | None:
        """The secret that goes with an AWS access key id, and whose it is: `bootstrap` and its token; else None."""
        if access_key != BOOTSTRAP.removesuffix(".token"):
            return None
        try:
            secret = token(self._folder / BOOTSTRAP)
        except CredentialError:
            return None
        principal = self.principal(secret)
        return None if principal is None else (secret, principal)

    def _refresh(self) -> None:
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except OSError:
            self._records, self._seen_ns = [], -1
            return
        if changed_ns == self._seen_ns and self._settled:
            return
        self._settled = self._clock.now() - changed_ns / 1e9 > _SETTLED_S
        self._seen_ns = changed_ns
        read = (_read(path) for path in sorted(self._folder.glob("*.json")))
        self._records = [
            (record["sha256"].encode(), Principal(record["kind"], record["name"])) for record in read if record
        ]
