"""The examples do what their pages say."""

from __future__ import annotations

import importlib.util
import json
import re
import types
from pathlib import Path

import pytest

from sixfold import Batch, Retry
from sixfold.bus import NewRecord, TopicSpec
from sixfold.cli import references
from sixfold.lambdas import lambda_function
from sixfold.requesting import Client, RequestFailedError
from sixfold.testing import Harness
from sixfold_events.system import RequestFailed

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(path: str) -> types.ModuleType:
    """An example's module."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), EXAMPLES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_the_smallest_function_accepts_orders() -> None:
    """01-minimal: ten lines, no configuration."""
    orders = load("01-minimal/orders.py")
    async with Harness(orders.accept) as harness:
        await harness.publish(*(orders.OrderPlaced(order_id=f"o-{n}", amount_cents=n) for n in range(20)))
        await harness.until_idle()
        assert {each.order_id for each in await harness.emitted(orders.OrderAccepted)} == {f"o-{n}" for n in range(20)}


async def test_balances_are_folds_and_an_overdraft_is_set_aside() -> None:
    """02-state: every movement counts once, and one that cannot be done holds nobody up."""
    example = load("02-state/balances.py")
    moves = [("ada", 500), ("bob", 100), ("ada", -200), ("bob", -101), ("bob", -100)]
    async with Harness(example.balance) as harness:
        await harness.publish(*(example.MoneyMoved(account=account, amount_cents=cents) for account, cents in moves))
        await harness.until_idle()
        assert await harness.table(example.balance, "balances") == {"ada": 300, "bob": 0}
        (letter,) = await harness.dead_letters(example.balance)
        assert letter.error_message == "bob has 100 cents, 101 were asked for"
        changes = [(each.account, each.balance_cents) for each in await harness.emitted(example.BalanceChanged)]
        assert sorted(changes) == [("ada", 300), ("ada", 500), ("bob", 0), ("bob", 100)]


async def test_mail_is_retried_until_the_outbox_is_there_and_a_wrong_address_is_set_aside(tmp_path: Path) -> None:
    """03-retries-and-dead-letters: temporary and permanent errors, and an effect that happens once."""
    example = load("03-retries-and-dead-letters/mail.py")
    async with Harness(example.send_mail, data_dir=tmp_path) as harness:
        await harness.publish(
            example.MailRequested(to="ada", text="no at sign"), example.MailRequested(to="ada@example.org", text="hi")
        )
        (tmp_path / "outbox").mkdir()
        await harness.until_idle()
        (sent,) = await harness.emitted(example.MailSent)
        mail = json.loads((tmp_path / "outbox" / f"{sent.message_id}.json").read_text())
        assert mail == {"to": "ada@example.org", "text": "hi"}
        (letter,) = await harness.dead_letters(example.send_mail)
        assert letter.error_message == "'ada' is no address"
        assert letter.attempts == 1


async def test_mail_without_an_outbox_is_set_aside_after_its_last_attempt(tmp_path: Path) -> None:
    """Five attempts, five seconds apart at least, as it declares."""
    example = load("03-retries-and-dead-letters/mail.py")
    async with Harness(example.send_mail, data_dir=tmp_path) as harness:
        await harness.publish(example.MailRequested(to="ada@example.org", text="hi"))
        await harness.until_idle()
        (letter,) = await harness.dead_letters(example.send_mail)
        assert letter.attempts == 5
        assert harness.clock.monotonic() >= 4 * 5.0


async def test_the_shop_stores_adds_up_reminds_and_answers() -> None:
    """04-batches-and-time: each of its five functions does what its page says."""
    shop = load("04-batches-and-time/shop.py")
    minute = 1415811600000
    async with Harness(*shop.app.functions, events=[RequestFailed]) as harness:
        orders = [
            shop.OrderPlaced(shop=where, order_id=f"o-{number}", at_ms=minute + at * 1000, amount_cents=cents)
            for number, (where, at, cents) in enumerate(
                [("oslo", 1, 500), ("oslo", 59, 300), ("test-1", 2, 7), ("oslo", 3, -1), ("oslo", 70, 50)]
            )
        ]
        await harness.publish(*orders)
        await harness.until_idle()
        assert {each.order_id for each in await harness.emitted(shop.OrderStored)} == {"o-0", "o-1", "o-2", "o-4"}
        (letter,) = await harness.dead_letters(shop.store)
        assert letter.error_message == "o-3 has a negative amount"
        (closed,) = await harness.emitted(shop.TakingsClosed)
        assert (closed.shop, closed.minute_ms, closed.total_cents) == ("oslo", minute, 800)
        await harness.publish(*(shop.OrderPaid(order_id=each) for each in ("o-0", "o-2")))
        await harness.until_idle()
        await harness.advance(86_401)
        assert {each.order_id for each in await harness.emitted(shop.PaymentMissing)} == {"o-1", "o-4"}
        assert len(await harness.emitted(shop.PriceAsked)) == 1, "the night came once in that day"
        async with Client(harness.bus, harness.process.registry) as client:
            assert await client.request(shop.PriceAsked(sku="milk")) == shop.PriceTold(sku="milk", amount_cents=119)
            with pytest.raises(RequestFailedError, match="nobody sells gold"):
                await client.request(shop.PriceAsked(sku="gold"))


async def test_a_lambda_handler_takes_orders_and_names_the_one_that_makes_no_sense(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """06-lambda: a handler that knows nothing of us; what it names comes again, alone in the end."""
    batch, retry = Batch(size=10, bisect=True), Retry(attempts_max=2)
    made = lambda_function(load("06-lambda/app.py").handler, topics=["orders"], name="orders", batch=batch, retry=retry)
    async with Harness(made, topics=[TopicSpec(name="orders", partitions=1)]) as harness:
        values = [{"order_id": f"o-{n}", "amount_cents": -1 if n == 4 else n} for n in range(10)]
        await harness.publish_records(*(NewRecord(topic="orders", value=json.dumps(each).encode()) for each in values))
        await harness.until_idle()
        (letter,) = await harness.dead_letters(made)
    assert letter.offset == 4
    took = set(re.findall(r"orders took (o-\d)", capsys.readouterr().out))
    assert took == {f"o-{n}" for n in range(10) if n != 4}


@pytest.mark.parametrize("path", ["01-minimal/orders.py", "02-state/balances.py", "04-batches-and-time/shop.py"])
def test_the_command_line_finds_an_examples_functions(path: str) -> None:
    """By its file, whatever the functions declare, each once."""
    found = references.functions_in(str(EXAMPLES / path))
    assert found
    assert len({function.name for function in found}) == len(found)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("0*")), ids=lambda path: str(path.name))
def test_every_example_has_its_page(path: Path) -> None:
    """A folder with code and no word on it helps nobody."""
    assert (path / "README.md").read_text().startswith("# ")
