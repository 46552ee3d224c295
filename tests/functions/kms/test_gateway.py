"""AWS KMS over HTTP, with the client that people have: boto3, unchanged, its signatures checked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.functions.kms import system as systems
from tests.functions.kms.boto import operator, role
from tests.support import buses
from tests.support.waiting import eventually

from sixfold import clock as clocks
from sixfold.publisher import Publisher
from sixfold_events.kms import KeyChanged
from sixfold_events.system import Tick
from sixfold_functions.identity import client as identity

CONTEXT = {"topic": "payments"}
ALL = [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]


@pytest.fixture
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[systems.System]:
    """A system with an issuer."""
    place = buses.Place("embedded:", tmp_path_factory.mktemp("system"))
    async with systems.running_system(place) as running:
        await running.issuer()
        yield running


async def test_what_boto3_encrypts_it_decrypts_with_the_same_context_only(system: systems.System) -> None:
    """Encrypt, Decrypt, ReEncrypt, data keys: each with context and without; regions know nothing of each other."""
    kms = await operator(system)
    key = (await kms("create_key", Description="payments"))["KeyMetadata"]
    assert key["Arn"].startswith("arn:aws:kms:eu-north-1:000000000000:key/")
    await kms("create_alias", AliasName="alias/payments", TargetKeyId=key["KeyId"])
    sealed = await kms("encrypt", KeyId="alias/payments", Plaintext=b"hello", EncryptionContext=CONTEXT)
    opened = await kms("decrypt", CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert (opened["Plaintext"], opened["KeyId"]) == (b"hello", key["Arn"])
    refusal = await kms.refused("decrypt", CiphertextBlob=sealed["CiphertextBlob"])
    assert refusal == ("InvalidCiphertextException", "")
    data_key = await kms("generate_data_key", KeyId=key["Arn"], KeySpec="AES_256")
    assert len(data_key["Plaintext"]) == 32
    assert (await kms("decrypt", CiphertextBlob=data_key["CiphertextBlob"]))["Plaintext"] == data_key["Plaintext"]
    other = (await kms("create_key"))["KeyMetadata"]["KeyId"]
    moved = await kms(
        "re_encrypt",
        CiphertextBlob=sealed["CiphertextBlob"],
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=other,
        DestinationEncryptionContext={"topic": "archive"},
    )
    assert moved["SourceKeyId"] == key["Arn"]
    again = await kms("decrypt", CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"topic": "archive"})
    assert again["Plaintext"] == b"hello"
    elsewhere = await operator(system, "us-east-1")
    refusal = await elsewhere.refused("decrypt", CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert refusal[0] == "InvalidCiphertextException"
    assert (await elsewhere.refused("describe_key", KeyId="alias/payments"))[0] == "NotFoundException"


async def test_every_call_is_in_the_trail_without_what_it_was_about(system: systems.System) -> None:
    """Allowed and refused, with region, caller and where it came from; no plaintext, no ciphertext."""
    kms = await operator(system)
    key = (await kms("create_key"))["KeyMetadata"]["KeyId"]
    sealed = await kms("encrypt", KeyId=key, Plaintext=b"not for the log", EncryptionContext=CONTEXT)
    await kms.refused("decrypt", CiphertextBlob=sealed["CiphertextBlob"])
    record = await system.audited("Encrypt")
    assert (record["awsRegion"], record["sourceIPAddress"]) == ("eu-north-1", "127.0.0.1")
    assert record["userIdentity"]["arn"] == "arn:aws:iam::000000000000:root"
    assert record["requestParameters"]["encryptionContext"] == CONTEXT
    assert "Boto3" in record["userAgent"]
    await system.audited("CreateKey")
    await system.audited("Decrypt", "InvalidCiphertextException")
    stored = [each for topic in ("kms.audit", "kms.calls", "kms.keys") for each in await system.records(topic)]
    everything = b"".join(each.value or b"" for each in stored)
    assert b"not for the log" not in everything
    assert sealed["CiphertextBlob"] not in everything


SPECS = [
    ("RSA_2048", "SIGN_VERIFY", "RSASSA_PSS_SHA_256"),
    ("RSA_2048", "SIGN_VERIFY", "RSASSA_PKCS1_V1_5_SHA_512"),
    ("ECC_NIST_P256", "SIGN_VERIFY", "ECDSA_SHA_256"),
    ("ECC_NIST_P384", "SIGN_VERIFY", "ECDSA_SHA_384"),
    ("ECC_NIST_P521", "SIGN_VERIFY", "ECDSA_SHA_512"),
    ("ECC_SECG_P256K1", "SIGN_VERIFY", "ECDSA_SHA_256"),
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "ED25519_SHA_512"),
    ("ML_DSA_65", "SIGN_VERIFY", "ML_DSA_SHAKE_256"),
]


async def test_keys_of_each_spec_sign_and_only_their_own_signature_is_good(system: systems.System) -> None:
    """Signatures over messages and digests; public keys; codes of HMAC keys; OAEP; ECDH between two keys."""
    kms = await operator(system)
    for spec, usage, algorithm in SPECS:
        key = (await kms("create_key", KeySpec=spec, KeyUsage=usage))["KeyMetadata"]
        assert algorithm in key["SigningAlgorithms"]
        named = {"KeyId": key["KeyId"], "SigningAlgorithm": algorithm}
        signature = (await kms("sign", **named, Message=b"pay 5"))["Signature"]
        assert (await kms("verify", **named, Message=b"pay 5", Signature=signature))["SignatureValid"]
        refusal = await kms.refused("verify", **named, Message=b"pay 500", Signature=signature)
        assert refusal == ("KMSInvalidSignatureException", "")
        assert (await kms("get_public_key", KeyId=key["KeyId"]))["KeySpec"] == spec
        assert (await kms.refused("encrypt", KeyId=key["KeyId"], Plaintext=b"x"))[0] == "InvalidKeyUsageException"
    for bits in (224, 256, 384, 512):
        key = (await kms("create_key", KeySpec=f"HMAC_{bits}", KeyUsage="GENERATE_VERIFY_MAC"))["KeyMetadata"]
        named = {"KeyId": key["KeyId"], "MacAlgorithm": f"HMAC_SHA_{bits}"}
        code = (await kms("generate_mac", **named, Message=b"pay 5"))["Mac"]
        assert len(code) == bits // 8
        assert (await kms("verify_mac", **named, Message=b"pay 5", Mac=code))["MacValid"]
        assert (await kms.refused("verify_mac", **named, Message=b"pay 6", Mac=code))[0] == "KMSInvalidMacException"
    rsa = (await kms("create_key", KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT"))["KeyMetadata"]["KeyId"]
    oaep = {"KeyId": rsa, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    sealed = (await kms("encrypt", **oaep, Plaintext=b"x" * 190))["CiphertextBlob"]
    assert (await kms("decrypt", **oaep, CiphertextBlob=sealed))["Plaintext"] == b"x" * 190
    assert (await kms.refused("encrypt", **oaep, Plaintext=b"x" * 191))[1] == (
        "Algorithm RSAES_OAEP_SHA_256 and key spec RSA_2048 cannot encrypt data larger than 190 bytes."
    )
    one, two = [
        (await kms("create_key", KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT"))["KeyMetadata"]["KeyId"]
        for _ in range(2)
    ]
    secrets = []
    for mine, theirs in ((one, two), (two, one)):
        public = (await kms("get_public_key", KeyId=theirs))["PublicKey"]
        found = await kms("derive_shared_secret", KeyId=mine, KeyAgreementAlgorithm="ECDH", PublicKey=public)
        secrets.append(found["SharedSecret"])
    assert secrets[0] == secrets[1]


async def test_a_key_pair_comes_with_its_private_half_encrypted(system: systems.System) -> None:
    """What is decrypted later is the private key that was given in clear."""
    kms = await operator(system)
    key = (await kms("create_key"))["KeyMetadata"]["KeyId"]
    for spec in ("RSA_2048", "ECC_NIST_P256"):
        pair = await kms("generate_data_key_pair", KeyId=key, KeyPairSpec=spec, EncryptionContext=CONTEXT)
        opened = await kms("decrypt", CiphertextBlob=pair["PrivateKeyCiphertextBlob"], EncryptionContext=CONTEXT)
        assert opened["Plaintext"] == pair["PrivateKeyPlaintext"]
        plain = await kms("generate_data_key_pair_without_plaintext", KeyId=key, KeyPairSpec=spec)
        assert "PrivateKeyPlaintext" not in plain


async def test_a_key_that_was_rotated_opens_what_it_sealed_before(system: systems.System) -> None:
    """On demand, listed, and with a period; the limits of the period are AWS's."""
    kms = await operator(system)
    key = (await kms("create_key"))["KeyMetadata"]["KeyId"]
    sealed = (await kms("encrypt", KeyId=key, Plaintext=b"old"))["CiphertextBlob"]
    await kms("enable_key_rotation", KeyId=key, RotationPeriodInDays=90)
    status = await kms("get_key_rotation_status", KeyId=key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 90)
    await kms("rotate_key_on_demand", KeyId=key)
    newer = (await kms("encrypt", KeyId=key, Plaintext=b"new"))["CiphertextBlob"]
    assert newer[2:18] != sealed[2:18], "another version"
    for blob, text in ((sealed, b"old"), (newer, b"new")):
        assert (await kms("decrypt", CiphertextBlob=blob))["Plaintext"] == text
    [rotation] = (await kms("list_key_rotations", KeyId=key))["Rotations"]
    assert rotation["RotationType"] == "ON_DEMAND"
    refusal = await kms.refused("enable_key_rotation", KeyId=key, RotationPeriodInDays=2561)
    assert "Member must have value less than or equal to 2560" in refusal[1]


async def test_a_key_that_is_not_enabled_is_not_used(system: systems.System) -> None:
    """Disabled, and pending deletion until that is cancelled."""
    kms = await operator(system)
    key = (await kms("create_key"))["KeyMetadata"]["KeyId"]
    await kms("disable_key", KeyId=key)
    assert (await kms.refused("encrypt", KeyId=key, Plaintext=b"x"))[0] == "DisabledException"
    await kms("enable_key", KeyId=key)
    await kms("encrypt", KeyId=key, Plaintext=b"x")
    scheduled = await kms("schedule_key_deletion", KeyId=key, PendingWindowInDays=7)
    assert scheduled["KeyState"] == "PendingDeletion"
    assert (await kms.refused("encrypt", KeyId=key, Plaintext=b"x"))[0] == "KMSInvalidStateException"
    assert (await kms.refused("schedule_key_deletion", KeyId=key))[0] == "KMSInvalidStateException"
    await kms("cancel_key_deletion", KeyId=key)
    assert (await kms("describe_key", KeyId=key))["KeyMetadata"]["KeyState"] == "Disabled"


async def test_a_key_policy_says_who_may_use_the_key(system: systems.System) -> None:
    """A role that it names needs no policy of its own; one that it denies is refused whatever its own says."""
    kms = await operator(system)
    payments, sales = await role(system, "payments"), await role(system, "sales", ALL)
    key = (await kms("create_key"))["KeyMetadata"]["KeyId"]
    assert (await payments.refused("encrypt", KeyId=key, Plaintext=b"x"))[0] == "AccessDeniedException"
    await sales("encrypt", KeyId=key, Plaintext=b"x")
    root = {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "kms:*", "Resource": "*"}
    named = {
        "Sid": "payments encrypts",
        "Effect": "Allow",
        "Principal": {"AWS": identity.role_arn("payments")},
        "Action": "kms:Encrypt",
        "Resource": "*",
    }
    denied = {**named, "Sid": "not sales", "Effect": "Deny", "Principal": {"AWS": identity.role_arn("sales")}}
    policy = {"Version": "2012-10-17", "Statement": [root, named, denied]}
    await kms("put_key_policy", KeyId=key, Policy=json.dumps(policy))
    await payments("encrypt", KeyId=key, Plaintext=b"x")
    assert (await payments.refused("generate_mac", KeyId=key, MacAlgorithm="HMAC_SHA_256", Message=b"x"))[0] == (
        "AccessDeniedException"
    )
    assert (await sales.refused("encrypt", KeyId=key, Plaintext=b"x"))[0] == "AccessDeniedException"
    assert json.loads((await kms("get_key_policy", KeyId=key))["Policy"]) == policy
    locked = {"Version": "2012-10-17", "Statement": [named]}
    refusal = await kms.refused("put_key_policy", KeyId=key, Policy=json.dumps(locked))
    assert "will not allow you to update" in refusal[1]


async def test_a_grant_lets_a_role_in_until_it_is_revoked(system: systems.System) -> None:
    """Only for its operations and its encryption context; the same name gives the same grant; what is delegated is less."""
    kms, risk = await operator(system), await role(system, "risk")
    key = (await kms("create_key"))["KeyMetadata"]["KeyId"]
    asked: dict[str, Any] = {
        "KeyId": key,
        "GranteePrincipal": identity.role_arn("risk"),
        "Operations": ["Encrypt", "CreateGrant"],
        "Constraints": {"EncryptionContextSubset": CONTEXT},
        "Name": "risk-encrypts",
    }
    grant = await kms("create_grant", **asked)
    assert (await kms("create_grant", **asked))["GrantId"] == grant["GrantId"]
    given = {"KeyId": key, "Plaintext": b"x"}
    await risk("encrypt", **given, EncryptionContext={**CONTEXT, "day": "monday"})
    assert (await risk.refused("encrypt", **given))[0] == "AccessDeniedException"
    assert (await risk.refused("describe_key", KeyId=key))[0] == "AccessDeniedException"
    [listed] = (await kms("list_grants", KeyId=key))["Grants"]
    assert (listed["Operations"], listed["Constraints"]) == (asked["Operations"], asked["Constraints"])
    await kms("revoke_grant", KeyId=key, GrantId=grant["GrantId"])
    assert (await risk.refused("encrypt", **given, EncryptionContext=CONTEXT))[0] == "AccessDeniedException"


async def test_a_key_whose_waiting_period_is_over_is_gone_at_the_next_hour(system: systems.System) -> None:
    """The timer's function asks for it in the system's own name, through the log; the trail says so."""
    kms = await operator(system)
    key = (await kms("create_key"))["KeyMetadata"]["KeyId"]
    await kms("schedule_key_deletion", KeyId=key, PendingWindowInDays=7)
    system.clock.ahead_s = 7 * 86_400 + 1
    tick = Tick(function="kms.tend", at_ms=clocks.now_ms(system.clock))
    await Publisher(system.bus, source="/test", clock=system.clock).publish(tick)

    async def gone() -> bool:
        newest = (await system.records("kms.keys"))[-1]
        event = system.process.registry.decode(newest.value, newest.headers)
        return isinstance(event, KeyChanged) and event.state == "Deleted"

    await eventually(gone, "the key is destroyed")
    assert (await system.audited("TendKeys"))["userIdentity"]["type"] == "Root"
