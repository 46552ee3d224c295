"""Key pairs: made, and used as AWS KMS's algorithms say. Private keys are PKCS#8 (DER), public ones SubjectPublicKeyInfo.

Loading an RSA key with all checks takes 40 ms and more, so keys that were made here, and came back through an
authenticated wrapping, are loaded without, and kept loaded (`Loader`). Imported ones are checked once, at their import.

Sources: AWS KMS Developer Guide, "Key spec reference"; PKCS #1 2.2; FIPS 186-5, 203 and 204.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa, utils

LOADED_MAX = 256
"""Private keys kept loaded; an RSA key of 4,096 bits takes some 10 KB."""
MU_BYTES = 64
"""Length of ML-DSA's message representative (FIPS 204)."""

_CURVES: Mapping[str, Callable[[], ec.EllipticCurve]] = {
    "ECC_NIST_P256": ec.SECP256R1,
    "ECC_NIST_P384": ec.SECP384R1,
    "ECC_NIST_P521": ec.SECP521R1,
    "ECC_SECG_P256K1": ec.SECP256K1,
}
_MADE: Mapping[str, Callable[[], Any]] = {
    "ECC_NIST_EDWARDS25519": ed25519.Ed25519PrivateKey.generate,
    "ML_DSA_44": mldsa.MLDSA44PrivateKey.generate,
    "ML_DSA_65": mldsa.MLDSA65PrivateKey.generate,
    "ML_DSA_87": mldsa.MLDSA87PrivateKey.generate,
    "ML_KEM_768": mlkem.MLKEM768PrivateKey.generate,
    "ML_KEM_1024": mlkem.MLKEM1024PrivateKey.generate,
}
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "SHA_1": hashes.SHA1(),  # noqa: S303 (RSAES_OAEP_SHA_1 is an algorithm of the API; OAEP does not rest on collisions)
    "SHA_256": hashes.SHA256(),
    "SHA_384": hashes.SHA384(),
    "SHA_512": hashes.SHA512(),
}


class WrongInputError(ValueError):
    """What is to be signed, encrypted or agreed on does not fit the key; the message is AWS's."""


class OpenError(ValueError):
    """A ciphertext does not open, on purpose without a reason."""


def generate(spec: str) -> bytes:
    """A new private key, PKCS#8. RSA keys take 50 ms to a second: not for an event loop."""
    if spec.startswith("RSA_"):
        key: Any = rsa.generate_private_key(65537, int(spec.removeprefix("RSA_")))
    elif spec in _CURVES:
        key = ec.generate_private_key(_CURVES[spec]())
    else:
        key = _MADE[spec]()
    return private_bytes(key)


def private_bytes(key: Any) -> bytes:
    """A private key as PKCS#8."""
    encoded: bytes = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded


def public_of(private: bytes) -> bytes:
    """The public key of a private one, SubjectPublicKeyInfo."""
    key: Any = serialization.load_der_private_key(private, None, unsafe_skip_rsa_key_validation=True)
    encoded: bytes = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


class Loader:
    """Private keys that were loaded, those used last."""

    def __init__(self, loaded_max: int = LOADED_MAX) -> None:
        self._loaded: OrderedDict[bytes, Any] = OrderedDict()
        self._loaded_max = loaded_max

    def load(self, private: bytes) -> Any:
        """The key of PKCS#8 bytes that came out of an authenticated wrapping."""
        name = hashlib.sha256(private).digest()
        key = self._loaded.pop(name, None)
        if key is None:
            key = serialization.load_der_private_key(private, None, unsafe_skip_rsa_key_validation=True)
            if len(self._loaded) >= self._loaded_max:
                self._loaded.popitem(last=False)
        self._loaded[name] = key
        return key


def sign(key: Any, algorithm: str, message: bytes, kind: str) -> bytes:
    """The signature of a message (`RAW`), of its digest (`DIGEST`) or of its representative (`EXTERNAL_MU`)."""
    if algorithm == "ML_DSA_SHAKE_256":
        _check_kind(algorithm, kind, ("RAW", "EXTERNAL_MU"))
        return bytes(key.sign(message) if kind == "RAW" else key.sign_mu(_sized(message, MU_BYTES)))
    if algorithm == "ED25519_SHA_512":
        _check_kind(algorithm, kind, ("RAW",))
        return bytes(key.sign(message))
    _check_kind(algorithm, kind, ("RAW", "DIGEST"))
    scheme, hashed = _prepared(algorithm, message, kind)
    if scheme is None:
        return bytes(key.sign(message, ec.ECDSA(hashed)))
    return bytes(key.sign(message, scheme, hashed))


def verify(public: bytes, algorithm: str, message: bytes, kind: str, signature: bytes) -> bool:
    """Whether `signature` is one of the public key's owner. Raises WrongInputError as `sign`."""
    key: Any = serialization.load_der_public_key(public)
    try:
        if algorithm == "ML_DSA_SHAKE_256":
            _check_kind(algorithm, kind, ("RAW", "EXTERNAL_MU"))
            if kind == "RAW":
                key.verify(signature, message)
            else:
                key.verify_mu(signature, _sized(message, MU_BYTES))
        elif algorithm == "ED25519_SHA_512":
            _check_kind(algorithm, kind, ("RAW",))
            key.verify(signature, message)
        else:
            _check_kind(algorithm, kind, ("RAW", "DIGEST"))
            scheme, hashed = _prepared(algorithm, message, kind)
            if scheme is None:
                key.verify(signature, message, ec.ECDSA(hashed))
            else:
                key.verify(signature, message, scheme, hashed)
    except InvalidSignature:
        return False
    return True


def _check_kind(algorithm: str, kind: str, kinds: tuple[str, ...]) -> None:
    if kind not in kinds:
        raise WrongInputError(f"Message type {kind} is not valid for {algorithm}; expected {' or '.join(kinds)}.")


def _sized(message: bytes, size: int) -> bytes:
    if len(message) != size:
        raise WrongInputError(f"Digest is invalid length for algorithm: expected {size} bytes, found {len(message)}.")
    return message


def _prepared(
    algorithm: str, message: bytes, kind: str
) -> tuple[padding.AsymmetricPadding | None, hashes.HashAlgorithm | utils.Prehashed]:
    scheme, _, digest = algorithm.partition("_SHA_")
    hashed = _HASHES[f"SHA_{digest}"]
    paddings: Mapping[str, padding.AsymmetricPadding | None] = {
        "ECDSA": None,
        "RSASSA_PKCS1_V1_5": padding.PKCS1v15(),
        "RSASSA_PSS": padding.PSS(padding.MGF1(hashed), hashed.digest_size),
    }
    if kind == "RAW":
        return paddings[scheme], hashed
    _sized(message, hashed.digest_size)
    return paddings[scheme], utils.Prehashed(hashed)


def encrypt(public: bytes, spec: str, algorithm: str, plaintext: bytes) -> bytes:
    """RSAES-OAEP of `plaintext`. Raises WrongInputError where it is too long for the key."""
    key: Any = serialization.load_der_public_key(public)
    scheme = _oaep(algorithm)
    most = key.key_size // 8 - 2 * scheme.algorithm.digest_size - 2
    if len(plaintext) > most:
        raise WrongInputError(
            f"Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {most} bytes."
        )
    return bytes(key.encrypt(plaintext, scheme))


def decrypt(key: Any, algorithm: str, ciphertext: bytes) -> bytes:
    """What `encrypt` encrypted. Raises OpenError."""
    try:
        return bytes(key.decrypt(ciphertext, _oaep(algorithm)))
    except ValueError:
        raise OpenError from None


def _oaep(algorithm: str) -> padding.OAEP:
    hashed = _HASHES[algorithm.removeprefix("RSAES_OAEP_")]
    return padding.OAEP(padding.MGF1(hashed), hashed, None)


def agree(key: ec.EllipticCurvePrivateKey, public: bytes) -> bytes:
    """The ECDH shared secret with the owner of `public`. Raises WrongInputError for a key of another curve."""
    try:
        other = serialization.load_der_public_key(public)
    except ValueError:
        other = None
    if not isinstance(other, ec.EllipticCurvePublicKey) or other.curve.name != key.curve.name:
        raise WrongInputError(f"PublicKey: expected a DER public key on the key's own curve, {key.curve.name}.")
    return key.exchange(ec.ECDH(), other)


def encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """A new shared secret and its ciphertext for the owner of an ML-KEM key."""
    key: Any = serialization.load_der_public_key(public)
    secret, ciphertext = key.encapsulate()
    return secret, ciphertext


def decapsulate(key: Any, ciphertext: bytes) -> bytes:
    """The shared secret. Raises OpenError for a ciphertext of another length; any other opens to some secret."""
    try:
        return bytes(key.decapsulate(ciphertext))
    except ValueError:
        raise OpenError from None
