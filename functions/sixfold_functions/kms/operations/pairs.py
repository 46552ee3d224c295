"""Data key pairs: asymmetric keys for use outside, their private halves encrypted under a symmetric key."""

from __future__ import annotations

from typing import Any

from sixfold_functions.kms import asymmetric, blob, deciding, keyring, specs
from sixfold_functions.kms.deciding import Call, Outcome, Refused
from sixfold_functions.kms.operations import ciphers


def generate_pair(call: Call) -> Outcome:
    """GenerateDataKeyPair, and without plaintext where the operation says so."""
    key = deciding.use(call, specs.ENCRYPT)
    if key.spec != specs.SYMMETRIC:
        raise Refused(
            "InvalidKeyUsageException",
            f"{keyring.key_arn(key)} key usage is {key.usage} which is not valid for {call.operation}.",
        )
    spec = call.get("KeyPairSpec", "")
    if spec not in specs.SPECS:
        raise Refused("UnsupportedOperationException", f"Key pair spec {spec} is not supported here.")
    context = call.get("EncryptionContext") or {}
    ciphers.check_context(context)
    material = deciding.material(call, key)
    deciding.dry_run(call)
    private = call.service.generate(spec)
    arn = keyring.key_arn(key)
    found: dict[str, Any] = {
        "PrivateKeyCiphertextBlob": blob.seal(
            material, bytes.fromhex(key.current_version), private, context, call.service.entropy
        ),
        "PublicKey": asymmetric.public_of(private),
        "KeyId": arn,
        "KeyPairSpec": spec,
    }
    if not call.operation.endswith("WithoutPlaintext"):
        found["PrivateKeyPlaintext"] = private
    return Outcome(found, arn)
