"""Records of calls that were refused before any operation took them: no credential, no such operation, no form.

Whoever reaches the port can make such calls at no cost, and each record is written twice, into `identity.calls` and
into the audit trail. So of callers without a credential a few in each window have records of their own, and one record
says how many more there were. Callers whom the gateway knows have one each.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable

import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold_events.identity import IdentityCalled
from sixfold_functions.identity.refusal import Refusal

WINDOW_S = 10.0
WINDOW_RECORDS_MAX = 10
"""With the sum at its end at most 11 records in 10 s: some hundred MB a day, however many the calls are."""
SUMMED = "RefusedCalls"
"""Name of the record that sums up the others."""


class Refusals:
    """One per gateway process."""

    def __init__(self, publish: Callable[[IdentityCalled], Awaitable[None]], clock: clocks.Clock) -> None:
        self._publish = publish
        self._clock = clock
        self._ends_s = float("-inf")
        self._recorded = 0
        self._left_out = 0
        self._summing: asyncio.Task[None] | None = None

    async def record(self, called: IdentityCalled) -> None:
        """Record a refusal before its answer goes out, or count it. Raises Refusal where it cannot be written."""
        if called.principal:
            await self._publish(called)
            return
        now_s = self._clock.monotonic()
        if now_s >= self._ends_s:
            self._ends_s, self._recorded = now_s + WINDOW_S, 0
        if self._recorded < WINDOW_RECORDS_MAX:
            self._recorded += 1
            await self._publish(called)
            return
        self._left_out += 1
        if self._summing is None or self._summing.done():
            self._summing = asyncio.create_task(self._sum(self._ends_s - now_s), name="identity.refusals")

    async def close(self) -> None:
        """Record what is only counted until now."""
        if self._summing is not None:
            self._summing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._summing
        await self._record_sum()

    async def _sum(self, wait_s: float) -> None:
        await self._clock.sleep(wait_s)
        await self._record_sum()

    async def _record_sum(self) -> None:
        count, self._left_out = self._left_out, 0
        if not count:
            return
        try:
            await self._publish(
                IdentityCalled(
                    call_id=str(uuid.uuid4()),
                    action=SUMMED,
                    principal="",
                    resource="",
                    error_code=SUMMED,
                    error_message=f"{count} more calls without a credential were refused and have no record each",
                    called_at_ms=clocks.now_ms(self._clock),
                )
            )
        except (Refusal, errors.SixfoldError) as error:
            self._left_out += count  # for the next sum
            structlog.get_logger().error(
                "refused calls could not be recorded", action="identity.uncounted", count=count, reason=str(error)
            )
