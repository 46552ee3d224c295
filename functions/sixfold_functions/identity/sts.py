"""AWS's Security Token Service, as far as it goes: AssumeRoleWithWebIdentity, and the operator's own session.

Every call, allowed or refused, is in `identity.calls` before its answer goes out; what cannot be written there is
refused. Calls that no operation took are recorded by `refusals.py`. Source: AWS STS API reference, version 2011-06-15.
"""

from __future__ import annotations

import datetime
import os
import uuid
from xml.sax.saxutils import escape

from msgspec.structs import replace
from starlette.responses import Response

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.process import Process
from sixfold.publisher import Publisher
from sixfold_events.identity import IdentityCalled
from sixfold_functions.identity import aws, core, sessions, token
from sixfold_functions.identity.directory import FRESH_S, open_directory
from sixfold_functions.identity.refusal import Refusal
from sixfold_functions.identity.refusals import Refusals
from sixfold_functions.kms import client as kms

API_VERSION = "2011-06-15"
ACTION = "AssumeRoleWithWebIdentity"
OPERATOR_SESSION_S = 900
"""The operator's session is made for one command, so it ends soon."""
FAULT = Refusal("InternalFailure", "The call ended in a fault; the gateway's log says which")
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

    def operations(self) -> list[aws.Operation]:
        """The rows of the AWS table."""
        return [aws.Operation("query", API_VERSION, ACTION, self.assume_role, proves_itself=True)]

    async def close(self) -> None:
        """Record what is only counted until now."""
        await self._refusals.close()

    async def assume_role(self, call: aws.Call) -> Response:
        """Answer AssumeRoleWithWebIdentity. Raises Refusal."""
        try:
            assumed = await self._assume(call)
            credentials = sessions.mint(await self._keys(), assumed.session, self._entropy)
        except Refusal as refusal:
            await self._record(_called(call, refusal, self._now_ms()))
            raise
        except Exception:
            await self._record(_called(call, FAULT, self._now_ms()))
            raise
        await self._record(_called(call, assumed, self._now_ms()))
        return _answer(call.request_id, assumed, credentials)

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

    async def refused(self, call: aws.Unanswered, refusal: Refusal) -> None:
        """Record a call that no operation took. Raises Refusal where that cannot be written."""
        who = call.principal
        await self._refusals.record(
            IdentityCalled(
                call_id=call.request_id,
                action=call.operation or "Unknown",
                principal="" if who is None else who.kind if who.kind == "operator" else f"{who.kind}:{who.name}",
                resource="",
                error_code=refusal.code,
                error_message=refusal.message,
                called_at_ms=self._now_ms(),
            )
        )

    async def _assume(self, call: aws.Call) -> core.Assumed:
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


def _called(call: aws.Call, result: core.Assumed | Refusal, now_ms: int) -> IdentityCalled:
    def text(name: str) -> str:
        return call.parameters.get(name, "")[:256]

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


def _answer(request_id: str, assumed: core.Assumed, credentials: sessions.Credentials) -> Response:
    session, identity = assumed.session, assumed.identity
    expires = f"{datetime.datetime.fromtimestamp(credentials.expires_at_s, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
    fields = {
        "SubjectFromWebIdentityToken": identity.subject,
        "Audience": identity.audience,
        "Provider": identity.issuer,
    }
    told = "".join(f"<{name}>{escape(aws.printable(value))}</{name}>" for name, value in fields.items())
    xml = (
        f'<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/{API_VERSION}/">'
        f"<AssumeRoleWithWebIdentityResult>{told}"
        f"<AssumedRoleUser><Arn>{escape(core.session_arn(session))}</Arn>"
        f"<AssumedRoleId>{escape(f'AROA{session.role}:{session.name}')}</AssumedRoleId></AssumedRoleUser>"
        f"<Credentials><AccessKeyId>{credentials.access_key_id}</AccessKeyId>"
        f"<SecretAccessKey>{escape(credentials.secret_access_key)}</SecretAccessKey>"
        f"<SessionToken>{credentials.session_token}</SessionToken><Expiration>{expires}</Expiration></Credentials>"
        "</AssumeRoleWithWebIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"
    )
    return Response(xml, headers={"x-amzn-RequestId": request_id, "Cache-Control": "no-store"}, media_type="text/xml")
