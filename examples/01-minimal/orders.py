"""The smallest function: it takes an order and accepts it. README.md beside it says how to run it."""

from sixfold import Context, Event, function


class OrderPlaced(Event, key="order_id"):
    """A customer ordered something."""

    order_id: str
    amount_cents: int


class OrderAccepted(Event, key="order_id"):
    """We take the order."""

    order_id: str


@function(on=OrderPlaced, emits=[OrderAccepted])
async def accept(order: OrderPlaced, ctx: Context) -> None:
    """Accept every order."""
    ctx.emit(OrderAccepted(order_id=order.order_id))
