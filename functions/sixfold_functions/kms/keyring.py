"""Keys, aliases and grants: the fold of `kms.keys`, and the wrapping of key material. Pure.

The log holds key material only wrapped under the domain key, which is derived from the root key; the wrapping is a
blob whose context names key and version, so material cannot be moved from one to another. Each region has keys of its
own; a multi-region key has the same id and the same material in several.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from sixfold_events.kms import AliasChanged, GrantChanged, KeyChanged
from sixfold_functions.kms import blob

ACCOUNT = "000000000000"
REGION = "local"
"""Of requests that name none."""
ARN_PREFIX = f"arn:aws:kms:{REGION}:{ACCOUNT}:"
DOMAIN_ID = bytes(15) + b"\x01"
"""Epoch 1 of the domain key, in the place of a blob's key version id."""
DELETED = "Deleted"
"""State of a key that is gone."""

REGIONS = re.compile(rf"({REGION}|[a-z]{{2,8}}(-[a-z0-9]{{1,12}}){{1,4}})\Z", re.ASCII)
"""Names that a region may have. Others might begin an entry as `key`, `alias` or `grant` do."""
ALIAS = re.compile(r"alias/[a-zA-Z0-9/_-]{1,250}\Z", re.ASCII)


class Domain(NamedTuple):
    """The key that key material is wrapped under, and the fingerprint of the root key that it comes from."""

    key: bytes
    root_id: str

    def __repr__(self) -> str:
        return f"Domain({self.root_id})"


class Found(NamedTuple):
    """What a caller's key id means."""

    key: KeyChanged | None
    arn: str
    """ARN of the key, or of what the caller named where there is no such key."""
    alias: str
    """The alias that the caller named; empty where a key id was given."""


def arn_prefix(region: str) -> str:
    """What ARNs of a region's keys and aliases begin with."""
    return f"arn:aws:kms:{region}:{ACCOUNT}:"


def key_arn(key: KeyChanged) -> str:
    """The key's ARN."""
    return f"{arn_prefix(key.region)}key/{key.key_id}"


def entry(region: str, name: str) -> str:
    """The record key of a key (`key/<id>`), an alias or a grant in `kms.keys`."""
    return name if region == REGION else f"{region}/{name}"


@dataclass
class Region:
    """The keys, aliases and grants of one region."""

    name: str = REGION
    keys: dict[str, KeyChanged] = field(default_factory=dict)
    aliases: dict[str, AliasChanged] = field(default_factory=dict)
    grants: dict[str, dict[str, GrantChanged]] = field(default_factory=dict)
    """By key id, then by grant id, in the order in which they were made."""
    by_version: dict[str, str] = field(default_factory=dict)
    """Key id by version id."""

    def apply(self, event: KeyChanged | AliasChanged | GrantChanged) -> None:
        """Take one event in."""
        match event:
            case KeyChanged() if event.state == DELETED:
                self.keys.pop(event.key_id, None)
                self.grants.pop(event.key_id, None)
                for alias in [name for name, each in self.aliases.items() if each.key_id == event.key_id]:
                    del self.aliases[alias]
            case KeyChanged():
                self.keys[event.key_id] = event
                self.by_version.update(dict.fromkeys(event.versions, event.key_id))
            case AliasChanged() if not event.key_id:
                self.aliases.pop(event.alias, None)
            case AliasChanged():
                self.aliases[event.alias] = event
            case GrantChanged() if event.retired:
                self.grants.get(event.key_id, {}).pop(event.grant_id, None)
            case GrantChanged():
                self.grants.setdefault(event.key_id, {})[event.grant_id] = event

    def find(self, named: str) -> Found:
        """What `named` (a key id, an alias, or the ARN of either) means."""
        prefix = arn_prefix(self.name)
        local = named.removeprefix(prefix)
        if local.startswith("alias/"):
            alias = self.aliases.get(local)
            key = self.keys.get(alias.key_id) if alias else None
            return Found(key, key_arn(key) if key else prefix + local, local)
        key = self.keys.get(local.removeprefix("key/") if local != named else local)
        return Found(key, key_arn(key) if key else f"{prefix}key/{local.removeprefix('key/')}", "")

    def of_version(self, version_id: bytes) -> KeyChanged | None:
        """The key that has this version."""
        return self.keys.get(self.by_version.get(version_id.hex(), ""))

    def aliases_of(self, key_id: str) -> tuple[str, ...]:
        """Every alias of a key, sorted."""
        return tuple(sorted(alias for alias, each in self.aliases.items() if each.key_id == key_id))


class Keyring:
    """All regions."""

    def __init__(self) -> None:
        self._regions: dict[str, Region] = {}

    def of(self, region: str) -> Region:
        """A region's keys; a region begins with none, and is kept only once it has one."""
        return self._regions.get(region) or Region(region)

    def apply(self, event: object) -> None:
        """Take one event in."""
        if isinstance(event, KeyChanged | AliasChanged | GrantChanged):
            self._regions.setdefault(event.region, Region(event.region)).apply(event)

    def regions(self) -> list[Region]:
        """Those that have or had keys."""
        return list(self._regions.values())

    def root_ids(self) -> set[str]:
        """Fingerprints of the root keys that material is wrapped under."""
        return {key.root_id for region in self._regions.values() for key in region.keys.values()}


def wrap(domain: Domain, key_id: str, version: str, material: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """Key material for the log."""
    return blob.seal(domain.key, DOMAIN_ID, material, _context(key_id, version), entropy)


def unwrap(domain: Domain, key: KeyChanged, version: str) -> bytes:
    """The material of one version. Raises blob.InvalidBlobError where it was wrapped for another place or root."""
    return blob.unseal(domain.key, key.versions[version], _context(key.key_id, version))


def _context(key_id: str, version: str) -> dict[str, str]:
    return {"sixfold:key": key_id, "sixfold:version": version}
