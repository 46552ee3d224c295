"""Objects under a data key: what was sealed opens under its name, whole, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.keys import Keys, data_key

from sixfold_functions.volume import files
from sixfold_functions.volume.encryption import codec
from sixfold_functions.volume.encryption.keyring import KeyMissingError, Keyring, KeyWrongError


@given(data=st.binary(max_size=2000), name=st.text(max_size=40))
def test_what_was_sealed_opens_after_its_data_key_was_asked_for(data: bytes, name: str) -> None:
    """The envelope names the data key; older keys open older objects."""
    keys = Keys(1)
    sealed = codec.seal(keys.keyring(), name, data)
    envelope = codec.envelope_of(sealed)
    assert envelope is not None
    assert envelope.data_key == data_key(0).blob
    keys.fresh()
    assert codec.unseal(keys.keyring(), name, sealed) == data
    assert len(data) < 8 or data not in sealed


def test_another_name_another_key_a_flipped_bit_and_a_cut_are_refused() -> None:
    """Whatever is changed is found; each bit is tried."""
    keyring = Keys(1).keyring()
    sealed = codec.seal(keyring, "backup/1", b"secret")
    with pytest.raises(KeyWrongError):
        codec.unseal(keyring, "backup/2", sealed)
    with pytest.raises(KeyMissingError, match="under data key"):
        codec.unseal(Keyring([data_key(7)]), "backup/1", sealed)
    for position in range(len(sealed)):
        changed = sealed[:position] + bytes([sealed[position] ^ 1 << position % 8]) + sealed[position + 1 :]
        try:
            found = codec.unseal(keyring, "backup/1", changed)
        except files.LogError:
            continue
        assert found == b"secret"  # a bit that says nothing: base64's last character has some
        assert codec.envelope_of(changed) == codec.envelope_of(sealed)
    for size in range(len(sealed)):
        with pytest.raises(files.LogError):
            codec.unseal(keyring, "backup/1", sealed[:size])
    with pytest.raises(ValueError, match="expected a current data key"):
        codec.seal(Keyring(), "backup/1", b"")
