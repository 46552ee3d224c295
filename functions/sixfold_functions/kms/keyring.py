"""Keys and aliases: the fold of `kms.keys`, and the wrapping of key material. Pure.

The log holds key material only wrapped under the domain key, which is derived from the root key; the wrapping is a
blob whose context names key and version, so material cannot be moved from one to another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from sixfold_events.kms import AliasChanged, KeyChanged
from sixfold_functions.kms import blob

ACCOUNT = "000000000000"
REGION = "local"
ARN_PREFIX = f"arn:aws:kms:{REGION}:{ACCOUNT}:"
DOMAIN_ID = bytes(15) + b"\x01"
"""Epoch 1 of the domain key, in the place of a blob's key version id."""

ALIAS = re.compile(r"alias/[a-zA-Z0-9/_-]{1,250}\Z", re.ASCII)


class Domain(NamedTuple):
    """The key that key material is wrapped under, and the fingerprint of the root key that it comes from."""

    key: bytes
    root_id: str

    def __repr__(self) -> str:
        return f"Domain({self.root_id})"


class Key(NamedTuple):
    """One key, its material wrapped."""

    key_id: str
    state: str
    description: str
    versions: dict[str, bytes]
    current_version: str
    root_id: str
    created_at_ms: int

    @property
    def arn(self) -> str:
        return f"{ARN_PREFIX}key/{self.key_id}"


class Found(NamedTuple):
    """What a caller's key id means."""

    key: Key | None
    arn: str
    """ARN of the key, or of what the caller named where there is no such key."""
    alias: str
    """The alias that the caller named; empty where a key id was given."""


@dataclass
class Keyring:
    """All keys and aliases."""

    keys: dict[str, Key] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    by_version: dict[str, str] = field(default_factory=dict)

    def apply(self, event: object) -> None:
        """Take one event in."""
        if isinstance(event, KeyChanged):
            self.keys[event.key_id] = Key(
                key_id=event.key_id,
                state=event.state,
                description=event.description,
                versions=event.versions,
                current_version=event.current_version,
                root_id=event.root_id,
                created_at_ms=event.created_at_ms,
            )
            self.by_version.update(dict.fromkeys(event.versions, event.key_id))
        elif isinstance(event, AliasChanged):
            self.aliases[event.alias] = event.key_id

    def find(self, named: str) -> Found:
        """What `named` (a key id, an alias, or the ARN of either) means."""
        local = named.removeprefix(ARN_PREFIX)
        if local.startswith("alias/"):
            key = self.keys.get(self.aliases.get(local, ""))
            return Found(key, key.arn if key else ARN_PREFIX + local, local)
        key = self.keys.get(local.removeprefix("key/") if local != named else local)
        return Found(key, key.arn if key else f"{ARN_PREFIX}key/{local.removeprefix('key/')}", "")

    def of_version(self, version_id: bytes) -> Key | None:
        """The key that has this version."""
        return self.keys.get(self.by_version.get(version_id.hex(), ""))

    def aliases_of(self, key: Key) -> tuple[str, ...]:
        """Every alias of a key, sorted."""
        return tuple(sorted(alias for alias, key_id in self.aliases.items() if key_id == key.key_id))


def wrap(domain: Domain, key_id: str, version: str, material: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """Key material for the log."""
    return blob.seal(domain.key, DOMAIN_ID, material, _context(key_id, version), entropy)


def unwrap(domain: Domain, key: Key, version: str) -> bytes:
    """The material of one version. Raises blob.InvalidBlobError where it was wrapped for another place or root."""
    return blob.unseal(domain.key, key.versions[version], _context(key.key_id, version))


def _context(key_id: str, version: str) -> dict[str, str]:
    return {"sixfold:key": key_id, "sixfold:version": version}
