"""Condition keys: which there are, and what makes two of them the same.

Names are told apart without regard to case, as IAM does it; values are not. A key that no request ever has would make
a condition that never holds (a Deny that never applies), so a policy that names one is refused when it is stored.

Sources: AWS IAM User Guide, "IAM JSON policy elements: Condition"; AWS KMS Developer Guide, "AWS KMS condition keys".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

TAG = "aws:PrincipalTag/"
"""The caller's claims follow."""
ENCRYPTION_CONTEXT = "kms:EncryptionContext:"
"""The names of the request's encryption context follow."""
NAMES = (
    "aws:PrincipalArn",
    "kms:CallerAccount",
    "kms:EncryptionContextKeys",
    "kms:RequestAlias",
    "kms:ResourceAliases",
)
FAMILIES = (TAG, ENCRYPTION_CONTEXT)
"""What a permission policy may ask for; another service joins with its own keys."""


def fold(name: str) -> str:
    """What is equal where two names are the same key."""
    return name.casefold()


_NAMES = {fold(name) for name in NAMES}


def folded(context: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """`context` by folded names. Keys that differ only in case are one key with the values of all."""
    found: dict[str, tuple[str, ...]] = {}
    for name, values in context.items():
        found[fold(name)] = (*found.get(fold(name), ()), *values)
    return found


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """Two of `names` that differ only in case, None where there are none."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(fold(name), name)
        if other != name:
            return other, name
    return None


def of_permission(key: str) -> str | None:
    """Why a permission policy cannot ask for `key`, None where it can."""
    name = fold(key)
    if name in _NAMES or any(_is_of(name, fold(family)) for family in FAMILIES):
        return None
    known = ", ".join((*NAMES, *(f"{family}NAME" for family in FAMILIES)))
    return f"condition key {key!r} is unknown, so it would never be in a request; known are {known}"


def of_trust(key: str, issuers: Sequence[str]) -> str | None:
    """Why a trust policy of tokens of `issuers` (their names in condition keys) cannot ask for `key`."""
    if any(_is_of(fold(key), fold(f"{issuer}:")) for issuer in issuers):
        return None
    known = " or ".join(f"{issuer}:CLAIM" for issuer in issuers)
    return f"condition key {key!r} is unknown, so it would never be in a token; expected {known}"


def _is_of(name: str, family: str) -> bool:
    return name.startswith(family) and name != family
