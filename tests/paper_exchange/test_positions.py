"""Entry price, realised PnL and fees of a position, with the figures of a worked example."""

from paper_exchange.core.accounts import Position
from paper_exchange.core.settings import change_margin_type
from paper_exchange.core.symbols import build_symbols
from tests.paper_exchange.trader import D, Trader

BTC = build_symbols(D(5))["BTCUSDT"]


def test_entry_is_the_average_of_the_opening_fills() -> None:
    position = Position(BTC, "BOTH")

    assert position.apply(D("0.010"), D(61250)) == 0
    assert position.apply(D("0.010"), D(61150)) == 0
    assert position.entry == 61200

    # It should realise against that average and leave it as it is.
    assert position.apply(D("-0.015"), D(61500)) == D("4.500")
    assert (position.amount, position.entry) == (D("0.005"), D(61200))


def test_short_profits_from_a_fall() -> None:
    position = Position(BTC, "BOTH")
    position.apply(D("-0.020"), D(50000))

    assert position.apply(D("0.005"), D(49000)) == D(5)
    assert position.amount == D("-0.015")


def test_crossing_zero_restarts_the_entry_at_the_flipping_fill() -> None:
    position = Position(BTC, "BOTH")
    position.apply(D("0.010"), D(50000))

    assert position.apply(D("-0.030"), D(50100)) == D(1)
    assert (position.amount, position.entry) == (D("-0.020"), D(50100))


def test_flat_position_has_no_entry() -> None:
    position = Position(BTC, "BOTH")
    position.apply(D("0.010"), D(50000))
    position.apply(D("-0.010"), D(50000))

    assert (position.amount, position.entry, position.break_even) == (D(0), D(0), D(0))


def test_round_trip_books_fees_and_pnl_to_the_last_digit(trader: Trader) -> None:
    trader.buy("0.010")
    trader.price("51000")
    trader.sell("0.010")

    fills = trader.account.fills["BTCUSDT"]
    # It should pay 0.05 % of each turnover, and realise the difference of the two prices.
    assert [(f.price, f.commission, f.realized) for f in fills] == [
        (D("50000.10"), D("0.25000050"), D(0)),
        (D("50999.90"), D("0.25499950"), D("9.99800000")),
    ]
    assert trader.account.wallet == D(10_000) + D("9.998") - D("0.2500005") - D("0.2549995")
    trader.check_identity()


def test_break_even_includes_the_fees_of_what_is_open(trader: Trader) -> None:
    trader.buy("0.010")
    assert trader.position().break_even == D("50000.10") + D("0.2500005") / D("0.010")

    # It should keep the same fee per unit after a partial close.
    trader.sell("0.005")
    assert trader.position().break_even == D("50025.10005")


def test_a_stop_beyond_bankruptcy_leaves_no_debt(trader: Trader) -> None:
    change_margin_type(trader.exchange.state, trader.account, trader.market, isolated=True)
    trader.price("30000")
    trader.sell("4.995")
    trader.condition("BUY", "STOP", "0.135", "49500", price=D("49500.10"))

    trader.price("49500")

    # It should have executed the stop, liquidated the rest, and let the insurance fund pay what was missing.
    assert trader.position().amount == 0
    assert trader.account.wallet == 0
    trader.check_identity()
