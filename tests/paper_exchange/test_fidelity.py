"""Settings that make paper trading more or less kind, and how long the past can be asked for."""

import time

import pytest
from binance.um_futures import UMFutures

from paper_exchange.config import Config
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.retention import is_kept
from paper_exchange.ws.feed import make_publisher
from tests.paper_exchange.trader import D, Trader
from tests.support.paper import PaperExchange

DAY = 86_400_000


def test_touch_fills_by_chance_and_passing_through_always() -> None:
    trader = Trader(
        Config(static_prices=True, fill_probability=0.5, queue_position=False), SteppedClock(1_790_000_000_000)
    )
    touched = [trader.bid("0.002", "49900") for _ in range(100)]
    trader.price("49900")
    filled = sum(order.status == "FILLED" for order in touched)
    assert 30 < filled < 70

    trader.price("49899.9")
    assert [order.status for order in touched] == ["FILLED"] * 100


def test_fees_of_another_tier() -> None:
    config = Config(static_prices=True, maker_rate=D(0), taker_rate=D("0.0004"), queue_position=False)
    trader = Trader(config, SteppedClock(1_790_000_000_000))
    trader.buy("0.010")
    trader.ask("0.010", "50100")
    trader.price("50100")
    fees = [fill.commission for fill in trader.account.fills["BTCUSDT"]]
    assert fees == [D("0.20000040"), D(0)]


def test_settings_of_the_command_line() -> None:
    with PaperExchange("--taker-fee", "0.0004", "--latency-ms", "50", "--latency-jitter-ms", "5") as paper:
        client = UMFutures(key=paper.key, secret=paper.secret, base_url=paper.url, timeout=5)
        client.session.trust_env = False
        started = time.monotonic()
        assert client.commission_rate("BTCUSDT")["takerCommissionRate"] == "0.000400"
        assert time.monotonic() - started >= 0.05


@pytest.mark.parametrize(
    ("days", "cancelled", "filled"), [(3, True, True), (3.01, False, True), (90, False, True), (90.01, False, False)]
)
def test_ended_orders_are_forgotten_after_a_while(
    trader: Trader, days: float, *, cancelled: bool, filled: bool
) -> None:
    ended, traded = trader.bid("0.010", "49000"), trader.buy("0.010")
    trader.exchange.orders.cancel(trader.account, "BTCUSDT", ended.order_id, None)

    now = trader.clock.now_ms() + int(days * DAY)

    assert (is_kept(ended, now), is_kept(traded, now)) == (cancelled, filled)


def test_open_orders_are_kept_as_long_as_they_are_open(trader: Trader) -> None:
    order, algo = trader.bid("0.010", "49000"), trader.condition("SELL", "STOP_MARKET", "0.010", "48000")
    later = trader.clock.now_ms() + 89 * DAY
    assert is_kept(order, later)
    assert is_kept(algo, later)


def test_candle_stream_tells_each_candle_once_more_when_it_is_complete(trader: Trader) -> None:
    stream = make_publisher(trader.exchange, "btcusdt@kline_1m")
    assert stream is not None
    trader.price("50123")
    [running] = stream.poll(trader.clock.now_ms())
    assert isinstance(running, dict)
    assert (running["k"]["x"], running["k"]["c"]) == (False, "50123.00")
    # It should say nothing twice.
    trader.clock.advance(250)
    assert stream.poll(trader.clock.now_ms()) == []

    trader.clock.advance(60_000)
    closed, following = stream.poll(trader.clock.now_ms())
    assert isinstance(closed, dict)
    assert isinstance(following, dict)
    assert (closed["k"]["t"], closed["k"]["x"], closed["k"]["c"]) == (running["k"]["t"], True, "50123.00")
    assert (following["k"]["t"], following["k"]["x"]) == (running["k"]["T"] + 1, False)
