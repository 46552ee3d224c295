"""The token service over HTTP, with the client that people have: boto3."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import httpx
import pytest
from tests.functions.kms import system as systems
from tests.support import buses

from sixfold import errors
from sixfold.gateway import sigv4
from sixfold_functions.identity import client as identity
from sixfold_functions.identity import local, sts

PERMISSION = [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]


@pytest.fixture
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[systems.System]:
    """A system with an issuer and a role."""
    place = buses.Place("embedded:", tmp_path_factory.mktemp("system"))
    async with systems.running_system(place) as running:
        await running.issuer()
        await running.role("payments", PERMISSION)
        yield running


async def boto(system: systems.System, **changes: Any) -> dict[str, Any]:
    """What boto3 gets for AssumeRoleWithWebIdentity."""
    client = boto3.client(
        "sts",
        endpoint_url=system.url,
        region_name="us-east-1",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    parameters = {
        "RoleArn": identity.role_arn("payments"),
        "RoleSessionName": "batch",
        "WebIdentityToken": "",
        "DurationSeconds": 900,
        **changes,
    }
    found: dict[str, Any] = await asyncio.to_thread(client.assume_role_with_web_identity, **parameters)
    return found


async def code_of(system: systems.System, **changes: Any) -> tuple[str, int]:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        await boto(system, **changes)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


async def test_boto3_assumes_a_role_with_a_web_identity(system: systems.System) -> None:
    """Unchanged boto3 with an endpoint_url gets credentials that our own key service takes."""
    found = await boto(system, WebIdentityToken=system.token(team="risk"))
    assert found["SubjectFromWebIdentityToken"] == "alice@example.com"
    assert found["Audience"] == "sixfold"
    assert found["Provider"] == local.url_of("local")
    assert found["AssumedRoleUser"]["Arn"].endswith(":assumed-role/payments/batch")
    told = found["Credentials"]
    assert told["AccessKeyId"].startswith("ASIA")
    assert 880 < told["Expiration"].timestamp() - system.clock.now() <= 900
    credentials = identity.Credentials(
        access_key_id=told["AccessKeyId"],
        secret_access_key=told["SecretAccessKey"],
        session_token=told["SessionToken"],
        expires_at_s=int(told["Expiration"].timestamp()),
    )
    await system.key()
    async with system.client(credentials) as client:
        assert (await client.generate_data_key("alias/payments")).plaintext
    record = await system.audited("AssumeRoleWithWebIdentity")
    assert record["responseElements"] == {"credentials": {"accessKeyId": told["AccessKeyId"]}}
    assert record["userIdentity"]["userName"] == "alice@example.com"


async def test_each_refusal_has_awss_code(system: systems.System) -> None:
    """Codes and HTTP statuses are those that AWS's clients know, and each refusal is in the trail."""
    good = system.token()
    now_s = int(system.clock.now())
    old = local.token(
        system.data_dir,
        "local",
        subject="alice@example.com",
        audience="sixfold",
        claims={},
        now_s=now_s - 7200,
        lifetime_s=600,
    )
    foreign = local.token(
        system.data_dir, "local", subject="alice@example.com", audience="other", claims={}, now_s=now_s, lifetime_s=600
    )
    arn = identity.role_arn
    session_policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    wanted: list[tuple[dict[str, Any], tuple[str, int]]] = [
        ({"WebIdentityToken": "not.a.token"}, ("InvalidIdentityToken", 400)),
        ({"WebIdentityToken": good[:-3] + "AAA"}, ("InvalidIdentityToken", 400)),
        ({"WebIdentityToken": foreign}, ("InvalidIdentityToken", 400)),
        ({"WebIdentityToken": old}, ("ExpiredTokenException", 400)),
        ({"WebIdentityToken": system.token("mallory@evil.test")}, ("AccessDenied", 403)),
        ({"WebIdentityToken": good, "RoleArn": arn("nobody")}, ("AccessDenied", 403)),
        ({"WebIdentityToken": good, "RoleArn": "arn:aws:iam::111111111111:role/x"}, ("ValidationError", 400)),
        ({"WebIdentityToken": good, "DurationSeconds": 43201}, ("ValidationError", 400)),
        ({"WebIdentityToken": good, "RoleSessionName": "with space"}, ("ValidationError", 400)),
        ({"WebIdentityToken": good, "Policy": session_policy}, ("MalformedPolicyDocument", 400)),
    ]
    for changes, expected in wanted:
        assert await code_of(system, **changes) == expected, changes
    for code in {expected[0] for _, expected in wanted}:
        await system.audited("AssumeRoleWithWebIdentity", code)


async def post(system: systems.System, **kwargs: Any) -> httpx.Response:
    async with system.http() as http:
        return await http.post("/", **kwargs)


async def test_any_other_call_without_credentials_is_refused_in_awss_shape(system: systems.System) -> None:
    """XML for the query protocol, JSON for the others; a signature that is none is told so."""
    for form in ({}, {"Action": "GetCallerIdentity", "Version": "2011-06-15"}, {"Action": "AssumeRole"}):
        answer = await post(system, data=form)
        assert answer.status_code == 403
        assert "<Code>MissingAuthenticationToken</Code>" in answer.text
    incomplete = {"Authorization": "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/kms/aws4_request"}
    for headers, code in (({}, "MissingAuthenticationTokenException"), (incomplete, "IncompleteSignatureException")):
        answer = await post(system, json={}, headers={"X-Amz-Target": "TrentService.ListKeys", **headers})
        assert (answer.status_code, answer.json()["__type"]) == (400, code)
    answer = await post(system, data={"Action": "GetCallerIdentity"}, headers=incomplete)
    assert answer.status_code == 400
    assert "<Code>IncompleteSignature</Code>" in answer.text


async def test_an_operator_who_calls_what_is_not_there_is_told_so(system: systems.System) -> None:
    """Authenticated, the same calls are unknown operations."""
    async with system.http(operator=True) as http:
        assert "<Code>InvalidAction</Code>" in (await http.post("/", data={"Action": "AssumeRole"})).text
        answer = await http.post("/", json={}, headers={"X-Amz-Target": "TrentService.OpenSesame"})
        assert (answer.status_code, answer.json()["__type"]) == (400, "UnknownOperationException")


@pytest.mark.parametrize(
    "body",
    [
        b"Action=AssumeRoleWithWebIdentity&Action=AssumeRole&Version=2011-06-15",
        b"&&&&",
        b"Action",
        b"\xff\xfe",
        b"a=1&" * 100 + b"a=1",
        b"Action=" + b"x" * 70_000,
    ],
)
async def test_a_broken_form_is_refused_and_never_a_crash(system: systems.System, body: bytes) -> None:
    """Fields that stand twice, bytes that are no form, too much of it."""
    answer = await post(
        system, content=body, headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    )
    assert answer.status_code in (400, 403, 413)


async def test_the_operators_session_needs_the_bootstrap_credential(system: systems.System) -> None:
    """Nobody else becomes the operator."""
    async with system.http() as http:
        assert (await http.post("/identity/operator-session")).status_code == 401
    assert (await system.operator()).access_key_id.startswith("ASIA")
    await system.audited("GetSessionToken")


async def test_a_role_that_is_defined_anew_counts_at_once(system: systems.System) -> None:
    """A session of the old role has what the new one says; a refusal is never older than the log."""
    await system.key()
    async with system.client(await system.assume("payments")) as client:
        await client.generate_data_key("alias/payments")
        await system.role("payments", [{"Effect": "Deny", "Action": "*", "Resource": "*"}])
        system.clock.ahead_s += 1  # older than that, no decision rests on
        with pytest.raises(errors.SixfoldError, match="AccessDenied"):
            await client.generate_data_key("alias/payments")
        await system.role("payments", PERMISSION)
        await client.generate_data_key("alias/payments")


def caller(system: systems.System, credentials: identity.Credentials, **changes: str) -> Any:
    """boto3 in the name of these credentials."""
    names = ("access_key_id", "secret_access_key", "session_token")
    given = {f"aws_{name}": changes.get(name, getattr(credentials, name)) for name in names}
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    return boto3.client("sts", endpoint_url=system.url, region_name="eu-north-1", config=config, **given)


async def test_a_session_signs_its_calls_and_learns_who_it_is(system: systems.System) -> None:
    """boto3 with a role's credentials: the session's ARN; the call is in the trail."""
    client = caller(system, await system.assume("payments"))
    found = await asyncio.to_thread(client.get_caller_identity)
    assert found["Arn"].endswith(":assumed-role/payments/sixfold")
    assert (found["Account"], found["UserId"]) == ("000000000000", "AROApayments:sixfold")
    record = await system.audited("GetCallerIdentity")
    assert record["userIdentity"] | {"type": "AssumedRole", "principalId": found["Arn"]} == record["userIdentity"]
    operator = caller(system, await system.operator())
    assert (await asyncio.to_thread(operator.get_caller_identity))["Arn"] == "arn:aws:iam::000000000000:root"


async def test_a_signature_that_is_not_the_sessions_own_is_refused(system: systems.System) -> None:
    """A wrong secret, another session's token, a token that was changed, a session that has ended: AWS's codes."""
    credentials, other = await system.assume("payments"), await system.assume("payments")
    cut = credentials.session_token[:-4]
    wrong: list[tuple[dict[str, str], str]] = [
        ({"secret_access_key": other.secret_access_key}, "SignatureDoesNotMatch"),
        ({"access_key_id": other.access_key_id}, "InvalidClientTokenId"),
        ({"session_token": other.session_token}, "InvalidClientTokenId"),
        ({"session_token": cut}, "InvalidClientTokenId"),
        ({"session_token": ""}, "InvalidClientTokenId"),
        ({"access_key_id": "bootstrap"}, "InvalidClientTokenId"),
    ]
    for changes, code in wrong:
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            await asyncio.to_thread(caller(system, credentials, **changes).get_caller_identity)
        assert caught.value.response["Error"]["Code"] == code, changes
    system.clock.ahead_s += 3601
    with pytest.raises(sigv4.SignatureError, match="expired") as ended:
        await sts.Sts(system.process).signer(credentials.access_key_id, credentials.session_token)
    assert ended.value.code == "ExpiredTokenException"
