"""Operations of asymmetric and HMAC keys: signatures, codes, shared secrets, public keys."""

from __future__ import annotations

import hmac

from sixfold_functions.kms import asymmetric, deciding, keyring, macs, specs
from sixfold_functions.kms.deciding import Call, Outcome, Refused, invalid


def sign(call: Call) -> Outcome:
    """Sign."""
    key = deciding.use(call, specs.SIGN)
    algorithm = deciding.algorithm(key, call.get("SigningAlgorithm") or "")
    private = call.service.loader.load(deciding.material(call, key))
    try:
        signature = asymmetric.sign(private, algorithm, call.get("Message", b""), call.get("MessageType") or "RAW")
    except asymmetric.WrongInputError as error:
        raise invalid(str(error)) from error
    deciding.dry_run(call)
    arn = keyring.key_arn(key)
    return Outcome({"KeyId": arn, "Signature": signature, "SigningAlgorithm": algorithm}, arn)


def verify(call: Call) -> Outcome:
    """Verify."""
    key = deciding.use(call, specs.SIGN)
    algorithm = deciding.algorithm(key, call.get("SigningAlgorithm") or "")
    message, kind = call.get("Message", b""), call.get("MessageType") or "RAW"
    try:
        valid = asymmetric.verify(key.public_key, algorithm, message, kind, call.get("Signature", b""))
    except asymmetric.WrongInputError as error:
        raise invalid(str(error)) from error
    if not valid:
        raise Refused("KMSInvalidSignatureException")
    deciding.dry_run(call)
    arn = keyring.key_arn(key)
    return Outcome({"KeyId": arn, "SignatureValid": True, "SigningAlgorithm": algorithm}, arn)


def generate_mac(call: Call) -> Outcome:
    """GenerateMac."""
    key = deciding.use(call, specs.MAC)
    algorithm = deciding.algorithm(key, call.get("MacAlgorithm") or "")
    code = macs.code(deciding.material(call, key), algorithm, call.get("Message", b""))
    deciding.dry_run(call)
    arn = keyring.key_arn(key)
    return Outcome({"KeyId": arn, "Mac": code, "MacAlgorithm": algorithm}, arn)


def verify_mac(call: Call) -> Outcome:
    """VerifyMac, in constant time."""
    key = deciding.use(call, specs.MAC)
    algorithm = deciding.algorithm(key, call.get("MacAlgorithm") or "")
    code = macs.code(deciding.material(call, key), algorithm, call.get("Message", b""))
    if not hmac.compare_digest(code, call.get("Mac", b"")):
        raise Refused("KMSInvalidMacException")
    deciding.dry_run(call)
    arn = keyring.key_arn(key)
    return Outcome({"KeyId": arn, "MacValid": True, "MacAlgorithm": algorithm}, arn)


def derive_shared_secret(call: Call) -> Outcome:
    """DeriveSharedSecret."""
    key = deciding.use(call, specs.AGREE)
    algorithm = deciding.algorithm(key, call.get("KeyAgreementAlgorithm") or "")
    private = call.service.loader.load(deciding.material(call, key))
    try:
        secret = asymmetric.agree(private, call.get("PublicKey", b""))
    except asymmetric.WrongInputError as error:
        raise invalid(str(error)) from error
    deciding.dry_run(call)
    arn = keyring.key_arn(key)
    found = {"KeyId": arn, "SharedSecret": secret, "KeyAgreementAlgorithm": algorithm, "KeyOrigin": key.origin}
    return Outcome(found, arn)


def get_public_key(call: Call) -> Outcome:
    """GetPublicKey."""
    key = deciding.use(call)
    if not key.public_key:
        raise Refused(
            "UnsupportedOperationException",
            f"{keyring.key_arn(key)} is not an asymmetric key, so it has no public key.",
        )
    arn = keyring.key_arn(key)
    found = {
        "KeyId": arn,
        "PublicKey": key.public_key,
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        "KeyUsage": key.usage,
    }
    member = specs.MEMBERS[key.usage]
    if member != "EncapsulationAlgorithms":
        found[member] = list(specs.SPECS[key.spec].usages[key.usage])
    return Outcome(found, arn)
