"""Functions that the Invoke API calls: typed ones, and handlers in Lambda's shape."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from typing import Any

from sixfold import Context, Event, PermanentError, TemporaryError, function
from sixfold.lambdas import lambda_function


class Asked(Event, key="name"):
    name: str


class Greeted(Event, key="name"):
    name: str
    greeting: str


@function(on=Asked, emits=[Greeted], name="greet")
async def greet(asked: Asked, ctx: Context) -> dict[str, str]:
    """Greet somebody."""
    if asked.name == "nobody":
        raise PermanentError("nobody is there")
    if asked.name == "later":
        raise TemporaryError("not now")
    print(f"greeting {asked.name}")  # noqa: T201 (as handlers do)
    ctx.emit(Greeted(name=asked.name, greeting=f"hello {asked.name}"))
    return {"greeting": f"hello {asked.name}"}


@function(on=Asked, name="counting", tables=["counts"])
async def counting(asked: Asked, ctx: Context) -> None:
    """Keep a table."""


def handler(event: Any, context: Any) -> Any:
    """Whatever the event says."""
    print("printed by the handler")  # noqa: T201 (as handlers do)
    logging.getLogger("app").warning("logged by the handler")
    if event == "fail":
        raise ValueError("a bad event")
    if event == "odd":
        return {1, 2}
    if event == "sleep":
        time.sleep(1.0)
    if event == "chatty":
        print("x" * 10_000 + "end")  # noqa: T201 (as handlers do)
    client = context.client_context
    return {"got": event, "id": context.aws_request_id, "custom": client.custom if client else None}


echo = lambda_function(handler, name="echo", timeout_s=0.5)


seen: list[Any] = []
"""Records that `worked` was given."""
names: set[str] = set()


async def collect(event: Any, context: Any) -> Any:
    """Remember each record; name those below nothing."""
    failures = []
    names.add(context.function_name)
    for partition, records in event["records"].items():
        for record in records:
            seen.append(record)
            if json.loads(base64.b64decode(record["value"]))["n"] < 0:
                failures.append({"itemIdentifier": {"partition": partition, "offset": record["offset"]}})
    return {"batchItemFailures": failures}


worked = lambda_function(collect, name="worked")


holding: dict[str, asyncio.Event] = {}
"""`began` and `release`, of the test that runs now."""


async def hold(event: Any, context: Any) -> None:
    """Last until the test says so."""
    holding["began"].set()
    await holding["release"].wait()


held = lambda_function(hold, name="held")
