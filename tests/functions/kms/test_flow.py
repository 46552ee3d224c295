"""The whole way of a data key, on a real bus with real HTTP: who gets it back, who does not, and what is left behind."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tests.functions.kms import system as systems
from tests.support import buses
from tests.support.waiting import eventually

from sixfold import errors
from sixfold.bus import murmur2
from sixfold.publisher import Publisher, record_of
from sixfold_events.kms import KeyAnswered, KeyRequested, KmsAudited
from sixfold_functions.identity import client as identity
from sixfold_functions.kms import client as kms
from sixfold_functions.kms import messages, root, topics

CONTEXT = {"topic": "payments"}
RISK = [
    {
        "Effect": "Allow",
        "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
        "Resource": "*",
        "Condition": {
            "StringEquals": {
                "aws:PrincipalTag/team": "risk",
                "kms:EncryptionContext:topic": "payments",
            }
        },
    }
]


@pytest.fixture
async def system(place: buses.Place) -> AsyncIterator[systems.System]:
    """A system with an issuer, a role for the risk team and a key."""
    async with systems.running_system(place) as running:
        await running.issuer()
        await running.role("payments", RISK)
        await running.key()
        yield running


async def test_the_same_claims_get_a_data_key_and_open_it_again(system: systems.System) -> None:
    """Two sessions with the same claims share what one of them sealed; both calls are audited with their identity."""
    async with system.client(await system.assume("payments", team="risk")) as client:
        key = await client.generate_data_key("alias/payments", CONTEXT)
    async with system.client(await system.assume("payments", team="risk")) as client:
        assert await client.decrypt(key.ciphertext_blob, CONTEXT) == key.plaintext
        assert await client.decrypt(key.ciphertext_blob, CONTEXT, key_id=key.key_id) == key.plaintext
    assert len(key.plaintext) == 32
    for name in ("GenerateDataKey", "Decrypt"):
        record: dict[str, Any] = await system.audited(name)
        assert record["resources"][0]["ARN"] == key.key_id
        assert record["requestParameters"]["encryptionContext"] == CONTEXT
        federation = record["userIdentity"]["sessionContext"]["webIdFederationData"]
        assert federation["attributes"]["sub"] == "alice@example.com"


async def test_other_claims_are_refused(system: systems.System) -> None:
    """The policy sees the token's claims; a session of another team gets nothing."""
    async with system.client(await system.assume("payments", team="risk")) as client:
        key = await client.generate_data_key("alias/payments", CONTEXT)
    async with system.client(await system.assume("payments", team="sales")) as client:
        with pytest.raises(kms.KmsError, match=r"AccessDeniedException: User: .*payments.* is not authorized"):
            await client.decrypt(key.ciphertext_blob, CONTEXT)
    record = await system.audited("Decrypt", "AccessDeniedException")
    assert record["userIdentity"]["type"] == "AssumedRole"


async def test_a_token_that_the_trust_policy_does_not_name_gets_no_session(system: systems.System) -> None:
    """The refusal comes from the token service, and it is in the same trail."""
    async with system.http() as http:
        with pytest.raises(identity.StsError, match="AccessDenied"):
            await identity.assume_role(http, role="payments", token=system.token("mallory@evil.test", team="risk"))
    record = await system.audited("AssumeRoleWithWebIdentity", "AccessDenied")
    assert record["requestParameters"]["roleArn"] == identity.role_arn("payments")


async def test_an_expired_session_is_refused(system: systems.System) -> None:
    """Its end is checked when the key is asked for, not only when it was made."""
    async with system.client(await system.assume("payments", team="risk", duration_s=900)) as client:
        await client.generate_data_key("alias/payments", CONTEXT)
        system.clock.ahead_s = 901
        with pytest.raises(kms.KmsError, match="ExpiredTokenException"):
            await client.generate_data_key("alias/payments", CONTEXT)
    await system.audited("GenerateDataKey", "ExpiredTokenException")


async def test_a_changed_context_is_refused_without_a_word_why(system: systems.System) -> None:
    """InvalidCiphertextException with an empty message, as AWS: no oracle."""
    await system.role("free", [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}])
    async with system.client(await system.assume("free")) as client:
        key = await client.generate_data_key("alias/payments", CONTEXT)
        for context in ({}, {"topic": "salaries"}, {**CONTEXT, "more": "x"}, {"Topic": "payments"}):
            with pytest.raises(kms.KmsError) as caught:
                await client.decrypt(key.ciphertext_blob, context)
            assert str(caught.value) == "InvalidCiphertextException"
    await system.audited("Decrypt", "InvalidCiphertextException")


async def test_flipped_bits_in_a_blob_are_refused(system: systems.System) -> None:
    """One bit in each part of the blob, through the whole system; every bit is held by test_core.py."""
    async with system.client(await system.assume("payments", team="risk")) as client:
        key = await client.generate_data_key("alias/payments", CONTEXT)
        for place in (0, 1, 2, 17, 18, 34, 50, 62, len(key.ciphertext_blob) - 1):
            changed = bytearray(key.ciphertext_blob)
            changed[place] ^= 0x10
            with pytest.raises(kms.KmsError, match="InvalidCiphertextException"):
                await client.decrypt(bytes(changed), CONTEXT)
    await system.audited("Decrypt", "InvalidCiphertextException")


async def request_of(system: systems.System) -> tuple[KeyRequested, identity.Credentials]:
    """A request that was answered, as whoever reads the topic sees it."""
    found = await system.assume("payments", team="risk")
    async with system.client(found) as client:
        await client.generate_data_key("alias/payments", CONTEXT)
    return (await asked(system))[0], found


async def asked(system: systems.System) -> list[KeyRequested]:
    """Every request for a data key in the topic."""
    return [each for each in await system.events(KeyRequested) if each.operation == "GenerateDataKey"]


async def answers(system: systems.System, request: KeyRequested) -> list[KeyAnswered]:
    return [each for each in await system.events(KeyAnswered) if each.request_id == request.request_id]


async def test_a_replayed_request_returns_nothing_new(system: systems.System) -> None:
    """The same bytes again: no second answer, and the attempt is in the trail."""
    request, _ = await request_of(system)
    before = await answers(system, request)
    await Publisher(system.bus, source="/thief").publish(request)
    await system.audited("GenerateDataKey", "ReplayedRequestException")
    assert await answers(system, request) == before
    assert len(before) == 1


async def test_a_replayed_request_with_another_recipient_is_refused(system: systems.System) -> None:
    """The signature covers the recipient: a reader of the topic cannot have the key sealed to themselves."""
    request, _ = await request_of(system)
    thief = X25519PrivateKey.generate().public_key().public_bytes_raw()
    await Publisher(system.bus, source="/thief").publish(msgspec.structs.replace(request, recipient=thief))
    record = await system.audited("GenerateDataKey", "InvalidSignatureException")
    assert record["userIdentity"] == {"type": "Unknown", "accessKeyId": request.access_key_id}
    found = await eventually(lambda: _several(system, request), "the refusal is answered")
    assert [each.error_code for each in found] == ["", "InvalidSignatureException"]
    assert found[1].sealed_plaintext == b""


async def _several(system: systems.System, request: KeyRequested) -> list[KeyAnswered]:
    found = await answers(system, request)
    return found if len(found) > 1 else []


async def test_a_request_is_good_for_five_minutes(system: systems.System) -> None:
    """Even one that was never answered is refused when it comes too late, or from the future."""
    found = await system.assume("payments", team="risk")
    async with system.client(found) as client:
        for ahead_s in (-301.0, 301.0):
            request = client._signed("GenerateDataKey", "alias/payments", CONTEXT, X25519PrivateKey.generate())
            system.clock.ahead_s += ahead_s
            await Publisher(system.bus, source="/late").publish(request)
            answered = await eventually(functools.partial(answers, system, request), "an answer")
            assert answered[0].error_code == "RequestExpiredException"
            system.clock.ahead_s -= ahead_s
    await system.audited("GenerateDataKey", "RequestExpiredException")


async def test_a_request_in_a_foreign_partition_is_refused(system: systems.System) -> None:
    """Answered requests are remembered by partition, so a replay elsewhere must not find an empty memory."""
    request, _ = await request_of(system)
    elsewhere = (murmur2.partition_for(request.lane.encode(), 3) + 1) % 3
    record = record_of(request, source="/thief", clock=system.clock, partition=elsewhere)
    await system.bus.publish([record])
    await system.audited("GenerateDataKey", "ValidationException")
    assert [each.error_code for each in await eventually(lambda: _several(system, request), "a refusal")] == [
        "",
        "ValidationException",
    ]


async def test_answers_of_somebody_else_are_never_taken(system: systems.System) -> None:
    """A forged answer with a data key that the forger knows, sealed to the right recipient, is passed over."""

    async def forge() -> None:
        request = (await eventually(lambda: asked(system), "a request"))[0]
        answer = KeyAnswered(
            request_id=request.request_id,
            operation=request.operation,
            answered_at_ms=0,
            ciphertext_blob=b"of the forger",
            sealed_plaintext=messages.seal(b"known" * 6 + b"ab", request),
        )
        refusal = msgspec.structs.replace(answer, error_code="NotFoundException", sealed_plaintext=b"")
        await Publisher(system.bus, source="/forger").publish(answer, refusal)

    found = await system.assume("payments", team="risk")
    client = kms.KmsClient(system.bus, found, timeout_s=5)
    async with client:
        waiting = asyncio.create_task(client.generate_data_key("alias/payments", CONTEXT))
        await forge()
        key = await waiting
    assert key.ciphertext_blob != b"of the forger"
    assert not key.plaintext.startswith(b"known")


async def test_rubbish_for_a_session_is_refused_and_audited(system: systems.System) -> None:
    """An unknown token: the caller is named as it named itself, and nothing more is believed."""
    found = await system.assume("payments", team="risk")
    other = msgspec.structs.replace(found, session_token="A" * 100)
    async with system.client(other) as client:
        with pytest.raises(kms.KmsError, match="UnrecognizedClientException"):
            await client.generate_data_key("alias/payments", CONTEXT)
    record = await system.audited("GenerateDataKey", "UnrecognizedClientException")
    assert record["userIdentity"]["type"] == "Unknown"


async def test_a_role_may_not_make_keys_unless_its_policy_says_so(system: systems.System) -> None:
    """Administration is an action like any other; an alias is given once."""
    async with system.client(await system.assume("payments", team="risk")) as client:
        with pytest.raises(kms.KmsError, match="AccessDeniedException"):
            await client.create_key()
    async with system.client(await system.operator()) as client:
        arn = await client.create_key(alias="alias/second")
        with pytest.raises(kms.KmsError, match="AlreadyExistsException"):
            await client.create_key(alias="alias/second")
        assert await client.create_alias("alias/third", arn) == arn
        with pytest.raises(kms.KmsError, match="Aliases must refer to keys"):
            await client.create_alias("alias/fourth", "alias/second")
        assert (await client.generate_data_key("alias/third")).key_id == arn
    record = await system.audited("CreateKey")
    assert record["userIdentity"]["type"] == "Root"


async def test_keys_made_at_the_same_time_do_not_share_an_alias(system: systems.System) -> None:
    """Ten at once: one gets the alias, nine are told."""
    async with system.client(await system.operator()) as client:
        found = await asyncio.gather(*(client.create_key(alias="alias/one") for _ in range(10)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in found) == ["KmsError"] * 9 + ["str"]


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
async def test_a_restart_changes_nothing(place: buses.Place) -> None:
    """Keys, roles, sessions and old ciphertexts outlive the process; the chain goes on where it was."""
    async with systems.running_system(place) as system:
        await system.issuer()
        await system.role("payments", RISK)
        await system.key()
        found = await system.assume("payments", team="risk")
        async with system.client(found) as client:
            key = await client.generate_data_key("alias/payments", CONTEXT)
        links = len(await system.events(KmsAudited))
    async with systems.running_system(place) as system, system.client(found) as client:
        assert await client.decrypt(key.ciphertext_blob, CONTEXT) == key.plaintext
        await system.audited("Decrypt")
        assert len(await system.events(KmsAudited)) > links


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
async def test_a_wrong_passphrase_fails_closed(place: buses.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """No session, no key, a clear refusal, an audit record, and the sealed file untouched."""
    sealed = root.create(
        place.data_dir, passphrase="correct horse battery", cost=root.Cost(memory_kib=64, iterations=1, lanes=1)
    )
    before = sealed.read_bytes()
    file = place.data_dir / "passphrase"
    file.write_text("wrong horse battery")
    file.chmod(0o600)
    monkeypatch.setenv(root.PASSPHRASE_FILE, str(file))
    async with systems.running_system(place) as system:
        await system.issuer()
        await system.role("payments", RISK)
        with pytest.raises(identity.StsError, match="ServiceUnavailable"):
            await system.assume("payments", team="risk")
        await system.audited("AssumeRoleWithWebIdentity", "ServiceUnavailable")
        stolen = identity.Credentials(
            access_key_id="ASIAAAAAAAAAAAAAAAAA", secret_access_key="x", session_token="x", expires_at_s=2**40
        )
        async with system.client(stolen) as client:
            with pytest.raises(kms.KmsError, match="KMSInternalException: The key service cannot open its root key"):
                await client.generate_data_key("alias/payments", CONTEXT)
        await system.audited("GenerateDataKey", "KMSInternalException")
    assert sealed.read_bytes() == before


async def test_another_root_key_opens_nothing_and_makes_no_keys(system: systems.System) -> None:
    """A root key that was lost and made anew is noticed, not worked with."""
    await system.process.resources.close()
    root.path_of(system.data_dir).unlink()
    async with system.client(await system.operator()) as client:
        with pytest.raises(kms.KmsError, match=r"KMSInternalException: .*restore the root key"):
            await client.generate_data_key("alias/payments", CONTEXT)
        with pytest.raises(kms.KmsError, match=r"KMSInternalException: .*restore the root key"):
            await client.create_key()


async def test_no_answer_is_said_clearly(place: buses.Place) -> None:
    """Without the function there is an error with what to do, not a wait for ever; without topics likewise."""
    found = identity.Credentials(access_key_id="ASIA", secret_access_key="x", session_token="x", expires_at_s=2**40)
    async with buses.open_bus(place) as bus:
        with pytest.raises(errors.UsageError, match="sixfold up"):
            async with kms.KmsClient(bus, found):
                pass
        await bus.create_topics(topics.topics)
        try:
            async with kms.KmsClient(bus, found, timeout_s=0.3) as client:
                with pytest.raises(kms.NoAnswerError, match=r"is `kms.serve` running\?"):
                    await client.generate_data_key("alias/payments")
        finally:
            for spec in topics.topics:
                await bus.delete_topic(spec.name)
