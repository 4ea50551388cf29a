"""Synthetic prices: repeatable by seed, crossing 50 000 both ways often, far from stops and targets."""

from itertools import pairwise

import pytest

from paper_exchange.config import Config
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.exchange import Exchange
from paper_exchange.core.history import DAY, History, PublicTrade, candle_end, candle_start
from paper_exchange.core.prices import PricePath
from paper_exchange.core.symbols import build_symbols
from tests.paper_exchange.trader import D, Trader

SYMBOLS = build_symbols(D(5))


def walk(seed: int, seconds: int, symbol: str = "BTCUSDT") -> list[D]:
    path = PricePath(SYMBOLS[symbol], seed)
    return [path.step(0.25)[0] for _ in range(seconds * 4)]


@pytest.mark.parametrize("seed", [1, 7, 23])
def test_bitcoin_crosses_fifty_thousand_within_a_minute_and_stays_near(seed: int) -> None:
    prices = walk(seed, 600)

    assert D(49_000) < min(prices) < D(49_900)
    assert D(50_100) < max(prices) < D(52_000)
    # It should be on both sides in every minute.
    for start in range(0, len(prices), 240):
        minute = prices[start : start + 240]
        assert min(minute) <= 50_000 <= max(minute)


def test_same_seed_same_prices() -> None:
    assert walk(7, 30) == walk(7, 30)
    assert walk(7, 30) != walk(8, 30)


@pytest.mark.parametrize("symbol", list(SYMBOLS))
def test_prices_are_on_the_tick_grid(symbol: str) -> None:
    assert {price % SYMBOLS[symbol].tick for price in walk(7, 20, symbol)} == {0}


def test_walk_returns_after_a_jump() -> None:
    path = PricePath(SYMBOLS["BTCUSDT"], 7)
    path.jump(D(40_000))
    prices = [path.step(0.25)[0] for _ in range(400)]
    assert prices[0] < 41_500
    assert prices[-1] > 49_000


def test_frozen_and_held_prices_stand_still() -> None:
    clock = SteppedClock(1_790_000_000_000)
    exchange = Exchange(Config(), clock)
    exchange.set_price("BTCUSDT", D(48_000), hold=True)
    before = exchange.state.markets["ETHUSDT"].last

    clock.advance(250)
    exchange.step()
    assert exchange.state.markets["BTCUSDT"].last == 48_000
    assert exchange.state.markets["ETHUSDT"].last != before

    exchange.state.frozen = True
    frozen = exchange.state.markets["ETHUSDT"].last
    clock.advance(250)
    exchange.step()
    assert exchange.state.markets["ETHUSDT"].last == frozen


@pytest.mark.parametrize("interval", ["1m", "1h", "1d", "1w", "1M"])
def test_candles_follow_each_other_and_contain_their_ends(interval: str) -> None:
    now = 1_790_000_000_000
    history = History(SYMBOLS["BTCUSDT"], 7, 1)

    candles = history.candles(interval, now - 400 * DAY, 10, now)

    assert len(candles) == 10
    for before, after in pairwise(candles):
        assert after.open_time == before.close_time + 1
        assert after.open == before.close
    assert all(c.low <= min(c.open, c.close) <= max(c.open, c.close) <= c.high for c in candles)


def test_minutes_without_trades_stand_at_the_last_close() -> None:
    minute = 1_790_000_000_000 // 60_000 * 60_000
    history = History(SYMBOLS["BTCUSDT"], 7, 1)
    history.record(PublicTrade(2, D(50123), D("0.010"), minute + 1000, buyer_is_maker=False))

    first, quiet, running = history.candles("1m", minute, 3, minute + 120_000)

    # It should join the invented past and then hold the price.
    assert (first.open, first.close, first.volume) == (history.price_at(minute), D(50123), D("0.010"))
    assert [(c.open, c.high, c.low, c.close, c.volume) for c in (quiet, running)] == [
        (D(50123), D(50123), D(50123), D(50123), D(0))
    ] * 2


def test_weeks_start_on_monday_and_months_on_the_first() -> None:
    # 2026-11-19 was a Thursday.
    thursday = 1_795_046_400_000
    assert candle_start(thursday, "1w") == thursday - 3 * DAY
    assert candle_start(thursday, "1M") == thursday - 18 * DAY
    assert candle_end(thursday - 18 * DAY, "1M") == thursday + 12 * DAY


def test_symbols_are_tradable_with_the_minimum_notional() -> None:
    assert len(SYMBOLS) == 24
    for symbol in SYMBOLS.values():
        assert symbol.price % symbol.tick == 0
        assert symbol.tick.normalize() >= symbol.price_unit
        assert symbol.step >= symbol.quantity_unit


def test_bracket_margin_is_continuous_at_the_borders() -> None:
    brackets = SYMBOLS["BTCUSDT"].brackets
    for lower, upper in pairwise(brackets):
        at_border = lower.cap
        assert at_border * lower.maint_ratio - lower.cum == at_border * upper.maint_ratio - upper.cum


@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
def test_running_candle_closes_at_the_last_price_before_anything_traded(trader: Trader, interval: str) -> None:
    now = trader.clock.now_ms()
    [candle] = trader.market.history.candles(interval, candle_start(now, interval), 1, now)
    assert candle.close == trader.market.last
    assert candle.low <= candle.open <= candle.high
