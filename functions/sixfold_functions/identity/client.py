"""What other capabilities may use of identity: credentials from a token, sessions from credentials, permissions.

async with httpx.AsyncClient(base_url=gateway_url) as http:
    credentials = await assume_role(http, role="payments", token=jwt, session_name="batch")
"""

from __future__ import annotations

import datetime
import html
import re

import httpx

from sixfold import errors
from sixfold_functions.identity.administration import define_role, register_issuer
from sixfold_functions.identity.core import Directory, Role, permits, principal_context, role_arn, session_arn
from sixfold_functions.identity.directory import FRESH_S, OpenDirectory, open_directory
from sixfold_functions.identity.private import write_private
from sixfold_functions.identity.refusal import Refusal
from sixfold_functions.identity.sessions import (
    ROOT,
    Credentials,
    Session,
    SessionKeys,
    access_key_id,
    check_time,
    mint,
    open_token,
    secret,
)

__all__ = [
    "FRESH_S",
    "ROOT",
    "Credentials",
    "Directory",
    "OpenDirectory",
    "Refusal",
    "Role",
    "Session",
    "SessionKeys",
    "StsError",
    "access_key_id",
    "assume_role",
    "check_time",
    "define_role",
    "mint",
    "open_directory",
    "open_token",
    "operator_credentials",
    "permits",
    "principal_context",
    "register_issuer",
    "role_arn",
    "secret",
    "session_arn",
    "write_private",
]

ANSWER_CHARS_MAX = 65_536


class StsError(errors.SixfoldError):
    """The gateway refused to issue credentials; `code` is AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


async def assume_role(
    http: httpx.AsyncClient, *, role: str, token: str, session_name: str = "sixfold", duration_s: int = 3600
) -> Credentials:
    """Exchange a web identity token for credentials of `role` (its name or ARN) at the gateway. Raises StsError."""
    answer = await http.post(
        "/",
        data={
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": role if role.startswith("arn:") else role_arn(role),
            "RoleSessionName": session_name,
            "WebIdentityToken": token,
            "DurationSeconds": str(duration_s),
        },
    )
    text = answer.text[:ANSWER_CHARS_MAX]
    if answer.status_code != 200:
        raise StsError(_element(text, "Code") or f"HTTP {answer.status_code}", _element(text, "Message"))
    expires = datetime.datetime.fromisoformat(_element(text, "Expiration"))
    return Credentials(
        access_key_id=_element(text, "AccessKeyId"),
        secret_access_key=_element(text, "SecretAccessKey"),
        session_token=_element(text, "SessionToken"),
        expires_at_s=int(expires.timestamp()),
    )


async def operator_credentials(http: httpx.AsyncClient) -> Credentials:
    """Credentials of the operator, for a client that carries the bootstrap credential. Raises StsError."""
    answer = await http.post("/identity/operator-session")
    if answer.status_code != 200:
        raise StsError(f"HTTP {answer.status_code}", answer.text[:200])
    body = answer.json()
    return Credentials(
        access_key_id=body["AccessKeyId"],
        secret_access_key=body["SecretAccessKey"],
        session_token=body["SessionToken"],
        expires_at_s=body["Expiration"],
    )


def _element(xml: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", xml)
    return html.unescape(found.group(1)) if found else ""
