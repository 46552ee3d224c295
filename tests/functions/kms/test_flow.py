"""The whole way of a data key, on a real bus with real HTTP: who gets it back, who does not, and what is left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.functions.kms import system as systems
from tests.support import buses

from sixfold_functions.kms import client as kms

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
        with pytest.raises(kms.KmsError, match="AccessDeniedException: User: .*payments.* is not authorized"):
            await client.decrypt(key.ciphertext_blob, CONTEXT)
    record = await system.audited("Decrypt", "AccessDeniedException")
    assert record["userIdentity"]["type"] == "AssumedRole"
