"""AWS's Security Token Service, as far as it goes: AssumeRoleWithWebIdentity, GetCallerIdentity, the operator's session.

Every call, allowed or refused, is in `identity.calls` before its answer goes out; what cannot be written there is
refused. Calls that no operation took are recorded by `refusals.py`. Source: AWS STS API reference, version 2011-06-15.
"""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.gateway import Principal, sigv4
from sixfold.gateway.aws.faults import Fault
from sixfold.gateway.aws.service import Call, Service, Unanswered
from sixfold.process import Process
from sixfold.publisher import Publisher
from sixfold_events.identity import IdentityCalled
from sixfold_functions.identity import core, sessions, token
from sixfold_functions.identity.directory import FRESH_S, open_directory
from sixfold_functions.identity.refusal import Refusal
from sixfold_functions.identity.refusals import Refusals
from sixfold_functions.kms import client as kms

ACTION = "AssumeRoleWithWebIdentity"
WHO = "GetCallerIdentity"
OPERATOR_SESSION_S = 900
"""The operator's session is made for one command, so it ends soon."""
FAILED = Refusal("InternalFailure", "The call ended in a fault; the gateway's log says which")
"""What the record of a call says where our own code failed."""


class Sts:
    """Issues session credentials."""

    def __init__(self, process: Process, entropy: sessions.Entropy = os.urandom) -> None:
        self._process = process
        self._entropy = entropy
        self._publisher = Publisher(process.require_bus(), source="/identity/sts", clock=process.clock)
        self._refusals = Refusals(self._record, process.clock)

    async def open(self) -> None:
        """Open what every call needs. A root key that stays closed is in the log; its calls are refused."""
        await self._process.resources.get(kms.open_vault)

    def service(self) -> Service:
        """What the gateway offers to AWS's clients."""
        return Service("sts", {ACTION: self.assume_role, WHO: self.who}, proving=frozenset({ACTION}))

    async def signer(self, access_key: str, session_token: str | None) -> tuple[str, Principal] | None:
        """The secret of a session's access key, and whose it is. Raises SignatureError for a session that has ended."""
        if session_token is None:
            return None
        try:
            keys = await self._keys()
            session = sessions.open_token(keys, access_key, session_token)
            sessions.check_time(session, self._process.clock.now())
        except Refusal as refusal:
            raise sigv4.SignatureError(refusal.code, refusal.message, refusal.status) from refusal
        kind = "operator" if session.kind == sessions.ROOT else session.kind
        name = session.name if session.kind == sessions.ROOT else f"{session.role}/{session.name}"
        return sessions.secret(keys, access_key), Principal(kind, name, session)

    async def who(self, call: Call) -> Mapping[str, Any]:
        """Answer GetCallerIdentity, which everyone may call. Raises Fault."""
        caller = call.principal and call.principal.session
        session = caller if isinstance(caller, sessions.Session) else None
        arn = core.ROOT_ARN if session is None else core.session_arn(session)
        called = IdentityCalled(
            call_id=call.request_id, action=WHO, principal=arn, resource="", called_at_ms=self._now_ms()
        )
        try:
            await self._record(called)
        except Refusal as refusal:
            raise Fault(refusal.code, refusal.message) from refusal
        return {
            "UserId": core.ACCOUNT if session is None else core.user_id(session),
            "Account": core.ACCOUNT,
            "Arn": arn,
        }

    async def close(self) -> None:
        """Record what is only counted until now."""
        await self._refusals.close()

    async def assume_role(self, call: Call) -> Mapping[str, Any]:
        """Answer AssumeRoleWithWebIdentity. Raises Fault."""
        try:
            assumed = await self._assume(call)
            credentials = sessions.mint(await self._keys(), assumed.session, self._entropy)
        except Refusal as refusal:
            await self._record_call(call, refusal)
            raise Fault(refusal.code, refusal.message) from refusal
        except Exception:
            await self._record_call(call, FAILED)
            raise
        await self._record_call(call, assumed)
        return _answer(assumed, credentials)

    async def operator_session(self, name: str) -> sessions.Credentials:
        """Credentials of the operator, whom the gateway has authenticated. Raises Refusal."""
        now_s = int(self._process.clock.now())
        session = sessions.Session(
            access_key_id=sessions.access_key_id(self._entropy),
            kind=sessions.ROOT,
            role="",
            name=name,
            issued_at_s=now_s,
            expires_at_s=now_s + OPERATOR_SESSION_S,
        )
        called = IdentityCalled(
            call_id=str(uuid.uuid4()),
            action="GetSessionToken",
            principal="operator",
            resource=core.session_arn(session),
            session_name=name,
            called_at_ms=self._now_ms(),
        )
        try:
            credentials = sessions.mint(await self._keys(), session, self._entropy)
        except Refusal as refusal:
            await self._record(replace(called, error_code=refusal.code, error_message=refusal.message))
            raise
        await self._record(replace(called, access_key_id=session.access_key_id))
        return credentials

    async def refused(self, call: Unanswered, fault: Fault) -> None:
        """Record a call that no operation took. Raises Fault where that cannot be written."""
        who = call.principal
        called = IdentityCalled(
            call_id=call.request_id,
            action=call.operation or "Unknown",
            principal="" if who is None else who.kind if who.kind == "operator" else f"{who.kind}:{who.name}",
            resource="",
            error_code=fault.code,
            error_message=fault.message,
            called_at_ms=self._now_ms(),
        )
        try:
            await self._refusals.record(called)
        except Refusal as refusal:
            raise Fault(refusal.code, refusal.message) from refusal

    async def _record_call(self, call: Call, result: core.Assumed | Refusal) -> None:
        try:
            await self._record(_called(call, result, self._now_ms()))
        except Refusal as refusal:
            raise Fault(refusal.code, refusal.message) from refusal

    async def _assume(self, call: Call) -> core.Assumed:
        asked = core.asked(call.parameters)
        opened = await self._process.resources.get(open_directory)
        await self._keys()
        new_id = sessions.access_key_id(self._entropy)
        try:
            directory = await opened.current(age_s_max=FRESH_S)
            return core.assume(directory, asked, new_id, self._process.clock.now())
        except Refusal:
            # The issuer or the role may be newer than what this process has seen.
            return core.assume(await opened.current(), asked, new_id, self._process.clock.now())

    async def _keys(self) -> sessions.SessionKeys:
        try:
            vault = await self._process.resources.get(kms.open_vault)
            return sessions.SessionKeys(*vault.session_keys())
        except kms.RootKeyError as error:
            raise Refusal("ServiceUnavailable", "The key service cannot open its root key") from error

    async def _record(self, called: IdentityCalled) -> None:
        try:
            await self._publisher.publish(called)
        except port.BusError as error:
            raise Refusal("ServiceUnavailable", "The call cannot be recorded, so it is refused") from error

    def _now_ms(self) -> int:
        return clocks.now_ms(self._process.clock)


def _called(call: Call, result: core.Assumed | Refusal, now_ms: int) -> IdentityCalled:
    def text(name: str) -> str:
        return str(call.parameters.get(name, ""))[:256]

    if isinstance(result, core.Assumed):
        return IdentityCalled(
            call_id=call.request_id,
            action=call.operation,
            principal=f"{result.identity.issuer}:{result.identity.subject}",
            resource=result.role.arn,
            access_key_id=result.session.access_key_id,
            session_name=result.session.name,
            issuer=result.identity.issuer,
            subject=result.identity.subject,
            audience=result.identity.audience,
            called_at_ms=now_ms,
        )
    return IdentityCalled(
        call_id=call.request_id,
        action=call.operation,
        principal="",
        resource=text("RoleArn"),
        session_name=text("RoleSessionName"),
        issuer=_claimed_issuer(call.parameters.get("WebIdentityToken", "")),
        error_code=result.code,
        error_message=result.message,
        called_at_ms=now_ms,
    )


def _claimed_issuer(text: str) -> str:
    try:
        return token.read(text).issuer[:256]
    except Refusal:
        return ""


def _answer(assumed: core.Assumed, credentials: sessions.Credentials) -> Mapping[str, Any]:
    session, identity = assumed.session, assumed.identity
    return {
        "SubjectFromWebIdentityToken": identity.subject,
        "Audience": identity.audience,
        "Provider": identity.issuer,
        "AssumedRoleUser": {
            "Arn": core.session_arn(session),
            "AssumedRoleId": core.user_id(session),
        },
        "Credentials": {
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key,
            "SessionToken": credentials.session_token,
            "Expiration": datetime.datetime.fromtimestamp(credentials.expires_at_s, datetime.UTC),
        },
    }
