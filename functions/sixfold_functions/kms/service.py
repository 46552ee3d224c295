"""AWS KMS on the gateway: what changes nothing is answered here, what changes keys goes through the log.

Every call is in `kms.calls` or `kms.requests` before its answer goes out; what cannot be written there is refused. This
process's own view of the keys is at most `FRESH_S` behind the log, and not behind at all after a change that it asked for.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.gateway.aws.faults import Fault
from sixfold.gateway.aws.service import Call, Service
from sixfold.process import Process
from sixfold.publisher import Publisher
from sixfold_events.kms import KeyRequested, KeyUseRecorded
from sixfold_functions.identity import client as identity
from sixfold_functions.kms import core, keyring, trail, wire
from sixfold_functions.kms.asking import Asker, KmsError
from sixfold_functions.kms.deciding import Caller, Refused
from sixfold_functions.kms.desk import Desk, Party, open_desk
from sixfold_functions.kms.operations.table import OPERATIONS

FAILED = ("InternalFailure", "The call ended in a fault; the gateway's log says which")


class KeyService:
    """Answers AWS's clients, one for each gateway process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._publisher = Publisher(process.require_bus(), source="/kms/gateway", clock=process.clock)
        self._asker: Asker | None = None
        self._opening = asyncio.Lock()

    def service(self) -> Service:
        """What the gateway offers."""
        return Service(wire.SERVICE, dict.fromkeys(OPERATIONS, self.answer))

    async def close(self) -> None:
        """Listen to no answers any more."""
        if self._asker is not None:
            await self._asker.__aexit__(None, None, None)

    async def answer(self, call: Call) -> Mapping[str, Any]:
        """Answer a call. Raises Fault."""
        desk = await self._process.resources.get(open_desk)
        if OPERATIONS[call.operation].changes:
            return await self._through_the_log(call, desk)
        caller: Caller | None = None
        try:
            caller = desk.caller_of(_party(call, desk))
            outcome = await desk.answer(call.operation, call.parameters, _region(call), caller)
        except Refused as refused:
            await self._record(call, caller, error=(refused.code, refused.message))
            raise Fault(refused.code, refused.message) from refused
        except Exception:
            await self._record(call, caller, error=FAILED)
            raise
        await self._record(call, caller, key_arn=outcome.arn)
        return outcome.result

    async def _through_the_log(self, call: Call, desk: Desk) -> Mapping[str, Any]:
        asker = await self._listening()
        try:
            party = _party(call, desk)
            answer = await asker.ask(desk.signed(self._request(call), party), party.secret)
        except (KmsError, Refused) as refused:
            raise Fault(refused.code, refused.message) from refused
        await desk.catch_up(0.0)
        return wire.outcome(call.operation, answer.result)

    async def _listening(self) -> Asker:
        """Whoever asks `kms.serve`; from the first change on, so that the gateway starts where there are no keys yet."""
        async with self._opening:
            if self._asker is None:
                self._asker = await Asker(self._process.require_bus(), clock=self._process.clock).__aenter__()
            return self._asker

    def _request(self, call: Call) -> KeyRequested:
        return KeyRequested(
            request_id=call.request_id,
            lane=core.ADMIN_LANE,
            operation=call.operation,
            encryption_context={},
            access_key_id="",
            session_token="",
            signed_at_ms=0,
            signature=b"",
            region=_region(call),
            parameters=wire.encoded(call.operation, call.parameters),
        )

    async def _record(
        self, call: Call, caller: Caller | None, *, key_arn: str = "", error: tuple[str, str] | None = None
    ) -> None:
        origin = trail.Origin(
            event_id="",
            request_id=call.request_id,
            time_ms=clocks.now_ms(self._process.clock),
            region=_region(call),
            source_ip=call.source_ip,
            user_agent=call.user_agent,
        )
        record = trail.of_call(call.operation, call.parameters, caller, origin, key_arn=key_arn, error=error)
        used = KeyUseRecorded(
            call_id=str(uuid.uuid4()),
            event_name=call.operation,
            record=msgspec.json.encode(record).decode(),
            error_code=error[0] if error else "",
        )
        try:
            await self._publisher.publish(used)
        except port.BusError as failure:
            raise Fault("KMSInternalException", "The call cannot be recorded, so it is refused") from failure


def _region(call: Call) -> str:
    return call.region or keyring.REGION


def _party(call: Call, desk: Desk) -> Party:
    """Who calls; whoever shows the bootstrap credential is the operator. Raises Refused."""
    principal = call.principal
    if principal is not None and isinstance(principal.session, identity.Session):
        return desk.party_of(principal.session)
    if principal is None or principal.kind != "operator":
        raise Refused("AccessDeniedException", "The credential is not one that keys can be used with")
    return desk.operator(principal.name)
