"""boto3 for tests: unchanged, in the name of a session, its calls in a thread."""

from __future__ import annotations

import asyncio
from typing import Any

import boto3
import botocore.config
import pytest
from botocore.exceptions import ClientError
from tests.functions.kms import system as systems

from sixfold_functions.identity import client as identity


class Aws:
    """boto3's client, its calls in a thread."""

    def __init__(self, system: systems.System, found: identity.Credentials, region: str) -> None:
        self._client = boto3.client(
            "kms",
            endpoint_url=system.url,
            region_name=region,
            aws_access_key_id=found.access_key_id,
            aws_secret_access_key=found.secret_access_key,
            aws_session_token=found.session_token,
            config=botocore.config.Config(retries={"total_max_attempts": 1}),
        )

    async def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        found: dict[str, Any] = await asyncio.to_thread(getattr(self._client, operation), **parameters)
        found.pop("ResponseMetadata")
        return found

    async def refused(self, operation: str, **parameters: Any) -> tuple[str, str]:
        """Code and message of the error that it ends with."""
        with pytest.raises(ClientError) as caught:
            await self(operation, **parameters)
        error = caught.value.response["Error"]
        return error["Code"], error.get("Message", "")


async def operator(system: systems.System, region: str = "eu-north-1") -> Aws:
    """The client of the operator."""
    return Aws(system, await system.operator(), region)


async def role(system: systems.System, name: str, permission: list[dict[str, Any]] | None = None, **claims: Any) -> Aws:
    """The client of a session of a role that may do this."""
    await system.role(name, permission or [{"Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*"}])
    return Aws(system, await system.assume(name, **claims), "eu-north-1")
