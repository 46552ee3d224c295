"""State: each account's balance as a table that is a fold of the events. README.md beside it says what is promised."""

from sixfold import Context, Event, PermanentError, function


class MoneyMoved(Event, key="account"):
    """Money came in, or went out where the amount is negative."""

    account: str
    amount_cents: int


class BalanceChanged(Event, key="account"):
    """What the account holds now."""

    account: str
    balance_cents: int


@function(on=MoneyMoved, emits=[BalanceChanged], tables=["balances"])
async def balance(move: MoneyMoved, ctx: Context) -> None:
    """Keep each account's balance; refuse what would overdraw it."""
    balances = ctx.table("balances")
    cents = await balances.get(move.account, 0) + move.amount_cents
    if cents < 0:
        raise PermanentError(
            f"{move.account} has {cents - move.amount_cents} cents, {-move.amount_cents} were asked for"
        )
    balances.put(move.account, cents)
    ctx.emit(BalanceChanged(account=move.account, balance_cents=cents))
