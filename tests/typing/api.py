"""The public API as users type it. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any, assert_type

from sixfold import App, Context, Event, Function, PermanentError, Publisher, Retry, TemporaryError, function
from sixfold.bus import Bus, Position, open_bus
from sixfold.dead_letter import DeadLetter
from sixfold.local.invoking import Invocation, invoke
from sixfold.process import Process
from sixfold.testing import Harness, ManualClock


class Placed(Event, key="order_id", topic="orders", version=2, compatibility="BACKWARD"):
    """An event with every option."""

    order_id: str
    amount_cents: int = 0


class Accepted(Event):
    """An event with none."""

    order_id: str


# Event classes are keyword-only and frozen, and their fields keep their types.
placed = Placed(order_id="o-1")
assert_type(placed.amount_cents, int)
assert_type(Placed.__event__.topic, str)
Placed("o-1")  # type: ignore[call-arg]
Placed(order_id=1)  # type: ignore[arg-type]
placed.order_id = "o-2"  # type: ignore[misc]


@function(on=Placed, emits=[Accepted])
async def accept(order: Placed, ctx: Context) -> None:
    """An async handler."""
    ctx.emit(Accepted(order_id=order.order_id))
    table = ctx.table("orders")
    table.put(order.order_id, {"cents": order.amount_cents})
    assert_type(await table.get(order.order_id), Any)
    assert_type(ctx.event_id, str)
    assert_type(ctx.data_dir, Path)
    assert_type(await ctx.resource(open_store), Store)
    assert_type(await ctx.resource(open_store_slowly), Store)


@function(
    on=[Placed, Accepted],
    name="orders.audit",
    ordering="key",
    concurrency=8,
    retry=Retry(attempts_max=3, backoff_s=1.0),
    timeout_s=5.0,
)
def audit(event: Placed | Accepted, ctx: Context) -> int:
    """A plain handler with options."""
    if ctx.attempt > 2:
        raise PermanentError("no")
    raise TemporaryError("later", delay_s=3.0)


@function(on=Placed, ordering="sideways")  # type: ignore[arg-type]
async def sideways(order: Placed, ctx: Context) -> None:
    """An order that does not exist."""


class Store:
    """Something shared."""


def open_store(process: Process) -> Store:
    """Opened at once."""
    return Store()


async def open_store_slowly(process: Process) -> Store:
    """Opened with waiting."""
    return Store()


# A decorated handler stays callable with its own types, and is a declaration.
async def direct(ctx: Context) -> None:
    """Calling it calls the handler."""
    await accept(placed, ctx)
    assert_type(audit(placed, ctx), int)
    await accept("not an order", ctx)  # type: ignore[arg-type]
    assert_type(accept.name, str)
    assert_type(accept.on, tuple[type[Event], ...])
    awaitable: Awaitable[None] = accept(placed, ctx)
    await awaitable


declared: Function[[Placed, Context], int | Any] = audit
app = App("orders", functions=(accept, audit))


async def publishing() -> None:
    """A bus by URL, a publisher on it."""
    bus: Bus = open_bus("embedded:", data_dir=Path(".sixfold"))
    async with bus:
        positions = await Publisher(bus, source="/shop").publish(placed, Accepted(order_id="o-1"))
        assert_type(positions, list[Position])


async def testing() -> None:
    """The harness hands out what a test asserts on."""
    async with Harness(accept, audit, clock=ManualClock()) as harness:
        await harness.publish(placed)
        await harness.until_idle()
        assert_type(await harness.emitted(Accepted), list[Accepted])
        assert_type(await harness.dead_letters(accept), list[DeadLetter])
        assert_type(await invoke(accept, placed, process=harness.process), Invocation)
        await harness.emitted(str)  # type: ignore[type-var]
