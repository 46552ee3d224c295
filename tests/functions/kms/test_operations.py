"""Operations on keys, without any bus: what falls due, what grants may hand on, what a policy of a key decides."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest

from sixfold_events.kms import KeyChanged
from sixfold_functions.kms import asymmetric, deciding, keyring
from sixfold_functions.kms.operations import lifetimes, table
from sixfold_functions.policies import policy

NOW_MS = 1_790_000_000_000
DAY_MS = lifetimes.DAY_MS
DOMAIN = keyring.Domain(b"d" * 32, "00" * 8)
ALLOWED, SILENT = policy.Verdict(True, "a statement"), policy.Verdict(False, "implicit")
DENIED = policy.Verdict(False, "a denial", denied=True)
ROLE = "arn:aws:iam::000000000000:role"


def caller(role: str = "", own: policy.Verdict = ALLOWED) -> deciding.Caller:
    """The operator, or a session of `role` whose own policies say this."""
    return deciding.Caller(
        arn=f"arn:aws:sts::000000000000:assumed-role/{role}/s" if role else deciding.ROOT_ARN,
        kind="AssumedRole" if role else "Root",
        role=role,
        issuer="i",
        subject="s",
        issued_at_s=0,
        secret="s",
        permits=lambda *_: own,
    )


class Kms:
    """The operations over one ring, with hands on the clock."""

    def __init__(self) -> None:
        self.ring = keyring.Keyring()
        self.now_ms = NOW_MS

    def call(self, who: deciding.Caller, operation: str, parameters: Mapping[str, Any]) -> deciding.Call:
        service = deciding.Service(self.ring, DOMAIN, os.urandom, self.now_ms, asymmetric.Loader())
        return deciding.Call(operation, parameters, self.ring.of("local"), who, service)

    def __call__(self, operation: str, who: deciding.Caller | None = None, **parameters: Any) -> Mapping[str, Any]:
        """The result; what changed is in the ring."""
        outcome = table.OPERATIONS[operation].run(self.call(who or caller(), operation, parameters))
        assert bool(outcome.changes) <= table.OPERATIONS[operation].changes, "it said that it changes nothing"
        for change in outcome.changes:
            self.ring.apply(change)
        return outcome.result

    def refused(self, operation: str, who: deciding.Caller | None = None, **parameters: Any) -> str:
        """The code that it is refused with."""
        with pytest.raises(deciding.Refused) as caught:
            self(operation, who, **parameters)
        return caught.value.code

    def key(self, **parameters: Any) -> str:
        """A new key's id."""
        return str(self("CreateKey", **parameters)["KeyMetadata"]["KeyId"])

    def tend(self) -> list[deciding.Change]:
        """Do what is due."""
        changes = lifetimes.due(self.call(caller(), "TendKeys", {}))
        for change in changes:
            self.ring.apply(change)
        return changes


def test_a_key_is_rotated_when_its_period_is_over_and_opens_all_that_it_sealed() -> None:
    """Once a period, not before; the old material stays."""
    kms = Kms()
    key = kms.key()
    kms("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    blobs = [kms("Encrypt", KeyId=key, Plaintext=b"0")["CiphertextBlob"]]
    kms.now_ms += 90 * DAY_MS - 1
    assert kms.tend() == []
    for period in (1, 2, 3):
        kms.now_ms = NOW_MS + period * 91 * DAY_MS
        [changed] = kms.tend()
        assert isinstance(changed, KeyChanged)
        assert len(changed.versions) == period + 1
        assert kms.tend() == [], "once"
        blobs.append(kms("Encrypt", KeyId=key, Plaintext=b"%d" % period)["CiphertextBlob"])
    assert [kms("Decrypt", CiphertextBlob=blob)["Plaintext"] for blob in blobs] == [b"0", b"1", b"2", b"3"]
    assert [each["RotationType"] for each in kms("ListKeyRotations", KeyId=key)["Rotations"]] == ["AUTOMATIC"] * 3
    kms("DisableKeyRotation", KeyId=key)
    kms.now_ms += 400 * DAY_MS
    assert kms.tend() == []


def test_a_key_is_destroyed_after_its_waiting_period_with_its_aliases_and_grants() -> None:
    """Not a moment before; then nothing opens what it sealed, and nobody finds it."""
    kms = Kms()
    key, other = kms.key(), kms.key()
    kms("CreateAlias", AliasName="alias/a", TargetKeyId=key)
    kms("CreateGrant", KeyId=key, GranteePrincipal=f"{ROLE}/r", Operations=["Decrypt"])
    sealed = kms("Encrypt", KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    kms("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    kms.now_ms += 7 * DAY_MS - 1
    assert kms.tend() == []
    kms.now_ms += 1
    [gone] = kms.tend()
    assert isinstance(gone, KeyChanged)
    assert (gone.state, gone.versions) == (keyring.DELETED, {})
    assert kms.refused("DescribeKey", KeyId=key) == "NotFoundException"
    assert kms.refused("Decrypt", CiphertextBlob=sealed) == "InvalidCiphertextException"
    assert kms("ListAliases")["Aliases"] == []
    assert [each["KeyId"] for each in kms("ListKeys")["Keys"]] == [other]


def test_on_demand_rotations_have_a_limit() -> None:
    """As AWS's: 25."""
    kms = Kms()
    key = kms.key()
    for _ in range(lifetimes.ON_DEMAND_MAX):
        kms("RotateKeyOnDemand", KeyId=key)
    assert kms.refused("RotateKeyOnDemand", KeyId=key) == "LimitExceededException"


DELEGATIONS: list[tuple[dict[str, Any], bool]] = [
    ({"Operations": ["Decrypt"], "Constraints": {"EncryptionContextSubset": {"topic": "a"}}}, True),
    ({"Operations": ["Decrypt"], "Constraints": {"EncryptionContextSubset": {"topic": "a", "day": "b"}}}, True),
    ({"Operations": ["Decrypt"], "Constraints": {"EncryptionContextEquals": {"topic": "a"}}}, True),
    ({"Operations": ["Decrypt"]}, False),
    ({"Operations": ["Decrypt"], "Constraints": {"EncryptionContextSubset": {"topic": "b"}}}, False),
    ({"Operations": ["Encrypt"], "Constraints": {"EncryptionContextSubset": {"topic": "a"}}}, False),
]


@pytest.mark.parametrize(("asked", "good"), DELEGATIONS)
def test_who_may_grant_by_a_grant_alone_hands_on_no_more_than_that(asked: dict[str, Any], good: bool) -> None:
    """No other operation, no wider encryption context."""
    kms = Kms()
    key, risk = kms.key(), caller("risk", SILENT)
    kms(
        "CreateGrant",
        KeyId=key,
        GranteePrincipal=f"{ROLE}/risk",
        Operations=["Decrypt", "CreateGrant"],
        Constraints={"EncryptionContextSubset": {"topic": "a"}},
    )
    given = {"KeyId": key, "GranteePrincipal": f"{ROLE}/audit", **asked}
    if good:
        kms("CreateGrant", risk, **given)
    else:
        assert kms.refused("CreateGrant", risk, **given) == "AccessDeniedException"


def statement(effect: str, principal: str, action: str = "kms:*", **more: Any) -> dict[str, Any]:
    """One statement of a key policy."""
    return {"Effect": effect, "Principal": {"AWS": principal}, "Action": action, "Resource": "*", **more}


ROOT = statement("Allow", deciding.ROOT_ARN)
DECISIONS: list[tuple[list[dict[str, Any]], policy.Verdict, bool]] = [
    ([ROOT], SILENT, False),
    ([ROOT], ALLOWED, True),
    ([ROOT], DENIED, False),
    ([ROOT, statement("Allow", f"{ROLE}/r")], SILENT, True),
    ([ROOT, statement("Allow", f"{ROLE}/r")], DENIED, False),
    ([ROOT, statement("Allow", "arn:aws:sts::000000000000:assumed-role/r/s")], SILENT, True),
    ([ROOT, statement("Allow", f"{ROLE}/other")], SILENT, False),
    ([ROOT, statement("Deny", f"{ROLE}/r")], ALLOWED, False),
    ([ROOT, statement("Deny", f"{ROLE}/other")], ALLOWED, True),
    ([ROOT, statement("Allow", "*")], SILENT, True),
    ([ROOT, statement("Deny", "*", "kms:Encrypt"), statement("Allow", f"{ROLE}/r")], ALLOWED, False),
    ([ROOT, statement("Allow", f"{ROLE}/r", "kms:Decrypt")], SILENT, False),
    ([statement("Allow", deciding.ROOT_ARN, "kms:PutKeyPolicy")], ALLOWED, False),
    ([ROOT, statement("Allow", f"{ROLE}/r", Resource="arn:aws:kms:local:000000000000:key/other")], SILENT, False),
    ([ROOT, statement("Deny", f"{ROLE}/r", Resource="arn:aws:kms:local:000000000000:key/other")], ALLOWED, True),
]


@pytest.mark.parametrize(("statements", "own", "expected"), DECISIONS)
def test_the_keys_policy_and_the_callers_decide_together(
    statements: list[dict[str, Any]], own: policy.Verdict, expected: bool
) -> None:
    """Named in the key's policy, or left to the account and allowed there; a denial in either wins."""
    kms = Kms()
    key = kms.key(Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    who = caller("r", own)
    if expected:
        assert kms("Encrypt", who, KeyId=key, Plaintext=b"x")
    else:
        assert kms.refused("Encrypt", who, KeyId=key, Plaintext=b"x") == "AccessDeniedException"


def test_a_denial_is_stronger_than_a_grant() -> None:
    """In the key's policy and in the caller's."""
    kms = Kms()
    deny = statement("Deny", f"{ROLE}/r", "kms:Encrypt")
    keys = [kms.key(), kms.key(Policy=json.dumps({"Version": "2012-10-17", "Statement": [ROOT, deny]}))]
    for key in keys:
        kms("CreateGrant", KeyId=key, GranteePrincipal=f"{ROLE}/r", Operations=["Encrypt"])
    assert kms("Encrypt", caller("r", SILENT), KeyId=keys[0], Plaintext=b"x")
    assert kms.refused("Encrypt", caller("r", DENIED), KeyId=keys[0], Plaintext=b"x") == "AccessDeniedException"
    assert kms.refused("Encrypt", caller("r", SILENT), KeyId=keys[1], Plaintext=b"x") == "AccessDeniedException"


def test_a_grant_is_retired_by_whom_it_names_and_by_its_token() -> None:
    """Nobody else's policy is needed for that; a stranger is refused."""
    kms = Kms()
    key = kms.key()
    granted: dict[str, Any] = {
        "KeyId": key,
        "GranteePrincipal": f"{ROLE}/risk",
        "RetiringPrincipal": f"{ROLE}/audit",
        "Operations": ["Decrypt"],
    }
    first, second = kms("CreateGrant", **granted), kms("CreateGrant", **granted)
    assert first["GrantId"] != second["GrantId"], "without a name each is another"
    assert len(kms("ListRetirableGrants", RetiringPrincipal=f"{ROLE}/audit")["Grants"]) == 2
    token = {"GrantToken": first["GrantToken"]}
    assert kms.refused("RetireGrant", caller("risk", SILENT), **token) == "AccessDeniedException"
    kms("RetireGrant", caller("audit", SILENT), **token)
    kms("RetireGrant", caller("audit", SILENT), KeyId=key, GrantId=second["GrantId"])
    assert kms("ListGrants", KeyId=key)["Grants"] == []
    assert kms.refused("RetireGrant", caller("audit", SILENT), **token) == "InvalidGrantTokenException"


@pytest.mark.parametrize("bit", range(0, 8 * 62, 7))
def test_a_blob_of_one_key_is_never_of_another(bit: int) -> None:
    """Neither named nor by a changed version id in its header."""
    kms = Kms()
    one, two = kms.key(), kms.key()
    sealed = bytearray(kms("Encrypt", KeyId=one, Plaintext=b"x")["CiphertextBlob"])
    assert kms.refused("Decrypt", KeyId=two, CiphertextBlob=bytes(sealed)) == "IncorrectKeyException"
    sealed[bit // 8] ^= 1 << bit % 8
    assert kms.refused("Decrypt", CiphertextBlob=bytes(sealed)) == "InvalidCiphertextException"


@pytest.mark.parametrize(
    "region", ["alias", "key", "grant", "", "eu-north-1/key", "EU-north-1", "local/alias", "x" * 70, "a-b\n"]
)
def test_a_region_has_a_name_that_begins_no_other_entry(region: str) -> None:
    """Else a key of region `alias` would take the place of an alias in the compacted topic."""
    with pytest.raises(deciding.Refused, match="region: expected"):
        deciding.check_region(region)
    for good in ("local", "eu-north-1", "us-gov-west-1"):
        deciding.check_region(good)
