"""AWS KMS over HTTP: what is wrong with a call is told in AWS's words, and lists come in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.functions.kms import system as systems
from tests.functions.kms.boto import operator
from tests.support import buses


@pytest.fixture
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[systems.System]:
    """A system with an issuer."""
    place = buses.Place("embedded:", tmp_path_factory.mktemp("system"))
    async with systems.running_system(place) as running:
        await running.issuer()
        yield running


REFUSED: list[tuple[str, Callable[[str], dict[str, Any]], str, str]] = [
    ("describe_key", lambda _: {"KeyId": "nothing"}, "NotFoundException", "Invalid keyId 'nothing'"),
    (
        "describe_key",
        lambda _: {"KeyId": "00000000-0000-4000-8000-000000000000"},
        "NotFoundException",
        "Key 'arn:aws:kms:eu-north-1:000000000000:key/00000000-0000-4000-8000-000000000000' does not exist",
    ),
    (
        "describe_key",
        lambda _: {"KeyId": "alias/none"},
        "NotFoundException",
        "Alias arn:aws:kms:eu-north-1:000000000000:alias/none is not found.",
    ),
    ("create_key", lambda _: {"KeySpec": "RSA_2048"}, "ValidationException", "You must specify a KeyUsage value"),
    ("create_key", lambda _: {"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"}, "UnsupportedOperationException", "SM2"),
    ("create_key", lambda _: {"Policy": "{}"}, "MalformedPolicyDocumentException", "Version"),
    (
        "create_alias",
        lambda key: {"AliasName": "name", "TargetKeyId": key},
        "ValidationException",
        "Invalid identifier",
    ),
    ("create_alias", lambda key: {"AliasName": "alias/aws/x", "TargetKeyId": key}, "NotAuthorizedException", ""),
    ("delete_alias", lambda _: {"AliasName": "alias/none"}, "NotFoundException", "is not found"),
    ("generate_data_key", lambda key: {"KeyId": key}, "ValidationException", "either number of bytes or key spec"),
    (
        "generate_data_key",
        lambda key: {"KeyId": key, "NumberOfBytes": 32, "DryRun": True},
        "DryRunOperationException",
        "The request would have succeeded, but the DryRun option is set.",
    ),
    ("list_keys", lambda _: {"Marker": "x"}, "InvalidMarkerException", ""),
    ("get_public_key", lambda key: {"KeyId": key}, "UnsupportedOperationException", "not an asymmetric key"),
    ("connect_custom_key_store", lambda _: {"CustomKeyStoreId": "x"}, "UnknownOperationException", ""),
    ("get_key_policy", lambda key: {"KeyId": key, "PolicyName": "other"}, "NotFoundException", "No such policy"),
    ("schedule_key_deletion", lambda key: {"KeyId": key, "PendingWindowInDays": 6}, "ValidationException", "7 to 30"),
]


async def test_each_mistake_has_awss_error(system: systems.System) -> None:
    """Codes and messages that its clients and their users know."""
    kms = await operator(system)
    key = (await kms("create_key"))["KeyMetadata"]["KeyId"]
    for operation, parameters, code, message in REFUSED:
        found = await kms.refused(operation, **parameters(key))
        assert found[0] == code, (operation, found)
        assert message in found[1], (operation, found)


async def test_lists_come_in_pages(system: systems.System) -> None:
    """boto3's paginators see each key and alias once."""
    kms = await operator(system)
    keys = {(await kms("create_key"))["KeyMetadata"]["KeyId"] for _ in range(5)}
    found: list[str] = []
    marker: dict[str, str] = {}
    while True:
        page = await kms("list_keys", Limit=2, **marker)
        found += [each["KeyId"] for each in page["Keys"]]
        if not page["Truncated"]:
            break
        marker = {"Marker": page["NextMarker"]}
    assert sorted(found) == sorted(keys)
