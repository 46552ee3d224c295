"""Batches, filters, windows, timers and the clock, and asking a function. README.md beside it walks through them."""

import operator
from datetime import timedelta

from sixfold import App, Batch, BatchContext, Context, Event, PermanentError, Tumbling, function
from sixfold_events.system import Tick


class OrderPlaced(Event, topic="shop.orders", key="shop"):
    """A customer ordered something in one of the shops."""

    shop: str
    order_id: str
    at_ms: int
    amount_cents: int


class OrderPaid(Event, topic="shop.payments", key="order_id"):
    order_id: str


class OrderStored(Event, topic="shop.stored", key="order_id"):
    order_id: str


class TakingsClosed(Event, topic="shop.takings", key="shop"):
    """What a shop took in one minute; it does not change any more."""

    shop: str
    minute_ms: int
    total_cents: int


class PaymentMissing(Event, topic="shop.reminders", key="order_id"):
    order_id: str


class PriceAsked(Event, topic="shop.questions", key="sku"):
    sku: str


class PriceTold(Event, topic="shop.answers", key="sku"):
    sku: str
    amount_cents: int


@function(on=OrderPlaced, emits=[OrderStored], batch=Batch(size=100, window_s=0.2, bisect=True))
async def store(orders: list[OrderPlaced], ctx: BatchContext) -> None:
    """Store a hundred orders at once; one that makes no sense fails alone."""
    for index, order in enumerate(orders):
        if order.amount_cents < 0:
            ctx.fail(index, PermanentError(f"{order.order_id} has a negative amount"))
        else:
            ctx[index].emit(OrderStored(order_id=order.order_id))


TAKINGS = Tumbling(name="takings", size_s=60, grace_s=5, initial=0, add=operator.add)


@function(
    on=OrderPlaced,
    emits=[TakingsClosed],
    tables=["takings"],
    filter={"value": {"shop": [{"anything-but": {"prefix": "test-"}}], "amount_cents": [{"numeric": [">", 0]}]}},
)
async def takings(order: OrderPlaced, ctx: Context) -> None:
    """Add up each shop's takings by the minute of the orders, test shops left out."""
    added = await ctx.window(TAKINGS).add(order.shop, order.at_ms, order.amount_cents)
    for closed in added.closed:
        ctx.emit(TakingsClosed(shop=closed.key, minute_ms=closed.start_ms, total_cents=closed.value))


@function(on=[OrderStored, OrderPaid], emits=[PaymentMissing])
async def remind(event: OrderStored | OrderPaid, ctx: Context) -> None:
    """Remind a day after an order that nobody paid."""
    if isinstance(event, OrderStored):
        ctx.schedule(timedelta(days=1), PaymentMissing(order_id=event.order_id), name=event.order_id)
    else:
        ctx.unschedule(event.order_id)


@function(every="0 3 * * *", emits=[PriceAsked])
async def nightly(tick: Tick, ctx: Context) -> None:
    """Ask for a price every night, at three."""
    ctx.emit(PriceAsked(sku="milk"))


@function(on=PriceAsked, answers=PriceTold)
async def price(question: PriceAsked, ctx: Context) -> PriceTold:
    """Tell whoever asks."""
    if question.sku != "milk":
        raise PermanentError(f"nobody sells {question.sku}")
    return PriceTold(sku=question.sku, amount_cents=119)


app = App("shop", functions=(store, takings, remind, nightly, price))
