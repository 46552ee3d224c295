"""The key service of a world in memory: data keys of each copy, which starts are given, and a new one at each rotation."""

from __future__ import annotations

import hashlib
import random

from sixfold_functions.volume.encryption.envelope import DataKey
from sixfold_functions.volume.encryption.keyring import Keyring

ARN = "arn:aws:kms:sixfold:000000000000:key/11111111-2222-4333-8444-555555555555"


def data_key(number: int, copy: str = "a1") -> DataKey:
    """The same one each time; its blob is as long as the key service's."""
    blob = hashlib.shake_256(f"blob {copy} {number}".encode()).digest(110)
    return DataKey(ARN, blob, hashlib.sha256(f"key {copy} {number}".encode()).digest())


class Keys:
    """The data keys of one copy."""

    def __init__(self, seed: int, copy: str = "a1") -> None:
        self._copy = copy
        self._random = random.Random(seed)
        self.made: list[DataKey] = []
        self.fresh()

    def fresh(self) -> DataKey:
        """A new data key."""
        self.made.append(data_key(len(self.made), self._copy))
        return self.made[-1]

    def keyring(self, *, reencrypt: bool = False) -> Keyring:
        """What a process holds after its start: all keys, and the newest for new segments."""
        return Keyring(self.made, current=self.made[-1], reencrypt=reencrypt, entropy=self._random.randbytes)
