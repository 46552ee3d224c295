"""Deciding about key requests, without any bus: every bit, every permission, every odd request."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sixfold_events.kms import KeyChanged, KeyRequested
from sixfold_functions.kms import asymmetric, core, deciding, keyring, messages
from sixfold_functions.policies import policy

NOW_MS = 1_790_000_000_000
SECRET = "secret of the session"
DOMAIN = keyring.Domain(b"d" * 32, "00" * 8)
RECIPIENT = X25519PrivateKey.from_private_bytes(b"r" * 32)
CONTEXT = {"topic": "payments"}
Permits = Callable[[str, str, deciding.Context], policy.Verdict]
ALLOWED, FORBIDDEN = policy.Verdict(True, "a statement"), policy.Verdict(False, "implicit")


def caller(permits: Permits = lambda *_: ALLOWED) -> deciding.Caller:
    return deciding.Caller(
        arn="arn:aws:sts::000000000000:assumed-role/r/s",
        kind="AssumedRole",
        role="r",
        issuer="i",
        subject="s",
        issued_at_s=0,
        secret=SECRET,
        permits=permits,
    )


def request(operation: str, **fields: Any) -> KeyRequested:
    unsigned = KeyRequested(
        **{
            "request_id": "r1",
            "lane": core.lane_of(operation, "ASIA"),
            "operation": operation,
            "encryption_context": CONTEXT,
            "access_key_id": "ASIA",
            "session_token": "token",
            "signed_at_ms": NOW_MS,
            "signature": b"",
            "recipient": RECIPIENT.public_key().public_bytes_raw(),
            **fields,
        }
    )
    return msgspec.structs.replace(unsigned, signature=messages.sign(SECRET, unsigned))


def service(ring: keyring.Keyring) -> deciding.Service:
    return deciding.Service(ring, DOMAIN, os.urandom, NOW_MS, asymmetric.Loader())


def made(alias: str = "alias/a") -> keyring.Keyring:
    ring = keyring.Keyring()
    for change in core.perform(request("CreateKey", alias=alias), {}, caller(), service(ring)).changes:
        ring.apply(change)
    return ring


def key_in(ring: keyring.Keyring) -> KeyChanged:
    """The only key of a ring."""
    [key] = ring.of(keyring.REGION).keys.values()
    return key


RING = made()
KEY = key_in(RING)
ISSUED_BY = request("GenerateDataKey", key_id="alias/a")
ISSUED = core.perform(ISSUED_BY, {}, caller(), service(RING))
SEALED = core.sealed(ISSUED_BY, ISSUED)
PLAINTEXT = messages.unseal(SEALED, RECIPIENT, ISSUED_BY)


def refused(asked: KeyRequested, who: deciding.Caller | None = None, ring: keyring.Keyring = RING) -> str:
    with pytest.raises(deciding.Refused) as caught:
        core.sealed(asked, core.perform(asked, {}, who or caller(), service(ring)))
    return caught.value.code


def test_what_was_issued_can_be_opened() -> None:
    """The same context, by key id, alias, ARNs or none: the same plaintext."""
    for named in ("", "alias/a", KEY.key_id, keyring.key_arn(KEY), keyring.ARN_PREFIX + "alias/a"):
        asked = request("Decrypt", ciphertext_blob=ISSUED.result["CiphertextBlob"], key_id=named)
        found = core.perform(asked, {}, caller(), service(RING))
        assert messages.unseal(core.sealed(asked, found), RECIPIENT, asked) == PLAINTEXT


@pytest.mark.parametrize("bit", range(len(ISSUED.result["CiphertextBlob"]) * 8))
def test_one_flipped_bit_of_the_blob_is_refused(bit: int) -> None:
    """All 880 of them, each with the same empty answer."""
    changed = bytearray(ISSUED.result["CiphertextBlob"])
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(deciding.Refused) as caught:
        core.perform(request("Decrypt", ciphertext_blob=bytes(changed)), {}, caller(), service(RING))
    assert (caught.value.code, caught.value.message) == ("InvalidCiphertextException", "")


def flipped(text: str, bit: int) -> str | None:
    data = bytearray(text.encode())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


@settings(max_examples=300)
@given(bit=st.integers(0, 10_000), part=st.sampled_from(["key", "value"]))
def test_one_flipped_bit_of_the_context_is_refused(bit: int, part: str) -> None:
    """In the name or in the value."""
    name, value = "topic", "payments"
    changed = flipped(name if part == "key" else value, bit)
    if changed:
        context = {changed: value} if part == "key" else {name: changed}
        asked = request("Decrypt", ciphertext_blob=ISSUED.result["CiphertextBlob"], encryption_context=context)
        assert refused(asked) == "InvalidCiphertextException"


@settings(max_examples=400)
@given(bit=st.integers(0, 10_000), named=st.sampled_from([KEY.key_id, keyring.key_arn(KEY), "alias/a"]))
def test_one_flipped_bit_of_the_key_id_is_refused(bit: int, named: str) -> None:
    """Whatever the caller names, it must be the blob's own key."""
    changed = flipped(named, bit)
    if changed is not None:
        asked = request("Decrypt", ciphertext_blob=ISSUED.result["CiphertextBlob"], key_id=changed)
        assert refused(asked) in ("NotFoundException", "IncorrectKeyException")


@settings(max_examples=300)
@given(data=st.data())
def test_one_changed_field_of_a_request_breaks_its_signature(data: st.DataObject) -> None:
    """The signature covers the whole request: every field that the type has, this one test learns by itself."""
    asked = request(
        "Decrypt", ciphertext_blob=ISSUED.result["CiphertextBlob"], key_id="alias/a", alias="a", description="d"
    )
    name = data.draw(st.sampled_from([field for field in asked.__struct_fields__ if field != "signature"]))
    old = getattr(asked, name)
    kinds: dict[type, st.SearchStrategy[Any]] = {
        str: st.text(max_size=20),
        bytes: st.binary(max_size=40),
        int: st.integers(-(2**62), 2**62),
        dict: st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
    }
    new = data.draw(kinds[type(old)])
    changed = msgspec.structs.replace(asked, **{name: new})
    if new == old:
        core.check_signature(changed, caller())
    else:
        with pytest.raises(deciding.Refused, match="InvalidSignatureException"):
            core.check_signature(changed, caller())


def test_a_signature_of_another_secret_is_refused() -> None:
    """Only the session's own secret signs."""
    other = msgspec.structs.replace(ISSUED_BY, signature=messages.sign("other", ISSUED_BY))
    with pytest.raises(deciding.Refused, match="InvalidSignatureException"):
        core.check_signature(other, caller())


@pytest.mark.parametrize(("ahead_ms", "good"), [(0, True), (300_000, True), (-300_000, True), (300_001, False)])
def test_a_request_is_fresh_for_five_minutes_on_each_side(ahead_ms: int, good: bool) -> None:
    """As AWS's signatures."""
    asked = request("Decrypt", signed_at_ms=NOW_MS + ahead_ms)
    if good:
        core.check_fresh(asked, NOW_MS)
    else:
        with pytest.raises(deciding.Refused, match="RequestExpiredException"):
            core.check_fresh(asked, NOW_MS)


def test_who_may_not_use_a_key_does_not_learn_whether_it_exists() -> None:
    """Denied and missing look the same, but for the name that was asked."""
    nobody = caller(lambda *_: FORBIDDEN)
    for operation in ("GenerateDataKey", "CreateAlias"):
        for named in ("alias/a", "alias/none", KEY.key_id, "00000000-0000-4000-8000-000000000000"):
            if operation == "CreateAlias" and named.startswith("alias/"):
                continue  # an alias of an alias is wrong, whoever asks
            assert refused(request(operation, key_id=named, alias="alias/b"), nobody) == "AccessDeniedException"
    assert refused(request("GenerateDataKey", key_id="alias/none")) == "NotFoundException"
    assert (
        refused(request("Decrypt", ciphertext_blob=ISSUED.result["CiphertextBlob"]), nobody) == "AccessDeniedException"
    )


def test_a_policy_sees_action_resource_context_and_aliases() -> None:
    """What conditions can be written on."""
    seen: list[tuple[str, str, deciding.Context]] = []

    def permits(action: str, resource: str, context: deciding.Context) -> policy.Verdict:
        seen.append((action, resource, context))
        return ALLOWED

    core.perform(ISSUED_BY, {}, caller(permits), service(RING))
    action, resource, context = seen[0]
    assert (action, resource) == ("kms:GenerateDataKey", keyring.key_arn(KEY))
    assert context == {
        "kms:EncryptionContext:topic": ("payments",),
        "kms:EncryptionContextKeys": ("topic",),
        "kms:CallerAccount": (keyring.ACCOUNT,),
        "kms:RequestAlias": ("alias/a",),
        "kms:ResourceAliases": ("alias/a",),
    }
    for key in context:
        permission = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Null": {key: "false"}}}
        assert policy.permission(json.dumps({"Version": policy.VERSION, "Statement": permission}))


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (request("GenerateDataKey", key_id="alias/a", recipient=b""), "ValidationException"),
        (request("GenerateDataKey", key_id="alias/a", recipient=bytes(32)), "ValidationException"),
        (request("Decrypt", ciphertext_blob=ISSUED.result["CiphertextBlob"], recipient=b"x"), "ValidationException"),
        (request("GenerateDataKey", key_id="alias/a", number_of_bytes=0), "ValidationException"),
        (request("GenerateDataKey", key_id="alias/a", number_of_bytes=1025), "ValidationException"),
        (request("GenerateDataKey", key_id="x" * 2049), "ValidationException"),
        (request("GenerateDataKey", key_id="alias/a", request_id=""), "ValidationException"),
        (request("Decrypt", ciphertext_blob=b""), "InvalidCiphertextException"),
        (request("CreateKey", alias="payments"), "ValidationException"),
        (request("CreateKey", alias="alias/aws/ebs"), "NotAuthorizedException"),
        (request("CreateKey", alias="alias/a"), "AlreadyExistsException"),
        (request("CreateKey", region="alias"), "ValidationException"),
        (request("DeleteEverything"), "UnsupportedOperationException"),
    ],
)
def test_an_odd_request_is_refused_by_name(asked: KeyRequested, code: str) -> None:
    """Each with AWS's error."""
    assert refused(asked) == code


@pytest.mark.parametrize(("state", "code"), [("Disabled", "DisabledException"), ("PendingDeletion", "KMSInvalidState")])
def test_a_key_that_is_not_enabled_does_nothing(state: str, code: str) -> None:
    """Its state is asked before its material."""
    ring = made("alias/b")
    ring.apply(msgspec.structs.replace(key_in(ring), state=state))
    assert refused(request("GenerateDataKey", key_id="alias/b"), ring=ring).startswith(code)


def test_wrapped_material_cannot_be_moved_to_another_key() -> None:
    """The wrapping names key and version: a log that was tampered with opens nothing."""
    first, second = made("alias/b"), made("alias/c")
    one, two = key_in(first), key_in(second)
    stolen = {two.current_version: one.versions[one.current_version]}
    second.apply(msgspec.structs.replace(two, versions=stolen))
    assert refused(request("GenerateDataKey", key_id="alias/c"), ring=second) == "KMSInternalException"


def test_a_key_of_another_root_is_refused_and_so_are_new_ones_beside_it() -> None:
    """A lost root key is noticed at once."""
    strange = deciding.Service(RING, keyring.Domain(b"e" * 32, "11" * 8), os.urandom, NOW_MS, asymmetric.Loader())
    for asked in (ISSUED_BY, request("CreateKey"), request("Decrypt", ciphertext_blob=ISSUED.result["CiphertextBlob"])):
        with pytest.raises(deciding.Refused, match=r"KMSInternalException: .*restore the root key"):
            core.perform(asked, {}, caller(), strange)


def test_a_sealed_key_opens_only_for_its_request() -> None:
    """The transit seal is bound to the whole request, so an answer cannot be moved to another one."""
    other = request("GenerateDataKey", key_id="alias/a", request_id="r2")
    with pytest.raises(messages.InvalidAnswerError):
        messages.unseal(SEALED, RECIPIENT, other)


def test_key_material_is_nowhere_in_what_is_stored() -> None:
    """The events of a new key hold it only wrapped."""
    drawn: list[bytes] = []

    def entropy(count: int) -> bytes:
        drawn.append(os.urandom(count))
        return drawn[-1]

    asked = request("CreateKey")
    outcome = core.perform(
        asked, {}, caller(), deciding.Service(keyring.Keyring(), DOMAIN, entropy, NOW_MS, asymmetric.Loader())
    )
    stored = b"".join(msgspec.msgpack.encode(change) for change in outcome.changes)
    created = outcome.changes[0]
    assert isinstance(created, KeyChanged)
    material = [data for data in drawn if len(data) == 32]
    assert len(material) == 1
    assert material[0] not in stored
