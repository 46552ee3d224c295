"""Ciphertext blobs: frozen vectors, an independent KDF, and that nothing about a blob can be changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from hypothesis import given, settings
from hypothesis import strategies as st

from sixfold_functions.kms import blob, encoding

VECTORS = json.loads((Path(__file__).parent / "blob_v1_vectors.json").read_text())
KEY, VERSION = bytes(range(32)), bytes(range(100, 116))
CONTEXT = {"topic": "payments", "tenant": "acme"}
BLOB = blob.seal(KEY, VERSION, b"p" * 32, CONTEXT, lambda count: bytes(range(50, 50 + count)))

CONTEXTS = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=5)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_format_is_frozen(vector: dict[str, str | dict[str, str]]) -> None:
    """Blobs of version 1 stay readable, byte for byte, for ever."""
    key, version, plaintext, entropy, wanted = (
        bytes.fromhex(str(vector[name])) for name in ("key", "version_id", "plaintext", "entropy", "blob")
    )
    context = vector["context"]
    assert isinstance(context, dict)
    source = iter([entropy[:16], entropy[16:]])
    assert blob.seal(key, version, plaintext, context, lambda _: next(source)) == wanted
    assert blob.unseal(key, wanted, context) == plaintext


def test_the_kdf_is_the_standards() -> None:
    """OpenSSL's SP 800-108 and the commitment-less GCM under its output agree with ours."""
    header, sealed = blob.parse(BLOB)
    kdf = KBKDFHMAC(
        algorithm=hashes.SHA256(),
        mode=Mode.CounterMode,
        length=48,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=blob.LABEL,
        context=header.number,
        fixed=None,
    )
    output = kdf.derive(KEY)
    assert output[32:] == header.commitment
    aad = BLOB[: blob.HEADER_BYTES] + encoding.context(CONTEXT)
    assert AESGCM(output[:32]).decrypt(header.iv, sealed, aad) == b"p" * 32


def test_a_data_key_of_32_bytes_makes_a_blob_of_110() -> None:
    """The size that users plan with."""
    assert len(BLOB) == 110


@given(plaintext=st.binary(min_size=1, max_size=200), context=CONTEXTS)
def test_a_blob_opens_with_its_key_and_context_in_any_order(plaintext: bytes, context: dict[str, str]) -> None:
    """The order of the context's pairs does not matter."""
    sealed = blob.seal(KEY, VERSION, plaintext, context, os.urandom)
    assert blob.unseal(KEY, sealed, dict(reversed(context.items()))) == plaintext


@pytest.mark.parametrize("bit", range(len(BLOB) * 8))
def test_one_flipped_bit_anywhere_in_a_blob_is_refused(bit: int) -> None:
    """Header, nonce, commitment, iv, ciphertext, tag: every bit counts."""
    changed = bytearray(BLOB)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(blob.InvalidBlobError):
        blob.unseal(KEY, bytes(changed), CONTEXT)


@settings(max_examples=300)
@given(bit=st.integers(0, 255))
def test_one_flipped_bit_in_the_key_is_refused(bit: int) -> None:
    """Another key opens nothing."""
    key = bytearray(KEY)
    key[bit // 8] ^= 1 << bit % 8
    with pytest.raises(blob.InvalidBlobError):
        blob.unseal(bytes(key), BLOB, CONTEXT)


@given(context=CONTEXTS)
def test_another_context_is_refused(context: dict[str, str]) -> None:
    """A pair more, a pair less, another value, another case: nothing but the very context opens it."""
    if context != CONTEXT:
        with pytest.raises(blob.InvalidBlobError):
            blob.unseal(KEY, BLOB, context)


@given(data=st.binary(max_size=300))
def test_rubbish_is_refused_with_the_one_error(data: bytes) -> None:
    """Whatever the bytes are: InvalidBlobError, and always the same words."""
    with pytest.raises(blob.InvalidBlobError, match="does not belong"):
        blob.unseal(KEY, data, CONTEXT)


@given(first=CONTEXTS, second=CONTEXTS)
def test_different_contexts_have_different_encodings(first: dict[str, str], second: dict[str, str]) -> None:
    """The encoding is injective: equal bytes mean equal contexts."""
    assert (encoding.context(first) == encoding.context(second)) == (first == second)


@given(context=CONTEXTS)
def test_a_context_can_be_read_back_from_its_encoding(context: dict[str, str]) -> None:
    """A decoder exists, which is what injective means."""
    data, found, at = encoding.context(context), {}, 2
    for _ in range(int.from_bytes(data[:2], "big")):
        pair = []
        for _ in range(2):
            length = int.from_bytes(data[at : at + 2], "big")
            pair.append(data[at + 2 : at + 2 + length].decode())
            at += 2 + length
        found[pair[0]] = pair[1]
    assert found == context
    assert at == len(data)


FIELDS = st.lists(st.binary(max_size=6) | st.text(max_size=4), max_size=4)


@given(first=FIELDS, second=FIELDS)
def test_records_with_different_bytes_in_their_fields_have_different_encodings(
    first: list[bytes | str], second: list[bytes | str]
) -> None:
    """Moving a byte from one field to the next changes what is signed."""

    def plain(fields: list[bytes | str]) -> list[bytes]:
        return [field.encode() if isinstance(field, str) else field for field in fields]

    same = encoding.record(b"label", first) == encoding.record(b"label", second)
    assert same == (plain(first) == plain(second))


@pytest.mark.parametrize(
    "context",
    [
        {"": "x"},
        {"k": "v" * 8200},
        {f"k{number}": "v" for number in range(51)},
        {"k": "\ud800"},
    ],
)
def test_a_context_beyond_the_limits_is_refused(context: dict[str, str]) -> None:
    """Too many pairs, too many bytes, an empty key, half a surrogate."""
    with pytest.raises(encoding.InvalidContextError):
        encoding.context(context)
    with pytest.raises(blob.InvalidBlobError):
        blob.unseal(KEY, BLOB, context)
