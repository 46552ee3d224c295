"""Operations that encrypt and decrypt, and data keys. Of a symmetric key a ciphertext says which key made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sixfold_events.kms import KeyChanged
from sixfold_functions.kms import asymmetric, blob, deciding, encoding, keyring, specs
from sixfold_functions.kms.deciding import Call, Outcome, Refused, invalid

DATA_KEY_BYTES_MAX = 1024
PLAINTEXT_BYTES_MAX = 4096
_SPECS = {"AES_256": 32, "AES_128": 16}


def encrypt(call: Call) -> Outcome:
    """Encrypt."""
    key = deciding.use(call, specs.ENCRYPT)
    algorithm = deciding.algorithm(key, call.get("EncryptionAlgorithm") or specs.SYMMETRIC)
    sealed = _sealed(call, key, algorithm, call.get("Plaintext", b""), _context(call, key))
    deciding.dry_run(call)
    return _done(key, CiphertextBlob=sealed, EncryptionAlgorithm=algorithm)


def decrypt(call: Call) -> Outcome:
    """Decrypt; of a symmetric key's ciphertext the key need not be named."""
    key, plaintext, algorithm = opened(call, "Decrypt", "KeyId", "EncryptionAlgorithm", "EncryptionContext")
    deciding.dry_run(call)
    return _done(key, Plaintext=plaintext, EncryptionAlgorithm=algorithm)


def opened(
    call: Call, action: str, id_name: str, algorithm_name: str, context_name: str
) -> tuple[KeyChanged, bytes, str]:
    """Key, plaintext and algorithm of the call's ciphertext. Raises Refused."""
    ciphertext = call.get("CiphertextBlob", b"")
    named = call.get(id_name) or ""
    wanted = call.get(algorithm_name) or specs.SYMMETRIC
    if wanted != specs.SYMMETRIC:
        if not named:
            raise invalid("KeyId is required for asymmetric decryption")
        key = deciding.use(call, specs.ENCRYPT, named=named, action=action)
        algorithm = deciding.algorithm(key, call.get(algorithm_name) or specs.SYMMETRIC)
        try:
            private = call.service.loader.load(deciding.material(call, key))
            return key, asymmetric.decrypt(private, algorithm, ciphertext), algorithm
        except asymmetric.OpenError:
            raise Refused("InvalidCiphertextException") from None
    try:
        header, _ = blob.parse(ciphertext)
    except blob.InvalidBlobError:
        raise Refused("InvalidCiphertextException") from None
    owner = call.region.of_version(header.version_id)
    if named:
        found = deciding.find(call, named)
        if deciding.allowed(call, found, action) is not owner:
            raise Refused(
                "IncorrectKeyException",
                "The key ID in the request does not identify a CMK that can perform this operation.",
            )
    if owner is None:
        raise Refused("InvalidCiphertextException")
    key = deciding.allowed(call, deciding.find(call, named or owner.key_id), action)
    deciding.check_state(call.operation, key)
    deciding.check_usage(call.operation, key, specs.ENCRYPT)
    material = deciding.material(call, key, header.version_id.hex())
    try:
        plaintext = blob.unseal(material, ciphertext, call.get(context_name) or {})
    except blob.InvalidBlobError:
        raise Refused("InvalidCiphertextException") from None
    return key, plaintext, specs.SYMMETRIC


def re_encrypt(call: Call) -> Outcome:
    """ReEncrypt: the plaintext never leaves."""
    source_call = call._replace(
        parameters={**call.parameters, "EncryptionContext": call.get("SourceEncryptionContext") or {}}
    )
    source, plaintext, source_algorithm = opened(
        source_call, "ReEncryptFrom", "SourceKeyId", "SourceEncryptionAlgorithm", "SourceEncryptionContext"
    )
    destination_call = call._replace(
        parameters={**call.parameters, "EncryptionContext": call.get("DestinationEncryptionContext") or {}}
    )
    key = deciding.use(destination_call, specs.ENCRYPT, named=call.get("DestinationKeyId", ""), action="ReEncryptTo")
    algorithm = deciding.algorithm(key, call.get("DestinationEncryptionAlgorithm") or specs.SYMMETRIC)
    sealed = _sealed(call, key, algorithm, plaintext, _context(destination_call, key))
    deciding.dry_run(call)
    return Outcome(
        {
            "CiphertextBlob": sealed,
            "SourceKeyId": keyring.key_arn(source),
            "KeyId": keyring.key_arn(key),
            "SourceEncryptionAlgorithm": source_algorithm,
            "DestinationEncryptionAlgorithm": algorithm,
        },
        keyring.key_arn(key),
    )


def generate_data_key(call: Call) -> Outcome:
    """GenerateDataKey, and without plaintext where the operation says so."""
    key = deciding.use(call, specs.ENCRYPT)
    if key.spec != specs.SYMMETRIC:
        raise Refused(
            "InvalidKeyUsageException",
            f"{keyring.key_arn(key)} key usage is {key.usage} which is not valid for {call.operation}.",
        )
    size, spec = call.get("NumberOfBytes"), call.get("KeySpec")
    if (size is None) == (spec is None):
        raise invalid("Please specify either number of bytes or key spec.")
    size = _SPECS[spec] if size is None else size
    if not 0 < size <= DATA_KEY_BYTES_MAX:
        raise _out_of_bounds(size)
    context = _context(call, key)
    plaintext = call.service.entropy(size)
    sealed = _sealed(call, key, specs.SYMMETRIC, plaintext, context)
    deciding.dry_run(call)
    if call.operation.endswith("WithoutPlaintext"):
        return _done(key, CiphertextBlob=sealed)
    return _done(key, CiphertextBlob=sealed, Plaintext=plaintext)


def _out_of_bounds(size: int) -> Refused:
    bound, limit = ("less", DATA_KEY_BYTES_MAX) if size > DATA_KEY_BYTES_MAX else ("greater", 1)
    return invalid(
        f"1 validation error detected: Value '{size}' at 'numberOfBytes' failed to satisfy constraint: "
        f"Member must have value {bound} than or equal to {limit}"
    )


def generate_random(call: Call) -> Outcome:
    """GenerateRandom."""
    deciding.allowed_anywhere(call)
    size = call.get("NumberOfBytes")
    if size is None:
        raise invalid("NumberOfBytes is required.")
    return Outcome({"Plaintext": call.service.entropy(size)})


def _done(key: KeyChanged, **result: Any) -> Outcome:
    arn = keyring.key_arn(key)
    return Outcome({**result, "KeyId": arn}, arn)


def _context(call: Call, key: KeyChanged) -> Mapping[str, str]:
    """The encryption context, which symmetric keys alone take. Raises Refused."""
    context: Mapping[str, str] = call.get("EncryptionContext") or {}
    if context and key.spec != specs.SYMMETRIC:
        raise invalid("EncryptionContext is not supported for asymmetric keys")
    check_context(context)
    return context


def check_context(context: Mapping[str, str]) -> None:
    """Raises Refused for an encryption context that cannot be bound, or that no policy could tell apart."""
    try:
        encoding.context(context)
    except encoding.InvalidContextError as error:
        raise invalid(str(error)) from error
    if len({name.casefold() for name in context}) < len(context):
        # AWS KMS API reference, GrantConstraints: "do not use multiple encryption context pairs that differ only by case".
        raise invalid("encryptionContext: names that differ in case only; no policy could tell them apart")


def _sealed(call: Call, key: KeyChanged, algorithm: str, plaintext: bytes, context: Mapping[str, str]) -> bytes:
    if not 0 < len(plaintext) <= PLAINTEXT_BYTES_MAX:
        raise invalid(f"plaintext: expected 1 to {PLAINTEXT_BYTES_MAX} bytes, found {len(plaintext)}")
    if algorithm != specs.SYMMETRIC:
        try:
            return asymmetric.encrypt(key.public_key, key.spec, algorithm, plaintext)
        except asymmetric.WrongInputError as error:
            raise invalid(str(error)) from error
    material = deciding.material(call, key)
    return blob.seal(material, bytes.fromhex(key.current_version), plaintext, context, call.service.entropy)
