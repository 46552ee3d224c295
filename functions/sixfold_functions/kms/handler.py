"""The functions: `kms.serve` answers key requests, `kms.record-calls` and `kms.record-uses` link what identity and the
gateway answered into the audit trail.

What a request leads to is stored together: the audit link first, then changed keys, then the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sixfold import Context, TemporaryError, function
from sixfold import clock as clocks
from sixfold_events import cloudevents
from sixfold_events.identity import IdentityCalled
from sixfold_events.kms import (
    AliasChanged,
    GrantChanged,
    KeyAnswered,
    KeyChanged,
    KeyRequested,
    KeyUseRecorded,
    KmsAudited,
)
from sixfold_events.system import Tick
from sixfold_functions.kms import audit, core, messages, trail, wire
from sixfold_functions.kms.deciding import Caller, Outcome, Refused
from sixfold_functions.kms.desk import Desk, Party, check_lane, open_desk
from sixfold_functions.kms.memory import Memory
from sixfold_functions.kms.recent import Recent
from sixfold_functions.kms.topics import REQUEST_PARTITIONS

STATE = "state"
"""One table for all rows: Kafka stores one table's rows in one batch, and needs a transaction for those of two."""
REPLAYED = "ReplayedRequestException"


@function(
    name="kms.serve",
    on=KeyRequested,
    emits=(KmsAudited, KeyChanged, AliasChanged, GrantChanged, KeyAnswered),
    concurrency=REQUEST_PARTITIONS,
    tables=(STATE,),
)
async def serve(request: KeyRequested, ctx: Context) -> None:
    """Answer a key request, or refuse it; either way it is audited."""
    desk = await ctx.resource(open_desk)
    party: Party | None = None
    caller: Caller | None = None
    parameters: Mapping[str, Any] = {}
    try:
        party = desk.party(request)
        caller = desk.caller(party, request)
        desk.check_time(party, request)
        check_lane(request, ctx.record.key, ctx.record.partition)
        await _remember(request, ctx)
        parameters = wire.parameters(request.operation, request.parameters)
        outcome = await _perform(request, parameters, caller, desk, ctx)
        sealed = core.sealed(request, outcome)
    except Refused as refused:
        error = (refused.code, refused.message)
        await _audit(ctx, _record(request, parameters, caller, ctx, error=error))
        if refused.code != REPLAYED:
            ctx.emit(_answer(request, party, ctx, error_code=refused.code, error_message=refused.message))
        return
    await _audit(ctx, _record(request, parameters, caller, ctx, key_arn=outcome.arn))
    ctx.emit(*outcome.changes)
    ctx.emit(
        _answer(
            request,
            party,
            ctx,
            key_id=outcome.arn,
            ciphertext_blob=outcome.result.get("CiphertextBlob", b""),
            sealed_plaintext=sealed,
            result=wire.result(request.operation, outcome.result) if core.changes(request.operation) else b"",
        )
    )


@function(name="kms.tend", every="7 * * * *", emits=(KeyRequested,))
async def tend(tick: Tick, ctx: Context) -> None:
    """Each hour ask for what falls due by itself: automatic rotations, deletions whose waiting period is over."""
    desk = await ctx.resource(open_desk)
    request = KeyRequested(
        request_id=f"{core.TEND}-{tick.at_ms}",
        lane=core.ADMIN_LANE,
        operation=core.TEND,
        encryption_context={},
        access_key_id="",
        session_token="",
        signed_at_ms=0,
        signature=b"",
    )
    try:
        ctx.emit(desk.signed(request, desk.operator("kms.tend")))
    except Refused as refused:
        raise TemporaryError(f"what falls due waits: {refused.message}", delay_s=60.0) from refused


async def _remember(request: KeyRequested, ctx: Context) -> None:
    """Raises Refused for a request that was answered before."""
    memory = Memory(ctx.table(STATE))
    if await memory.has(request.request_id):
        raise Refused(REPLAYED, "the request was answered before; nothing new is given out for it")
    await memory.add(request.request_id, clocks.now_ms(ctx.clock), keep_ms=2 * core.FRESH_MS)


async def _perform(
    request: KeyRequested, parameters: Mapping[str, Any], caller: Caller, desk: Desk, ctx: Context
) -> Outcome:
    if not core.changes(request.operation):
        return await desk.perform(request, parameters, caller)
    recent = Recent(ctx.table(STATE))
    outcome = await desk.perform(request, parameters, caller, await recent.changes())
    await recent.add(outcome.changes, clocks.now_ms(ctx.clock))
    return outcome


def _record(
    request: KeyRequested,
    parameters: Mapping[str, Any],
    caller: Caller | None,
    ctx: Context,
    *,
    key_arn: str = "",
    error: tuple[str, str] | None = None,
) -> dict[str, Any]:
    now_ms = clocks.now_ms(ctx.clock)
    return trail.of_request(
        request, parameters, caller, event_id=_event_id(ctx), time_ms=now_ms, key_arn=key_arn, error=error
    )


def _answer(
    request: KeyRequested,
    party: Party | None,
    ctx: Context,
    *,
    key_id: str = "",
    ciphertext_blob: bytes = b"",
    sealed_plaintext: bytes = b"",
    result: bytes = b"",
    error_code: str = "",
    error_message: str = "",
) -> KeyAnswered:
    answer = KeyAnswered(
        request_id=request.request_id,
        operation=request.operation,
        answered_at_ms=clocks.now_ms(ctx.clock),
        key_id=key_id,
        ciphertext_blob=ciphertext_blob,
        sealed_plaintext=sealed_plaintext,
        result=result,
        error_code=error_code,
        error_message=error_message,
    )
    return messages.proven(party.secret, request, answer) if party else answer


@function(name="kms.record-calls", on=IdentityCalled, emits=(KmsAudited,), tables=(STATE,))
async def record_calls(call: IdentityCalled, ctx: Context) -> None:
    """Link a call for credentials into the audit trail."""
    await _audit(ctx, trail.of_identity_call(call, event_id=_event_id(ctx)))


@function(name="kms.record-uses", on=KeyUseRecorded, emits=(KmsAudited,), tables=(STATE,))
async def record_uses(use: KeyUseRecorded, ctx: Context) -> None:
    """Link a call that the gateway answered into the audit trail."""
    await _audit(ctx, {**msgspec.json.decode(use.record), "eventID": _event_id(ctx)})


async def _audit(ctx: Context, record: dict[str, Any]) -> None:
    """Put a record at the end of the chain of this partition."""
    chain = f"{ctx.record.topic}-{ctx.record.partition}"
    state, row = ctx.table(STATE), f"chain/{chain}"
    link = audit.link(chain, audit.Head(*await state.get(row, audit.EMPTY)), record)
    state.put(row, (link.seq, link.hash))
    ctx.emit(link)


def _event_id(ctx: Context) -> str:
    """The same for every delivery of the call, so that a link which a crash doubled is known as such."""
    record = ctx.record
    return cloudevents.derived_id("kms.audit", cloudevents.cause_of(record.topic, record.partition, record.offset), 0)
