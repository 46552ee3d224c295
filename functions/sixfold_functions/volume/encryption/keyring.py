"""The data keys that a copy holds, in memory only: those of its files, and the one that new files are made under."""

from __future__ import annotations

import os
from collections.abc import Iterable

from sixfold_functions.volume import files
from sixfold_functions.volume.encryption import envelope as envelopes
from sixfold_functions.volume.encryption.envelope import DataKey, Envelope, FileCipher


class KeyMissingError(files.LogError):
    """A file is encrypted under a data key that this process does not hold."""


class KeyWrongError(files.LogDamagedError):
    """A file's envelope does not open with its data key: it was changed, or it is another file's."""


class Keyring:
    """Empty, nothing is encrypted and nothing encrypted can be read."""

    def __init__(
        self,
        keys: Iterable[DataKey] = (),
        *,
        current: DataKey | None = None,
        reencrypt: bool = False,
        entropy: envelopes.Entropy = os.urandom,
    ) -> None:
        self._keys = {key.blob: key for key in keys}
        self._entropy = entropy
        self.current = current
        """New files are made under this one; None for files in plain."""
        self.reencrypt = reencrypt
        """Older files are to be written anew under it; noted in each new segment, so that it survives a restart."""
        if current is not None:
            self._keys[current.blob] = current

    def __repr__(self) -> str:
        return f"Keyring({', '.join(key.id for key in self._keys.values())})"

    def use(self, key: DataKey, *, reencrypt: bool) -> None:
        """Make new files under `key` from now on."""
        self._keys[key.blob] = key
        self.current, self.reencrypt = key, reencrypt

    def begin(self, name: str) -> tuple[Envelope, FileCipher] | None:
        """For a new file; None if it is to be in plain."""
        return None if self.current is None else envelopes.seal_file_key(self.current, name, self._entropy)

    def open(self, envelope: Envelope, name: str) -> FileCipher:
        """For a file that there is. Raises KeyMissingError, KeyWrongError."""
        key = self._keys.get(envelope.data_key)
        if key is None:
            raise KeyMissingError(
                f"{name} is encrypted under data key {envelope.data_key_id} of {envelope.kms_key or 'the key service'}, "
                "which this process does not hold; start the copy where the key service answers, and look at its log"
            )
        cipher = envelopes.open_file_key(key, envelope, name, self._entropy)
        if cipher is None:
            raise KeyWrongError(
                f"{name}: its envelope does not open with data key {key.id}: it was changed, or moved here from "
                "another file"
            )
        return cipher
