"""Invocations that nobody waits for: called by the process that runs all functions, from the log.

An invocation is accepted once it is in `lambda.invocations`. It is tried three times, as by Lambda, and then parked in
`lambda.invoke.dlq`, from where `sixfold dlq` brings it back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from sixfold import errors
from sixfold.context import Context
from sixfold.function import AnyFunction, Function, Retry, function
from sixfold.lambdas import calling
from sixfold_events.lambdas import FunctionInvoked

NAME = "lambda.invoke"
RETRY = Retry(attempts_max=3, backoff_s=60.0, backoff_max_s=120.0)
"""Lambda tries again after one minute, and then after two."""
CONCURRENCY = 16


class InvocationError(errors.TemporaryError):
    """The function failed."""


class FinalInvocationError(errors.PermanentError):
    """The function failed for good, or cannot be called."""


def invoker(functions: Iterable[AnyFunction]) -> Function[Any, Any]:
    """The function that calls each of `functions` when an invocation of it is in the log."""
    known = {each.name: each for each in functions}
    declare: Callable[[Any], Function[Any, Any]] = function(
        on=FunctionInvoked,
        name=NAME,
        ordering="none",
        concurrency=CONCURRENCY,
        retry=RETRY,
        timeout_s=max((each.timeout_s for each in known.values()), default=0.0) + 10.0,
    )

    @declare
    async def invoke(invoked: FunctionInvoked, ctx: Context) -> None:
        """Call a function that was invoked by an event"""
        target = known.get(invoked.function)
        if target is None:
            raise FinalInvocationError(f"there is no function {invoked.function!r} in this process")
        try:
            outcome = await calling.call(
                target,
                invoked.payload.encode(),
                process=ctx.process,
                request_id=invoked.request_id,
                client_context=json.loads(invoked.client_context) if invoked.client_context else None,
            )
        except errors.UsageError as error:
            raise FinalInvocationError(str(error)) from error
        if outcome.error:
            final = outcome.verdict == "park"
            raise (FinalInvocationError if final else InvocationError)(f"{invoked.function}: {outcome.why}")

    return invoke
