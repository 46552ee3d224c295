"""Operations on grants: leave to a principal to do some operations with a key, for as long as the grant is there.

A principal that may make grants only by a grant cannot hand on more than that one gives. A grant counts from the moment
at which its change is in the log; its token names it before that, and is no secret.

Source: AWS KMS Developer Guide, "Grants in AWS KMS".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from sixfold_events.kms import GrantChanged, KeyChanged
from sixfold_functions.kms import deciding, keyring, specs
from sixfold_functions.kms.deciding import Call, Outcome, Refused
from sixfold_functions.kms.operations import described

GRANTS_MAX = 50_000
"""Of one key, as AWS's."""
_PRINCIPAL = re.compile(r"arn:aws:(iam|sts)::\d{12}:[\w+=,.@/-]{1,512}\Z", re.ASCII)
_OF_USAGE: Mapping[str, frozenset[str]] = {
    specs.ENCRYPT: frozenset({"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GetPublicKey"})
    | {f"GenerateDataKey{name}" for name in ("", "WithoutPlaintext", "Pair", "PairWithoutPlaintext")},
    specs.SIGN: frozenset({"Sign", "Verify", "GetPublicKey"}),
    specs.MAC: frozenset({"GenerateMac", "VerifyMac"}),
    specs.AGREE: frozenset({"DeriveSharedSecret", "GetPublicKey"}),
    specs.ENCAPSULATE: frozenset({"Encapsulate", "Decapsulate", "GetPublicKey"}),
}
_ALWAYS = frozenset({"CreateGrant", "RetireGrant", "DescribeKey"})


def create_grant(call: Call) -> Outcome:
    """CreateGrant; the same name and parameters give the grant that there is."""
    found = deciding.find(call, call.get("KeyId", ""))
    key = deciding.allowed(call, found, call.operation)
    deciding.check_state(call.operation, key)
    grant = _asked(call, key)
    _check_delegated(call, found, grant)
    known = call.region.grants.get(key.key_id, {})
    for each in known.values():
        if grant.name and _same(each, grant):
            return Outcome({"GrantId": each.grant_id, "GrantToken": each.token}, keyring.key_arn(key))
    if len(known) >= GRANTS_MAX:
        raise Refused("LimitExceededException", f"A key has {GRANTS_MAX} grants at most")
    deciding.dry_run(call)
    return Outcome({"GrantId": grant.grant_id, "GrantToken": grant.token}, keyring.key_arn(key), (grant,))


def _asked(call: Call, key: KeyChanged) -> GrantChanged:
    operations = list(dict.fromkeys(call.get("Operations", ())))
    unfit = [each for each in operations if each not in _OF_USAGE[key.usage] | _ALWAYS]
    if unfit:
        raise deciding.invalid(f"Grant operation {unfit[0]} is not valid for a key with usage {key.usage}")
    constraints: Mapping[str, Any] = call.get("Constraints") or {}
    equals, subset = (constraints.get(f"EncryptionContext{name}") or {} for name in ("Equals", "Subset"))
    if (equals or subset) and key.spec != specs.SYMMETRIC:
        raise deciding.invalid("Encryption context constraints are for symmetric encryption keys only")
    for name in ("GranteePrincipal", "RetiringPrincipal"):
        if call.get(name) and not _PRINCIPAL.match(call.get(name)):
            raise Refused("InvalidArnException", f"ARN {call.get(name)!r} is not a principal that grants can name")
    grant_id = call.service.entropy(32).hex()
    return GrantChanged(
        entry=keyring.entry(call.region.name, f"grant/{key.key_id}/{grant_id}"),
        grant_id=grant_id,
        key_id=key.key_id,
        grantee=call.get("GranteePrincipal", ""),
        operations=operations,
        issuer=call.caller.arn,
        created_at_ms=call.service.now_ms,
        region=call.region.name,
        retiring=call.get("RetiringPrincipal") or "",
        name=call.get("Name") or "",
        token=hashlib.sha256(f"{key.key_id}/{grant_id}".encode()).hexdigest(),
        context_equals=dict(equals),
        context_subset=dict(subset),
    )


def _check_delegated(call: Call, found: keyring.Found, grant: GrantChanged) -> None:
    """Raises Refused where the caller has less to give than it gives."""
    if deciding.by_policy(call, found, call.operation):
        return
    for each in deciding.grants_for(call, grant.key_id, call.operation):
        fits = not each.context_equals or grant.context_equals == each.context_equals
        fits = fits and grant.context_subset.items() | grant.context_equals.items() >= each.context_subset.items()
        if fits and set(grant.operations) <= set(each.operations):
            return
    raise Refused(
        "AccessDeniedException", "The grant would allow more than the grant by which its author may make grants"
    )


def _same(known: GrantChanged, grant: GrantChanged) -> bool:
    fresh = {"entry": known.entry, "grant_id": known.grant_id, "token": known.token}
    return replace(grant, created_at_ms=known.created_at_ms, issuer=known.issuer, **fresh) == known


def list_grants(call: Call) -> Outcome:
    """ListGrants of a key."""
    key = deciding.use(call)
    wanted = [("GrantId", "grant_id"), ("GranteePrincipal", "grantee")]
    found = [
        _described(each)
        for each in call.region.grants.get(key.key_id, {}).values()
        if all(not call.get(name) or getattr(each, field) == call.get(name) for name, field in wanted)
    ]
    return Outcome(described.page(call, found, "Grants", default=50), keyring.key_arn(key))


def list_retirable_grants(call: Call) -> Outcome:
    """ListRetirableGrants: those that a principal may retire, of all keys of the region."""
    deciding.allowed_anywhere(call)
    found = [
        _described(each)
        for grants in call.region.grants.values()
        for each in grants.values()
        if each.retiring == call.get("RetiringPrincipal")
    ]
    return Outcome(described.page(call, found, "Grants", default=50))


def _described(grant: GrantChanged) -> dict[str, Any]:
    found: dict[str, Any] = {
        "KeyId": f"{keyring.arn_prefix(grant.region)}key/{grant.key_id}",
        "GrantId": grant.grant_id,
        "Name": grant.name,
        "CreationDate": described.moment(grant.created_at_ms),
        "GranteePrincipal": grant.grantee,
        "IssuingAccount": deciding.ROOT_ARN,
        "Operations": list(grant.operations),
    }
    if grant.retiring:
        found["RetiringPrincipal"] = grant.retiring
    constraints = {
        name: pairs
        for name, pairs in (
            ("EncryptionContextEquals", grant.context_equals),
            ("EncryptionContextSubset", grant.context_subset),
        )
        if pairs
    }
    if constraints:
        found["Constraints"] = constraints
    return found


def retire_grant(call: Call) -> Outcome:
    """RetireGrant: by the principal that it names for that, by its grantee if it says so, or by a policy's leave."""
    grant = _named(call)
    key = call.region.keys[grant.key_id]
    own = grant.grantee in call.caller.arns and "RetireGrant" in grant.operations
    if grant.retiring not in call.caller.arns and not own:
        deciding.allowed(call, call.region.find(grant.key_id), call.operation)
    deciding.check_state(call.operation, key)
    deciding.dry_run(call)
    return Outcome({}, keyring.key_arn(key), (replace(grant, retired=True),))


def _named(call: Call) -> GrantChanged:
    if call.get("GrantToken"):
        for grants in call.region.grants.values():
            for each in grants.values():
                if each.token == call.get("GrantToken"):
                    return each
        raise Refused("InvalidGrantTokenException", "Invalid grant token")
    if not call.get("KeyId") or not call.get("GrantId"):
        raise deciding.invalid("Expected a grant token, or the key's ARN and the grant's id")
    found = deciding.find(call, call.get("KeyId")).key
    return _of(call, found.key_id if found else "")


def _of(call: Call, key_id: str) -> GrantChanged:
    grant = call.region.grants.get(key_id, {}).get(call.get("GrantId"))
    if grant is None:
        raise Refused("NotFoundException", f"Grant ID {call.get('GrantId')} not found")
    return grant


def revoke_grant(call: Call) -> Outcome:
    """RevokeGrant: by whoever the key's policy lets."""
    key = deciding.use(call)
    grant = _of(call, key.key_id)
    deciding.dry_run(call)
    return Outcome({}, keyring.key_arn(key), (replace(grant, retired=True),))
