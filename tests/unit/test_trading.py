"""The field's nouns: what long and short mean at the exchange, books with one side, and lists of symbols."""

from decimal import Decimal

import pytest

from execution.domain.quote_index import in_usd
from execution.domain.trading import Direction, Quote, Side, SymbolLists
from tests.unit.examples import levels

D = Decimal


@pytest.mark.parametrize(
    ("direction", "sign", "entry", "leave"),
    [(Direction.LONG, 1, Side.BUY, Side.SELL), (Direction.SHORT, -1, Side.SELL, Side.BUY)],
)
def test_a_long_buys_and_sells_and_a_short_sells_and_buys(
    direction: Direction, sign: int, entry: Side, leave: Side
) -> None:
    assert (direction.sign, direction.entry_side, direction.exit_side) == (sign, entry, leave)


def test_a_long_takes_the_asks_and_a_short_the_bids_also_where_one_side_is_empty() -> None:
    whole = Quote(symbol="BTCUSDT", bids=levels("99x1", "98x2"), asks=levels("101x3", "102x4"), mark=D(100))
    assert (whole.bid, whole.ask) == (D(99), D(101))
    assert (whole.taking_price(Direction.LONG), whole.taking_price(Direction.SHORT)) == (D(101), D(99))
    assert (whole.taken_levels(Direction.LONG), whole.taken_levels(Direction.SHORT)) == (whole.asks, whole.bids)

    no_asks = Quote(symbol="BTCUSDT", bids=whole.bids, asks=(), mark=D(100))
    no_bids = Quote(symbol="BTCUSDT", bids=(), asks=whole.asks, mark=D(100))
    assert (no_asks.bid, no_asks.ask) == (D(99), D(0))
    assert (no_bids.bid, no_bids.ask) == (D(0), D(101))


@pytest.mark.parametrize(
    ("allowed", "denied", "verdict"),
    [
        ((), (), "allowed"),
        (("BTCUSDT", "ETHUSDT"), (), "allowed"),
        (("ETHUSDT",), (), "not on the list of allowed"),
        ((), ("BTCUSDT",), "denied"),
        ((), ("ETHUSDT",), "allowed"),
        # Who is on both lists is denied.
        (("BTCUSDT",), ("BTCUSDT",), "denied"),
    ],
)
def test_a_symbol_is_on_the_lists_or_not(allowed: tuple[str, ...], denied: tuple[str, ...], verdict: str) -> None:
    lists = SymbolLists(allowed=frozenset(allowed), denied=frozenset(denied))

    assert lists.verdict("BTCUSDT") == verdict


@pytest.mark.parametrize(
    ("amount", "price", "usd"),
    [
        ("1.5", "2", "3"),
        ("-1.5", "0.5", "-0.75"),
        ("0.123456789", "1", "0.123456789"),
        ("0.123456789", "2", "0.24691358"),
        (None, "1", None),
        (None, "2", None),
        ("1", None, None),
    ],
)
def test_an_amount_is_worth_its_index_in_dollars(amount: str | None, price: str | None, usd: str | None) -> None:
    assert in_usd(amount and D(amount), price and D(price)) == (usd and D(usd))  # type: ignore[arg-type]
