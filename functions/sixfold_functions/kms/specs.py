"""Key specs: what each kind of key is for, and with which algorithms. AWS's table, without what is refused on purpose.

Refused: SM2, `ED25519_PH_SHA_512` and ML_KEM_512 (no library that is trusted here has them), key stores of one's own.
Source: AWS KMS Developer Guide, "Key spec reference".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

ENCRYPT, SIGN, MAC = "ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC"
AGREE, ENCAPSULATE = "KEY_AGREEMENT", "ENCAPSULATE_DECAPSULATE"
SYMMETRIC = "SYMMETRIC_DEFAULT"

_OAEP = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")
_RSA = (
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
)


class Spec(NamedTuple):
    """One key spec."""

    name: str
    usages: Mapping[str, Sequence[str]]
    """Algorithms by the use of the key; a key has one use for all its life."""
    multi_region: bool = True

    @property
    def asymmetric(self) -> bool:
        """Whether it has a public key."""
        return self.name.startswith(("RSA_", "ECC_", "ML_"))


SPECS: Mapping[str, Spec] = {
    spec.name: spec
    for spec in (
        Spec(SYMMETRIC, {ENCRYPT: (SYMMETRIC,)}),
        *(Spec(f"RSA_{bits}", {ENCRYPT: _OAEP, SIGN: _RSA}) for bits in (2048, 3072, 4096)),
        Spec("ECC_NIST_P256", {SIGN: ("ECDSA_SHA_256",), AGREE: ("ECDH",)}),
        Spec("ECC_NIST_P384", {SIGN: ("ECDSA_SHA_384",), AGREE: ("ECDH",)}),
        Spec("ECC_NIST_P521", {SIGN: ("ECDSA_SHA_512",), AGREE: ("ECDH",)}),
        Spec("ECC_SECG_P256K1", {SIGN: ("ECDSA_SHA_256",)}),
        Spec("ECC_NIST_EDWARDS25519", {SIGN: ("ED25519_SHA_512",)}),
        *(Spec(f"HMAC_{bits}", {MAC: (f"HMAC_SHA_{bits}",)}) for bits in (224, 256, 384, 512)),
        *(Spec(f"ML_DSA_{level}", {SIGN: ("ML_DSA_SHAKE_256",)}) for level in (44, 65, 87)),
        *(Spec(f"ML_KEM_{level}", {ENCAPSULATE: ("ML_KEM",)}) for level in (768, 1024)),
    )
}

MEMBERS: Mapping[str, str] = {
    ENCRYPT: "EncryptionAlgorithms",
    SIGN: "SigningAlgorithms",
    MAC: "MacAlgorithms",
    AGREE: "KeyAgreementAlgorithms",
    ENCAPSULATE: "EncapsulationAlgorithms",
}
"""Member of a key's metadata that lists its algorithms, by its use."""
