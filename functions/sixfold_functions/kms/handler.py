"""The functions: `kms.serve` answers key requests, `kms.record-calls` links identity's calls into the audit trail.

What a request leads to is stored together: the audit link first, then changed keys, then the answer.
"""

from __future__ import annotations

from typing import Any

from sixfold import Context, function
from sixfold import clock as clocks
from sixfold_events import cloudevents
from sixfold_events.identity import IdentityCalled
from sixfold_events.kms import AliasChanged, KeyAnswered, KeyChanged, KeyRequested, KmsAudited
from sixfold_functions.kms import audit, core, messages, trail
from sixfold_functions.kms.desk import Desk, Party, check_lane, open_desk
from sixfold_functions.kms.memory import Memory
from sixfold_functions.kms.topics import REQUEST_PARTITIONS

STATE = "state"
"""One table for all rows: Kafka stores one table's rows in one batch, and needs a transaction for those of two."""
REPLAYED = "ReplayedRequestException"


@function(
    name="kms.serve",
    on=KeyRequested,
    emits=(KmsAudited, KeyChanged, AliasChanged, KeyAnswered),
    concurrency=REQUEST_PARTITIONS,
    tables=(STATE,),
)
async def serve(request: KeyRequested, ctx: Context) -> None:
    """Answer a key request, or refuse it; either way it is audited."""
    desk = await ctx.resource(open_desk)
    party: Party | None = None
    caller: core.Caller | None = None
    try:
        party = desk.party(request)
        caller = desk.caller(party, request)
        desk.check_time(party, request)
        outcome = await _perform(request, caller, desk, ctx)
    except core.Refused as refused:
        await _audit(ctx, _record(request, caller, ctx, error=(refused.code, refused.message)))
        if refused.code != REPLAYED:
            ctx.emit(_answer(request, party, ctx, error_code=refused.code, error_message=refused.message))
        return
    await _audit(ctx, _record(request, caller, ctx, key_arn=outcome.key_id))
    ctx.emit(*outcome.changes)
    ctx.emit(
        _answer(
            request,
            party,
            ctx,
            key_id=outcome.key_id,
            ciphertext_blob=outcome.ciphertext_blob,
            sealed_plaintext=outcome.sealed_plaintext,
        )
    )


async def _perform(request: KeyRequested, caller: core.Caller, desk: Desk, ctx: Context) -> core.Outcome:
    check_lane(request, ctx.record.key, ctx.record.partition)
    memory = Memory(ctx.table(STATE))
    if await memory.has(request.request_id):
        raise core.Refused(REPLAYED, "the request was answered before; nothing new is given out for it")
    await memory.add(request.request_id, clocks.now_ms(ctx.clock), keep_ms=2 * core.FRESH_MS)
    state = ctx.table(STATE)
    taken = bool(request.alias) and await state.get(f"alias/{request.alias}") is not None
    outcome = await desk.perform(request, caller, alias_taken=taken)
    for change in outcome.changes:
        if isinstance(change, AliasChanged):
            state.put(f"alias/{change.alias}", change.key_id)
    return outcome


def _record(
    request: KeyRequested,
    caller: core.Caller | None,
    ctx: Context,
    *,
    key_arn: str = "",
    error: tuple[str, str] | None = None,
) -> dict[str, Any]:
    now_ms = clocks.now_ms(ctx.clock)
    return trail.of_request(request, caller, event_id=_event_id(ctx), time_ms=now_ms, key_arn=key_arn, error=error)


def _answer(
    request: KeyRequested,
    party: Party | None,
    ctx: Context,
    *,
    key_id: str = "",
    ciphertext_blob: bytes = b"",
    sealed_plaintext: bytes = b"",
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
        error_code=error_code,
        error_message=error_message,
    )
    return messages.proven(party.secret, request, answer) if party else answer


@function(name="kms.record-calls", on=IdentityCalled, emits=(KmsAudited,), tables=(STATE,))
async def record_calls(call: IdentityCalled, ctx: Context) -> None:
    """Link a call for credentials into the audit trail."""
    await _audit(ctx, trail.of_identity_call(call, event_id=_event_id(ctx)))


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
